"""What is said of what went wrong, and the results: their reader may be slow or gone, and Ctrl-C may end them."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from clarus_async.cli.formats import Record
from clarus_async.cli.streams import say, write_results
from clarus_async.errors import ClarusError, ConfigurationError, InputProblem, InvalidInputError
from clarus_async.provisioning.files.numbered import BadRow

if TYPE_CHECKING:
    from clarus_async.cli.progress import ProgressView

_LONGEST_NAME: Final = 100
# Lines that wait for whoever reads the results.
_AHEAD: Final = 256
_LAST_WORDS: Final = 1.0  # seconds that results have to be written once everything is to stop
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Exit(IntEnum):
    """What the exit status says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130  # as a shell says of what SIGINT ended
    READER_GONE = 141  # as a shell says of what SIGPIPE ended


def named(problem: InputProblem) -> str:
    """Say what is wrong with a field, in one line."""
    if not problem.field:
        return problem.reason
    name = problem.field if len(problem.field) <= _LONGEST_NAME else problem.field[:_LONGEST_NAME] + "…"
    return f"{name}: {problem.reason}"


def describe(row: BadRow, say: Callable[[str], None] = say) -> None:
    """Say what is wrong with a row, a line for each field."""
    where = f"line {row.line}" if row.place is None else f"line {row.line}, element {row.place}"
    for problem in row.problems:
        say(f"{where}: {named(problem)}")


def refuse_rows(name: str, bad: int, where: str = "") -> Exit:
    """Say that nothing of an input is sent because of its bad rows."""
    say(f"clarus: error: {name}: {bad:,} bad {'row' if bad == 1 else 'rows'}{where}; nothing was sent")
    return Exit.USAGE


# An option as Python has it, in a message of the library's.
_OPTION: Final = re.compile(
    r"\b(existing|max_failures|allow_http|concurrency|page_size|deadline)=(?:True|[\"']?(\w+)[\"']?)"
)


def _as_option(found: re.Match[str]) -> str:
    return " ".join(filter(None, ["--" + found[1].replace("_", "-"), found[2]]))


def explain(error: Exception) -> tuple[str, Exit]:
    """Return one line on what went wrong, and the exit status that says whose move it is."""
    if isinstance(error, ClarusError):
        text = _OPTION.sub(_as_option, str(error))
        return text, Exit.USAGE if isinstance(error, ConfigurationError | InvalidInputError) else Exit.FAILED
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or error}", Exit.FAILED
    # Its text may hold anything.
    return f"unexpected {type(error).__name__}; -vv shows where", Exit.FAILED


class Results:
    """Results, written by a thread: a slow reader must not stall the requests that are on the wire.

    The thread is a daemon, for a write may block for ever. Where a result can't be written, ``on_lost`` is called once,
    on the event loop. As a context manager, it raises what kept results from being written.

    Args:
        render: what turns a record into lines; see ``format_of``.
        write: what writes lines.
        on_lost: called where they can't be written.
    """

    def __init__(
        self,
        render: Callable[[Record], bytes],
        write: Callable[[bytes], None] = write_results,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._render = render
        self._write = write
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(_AHEAD)
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._done = asyncio.Event()
        self.lost: Exception | None = None
        """Why results could not be written, if some could not."""
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

    async def write(self, record: Record) -> bool:
        """Hand on one result, wait while the reader is far behind, and say whether they are still being written."""
        await self._room.acquire()
        self._lines.put(self._render(record))
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


async def deliver(
    stop: Callable[[], None],
    view: ProgressView,
    grace: float,
    work: Callable[[Results], Awaitable[None]],
    render: Callable[[Record], bytes],
) -> int | None:
    """Write the results of some work as ``render`` says; return the exit status where that was interrupted.

    After the first signal ``stop`` lets no further record begin, and what is in flight has ``grace`` seconds; then, or
    after the second, ``work`` is cancelled.

    Raises:
        OSError: the results could not be written.
    """
    loop = asyncio.get_running_loop()
    first: int | None = None

    def wind_down() -> None:
        stop()
        if limit.when() is None:
            limit.reschedule(loop.time() + grace)

    def on_signal(signum: int) -> None:
        nonlocal first
        if first is None:
            first = signum
            view.say(f"clarus: stopping; what is in flight has {grace:g} s to finish, once more stops at once")
            wind_down()
        elif not limit.expired():
            limit.reschedule(loop.time())

    with _handled(on_signal):
        try:
            async with asyncio.timeout(None) as limit:
                results = Results(render, view.write_results, wind_down)
                try:
                    await work(results)
                finally:
                    await results.close(_LAST_WORDS if limit.expired() else None)
        except TimeoutError as error:
            # One that the work raised, such as that of a deadline, is a subclass.
            if type(error) is not TimeoutError or not limit.expired():
                raise
    if first is not None:
        return 128 + first
    if results.lost is not None:
        raise results.lost
    return None


@contextlib.contextmanager
def _handled(on_signal: Callable[[int], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    # Only the main thread of a Unix process can; elsewhere Ctrl-C stops at once.
    unable = NotImplementedError, RuntimeError, ValueError
    with contextlib.suppress(*unable):
        for signum in _SIGNALS:
            loop.add_signal_handler(signum, on_signal, signum)
    try:
        yield
    finally:
        with contextlib.suppress(*unable):
            for signum in _SIGNALS:
                loop.remove_signal_handler(signum)
