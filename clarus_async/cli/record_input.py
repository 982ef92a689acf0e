"""The records of a file or of standard input, as a run takes them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import select
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, BinaryIO, Final, NamedTuple, Self

import attrs

from clarus_async.cli.streams import open_stdin
from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.files.numbered import BadRow, Found, NumberedRecord, Row
from clarus_async.provisioning.files.options import ReadOptions
from clarus_async.provisioning.files.reader import format_of, read_rows
from clarus_async.provisioning.files.target import Target

# Rows that are read ahead of whoever takes them: enough to keep a run busy while the thread that reads has no turn.
_AHEAD: Final = 256

# What is read of a pipe before anything of it is sent: until it ends, has so many bytes, or is silent for so long (and
# for no longer than that, where it trickles), in seconds.
_BEGINNING: Final = 2**23
_SILENCE: Final = 0.25
_LONGEST: Final = 5.0


class _MoreToComeError(Exception):
    """What was read ahead ends in the midst of a line."""


class _Beginning(io.BytesIO):
    """What was read ahead, where that is not all."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size:
            raise _MoreToComeError
        return line


class _Pipe(io.RawIOBase):
    """A stream that can't be rewound, whose beginning can be read twice."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._ahead = memoryview(b"")
        self._is_at_end = False

    def read_ahead(self) -> io.BytesIO:
        """Read what there is, up to a limit, and keep it."""
        parts: list[bytes] = []
        length = 0
        until = None
        while length < _BEGINNING:
            left = None if until is None else min(_SILENCE, max(0.0, until - time.monotonic()))
            if not select.select([self._raw], [], [], left)[0]:
                break
            part = self._raw.read(2**16)
            if part is None:
                continue  # another process has read it
            parts.append(part)
            if not part:
                # A terminal would wait for a second one.
                self._is_at_end = True
                break
            length += len(part)
            until = until or time.monotonic() + _LONGEST
        content = b"".join(parts)
        self._ahead = memoryview(content)
        return io.BytesIO(content) if self._is_at_end else _Beginning(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:  # noqa: ANN401  whatever takes bytes
        if not self._ahead:
            self._ahead = memoryview(b"")  # what was read ahead is let go
            return 0 if self._is_at_end else self._raw.readinto(buffer)
        count = min(len(self._ahead), len(buffer))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class Checked(NamedTuple):
    """What an input came to: how many of its rows can be sent, and how many can't.

    ``is_whole`` says whether it was read to its end.
    """

    good: int
    bad: int
    is_whole: bool
    found: Found


@attrs.define
class Input:
    """Where records come from; an error of reading names it."""

    name: str
    target: Target
    stream: BinaryIO
    options: ReadOptions
    pipe: _Pipe | None = None
    """What is below the stream, where that can't be rewound."""
    is_handed_over: bool = False
    """A thread reads it, and closes it at its end: until then, it may be blocked in it."""

    def rows(self, stream: BinaryIO | None = None, found: Found | None = None) -> Iterator[Row]:
        """Read from where the stream stands, or what was read ahead of it."""
        try:
            yield from read_rows(stream or self.stream, self.target, self.options, found)
        except OSError as error:
            error.filename = self.name
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not (self.pipe and self.is_handed_over):
            self.stream.close()

    def check(self, report: Callable[[BadRow], None]) -> Checked:
        """Read to the end, or as far as that is possible without waiting for what is not there, and go back.

        Each bad row is given to ``report``.
        """
        try:
            start = 0 if self.pipe else self.stream.tell()
            stream = self.pipe.read_ahead() if self.pipe else self.stream
        except OSError as error:
            error.filename = self.name
            raise
        good = bad = 0
        found = Found()
        is_whole = not isinstance(stream, _Beginning)
        try:
            for row in self.rows(stream, found):
                if isinstance(row, BadRow):
                    bad += 1
                    report(row)
                else:
                    good += 1
        except _MoreToComeError:
            pass
        if not self.pipe:
            self.stream.seek(start)
        return Checked(good, bad, is_whole, found)


def open_input(name: str, target: Target, options: ReadOptions) -> Input:
    """Open a file of records, or standard input for ``-``.

    Raises:
        InvalidInputError: it can't be opened.
    """
    try:
        if name == "-":
            name, raw = "standard input", open_stdin()
            if not isinstance(raw, io.FileIO):
                return Input(name, target, raw, options)
        else:
            options = attrs.evolve(options, format=options.format or format_of(name))
            raw = io.FileIO(name, "rb")
        is_file = stat.S_ISREG(os.fstat(raw.fileno()).st_mode)
    except OSError as error:
        raise InvalidInputError(f"{name}: {error.strerror}") from None
    if is_file:
        return Input(name, target, io.BufferedReader(raw), options)
    pipe = _Pipe(raw)
    return Input(name, target, io.BufferedReader(pipe), options, pipe)


class InputRecords(AsyncIterator[Any]):
    """The records of an input, read by a thread: standard input may be silent for hours.

    The thread is a daemon, for a read may block for ever. Each bad row is given to ``report``, on the event loop.
    ``total`` is how many records there are, where that is known.
    """

    def __init__(self, source: Input, report: Callable[[BadRow], None], total: int | None = None) -> None:
        self._source = source
        self._total = total
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._read: asyncio.Queue[Row | BaseException | None] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        self._started = False
        self._stopped = False
        self._lines: dict[int, int] = {}
        self.taken: int = 0
        """Records that were yielded."""
        self.bad: int = 0
        """Bad rows that were met."""

    def __len__(self) -> int:
        if self._total is None:
            raise TypeError("how many there are is not known")
        return self._total

    def line_of(self, index: int) -> int:
        """Return the line of a record by its place among those yielded, and forget it."""
        return self._lines.pop(index)

    def stop(self) -> None:
        """Yield nothing more; whoever waits for a record gets the end."""
        self._stopped = True
        self._read.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401  a record of the input's resource
        if not self._started:
            self._started = self._source.is_handed_over = True
            threading.Thread(target=self._read_all, name="clarus input", daemon=True).start()
        while not self._stopped:
            row = await self._read.get()
            self._room.release()
            if isinstance(row, NumberedRecord):
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

    def _read_all(self) -> None:
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
