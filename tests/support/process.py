"""A server in a process of its own, on loopback, while a ``with`` is open."""

from __future__ import annotations

import asyncio
import contextlib
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

# Debian keeps servers where only root's PATH leads.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
# Seconds: a server that starts on a busy machine; one that has connections to end.
_START_WITHIN, _STOP_WITHIN = 30.0, 5.0


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Process:
    """A server in a process group of its own, with a folder and a port of its own; started again, it keeps both.

    Its output is in ``log``. It must stay in the foreground, and listen on 127.0.0.1.
    """

    def __init__(self, command: Callable[[Path, int], Sequence[str]], env: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._env = {**os.environ, "PATH": PATH, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="clarus-process."))
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
        while not self._accepts(until):  # noqa: ASYNC110  it is another process
            await asyncio.sleep(0.02)

    async def _stop(self) -> None:
        until = self._ask_to_end()
        while not self._is_over(until):  # noqa: ASYNC110  the same
            await asyncio.sleep(0.01)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
