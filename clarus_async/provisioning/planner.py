"""From the input to what is to be done with each record: checked, looked up in batches, and decided."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import attrs

from clarus_async.errors import ClarusError, InvalidInputError, RateLimitedError
from clarus_async.provisioning.existing import Action, Before, Existing, before_sending, there
from clarus_async.provisioning.input_buffer import Numbered
from clarus_async.provisioning.job_index import Claims, Earlier, JobIndex
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem
from clarus_async.provisioning.work_item import WorkItem
from clarus_async.reconcile.decide import InDoubt
from clarus_async.reconcile.lookup_batcher import LookupBatcher, Seen, fatal
from clarus_async.reconcile.pending import NAME, Api, Lookup, PendingCreate, folded
from clarus_async.resources.integrations import NewIntegration


@attrs.define(eq=False)
class Batch:
    """What came of some records of the input.

    Args:
        ended: outcomes, with the record where it is one, and its number in the journal.
        restored: outcomes that the journal had.
        to_send: records that are to be sent for the first time, or changed.
        in_doubt: records that an earlier run may have sent.
    """

    ended: list[tuple[WorkItem | None, Outcome, int]] = attrs.field(factory=list)
    restored: list[Outcome] = attrs.field(factory=list)
    to_send: list[WorkItem] = attrs.field(factory=list)
    in_doubt: list[WorkItem] = attrs.field(factory=list)


class Planner:
    """Prepares the records of a run.

    Records that are looked up by one name are sent one after the other, so that what is found by it is certainly the
    one's that is in doubt.

    Args:
        api: what the client can do.
        ledger: what is known of the job's records.
        looks: finds what is there.
        existing: what is done with it.
        dry_run: nothing is sent, and every outcome says what would be.
    """

    def __init__(self, api: Api, ledger: JobIndex, looks: LookupBatcher, existing: Existing, *, dry_run: bool) -> None:
        self._api = api
        self._ledger = ledger
        self._looks = looks
        self._existing = existing
        self._dry_run = dry_run
        self._lines: dict[str, _Line] = {}
        self.held: int = 0
        """Records that wait for another one of their name."""

    async def prepare(self, records: Sequence[Numbered]) -> Batch:
        """Say what is to be done with records.

        Args:
            records: the next of the input.

        Raises:
            ClarusError: what would fail every record.
        """
        batch = Batch()
        met = self._meet(records, batch)
        earlier = await self._ledger.earlier({-n: new for _, new, n in met if n < 0})
        fresh = []
        for index, new, number in met:
            n = abs(number)
            before = earlier.get(n)
            if before is not None and before.answers(self._existing):
                batch.restored.append(before.outcome(index, new))
                continue
            lookup = self._looks.known(new.external_system_reference1, new.name) or await self._lookup(new)
            item = WorkItem(index, new, n, self._ledger.hash(new), lookup, self._draft(new, before))
            if before is not None:
                before.tell(item)
            if before is not None and before.in_doubt:
                self._doubt(item, before, batch)
            elif not self._hold(item):
                fresh.append(item)
        await self._decide(fresh, batch)
        return batch

    def _draft(self, new: NewIntegration, before: Earlier | None) -> PendingCreate:
        # Of a create that was brought to its end, another one is no repetition.
        keeps = before is not None and (before.in_doubt or (before.same and not before.row.ours))
        return self._api.draft(new, before.row.idempotency_key if before is not None and keeps else None)

    async def _lookup(self, new: NewIntegration) -> Lookup:
        try:
            return await self._looks.lookup(new.external_system_reference1, new.name)
        except ClarusError as error:
            if self._existing != "ignore" or fatal(error):
                raise
            # Nothing is looked up but what is in doubt, and by the name that works.
            return Lookup(NAME, new.name)

    def _meet(self, records: Sequence[Numbered], batch: Batch) -> list[tuple[int, NewIntegration, int]]:
        met = []
        for index, new in records:
            if not isinstance(new, NewIntegration):
                error = InvalidInputError(f"record {index}: must be a NewIntegration, not {type(new).__name__}")
                batch.ended.append((None, _refused(index, "", error), self._ledger.next_number()))
            elif (number := self._ledger.meet(new.key)) is None:
                batch.ended.append((None, refused_key(index, new.key), self._ledger.next_number()))
            else:
                met.append((index, new, number))
        return met

    def _doubt(self, item: WorkItem, earlier: Earlier, batch: Batch) -> None:
        if self._dry_run:
            batch.restored.append(earlier.outcome(item.index, item.new))
            return
        earlier.doubt(item.draft, asyncio.get_running_loop().time())
        item.entered = True
        item.changed = not earlier.same
        item.was_in_doubt = earlier.row.name or earlier.row.key
        if item.lookup.field == NAME:
            # It was sent under the name that it had then.
            item.lookup = Lookup(NAME, item.was_in_doubt)
        self._lines.setdefault(folded(item.new.name), _Line()).under_way += 1
        batch.in_doubt.append(item)

    def _hold(self, item: WorkItem) -> bool:
        """Whether a record has to wait for another one of its name."""
        if self._dry_run:
            return False
        line = self._lines.setdefault(folded(item.new.name), _Line())
        if line.under_way and item.lookup.field == NAME:
            line.held.append(item)
            self.held += 1
            return True
        line.under_way += 1
        return False

    async def _decide(self, fresh: Sequence[WorkItem], batch: Batch) -> None:
        if self._existing == "ignore":
            for item in fresh:
                if not _stays(item):
                    self._do(item, Before(Action.SEND), batch)
            fresh = [item for item in fresh if _stays(item)]
        if not fresh:
            return
        try:
            found = await self._looks.now(lookup for item in fresh for lookup in (item.lookup, *_former(item)))
        except ClarusError as error:
            if fatal(error) or isinstance(error, RateLimitedError):
                raise
            for item in fresh:
                batch.ended.append((item, item.failed(error), item.n))
            return
        for item in fresh:
            seen = found[item.lookup]
            if isinstance(seen, ClarusError):
                batch.ended.append((item, item.failed(seen), item.n))
                continue
            for lookup in _former(item):
                former = found[lookup]
                if isinstance(former, ClarusError):
                    batch.ended.append((item, item.failed(former), item.n))
                    break
                made = (row for row in former.rows if row.id in {item.own, *item.others})
                seen.rows.extend(row for row in made if row not in seen.rows)
            else:
                self._decide_one(item, seen, batch)

    def _decide_one(self, item: WorkItem, seen: Seen, batch: Batch) -> None:
        by_name = item.lookup.field == NAME
        claims = self._ledger.claimed(item.new.name, item.own) if by_name else _NO_CLAIMS
        # What has a name that only the server takes for equal may be that of one which waits.
        line = self._lines.get(folded(item.new.name))
        another = by_name and bool(line and line.held) and all(row.name != item.new.name for row in seen.rows)
        before = before_sending(
            item.new,
            item.lookup,
            seen.rows,
            "adopt" if self._existing == "ignore" else self._existing,
            claimed=claims.ids,
            unclear=claims.by_name or claims.in_doubt or another,
            own=item.own if item.ours and not item.others else None,
        )
        item.draft.doubt = InDoubt(seen=frozenset(row.id for row in seen.rows))
        if before.integration_id is not None:
            row = next(row for row in seen.rows if row.id == before.integration_id)
            self._ledger.compare(item, before.integration_id, row)
        self._do(item, before, batch)

    async def begin_anew(self, item: WorkItem) -> Batch:
        """Say what is to be done with a record of which nothing is there of what it was before it was changed.

        Args:
            item: the record, whose doubt is settled.

        Raises:
            ClarusError: what would fail every record.
        """
        batch = Batch()
        item.draft = self._api.draft(item.new)
        item.lookup = await self._lookup(item.new)
        await self._decide([item], batch)
        return batch

    def found(self, item: WorkItem, found: int) -> Before:
        """Say what is to be done with a record that is there as it was before it was changed.

        Args:
            item: the record, whose doubt is settled.
            found: the id that it has.
        """
        return there(item.lookup, found, self._existing)

    def _do(self, item: WorkItem, before: Before, batch: Batch) -> None:
        if before.action is Action.END or self._dry_run:
            batch.ended.append((item, item.before(before), item.n))
            return
        if before.action is Action.UPDATE:
            item.update = before.integration_id
        else:
            item.own, item.ours = None, False
        batch.to_send.append(item)

    def release(self, item: WorkItem) -> WorkItem | None:
        """Note that a record is at its end, and return the next one of its name that waited for that.

        Args:
            item: the record.
        """
        line = self._lines.get(folded(item.new.name))
        if line is None:
            return None
        line.under_way -= 1
        if line.under_way:
            return None
        if not line.held:
            del self._lines[folded(item.new.name)]
            return None
        line.under_way = 1
        self.held -= 1
        return line.held.popleft()

    async def follow(self, before: WorkItem, outcome: Outcome, item: WorkItem) -> Batch:
        """Say what is to be done with a record that waited for another one of its name.

        Args:
            before: the other one.
            outcome: what became of that.
            item: the record.

        Raises:
            ClarusError: what would fail every record.
        """
        batch = Batch()
        claims = self._ledger.claimed(item.new.name, item.own)
        if self._existing == "ignore":
            await self._decide([item], batch)
        elif not item.ours and (claims.by_name or outcome.status in _UNCLEAR):
            why = (
                "another record of the input has the same name, and which record that is, is not clear; this tenant"
                " can't be searched by reference, so whose a record of this name is can't be told; nothing was sent"
            )
            self._do(item, Before(Action.END, OutcomeStatus.CONFLICT, why=why), batch)
        elif before.lookup == item.lookup and before.draft.doubt.seen is not None and item.own is None:
            # What was there then, and what came since, is known: no need to look again.
            item.draft.doubt = InDoubt(seen=before.draft.doubt.seen | claims.ids)
            self._do(item, Before(Action.SEND), batch)
        else:
            await self._decide([item], batch)
        return batch

    def drop(self) -> list[WorkItem]:
        """Let go of what waits for another record of its name."""
        dropped = [item for line in self._lines.values() for item in line.held]
        for line in self._lines.values():
            line.held.clear()
        self.held = 0
        return dropped


@attrs.define(eq=False)
class _Line:
    """The records of one name: how many are under way, and those that wait."""

    under_way: int = 0
    held: deque[WorkItem] = attrs.field(factory=deque)


def _stays(item: WorkItem) -> bool:
    """Whether what is there is not to be ignored: this job made it, and the record may be what it was then."""
    return item.ours and not item.corrected


def _former(item: WorkItem) -> list[Lookup]:
    """Return what else a record is looked up by that this job made, and that may have another name."""
    if item.lookup.field != NAME or not item.ours:
        return []
    return [Lookup(NAME, name) for name in item.names]


_NO_CLAIMS = Claims(frozenset(), by_name=False, in_doubt=False)
_UNCLEAR = frozenset({OutcomeStatus.CONFLICT, OutcomeStatus.UNRESOLVED, OutcomeStatus.DUPLICATED})


def refused_key(index: int, key: str) -> Outcome:
    """Build the outcome of a record whose key was in the input before.

    Args:
        index: its place in the input.
        key: the record's.
    """
    return _refused(index, key, InvalidInputError(f"record {index}: its key is in the input already"))


def _refused(index: int, key: str, error: ClarusError) -> Outcome:
    return Outcome(index=index, key=key, status=OutcomeStatus.FAILED, error=Problem.of(error))
