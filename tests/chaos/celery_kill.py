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
import base64
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson
import redis as redis_package

from clarus_async import ClarusClient, ClientCredentials, Outcome, Report
from clarus_async.fleet.celery import make_app, queue_length, send
from clarus_async.fleet.coordinator import Coordinator
from clarus_async.fleet.shard_store import ShardStore, connect
from clarus_async.fleet.split_file import SplitFile, split_file
from clarus_async.resources.integrations import INTEGRATIONS
from clarus_async.simulator import FaultKind, Simulator
from tests.chaos.provision_kill import SETTLE, Verdict, faults, judged
from tests.chaos.simulated import TENANT, Simulated, simulated_apart
from tests.support.redis_server import RedisServer

LEASE = 2.0
CANARY = "c4n4ry-secret"
ROOT = Path(__file__).parents[2]


def simulated(*, share: float = 0.0, seed: int = 1, latency: float = 0.003) -> AbstractContextManager[Simulated]:
    """Run a simulator; ``share`` of the requests meet a fault, and an answer takes ``latency`` seconds."""
    # Sessions that end again and again would have a client wait for a minute.
    chosen = [fault for fault in faults(share) if fault.kind is not FaultKind.UNAUTHORIZED] if share else []
    return simulated_apart(faults=chosen, seed=seed, latency=latency, searchable_references=True)


def write_file(path: Path, records: int) -> None:
    """Write records, each with secrets."""
    with path.open("wb") as file:
        for number in range(records):
            record = {
                "name": f"{TENANT} {number}", "integration_type": "shopify",
                "external_system_reference1": f"ref-{number}",
                "configuration": {"api_key": f"{CANARY}-{number}", "shop_domain": "s.myshopify.com"},
            }  # fmt: skip
            file.write(orjson.dumps(record) + b"\n")


class Workers:
    """Celery workers that are started again when they were killed."""

    def __init__(self, sim: Simulated, redis: str, number: int, folder: Path, *, lease: float, visibility: int) -> None:
        self._folder = folder
        self._number = number
        # Nothing of ours but what is needed: what is in a log is the worker's own.
        self._environment = {
            **os.environ, **sim.environment(), "CLARUS_CELERY_BROKER": redis, "CLARUS_TEST_LEASE": str(lease),
            "CLARUS_TEST_VISIBILITY": str(visibility), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        self._lives = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start one."""
        self._lives += 1
        command = [
            sys.executable, "-m", "celery", "-A", "tests.chaos.celery_worker", "worker", "--pool", "solo",
            "--concurrency", "1", "--hostname", f"w{self._lives}@%h", "--without-gossip", "--without-mingle",
            "--without-heartbeat", "--loglevel", "DEBUG",
        ]  # fmt: skip
        with (self._folder / f"worker-{self._lives}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill one with ``kill -9``."""
        process.kill()
        process.wait()
        self.processes.remove(process)

    def __enter__(self) -> Self:
        for _ in range(self._number):
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in list(self.processes):
            process.send_signal(signal.SIGCONT)
            self.kill(process)

    def logs(self) -> bytes:
        """Return all that they wrote."""
        return b"".join(path.read_bytes() for path in sorted(self._folder.glob("worker-*.log")))


def dump(url: str) -> bytes:
    """Return every key and value of a Redis, with the bodies of Celery's messages as they are and in clear."""
    read = {"string": "get", "hash": "hgetall", "list": "lrange", "set": "smembers", "zset": "zrange"}
    everything: list[Any] = []
    with redis_package.Redis.from_url(url) as client:
        for key in client.keys("*"):
            kind = client.type(key).decode()
            if kind not in read:
                continue  # it is gone by now
            span = (0, -1) if kind in {"list", "zset"} else ()
            everything.append((key, getattr(client, read[kind])(key, *span)))
    whole = repr(everything).encode()
    bodies = re.findall(rb'"body": "([A-Za-z0-9+/=]+)"', whole.replace(b"\\", b""))
    return b"\n".join([whole, *map(base64.b64decode, bodies)])


class Run:
    """A run that is led from this process; a shard without an owner for ``lost_after`` seconds is given out again."""

    def __init__(
        self, sim: Simulated, redis: str, file: Path, *, shard_size: int, concurrency: int, lost_after: float
    ) -> None:
        self._sim = sim
        self._redis = redis
        self._app = make_app(redis)
        self.split: SplitFile = split_file(
            str(file),
            INTEGRATIONS,
            tenant=TENANT,
            base_url=sim.url,
            references=True,
            size=shard_size,
            concurrency=concurrency,
        )
        self._lost_after = lost_after
        self.told: list[Outcome] = []
        self.report = Report()
        self.leaks = 0
        self.looked_at = 0
        self.seconds = 0.0

    def _secrets_in(self, text: bytes) -> int:
        return text.count(CANARY.encode()) + text.count(self._sim.client_secret.encode())

    def look(self) -> None:
        """Look for secrets in all that is in Redis now: keys, messages, results."""
        everything = dump(self._redis)
        self.looked_at += len(everything)
        self.leaks += self._secrets_in(everything)

    async def lead(self) -> None:
        """Lead it to its end."""

        async def is_queued() -> bool:
            return await asyncio.to_thread(queue_length, self._app) > 0

        began = time.monotonic()
        async with connect(self._redis) as redis:
            lead = Coordinator(
                ShardStore(redis, self.split.run), self.split.shards, lambda shards: send(self._app, shards), is_queued,
                settle=SETTLE, lost_after=self._lost_after,
            )  # fmt: skip
            async for outcome in lead.outcomes():
                self.told.append(outcome)
                self.report.add(outcome)
        self.seconds = time.monotonic() - began
        self._app.close()

    def verdict(self, workers: Workers) -> Verdict:
        """Say whether the promise was kept."""
        logs = workers.logs()
        tokens = {token.partition(" ")[2] for _, token in self._sim.creates()}
        leaks = self.leaks + self._secrets_in(logs) + sum(logs.count(token.encode()) for token in tokens)
        leaks += sum(self._secrets_in(outcome.to_json()) for outcome in self.told)
        records = len(self.split.lines)
        verdict = judged(dict(self._sim.ledger()), [f"ref-{number}" for number in range(records)], self.told)
        return verdict._replace(leaks=leaks, off=abs(self.report.total - records) + self.report.not_ok)


def client_of(sim: Simulated | Simulator, tenant: str = TENANT, **options: Any) -> ClarusClient:
    """Return a client of a simulator."""
    return ClarusClient(tenant, ClientCredentials(sim.client_id, sim.client_secret), base_url=sim.url, **options)


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
    every: float = 0.0,  # seconds from one kill to the next
    most: int = 10_000,  # kills, or stops
    stopped_for: float = 0.0,  # seconds that a worker is stopped instead of killed
    restart: bool = False,  # Redis is started anew, once
    share: float = 0.0,  # of the requests that meet a fault
    shard_size: int = 250,  # records a task
    concurrency: int = 16,  # records at once in a task
    seed: int = 1,  # of the faults, and of which worker it is
    latency: float = 0.003,  # seconds that an answer takes
    lease: float = LEASE,
    limit: float = 600.0,  # seconds after which it is given up
) -> Result:
    """Lead a run while its workers are killed, or stopped."""
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
