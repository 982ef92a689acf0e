"""One operation done to many records by their ids: they are deleted, changed, or whatever else their resource can do.

Records go out side by side, as fast as the tenant's pace allows, and each has one outcome. What may have been applied
is sent again where that does no harm; an action, such as a synchronization, is not, and is unresolved.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import attrs
import orjson

from clarus_async.calls.request import Call, MemberOperation
from clarus_async.errors import Applied, ClarusError, JournalError, NotFoundError, OutcomeUnknownError
from clarus_async.provisioning.bounded_buffer import BoundedBuffer
from clarus_async.provisioning.input_buffer import InputBuffer, Numbered
from clarus_async.provisioning.job_index import completion_of, outcome_of
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Row
from clarus_async.provisioning.options import Options
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem
from clarus_async.provisioning.run import ProvisionRun
from clarus_async.provisioning.sender import RunEnd, Sender
from clarus_async.reconcile.reconciler import Reconciler
from clarus_async.retry.effect import OperationKind
from clarus_async.wire.reading import unstructure

# Of `settle`: so long a record waits that was not answered, before it is sent again.
_LATER: Final = 1 / 12
_AHEAD: Final = 256
"""Records that are read ahead, and looked up in a journal together."""
_NEVER_AGAIN: Final = Problem.of(
    OutcomeUnknownError(
        "an earlier run with this journal may have sent it, and nobody knows what became of that; it is not sent again:"
        " look at the record itself, and run it without this journal if it is still needed",
        applied=Applied.MAYBE,
    )
)


class BulkWork:
    """What is done for one record of an input, and what became of it so far.

    Args:
        index: its place in the input.
        key: what its outcome calls it.
        ids: of the records that are meant: more than one where it is there several times.
        changes: what is to be different of them, where they are changed.
        row: what a journal holds of it.
    """

    # Defaults stand here, so that a record costs what it comes to.
    outcome: Outcome | None = None  # where nothing is to be sent
    in_doubt: bool = False  # a request may have done it, and nobody knows
    intended: bool = False  # a journal says that it is about to be sent
    attempts: int = 0
    call: Call | None = None  # the one that is made, or was made last
    error: ClarusError | None = None  # what ended that
    is_gone: bool = False  # there is no such record, and nothing is to be done about that

    def __init__(
        self, index: int, key: str, ids: Sequence[int], changes: object = None, row: Row | None = None
    ) -> None:
        self.index: int = index
        self.key: str = key
        self.ids: Sequence[int] = ids
        self.changes: object = changes
        self.row: Row | None = row


class BulkJob:
    """What is done to the records of an input, and what is kept of that in a journal.

    Args:
        reconciler: makes the requests.
        operation: what is done; ``None``: they are changed.
        done: what the outcome of a record says to which it was done.
    """

    gone_is_done: bool = False
    """Whether nothing is to be done about a record that is not there."""

    def __init__(self, reconciler: Reconciler, operation: MemberOperation | None, done: OutcomeStatus) -> None:
        self.reconciler: Reconciler = reconciler
        self.operation: MemberOperation | None = operation
        self.done: OutcomeStatus = done
        self.is_repeatable: bool = operation is None or operation.kind is not OperationKind.ACTION

    async def open(self) -> None:
        """Begin; nothing was read of the input yet."""

    async def prepare(self, records: Sequence[Numbered]) -> list[BulkWork]:
        """Say what is to be done for the next records."""
        raise NotImplementedError

    async def intend(self, work: BulkWork) -> None:
        """Keep that a record is about to be sent."""

    async def ended(self, work: BulkWork, outcome: Outcome) -> None:
        """Keep what became of a record."""

    async def close(self, unsent: Sequence[BulkWork]) -> None:
        """End; it was kept of ``unsent`` that they are about to be sent, and they were not."""


class InputJob(BulkJob):
    """What is done to the records that an input names by their ids, with a journal of its own if there is to be one.

    In the journal, the number of a record is its id.
    """

    def __init__(self, reconciler: Reconciler, operation: MemberOperation | None, path: Any) -> None:  # noqa: ANN401
        done = OutcomeStatus.UPDATED if operation is None else OutcomeStatus(operation.done)
        super().__init__(reconciler, operation, done)
        terms, name = reconciler.terms, "update" if operation is None else operation.name
        self._journal: Journal | None = None
        if path is not None:
            file = JournalFile(path, terms.tenant, terms.base_url, reconciler.spec.name)
            self._journal = Journal(file)

    async def open(self) -> None:
        """Open the journal."""
        if self._journal is not None:
            await self._journal.open()

    async def prepare(self, records: Sequence[tuple[int, Any]]) -> list[BulkWork]:
        """Say what is to be done for the next records: each has an ``id`` and ``changes``."""
        works = [BulkWork(index, str(record.id), (record.id,), record.changes) for index, record in records]
        if self._journal is None:
            return works
        rows = await self._journal.run(partial(self._journal.file.fetch, [work.ids[0] for work in works]))
        for work in works:
            row = rows.get(work.ids[0])
            if row is None or row.hash != self._hash(work, self._journal):
                continue
            outcome = outcome_of(row, self.reconciler.spec.name, work.index)
            if outcome.status.ok:
                work.outcome = outcome
            elif outcome.status is OutcomeStatus.UNRESOLVED:
                work.in_doubt = work.intended = True
                if not self.is_repeatable:
                    work.outcome = attrs.evolve(outcome, error=_NEVER_AGAIN)
        return works

    @staticmethod
    def _hash(work: BulkWork, journal: Journal) -> str:
        fields = None if work.changes is None else unstructure(work.changes)
        return blake2b(
            orjson.dumps(fields, option=orjson.OPT_SORT_KEYS), key=journal.file.salt, digest_size=12
        ).hexdigest()

    async def intend(self, work: BulkWork) -> None:
        """Have it on the disk that a record is about to be sent."""
        if self._journal is not None:
            await self._journal.write([Row(work.ids[0], work.key, hash=self._hash(work, self._journal), sends=1)])

    async def ended(self, work: BulkWork, outcome: Outcome) -> None:
        """Have an outcome on the disk."""
        if self._journal is not None:
            await self._journal.write([completion_of(work.ids[0], outcome, sends=1)])

    async def close(self, unsent: Sequence[BulkWork]) -> None:
        """Close the journal."""
        if self._journal is not None:
            try:
                if unsent and self._journal.error is None:
                    await self._journal.run(partial(self._journal.file.forget, [work.ids[0] for work in unsent]))
            finally:
                await self._journal.close()


class BulkEngine:
    """Does a job; it has what a run reads of its engine."""

    def __init__(self, job: BulkJob, records: Iterable[object] | AsyncIterable[object], options: Options) -> None:
        self._job = job
        self._reconciler = job.reconciler
        self._input = InputBuffer(records, _AHEAD)
        self._room = asyncio.Semaphore(options.concurrency)
        self._sender = Sender(job.reconciler, RunEnd(), self._fail)
        self._max_failures = options.max_failures
        self._failures = 0
        self._unsent: list[BulkWork] = []
        self.outcomes: BoundedBuffer[Outcome | None] = BoundedBuffer(options.concurrency)
        """Those that are known, in their order; ``None`` is after the last."""
        self.ended_at: float | None = None
        self.stopped: bool = False
        self.error: BaseException | None = None
        self.restored: int = 0
        self.begun: int = 0
        """How many records of the input have their outcome, or may have been sent."""
        self.in_doubt: tuple[int, float] = (0, 0.0)

    def stop(self) -> None:
        """Begin no further record."""
        self.stopped = True
        self._input.stop()

    def end(self, error: BaseException) -> None:
        """Stop, and raise this when what is in flight has ended."""
        if self.error is None:
            self.error = error
        self.stop()

    def _fail(self, error: BaseException) -> None:
        self.end(error)
        self._sender.ending.set()

    async def run(self) -> None:
        """Work until every record has its outcome; ``error`` says what ended it before."""
        tasks: set[asyncio.Task[None]] = set()
        try:
            try:
                await self._job.open()
                await self._begin_all(tasks)
                if tasks:
                    await asyncio.wait(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                if tasks:
                    await asyncio.wait(tasks)
                await self._input.closed()
                await self._job.close(self._unsent)
        except Exception as error:  # noqa: BLE001  raised to whoever waits for the next outcome
            self.end(error)
        finally:
            self.ended_at = asyncio.get_running_loop().time()
        await self.outcomes.put(None)

    async def _begin_all(self, tasks: set[asyncio.Task[None]]) -> None:
        self._input.start()
        try:
            while records := await self._input.take(_AHEAD):
                for work in await self._job.prepare(records):
                    await self._room.acquire()
                    if self.stopped:
                        return
                    self.begun += 1
                    task = asyncio.create_task(self._bring(work), name="clarus_async bulk")
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            if self._input.error is not None:
                self.end(self._input.error)
        except Exception as error:  # noqa: BLE001  raised by the run when what is in flight has ended
            self._fail(error)

    async def _bring(self, work: BulkWork) -> None:
        """Bring a record to its outcome, and hand that on."""
        try:
            outcome = work.outcome
            if outcome is not None:
                self.restored += 1
            elif (outcome := await self._outcome(work)) is None:
                self.begun -= 1
                return
            else:
                try:
                    await self._job.ended(work, outcome)
                except JournalError as error:
                    # What is known is said all the same.
                    self._fail(error)
            self._count(outcome)
            if not self.outcomes.try_put(outcome):
                await self.outcomes.put(outcome)
        except Exception as error:  # noqa: BLE001  raised by the run
            self._fail(error)
        finally:
            if work.intended and not work.in_doubt and work.call is None:
                self._unsent.append(work)
            self._room.release()

    def _count(self, outcome: Outcome) -> None:
        self._failures += outcome.status is OutcomeStatus.FAILED
        if self._max_failures is not None and self._failures > self._max_failures:
            reason = (
                f"stopped when {self._failures} records had failed (max_failures={self._max_failures}); what was in"
                " flight has ended, and the rest was not sent"
            )
            self.end(ClarusError(reason, applied=Applied.MAYBE))

    async def _outcome(self, work: BulkWork) -> Outcome | None:
        """Do what is to be done; ``None``: the run came to its end before."""
        left: list[int] = []
        problem: ClarusError | None = None
        done = OutcomeStatus.DELETED
        for record_id in work.ids:
            if not await self._ask(work, record_id):
                return None
            if work.error is not None:
                left.append(record_id)
                problem = work.error
            elif not work.is_gone:
                done = self._job.done
        status = done
        if problem is not None:
            status = OutcomeStatus.UNRESOLVED if work.in_doubt else OutcomeStatus.FAILED
        ids = left or work.ids
        return Outcome(
            index=work.index,
            key=work.key,
            status=status,
            id=ids[0],
            others=tuple(ids[1:]),
            resource=self._reconciler.spec.name,
            attempts=work.attempts,
            error=None if problem is None else Problem.of(problem),
        )

    async def _ask(self, work: BulkWork, record_id: int) -> bool:
        """Send a request for one record until it is answered, or can't be sent again; return whether it was sent."""
        work.call, work.is_gone = None, False
        for sends in range(self._reconciler.terms.most_sends):
            if sends and not await self._sender.ending.pause(_LATER * self._reconciler.terms.settle):
                break
            await self._sender.guarded(partial(self._send, record_id), work)
            error = work.error
            if error is None or not error.retryable or self.stopped:
                break
            if error.applied is not Applied.NO and not self._job.is_repeatable:
                break
        return work.call is not None

    async def _send(self, record_id: int, work: BulkWork) -> None:
        if not work.intended:
            work.intended = True
            await self._job.intend(work)
        reconciler, operation = self._reconciler, self._job.operation
        if operation is None:
            request = reconciler.update_request(record_id, work.changes, wait_for_pace=True)
        else:
            request = reconciler.request(operation, record_id, wait_for_pace=True)
        call = reconciler.call(request)
        try:
            error = await reconciler.perform(call)
        except asyncio.CancelledError:
            if call.applied is not Applied.NO:
                work.call = call
            raise
        work.call = call
        work.attempts += call.attempts
        if error is not None and _not_there(error):
            deleted = work.in_doubt and operation is not None and operation.kind is OperationKind.DELETE
            work.is_gone = deleted or self._job.gone_is_done
        work.error = None if work.is_gone else error
        work.in_doubt = work.error is not None and (work.in_doubt or error.applied is not Applied.NO)
        self._sender.heard(error, rate_limited=call.limiter_503)


class BulkRun(ProvisionRun):
    """The outcomes of a job, and its progress."""

    def __init__(self, job: BulkJob, records: Iterable[object] | AsyncIterable[object], options: Options) -> None:
        self._job = job
        super().__init__(job.reconciler, records, options)

    def _engine_of(self, specs: Iterable[object] | AsyncIterable[object]) -> Any:  # noqa: ANN401  as good as the other
        return BulkEngine(self._job, specs, self._options)


def _not_there(error: ClarusError) -> bool:
    return isinstance(error, NotFoundError) or isinstance(error.__cause__, NotFoundError)
