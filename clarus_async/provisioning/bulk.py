"""One operation done to many records by their ids: they are deleted, changed, or whatever else their resource can do.

Records go out side by side, as fast as the tenant's pace allows, and each has one outcome. What may have been applied
is sent again where that does no harm; an action, such as a synchronization, is not, and is unresolved.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from os import PathLike
from typing import Any, Final

import attrs
import orjson

from clarus_async.calls.request import Call, MemberOperation
from clarus_async.errors import Applied, ClarusError, JournalError, NotFoundError, OutcomeUnknownError
from clarus_async.provisioning.bounded_buffer import BoundedBuffer
from clarus_async.provisioning.forecast import Wave
from clarus_async.provisioning.input_buffer import InputBuffer
from clarus_async.provisioning.job_index import completion_of, outcome_of
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Row
from clarus_async.provisioning.options import Bottleneck, Options
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem
from clarus_async.provisioning.run import ProvisionRun
from clarus_async.provisioning.sender import RunEnd, Sender
from clarus_async.reconcile.reconciler import Reconciler
from clarus_async.retry.effect import OperationKind
from clarus_async.wire.reading import unstructure

AHEAD: Final = 256
"""Records that are read ahead, and looked up in a journal together."""
# Of `settle`: so long a record waits that was not answered, before it is sent again.
_LATER: Final = 1 / 12
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
    """

    # Defaults stand here, so that a record costs what it comes to.
    outcome: Outcome | None = None  # where nothing is to be sent
    row: Row | None = None  # what the journal of another run holds of it
    in_doubt: bool = False  # a request may have done it, and nobody knows
    intended: bool = False  # the journal says that it is about to be sent
    attempts: int = 0
    call: Call | None = None  # the last one that was made
    error: ClarusError | None = None  # what ended that
    is_gone: bool = False  # there is no such record, and nothing is to be done about that

    def __init__(self, index: int, key: str, ids: Sequence[int], changes: object) -> None:
        self.index: int = index
        self.key: str = key
        self.ids: Sequence[int] = ids
        self.changes: object = changes


class BulkJob:
    """What is done to the records of an input, and what a journal keeps of that; there, a record's number is its id.

    Args:
        reconciler: makes the requests.
        operation: what is done; ``None``: records are changed.
        path: of a journal of the job's own, if there is to be one.
    """

    gone_is_done: bool = False
    """Whether nothing is to be done about a record that is not there."""

    def __init__(
        self,
        reconciler: Reconciler,
        operation: MemberOperation | None,
        path: str | PathLike[str] | None = None,
    ) -> None:
        self.reconciler: Reconciler = reconciler
        self.operation: MemberOperation | None = operation
        self.done: OutcomeStatus = OutcomeStatus.UPDATED if operation is None else OutcomeStatus(operation.done)
        self.is_repeatable: bool = operation is None or operation.kind is not OperationKind.ACTION
        self.journal: Journal | None = None
        if path is not None:
            terms, name = reconciler.terms, "update" if operation is None else operation.name
            file = JournalFile(path, terms.tenant, terms.base_url, reconciler.spec.name, name)
            self.journal = Journal(file, lambda: reconciler.traffic, name)

    async def open(self) -> None:
        """Begin."""
        if self.journal is not None:
            await self.journal.open(known=False)

    async def prepare(self, records: Sequence[tuple[int, Any]]) -> list[BulkWork]:
        """Say what is to be done for the next records: each has an ``id`` and ``changes``."""
        works = [BulkWork(index, str(record.id), (record.id,), record.changes) for index, record in records]
        if self.journal is None:
            return works
        rows = await self.journal.run(partial(self.journal.file.fetch, [work.ids[0] for work in works]))
        for work in works:
            row = rows.get(work.ids[0])
            if row is None or row.hash != self._hash(work, self.journal):
                continue
            outcome = outcome_of(row, self.reconciler.spec.name, work.index)
            if outcome.status.ok:
                work.outcome = outcome
            elif outcome.status is OutcomeStatus.UNRESOLVED:
                work.in_doubt = work.intended = True
                if not self.is_repeatable:
                    work.outcome = attrs.evolve(outcome, id=work.ids[0], error=_NEVER_AGAIN)
        return works

    @staticmethod
    def _hash(work: BulkWork, journal: Journal) -> str:
        fields = None if work.changes is None else unstructure(work.changes)
        content = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
        return blake2b(content, key=journal.file.salt, digest_size=12).hexdigest()

    async def intend(self, work: BulkWork) -> None:
        """Have it on the disk that a record is about to be sent."""
        if self.journal is not None:
            await self.journal.write([Row(work.ids[0], work.key, hash=self._hash(work, self.journal), sends=1)])

    async def ended(self, work: BulkWork, outcome: Outcome) -> None:
        """Have an outcome on the disk."""
        if self.journal is not None:
            await self.journal.write([completion_of(work.ids[0], outcome, sends=1, ended=time.time())])

    async def close(self, unsent: Sequence[BulkWork]) -> None:
        """End; it was written of ``unsent`` that they are about to be sent, and they were not."""
        if self.journal is None:
            return
        try:
            if unsent and self.journal.error is None:
                await self.journal.run(partial(self.journal.file.forget, [work.ids[0] for work in unsent]))
        finally:
            await self.journal.close()


class _NothingInDoubt:
    """What a run reads of its records in doubt: here there are none, for what was not answered is sent again."""

    in_doubt = 0

    def risks(self, _: int) -> tuple[float, float]:
        return 0.0, 0.0

    def waves(self) -> list[Wave]:
        return []


class BulkEngine:
    """Does a job; it has what a run reads of its engine."""

    def __init__(self, job: BulkJob, records: Iterable[object] | AsyncIterable[object], options: Options) -> None:
        self._job = job
        self._reconciler = job.reconciler
        self._options = options
        self._input = InputBuffer(records, AHEAD)
        self._room = asyncio.Semaphore(options.concurrency)
        self._sender = Sender(job.reconciler, RunEnd(), self._fail)
        self._failures = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsent: list[BulkWork] = []
        self.outcomes: BoundedBuffer[Outcome | None] = BoundedBuffer(options.concurrency)
        self.ended_at: float | None = None
        self.stopped: bool = False
        self.error: BaseException | None = None
        self.restored: int = 0
        self.begun: int = 0
        self.began_at: float | None = None
        self.settler: _NothingInDoubt = _NothingInDoubt()
        self.full_of_doubt: bool = False
        self.most_under_way: int = options.concurrency

    @property
    def bottleneck(self) -> Bottleneck:
        """What its pace is limited by just now."""
        reconciler = self._reconciler
        if self.outcomes.full:
            return Bottleneck.READER
        if self._sender.probing or (reconciler.paused > 0 and reconciler.is_down):
            return Bottleneck.OUTAGE
        if reconciler.paused > 0 or reconciler.rate_limited:
            return Bottleneck.RATE_LIMIT
        return Bottleneck.SERVER if self._tasks else Bottleneck.INPUT

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
        try:
            try:
                await self._job.open()
                await self._begin_all()
                if self._tasks:
                    await asyncio.wait(self._tasks)
            finally:
                try:
                    tasks = [task for task in self._tasks if task.cancel()]
                    if tasks:
                        await asyncio.wait(tasks)
                    await self._input.closed()
                finally:
                    # Whoever is cancelled meanwhile, the journal closes.
                    await self._job.close(self._unsent)
        except Exception as error:  # noqa: BLE001  raised to whoever waits for the next outcome
            self.end(error)
        finally:
            self.ended_at = asyncio.get_running_loop().time()
        await self.outcomes.put(None)

    async def _begin_all(self) -> None:
        self._input.start()
        try:
            while records := await self._input.take(AHEAD):
                for work in await self._job.prepare(records):
                    await self._room.acquire()
                    if self.stopped:
                        return
                    self.begun += 1
                    self.began_at = self.began_at or asyncio.get_running_loop().time()
                    task = asyncio.create_task(self._bring(work), name="clarus_async bulk")
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        except Exception as error:  # noqa: BLE001  raised by the run when what is in flight has ended
            self._fail(error)
        if self._input.error is not None:
            self.end(self._input.error)

    async def _bring(self, work: BulkWork) -> None:
        """Bring a record to its outcome, and hand that on."""
        try:
            outcome = work.outcome
            if outcome is not None:
                self.restored += 1
            elif (outcome := await self._done(work)) is None:
                # It was not sent: the run came to its end before.
                self.begun -= 1
                return
            self._count(outcome)
            await self.outcomes.put(outcome)
        except Exception as error:  # noqa: BLE001  raised by the run
            self._fail(error)
        finally:
            if work.intended and not work.in_doubt and work.call is None:
                self._unsent.append(work)
            self._room.release()

    def _count(self, outcome: Outcome) -> None:
        self._failures += outcome.status is OutcomeStatus.FAILED
        most = self._options.max_failures
        if most is not None and self._failures > most and self.error is None:
            reason = (
                f"stopped when {self._failures:,} had failed (max_failures={most}); what was in flight has ended,"
                " and the rest was not sent"
            )
            self.end(ClarusError(reason, applied=Applied.MAYBE))

    async def _done(self, work: BulkWork) -> Outcome | None:
        left: list[int] = []
        status, problem, in_doubt = OutcomeStatus.DELETED, None, False
        for record_id in work.ids:
            if not await self._ask(work, record_id):
                return None
            if work.error is not None:
                left.append(record_id)
                problem = Problem.of(work.error)
                in_doubt, work.in_doubt = in_doubt or work.in_doubt, False
            elif not work.is_gone:
                status = self._job.done
        if problem is not None:
            status = OutcomeStatus.UNRESOLVED if in_doubt else OutcomeStatus.FAILED
            work.in_doubt = in_doubt
        first, *others = left or work.ids
        outcome = Outcome(
            index=work.index,
            key=work.key,
            status=status,
            id=first,
            others=tuple(others),
            resource=self._reconciler.spec.name,
            attempts=work.attempts,
            error=problem,
        )
        try:
            await self._job.ended(work, outcome)
        except JournalError as error:
            # What is known is said all the same.
            self._fail(error)
        return outcome

    async def _ask(self, work: BulkWork, record_id: int) -> bool:
        """Have one record dealt with, and send again what may be; return whether it was sent."""
        work.call, work.is_gone = None, False
        terms = self._reconciler.terms
        for sends in range(terms.most_sends):
            if sends and not await self._sender.ending.pause(_LATER * terms.settle):
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
            work.call = None if call.applied is Applied.NO else call
            raise
        work.call = call
        work.attempts += call.attempts
        self._sender.heard(error, rate_limited=call.limiter_503)
        if error is not None and (isinstance(error, NotFoundError) or isinstance(error.__cause__, NotFoundError)):
            # An earlier request may have deleted it.
            work.is_gone = self._job.gone_is_done or (work.in_doubt and request.kind is OperationKind.DELETE)
        work.error = None if work.is_gone else error
        work.in_doubt = work.error is not None and (work.in_doubt or work.error.applied is not Applied.NO)


class BulkRun(ProvisionRun):
    """The outcomes of a job, and its progress."""

    def __init__(self, job: BulkJob, records: Iterable[object] | AsyncIterable[object], options: Options) -> None:
        self._job = job
        super().__init__(job.reconciler, records, options)

    def _engine_of(self, specs: Iterable[object] | AsyncIterable[object]) -> Any:  # noqa: ANN401  it stands for one
        return BulkEngine(self._job, specs, self._options)
