"""Closing a client: new calls are refused, waits end, what is on the wire ends, nothing is left."""

from __future__ import annotations

import asyncio
import gc

import pytest

from clarus_async import (
    AccessToken,
    Applied,
    ClarusClient,
    ClarusError,
    ClientCredentials,
    ConfigurationError,
    IntegrationChanges,
    OutcomeUnknownError,
    PacingPolicy,
    RetryPolicy,
    Timeouts,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.builders import client_of, shop
from tests.support.stub_server import StubServer, reply
from tests.support.virtual import now, settle, virtual

AT_ONCE = PacingPolicy(rate=1e6, burst=10_000)
"""A quota that keeps nobody waiting."""


async def warm(clarus):
    """Have a token and a connection."""
    await clarus.ping()
    return clarus


def ours():
    """Our tasks that are still there."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("clarus_async")]


async def outcome(task):
    [result] = await asyncio.gather(task, return_exceptions=True)
    return result


class TestInFlight:
    @virtual
    async def test_a_call_on_the_wire_ends_well(self):
        async with Simulator(latency=5.0) as sim:
            clarus = await warm(client_of(sim))
            task = asyncio.create_task(clarus.integrations.create(shop()))
            await asyncio.sleep(1.0)
            began = now()
            await clarus.close()
            assert now() - began == pytest.approx(4.0)
            assert (await task).name == "Shop 0"
            assert sim.open_connections == 0

    @virtual
    async def test_many_on_the_wire_all_end_well(self):
        async with Simulator(latency=5.0) as sim:
            clarus = await warm(client_of(sim, pacing=AT_ONCE))
            tasks = [asyncio.create_task(clarus.integrations.create(shop(number))) for number in range(50)]
            await asyncio.sleep(1.0)
            assert sim.count(Endpoint.CREATE) == 50
            await clarus.close()
            assert {result.name for result in await asyncio.gather(*tasks)} == {f"Shop {n}" for n in range(50)}

    @virtual
    async def test_one_that_never_ends_is_given_up_after_its_attempt_timeout(self):
        async with Simulator() as sim:
            clarus = await warm(client_of(sim, timeouts=Timeouts(attempt=10.0)))
            sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=1000.0))
            task = asyncio.create_task(clarus.integrations.create(shop()))
            await asyncio.sleep(1.0)
            await clarus.close()
            assert now() <= 11.0
            error = await outcome(task)
            assert isinstance(error, OutcomeUnknownError)
            assert error.applied is Applied.MAYBE
            assert error.key == "Shop 0"

    @virtual
    async def test_a_view_s_longer_attempt_timeout_is_kept_to(self):
        async with Simulator(latency=20.0) as sim:
            clarus = await warm(client_of(sim, timeouts=Timeouts(attempt=30.0)))
            patient = clarus.with_options(timeouts=Timeouts(attempt=60.0))
            sim.script(Endpoint.CREATE, None)
            task = asyncio.create_task(patient.integrations.create(shop()))
            await asyncio.sleep(1.0)
            await clarus.close()
            assert (await task).name == "Shop 0"

    @virtual
    async def test_one_that_fails_while_closing_is_not_sent_again(self):
        async with Simulator(latency=5.0) as sim:
            clarus = await warm(client_of(sim))
            sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502)
            task = asyncio.create_task(clarus.ping())
            await asyncio.sleep(1.0)
            await clarus.close()
            assert isinstance(await outcome(task), ClarusError)
            assert sim.count(Endpoint.GRAPHQL) == 2

    @virtual
    async def test_an_unknown_outcome_stays_unknown(self):
        async with Simulator(latency=5.0) as sim:
            clarus = await warm(client_of(sim))
            sim.script(Endpoint.UPDATE, FaultKind.ERROR_AFTER)
            [stored] = sim.preload("acme", [{"name": "Shop", "integration_type": "shopify"}])
            task = asyncio.create_task(clarus.integrations.update(stored.id, IntegrationChanges(is_active=False)))
            await asyncio.sleep(1.0)
            await clarus.close()
            error = await outcome(task)
            assert isinstance(error, OutcomeUnknownError)
            assert error.applied is Applied.MAYBE
            assert "closed" in str(error)


class TestRefused:
    @pytest.mark.parametrize("call", ["ping", "create", "list", "graphql", "provision"])
    @virtual
    async def test_new_calls_are_refused(self, call):
        async with Simulator() as sim:
            clarus = await warm(client_of(sim))
            await clarus.close()
            before = sim.count()
            with pytest.raises(ConfigurationError, match="closed"):
                if call == "ping":
                    await clarus.ping()
                elif call == "create":
                    await clarus.integrations.create(shop())
                elif call == "list":
                    [row async for row in clarus.integrations.list()]
                elif call == "graphql":
                    await clarus.graphql("query { sites { all { edges { node { id } } } } }")
                else:
                    [outcome async for outcome in clarus.integrations.provision([shop()])]
            assert sim.count() == before

    @virtual
    async def test_so_are_those_of_its_views(self):
        async with Simulator(tenants=("acme", "globex")) as sim:
            clarus = client_of(sim)
            globex = clarus.for_subdomain("globex")
            await globex.ping()
            await clarus.close()
            with pytest.raises(ConfigurationError, match="closed"):
                await globex.ping()
            with pytest.raises(ConfigurationError, match="closed"):
                await clarus.for_subdomain("globex").ping()
            assert sim.open_connections == 0

    @virtual
    async def test_the_error_says_nothing_was_applied_and_names_the_call(self):
        async with Simulator() as sim:
            clarus = await warm(client_of(sim))
            await clarus.close()
            with pytest.raises(ConfigurationError) as raised:
                await clarus.integrations.create(shop())
            assert raised.value.applied is Applied.NO
            assert raised.value.attempts == 0
            assert (raised.value.method, raised.value.path) == ("POST", "/api/integrations")


class TestWaits:
    """A call that waits ends at once when the client closes."""

    @virtual
    async def test_for_a_backoff(self):
        retry = RetryPolicy(base=100.0, cap=100.0)
        async with Simulator() as sim:
            clarus = await warm(client_of(sim, retry=retry))
            sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502)
            task = asyncio.create_task(clarus.ping())
            await asyncio.sleep(0.5)
            assert not task.done()
            await clarus.close()
            assert isinstance(await outcome(task), ConfigurationError)
            assert now() == pytest.approx(0.5)

    @virtual
    async def test_for_the_pace(self):
        async with Simulator() as sim:
            clarus = await warm(client_of(sim))
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=60))
            refused = asyncio.create_task(clarus.integrations.create(shop(1)))
            await asyncio.sleep(0.5)
            waiting = asyncio.create_task(clarus.integrations.create(shop(2)))
            await asyncio.sleep(0.5)
            await clarus.close()
            assert now() == pytest.approx(1.0)
            assert isinstance(await outcome(refused), ClarusError)
            assert isinstance(await outcome(waiting), ConfigurationError)

    @virtual
    async def test_for_a_connection(self):
        async with Simulator(latency=5.0) as sim:
            clarus = await warm(client_of(sim, max_connections=1))
            first = asyncio.create_task(clarus.integrations.create(shop(1)))
            await asyncio.sleep(1.0)
            waiting = asyncio.create_task(clarus.integrations.create(shop(2)))
            await settle()
            closing = asyncio.create_task(clarus.close())
            began = now()
            assert isinstance(await outcome(waiting), ConfigurationError)
            assert now() == began
            await closing
            assert (await first).name == "Shop 1"
            assert [record.name for record in sim.created("acme")] == ["Shop 1"]

    @virtual
    async def test_for_a_token(self):
        async with Simulator() as sim:
            clarus = client_of(sim)
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=1000.0))
            task = asyncio.create_task(clarus.ping())
            await asyncio.sleep(1.0)
            await clarus.close()
            assert isinstance(await outcome(task), ConfigurationError)
            assert now() == pytest.approx(1.0)
            assert ours() == []

    @virtual
    async def test_for_a_token_while_another_call_is_on_the_wire(self):
        async with Simulator(latency=20.0) as sim:
            clarus = await warm(client_of(sim))
            on_the_wire = asyncio.create_task(clarus.ping())
            await asyncio.sleep(1.0)
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=1000.0))
            other = clarus.for_subdomain("acme", ClientCredentials(sim.client_id, sim.client_secret, ("other",)))
            waiting = asyncio.create_task(other.ping())
            await asyncio.sleep(1.0)
            began = now()
            closing = asyncio.create_task(clarus.close())
            assert isinstance(await outcome(waiting), ConfigurationError)
            assert now() == began
            await closing
            await on_the_wire

    @virtual
    async def test_for_a_look_up(self):
        async with Simulator() as sim:
            clarus = await warm(client_of(sim))
            sim.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=60))
            task = asyncio.create_task(clarus.integrations.create(shop()))
            await asyncio.sleep(1.0)
            await clarus.close()
            assert isinstance(await outcome(task), ClarusError)
            assert now() == pytest.approx(1.0)

    @virtual
    async def test_a_run_ends_with_an_error(self):
        async with Simulator(latency=1.0) as sim:
            clarus = await warm(client_of(sim))
            outcomes = []

            async def read():
                async with clarus.integrations.provision((shop(n) for n in range(10_000)), concurrency=4) as run:
                    async for each in run:
                        outcomes.append(each)

            reading = asyncio.create_task(read())
            await asyncio.sleep(2.5)
            await clarus.close()
            with pytest.raises(ConfigurationError, match="closed"):
                await reading
            assert sum(each.status.ok for each in outcomes) == len(sim.created("acme"))
            assert ours() == []


class TestTwice:
    @virtual
    async def test_one_after_the_other(self):
        async with Simulator() as sim:
            clarus = await warm(client_of(sim))
            await clarus.close()
            await clarus.close()

    @virtual
    async def test_at_once(self):
        async with Simulator(latency=5.0) as sim:
            clarus = await warm(client_of(sim))
            task = asyncio.create_task(clarus.ping())
            await asyncio.sleep(1.0)
            began = now()
            await asyncio.gather(clarus.close(), clarus.close(), clarus.close())
            assert now() - began == pytest.approx(4.0)
            await task

    @virtual
    async def test_by_hand_within_async_with(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            await clarus.ping()
            await clarus.close()

    @virtual
    async def test_a_client_that_was_never_used(self):
        clarus = ClarusClient("acme", AccessToken("t0"))
        await clarus.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await clarus.ping()

    def test_a_client_that_is_never_used_needs_no_closing(self):
        ClarusClient("acme", AccessToken("t0"))
        gc.collect()


class TestViews:
    @virtual
    async def test_closing_one_closes_nothing(self):
        async with Simulator(tenants=("acme", "globex")) as sim, client_of(sim) as clarus:
            globex = clarus.for_subdomain("globex")
            await globex.ping()
            await globex.close()
            await clarus.with_options(retry=RetryPolicy(max_attempts=1)).close()
            await clarus.ping()
            await globex.ping()

    @virtual
    async def test_leaving_one_s_async_with_closes_nothing(self):
        async with Simulator(tenants=("acme", "globex")) as sim, client_of(sim) as clarus:
            async with clarus.for_subdomain("globex") as globex:
                await globex.ping()
            await globex.ping()


class TestCancelled:
    @pytest.mark.parametrize("cancellations", [1, 2])
    @virtual
    async def test_leaving_async_with_closes_the_pool_whoever_cancels(self, cancellations):
        async with Simulator(latency=5.0) as sim:
            on_the_wire = asyncio.get_running_loop().create_future()

            async def use():
                async with client_of(sim) as clarus:
                    await clarus.ping()
                    task = asyncio.create_task(clarus.ping())
                    await asyncio.sleep(1.0)
                    on_the_wire.set_result(task)

            using = asyncio.create_task(use())
            task = await on_the_wire
            for _ in range(cancellations):
                await settle()
                using.cancel()
            with pytest.raises(asyncio.CancelledError):
                await using
            await outcome(task)
            await asyncio.sleep(10.0)
            assert sim.open_connections == 0
            assert ours() == []

    @virtual
    async def test_cancelling_close_itself_closes_the_pool_at_once(self):
        async with Simulator(latency=5.0) as sim:
            clarus = await warm(client_of(sim))
            task = asyncio.create_task(clarus.ping())
            await asyncio.sleep(1.0)
            closing = asyncio.create_task(clarus.close())
            await settle()
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert isinstance(await outcome(task), ClarusError)
            await asyncio.sleep(10.0)
            assert sim.open_connections == 0

    @virtual
    async def test_an_error_in_the_block_is_not_hidden(self):
        async with Simulator() as sim:
            with pytest.raises(LookupError):
                async with client_of(sim) as clarus:
                    await clarus.ping()
                    raise LookupError


class TestNothingIsLeft:
    async def test_no_task_no_connection_over_real_sockets(self):
        async with Simulator() as sim:
            async with client_of(sim) as clarus:
                await asyncio.gather(*(clarus.integrations.create(shop(number)) for number in range(100)))
                assert sim.open_connections > 1
            async with asyncio.timeout(30):
                while sim.open_connections:  # noqa: ASYNC110  the server sees it when the kernel says so
                    await asyncio.sleep(0)
            assert ours() == []

    async def test_calls_on_the_wire_end_over_real_sockets(self):
        release = asyncio.Event()
        arrived = asyncio.Semaphore(0)

        async def answer(asked):
            arrived.release()
            await release.wait()
            return reply({"data": {}})

        async with StubServer(answer) as server:
            clarus = ClarusClient("acme", AccessToken("t0"), base_url=server.url, pacing=AT_ONCE)
            tasks = [asyncio.create_task(clarus.ping()) for _ in range(10)]
            for _ in tasks:
                await arrived.acquire()
            closing = asyncio.create_task(clarus.close())
            await settle()
            assert not closing.done()
            release.set()
            await closing
            assert await asyncio.gather(*tasks) == [None] * 10

    @virtual
    async def test_a_stale_token_s_refresh_is_ended(self):
        async with Simulator(token_lifetime=600.0) as sim:
            clarus = await warm(client_of(sim))
            await asyncio.sleep(550.0)
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=1000.0))
            await clarus.ping()
            await settle()
            assert len(ours()) == 1
            await clarus.close()
            assert ours() == []
            await asyncio.sleep(1000.0)
            assert sim.count(Endpoint.TOKEN) == 2
