"""The records of a file or of standard input, as a run takes them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import select
import shutil
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple, Self, cast

import attrs

from clarus_async.cli.output import describe, named
from clarus_async.cli.streams import open_stdin, say
from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.files.content import MoreToComeError, buffered
from clarus_async.provisioning.files.numbered import BadRow, Duplicate, Found, LastRow, NumberedRecord, Row
from clarus_async.provisioning.files.options import ReadOptions
from clarus_async.provisioning.files.reader import format_of, read_file
from clarus_async.provisioning.files.rejects import RowId
from clarus_async.provisioning.files.target import Target

# Rows that are read ahead of whoever takes them: enough to keep a run busy while the thread that reads has no turn.
_AHEAD: Final = 256

# What is read of a pipe before anything of it is sent: until it ends, has so many bytes, or is silent for so long (and
# for no longer than that, where it trickles), in seconds.
_BEGINNING: Final = 2**23
_SILENCE: Final = 0.25
_LONGEST: Final = 5.0
_BUFFER: Final = 2**18

_SHOWN: Final = 50  # problems that are shown; more would scroll away what is said of them
_KINDS: Final = 20  # kinds of further problems that are told apart
_VALUE: Final = re.compile(r"'[^']*'|[0-9][0-9,.]*")


class _Pipe(io.RawIOBase):
    """A stream that can't be rewound, whose beginning can be read twice."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._ahead = memoryview(b"")
        self.is_at_end = False

    def read_ahead(self) -> Callable[[], io.BufferedReader]:
        """Read what there is, up to a limit, and keep it; return what opens it."""
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
                self.is_at_end = True
                break
            length += len(part)
            until = until or time.monotonic() + _LONGEST
        content = b"".join(parts)
        self._ahead = memoryview(content)
        return partial(self._open_ahead, content)

    def _open_ahead(self, content: bytes) -> io.BufferedReader:
        ahead = io.BytesIO(content)

        def read(size: int) -> bytes:
            part = ahead.read(size)
            if not part and not self.is_at_end:
                raise MoreToComeError
            return part

        return buffered(read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:  # noqa: ANN401  whatever takes bytes
        if not self._ahead:
            self._ahead = memoryview(b"")  # what was read ahead is let go
            return 0 if self.is_at_end else self._raw.readinto(buffer)
        count = min(len(self._ahead), len(buffer))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class Problems:
    """Says what is wrong with the first rows, and counts the others by kind; each has its reason in ``reasons``."""

    def __init__(self, *, keeps_reasons: bool = False) -> None:
        self.reasons: dict[RowId, str] | None = {} if keeps_reasons else None
        self.rest: Counter[str] = Counter()
        self.is_fatal: bool = False
        self._said = 0

    def __call__(self, row: BadRow) -> None:
        """Take the next bad row."""
        self.is_fatal = self.is_fatal or isinstance(row, LastRow)
        if self.reasons is not None:
            self.reasons[row.line, row.place] = "; ".join(map(named, row.problems))
        if self._said < _SHOWN:
            self._said += len(row.problems)
            describe(row)
            return
        for problem in row.problems:
            # The values and the numbers in it tell one row from another, and no kind.
            kind = _VALUE.sub("…", named(problem))
            self.rest[kind if kind in self.rest or len(self.rest) < _KINDS else "other problems"] += 1

    def tell_rest(self) -> None:
        """Say how many there are of each kind that were not shown."""
        for kind, count in self.rest.most_common():
            say(f"and {count:,} more: {kind}")


_SILENT: Final = 9.5  # seconds from one line on a long check to the next, so that nobody takes it for dead
_LOOK: Final = 1024  # rows from one look at the clock to the next


class Checked(NamedTuple):
    """What an input came to: how many of its rows can be sent, how many can't, and how many of these only repeat a key.

    ``is_whole`` says whether it was read to its end.
    """

    good: int
    bad: int
    duplicates: int
    is_whole: bool
    found: Found


@attrs.define
class Input:
    """Where records come from; an error of reading names it."""

    name: str
    target: Target
    stream: io.BufferedReader
    options: ReadOptions
    pipe: _Pipe | None = None
    """What is below the stream, where that can't be rewound."""
    is_handed_over: bool = False
    """A thread reads it, and closes it at its end: until then, it may be blocked in it."""
    _start: int = 0

    def rows(self, found: Found | None = None, opener: Callable[[], io.BufferedReader] | None = None) -> Iterator[Row]:
        """Read it from its beginning, or what was read ahead of it."""
        try:
            yield from read_file(opener or self.open, self.target, self.options, found or Found())
        except OSError as error:
            error.filename = self.name
            raise

    def open(self) -> io.BufferedReader:
        """Go back to where it began, where that is possible."""
        if not self.pipe:
            self.stream.seek(self._start)
        return self.stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not (self.pipe and self.is_handed_over):
            self.stream.close()

    def spool(self) -> None:
        """Copy what can be read only once, so that all of it can be looked at before anything is said."""
        if self.pipe:
            file = tempfile.TemporaryFile()  # noqa: SIM115  closed with the input
            shutil.copyfileobj(self.stream, file, _BUFFER)
            self.stream, self.pipe = io.BufferedReader(io.FileIO(os.dup(file.fileno()), "rb")), None
            file.close()

    def check_and_tell(self, problems: Problems) -> Checked:
        """Check it, and say what is wrong with it and what was found out about it."""
        checked = self.check(problems)
        problems.tell_rest()
        if checked.found.what:
            say(f"{self.name}: {checked.found.what}")
        return checked

    def check(self, report: Callable[[BadRow], None]) -> Checked:
        """Read to the end, or as far as that is possible without waiting for what is not there, and go back.

        Each bad row is given to ``report``. What was found out is not asked for again.
        """
        try:
            opener = self.pipe.read_ahead() if self.pipe else self.open
        except OSError as error:
            error.filename = self.name
            raise
        good = bad = duplicates = 0
        found, said_at = Found(), time.monotonic()
        try:
            for row in self.rows(found, opener):
                if (good + bad) % _LOOK == 0 and time.monotonic() - said_at >= _SILENT:
                    said_at = time.monotonic()
                    say(f"clarus: {good + bad:,} rows of {self.name} checked")
                if isinstance(row, BadRow):
                    bad += 1
                    duplicates += isinstance(row, Duplicate)
                    report(row)
                else:
                    good += 1
        except MoreToComeError:
            pass
        self.options = attrs.evolve(self.options, encoding=found.encoding)
        return Checked(good, bad, duplicates, not self.pipe or self.pipe.is_at_end, found)


def open_input(name: str, target: Target, options: ReadOptions) -> Input:
    """Open a file of records, or standard input for ``-``.

    Raises:
        InvalidInputError: it can't be opened.
    """
    try:
        if name == "-":
            name, raw = "standard input", open_stdin()
        else:
            options = attrs.evolve(options, format=options.format or format_of(name.removesuffix(".gz")))
            raw = io.FileIO(name, "rb")
        if isinstance(raw, io.FileIO) and not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            pipe = _Pipe(raw)
            return Input(name, target, io.BufferedReader(pipe), options, pipe)
        return Input(name, target, io.BufferedReader(cast("io.FileIO", raw), _BUFFER), options, start=raw.tell())
    except OSError as error:
        raise InvalidInputError(f"{name}: {error.strerror}") from None


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
        self._rows: dict[int, RowId] = {}
        self.taken: int = 0
        """Records that were yielded."""
        self.bad: int = 0
        """Bad rows that were met."""

    def __len__(self) -> int:
        if self._total is None:
            raise TypeError("how many there are is not known")
        return self._total

    @property
    def source_name(self) -> str:
        """What a report calls the input."""
        return self._source.name

    def row_of(self, index: int) -> RowId:
        """Return where a record stands by its place among those yielded, and forget it."""
        return self._rows.pop(index)

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
                self._rows[self.taken] = row.line, row.place
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
