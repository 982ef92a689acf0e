"""One shard brought to its end, by whatever engine: what a task of Celery, taskiq or Temporal does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from clarus_async.client import ClarusClient
from clarus_async.errors import ConfigurationError, InvalidInputError
from clarus_async.fleet.shards import Shard
from clarus_async.provisioning.existing import Existing
from clarus_async.provisioning.job_index import completion_of, is_ours
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Completion, Intent
from clarus_async.provisioning.report import Outcome
from clarus_async.resources.integrations import INTEGRATIONS, NewIntegration

WAYS: dict[str, Existing] = {"adopt": "adopt", "update": "update"}
"""What can be done with a record that is there: whoever takes a shard over can't tell one of an earlier owner from one
that was there before, and must not have to."""


async def run_shard(
    clarus: ClarusClient,
    shard: Shard,
    *,
    told: Sequence[Outcome] = (),
    wait: float = 0.0,
    stop: asyncio.Event | None = None,
) -> AsyncGenerator[Outcome]:
    """Bring the records of a shard to their outcomes.

    An earlier owner may have sent any record that it told no outcome of. The server applies what it got within
    ``settle``, so who takes a shard over waits that long after the earlier owner can have sent anything (``wait``), and
    then looks each record up before it is sent.

    Args:
        clarus: a client of the shard's tenant.
        shard: which.
        told: the outcomes that earlier owners told: these records are not touched again.
        wait: seconds before anything is done.
        stop: where it is set, no further record is begun.

    Raises:
        InvalidInputError: the file can't be read, is not what was cut, or ``existing`` is neither adopt nor update.
        ConfigurationError: the client is another tenant's.
        ClarusError: what would fail every record.
    """
    existing = WAYS.get(shard.existing)
    if existing is None:
        raise InvalidInputError(f"existing: a shard takes {' or '.join(WAYS)}, not {shard.existing}")
    terms = clarus.integrations.terms
    if (terms.tenant, terms.base_url) != (shard.tenant, shard.base_url):
        raise ConfigurationError(
            f"the shard is for {shard.tenant} at {shard.base_url}, and this client for {terms.tenant} at"
            f" {terms.base_url}"
        )
    await asyncio.to_thread(shard.verify)
    if wait > 0:
        await asyncio.sleep(wait)
    if shard.references:
        # Records that share a name may be in other shards: by the name, one could be taken for another.
        clarus.integrations.trust_references()
    with contextlib.ExitStack() as stack:
        journal = shard.journal
        if told:
            if journal is None:
                folder = await asyncio.to_thread(TemporaryDirectory, prefix="clarus.")
                journal = str(Path(stack.enter_context(folder)) / "told.db")
            await _write_down(shard, told, journal, terms.tenant, terms.base_url)
        places: list[int] = []
        records = _records(shard, {outcome.index for outcome in told}, places)
        stack.callback(records.close)
        run = clarus.integrations.provision(records, concurrency=shard.concurrency, journal=journal, existing=existing)
        stopping = None if stop is None else asyncio.create_task(_stop(run.stop, stop), name="clarus_async shard stop")
        try:
            async with run:
                async for outcome in run:
                    yield attrs.evolve(outcome, index=places[outcome.index])
        finally:
            if stopping is not None:
                stopping.cancel()


def _records(shard: Shard, without: set[int], places: list[int]) -> Generator[NewIntegration]:
    for index, new in shard.read():
        if index not in without:
            places.append(index)
            yield new


async def _stop(stop: Callable[[], None], when: asyncio.Event) -> None:
    await when.wait()
    stop()


async def _write_down(shard: Shard, told: Sequence[Outcome], path: str, tenant: str, base_url: str) -> None:
    """Write what earlier owners told into a journal: whose a record is that is found by a name, a run knows by it."""
    outcomes = {outcome.index: outcome for outcome in told}
    journal = Journal(path, tenant, base_url, INTEGRATIONS.name)
    try:
        known = await journal.open()
        last, keys = max((row.n for row in known), default=0), {row.key for row in known}
        rows: list[Intent | Completion] = []
        for index, new in shard.read():
            outcome = outcomes.get(index)
            if outcome is None or new.key in keys:
                continue
            last += 1
            sends = 1 if outcome.attempts else 0
            rows.append(Intent(last, new.key, None if new.name == new.key else new.name, sends=sends))
            rows.append(completion_of(last, outcome, sends=sends, ours=is_ours(outcome, sends)))
        await journal.write(rows)
    finally:
        await journal.close()
