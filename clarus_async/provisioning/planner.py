"""From the input to what is to be done with each record: checked, looked up in batches, and decided."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from clarus_async.errors import ClarusError, InvalidInputError, RateLimitedError
from clarus_async.provisioning.existing import Plan, is_weak, plan_create, untold
from clarus_async.provisioning.input_buffer import Numbered
from clarus_async.provisioning.job_index import Claims, Earlier, JobIndex, restore
from clarus_async.provisioning.options import Existing
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem
from clarus_async.provisioning.work_item import WorkItem
from clarus_async.reconcile.lookup_batcher import LookupBatcher, LookupRows, fatal
from clarus_async.reconcile.pending import LookupKey
from clarus_async.reconcile.reconciler import Creation, Reconciler
from clarus_async.resources.spec import AnySpec


@attrs.define(eq=False)
class Batch:
    """What came of some records of the input."""

    ended: list[tuple[WorkItem | None, Outcome, int]] = attrs.field(factory=list)
    """Outcomes, with the record where it is one, and its number in the journal."""
    restored: list[Outcome] = attrs.field(factory=list)
    """Outcomes that the journal had."""
    to_send: list[WorkItem] = attrs.field(factory=list)
    """Records that are to be sent for the first time, or changed."""
    in_doubt: list[WorkItem] = attrs.field(factory=list)
    """Records that an earlier run may have sent."""


@attrs.define(eq=False)
class Planner:
    """Prepares the records of a run.

    Records that are looked up by a key that others of the job may have, too, are sent one after the other, so that what
    is found by it is certainly the one's that is in doubt.
    """

    _reconciler: Reconciler
    _index: JobIndex
    _lookups: LookupBatcher
    _existing: Existing
    _dry_run: bool = attrs.field(kw_only=True)
    # By folded last natural key: how many records are planned or sent, and which wait for those.
    _planned: dict[str, int] = attrs.field(factory=dict, init=False)
    _waiting: dict[str, deque[WorkItem]] = attrs.field(factory=dict, init=False)
    held: int = attrs.field(default=0, init=False)
    """Records that wait for another one with their last natural key."""

    @property
    def _spec(self) -> AnySpec:
        return self._reconciler.spec

    async def prepare(self, records: Sequence[Numbered]) -> Batch:
        """Say what is to be done with the next records of the input; raise what would fail every record."""
        batch = Batch()
        met = self._meet(records, batch)
        journaled = await self._index.earlier({number: creation.new for _, creation, number in met})
        fresh = []
        for place, creation, number in met:
            earlier = journaled.get(number)
            if earlier is not None and earlier.answers(self._existing):
                batch.restored.append(earlier.outcome(place, creation.new))
                continue
            keys = creation.pending.keys
            lookup_key = self._lookups.chosen(keys) or await self._choose(keys)
            item = WorkItem(self._spec, place, number, self._index.fingerprint(creation.new), lookup_key, creation)
            if earlier is not None:
                earlier.tell(item)
            if earlier is not None and earlier.row.in_doubt:
                self._restore(item, earlier, batch)
            elif not self._hold(item):
                fresh.append(item)
        await self._decide(fresh, batch)
        return batch

    async def _choose(self, keys: Sequence[LookupKey]) -> LookupKey:
        try:
            return await self._lookups.choose(keys)
        except ClarusError as error:
            if self._existing != "ignore" or fatal(error):
                raise
            # Nothing is looked up but what is in doubt, and by the key that works.
            return keys[-1]

    def _meet(self, records: Sequence[Numbered], batch: Batch) -> list[tuple[int, Creation, int]]:
        """Return the places, creates and numbers of the records that may be sent."""
        met = []
        for index, new in records:
            if not isinstance(new, self._spec.new):
                wanted, given = self._spec.new.__name__, type(new).__name__
                error = InvalidInputError(f"record {index}: must be a {wanted}, not {given}")
                batch.ended.append((None, _refused(index, "", self._spec.name, error), self._index.next_number()))
                continue
            creation = self._reconciler.prepare(new)
            if (number := self._index.meet(creation.pending.key)) is None:
                refused = refused_key(index, creation.pending.key, self._spec.name)
                batch.ended.append((None, refused, self._index.next_number()))
            else:
                met.append((index, creation, number))
        return met

    def _restore(self, item: WorkItem, earlier: Earlier, batch: Batch) -> None:
        if self._dry_run:
            batch.restored.append(earlier.outcome(item.index, item.new))
            return
        restore(item.pending, earlier.row, asyncio.get_running_loop().time(), same=earlier.same)
        item.journaled = True
        item.left_as = earlier.row.name or earlier.row.key
        if item.lookup_key.field == item.last_key.field:
            # It was sent under the name that it had then.
            item.lookup_key = item.last_key._replace(value=item.left_as)
        self._planned[item.shared] = self._planned.get(item.shared, 0) + 1
        batch.in_doubt.append(item)

    def _hold(self, item: WorkItem) -> bool:
        """Whether a record has to wait for another one with its last natural key."""
        if self._dry_run:
            return False
        planned = self._planned.get(item.shared, 0)
        if planned and is_weak(self._spec, item.lookup_key):
            self._waiting.setdefault(item.shared, deque()).append(item)
            self.held += 1
            return True
        self._planned[item.shared] = planned + 1
        return False

    async def _decide(self, fresh: Sequence[WorkItem], batch: Batch) -> None:
        if self._existing == "ignore":
            for item in fresh:
                if not _stays(item):
                    self._do(item, Plan(), batch)
            fresh = [item for item in fresh if _stays(item)]
        if not fresh:
            return
        found: Mapping[LookupKey, LookupRows | ClarusError]
        keys = [item.lookup_key for item in fresh]
        keys += [key for item in fresh if item.ours for key in self._former(item)]
        try:
            found = await self._lookups.look_up(keys)
        except ClarusError as error:
            if fatal(error) or isinstance(error, RateLimitedError):
                raise
            found = dict.fromkeys(keys, error)
        for item in fresh:
            rows = self._rows(item, found)
            if isinstance(rows, ClarusError):
                batch.ended.append((item, item.failed(rows), item.number))
            else:
                self._decide_one(item, rows, batch)

    def _rows(self, item: WorkItem, found: Mapping[LookupKey, LookupRows | ClarusError]) -> list[Any] | ClarusError:
        """Return what may be a record: what has its key, and what this job made of it under another."""
        there = found[item.lookup_key]
        if isinstance(there, ClarusError):
            return there
        if not item.ours:
            return there.rows
        rows = [*there.rows]
        for key in self._former(item):
            former = found[key]
            if isinstance(former, ClarusError):
                return former
            made = (row for row in former.rows if row.id in {item.own_id, *item.others})
            rows.extend(row for row in made if row not in rows)
        return rows

    def _decide_one(self, item: WorkItem, rows: list[Any], batch: Batch) -> None:
        item.in_doubt.seen = frozenset(row.id for row in rows) if rows else _NOTHING
        if not rows:
            self._do(item, _SEND, batch)
            return
        weak, last = is_weak(self._spec, item.lookup_key), item.last_key
        claims = self._index.claimed(item.shared, item.own_id) if weak else Claims()
        # What has a name that only the server takes for equal may be that of one which waits.
        waits = item.shared in self._waiting
        another = weak and waits and all(getattr(row, last.field, None) != last.value for row in rows)
        plan = plan_create(
            self._spec,
            item.pending.keys,
            item.lookup_key,
            rows,
            "adopt" if self._existing == "ignore" else self._existing,
            claimed=claims.ids,
            unclear=claims.by_key_alone or claims.in_doubt or another,
            own_id=item.own_id if item.ours and not item.others else None,
        )
        if plan.id is not None:
            self._index.compare(item, plan.id, next(row for row in rows if row.id == plan.id))
        self._do(item, plan, batch)

    async def begin_anew(self, item: WorkItem) -> Batch:
        """Say what is to be done with a record of which nothing is there of what it was before it was edited."""
        batch = Batch()
        item.creation = self._reconciler.prepare(item.new)
        item.lookup_key = await self._choose(item.pending.keys)
        await self._decide([item], batch)
        return batch

    def _do(self, item: WorkItem, plan: Plan, batch: Batch) -> None:
        if self._dry_run or plan.status not in _SENT:
            batch.ended.append((item, item.planned(plan), item.number))
            return
        if plan.status is OutcomeStatus.UPDATED:
            item.update_id = plan.id
        else:
            item.own_id, item.ours = None, False
        batch.to_send.append(item)

    def release(self, item: WorkItem) -> WorkItem | None:
        """Note that a record is at its end, and return the next one with its last natural key that waited for that."""
        planned = self._planned.get(item.shared, 0)
        if planned > 1:
            self._planned[item.shared] = planned - 1
            return None
        waiting = self._waiting.get(item.shared)
        if waiting is None:
            self._planned.pop(item.shared, None)
            return None
        self.held -= 1
        following = waiting.popleft()
        if not waiting:
            del self._waiting[item.shared]
        return following

    async def follow(self, before: WorkItem, outcome: Outcome, item: WorkItem) -> Batch:
        """Say what is to be done with a record that waited for another one with its last natural key."""
        batch = Batch()
        claims = self._index.claimed(item.shared, item.own_id)
        seen = before.in_doubt.seen
        if self._existing == "ignore":
            await self._decide([item], batch)
        elif not item.ours and (claims.by_key_alone or outcome.status in _UNCLEAR):
            called = item.last_key.called
            reason = (
                f"another record of the input has the same {called}, and which record that is, is not clear;"
                f" {untold(self._spec, item.last_key)}, so whose a record of this {called} is can't be told;"
                " nothing was sent"
            )
            self._do(item, Plan(OutcomeStatus.CONFLICT, reason=reason), batch)
        elif before.lookup_key == item.lookup_key and seen is not None and item.own_id is None:
            # What was there then, and what came since, is known: no need to look again.
            item.in_doubt.seen = seen | claims.ids
            self._do(item, Plan(), batch)
        else:
            await self._decide([item], batch)
        return batch

    def drop(self) -> list[WorkItem]:
        """Let go of what waits for another record with its last natural key."""
        dropped = [item for waiting in self._waiting.values() for item in waiting]
        self._waiting.clear()
        self.held = 0
        return dropped

    def _former(self, item: WorkItem) -> list[LookupKey]:
        """Return what else a record is looked up by that this job made, and that may have another last natural key."""
        if not item.ours or not is_weak(self._spec, item.lookup_key):
            return []
        return [item.last_key._replace(value=name) for name in item.names]


def _stays(item: WorkItem) -> bool:
    """Whether what is there is not to be ignored: this job made it, and the record may be what it was then."""
    return item.ours and not item.edited


_SEND: Final = Plan()
_NOTHING: Final = frozenset[int]()
_SENT: Final = (None, OutcomeStatus.UPDATED)
_UNCLEAR: Final = frozenset({OutcomeStatus.CONFLICT, OutcomeStatus.UNRESOLVED, OutcomeStatus.DUPLICATED})


def refused_key(index: int, key: str, resource: str) -> Outcome:
    """Build the outcome of a record whose key was in the input before."""
    return _refused(index, key, resource, InvalidInputError(f"record {index}: its key is in the input already"))


def _refused(index: int, key: str, resource: str, error: ClarusError) -> Outcome:
    return Outcome(index=index, key=key, status=OutcomeStatus.FAILED, resource=resource, error=Problem.of(error))
