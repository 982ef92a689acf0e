"""Leases in a real Redis: one owner at a time, and what an earlier one may have sent is waited for and looked up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

import orjson
import pytest

from clarus_async import ConfigurationError, GraphQLError, PacingPolicy, Timeouts
from clarus_async.fleet.shard_store import LeaseGranted, LeaseHeld, ShardStore, connect
from clarus_async.fleet.worker import run_leased
from clarus_async.simulator import Endpoint, Fault, FaultKind
from tests.support.fleet import (  # noqa: F401  some are fixtures
    LEASE,
    client_of,
    coordinators_look_often,
    grown_up_fixture,
    redis_fixture,
    redis_server_fixture,
    registered,
    shops,
    simulator,
    split_of,
    store_of,
    stored,
    until,
    until_done,
)

pytestmark = pytest.mark.usefixtures("grown_up")

# --- the store


async def test_a_shard_has_one_owner(redis):
    store = store_of(redis, "one-owner")
    assert await store.acquire(0, LEASE, 1.0) is None  # nobody knows of the run
    await store.register(2)
    first = await store.acquire(0, LEASE, 1.0)
    assert isinstance(first, LeaseGranted)
    assert not first.taken_over
    held = await store.acquire(0, LEASE, 1.0)
    assert isinstance(held, LeaseHeld)
    assert 0 < held.seconds <= LEASE
    assert isinstance(await store.acquire(1, LEASE, 1.0), LeaseGranted)
    assert await store.renew(0, first.token, LEASE) == (True, False)
    await asyncio.sleep(LEASE + 0.05)
    second = await store.acquire(0, LEASE, 1.0)
    assert second.taken_over
    assert 0.04 < second.since < LEASE
    assert int(second.token.partition(".")[0]) > int(first.token.partition(".")[0])
    # Whoever was owner before changes nothing any more.
    assert await store.renew(0, first.token, LEASE) == (False, False)
    assert not await store.append(0, first.token, 0, [b"{}"])
    await store.release(0, first.token, 0)
    assert [(s.outcomes, s.done, s.lease_left > 0) for s in await store.states([0])] == [(0, False, True)]


async def test_what_is_told_twice_is_told_once(redis):
    store = store_of(redis, "told-once")
    await store.register(1)
    token = (await store.acquire(0, LEASE, 1.0)).token
    assert await store.append(0, token, 0, [b"a", b"b"])
    assert await store.append(0, token, 0, [b"a", b"b", b"c"])
    assert await store.append(0, token, 3, [b"d"])
    assert await redis.lrange(store._outcomes(0), 0, -1) == ["a", "b", "c", "d"]
    await store.release(0, token, 4)
    assert (await store.states([0]))[0].done
    assert await store.acquire(0, LEASE, 1.0) is None


async def test_a_run_that_is_stopped_or_forgotten_has_no_owners(redis):
    store = store_of(redis, "stopped")
    await store.register(2)
    token = (await store.acquire(0, LEASE, 1.0)).token
    await store.stop()
    assert await store.renew(0, token, LEASE) == (True, True)
    assert await store.acquire(1, LEASE, 1.0) is None
    await store.register(2)
    assert isinstance(await store.acquire(1, LEASE, 1.0), LeaseGranted)
    await store.delete(2)
    assert await store.renew(0, token, LEASE) == (False, False)
    assert await store.acquire(0, LEASE, 1.0) is None
    assert not await redis.keys("clarus:{stopped*")


@pytest.mark.parametrize(("up", "granted", "taken_over", "since"), [
    (0, False, None, None), (LEASE + 0.9, False, None, None),
    (LEASE + 1.0, True, True, 1.0), (LEASE + 2.9, True, True, 2.9), (LEASE + 3.0, True, False, 3.0),
])  # fmt: skip
async def test_a_redis_that_may_have_forgotten_leases_gives_none(up, granted, taken_over, since, redis, monkeypatch):
    async def info(*_):
        return {"uptime_in_seconds": up}

    monkeypatch.setattr("redis.asyncio.Redis.info", info)
    store = store_of(redis, f"young-{up}")
    await store.register(1)
    grant = await store.acquire(0, LEASE, 2.0)
    assert isinstance(grant, LeaseGranted if granted else LeaseHeld)
    if granted:
        assert (grant.taken_over, pytest.approx(grant.since)) == (taken_over, since)
    else:
        assert grant.seconds == pytest.approx(LEASE + 1 - up)


async def test_a_url_that_is_none_is_not_repeated():
    with pytest.raises(ConfigurationError) as raised:
        connect("http://:hunter2@127.0.0.1")
    assert "hunter2" not in str(raised.value)


# --- whoever has the lease


async def test_an_owner_brings_its_shard_to_its_end(redis, tmp_path):
    async with simulator() as sim, client_of(sim) as clarus:
        split = split_of(sim, tmp_path, shops(9))
        store = await registered(redis, split)
        await until_done(store, clarus, split.shards[0])
        told = await store.outcomes(0)
        assert sorted(outcome.index for outcome in told) == list(range(9))
        assert {outcome.status for outcome in told} == {"created"}
        assert await run_leased(store, clarus, split.shards[0], seconds=LEASE) is None
        assert stored(sim) == Counter(f"ref-{n}" for n in range(9))


async def test_a_schema_that_can_not_be_read_for_once_changes_nothing(redis, tmp_path):
    async with simulator() as sim, client_of(sim) as clarus:
        sim.script(Endpoint.GRAPHQL, FaultKind.GRAPHQL_ERRORS)
        with pytest.raises(GraphQLError):
            await clarus.integrations.searches_references()
        split = split_of(sim, tmp_path, shops(4, name="Shop"))
        store = await registered(redis, split)
        await until_done(store, clarus, split.shards[0])
        assert stored(sim) == Counter(f"ref-{n}" for n in range(4))
        asked = [orjson.loads(e.body)["variables"]["filter"] for e in sim.requests if b'"filter":' in e.body]
        assert {name for wanted in asked for name in wanted} == {"external_system_reference1"}


def creates(sim):
    return sum(entry.endpoint is Endpoint.CREATE for entry in sim.requests)


async def gone(task):
    """End an owner as a kill does: nothing of it is said to anybody."""
    task.cancel()
    await asyncio.wait([task])


async def test_what_a_lost_owner_sent_is_not_sent_again(redis, tmp_path):
    async with simulator() as sim:
        split = split_of(sim, tmp_path, shops(30))
        shard, store = split.shards[0], await registered(redis, split)
        # Its last creates are applied late, after the lease is over.
        late = Fault(FaultKind.LATE_APPLY, delay=LEASE + 0.9)
        stalls = Fault(FaultKind.STALL_BEFORE, delay=60.0)
        sim.script(Endpoint.CREATE, *[None] * 10, *[late] * 4, *[stalls] * 4)
        async with client_of(sim, timeouts=Timeouts(attempt=2.0, settle=2.0)) as first:
            owner = asyncio.create_task(run_leased(store, first, shard, seconds=LEASE))
            await until(lambda: creates(sim) >= 18, owner)
            await gone(owner)
        assert len(sim.created("acme")) == 10
        async with client_of(sim, timeouts=Timeouts(attempt=1.0, settle=1.5)) as second:
            assert await run_leased(store, second, shard, seconds=LEASE) > 0  # it is the other one's
            await until_done(store, second, shard)
        told = await store.outcomes(0)
        assert sorted(outcome.index for outcome in told) == list(range(30))
        assert all(outcome.status.ok for outcome in told)
        assert stored(sim) == Counter(f"ref-{n}" for n in range(30))
        assert sum(outcome.status == "adopted" for outcome in told) >= 4


async def test_what_a_run_left_in_doubt_at_its_end_is_not_told(redis, tmp_path):
    async with simulator() as sim, client_of(sim, pacing=PacingPolicy(max_wait=0.2)) as clarus:
        split = split_of(sim, tmp_path, shops(8), concurrency=1)
        store = await registered(redis, split)
        limited = Fault(FaultKind.RATE_LIMITED, retry_after=0.4)
        sim.script(Endpoint.CREATE, FaultKind.ERROR_BEFORE, None, limited)
        assert await run_leased(store, clarus, split.shards[0], seconds=LEASE) > 0
        assert {outcome.status.value for outcome in await store.outcomes(0)} == {"created"}
        await until_done(store, clarus, split.shards[0])
        assert sorted((o.index, o.status.ok) for o in await store.outcomes(0)) == [(n, True) for n in range(8)]
        assert stored(sim) == Counter(f"ref-{n}" for n in range(8))


async def test_whose_a_record_of_the_same_name_is_outlives_its_owner(redis, tmp_path):
    async with simulator(searchable_references=False) as sim:
        split = split_of(sim, tmp_path, shops(2, name="Shop"), references=False)
        shard, store = split.shards[0], await registered(redis, split)
        sim.script(Endpoint.CREATE, None, Fault(FaultKind.STALL_BEFORE, delay=60.0))
        async with client_of(sim) as first:
            owner = asyncio.create_task(run_leased(store, first, shard, seconds=LEASE))
            while not await store.outcomes(0):
                assert not owner.done(), owner
            await gone(owner)
        async with client_of(sim) as second:
            await until_done(store, second, shard)
        told = {outcome.key: outcome for outcome in await store.outcomes(0)}
        assert {key: outcome.status.value for key, outcome in told.items()} == {"ref-0": "created", "ref-1": "created"}
        assert {r.external_system_reference1: r.id for r in sim.created("acme")} == {
            key: outcome.id for key, outcome in told.items()
        }


async def test_nothing_is_told_or_sent_when_the_lease_is_over(redis, redis_server, tmp_path):
    async with simulator(latency=0.05) as sim, client_of(sim) as clarus:
        split = split_of(sim, tmp_path, shops(120))
        shard, store = split.shards[0], await registered(redis, split)
        owner = asyncio.create_task(run_leased(store, clarus, shard, seconds=LEASE))
        await until(lambda: creates(sim) >= 8, owner)
        stopped = time.monotonic()
        await asyncio.to_thread(redis_server.stop)
        assert await owner == 1.0  # it is to be tried again
        assert time.monotonic() - stopped < LEASE + 1.0
        assert creates(sim) < 120
        await asyncio.to_thread(redis_server.start)
        told = await store.outcomes(0)
        assert all(outcome.status.ok for outcome in told)
        await until_done(store, clarus, shard)
        assert stored(sim) == Counter(f"ref-{n}" for n in range(120))
        assert len(await store.outcomes(0)) == 120


class Swallowing(ShardStore):
    """A driver that swallows one cancellation, as asyncio.wait_for does on Python 3.11 now and then."""

    inside = False
    swallowed = False

    async def swallow(self):
        self.inside = True
        if not self.swallowed:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10.0)
            self.swallowed = True


class SwallowingRenewals(Swallowing):
    async def renew(self, *args):
        await self.swallow()
        return await super().renew(*args)


class SwallowingAppends(Swallowing):
    async def append(self, *args):
        await self.swallow()
        return await super().append(*args)


async def test_a_cancellation_that_the_driver_swallows_keeps_no_owner_alive(redis, tmp_path):
    async with simulator(latency=0.05) as sim, client_of(sim) as clarus:
        split = split_of(sim, tmp_path, shops(60))
        store = SwallowingRenewals(redis, split.run)
        await store.register(1)
        # Longer than the test: nothing but the cancellation ends a renewal.
        owner = asyncio.create_task(run_leased(store, clarus, split.shards[0], seconds=60.0))
        await until(lambda: store.inside, owner)
        async with asyncio.timeout(30.0):
            await gone(owner)
        assert store.swallowed


async def test_a_cancellation_that_the_driver_swallows_keeps_no_shard_from_its_end(redis, tmp_path):
    async with simulator(latency=0.05) as sim, client_of(sim) as clarus:
        split = split_of(sim, tmp_path, shops(60))
        store = SwallowingAppends(redis, split.run)
        await store.register(1)
        async with asyncio.timeout(30.0):
            assert await run_leased(store, clarus, split.shards[0], seconds=60.0) is None
        assert store.swallowed
        assert sorted(outcome.index for outcome in await store.outcomes(0)) == list(range(60))
