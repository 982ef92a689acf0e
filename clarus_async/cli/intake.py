"""From a file or standard input to the records of a run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import attrs

from clarus_async.cli.streams import open_stdin
from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.files import BadRow, Format, NumberedIntegration, Row, format_of, read_records
from clarus_async.records import NewIntegration

# Rows that are read ahead of whoever takes them.
_AHEAD: Final = 256


@attrs.frozen
class Input:
    """Where records come from.

    Args:
        name: what it is called where it can't be read.
        stream: as it was opened.
        format: ``None``: to be told from the content.
        rewinds: whether it can be read twice, and so checked before it is used.
    """

    name: str
    stream: BinaryIO
    format: Format | None
    rewinds: bool

    def rows(self) -> Iterator[Row]:
        """Read from where the stream stands.

        Raises:
            OSError: it can't be read; it says of what.
        """
        try:
            yield from read_records(self.stream, self.format)
        except OSError as error:
            error.filename = self.name
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A pipe is closed at its end, by the thread that read it: until then, that thread may be blocked in it.
        if self.rewinds:
            self.stream.close()

    def check(self, report: Callable[[BadRow], None]) -> tuple[int, int]:
        """Read to the end and go back to the start; return how many rows are good, and how many are bad.

        Args:
            report: is given each bad one.
        """
        good = bad = 0
        for row in self.rows():
            if isinstance(row, BadRow):
                bad += 1
                report(row)
            else:
                good += 1
        self.stream.seek(0)
        return good, bad


def open_input(name: str, format: str | None) -> Input:  # noqa: A002  as the option is called
    """Open a file, or standard input for ``-``.

    Args:
        name: the file's.
        format: as the option gave it.

    Raises:
        InvalidInputError: it can't be opened.
    """
    chosen = None if format is None else Format(format)
    try:
        if name == "-":
            return Input("standard input", open_stdin(), chosen, rewinds=False)
        stream = Path(name).open("rb")  # noqa: SIM115  closed by whoever asked for it
        rewinds = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError as error:
        raise InvalidInputError(f"{name}: {error.strerror}") from None
    return Input(name, stream, chosen or format_of(name), rewinds)


class Intake(AsyncIterator[NewIntegration]):
    """The records of an input, read by a thread: standard input may be silent for hours.

    The thread is a daemon, for a read may block for ever.

    Args:
        source: what is read, from where it stands.
        report: is given each bad row, on the event loop.
    """

    def __init__(self, source: Input, report: Callable[[BadRow], None]) -> None:
        self._source = source
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._read: asyncio.Queue[Row | BaseException | None] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        self._started = False
        self._stopped = False
        self._lines: dict[int, int] = {}
        self.taken = 0
        """Records that were handed on."""
        self.bad = 0
        """Bad rows that were met."""

    def line_of(self, index: int) -> int:
        """Return the line of a record by its place among those handed on, and forget it."""
        return self._lines.pop(index)

    def stop(self) -> None:
        """Hand on nothing more; whoever waits is told that it was the end."""
        self._stopped = True
        self._read.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NewIntegration:
        if not self._started:
            self._started = True
            threading.Thread(target=self._pump, name="clarus intake", daemon=True).start()
        while not self._stopped:
            row = await self._read.get()
            self._room.release()
            if isinstance(row, NumberedIntegration):
                self._lines[self.taken] = row.line
                self.taken += 1
                return row.new
            if isinstance(row, BadRow):
                self.bad += 1
                self._report(row)
                continue
            self.stop()
            if row is not None:
                raise row
        raise StopAsyncIteration

    def _pump(self) -> None:
        last: BaseException | None = None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            try:
                for row in self._source.rows():
                    self._room.acquire()
                    if self._stopped:
                        return
                    self._loop.call_soon_threadsafe(self._read.put_nowait, row)
                self._source.stream.close()
            except Exception as error:  # noqa: BLE001  raised where the records are taken
                last = error
            self._loop.call_soon_threadsafe(self._read.put_nowait, last)
