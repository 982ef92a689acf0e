"""What a worker does with a shard, by whatever engine it gets it: a task of Celery, taskiq or Temporal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import random
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import attrs

from clarus_async.client import ClarusClient
from clarus_async.errors import ClarusError, ConfigurationError, InvalidInputError
from clarus_async.fleet.lease import Lease, cancel, now
from clarus_async.fleet.shard_store import LeaseHeld, ShardStore
from clarus_async.fleet.shards import Shard
from clarus_async.provisioning.job_index import completion_of, intent_of, is_ours
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.rows import Row
from clarus_async.provisioning.options import Existing
from clarus_async.provisioning.report import Outcome, OutcomeStatus
from clarus_async.reconcile.pending import lookup_keys
from clarus_async.resources.table import RESOURCES

_log = logging.getLogger("clarus_async")

EXISTING: Final[dict[str, Existing]] = {"adopt": "adopt", "update": "update"}
"""What can be done with a record that is there: whoever takes a shard over can't tell one of an earlier owner from one
that was there before, and must not have to."""

# A run that is stopped gives these for what it could not finish: the next owner of the shard does.
_NOT_FINAL: Final = frozenset({OutcomeStatus.FAILED, OutcomeStatus.UNRESOLVED})


async def run_shard(
    clarus: ClarusClient,
    shard: Shard,
    *,
    known: Sequence[Outcome] = (),
    wait: float = 0.0,
    stop: asyncio.Event | None = None,
) -> AsyncGenerator[Outcome]:
    """Bring the records of a shard to their outcomes, but for those whose outcome is ``known`` from earlier owners.

    An earlier owner may have sent any record of which no outcome is known. The server applies what it got within
    ``settle``, so who takes a shard over waits that long after the earlier owner can have sent anything (``wait``, in
    seconds), and then looks each record up before it is sent. Once ``stop`` is set, no further record is begun.

    Raises:
        InvalidInputError: the file can't be read, or has changed; ``existing`` is neither adopt nor update; or the
            shard is of a resource that this version does not know.
        ConfigurationError: the client is another tenant's.
        ClarusError: what would fail every record.
    """
    existing = EXISTING.get(shard.existing)
    if existing is None:
        raise InvalidInputError(f"existing: a shard takes {' or '.join(EXISTING)}, not {shard.existing}")
    resource = getattr(clarus, shard.spec.name)
    terms = resource.terms
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
        resource.trust_references()
    with contextlib.ExitStack() as stack:
        journal = None
        if known:
            folder = await asyncio.to_thread(TemporaryDirectory, prefix="clarus.")
            journal = str(Path(stack.enter_context(folder)) / "known.db")
            await _write_journal(shard, known, journal)
        places: list[int] = []
        records = _records(shard, {outcome.index for outcome in known}, places)
        stack.callback(records.close)
        run = resource.provision(records, concurrency=shard.concurrency, journal=journal, existing=existing)
        stopping = None if stop is None else asyncio.create_task(_stop(run.stop, stop), name="clarus_async shard stop")
        try:
            async with run:
                async for outcome in run:
                    yield attrs.evolve(outcome, index=places[outcome.index])
        finally:
            if stopping is not None:
                stopping.cancel()


def _records(shard: Shard, without: set[int], places: list[int]) -> Generator[Any]:
    for index, new in shard.read():
        if index not in without:
            places.append(index)
            yield new


async def _stop(stop: Callable[[], None], when: asyncio.Event) -> None:
    await when.wait()
    stop()


async def _write_journal(shard: Shard, known: Sequence[Outcome], path: str) -> None:
    """Write the outcomes of earlier owners into a journal: from it, a run knows whose a record is that a name finds."""
    outcomes = {outcome.index: outcome for outcome in known}
    journal = Journal(JournalFile(path, shard.tenant, shard.base_url, shard.resource))
    try:
        earlier = await journal.open()
        last, journaled = max((row.n for row in earlier), default=0), {row.key for row in earlier}
        rows: list[Row] = []
        for index, new in shard.read():
            outcome = outcomes.get(index)
            keys = lookup_keys(shard.spec, new)
            if outcome is None or keys[0].text in journaled:
                continue
            last += 1
            sends = 1 if outcome.attempts else 0
            rows.append(intent_of(last, keys, sends=sends))
            rows.append(completion_of(last, outcome, sends=sends, ours=is_ours(outcome, sends)))
        await journal.write(rows)
    finally:
        await journal.close()


async def run_leased(store: ShardStore, clarus: ClarusClient, shard: Shard, *, seconds: float = 30.0) -> float | None:
    """Work on a shard if nobody else does, and return the seconds after which to call this again.

    ``None`` is returned where there is nothing more to do for the shard. Whatever becomes of this process, another one
    can take the shard over when the lease has expired; it goes on as ``run_shard`` says. Arguments and errors are those
    of ``run_to_end``.
    """
    asked = now()
    # It is the client's, whatever the resource: one that this version does not know is refused under the lease.
    settle = getattr(clarus, next(iter(RESOURCES))).terms.settle
    grant = await store.acquire(shard.number, seconds, settle)
    if grant is None:
        return None
    if isinstance(grant, LeaseHeld):
        return grant.seconds * (1 + random.random() / 4) + 0.1  # noqa: S311  who comes first is no secret
    known = await store.outcomes(shard.number)
    lease = Lease(store, shard.number, grant, seconds, asked, len(known))
    wait = max(0.0, settle - grant.since) if grant.taken_over else 0.0
    working = asyncio.create_task(_work(lease, clarus, shard, known, wait), name="clarus_async shard")
    renewing = asyncio.create_task(lease.renew(), name="clarus_async lease")
    try:
        await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() or not lease.is_valid():
            # At most what had passed its check has gone out, and nothing that is known now is written.
            _log.warning(
                "the lease of shard %d of run %s is over: whoever has it next goes on", shard.number, shard.run
            )
            return 1.0
        error = working.exception()
        await store.release(shard.number, grant.token, shard.records, _error_text(error))
        if isinstance(error, ClarusError) and error.retryable:
            return error.retry_after or seconds
        if error is not None:
            raise error
        return None
    finally:
        working.cancel()
        await cancel(renewing)
        await asyncio.wait({working})


async def run_to_end(store: ShardStore, clarus: ClarusClient, shard: Shard, *, seconds: float = 30.0) -> None:
    """Work on a shard, or wait until whoever does has done it or is gone: a task for engines that may wait.

    Args:
        store: of the shard's run.
        clarus: a client of the shard's tenant.
        shard: which.
        seconds: how long a lease runs that is not renewed.

    Raises:
        ClarusError: what would fail every record; it is in the store, too, unless it is Redis that refuses.
        ConnectionFailedError: Redis can't be asked now.
    """
    while True:
        again = await run_leased(store, clarus, shard, seconds=seconds)
        if again is None:
            return
        await asyncio.sleep(again)


def _error_text(error: BaseException | None) -> str:
    """Return what the store is told of an error: only our own texts are known to hold no secret."""
    if error is None or (isinstance(error, ClarusError) and error.retryable):
        return ""
    text = str(error) if isinstance(error, ClarusError) else f"unexpected {type(error).__name__}"
    return f"{platform.node()}: {text}"


async def _work(lease: Lease, clarus: ClarusClient, shard: Shard, known: list[Outcome], wait: float) -> None:
    writing = asyncio.create_task(lease.write_outcomes(), name="clarus_async outcomes")
    outcomes = run_shard(clarus.guarded(lease.is_valid), shard, known=known, wait=wait, stop=lease.stop)
    not_final: list[Outcome] = []
    try:
        async for outcome in outcomes:
            if outcome.status in _NOT_FINAL:
                not_final.append(outcome)
            else:
                await lease.add(outcome)
        # What fails, or stays in doubt, as a run ends before its time, is for the next owner.
        if not lease.stop.is_set():
            for outcome in not_final:
                await lease.add(outcome)
    finally:
        await outcomes.aclose()
        await cancel(writing)
        await lease.flush()
