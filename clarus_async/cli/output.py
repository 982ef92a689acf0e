"""What is said of what went wrong, and the results, whose reader may be slow or gone."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from enum import IntEnum
from types import TracebackType
from typing import Final, Self

from clarus_async.cli.streams import say, write_results
from clarus_async.errors import ClarusError, ConfigurationError, InputProblem, InvalidInputError
from clarus_async.provisioning.files.numbered import BadRow

_LONGEST_NAME: Final = 100
# Lines that wait for whoever reads the results.
_AHEAD: Final = 256


class Exit(IntEnum):
    """What the exit status says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130  # as a shell says of what SIGINT ended
    READER_GONE = 141  # as a shell says of what SIGPIPE ended


def _named(problem: InputProblem) -> str:
    if not problem.field:
        return problem.reason
    name = problem.field if len(problem.field) <= _LONGEST_NAME else problem.field[:_LONGEST_NAME] + "…"
    return f"{name}: {problem.reason}"


def describe(row: BadRow, say: Callable[[str], None] = say) -> None:
    """Say what is wrong with a row, a line for each field."""
    where = f"line {row.line}" if row.place is None else f"line {row.line}, element {row.place}"
    for problem in row.problems:
        say(f"{where}: {_named(problem)}")


def refuse_rows(name: str, bad: int, where: str = "") -> Exit:
    """Say that nothing of an input is sent because of its bad rows."""
    say(f"clarus: error: {name}: {bad:,} bad {'row' if bad == 1 else 'rows'}{where}; nothing was sent")
    return Exit.USAGE


def explain(error: Exception) -> tuple[str, Exit]:
    """Return one line on what went wrong, and the exit status that says whose move it is."""
    if isinstance(error, ClarusError):
        return str(error), Exit.USAGE if isinstance(error, ConfigurationError | InvalidInputError) else Exit.FAILED
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or error}", Exit.FAILED
    # Its text may hold anything.
    return f"unexpected {type(error).__name__}; --debug shows where", Exit.FAILED


class Results:
    """Result lines, written by a thread: a slow reader must not stall the requests that are on the wire.

    The thread is a daemon, for a write may block for ever. Where a line can't be written, ``on_lost`` is called once,
    on the event loop. As a context manager, it raises what kept lines from being written.
    """

    def __init__(
        self, write: Callable[[bytes], None] = write_results, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._write = write
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(_AHEAD)
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._done = asyncio.Event()
        self.lost: Exception | None = None
        """Why lines could not be written, if some could not."""
        self.unwritten: bytes = b""
        """The first of them."""
        threading.Thread(target=self._drain, name="clarus results", daemon=True).start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
        if error is None and self.lost is not None:
            raise self.lost

    async def write(self, line: bytes) -> bool:
        """Hand on one line, wait while the reader is far behind, and say whether lines are still being written."""
        await self._room.acquire()
        self._lines.put(line + b"\n")
        return self.lost is None

    async def close(self, within: float | None = None) -> None:
        """Wait until all is written, for some seconds at most."""
        self._lines.put(None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._done.wait()

    def _drain(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            while (line := self._lines.get()) is not None:
                try:
                    if self.lost is None:
                        self._write(line)
                except Exception as error:  # noqa: BLE001  whatever it is, somebody waits to be told
                    self.lost, self.unwritten = error, line
                    self._loop.call_soon_threadsafe(self._on_lost)
                self._loop.call_soon_threadsafe(self._room.release)
            self._loop.call_soon_threadsafe(self._done.set)
