"""Results on standard output, everything else on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from clarus_async.errors import ClarusError, ConfigurationError, InputProblem, InvalidInputError
from clarus_async.provisioning.files import BadRow

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


def printable(text: str) -> str:
    """Escape what could break the line or drive a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """Write one line to standard error."""
    if sys.stderr is not None:
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201  this is the command line


def _named(problem: InputProblem) -> str:
    if not problem.field:
        return problem.reason
    name = problem.field if len(problem.field) <= _LONGEST_NAME else problem.field[:_LONGEST_NAME] + "…"
    return f"{name}: {problem.reason}"


def describe(row: BadRow) -> list[str]:
    """Name what is wrong with a row, a line for each field."""
    where = f"line {row.line}" if row.place is None else f"line {row.line}, element {row.place}"
    return [f"{where}: {_named(problem)}" for problem in row.problems]


def explain(error: Exception) -> tuple[str, Exit]:
    """Return one line on what went wrong, and the exit status that says whose move it is.

    Args:
        error: what ended the command.
    """
    if isinstance(error, ClarusError):
        return str(error), Exit.USAGE if isinstance(error, ConfigurationError | InvalidInputError) else Exit.FAILED
    if isinstance(error, OSError):
        return str(error), Exit.FAILED
    # Its text may hold anything.
    return f"unexpected {type(error).__name__}; --debug shows where", Exit.FAILED


def write_to_stdout(lines: bytes) -> None:
    """Write lines to standard output, without a buffer: the interpreter would wait at its end for a blocked one.

    Raises:
        OSError: it is closed, or nobody reads it any more.
    """
    if sys.stdout is None:
        raise OSError("standard output is closed")
    while lines:
        lines = lines[os.write(sys.stdout.fileno(), lines) :]


class Results:
    """Result lines, written by a thread: a slow reader must not stall the requests that are on the wire.

    The thread is a daemon, for a write may block for ever.

    Args:
        write: writes a line with its end, and may block.
        on_lost: called once, on the event loop, when a line could not be written.
    """

    def __init__(
        self, write: Callable[[bytes], None] = write_to_stdout, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._write = write
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(_AHEAD)
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._done = asyncio.Event()
        self.lost: OSError | None = None
        """Why lines could not be written, if some could not."""
        threading.Thread(target=self._drain, name="clarus results", daemon=True).start()

    async def write(self, line: bytes) -> bool:
        """Hand on one line, wait while the reader is far behind, and say whether lines are still being written."""
        await self._room.acquire()
        self._lines.put(line + b"\n")
        return self.lost is None

    async def close(self, within: float | None = None) -> None:
        """Wait until all is written.

        Args:
            within: seconds to wait at most.
        """
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
                except OSError as error:
                    self.lost = error
                    self._loop.call_soon_threadsafe(self._on_lost)
                self._loop.call_soon_threadsafe(self._room.release)
            self._loop.call_soon_threadsafe(self._done.set)
