"""The journal of a run: what was about to be sent before it is, and what became of it after.

All of it happens in one thread of its own. Whatever is to be written while that thread is busy is written together, by
one statement and so by one flush to the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from clarus_async.errors import JournalError
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.rows import Known, Row
from clarus_async.provisioning.journal.timeline import Stretch
from clarus_async.ratelimit.queue import Traffic

# Seconds. A report shows no shorter ones, and more of them would cost more than they tell.
_STRETCH: Final = 1.0

T = TypeVar("T")


class Journal:
    """One job's journal: its file, and the thread that all of it happens in.

    Args:
        file: on which nobody else works.
        traffic: says what was sent so far, where the journal is that of a run, whose course is noted.
        what: the run does.
        source: what the run's input is called, where that is known.
    """

    def __init__(
        self,
        file: JournalFile,
        traffic: Callable[[], Traffic] | None = None,
        what: str = "provision",
        source: str | None = None,
    ) -> None:
        self.file = file
        self._traffic = traffic
        self._run_as = what, source
        self._noted: tuple[float, Traffic] | None = None  # what was sent by when the last stretch ended
        self._records = 0  # that were brought to their end since
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clarus_async journal")
        self._pending: list[Row] = []
        self._written: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self.error: str | None = None
        """Why something could not be written, and nothing more can be."""

    async def open(self, *, make: bool = True, known: bool = True) -> list[Known]:
        """Open it, or make it; return what a run is to know of what it holds."""
        held = await self.run(partial(self.file.open, make=make, known=known))
        if self._traffic is not None:
            self._noted = asyncio.get_running_loop().time(), self._traffic()
            await self.run(partial(self.file.begin_run, datetime.now(UTC).timestamp(), *self._run_as))
        return held

    async def close(self, *, complete: bool = True) -> None:
        """Close it, with all that was to be written; it is closed also where nobody waits for that any more.

        ``complete``: the run came to the end of its input.
        """
        await asyncio.shield(asyncio.create_task(self._close(complete=complete), name="clarus_async journal"))

    async def _close(self, *, complete: bool) -> None:
        try:
            if self._writing is not None:
                await asyncio.wait([self._writing])
        finally:
            last = self._stretch(0.0)
            closing = self._thread.submit(self.file.close, datetime.now(UTC).timestamp() if complete else None, last)
            self._thread.shutdown(wait=False)
        try:
            await asyncio.wrap_future(closing)
        except sqlite3.Error as error:
            raise JournalError(self.file.explained(error)) from None

    async def write(self, rows: Iterable[Row]) -> None:
        """Write rows, and return when they are on the disk; after one ``JournalError``, nothing more can be written."""
        if self.error is not None:
            raise JournalError(self.error)
        rows = list(rows)
        if not rows:
            return
        self._pending += rows
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
            # Whether or not somebody still waits for it: a failure is kept, and raised at the next write.
            self._written.add_done_callback(lambda done: done.exception())
        written = self._written
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_groups(), name="clarus_async journal")
        await asyncio.shield(written)

    async def run(self, work: Callable[[], T]) -> T:
        """Do something with the file, in the thread; raise ``JournalError`` where it failed."""
        try:
            # What was begun is done, also where nobody waits for it any more.
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise JournalError(self.file.explained(error)) from None

    def _stretch(self, least: float) -> Stretch | None:
        """Return what was sent since this returned something, if that is so many seconds ago."""
        if self._traffic is None or self._noted is None:
            return None
        (since, before), now = self._noted, asyncio.get_running_loop().time()
        seconds = now - since
        if seconds < least:
            return None
        traffic = self._traffic()
        requests, refused, unclear, paused = traffic.since(before)
        at, paused = round(datetime.now(UTC).timestamp() - seconds, 3), round(min(paused, seconds), 3)
        stretch = Stretch(at, round(seconds, 3), self._records, requests, refused, unclear, paused)
        self._noted, self._records = (now, traffic), 0
        return stretch

    async def _write_groups(self) -> None:
        while self._pending:
            rows, self._pending = self._pending, []
            written, self._written = self._written, None
            try:
                self._records += sum(row.status is not None for row in rows)
                await self.run(partial(self.file.write, rows, self._stretch(_STRETCH)))
            except Exception as error:  # noqa: BLE001  whatever it is, what waits must hear that it is not written
                self.error = error.message if isinstance(error, JournalError) else f"journal: {error}"
                self._pending.clear()
                for future in filter(None, (written, self._written)):
                    future.set_exception(JournalError(self.error))
                self._written = None
            else:
                if written is not None:
                    written.set_result(None)
        self._writing = None
