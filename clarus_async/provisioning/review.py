"""A journal read again: its report, and a last lookup of every record that was ever in doubt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from datetime import UTC, datetime
from functools import partial
from os import PathLike
from typing import Final, NamedTuple

import attrs

from clarus_async.errors import Applied, ClarusError, OutcomeUnknownError
from clarus_async.provisioning.job_index import completion_of, outcome_of, restore
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Row
from clarus_async.provisioning.journal.timeline import Doubts, JournaledRun, Settled, Stretch
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem, Report
from clarus_async.reconcile.lookup_batcher import KEYS, LookupBatcher, LookupRows
from clarus_async.reconcile.pending import LookupKey, PendingCreate
from clarus_async.reconcile.reconciler import Creation, Reconciler
from clarus_async.resources.spec import AnySpec

# Rows that are read at once: some hundred kilobytes.
_AT_ONCE: Final = 1000
_SLOWEST: Final = 10


def _report(counts: Mapping[str | None, tuple[int, int]]) -> Report:
    """Count what a journal holds; what is in flight is unresolved."""
    report = Report()
    for status, (records, attempts) in counts.items():
        report.counts[OutcomeStatus(status or OutcomeStatus.UNRESOLVED)] += records
        report.attempts += attempts
    return report


async def outcomes_of(journal: Journal, statuses: Collection[str | None] | None = None) -> AsyncGenerator[Outcome]:
    """Yield the outcomes that a journal holds, of some statuses or of all; ``None`` is in flight."""
    last = 0
    while rows := await journal.run(partial(journal.file.outcomes, last, _AT_ONCE, statuses)):
        last = max(rows)
        for row in rows.values():
            yield outcome_of(row, journal.file.resource)


class History(NamedTuple):
    """What a journal tells of its job.

    Args:
        job: what tells it from others; see ``JournalFile``.
        report: counts the outcomes.
        in_flight: how many of the unresolved are in flight.
        runs: when it went on.
        stretches: what was sent then.
        doubts: how records in doubt were settled.
        slowest: records, the slowest first.
        differing: how many records are there with other attributes than were given, by those attributes.
        shown: the first outcomes of each status that is not ok.
    """

    job: Mapping[str, str]
    report: Report
    in_flight: int
    runs: list[JournaledRun]
    stretches: list[Stretch]
    doubts: Mapping[Settled, Doubts]
    slowest: list[Row]
    differing: Mapping[tuple[str, ...], int]
    shown: Mapping[OutcomeStatus, list[Outcome]]

    @property
    def cut_off(self) -> bool:
        """Whether the last run did not come to the end of its input."""
        return bool(self.runs) and self.runs[-1].ended is None


async def history_of(journal: Journal, most: int) -> History:
    """Read all but the outcomes that are ok, and ``most`` of what there may be many of."""
    file = journal.file

    def read() -> History:
        counts = file.counts()
        shown = {}
        for status in (one for one in OutcomeStatus if not one.ok):
            kinds = (status, None) if status is OutcomeStatus.UNRESOLVED else (status,)
            if not counts.keys().isdisjoint(kinds):
                shown[status] = [outcome_of(row, file.resource) for row in file.outcomes(0, most, kinds).values()]
        return History(
            file.job,
            _report(counts),
            counts.get(None, (0, 0))[0],
            *file.course(),
            file.doubts(),
            file.slowest(_SLOWEST),
            file.differing(),
            shown,
        )

    return await journal.run(read)


async def review_journal(reconciler: Reconciler, path: str | PathLike[str]) -> AsyncGenerator[Outcome]:
    """Ask the server about every record that was ever in doubt, and write down where it is not as it was thought to be.

    Raises:
        JournalError: it is not there, can't be read, or is another job's.
        ClarusError: the server can't be asked.
    """
    terms = reconciler.terms
    journal = Journal(JournalFile(path, terms.tenant, terms.base_url, reconciler.spec.name))
    try:
        await journal.open(make=False, known=False)
        async for outcome in review_records(reconciler, journal):
            yield outcome
    finally:
        await journal.close()


async def review_records(reconciler: Reconciler, journal: Journal) -> AsyncGenerator[Outcome]:
    """Do what ``review_journal`` does with a journal that is open."""
    spec = reconciler.spec
    lookups = LookupBatcher(reconciler)
    last = 0
    while rows := await journal.run(partial(journal.file.doubtful, last, KEYS)):
        last = max(rows)
        keys = {n: keys_of(spec, row) for n, row in rows.items()}
        chosen = {n: await lookups.choose(its) for n, its in keys.items()}
        found = await lookups.look_up(chosen.values())
        ids = sorted({row.id for there in found.values() if isinstance(there, LookupRows) for row in there.rows})
        owners = await journal.run(partial(journal.file.owners, ids))
        changed = []
        for n, row in rows.items():
            others = [i for i, key in owners.items() if key != row.key]
            there = found[chosen[n]]
            if isinstance(there, ClarusError):
                yield attrs.evolve(outcome_of(row, spec.name), status=OutcomeStatus.UNRESOLVED, error=Problem.of(there))
                continue
            creation = Creation(None, PendingCreate(spec.name, keys[n], row.idempotency_key or ""))
            restore(creation.pending, row, there.at, same=True)
            result = reconciler.sort_out(creation, chosen[n], there.rows, there.at, others)
            outcome = _reviewed(result.ids, spec, row, chosen[n].called)
            if outcome.status.value != row.status and outcome.status is not OutcomeStatus.UNRESOLVED:
                ended = datetime.now(UTC).timestamp() if row.ended is None else row.ended
                kept = {"sends": row.sends, "existing": row.existing, "ended": ended, "took": row.took}
                changed.append(completion_of(n, outcome, unknown=True, ours=True, **kept))
            yield outcome
        if changed:
            await journal.write(changed)


def keys_of(spec: AnySpec, row: Row) -> list[LookupKey]:
    """Return the natural keys of a record as far as a journal holds them: the surest that it has, and the last."""
    first, last = spec.keys[0], spec.keys[-1]
    scope = tuple(zip(last.scope, row.scope or (), strict=False))
    name = row.names[0] if row.names else row.name or row.key
    keys = [LookupKey(last.field, name, last.called, scope)]
    if row.name is not None and first is not last:
        keys.insert(0, LookupKey(first.field, row.key, first.called))
    return keys


def _reviewed(found: tuple[int, ...], spec: AnySpec, row: Row, called: str) -> Outcome:
    ids = tuple(sorted(found, key=lambda i: i != row.id))
    before = outcome_of(row, spec.name)
    if len(ids) > 1:
        error = OutcomeUnknownError(f"{len(ids)} records answer for it", applied=Applied.YES)
        return attrs.evolve(before, status=OutcomeStatus.DUPLICATED, id=ids[0], others=ids[1:], error=Problem.of(error))
    # One whose id is known was to be changed, and what became of that can't be seen.
    if ids and not before.status.ok and (row.in_doubt or row.id is None):
        return attrs.evolve(before, status=OutcomeStatus.ADOPTED, id=ids[0], matched_by=called, error=None, others=())
    if not ids and (before.status.ok or row.status is None):
        error = OutcomeUnknownError("it is not in the list now", applied=Applied.MAYBE)
        return attrs.evolve(before, status=OutcomeStatus.UNRESOLVED, error=Problem.of(error))
    return before
