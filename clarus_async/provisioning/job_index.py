"""What a run knows of the records of its job: those of its input so far, and those that a journal holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import attrs
import orjson

from clarus_async.errors import Applied
from clarus_async.provisioning.existing import compare, unchangeable, unpatchable
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Row
from clarus_async.provisioning.options import Existing
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem
from clarus_async.provisioning.text_numbers import TextNumbers
from clarus_async.provisioning.work_item import Fingerprint, WorkItem
from clarus_async.reconcile.pending import InDoubt, LookupKey, Moment, PendingCreate
from clarus_async.resources.spec import AnySpec
from clarus_async.wire.reading import unstructure

_IN_FLIGHT: Final = Problem(
    type="OutcomeUnknownError",
    message="it was about to be sent, or in flight, when the run ended; the next run with this journal settles it",
    applied=Applied.MAYBE,
    retryable=False,
)
_UNTOLD: Final = Fingerprint()
_FINISHED: Final = frozenset({"created", "adopted", "updated", "duplicated"})


class Earlier(NamedTuple):
    """What a journal says of a record of the input, and whether the record is the same as then."""

    spec: AnySpec
    row: Row
    same: bool

    def answers(self, existing: Existing) -> bool:
        """Whether it was brought to its end as it is wanted now, and is not to be touched again."""
        if not self.same or self.row.status not in _FINISHED:
            return False
        # What this job made is no record that was there before: it is neither sent a second time nor refused. "update"
        # may be asked for to undo what others changed.
        sent = self.row.ours and not self.row.differs and existing != "update"
        return sent or self.row.existing == existing

    def tell(self, item: WorkItem) -> None:
        """Tell what is known of a record that is to be decided anew."""
        row = self.row
        if row.status == "deleted":
            return
        item.own_id, item.ours, item.given = row.id, row.ours, row.given
        item.others = {*row.others} - {row.id}
        item.edited = not self.same and row.hash != ""
        last = item.last_key.value
        item.names = [name for name in dict.fromkeys((row.name or row.key, *row.names)) if name != last]
        # Of a create that was brought to its end, another one is no repetition.
        if (row.in_doubt or (self.same and not row.ours)) and row.idempotency_key:
            item.pending.idempotency_key = row.idempotency_key

    def outcome(self, index: int, new: object) -> Outcome:
        """Build the outcome that it had."""
        outcome = outcome_of(self.row, self.spec.name, index)
        if outcome.status is not OutcomeStatus.UPDATED:
            return outcome
        return attrs.evolve(outcome, unpatched=unpatchable(self.spec, new))


def outcome_of(row: Row, resource: str, index: int | None = None) -> Outcome:
    """Build the outcome that a journal holds; what is in flight is unresolved."""
    if row.error:
        error: Problem | None = Problem(**row.error | {"applied": Applied(row.error["applied"])})
    else:
        error = _IN_FLIGHT if row.status in {None, OutcomeStatus.UNRESOLVED} else None
    return Outcome(
        # A journal does not hold the record's place in the input; its number there tells one from another as well.
        index=row.n - 1 if index is None else index,
        key=row.key,
        status=OutcomeStatus.UNRESOLVED if row.status is None else OutcomeStatus(row.status),
        id=row.id,
        resource=resource,
        matched_by=row.matched_by,
        error=error,
        attempts=row.attempts,
        others=tuple(row.others),
        differs=tuple(row.differs),
    )


def restore(pending: PendingCreate, row: Row, now: float, *, same: bool) -> None:
    """Take over what a journal says of a create that was left in doubt; ``settle`` counts from ``now``."""
    pending.was_in_doubt = True
    pending.in_doubt = InDoubt(
        seen=None if row.seen is None else frozenset(row.seen),
        sends=row.sends or 1,
        given_up=now,
        applied=Applied((row.error or {}).get("applied", Applied.MAYBE)),
        answered_id=row.id,
        refused=not same,
    )
    if row.sent is not None:
        pending.first_sent = Moment(datetime.fromtimestamp(row.sent, UTC))


class Claims(NamedTuple):
    """The records with the same last natural key that are others' of the job."""

    ids: frozenset[int] = frozenset()  # of those that are known
    by_key_alone: bool = False  # one of them was only found by that key
    in_doubt: bool = False  # an earlier run left one of which nobody knows whether it is there


class JobIndex:
    """The keys of a job's records, and its journal if it has one."""

    def __init__(self, spec: AnySpec, journal: Journal | None, existing: Existing) -> None:
        self._spec = spec
        self._journal = journal
        self._existing = existing
        self._met = TextNumbers()  # the keys that were in this input
        self._journaled = TextNumbers()  # those that the journal held when it was opened, with their numbers
        self._claimed = TextNumbers()  # last natural keys, with the ids of the records that are known to have them
        # The same, of records that nothing else tells from others with that key.
        self._claimed_by_key_alone = TextNumbers()
        self._in_doubt = Counter[str]()
        self._last_number = 0
        self._last_journaled = 0  # the last number that the journal held when it was opened

    async def open(self) -> None:
        """Open the journal, and take in what it holds."""
        if self._journal is None:
            return
        for known in await self._journal.open():
            self._last_number = self._last_journaled = max(self._last_number, known.n)
            self._journaled.add(known.key, known.n)
            for name in (known.name, *known.names):
                self._claim(self._shared(name, known.scope), known.id, by_key_alone=known.by_key_alone)
            if known.in_doubt:
                self._in_doubt[self._shared(known.name, known.scope)] += 1
        await self._journal.run(self._journal.file.forget_refused)

    async def close(self, unsent: Sequence[WorkItem] = (), *, complete: bool = True) -> None:
        """Close the journal."""
        if self._journal is None:
            return
        try:
            # What is known of the others is what an earlier run wrote.
            if (journaled := [item.number for item in unsent if item.journaled]) and self._journal.error is None:
                await self._journal.run(partial(self._journal.file.forget, journaled))
        finally:
            await self._journal.close(complete=complete)

    def meet(self, key: str) -> int | None:
        """Note that a key is in the input; return its number, or ``None`` where it was met before."""
        if self._met.find(key):
            return None
        self._met.add(key, 0)
        numbers = self._journaled.find(key)
        return numbers[-1] if numbers else self.next_number()

    def next_number(self) -> int:
        """Return a number for a record that the journal does not hold."""
        if self._journal is not None:
            self._last_number += 1
        return self._last_number

    async def earlier(self, wanted: dict[int, object]) -> dict[int, Earlier]:
        """Read what the journal says of records, by number."""
        journaled = [number for number in wanted if number <= self._last_journaled]
        if self._journal is None or not journaled:
            return {}
        rows = await self._journal.run(partial(self._journal.file.fetch, journaled))
        return {n: self._earlier(row, wanted[n]) for n, row in rows.items()}

    def _earlier(self, row: Row, new: object) -> Earlier:
        fields = unstructure(new)
        same = row.hash == self._hash(fields)
        if same and row.given is None and (row.ours or row.in_doubt or row.status == OutcomeStatus.UPDATED):
            # A journal of version 1 does not hold them, and they are those of what was sent.
            row = row._replace(given=self._digests(fields))
        return Earlier(self._spec, row, same)

    def fingerprint(self, new: Any) -> Fingerprint:  # noqa: ANN401
        """Return what tells whether a record has changed, and which of its attributes, where there is a journal."""
        if self._journal is None:
            return _UNTOLD
        fields = unstructure(new)
        return Fingerprint(self._hash(fields), self._digests(fields))

    def _hash(self, fields: Mapping[str, Any]) -> str | None:
        if self._journal is None:
            return None
        content = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
        return blake2b(content, key=self._journal.file.salt, digest_size=12).hexdigest()

    def _digests(self, fields: Mapping[str, Any]) -> dict[str, str]:
        if self._journal is None:
            return {}
        salt, option = self._journal.file.salt, orjson.OPT_SORT_KEYS
        return {
            name: blake2b(name.encode() + orjson.dumps(value, option=option), key=salt, digest_size=3).hexdigest()
            for name, value in fields.items()
        }

    def compare(self, item: WorkItem, found: int, row: object | None) -> None:
        """Note in what a record that is there differs from what is given."""
        if found != item.own_id:
            item.ours, item.given = False, None
        ours = item.ours and self._journal is not None
        last = item.last_key
        if row is not None and (listed := getattr(row, last.field, None)) is not None:
            item.names = [listed] if listed != last.value else []
        item.there = compare(self._spec, item.new, row, item.given, item.fingerprint.digests, ours=ours)

    def claimed(self, shared: str, own_id: int | None = None) -> Claims:
        """Say which records with the same last natural key are others' of the job than the one with this id."""
        certain = frozenset(self._claimed.find(shared)) - {own_id}
        by_key_alone = frozenset(self._claimed_by_key_alone.find(shared)) - {own_id}
        return Claims(certain | by_key_alone, by_key_alone=bool(by_key_alone), in_doubt=self._in_doubt[shared] > 0)

    def _shared(self, name: str, scope: Sequence[object] | None) -> str:
        """Return what records with the same last natural key have in common."""
        last = self._spec.keys[-1]
        return LookupKey(last.field, name, last.called, tuple(zip(last.scope, scope or (), strict=False))).folded

    def _claim(self, shared: str, found: int | None, *, by_key_alone: bool) -> None:
        if found is not None:
            (self._claimed_by_key_alone if by_key_alone else self._claimed).add(shared, found)

    async def intend(self, items: Sequence[WorkItem], now: datetime | None) -> None:
        """Write down what is about to be sent; ``now`` is on the server's clock, or ``None`` where nobody knows it."""
        if self._journal is None:
            return
        for item in items:
            item.given = item.fingerprint.digests
        await self._journal.write([_intent(item, now) for item in items])
        for item in items:
            item.journaled = True

    async def change(self, items: Sequence[WorkItem]) -> None:
        """Write down that records are about to be changed."""
        journal = self._journal
        if journal is not None and items:
            rows = [
                Row(
                    item.number,
                    item.pending.key,
                    id=item.update_id,
                    ours=item.ours,
                    given=_unchanged(item),
                    names=[item.last_key.value, *item.names],
                )
                for item in items
            ]
            await journal.run(partial(journal.file.change, rows))

    def ended(self, item: WorkItem, outcome: Outcome) -> None:
        """Note whose the record is that an outcome names."""
        found = outcome.id
        if found is not None:
            certain = item.in_doubt.sends > 0 or found == item.own_id
            by_key_alone = not certain and outcome.matched_by == item.last_key.called
            self._claim(item.shared, found, by_key_alone=by_key_alone)
        self.settled(item)

    def settled(self, item: WorkItem) -> None:
        """Note that it is known what became of a record that an earlier run left in doubt."""
        if item.left_as is not None:
            self._in_doubt[item.last_key._replace(value=item.left_as).folded] -= 1
            item.left_as = None

    async def record(self, ended: Sequence[tuple[WorkItem | None, Outcome, int]]) -> None:
        """Write down outcomes, each with its record where it is one, and its number."""
        if self._journal is None:
            return
        rows: list[Row] = []
        wall, now = round(datetime.now(UTC).timestamp(), 3), asyncio.get_running_loop().time()
        for item, outcome, number in ended:
            if item is None:
                rows += (Row(number, outcome.key), completion_of(number, outcome, ended=wall))
                continue
            pending = item.pending
            if not item.journaled:
                names = () if outcome.status is OutcomeStatus.UPDATED else item.names
                given = self._given(item, outcome)
                rows.append(intent_of(number, pending.keys, hash=item.fingerprint.hash, given=given, names=names))
            sends = pending.in_doubt.sends
            # What this job made stays known, also where a run could not say so.
            made = item.own_id if item.ours and outcome.id is None else outcome.id
            ours = item.ours or is_ours(outcome, sends)
            rows.append(
                completion_of(
                    number,
                    outcome,
                    id=made,
                    sends=sends,
                    unknown=pending.was_in_doubt,
                    existing=self._existing,
                    ours=ours,
                    ended=wall,
                    took=_took(item, now),
                )
            )
        await self._journal.write(rows)

    def _given(self, item: WorkItem, outcome: Outcome) -> Mapping[str, str] | None:
        """Return what the server was given of a record that is not sent as a new one."""
        if item.update_id is None or outcome.status not in {OutcomeStatus.UPDATED, OutcomeStatus.UNRESOLVED}:
            return item.given
        kept = _unchanged(item)
        if outcome.status is OutcomeStatus.UNRESOLVED:
            return kept
        digests = item.fingerprint.digests
        fixed = unchangeable(self._spec, digests)
        return {name: digest for name, digest in digests.items() if name not in fixed} | (kept or {})


def _unchanged(item: WorkItem) -> dict[str, str] | None:
    given = item.given
    return None if given is None else {name: given[name] for name in unchangeable(item.spec, given)}


def intent_of(number: int, keys: Sequence[LookupKey], **more: Any) -> Row:  # noqa: ANN401
    """Build the intent of a record with these natural keys; ``more`` is as in ``Row``."""
    key, last = keys[0].text, keys[-1]
    name = None if last.value == key else last.value
    return Row(number, key, name, scope=[value for _, value in last.scope] or None, **more)


def is_ours(outcome: Outcome, sends: int) -> bool:
    """Whether a send of the job made what is there."""
    made = {OutcomeStatus.CREATED, OutcomeStatus.DUPLICATED}
    return outcome.status in made or (outcome.status is OutcomeStatus.ADOPTED and sends > 0)


def _took(item: WorkItem, now: float) -> float | None:
    """Return the seconds since a record was first sent in this run, or taken over from another as one in doubt."""
    in_doubt, sent_at = item.in_doubt, item.creation.sent_at
    since = in_doubt.given_up if sent_at is None and in_doubt.sends else sent_at
    return None if since is None else round(max(0.0, now - since), 3)


def _intent(item: WorkItem, now: datetime | None) -> Row:
    pending = item.pending
    seen = pending.in_doubt.seen
    first_sent = now if pending.first_sent is None else pending.first_sent.server
    return intent_of(
        item.number,
        pending.keys,
        hash=item.fingerprint.hash,
        idempotency_key=pending.idempotency_key,
        seen=None if seen is None else sorted(seen),
        sent=None if first_sent is None else first_sent.timestamp(),
        sends=pending.in_doubt.sends + 1,
        unknown=pending.was_in_doubt,
        given=item.given,
    )


def completion_of(number: int, outcome: Outcome, **more: Any) -> Row:  # noqa: ANN401
    """Build the completion of a record; ``more`` is as in ``Row``."""
    fields = {"id": outcome.id, **more}
    return Row(
        number,
        outcome.key,
        status=outcome.status.value,
        matched_by=outcome.matched_by,
        attempts=outcome.attempts,
        others=tuple(outcome.others),
        error=None if outcome.error is None else attrs.asdict(outcome.error),
        differs=tuple(outcome.differs),
        **fields,
    )
