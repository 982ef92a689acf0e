"""The servers of tests/peers that speak the API themselves, and what each of them needs."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from tests.peers.scenario import Part, Row
from tests.peers.support import (
    NODE_JS,
    RUBY,
    Need,
    gem,
    node,
    node_package,
    program,
    python_package,
    skip_unless,
)
from tests.support.process import Process

SECRET = "peer's secret: +/%20?&="
"""A client's secret with signs that each way to send one writes differently; oidc-provider takes ASCII alone."""

_HERE = Path(__file__).parent
_INSTALL = ".venv/bin/pip install -e '.[peers]'"
_GEMS = "ruby-doorkeeper ruby-graphql ruby-rack-attack ruby-rails ruby-sqlite3"
_RAILS = f"apt-get install -y --no-install-recommends puma {_GEMS}"


def _python(*modules: str) -> tuple[Need, ...]:
    return tuple(Need(module, _INSTALL, python_package(module).find) for module in modules)


NEEDS: dict[str, tuple[Need, ...]] = {
    "oidc-provider": (NODE_JS, node_package("oidc-provider"), node_package("graphql")),
    "yoga": (NODE_JS, node_package("graphql-yoga"), node_package("graphql-query-complexity")),
    "apollo": (NODE_JS, node_package("@apollo/server"), node_package("graphql-query-complexity")),
    "django": _python("django", "oauth2_provider", "rest_framework_json_api", "strawberry"),
    "flask": _python("flask", "authlib", "marshmallow_jsonapi", "strawberry"),
    "rails": (Need("rails", _RAILS, program("puma").find), Need("doorkeeper", _RAILS, gem("doorkeeper").find)),
}


def server(name: str, **env: str) -> Process:
    """Return one of them, not started, or skip the test."""
    skip_unless(*NEEDS[name])
    env = {"SECRET": SECRET, **env}
    if name in {"yoga", "apollo"}:
        return node(f"{name}.js", env=env)
    if name == "oidc-provider":
        return node("oidc.js", env=env)
    return Process(_rails if name == "rails" else _app(name), {"PYTHONPATH": str(_HERE.parents[1]), **env})


def _rails(folder: Path, port: int) -> Sequence[str]:
    bind = f"tcp://127.0.0.1:{port}"
    return ["env", f"FOLDER={folder}", "puma", "-q", "-b", bind, "-t", "1:8", str(RUBY / "app.ru")]


def _app(name: str) -> Callable[[Path, int], Sequence[str]]:
    def command(folder: Path, port: int) -> Sequence[str]:
        return [sys.executable, str(_HERE / "apps" / f"{name}_app.py"), str(port), str(folder)]

    return command


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerScenario:
    """What is asked of one of them."""

    name: str  # what the table calls it
    server: str  # as in ``NEEDS``
    part: Part = Part.FULL  # the smallest part of the scenarios that it belongs to
    # There is no limit to measure, and yet it is run alone.
    quota: ClassVar[float | None] = 0.0

    @property
    def needs(self) -> tuple[Need, ...]:
        return NEEDS[self.server]

    async def run(self) -> Row:
        """Run it once."""
        raise NotImplementedError

    def wrong(self, row: Row) -> list[str]:
        """Say what of a row must not be."""
        return [*row.wrong(), *row.errors]
