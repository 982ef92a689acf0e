"""What tests of leases need: a real Redis, a simulator, a file in shards."""

from __future__ import annotations

import asyncio
from collections import Counter

import orjson
import pytest

from clarus_async import ClarusClient, Timeouts
from clarus_async.fleet import coordinator
from clarus_async.fleet.shard_store import ShardStore, connect
from clarus_async.fleet.split_file import split_file
from clarus_async.fleet.worker import run_to_end
from clarus_async.resources.integrations import INTEGRATIONS
from clarus_async.simulator import Simulator
from tests.support.redis_server import RedisServer

LEASE = 0.8
TIMEOUTS = Timeouts(connect=0.3, attempt=0.3, settle=0.3, deadline=5.0)


@pytest.fixture(scope="module", name="redis_server")
def redis_server_fixture():
    with RedisServer(keep=True) as server:
        yield server


@pytest.fixture(name="redis")
async def redis_fixture(redis_server):
    async with connect(redis_server.url) as client:
        yield client


@pytest.fixture(name="grown_up")
def grown_up_fixture(monkeypatch):
    """A Redis that was started long ago."""
    monkeypatch.setattr("redis.asyncio.Redis.info", grown_up_info)


async def grown_up_info(*_):
    return {"uptime_in_seconds": 10_000}


@pytest.fixture(autouse=True)
def coordinators_look_often(monkeypatch):
    monkeypatch.setattr(coordinator, "_EVERY", 0.05)


def store_of(redis, name):
    return ShardStore(redis, f"{name}.1")


async def registered(redis, split):
    store = ShardStore(redis, split.run)
    await store.register(len(split.shards))
    return store


def simulator(**options):
    return Simulator(**{"searchable_references": True, "latency": 0.002} | options)


def client_of(sim, **options):
    return ClarusClient("acme", sim.credentials, base_url=sim.url, **{"timeouts": TIMEOUTS} | options)


def split_of(sim, tmp_path, records, *, size=1000, references=True, tenant="acme", **more):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return split_file(
        str(path),
        INTEGRATIONS,
        tenant=tenant,
        base_url=sim.url,
        references=references,
        size=size,
        **{"concurrency": 4} | more,
    )


def shops(count, **more):
    return [
        {"name": f"Shop {n}", "integration_type": "shopify", "external_system_reference1": f"ref-{n}"} | more
        for n in range(count)
    ]


async def until_done(store, clarus, shard):
    await run_to_end(store, clarus, shard, seconds=LEASE)


def stored(sim):
    return Counter(record.external_system_reference1 for record in sim.created("acme"))


async def until(there, owner):
    """Wait until something is there that an owner is to bring about."""
    while not there():
        assert not owner.done(), owner
        await asyncio.sleep(0.01)
