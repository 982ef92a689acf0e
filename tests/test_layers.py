"""Imports run one way, and the core knows neither sockets nor the event loop."""

import ast
import functools
import graphlib
import sys
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "clarus_async"

# From the bottom up; a module may import from its own room and those below it. The records stand below what sends them.
LAYERS = [
    {"_version", "pydantic_schema", "errors", "redaction", "validation", "credentials", "config", "environment",
     "events", "forking", "resources.external_entities", "resources.integrations", "resources.records",
     "resources.spec"},
    {"wire"},
    {"retry"},
    {"http"},
    {"ratelimit"},
    {"auth"},
    {"calls"},
    {"reconcile"},
    {"provisioning"},
    {"resources"},
    {"client"},
    {"__init__"},
    {"simulator", "fleet", "opentelemetry"},
    {"cli", "__main__"},
]  # fmt: skip
# What decides: time, randomness and ids are arguments.
PURE = LAYERS[0] - {"_version", "forking"} | {
    "wire", "retry", "ratelimit", "auth.token", "auth.rfc6749", "reconcile.decide", "reconcile.concurrent_creates",
    "reconcile.pending",
}  # fmt: skip
# They wait for turns, and open no socket.
WAIT = {"ratelimit.queue", "ratelimit.shared_pace", "ratelimit.pace_leader"}
OPTIONAL = {"rich", "graphql", "uvloop", "opentelemetry", "redis", "celery", "kombu", "cryptography", "pydantic_core"}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def unit_of(name: str) -> str:
    """The layer's member that a module of ours belongs to."""
    members = set().union(*LAYERS)
    return name if name in members else name.split(".", maxsplit=1)[0]


def layer_of(unit: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if unit in layer)


@functools.cache
def statements(path: Path) -> tuple[list[ast.stmt], list[ast.AST]]:
    """Those at the top of a module, and all of them."""
    tree = ast.parse(path.read_text())
    every = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return tree.body, every


def imports(path: Path, *, top_level_only: bool = False):
    top, every = statements(path)
    nodes = top if top_level_only else every
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            yield module
            if module == "clarus_async":
                yield from (f"clarus_async.{alias.name}" for alias in node.names)


def ours(name: str) -> str | None:
    """The module of ours that an imported name is in: a public name is in ``__init__``."""
    if name.split(".", maxsplit=1)[0] != "clarus_async":
        return None
    rest = name.removeprefix("clarus_async").removeprefix(".")
    path = PACKAGE / rest.replace(".", "/")
    return rest if rest and (path.is_dir() or path.with_suffix(".py").is_file()) else "__init__"


def room_of(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def by_name(path: Path) -> str:
    return name_of(path)


@pytest.mark.parametrize("path", modules(), ids=by_name)
def test_imports_run_one_way(path):
    unit = unit_of(name_of(path))
    for name in imports(path):
        other = ours(name)
        if other is None or room_of(other) == room_of(name_of(path)):
            continue
        if unit == "_version":
            pytest.fail("the version imports nothing")
        assert layer_of(unit_of(other)) <= layer_of(unit), f"{path.name} imports {name}, which is above it"


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        name_of(path): {other for name in imports(path, top_level_only=True) if (other := ours(name)) is not None}
        for path in modules()
    }
    assert list(graphlib.TopologicalSorter({name: others - {name} for name, others in graph.items()}).static_order())


@pytest.mark.parametrize(
    "path", [path for path in modules() if {name_of(path), room_of(name_of(path))} & PURE], ids=by_name
)
def test_what_decides_has_no_sockets_and_no_loop(path):
    foreign = {"asyncio", "aiohttp", "socket", "ssl", "time", "random"}
    if name_of(path) in WAIT:
        foreign -= {"asyncio", "time"}
    for name in imports(path):
        assert name.split(".")[0] not in foreign, name


def test_one_room_uses_aiohttp():
    having = {
        room_of(name_of(path)) for path in modules() if any(name.split(".")[0] == "aiohttp" for name in imports(path))
    }
    assert having == {"http", "simulator"}


def test_no_two_classes_have_one_name():
    names = Counter(
        node.name for path in modules() for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def words(path: Path) -> set[str]:
    """The names and texts of a module's code; docstrings are no code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
        found |= {word for value in vars(node).values() if isinstance(word := value, str)}
    return found


@pytest.mark.parametrize("path", modules(), ids=by_name)
def test_no_resource_is_known_outside_its_room(path):
    name = name_of(path)
    if room_of(name) in {"resources", "simulator", "cli", "client", "__init__"}:
        return
    # Journals of version 1 do not say of what they are: all were of integrations.
    allowed = {"provisioning.journal.file", "provisioning.journal.rows"}
    assert name in allowed or not any("integration" in word.lower() for word in words(path))


def test_what_needs_celery_is_imported_where_it_is_needed():
    for path in modules():
        assert "clarus_async.fleet.celery" not in set(imports(path, top_level_only=True)), path


def test_only_the_command_line_uses_the_simulator():
    for path in modules():
        if room_of(name_of(path)) not in {"simulator", "cli"}:
            assert all(room_of(ours(name) or "") != "simulator" for name in imports(path)), path


def test_the_simulator_uses_the_public_surface_only():
    for path in modules():
        if room_of(name_of(path)) == "simulator":
            for name in imports(path):
                assert room_of(ours(name) or "__init__") in {"__init__", "simulator", "_version"}, (path.name, name)


def test_optional_dependencies_are_imported_lazily():
    for path in modules():
        for name in imports(path, top_level_only=True):
            if name_of(path) in {"simulator.schema", "fleet.celery"}:
                continue  # itself imported lazily
            assert name.split(".")[0] not in OPTIONAL, f"{path.name} imports {name} at its top"


def test_what_is_for_many_machines_is_imported_by_those_who_want_it():
    for path in modules():
        # The command line has a module for --celery, which no other command imports.
        if room_of(name_of(path)) not in {"fleet", "opentelemetry"} and name_of(path) != "cli.provision_fleet":
            assert all(room_of(ours(name) or "") not in {"fleet", "opentelemetry"} for name in imports(path)), path


def test_the_package_names_what_it_imports():
    import clarus_async

    assert sorted(clarus_async.__all__) == sorted(set(clarus_async.__all__))
    assert all(hasattr(clarus_async, name) for name in clarus_async.__all__)


def test_python_floor():
    assert sys.version_info >= (3, 11)
