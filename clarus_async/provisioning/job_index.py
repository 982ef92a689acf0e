"""What a run knows of the records of its job: those of its input so far, and those that a journal holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, NamedTuple

import attrs
import orjson

from clarus_async.errors import Applied
from clarus_async.provisioning.digests import Digests
from clarus_async.provisioning.existing import Existing, differences, unchangeable, unpatchable
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Change, Completion, Intent, Row
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem
from clarus_async.provisioning.work_item import WorkItem
from clarus_async.reconcile.decide import InDoubt
from clarus_async.reconcile.pending import Moment, PendingCreate, folded
from clarus_async.resources.integrations import IntegrationRow, NewIntegration
from clarus_async.wire.reading import unstructure

_MET: Final = 0  # the number of a key that was in this input
_IN_FLIGHT: Final = Problem(
    type="OutcomeUnknownError",
    message="it was about to be sent, or in flight, when the run ended; the next run with this journal settles it",
    applied=Applied.MAYBE,
    retryable=False,
)
_FINISHED: Final = frozenset({"created", "adopted", "updated", "duplicated"})


class Earlier(NamedTuple):
    """What a journal says of a record of the input.

    Args:
        row: as it was written.
        same: the record is the same as then.
    """

    row: Row
    same: bool

    def answers(self, existing: Existing) -> bool:
        """Whether it was brought to its end as it is wanted now, and is not to be touched again.

        Args:
            existing: what is to be done with what is there.
        """
        if not self.same or self.row.status not in _FINISHED:
            return False
        # What this job made is no record that was there before: it is neither sent a second time nor refused. "update"
        # may be asked for to undo what others changed.
        sent = self.row.ours and not self.row.differs and existing != "update"
        return sent or self.row.existing == existing

    @property
    def in_doubt(self) -> bool:
        """Whether it may have been sent as a new record, and nobody knows what became of that."""
        return self.row.in_doubt

    def tell(self, item: WorkItem) -> None:
        """Tell what is known of a record that is to be decided anew.

        Args:
            item: the record.
        """
        row = self.row
        item.own, item.ours, item.given = row.integration_id, row.ours, row.given
        item.others = {*row.others} - {row.integration_id}
        item.corrected = not self.same and row.hash != ""
        item.names = [name for name in dict.fromkeys((row.name or row.key, *row.names)) if name != item.new.name]

    def outcome(self, index: int, new: NewIntegration | None = None) -> Outcome:
        """Build the outcome that it had.

        Args:
            index: its place in this input.
            new: the record, where it is at hand.
        """
        row = self.row
        if row.error:
            error: Problem | None = Problem(**row.error | {"applied": Applied(row.error["applied"])})
        else:
            error = _IN_FLIGHT if row.status in {None, OutcomeStatus.UNRESOLVED} else None
        return Outcome(
            index=index,
            key=row.key,
            status=OutcomeStatus.UNRESOLVED if row.status is None else OutcomeStatus(row.status),
            integration_id=row.integration_id,
            matched_by=row.matched_by,
            error=error,
            attempts=row.attempts,
            others=tuple(row.others),
            differs=tuple(row.differs),
            unpatched=unpatchable(new) if new is not None and row.status == OutcomeStatus.UPDATED else (),
        )

    def doubt(self, draft: PendingCreate, now: float) -> None:
        """Put a draft into the doubt in which the record was left.

        Args:
            draft: the record's.
            now: seconds on the event loop's clock; ``settle`` counts from here.
        """
        seen = None if self.row.seen is None else frozenset(self.row.seen)
        draft.doubted = True
        draft.doubt = InDoubt(
            seen=seen,
            sends=self.row.sends or 1,
            given_up=now,
            applied=Applied((self.row.error or {}).get("applied", Applied.MAYBE)),
            made=self.row.integration_id,
            refused=not self.same,
        )
        if self.row.sent is not None:
            draft.first_sent = Moment(datetime.fromtimestamp(self.row.sent, UTC))


class Claims(NamedTuple):
    """The records of one name that are others' of the job.

    Args:
        ids: of those that are known.
        by_name: one of them was only found by the name.
        in_doubt: an earlier run left one of which nobody knows whether it is there.
    """

    ids: frozenset[int]
    by_name: bool
    in_doubt: bool


class JobIndex:
    """The keys and names of a job's records, and its journal if it has one.

    Args:
        journal: open, or none.
        existing: what is to be done with what is there.
    """

    def __init__(self, journal: Journal | None, existing: Existing) -> None:
        self._journal = journal
        self._existing = existing
        self._keys = Digests()
        self._names = Digests()
        self._in_doubt = Counter[str]()
        self._last = 0

    async def open(self) -> None:
        """Open the journal, and take in what it holds.

        Raises:
            JournalError: it can't be used.
        """
        if self._journal is None:
            return
        for known in await self._journal.open():
            self._last = max(self._last, known.n)
            self._keys.add(known.key, known.n)
            for name in (known.name, *known.names):
                self._note(name, known.integration_id, by_name=known.by_name)
            if known.in_doubt:
                self._in_doubt[folded(known.name)] += 1
        await self._journal.run(self._journal.file.forget_refused)

    async def close(self, unsent: Sequence[WorkItem] = ()) -> None:
        """Close the journal.

        Args:
            unsent: records that were to be sent, and never were.
        """
        if self._journal is None:
            return
        try:
            # What is known of the others is what an earlier run wrote.
            if (entered := [item.n for item in unsent if item.entered]) and not self._journal.broken:
                await self._journal.forget(entered)
        finally:
            await self._journal.close()

    def meet(self, key: str) -> int | None:
        """Note that a key is in the input; return its number in the journal, or ``None`` where it was met before.

        Args:
            key: a record's. One that is new to the journal gets a number.
        """
        numbers = self._keys.find(key)
        if _MET in numbers:
            return None
        self._keys.add(key, _MET)
        if numbers:
            return -numbers[-1]
        return self.next_number()

    def next_number(self) -> int:
        """Return a number for a record that the journal does not hold."""
        if self._journal is not None:
            self._last += 1
        return self._last

    async def earlier(self, wanted: dict[int, NewIntegration]) -> dict[int, Earlier]:
        """Read what the journal says of records, by number.

        Args:
            wanted: the records, by their numbers.

        Raises:
            JournalError: it can't be read.
        """
        if self._journal is None or not wanted:
            return {}
        rows = await self._journal.fetch(list(wanted))
        return {n: self._earlier(row, wanted[n]) for n, row in rows.items()}

    def _earlier(self, row: Row, new: NewIntegration) -> Earlier:
        same = row.hash == self.hash(new)
        if same and row.given is None and (row.ours or row.in_doubt or row.status == OutcomeStatus.UPDATED):
            # A journal of version 1 does not hold them, and they are those of what was sent.
            row = row._replace(given=self._digests(new))
        return Earlier(row, same)

    def hash(self, new: NewIntegration) -> str | None:
        """Return what tells whether a record has changed, where there is a journal.

        Args:
            new: which.
        """
        if self._journal is None:
            return None
        content = orjson.dumps(unstructure(new), option=orjson.OPT_SORT_KEYS)
        return blake2b(content, key=self._journal.salt, digest_size=12).hexdigest()

    def _digests(self, new: NewIntegration) -> dict[str, str]:
        """Return what tells which attributes of a record have changed, where there is a journal."""
        if self._journal is None:
            return {}
        salt = self._journal.salt
        return {
            name: blake2b(
                name.encode() + orjson.dumps(value, option=orjson.OPT_SORT_KEYS), key=salt, digest_size=3
            ).hexdigest()
            for name, value in unstructure(new).items()
        }

    def compare(self, item: WorkItem, found: int, row: IntegrationRow | None) -> None:
        """Note in what a record that is there differs from what is given.

        Args:
            item: the record of the input.
            found: the id of what is there.
            row: what the list says of it.
        """
        if found != item.own:
            item.ours, item.given = False, None
        ours = item.ours and self._journal is not None
        if row is not None and row.name is not None:
            item.names = [row.name] if row.name != item.new.name else []
        item.differs = differences(item.new, row, item.given, self._digests(item.new), ours=ours)

    def claimed(self, name: str, own: int | None = None) -> Claims:
        """Say which records of a name are others' of the job.

        Args:
            name: which.
            own: the id that the one that asks is known to have.
        """
        numbers = {
            number
            for number in self._names.find(folded(name))
            if number not in {own, None if own is None else -1 - own}
        }
        ids = frozenset(number if number >= 0 else -1 - number for number in numbers)
        return Claims(ids, by_name=any(number < 0 for number in numbers), in_doubt=self._in_doubt[folded(name)] > 0)

    def _note(self, name: str, found: int | None, *, by_name: bool) -> None:
        if found is not None:
            self._names.add(folded(name), -1 - found if by_name else found)

    async def intend(self, items: Sequence[WorkItem], now: datetime | None) -> None:
        """Write down what is about to be sent.

        Args:
            items: the records.
            now: what time it is on the server's clock, or was a little earlier; ``None`` where nobody knows.

        Raises:
            JournalError: it can't be written.
        """
        if self._journal is None:
            return
        for item in items:
            item.given = self._digests(item.new)
        await self._journal.write([_entry(item, now) for item in items])
        for item in items:
            item.entered = True

    async def change(self, items: Sequence[WorkItem]) -> None:
        """Write down that records are about to be changed.

        Args:
            items: the records.

        Raises:
            JournalError: it can't be written.
        """
        journal = self._journal
        if journal is not None and items:
            changes = [
                Change(item.n, item.update, item.ours, _unchanged(item), [item.new.name, *item.names])
                for item in items
                if item.update is not None
            ]
            await journal.run(lambda: journal.file.change(changes))

    def ended(self, item: WorkItem, outcome: Outcome) -> None:
        """Note whose the record is that an outcome names.

        Args:
            item: the record of the input.
            outcome: what became of it.
        """
        found = outcome.integration_id
        certain = item.draft.doubt.sends > 0 or found == item.own
        self._note(item.new.name, found, by_name=outcome.matched_by == "name" and not certain)
        self.settled(item)

    def settled(self, item: WorkItem) -> None:
        """Note that it is known what became of a record that an earlier run left in doubt.

        Args:
            item: the record.
        """
        if item.was_in_doubt is not None:
            self._in_doubt[folded(item.was_in_doubt)] -= 1
            item.was_in_doubt = None

    async def record(self, ended: Sequence[tuple[WorkItem | None, Outcome, int]]) -> None:
        """Write down outcomes.

        Args:
            ended: the record, its outcome, and its number.

        Raises:
            JournalError: they can't be written.
        """
        if self._journal is None:
            return
        rows: list[Intent | Completion] = []
        for item, outcome, n in ended:
            if item is None:
                rows += (Intent(n, outcome.key), result_of(n, outcome))
                continue
            draft = item.draft
            if not item.entered:
                names = () if outcome.status is OutcomeStatus.UPDATED else item.names
                given = self._given(item, outcome)
                rows.append(Intent(n, item.key, item.other_name, item.hash, given=given, names=names))
            sends = draft.doubt.sends
            ours = item.ours or is_ours(outcome, sends)
            result = result_of(n, outcome, sends=sends, unknown=draft.doubted, existing=self._existing, ours=ours)
            # What this job made stays known, also where a run could not say so.
            made = item.own if item.ours and outcome.integration_id is None else outcome.integration_id
            rows.append(result._replace(integration_id=made))
        await self._journal.write(rows)

    def _given(self, item: WorkItem, outcome: Outcome) -> Mapping[str, str] | None:
        """Return what the server was given of a record that is not sent as a new one."""
        if item.update is None or outcome.status not in {OutcomeStatus.UPDATED, OutcomeStatus.UNRESOLVED}:
            return item.given
        kept = _unchanged(item)
        if outcome.status is OutcomeStatus.UNRESOLVED:
            return kept
        digests = self._digests(item.new)
        fixed = unchangeable(digests)
        return {name: digest for name, digest in digests.items() if name not in fixed} | (kept or {})


def _unchanged(item: WorkItem) -> dict[str, str] | None:
    return None if item.given is None else {name: item.given[name] for name in unchangeable(item.given)}


def is_ours(outcome: Outcome, sends: int) -> bool:
    """Whether a send of the job made what is there.

    Args:
        outcome: what became of the record.
        sends: how often it was sent as a new record.
    """
    made = {OutcomeStatus.CREATED, OutcomeStatus.DUPLICATED}
    return outcome.status in made or (outcome.status is OutcomeStatus.ADOPTED and sends > 0)


def _entry(item: WorkItem, now: datetime | None) -> Intent:
    draft = item.draft
    seen = draft.doubt.seen
    first_sent = now if draft.first_sent is None else draft.first_sent.server
    return Intent(
        item.n,
        item.key,
        item.other_name,
        item.hash,
        draft.idempotency_key,
        None if seen is None else sorted(seen),
        None if first_sent is None else first_sent.timestamp(),
        draft.doubt.sends + 1,
        draft.doubted,
        item.given,
    )


def result_of(
    n: int,
    outcome: Outcome,
    *,
    sends: int | None = None,
    unknown: bool = False,
    existing: str | None = None,
    ours: bool | None = None,
) -> Completion:
    """Build what a journal holds of an outcome.

    Args:
        n: the record's number.
        outcome: what became of it.
        sends: how often it was sent as a new record; ``None``: as the journal says.
        unknown: whether it was ever in doubt.
        existing: what was to be done with what is there; ``None``: as the journal says.
        ours: whether a send of the job made what is there; ``None``: as the journal says.
    """
    return Completion(
        n,
        outcome.status.value,
        sends,
        outcome.integration_id,
        outcome.matched_by,
        outcome.attempts,
        tuple(outcome.others),
        None if outcome.error is None else attrs.asdict(outcome.error),
        unknown,
        existing,
        ours,
        tuple(outcome.differs),
    )
