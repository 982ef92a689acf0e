"""What a run created, read from its journal, is disabled or deleted, and what was there before is left alone.

Before the first request, the server is asked once more about what was ever in doubt. The journal answers for none of
the records that are about to be undone, so that after a kill the same undo goes on, and so does a run with the same
input.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, Final, Self

from clarus_async.calls.request import DELETE
from clarus_async.provisioning.bulk import AHEAD, BulkJob, BulkRun, BulkWork
from clarus_async.provisioning.job_index import outcome_of
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Row
from clarus_async.provisioning.options import Options
from clarus_async.provisioning.report import Outcome, OutcomeStatus
from clarus_async.provisioning.review import review_records
from clarus_async.reconcile.reconciler import Reconciler

_SEVERAL: Final = frozenset({OutcomeStatus.DUPLICATED, OutcomeStatus.DISABLED})
"""Where the further ids of a row are those of records that the job made, too."""


class Undo:
    """The undoing of a run; as an async context manager, it holds the run's journal.

    Args:
        reconciler: makes the requests.
        path: the journal of the run.
        delete: delete what it created; else disable it.

    Raises:
        ConfigurationError: the API has no way to do that to records of the resource.
        JournalError: it is not there, in use, damaged, or another job's; raised when it is opened.
        ClarusError: the server can't be asked about what is in doubt; raised when it is opened.
    """

    def __init__(self, reconciler: Reconciler, path: str | PathLike[str], *, delete: bool) -> None:
        terms, spec = reconciler.terms, reconciler.spec
        self._reconciler = reconciler
        self._delete = delete
        file = JournalFile(path, terms.tenant, terms.base_url, spec.name)
        self._journal = Journal(file, lambda: reconciler.traffic, "undo")
        self.counts: Mapping[str, int] = {}
        """How many records the run created, and others; see ``JournalFile.made_counts``."""

    async def __aenter__(self) -> Self:
        try:
            await self._journal.open(make=False, known=False)
            async for _ in review_records(self._reconciler, self._journal):
                pass
            self.counts = await self._journal.run(self._journal.file.made_counts)
        except BaseException:
            await self._journal.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._journal.close()

    @property
    def total(self) -> int:
        """How many records are to be undone."""
        return self.counts["ours"] - (0 if self._delete else self.counts["disabled"])

    def run(self, options: Options) -> BulkRun:
        """Undo it: iterate for an outcome of each record, those that stay in doubt included."""
        rows = _Rows(self._journal, self.total + self.counts["in_doubt"], delete=self._delete)
        return BulkRun(_UndoJob(self._reconciler, self._journal, delete=self._delete), rows, options)


class _Rows(AsyncIterator[Row]):
    """What a journal holds of the records to be undone, and of those in doubt."""

    def __init__(self, journal: Journal, total: int, *, delete: bool) -> None:
        self._journal = journal
        self._total = total
        self._delete = delete
        self._last = 0
        self._read: list[Row] = []

    def __len__(self) -> int:
        return self._total

    async def __anext__(self) -> Row:
        while not self._read:
            rows = await self._journal.run(partial(self._journal.file.made, self._last, AHEAD))
            if not rows:
                raise StopAsyncIteration
            self._last = max(rows)
            self._read = [row for row in rows.values() if self._delete or row.status != OutcomeStatus.DISABLED]
            self._read.reverse()
        return self._read.pop()


class _UndoJob(BulkJob):
    """Disables or deletes what a run made, and has that in the journal of the run."""

    gone_is_done = True

    def __init__(self, reconciler: Reconciler, journal: Journal, *, delete: bool) -> None:
        super().__init__(reconciler, DELETE if delete else None)
        self._run_journal = journal
        self._changes: Any = None if delete else reconciler.spec.changes(is_active=False)
        if not delete:
            self.done = OutcomeStatus.DISABLED

    async def prepare(self, records: Sequence[tuple[int, Any]]) -> list[BulkWork]:
        """Have it on the disk that the journal answers for none of these rows any more."""
        works, changed = [], []
        for index, row in records:
            others = row.others if row.status in _SEVERAL else ()
            work = BulkWork(index, row.key, (row.id, *others), self._changes)
            work.row = row
            if row.in_doubt:
                work.outcome = outcome_of(row, self.reconciler.spec.name, index)
            else:
                changed.append(row._replace(given=self._left(row.given)))
            works.append(work)
        await self._run_journal.run(partial(self._run_journal.file.change, changed))
        return works

    def _left(self, given: Mapping[str, str] | None) -> Mapping[str, str] | None:
        """Return the digests of what the server was given and will have afterwards."""
        if given is None or self._changes is None:
            return given
        return {name: digest for name, digest in given.items() if name != "is_active"}

    async def ended(self, work: BulkWork, outcome: Outcome) -> None:
        """Have it on the disk that a record was undone; one that was not is undone by the next undo."""
        if work.row is not None and outcome.status.ok:
            ours, others = outcome.status is OutcomeStatus.DISABLED, tuple(work.ids[1:])
            row = work.row._replace(
                status=outcome.status.value,
                ours=ours,
                others=others,
                sends=0,
                error=None,
                differs=(),
                ended=time.time(),
            )
            await self._run_journal.write([row])
