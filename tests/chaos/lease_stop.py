"""An owner of a shard that is stopped past its lease, and goes on when another one has done its work.

``python -m tests.chaos.lease_stop`` does so again and again, at random moments: each time a process of its own begins a
shard, is stopped with ``kill -STOP``, somebody else takes the shard over and brings it to its end, and the first one
goes on with ``kill -CONT``. At most what had passed its check goes out then, which the simulator's log shows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import orjson

from clarus_async import ClarusClient
from clarus_async.fleet.shard_store import ShardStore, connect
from clarus_async.fleet.shards import Shard
from clarus_async.fleet.split_file import split_file
from clarus_async.fleet.worker import run_to_end
from clarus_async.resources.integrations import INTEGRATIONS
from clarus_async.simulator import Endpoint, Simulator
from tests.chaos.celery_kill import client_of, write_file
from tests.chaos.provision_kill import TIMEOUTS, judged
from tests.support.redis_server import RedisServer

LEASE = 0.5


class Rounds(NamedTuple):
    """What came of it."""

    rounds: int  # how often an owner was stopped
    stopped: int  # of those, when it had sent something and was not done
    late: int  # creates that arrived after the owner went on
    lost: int  # records that are not there
    twice: int  # records that are there more than once
    untold: int  # records without exactly one outcome


async def _own(message: bytes, url: str, lease: float) -> None:
    shard = Shard.from_dict(orjson.loads(message))
    async with ClarusClient.from_env(timeouts=TIMEOUTS) as clarus, connect(url) as redis:
        await run_to_end(ShardStore(redis, shard.run), clarus, shard, seconds=lease)


async def _round(sim: Simulator, redis_url: str, tenant: str, folder: Path, records: int, after: float) -> Rounds:
    file = folder / f"{tenant}.jsonl"
    write_file(file, records)
    split = split_file(str(file), INTEGRATIONS, tenant=tenant, base_url=sim.url, references=True, concurrency=8)
    shard = split.shards[0]
    environment = {
        **os.environ, "CLARUS_SUBDOMAIN": tenant, "CLARUS_BASE_URL": sim.url,
        "CLARUS_CLIENT_ID": sim.client_id, "CLARUS_CLIENT_SECRET": sim.client_secret,
    }  # fmt: skip
    async with connect(redis_url) as redis, client_of(sim, tenant, timeouts=TIMEOUTS) as other:
        store = ShardStore(redis, split.run)
        await store.register(1)
        owner = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.lease_stop", "--own", orjson.dumps(shard.as_dict()), redis_url,
            env=environment, stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while not sim.created(tenant) and owner.returncode is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(after)
            owner.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.05)
            stopped = 0 < len(sim.created(tenant)) < records
            await run_to_end(store, other, shard, seconds=LEASE)
            before = _creates(sim, tenant)
            owner.send_signal(signal.SIGCONT)
            await owner.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                owner.kill()
        told = [outcome for outcome in await store.outcomes(0) if outcome.status.ok]
    ids = {record.id: record.external_system_reference1 for record in sim.created(tenant)}
    verdict = judged(ids, [f"ref-{number}" for number in range(records)], told)
    return Rounds(1, int(stopped), _creates(sim, tenant) - before, verdict.lost, verdict.twice, abs(verdict.untold))


def _creates(sim: Simulator, tenant: str) -> int:
    return sum(entry.endpoint is Endpoint.CREATE and entry.tenant == tenant for entry in sim.requests)


async def stopped(rounds: int, *, records: int = 200, seed: int = 1) -> Rounds:
    """Stop owners at random moments, one after the other."""
    dice = random.Random(seed)
    tenants = [f"t{number}" for number in range(rounds)]
    total = Rounds(0, 0, 0, 0, 0, 0)
    async with Simulator(tenants=tenants, latency=0.003, searchable_references=True) as sim:
        with RedisServer() as redis, tempfile.TemporaryDirectory(prefix="lease_stop.") as folder:
            for tenant in tenants:
                one = await _round(sim, redis.url, tenant, Path(folder), records, dice.uniform(0.0, 0.15))
                total = Rounds(*map(sum, zip(total, one, strict=True)))
    return total


def main() -> None:
    """Print the figures; exit with 1 where a record is lost, or there twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--records", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--own", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own:
        asyncio.run(_own(options.own[0].encode(), options.own[1], LEASE))
        return
    result = asyncio.run(stopped(options.rounds, records=options.records, seed=options.seed))
    print(result)
    raise SystemExit(1 if result.lost or result.twice or result.untold else 0)


if __name__ == "__main__":
    main()
