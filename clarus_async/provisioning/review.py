"""A journal read again: its report, and a last look at every key that was ever in doubt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from os import PathLike

import attrs

from clarus_async.errors import Applied, ClarusError, OutcomeUnknownError
from clarus_async.provisioning.job_index import Earlier, result_of
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Row
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem, Report
from clarus_async.reconcile.lookup_batcher import KEYS, LookupBatcher, Seen
from clarus_async.reconcile.pending import NAME, Api, Lookup, PendingCreate
from clarus_async.resources.integrations import NewIntegration


async def report_of(journal: Journal) -> Report:
    """Count what a journal holds; what is in flight is unresolved.

    Args:
        journal: open.

    Raises:
        JournalError: it can't be read.
    """
    report = Report()
    for status, (records, attempts) in (await journal.run(journal.file.counts)).items():
        report.counts[OutcomeStatus(status or OutcomeStatus.UNRESOLVED)] += records
        report.attempts += attempts
    return report


async def troubled(journal: Journal, most: int) -> list[Outcome]:
    """Return the first outcomes of records that are not there as they should be.

    Args:
        journal: open.
        most: how many.

    Raises:
        JournalError: it can't be read.
    """
    rows = await journal.run(lambda: journal.file.troubled(most))
    return [_outcome(row) for row in rows.values()]


async def differing(journal: Journal) -> dict[tuple[str, ...], int]:
    """Count the records that are there with other attributes than were given, by those attributes.

    Args:
        journal: open.

    Raises:
        JournalError: it can't be read.
    """
    return await journal.run(journal.file.differing)


async def look_again(api: Api, path: str | PathLike[str]) -> AsyncGenerator[Outcome]:
    """Ask the server about every record that was ever in doubt, and write down where it is not as it was thought to be.

    Args:
        api: asks.
        path: the journal's.

    Raises:
        JournalError: it is not there, can't be read, or is another job's.
        ClarusError: the server can't be asked.
    """
    terms = api.terms
    journal = Journal(path, terms.tenant, terms.base_url, terms.resource)
    try:
        await journal.open(make=False)
        async for outcome in _look_again(api, journal):
            yield outcome
    finally:
        await journal.close()


async def _look_again(api: Api, journal: Journal) -> AsyncGenerator[Outcome]:
    looks = LookupBatcher(api)
    last = 0
    while rows := await journal.run(partial(journal.file.doubtful, last, KEYS)):
        last = max(rows)
        records = {n: _record(row) for n, row in rows.items()}
        lookups = {n: await looks.lookup(new.external_system_reference1, new.name) for n, new in records.items()}
        found = await looks.now(lookups.values())
        ids = sorted({row.id for seen in found.values() if isinstance(seen, Seen) for row in seen.rows})
        owners = await journal.run(partial(journal.file.owners, ids))
        changed = []
        for n, row in rows.items():
            others = [i for i, key in owners.items() if key != row.key]
            seen = found[lookups[n]]
            if isinstance(seen, ClarusError):
                yield attrs.evolve(_outcome(row), status=OutcomeStatus.UNRESOLVED, error=Problem.of(seen))
                continue
            draft = api.draft(records[n])
            outcome = _reviewed(_answering(api, draft, lookups[n], row, seen, others), row, lookups[n].field == NAME)
            if outcome.status.value != row.status and outcome.status is not OutcomeStatus.UNRESOLVED:
                changed.append(result_of(n, outcome, unknown=True, ours=True))
            yield outcome
        if changed:
            await journal.write(changed)


def _record(row: Row) -> NewIntegration:
    reference = None if row.name is None else row.key
    # Only its key and its name matter to a look.
    name = row.names[0] if row.names else row.name or row.key
    return NewIntegration(name=name, integration_type="?", external_system_reference1=reference)


def _answering(
    api: Api, draft: PendingCreate, lookup: Lookup, row: Row, seen: Seen, others: Sequence[int]
) -> tuple[int, ...]:
    Earlier(row, same=True).doubt(draft, seen.at)
    draft.doubt.made = row.integration_id
    ids = api.sort_out(draft, lookup, seen.rows, seen.at, others).ids
    return tuple(sorted(ids, key=lambda i: i != row.integration_id))


def _reviewed(ids: tuple[int, ...], row: Row, by_name: bool) -> Outcome:
    before = _outcome(row)
    if len(ids) > 1:
        error = OutcomeUnknownError(f"{len(ids)} records answer for it", applied=Applied.YES)
        return attrs.evolve(
            before,
            status=OutcomeStatus.DUPLICATED,
            integration_id=ids[0],
            others=ids[1:],
            error=Problem.of(error),
        )
    # One whose id is known was to be changed, and what became of that can't be seen.
    if ids and not before.status.ok and (row.in_doubt or row.integration_id is None):
        matched_by = "name" if by_name else "reference"
        return attrs.evolve(
            before, status=OutcomeStatus.ADOPTED, integration_id=ids[0], matched_by=matched_by, error=None, others=()
        )
    if not ids and (before.status.ok or row.status is None):
        error = OutcomeUnknownError("it is not in the list now", applied=Applied.MAYBE)
        return attrs.evolve(before, status=OutcomeStatus.UNRESOLVED, error=Problem.of(error))
    return before


def _outcome(row: Row) -> Outcome:
    # Where it stood in the input is not written down: its number in the journal tells one from another.
    return Earlier(row, same=True).outcome(row.n - 1)
