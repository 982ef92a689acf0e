"""Others' software: whether it is installed, and a process of it on loopback while a ``with`` is open."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.redis_server import free_port

NODE = Path(__file__).with_name("node")
"""Where the servers in JavaScript are, and the packages that they import."""

RUBY = Path(__file__).with_name("ruby")
_GEMS = Path("/usr/share/rubygems-integration/all/gems")

# Debian keeps servers where only root's PATH leads.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
# Seconds: a server that starts on a busy machine; one that has connections to end.
_START_WITHIN, _STOP_WITHIN = 30.0, 5.0


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
    return Need(name, f"apt-get install -y {package or name}", lambda: shutil.which(name, path=_PATH))


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


class Process:
    """A server in a process group of its own, with a folder and a port of its own; started again, it keeps both.

    Its output is in ``log``. It must stay in the foreground, and listen on 127.0.0.1.
    """

    def __init__(self, command: Callable[[Path, int], Sequence[str]], env: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._env = {**os.environ, "PATH": _PATH, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="clarus-peer."))
        # A server that root starts works for another user.
        self.folder.chmod(0o777)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        until = self._launch()
        while not self._accepts(until):
            time.sleep(0.02)

    def _launch(self) -> float:
        command = self._command(self.folder, self.port)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return time.monotonic() + _START_WITHIN

    def _accepts(self, until: float) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        assert self._process is not None
        if _has_ended(self._process) or time.monotonic() > until:
            self.stop()
            raise RuntimeError(f"it did not start; its output was:\n{self.log}")
        return False

    def signal(self, number: int) -> None:
        """Send the server a signal, such as the one that makes it read its configuration again."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """End it: it is asked, and then killed with all that it started."""
        until = self._ask_to_end()
        while not self._is_over(until):
            time.sleep(0.01)

    def _ask_to_end(self) -> float:
        if self._process is not None:
            # Popen.send_signal would reap it where it has ended, and its number might be another's then.
            os.kill(self._process.pid, signal.SIGTERM)
        return time.monotonic() + _STOP_WITHIN

    def _is_over(self, until: float) -> bool:
        if self._process is None:
            return True
        if not _has_ended(self._process) and time.monotonic() < until:
            return False
        process, self._process = self._process, None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_STOP_WITHIN)
        return True

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._remove()

    async def __aenter__(self) -> Self:
        """Start it as ``with`` does, and let the event loop go on."""
        try:
            await self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._stop()
        finally:
            self.__exit__(None, None, None)

    async def restart(self) -> None:
        """End it and start it again, while the event loop goes on."""
        await self._stop()
        await self._start()

    async def _start(self) -> None:
        until = self._launch()
        while not self._accepts(until):
            await asyncio.sleep(0.02)

    async def _stop(self) -> None:
        until = self._ask_to_end()
        while not self._is_over(until):
            await asyncio.sleep(0.01)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def node(script: str, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
    """Run a server of ``node/``; it finds its port in ``PORT``."""

    def command(folder: Path, port: int) -> Sequence[str]:
        return ["env", f"PORT={port}", "node", str(NODE / script), *arguments]

    return Process(command, env)
