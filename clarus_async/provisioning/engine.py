"""The engine of a run: records are pulled, looked up and sent, and an outcome is handed on for each.

One task prepares the next records, a few workers send them, and a record in doubt leaves its worker and settles in a
task of its own. What was sent is in the journal before it is, and what became of it before anybody hears of it.
Nothing piles up on either side, whether the input is slow or the reader of the outcomes is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Final

from clarus_async.errors import Applied, ClarusError, JournalError
from clarus_async.provisioning.bounded_buffer import BoundedBuffer
from clarus_async.provisioning.existing import plan_existing
from clarus_async.provisioning.in_doubt import InDoubtSettler
from clarus_async.provisioning.input_buffer import InputBuffer
from clarus_async.provisioning.job_index import JobIndex
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.options import Bottleneck, Options
from clarus_async.provisioning.planner import Batch, Planner
from clarus_async.provisioning.report import Outcome, OutcomeStatus
from clarus_async.provisioning.sender import RunEnd, Sender
from clarus_async.provisioning.work_item import WorkItem, WorkState
from clarus_async.provisioning.work_queue import WorkQueue
from clarus_async.reconcile.decide import Fate
from clarus_async.reconcile.lookup_batcher import KEYS, LookupBatcher
from clarus_async.reconcile.reconciler import Reconciler

# So many may be under way or in doubt before no new one is begun: times the concurrency, and at least. A record in
# doubt takes some 8 KiB, and waits for minutes while the others must go on.
_IN_DOUBT: Final = 10
_IN_DOUBT_AT_LEAST: Final = 1000


class Engine:
    """Brings the records of an input to their outcomes. It does not know its run, so that one can be dropped."""

    def __init__(
        self, reconciler: Reconciler, specs: Iterable[object] | AsyncIterable[object], options: Options
    ) -> None:
        concurrency, existing, dry_run = options.concurrency, options.existing, options.dry_run
        terms, path = reconciler.terms, options.journal
        if path is not None and dry_run and not Path(path).exists():
            path = None
        self._reconciler = reconciler
        self._options = options
        self._max_failures = options.max_failures
        self._failures = 0
        self._failed_at_stop = 0  # how many had failed when they were too many
        # So far ahead that the workers have records while the next ones are looked up, and written to the journal.
        self._ahead = max(2 * KEYS, 4 * concurrency)
        self._input = InputBuffer(specs, self._ahead)
        spec = reconciler.spec
        journal = None
        if path is not None:
            file = JournalFile(path, terms.tenant, terms.base_url, spec.name)
            journal = Journal(file, None if dry_run else lambda: reconciler.traffic, source=_name_of(specs))
        self._has_journal = journal is not None
        self._index = JobIndex(spec, journal, existing)
        self._queue = WorkQueue(max(_IN_DOUBT * concurrency, _IN_DOUBT_AT_LEAST), concurrency)
        self._lookups = LookupBatcher(reconciler, self._queue.lookup_began, self._queue.lookup_ended)
        self._planner = Planner(reconciler, self._index, self._lookups, existing, dry_run=dry_run)
        self._ending = RunEnd()
        self._sender = Sender(reconciler, self._ending, self._fail)
        self.settler: InDoubtSettler = InDoubtSettler(reconciler, self._index, self._lookups, self._queue, self._sender)
        self._begun: set[WorkItem] = set()
        self._unsent: list[WorkItem] = []
        self._ended: BoundedBuffer[tuple[WorkItem | None, Outcome, int]] = BoundedBuffer(self._ahead)  # to be recorded
        self._known = 0  # outcomes
        self._handed_on = 0  # how many of those are in `outcomes`, or were
        self._moved = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.outcomes: BoundedBuffer[Outcome | None] = BoundedBuffer(concurrency)
        """Those that are known, in their order; ``None`` is after the last."""
        self.ended_at: float | None = None
        """When it had brought all to their end, in seconds on the event loop's clock."""
        self.stopped: bool = False
        """Whether no further record is begun."""
        self._broken = False
        self._complete = False  # it came to the end of its input
        self.error: BaseException | None = None
        """What ended the run, if it was not the end of its input."""
        self.restored: int = 0
        """Outcomes that a journal had."""
        self.began_at: float | None = None
        """When it knew what is to be done with the first records, in seconds on the event loop's clock."""
        self._planning = False

    @property
    def begun(self) -> int:
        """How many records of the input have their outcome, or may have been sent."""
        return self._known + self._queue.under_way

    @property
    def full_of_doubt(self) -> bool:
        """Whether no record is begun before others are settled."""
        return self._queue.full

    @property
    def most_under_way(self) -> int:
        """How many records may be under way or in doubt."""
        return self._queue.most

    @property
    def bottleneck(self) -> Bottleneck:
        """What its pace is limited by just now."""
        queue, reconciler = self._queue, self._reconciler
        if self.outcomes.full:
            return Bottleneck.READER
        if reconciler.paused > 0:
            return Bottleneck.OUTAGE if reconciler.is_down else Bottleneck.RATE_LIMIT
        if queue.working and self._sender.probing:
            return Bottleneck.OUTAGE
        if reconciler.rate_limited:
            return Bottleneck.RATE_LIMIT
        if queue.working and (len(queue) or queue.working >= self._options.concurrency):
            return Bottleneck.SERVER
        if queue.full:
            return Bottleneck.SETTLING
        if self.began_at is None or (self._planning and self._input.ready):
            return Bottleneck.LOOKUPS
        if not self._input.ready:
            return Bottleneck.INPUT
        return Bottleneck.SETTLING if self.settler.in_doubt and not queue.working else Bottleneck.SERVER

    def stop(self) -> None:
        """Begin no further record."""
        self.stopped = True
        self._input.stop()
        self._unsent += (*self._queue.drop(), *self._planner.drop())
        self._moved.set()

    def end(self, error: BaseException) -> None:
        """Stop, and raise this when what is in flight has ended."""
        if self.error is None:
            self.error = error
        self.stop()

    async def run(self) -> None:
        """Work until every record has its outcome; ``error`` says what ended it before."""
        try:
            await self._run()
        except Exception as error:  # noqa: BLE001  raised to whoever waits for the next outcome
            self.end(error)
        finally:
            self.ended_at = asyncio.get_running_loop().time()
        if self._failed_at_stop and self.error is None:
            self.error = self._too_many_error
        await self.outcomes.put(None)

    async def _run(self) -> None:
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._index.open()
            if self._has_journal:
                tasks.append(_task(self._guarded(self._record), "recorder"))
            tasks += [_task(self._work(), str(number)) for number in range(self._options.concurrency)]
            self._input.start()
            try:
                await self._plan_all()
            except Exception as error:  # noqa: BLE001  raised by the run when what is in flight has ended
                self._fail(error)
            await self._wait_until_idle()
            self._complete = not self.stopped and self.error is None
        except ClarusError as error:
            self._fail(error)
        finally:
            await self._close(tasks)

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        self._queue.close()
        every = [*tasks, *self._tasks]
        for task in every:
            task.cancel()
        try:
            if every:
                await asyncio.wait(every)
            await self._lookups.close()
            await self._input.closed()
        finally:
            # Whoever is cancelled meanwhile: others of the same names must not wait for these, and the journal closes.
            for item in self._begun:
                self._reconciler.end(item.creation)
                if not item.in_doubt.sends:
                    self._unsent.append(item)
            try:
                await self._index.close(self._unsent, complete=self._complete)
            except ClarusError as error:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.end(error)
        self._ending.set()

    # --- planning

    async def _plan_all(self) -> None:
        while records := await self._input.take(self._ahead):
            self._planning = True
            batch = await self._planner.prepare(records)
            if self.began_at is None:
                self.began_at = asyncio.get_running_loop().time()
            await self._handle(batch)
            self._planning = False
            while len(self._queue) + self._planner.held >= self._ahead and not self.stopped:
                await self._move()
        if self.error is None:
            self.error = self._input.error

    async def _wait_until_idle(self) -> None:
        """Wait until nothing is under way any more."""
        while not self._broken and self._busy:
            if not self._queue.working and not len(self._queue):
                self._lookups.hurry()
            await self._move()

    @property
    def _busy(self) -> bool:
        waiting = self._queue.under_way or len(self._queue) or self._planner.held
        return bool(waiting or self._known > self._handed_on or self._tasks)

    async def _move(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    async def _handle(self, batch: Batch) -> None:
        creates = [item for item in batch.to_send if item.update_id is None]
        if creates and not self.stopped:
            if self._has_journal and self._reconciler.server_time is None:
                # Any answer tells: what a crash leaves in doubt is told from older records by the server's clock.
                with contextlib.suppress(ClarusError):
                    await self._reconciler.searches_optional_keys(wait_for_pace=True)
                    if self._reconciler.server_time is None:
                        # There was no need to ask for the schema.
                        await self._reconciler.find([creates[0].lookup_key], wait_for_pace=True)
            await self._index.intend(creates, self._reconciler.server_time)
        if not self.stopped:
            await self._index.change([item for item in batch.to_send if item.update_id is not None])
        if self.stopped:
            self._unsent += batch.to_send
        else:
            self._queue.add(batch.to_send)
        for item, outcome, number in batch.ended:
            if self._too_many_failed and (item is None or not item.begun):
                # What was looked up and not begun is as good as not pulled.
                self._unsent += [] if item is None else [item]
                continue
            await self._conclude(item, outcome, number)
        for outcome in batch.restored:
            self.restored += 1
            self._count(outcome)
            self._known += 1
            await self._hand_on(outcome)
        for item in batch.in_doubt:
            while self._queue.full and not self.stopped:
                await self._move()
            if self.stopped:
                break
            self._queue.under_way += 1
            self._begin(item)
            self._start(self._settle, item)

    def _begin(self, item: WorkItem) -> None:
        self._begun.add(item)
        self._reconciler.begin(item.creation)

    # --- sending

    async def _work(self) -> None:
        queue = self._queue
        while (item := queue.take() or await queue.get()) is not None:
            self._moved.set()
            try:
                await self._bring(item)
            except Exception as error:  # noqa: BLE001  raised by the run
                self._break(error)
            queue.working -= 1
            self._moved.set()

    async def _bring(self, item: WorkItem) -> None:
        if item.update_id is not None:
            await self._conclude(item, await self._sender.update(item, item.update_id))
            return
        if item.state is WorkState.SENDING:
            self._begin(item)
        await self._sender.create(item)
        error, record = item.creation.error, item.creation.record
        if item.resent is not None:
            resent, item.resent = item.resent, None
            item.state = WorkState.IN_DOUBT
            resent.set_result(None)
        elif error is None and record is not None:
            await self._conclude(item, item.outcome(OutcomeStatus.CREATED, id=record.id))
        elif item.in_doubt.sends or (error is not None and error.retryable and not self.stopped):
            self._start(self._settle, item)
        elif error is not None:
            await self._conclude(item, item.failed(error))
        else:
            # It was begun, and the run came to its end before it was sent.
            self._leave(item)
            self._unsent.append(item)

    async def _settle(self, item: WorkItem) -> None:
        settled = await self.settler.settle(item)
        there = settled.fate is Fate.THERE
        if there:
            self._sender.found()
            item.own_id, item.ours = settled.ids[0], True
            self._index.compare(item, settled.ids[0], item.creation.rows.get(settled.ids[0]))
        left_otherwise = item.edited and item.left_as is not None
        if not left_otherwise or not (there or settled.fate is Fate.ABSENT):
            await self._conclude(item, item.settled(settled))
            return
        # What was sent is not what is wanted now.
        self._leave(item)
        item.state, item.journaled = WorkState.PLANNED, False
        self._index.settled(item)
        if not there:
            await self._handle(await self._planner.begin_anew(item))
            return
        plan = plan_existing(item.lookup_key, settled.ids[0], self._options.existing)
        if plan.status is OutcomeStatus.UPDATED:
            item.update_id = plan.id
            await self._handle(Batch(to_send=[item]))
        else:
            await self._conclude(item, item.planned(plan))

    def _start(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:  # noqa: ANN401
        task = _task(self._guarded(work, *arguments), "settling")
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._moved.set()

    async def _guarded(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:  # noqa: ANN401
        """Do something for records that are under way."""
        try:
            await work(*arguments)
        except Exception as error:  # noqa: BLE001  raised by the run
            self._break(error)

    def _break(self, error: Exception) -> None:
        """End the run, as nobody knows of some that are under way any more."""
        self._broken = True
        self._fail(error)

    # --- at its end

    @property
    def _too_many_failed(self) -> bool:
        return self._max_failures is not None and self._failures > self._max_failures

    def _count(self, outcome: Outcome) -> None:
        """Count a failure as soon as it is known: whoever reads the outcomes may be far behind."""
        self._failures += outcome.status is OutcomeStatus.FAILED or outcome.status is OutcomeStatus.CONFLICT
        if self._too_many_failed and not self._failed_at_stop:
            self._failed_at_stop = self._failures
            self.stop()

    @property
    def _too_many_error(self) -> ClarusError:
        more = self._failures - self._failed_at_stop
        reason = f"provision: stopped when {self._failed_at_stop:,} had failed (max_failures={self._max_failures})"
        reason += f"; {more:,} more failed that were under way" if more else ""
        return ClarusError(f"{reason}; the rest was not sent", applied=Applied.MAYBE)

    async def _conclude(self, item: WorkItem | None, outcome: Outcome, number: int = 0) -> None:
        self._count(outcome)
        self._known += 1
        if item is not None:
            self._index.ended(item, outcome)
            number = item.number
            if outcome.id is not None:
                item.in_doubt.answered_id = outcome.id
            self._leave(item)
            item.state = WorkState.ENDED
            if (following := self._planner.release(item)) is not None:
                self._start(self._follow, item, outcome, following)
        if self._has_journal and not self._options.dry_run:
            if not self._ended.try_put((item, outcome, number)):
                await self._ended.put((item, outcome, number))
        else:
            await self._hand_on(outcome)

    async def _hand_on(self, outcome: Outcome) -> None:
        if not self.outcomes.try_put(outcome):
            await self.outcomes.put(outcome)
        self._handed_on += 1

    def _leave(self, item: WorkItem) -> None:
        """Note that a record is no more under way, if it was."""
        if item in self._begun:
            self._begun.discard(item)
            self._reconciler.end(item.creation)
        if item.begun:
            self._queue.ended()

    async def _follow(self, before: WorkItem, outcome: Outcome, item: WorkItem) -> None:
        if self.stopped:
            self._unsent.append(item)
        else:
            await self._handle(await self._planner.follow(before, outcome, item))

    async def _record(self) -> None:
        while True:
            ended = await self._ended.get_all()
            try:
                await self._index.record(ended)
            except JournalError as error:
                # What is known is said all the same.
                self._fail(error)
            for _, outcome, _ in ended:
                await self._hand_on(outcome)
            self._moved.set()


def _name_of(specs: object) -> str | None:
    name = getattr(specs, "source_name", None)
    return name if isinstance(name, str) else None


def _task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.create_task(work, name=f"clarus_async provision {name}")
