"""Imports run one way, and the core knows neither sockets nor the event loop."""

import ast
import functools
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "clarus_async"

# From the bottom up; a module may import from its own layer and those below it.
LAYERS = [
    {"_version", "pydantic_schema", "errors", "raised", "checks", "records", "credentials", "config", "events"},
    {"wire"},
    {"ratelimit"},
    {"policy"},
    {"transport"},
    {"provisioning"},
    {"queries"},
    {"lookups"},
    {"creation"},
    {"settling"},
    {"integrations"},
    {"client"},
    {"__init__"},
    {"simulator", "extras"},
    {"cli", "__main__"},
]
CORE = {"wire", "ratelimit", "policy"} | LAYERS[0] - {"_version"}
# It waits for turns, and opens no socket.
WAITS = PACKAGE / "ratelimit" / "queue.py"
OPTIONAL = {"rich", "graphql", "uvloop", "opentelemetry", "redis", "celery", "kombu", "cryptography", "pydantic_core"}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def unit_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


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
    """The unit of ours that an imported name is in: a public name is in ``__init__``."""
    if name.split(".", maxsplit=1)[0] != "clarus_async":
        return None
    rest = name.split(".")[1:]
    if not rest:
        return None
    known = (PACKAGE / rest[0]).is_dir() or (PACKAGE / f"{rest[0]}.py").is_file()
    return rest[0] if known else "__init__"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    unit = unit_of(path)
    for name in imports(path):
        other = ours(name)
        if other is None or other == unit:
            continue
        if unit == "_version":
            pytest.fail("the version imports nothing")
        assert layer_of(other) <= layer_of(unit), f"{path.name} imports {name}, which is above it"


@pytest.mark.parametrize("path", [p for p in modules() if unit_of(p) in CORE], ids=lambda p: f"{unit_of(p)}-{p.name}")
def test_the_core_has_no_sockets_and_no_loop(path):
    foreign = {"asyncio", "aiohttp", "socket", "ssl", "time", "random"} - ({"asyncio"} if path == WAITS else set())
    for name in imports(path):
        assert name.split(".")[0] not in foreign, name


def test_one_module_uses_aiohttp_and_one_knows_what_it_raises():
    having = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if unit_of(path) != "simulator" and any(name.split(".")[0] == "aiohttp" for name in imports(path))
    }
    assert having == {"transport/session.py", "transport/unanswered.py"}


def test_what_needs_celery_is_imported_where_it_is_needed():
    for path in modules():
        assert "clarus_async.extras.celery" not in set(imports(path, top_level_only=True)), path


def test_only_the_command_line_uses_the_simulator():
    for path in modules():
        if unit_of(path) not in {"simulator", "cli"}:
            assert all(ours(name) != "simulator" for name in imports(path)), path


def test_the_simulator_uses_the_public_surface_only():
    public = {"__init__", "simulator", "_version"}
    for path in modules():
        if unit_of(path) == "simulator":
            for name in imports(path):
                assert ours(name) in public | {None}, f"{path.name} imports {name}"


def test_optional_dependencies_are_imported_lazily():
    for path in modules():
        for name in imports(path, top_level_only=True):
            if str(path.relative_to(PACKAGE)) in {"simulator/schema.py", "extras/celery.py"}:
                continue  # itself imported lazily
            assert name.split(".")[0] not in OPTIONAL, f"{path.name} imports {name} at its top"


def test_extras_are_imported_by_those_who_want_them():
    for path in modules():
        # The command line has a module for --celery, which no other command imports.
        if unit_of(path) != "extras" and str(path.relative_to(PACKAGE)) != "cli/machines.py":
            assert all(ours(name) != "extras" for name in imports(path)), path


def test_the_package_names_what_it_imports():
    import clarus_async

    assert sorted(clarus_async.__all__) == sorted(set(clarus_async.__all__))
    assert all(hasattr(clarus_async, name) for name in clarus_async.__all__)


def test_python_floor():
    assert sys.version_info >= (3, 11)
