"""The queue before a server: no more requests on the wire than there are connections, and every tenant in turn."""

from __future__ import annotations

import asyncio
import functools
from itertools import pairwise

import aiohttp
import pytest

from clarus_async import (
    AccessToken,
    DeadlineExceededError,
    PacingPolicy,
    RetryPolicy,
    Timeouts,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support import builders
from tests.support.builders import shop
from tests.support.stub_server import StubServer, created, reply
from tests.support.virtual import now, settle, virtual

AT_ONCE = PacingPolicy(rate=1e6, burst=10_000)
"""A quota that keeps nobody waiting."""


client_of = functools.partial(builders.client_of, credentials=AccessToken("t0"))


class Busy:
    """Answers after some seconds, and counts how many it is answering."""

    def __init__(self, seconds=1.0):
        self.seconds = seconds
        self.at_once = 0
        self.most = 0
        self.order = []

    async def __call__(self, asked):
        self.order.append(asked.headers["x-clarus-subdomain"])
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        return reply({"data": {}})


class TestWidth:
    @pytest.mark.parametrize("width", [1, 3, 64])
    @virtual
    async def test_never_more_requests_on_the_wire(self, width):
        busy = Busy(0.5)
        async with (
            StubServer(busy) as server,
            client_of(server, max_connections=width, pacing=AT_ONCE) as clarus,
        ):
            await asyncio.gather(*(clarus.ping() for _ in range(130)))
            assert busy.most == width
            assert server.open_connections == width
            assert now() == pytest.approx(-(-130 // width) * 0.5, abs=0.01)

    @virtual
    async def test_views_share_it(self):
        busy = Busy()
        async with StubServer(busy) as server, client_of(server, max_connections=2) as clarus:
            views = [clarus.for_subdomain(f"t{number}") for number in range(5)]
            await asyncio.gather(*(view.ping() for view in views for _ in range(4)))
            assert busy.most == 2

    @virtual
    async def test_the_caller_s_session_narrows_it(self):
        busy = Busy()
        connector = aiohttp.TCPConnector(limit=2)
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        async with session, StubServer(busy) as server, client_of(server, session=session) as clarus:
            await asyncio.gather(*(clarus.ping() for _ in range(6)))
            assert busy.most == 2
            assert clarus.pace.queued == 0

    @virtual
    async def test_a_token_is_asked_for_while_all_connections_are_in_use(self):
        async with Simulator(latency=5.0) as sim, builders.client_of(sim, max_connections=1) as clarus:
            await clarus.ping()
            sim.expire_tokens()
            await asyncio.gather(*(clarus.ping() for _ in range(3)))
            assert sim.count(Endpoint.TOKEN) == 2


class TestTurns:
    @virtual
    async def test_tenants_take_turns(self):
        busy = Busy()
        async with StubServer(busy) as server, client_of(server, max_connections=1) as clarus:
            first = asyncio.create_task(clarus.ping())
            await settle()
            views = [clarus.for_subdomain(name) for name in ("a", "b", "c")]
            await asyncio.gather(first, *(view.ping() for view in views for _ in range(3)))
            assert busy.order == ["acme", *"abcabcabc"]


class TestOnlyOnTheWire:
    """A slot is held only while a request is on the wire."""

    @virtual
    async def test_a_backoff_holds_no_slot(self):
        options = {"retry": RetryPolicy(base=100.0, cap=100.0), "timeouts": Timeouts(deadline=1000.0)}
        async with Simulator() as sim, builders.client_of(sim, max_connections=1, **options) as clarus:
            await clarus.ping()
            sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502)
            slow = asyncio.create_task(clarus.ping())
            await asyncio.sleep(1.0)
            assert not slow.done()
            began = now()
            await clarus.ping()
            assert now() == began
            await slow

    @virtual
    async def test_a_pause_of_one_tenant_holds_no_slot(self):
        async with (
            Simulator(tenants=("acme", "globex")) as sim,
            builders.client_of(sim, max_connections=1) as clarus,
        ):
            globex = clarus.for_subdomain("globex")
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=30, tenant="acme"))
            slow = asyncio.create_task(clarus.integrations.create(shop()))
            await asyncio.sleep(1.0)
            began = now()
            await globex.ping()
            assert now() == began
            await slow
            assert now() == pytest.approx(30.0)

    @virtual
    async def test_a_look_up_s_wait_holds_no_slot(self):
        """A create that met a 503 looks before it sends again: with one slot, it would wait for itself."""
        async with (
            Simulator() as sim,
            builders.client_of(sim, max_connections=1) as clarus,
        ):
            sim.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=5))
            await clarus.integrations.create(shop())
            assert len(sim.created("acme")) == 1

    @virtual
    async def test_a_call_waits_for_a_connection_no_longer_than_its_deadline(self):
        async with StubServer(Busy(10.0)) as server, client_of(server, max_connections=1) as clarus:
            first = asyncio.create_task(clarus.ping())
            await settle()
            began = now()
            with pytest.raises(DeadlineExceededError) as raised:
                await clarus.with_options(timeouts=Timeouts(deadline=2.0)).ping()
            assert now() - began == pytest.approx(2.0)
            assert raised.value.attempts == 0
            await first


class TestPace:
    """A 429 pauses its tenant, and slows it; after a long pause one request probes, then the rest go."""

    @virtual
    async def test_one_probe_then_the_rest(self):
        async with Simulator(latency=0.5) as sim:
            async with builders.client_of(sim) as clarus:
                await asyncio.gather(*(clarus.ping() for _ in range(60)))
                sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=30))
                first = asyncio.create_task(clarus.integrations.create(shop(0)))
                await asyncio.sleep(1.0)
                others = [asyncio.create_task(clarus.integrations.create(shop(number))) for number in range(1, 20)]
                await asyncio.sleep(28.0)
                assert sim.count(Endpoint.CREATE) == 1
                assert clarus.pace.waiting == 20
                assert clarus.pace.paused_until is not None
                await asyncio.gather(first, *others)
                assert clarus.pace.paused_until is None
            refused, probe, *rest = (entry.at for entry in sim.requests if entry.endpoint is Endpoint.CREATE)
            assert probe == pytest.approx(refused + 30.5)
            assert min(rest) >= probe + 0.5
            assert max(rest) < probe + 20.0
            assert len(sim.created("acme")) == len(rest) + 1 == 20

    @virtual
    async def test_after_refusals_in_a_row_one_probes(self):
        async with Simulator(latency=0.5) as sim:
            async with builders.client_of(sim) as clarus:
                await asyncio.gather(*(clarus.ping() for _ in range(60)))
                sim.set_faults([Fault(FaultKind.RATE_LIMITED, endpoint=Endpoint.CREATE)])
                tasks = [asyncio.create_task(clarus.integrations.create(shop(number))) for number in range(20)]
                await asyncio.sleep(20.0)
                alone = [entry.at for entry in sim.requests if entry.at > now() - 12.0]
                assert len(alone) >= 3
                assert all(later - earlier >= 0.5 for earlier, later in pairwise(alone))
                sim.set_faults([])
                await asyncio.gather(*tasks)
            assert len(sim.created("acme")) == 20


async def test_a_queue_before_real_sockets_loses_no_connection_to_a_hundred_cancelled_calls():
    async def answer(asked):
        await asyncio.sleep(0.002)
        return created()

    async with StubServer(answer) as server, client_of(server, max_connections=4) as clarus:
        tasks = [asyncio.create_task(clarus.integrations.create(shop(number))) for number in range(200)]
        for number, task in enumerate(tasks):
            if number % 2:
                asyncio.get_running_loop().call_later(0.0005 * number, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [r for r in results if isinstance(r, Exception) and not isinstance(r, asyncio.CancelledError)]
        assert clarus._caller.core.connections.busy == 0
        await asyncio.gather(*(clarus.integrations.create(shop(number)) for number in range(8)))
        assert server.open_connections <= 4
