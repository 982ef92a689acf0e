"""Celery workers, a Redis and a simulator, each in a process of its own, and a file that the workers share."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

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
