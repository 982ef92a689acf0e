"""One quota for several clients, through a real Redis: as several processes would share it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import pickle
import sys
import time
from collections import Counter

import pytest

from clarus_async import ClarusClient, InvalidInputError, NewIntegration, PaceSource, RateLimitedError, RetryPolicy
from clarus_async.fleet.redis import RedisPacing
from clarus_async.fleet.redis_url import RedisAddress
from clarus_async.simulator import Endpoint, Fault, FaultKind, Quota, Simulator
from tests.support.process import free_port
from tests.support.redis_server import RedisServer

CANARY = "canary-redis-password"


@pytest.fixture(scope="module")
def redis():
    with RedisServer() as server:
        yield server


@pytest.fixture
def prefix(request):
    """Keys of a test's own."""
    return f"clarus-{abs(hash(request.node.nodeid))}"


def client_of(sim, redis, prefix, *, subdomain="acme", retry=None, **options):
    pacing = RedisPacing(url=redis.url, prefix=prefix, **options)
    return ClarusClient(subdomain, sim.credentials, base_url=sim.url, pacing=pacing, retry=retry)


def shop(name):
    return NewIntegration(name=name, integration_type="shopify")


async def keep_busy(client, seconds, width=8):
    """Create records for a while; return how many."""
    until = asyncio.get_running_loop().time() + seconds
    made = 0

    async def one():
        nonlocal made
        while asyncio.get_running_loop().time() < until:
            await client.integrations.create(shop("Shop"))
            made += 1

    await asyncio.gather(*(one() for _ in range(width)))
    return made


def creates(sim):
    return [entry for entry in sim.requests if entry.endpoint is Endpoint.CREATE]


async def test_two_clients_keep_a_rate_that_is_given_to_both_together(redis, prefix):
    async with Simulator(latency=0.005) as sim:
        async with client_of(sim, redis, prefix, rate=40.0) as one, client_of(sim, redis, prefix, rate=40.0) as other:
            shares = await asyncio.gather(keep_busy(one, 2.0), keep_busy(other, 2.0))
        times = [entry.at for entry in creates(sim)]
        # Whatever second one looks at: no more than the rate, the tenth of a second that may go at once, and what
        # timers make of it.
        most = max(sum(start <= at < start + 1.0 for at in times) for start in times)
        assert most <= 47
        assert len(times) <= 40.0 * (times[-1] - times[0]) + 6
        # A machine that is busy for a moment misses slots, and one process more of them than the other.
        assert sum(shares) >= 0.5 * 2 * 40
        assert min(shares) >= 0.15 * sum(shares)


async def test_a_rate_that_one_learned_is_known_to_the_next(redis, prefix):
    async with Simulator(quota=Quota(limit=50), latency=0.005) as sim:
        async with client_of(sim, redis, prefix) as one:
            deadline = time.monotonic() + 20.0
            while one.pace.source is not PaceSource.LEARNED:
                # A machine that is busy is slower than the limit.
                assert time.monotonic() < deadline
                await keep_busy(one, 1.5)
        refused = sum(entry.status == 429 for entry in creates(sim))
        assert refused > 0
        async with client_of(sim, redis, prefix) as other:
            await keep_busy(other, 1.5)
            assert other.pace.source is PaceSource.LEARNED
            # On a machine that is slow for a moment, what is admitted there is less.
            assert 20.0 < other.pace.rate < 57.5
        # It begins near the limit, and does not have to find it.
        assert sum(entry.status == 429 for entry in creates(sim)) - refused <= 6


async def test_what_the_server_tells_one_of_is_kept_by_all(redis, prefix):
    async with Simulator(quota=Quota(limit=30, headers="ietf"), latency=0.005) as sim:
        async with client_of(sim, redis, prefix) as one, client_of(sim, redis, prefix) as other:
            await one.integrations.create(shop("A"))
            await asyncio.gather(keep_busy(one, 1.5), keep_busy(other, 1.5))
            assert one.pace.source is other.pace.source is PaceSource.TOLD
        assert sum(entry.status == 429 for entry in creates(sim)) <= 3


async def test_a_pause_for_one_is_a_pause_for_all(redis, prefix):
    async with Simulator() as sim:
        async with client_of(sim, redis, prefix) as one, client_of(sim, redis, prefix) as other:
            await asyncio.gather(one.ping(), other.ping())
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=1.0))
            first = asyncio.create_task(one.integrations.create(shop("A")))
            while not creates(sim):  # noqa: ASYNC110  the simulator has no event to wait for
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            await asyncio.gather(first, other.integrations.create(shop("B")))
        refused, *admitted = creates(sim)
        assert refused.status == 429
        assert [entry.status for entry in admitted] == [200, 200]
        assert min(entry.at for entry in admitted) - refused.at >= 1.0


async def test_a_pause_longer_than_max_wait_is_raised_where_it_was_not_met_too(redis, prefix):
    async with Simulator() as sim:
        async with (
            client_of(sim, redis, prefix, max_wait=5.0) as one,
            client_of(sim, redis, prefix, max_wait=5.0) as other,
        ):
            await other.ping()
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=600.0))
            with pytest.raises(RateLimitedError):
                await one.integrations.create(shop("A"))
            async with asyncio.timeout(5.0):
                while other.pace.paused_until is None:  # noqa: ASYNC110  it has no event
                    await asyncio.sleep(0.01)
            with pytest.raises(RateLimitedError) as caught:
                await asyncio.wait_for(other.integrations.create(shop("B")), 5.0)
            assert caught.value.retry_after > 500.0
        assert len(creates(sim)) == 1


async def test_tenants_have_a_quota_each_unless_they_share_one(redis, prefix):
    for scope, most in (("tenant", 72), ("client", 42)):
        async with Simulator(tenants=("acme", "globex"), latency=0.005) as sim:
            async with client_of(sim, redis, prefix, rate=20.0, scope=scope) as acme:
                globex = acme.for_subdomain("globex")
                await asyncio.gather(keep_busy(acme, 1.4, 4), keep_busy(globex, 1.4, 4))
            times = [entry.at for entry in creates(sim)]
            # A machine that is busy misses slots.
            assert 0.3 * most <= len(times) <= most, scope


async def test_without_redis_each_keeps_to_its_part_says_so_once_and_comes_back(prefix, caplog):
    caplog.set_level(logging.INFO, "clarus_async")
    with RedisServer() as redis:
        async with Simulator(latency=0.005) as sim:
            async with client_of(sim, redis, prefix, rate=60.0) as one, client_of(sim, redis, prefix, rate=60.0) as two:
                await asyncio.gather(keep_busy(one, 0.5), keep_busy(two, 0.5))
                redis.stop()
                before, began = len(creates(sim)), time.monotonic()
                await asyncio.gather(keep_busy(one, 2.0), keep_busy(two, 2.0))
                alone, took = len(creates(sim)) - before, time.monotonic() - began
                # Half of it each, so no more together than before, however long a busy machine took.
                assert 30 <= alone <= 60.0 * took + 30
                assert one.pace.rate == pytest.approx(30.0)
                redis.start()
                deadline = time.monotonic() + 8.0
                while one.pace.rate != 60.0 or two.pace.rate != 60.0:
                    assert time.monotonic() < deadline
                    await asyncio.gather(keep_busy(one, 0.2, 2), keep_busy(two, 0.2, 2))
    told = Counter(record.getMessage() for record in caplog.records if "Redis" in record.getMessage())
    where = f"Redis at 127.0.0.1:{redis.port} can't be used"
    meanwhile = "each process keeps to its part of the last rate by itself"
    assert told["Redis is back: the pace is shared again"] == 2
    assert told[f"{where}: Connection refused: {meanwhile}"] == 2
    # Those that were asked as it went away say that first.
    assert set(told) <= {
        f"{where}: the connection was lost: {meanwhile}",
        f"{where}: Connection refused: {meanwhile}",
        f"{where}: Connection reset by peer: {meanwhile}",
        "Redis is back: the pace is shared again",
    }
    assert max(told.values()) == 2


async def test_where_redis_never_was_there_a_client_paces_itself(prefix):
    class Nowhere:
        url = f"redis://127.0.0.1:{free_port()}/0"

    async with Simulator(quota=Quota(limit=20)) as sim, client_of(sim, Nowhere, prefix) as client:
        assert await keep_busy(client, 1.5) >= 15
        assert client.pace.source is PaceSource.NONE or client.pace.rate is not None


async def test_redis_holds_no_secret_and_forgets(redis, prefix):
    import redis.asyncio as driver

    async with Simulator() as sim, client_of(sim, redis, prefix) as client:
        await client.integrations.create(
            NewIntegration(name="Shop", integration_type="shopify", configuration={"api_key": CANARY})
        )
        await keep_busy(client, 0.6, 1)  # what was learned is kept soon
        store = driver.from_url(redis.url, decode_responses=True)
        keys = [key async for key in store.scan_iter(f"{prefix}:*")]
        assert sorted(key.rpartition(":")[2] for key in keys) == ["learned", "lease", "token"]
        dumped = str(keys)
        for key in keys:
            dumped += str(await store.hgetall(key) if key.endswith(":token") else await store.get(key))
        assert all([0 < await store.pttl(key) <= 3_600_000 for key in keys])
        await store.aclose()
    for secret in (CANARY, sim.client_id, sim.client_secret, "sim-access-"):
        assert secret not in dumped


@pytest.mark.parametrize("how", ["hangs", "raises"])
async def test_a_driver_that_fails_in_a_way_of_its_own_holds_nobody_up(how, prefix, monkeypatch):
    released = asyncio.Event()

    class Driver:
        def register_script(self, _):
            return self._run

        def eval(self, *_):
            return self._run()

        async def _run(self, **_):
            if how == "raises":
                raise RuntimeError("Buffer is closed.")
            await self._hang()

        async def _hang(self):
            while not released.is_set():
                # As asyncio.wait_for does now and then on Python 3.11.
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()

        async def aclose(self):
            await (self._hang() if how == "hangs" else self._run())

    class Nowhere:
        url = "redis://127.0.0.1:1/0"

    monkeypatch.setattr(RedisAddress, "client", lambda *_, **__: Driver())
    try:
        async with asyncio.timeout(10.0):
            async with Simulator() as sim, client_of(sim, Nowhere, prefix, timeout=0.05) as client:
                await client.integrations.create(shop("A"))
    finally:
        released.set()


async def test_closing_leaves_no_task_and_no_connection(redis, prefix):
    import redis.asyncio as driver

    store = driver.from_url(redis.url, decode_responses=True)

    async def only_ours():
        async with asyncio.timeout(10.0):
            while len(await store.client_list()) > 1:  # noqa: ASYNC110  Redis sees it when the kernel says so
                await asyncio.sleep(0.01)

    await only_ours()
    async with Simulator() as sim, client_of(sim, redis, prefix, retry=RetryPolicy(max_attempts=1)) as client:
        await client.ping()
        # One to ask with, and one to listen.
        assert len(await store.client_list()) <= 3
    await only_ours()
    await store.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


class TestSettings:
    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"url": "http://127.0.0.1"}, "url: must be a URL that begins with redis://"),
            ({"url": 7}, "url: must be a URL"),
            ({"prefix": ""}, "prefix: must be a string that is not empty"),
            ({"timeout": 0}, "timeout: must be seconds above 0"),
            ({"timeout": float("inf")}, "timeout: must be seconds above 0"),
            ({"rate": -1.0}, "rate: must be a finite number"),
        ],
    )
    def test_a_bad_one_is_named(self, options, problem):
        with pytest.raises(InvalidInputError, match=problem):
            RedisPacing(**options)

    def test_a_password_never_shows(self):
        pacing = RedisPacing(url=f"redis://user:{CANARY}@127.0.0.1/0", rate=7.0)
        assert "rate=7.0" in repr(pacing)
        assert CANARY not in repr(pacing)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_it_refuses_to_be_pickled(self, protocol):
        with pytest.raises(TypeError, match="holds a secret and refuses to be pickled"):
            pickle.dumps(RedisPacing(), protocol)

    def test_a_copy_of_what_never_changes_is_itself(self):
        pacing = RedisPacing()
        assert copy.copy(pacing) is pacing
        assert copy.deepcopy({"pacing": pacing})["pacing"] is pacing

    def test_without_redis_installed_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "redis.asyncio", None)
        with pytest.raises(ImportError, match=r'pip install "clarus-async\[redis\]"'):
            RedisPacing()
