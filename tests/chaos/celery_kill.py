"""Celery workers that are killed and stopped until their run is done: nothing is lost, nothing is there twice.

``python -m tests.chaos.celery_kill`` has four workers provision 10,000 records against a simulator in a process of its
own, which fails in every way it knows. Every five seconds a worker is killed with ``kill -9`` and another one started,
and Redis is started anew once. Then a second run: every few seconds, a worker is stopped with ``kill -STOP`` for longer
than its lease, and goes on when somebody else has its shard. What the simulator has stored is the judge, and nothing
secret may be in Redis, in a result or in a log.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.chaos.celery_fleet import Run, Workers, simulated, write_file
from tests.chaos.provision_kill import Verdict
from tests.support.redis_server import RedisServer

LEASE = 2.0


class Result(NamedTuple):
    """What a run came to."""

    kills: int  # workers that were killed
    stops: int  # workers that were stopped for longer than their lease
    seconds: float  # from the first message to the last outcome
    attempts: int  # requests of the outcomes
    adopted: int  # records whose answer was lost with a worker, or in a fault
    verdict: Verdict  # whether the promise was kept
    not_ok: list[bytes]  # outcomes of records that are not there as they should be


async def killed(
    *,
    records: int,
    workers: int,
    every: float = 0.0,
    most: int = 10_000,
    stopped_for: float = 0.0,
    restart: bool = False,
    share: float = 0.0,
    shard_size: int = 250,
    concurrency: int = 16,
    seed: int = 1,
    latency: float = 0.003,
    lease: float = LEASE,
    limit: float = 600.0,
) -> Result:
    """Lead a run while its workers are killed, or stopped.

    Args:
        records: how many.
        workers: how many.
        every: seconds from one kill to the next.
        most: kills, or stops, at the most.
        stopped_for: seconds that a worker is stopped instead of killed.
        restart: start Redis anew once.
        share: of the requests that meet a fault.
        shard_size: records a task.
        concurrency: records at once in a task.
        seed: of the faults, and of which worker it is.
        latency: seconds that an answer takes.
        lease: seconds.
        limit: seconds after which it is given up.
    """
    dice = random.Random(seed)
    kills = stops = 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="celery_kill.")))
        redis = stack.enter_context(RedisServer(keep=True))
        sim = stack.enter_context(simulated(share=share, seed=seed, latency=latency))
        file = folder / "records.jsonl"
        write_file(file, records)
        run = Run(sim, redis.url, file, shard_size=shard_size, concurrency=concurrency, lost_after=lease)
        fleet = stack.enter_context(Workers(sim, redis.url, workers, folder, lease=lease, visibility=20))
        leading = asyncio.create_task(run.lead())

        async def until(share_told: float) -> None:
            while len(run.told) < records * share_told and not leading.done():  # noqa: ASYNC110  it is two processes away
                await asyncio.sleep(0.05)

        async def trouble() -> None:
            nonlocal kills, stops
            restarted = not restart
            await until(0.02)
            while not leading.done() and kills + stops < most:
                victim = dice.choice(fleet.processes)
                await asyncio.to_thread(run.look)
                if stopped_for:
                    victim.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(stopped_for)
                    victim.send_signal(signal.SIGCONT)
                    stops += 1
                else:
                    fleet.kill(victim)
                    fleet.start()
                    kills += 1
                if not restarted and len(run.told) > records * 0.3:
                    await asyncio.to_thread(redis.stop)
                    await asyncio.sleep(0.3)
                    await asyncio.to_thread(redis.start)
                    restarted = True
                await asyncio.sleep(every)

        making = asyncio.create_task(trouble())
        try:
            async with asyncio.timeout(limit):
                await leading
        finally:
            making.cancel()
            leading.cancel()
            await asyncio.wait({making, leading})
        if not making.cancelled():
            making.result()
        # What is under way in workers that think they own something ends, too.
        await asyncio.sleep(1.0)
        run.look()
        return Result(
            kills,
            stops,
            run.seconds,
            run.report.attempts,
            run.report.counts["adopted"],
            run.verdict(fleet),
            [outcome.to_json() for outcome in run.told if not outcome.status.ok],
        )


async def _main(options: argparse.Namespace) -> bool:
    common = {"workers": options.workers, "share": options.faults, "seed": options.seed}
    runs = {
        "kill -9": {"records": options.records, "every": options.every, "restart": True},
        "kill -STOP": {"records": options.records // 2, "every": 0.5, "stopped_for": LEASE * 2},
    }
    kept = True
    for name, how in runs.items():
        result = await killed(**common, **how, limit=options.limit)
        print(f"{name}: {how['records']:,} records, {options.workers} workers: {result}", flush=True)
        kept = kept and result.verdict.kept
    return kept


def main() -> None:
    """Print the figures; exit with 1 where the promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--every", type=float, default=5.0, help="seconds from one kill to the next")
    parser.add_argument("--faults", type=float, default=0.05, help="share of the requests that meet one")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a run is given up")
    parser.add_argument("--seed", type=int, default=1)
    raise SystemExit(0 if asyncio.run(_main(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
