"""The coordinator of a run: shards go out, come back, and are sent again where they are lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import attrs
import pytest

from clarus_async.fleet.coordinator import Coordinator, ShardError
from clarus_async.fleet.shard_store import ShardStore
from clarus_async.fleet.worker import run_to_end
from tests.support.builders import collect
from tests.support.fleet import (  # noqa: F401  some are fixtures
    LEASE,
    client_of,
    coordinators_look_often,
    grown_up_fixture,
    redis_fixture,
    redis_server_fixture,
    shops,
    simulator,
    split_of,
    stored,
)

pytestmark = pytest.mark.usefixtures("grown_up")


class Machines:
    """Workers of no engine: a queue, of which messages may be lost, and tasks."""

    def __init__(self, redis, clarus, lose=0, lease=LEASE):
        self.redis, self.clarus, self.lose, self.lease = redis, clarus, lose, lease
        self.sent = []
        self.tasks = []
        self.loop = asyncio.get_running_loop()

    def send(self, shards):
        self.sent += [shard.number for shard in shards]
        for shard in shards:
            if self.lose:
                self.lose -= 1
            else:
                self.loop.call_soon_threadsafe(self._begin, shard)

    def _begin(self, shard):
        work = run_to_end(ShardStore(self.redis, shard.run), self.clarus, shard, seconds=self.lease)
        self.tasks.append(asyncio.create_task(work))

    async def is_queued(self):
        return False

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
            [task.exception() for task in self.tasks if not task.cancelled()]

    def coordinator(self, split, lost_after=60.0):
        store = ShardStore(self.redis, split.run)
        return Coordinator(store, split.shards, self.send, self.is_queued, settle=0.2, lost_after=lost_after)


async def test_a_message_that_is_lost_is_sent_again(redis, tmp_path):
    # A lease that ran out on a busy machine would have a shard sent again whose message was not lost.
    async with simulator() as sim, client_of(sim) as clarus, Machines(redis, clarus, lose=1, lease=60.0) as machines:
        split = split_of(sim, tmp_path, shops(12), size=5)
        told = await collect(machines.coordinator(split, lost_after=2.0).outcomes())
        assert sorted(outcome.index for outcome in told) == list(range(12))
        assert machines.sent == [0, 1, 2, 0]
        assert not await redis.keys(f"clarus:{{{split.run}*")


async def test_a_run_that_is_stopped_goes_on_where_it_was(redis, tmp_path):
    async with simulator(latency=0.05) as sim, client_of(sim) as clarus, Machines(redis, clarus) as machines:
        split = split_of(sim, tmp_path, shops(120), size=60)
        coordinator = machines.coordinator(split)
        told = []
        async for outcome in coordinator.outcomes():
            told.append(outcome)
            coordinator.stop()
        assert 0 < len(told) < 120
        assert all(outcome.status.ok for outcome in told)
        again = await collect(machines.coordinator(split).outcomes())
        assert sorted(outcome.index for outcome in again) == list(range(120))
        assert {o.index: o for o in told}.items() <= {o.index: o for o in again}.items()
        assert stored(sim) == Counter(f"ref-{n}" for n in range(120))


async def test_a_changed_file_ends_the_run_of_what_it_was(redis, tmp_path):
    async with simulator(latency=0.02) as sim, client_of(sim) as clarus, Machines(redis, clarus) as machines:
        split = split_of(sim, tmp_path, shops(100))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.7):
                await collect(machines.coordinator(split).outcomes())
        changed = split_of(sim, tmp_path, shops(101))
        told = await collect(machines.coordinator(changed).outcomes())
        assert sorted(outcome.index for outcome in told) == list(range(101))
        assert stored(sim) == Counter(f"ref-{n}" for n in range(101))
        assert not await redis.keys(f"clarus:{{{split.run}*")


async def test_what_would_fail_every_record_ends_the_run(redis, tmp_path):
    async with simulator() as sim, client_of(sim) as clarus, Machines(redis, clarus) as machines:
        split = split_of(sim, tmp_path, shops(3), tenant="globex")
        with pytest.raises(ShardError, match="the shard is for globex"):
            await collect(machines.coordinator(split).outcomes())
        assert not sim.created("acme")


async def test_a_resource_that_the_workers_do_not_know_ends_the_run(redis, tmp_path):
    async with simulator() as sim, client_of(sim) as clarus, Machines(redis, clarus) as machines:
        split = split_of(sim, tmp_path, shops(3))
        strangers = tuple(attrs.evolve(shard, resource="moons") for shard in split.shards)
        with pytest.raises(ShardError, match="the shard is of moons"):
            await collect(machines.coordinator(attrs.evolve(split, shards=strangers)).outcomes())
        assert not sim.created("acme")


async def test_what_was_put_right_goes_on(redis, tmp_path):
    async with simulator() as sim, client_of(sim) as clarus, Machines(redis, clarus) as machines:
        split = split_of(sim, tmp_path, shops(6), size=3)
        file = tmp_path / "records.jsonl"
        file.rename(tmp_path / "away")
        with pytest.raises(ShardError, match=r"records\.jsonl: No such file"):
            await collect(machines.coordinator(split).outcomes())
        (tmp_path / "away").rename(file)
        # Nobody takes a shard for a while: what went wrong before does not count.
        machines.lose = 2
        told = await collect(machines.coordinator(split, lost_after=0.3).outcomes())
        assert sorted(outcome.index for outcome in told) == list(range(6))
