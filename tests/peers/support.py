"""Others' software: whether it is installed, and how it is started."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.process import PATH, Process

NODE = Path(__file__).with_name("node")
"""Where the servers in JavaScript are, and the packages that they import."""

RUBY = Path(__file__).with_name("ruby")
_GEMS = Path("/usr/share/rubygems-integration/all/gems")


@dataclasses.dataclass(frozen=True)
class Need:
    """What has to be installed, the command that installs it, and a function that finds it."""

    name: str
    install: str
    find: Callable[[], str | None] = dataclasses.field(repr=False, compare=False)

    @property
    def missing(self) -> bool:
        return self.find() is None


def program(name: str, package: str | None = None) -> Need:
    """Need a program; its Debian package where that is called otherwise."""
    return Need(name, f"apt-get install -y {package or name}", lambda: shutil.which(name, path=PATH))


def node_package(name: str) -> Need:
    """Need a package of npm's, which ``node/package.json`` pins."""
    manifest = NODE / "node_modules" / name / "package.json"
    return Need(name, "npm install --prefix tests/peers/node", lambda: str(manifest) if manifest.exists() else None)


def python_package(name: str, module: str | None = None) -> Need:
    """Need a package of PyPI's; the module that is imported of it where that is called otherwise."""

    def find() -> str | None:
        spec = importlib.util.find_spec(module or name.replace("-", "_"))
        return None if spec is None else spec.name

    return Need(name, f".venv/bin/pip install {name}", find)


def gem(name: str) -> Need:
    """Need a Ruby gem of Debian's."""

    def find() -> str | None:
        found = sorted(_GEMS.glob(f"{name}-[0-9]*"))
        return str(found[-1]) if found else None

    return Need(name, f"apt-get install -y --no-install-recommends ruby-{name}", find)


NODE_JS = program("node", "nodejs")


def skip_unless(*needs: Need) -> None:
    """Skip the test that asks, with the commands that install what it needs."""
    if missing := [need for need in needs if need.missing]:
        commands = dict.fromkeys(need.install for need in missing)
        pytest.skip(f"not installed: {', '.join(need.name for need in missing)}; {'; '.join(commands)}")


def node(script: str, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
    """Run a server of ``node/``; it finds its port in ``PORT``."""

    def command(folder: Path, port: int) -> Sequence[str]:
        return ["env", f"PORT={port}", "node", str(NODE / script), *arguments]

    return Process(command, env)
