"""A call cancelled at any turn of the event loop: it ends at once, and nothing it held is lost.

Each scenario runs again and again, cancelled one turn later each time, until it is over before it can be cancelled.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import itertools
from collections import Counter

import pytest

from clarus_async import (
    AuthorizationCode,
    ClarusClient,
    IntegrationChanges,
    NewIntegration,
    RefreshToken,
    RetryPolicy,
    Timeouts,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from clarus_async.simulator.oauth import s256
from tests.support.builders import client_of
from tests.support.virtual import Turns, now, run_virtually, settle, virtual

SHOP = NewIntegration(name="Shop", integration_type="shopify", external_system_reference1="r1")
STORED = {"name": "Stored", "integration_type": "shopify"}
SLOW = RetryPolicy(base=10.0, cap=10.0)
AT_ONCE = 5
"""Turns of the loop that a cancellation may take to get through the layers."""


def ours():
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("clarus_async")]


class Moment:
    """So many turns of the loop after a call began, and whether the call was cancelled then."""

    def __init__(self, turns):
        self.turns = turns
        self.cancelled = False


async def cancelled_at(moment, call, at_once=AT_ONCE):
    """Start a call, cancel it at a moment unless it is over before, and see it end at once."""
    turns = Turns(asyncio.get_running_loop())
    task = asyncio.ensure_future(call)
    was_cancelled = []

    def cancel():
        was_cancelled.append((task.cancel(), now()))

    turns.before(turns.count + moment.turns, cancel)
    ended = []
    task.add_done_callback(lambda _: ended.append((turns.count, now())))
    began = turns.count
    await asyncio.wait([task])
    await asyncio.sleep(0)
    if not was_cancelled or not was_cancelled[0][0]:
        task.result()
        return
    moment.cancelled = True
    assert task.cancelled(), task
    [(turn, at)] = ended
    assert turn - (began + moment.turns) <= at_once
    assert at == was_cancelled[0][1]


def swept(least):
    """Run a test with one moment after the other, until its call is over before; those are more than ``least``."""

    def decorate(test):
        def run(**arguments):
            for turns in itertools.count(1):
                moment = Moment(turns)
                virtual(test)(moment, **arguments)
                if not moment.cancelled:
                    break
            assert turns > least

        functools.update_wrapper(run, test)
        run.__signature__ = inspect.Signature(list(inspect.signature(test).parameters.values())[1:])
        return run

    return decorate


# What happens, and the call that it happens to.


def cold(sim, clarus):
    return clarus.integrations.create(SHOP)


def slow_token(sim, clarus):
    sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=5.0))
    return clarus.integrations.create(SHOP)


def refused_token(sim, clarus):
    sim.script(Endpoint.TOKEN, FaultKind.HTML_502, FaultKind.RESET_BEFORE)
    return clarus.integrations.create(SHOP)


def ended_session(sim, clarus):
    sim.script(Endpoint.CREATE, FaultKind.UNAUTHORIZED)
    return clarus.integrations.create(SHOP)


def backoff(sim, clarus):
    sim.script(Endpoint.UPDATE, FaultKind.RESET_BEFORE, FaultKind.ERROR_AFTER)
    return clarus.integrations.update(1, IntegrationChanges(string1=None))


def pace(sim, clarus):
    sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=5))
    return clarus.integrations.create(SHOP)


def stalled(sim, clarus):
    sim.script(Endpoint.DELETE, Fault(FaultKind.STALL_BEFORE, delay=100.0))
    return clarus.integrations.delete(1)


def look_up(sim, clarus):
    sim.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=5))
    return clarus.integrations.create(SHOP)


def large_answer(sim, clarus):
    sim.script(Endpoint.UPDATE, Fault(FaultKind.OVERSIZED, size=2**20))
    return clarus.integrations.update(1, IntegrationChanges(string1=None))


def half_an_answer(sim, clarus):
    sim.script(Endpoint.UPDATE, FaultKind.TRUNCATED)
    return clarus.integrations.update(1, IntegrationChanges(string1=None))


async def _rows(clarus):
    return [row async for row in clarus.integrations.list(page_size=1)]


def pages(sim, clarus):
    sim.preload("acme", [STORED] * 2)
    return _rows(clarus)


def search(sim, clarus):
    return clarus.integrations.find(reference="r1")


SCENARIOS = [
    cold, slow_token, refused_token, ended_session, backoff, pace, stalled, look_up, large_answer, half_an_answer,
    pages, search,
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@swept(10)
async def test_a_call_ends_at_once_and_loses_nothing(moment, scenario):
    async with Simulator(searchable_references=True, latency=0.01) as sim:
        sim.preload("acme", [STORED])
        client = client_of(sim, max_connections=2, retry=SLOW)
        async with client as clarus:
            shared = clarus._caller.core
            await cancelled_at(moment, scenario(sim, clarus))
            queue = shared.tenants.get("acme").queue
            assert shared.connections.busy == 0
            assert clarus.pace.waiting == clarus.pace.queued == 0
            assert len(queue.pace._out) == 0
            await all_slots_are_free(clarus, sim)
            assert not queue.tenants
            assert len(queue.pace._out) == 0
            assert not shared.session._session.connector._acquired
            # A refresh is nobody's in particular: it goes on, and ends.
            assert ours() == []
        await asyncio.sleep(0.1)
        assert sim.open_connections == 0
        assert max(Counter(record.name for record in sim.created("acme")).values()) <= 3


async def all_slots_are_free(clarus, sim):
    """As many calls as there are connections get through at once, and two more after them."""
    sim.set_faults([])
    began = now()
    calls = [clarus.for_subdomain("acme").ping() for _ in range(4)]
    await asyncio.gather(*calls)
    assert now() - began < 60.0


@pytest.mark.parametrize("victim", range(3))
@swept(5)
async def test_a_call_that_waits_for_a_connection(moment, victim):
    """One holds the only slot, two wait: whoever is cancelled and whenever, the others get through."""
    async with (
        Simulator(latency=1.0) as sim,
        client_of(sim, max_connections=1) as clarus,
    ):
        await clarus.ping()
        tasks = [asyncio.ensure_future(clarus.ping()) for _ in range(3)]
        await cancelled_at(moment, tasks[victim])
        others = [task for task in tasks if task is not tasks[victim]]
        assert await asyncio.gather(*others) == [None, None]
        assert clarus._caller.core.connections.busy == 0
        await clarus.ping()


@pytest.mark.parametrize("victim", range(3))
@swept(5)
async def test_a_call_that_waits_for_the_pace(moment, victim):
    """Three wait for a pause to end; the first becomes the probe. Whoever is cancelled, the others get through."""
    async with Simulator(latency=1.0) as sim, client_of(sim) as clarus:
        sim.script(Endpoint.GRAPHQL, Fault(FaultKind.RATE_LIMITED, retry_after=10))
        first = asyncio.ensure_future(clarus.ping())
        await asyncio.sleep(3.0)
        tasks = [first, *(asyncio.ensure_future(clarus.ping()) for _ in range(2))]
        await cancelled_at(moment, tasks[victim])
        others = [task for task in tasks if task is not tasks[victim]]
        assert await asyncio.gather(*others) == [None, None]
        assert now() < 20.0
        assert clarus.pace.paused_until is None


@swept(5)
async def test_a_call_that_waits_for_somebody_else_s_refresh(moment):
    async with Simulator(latency=1.0) as sim, client_of(sim) as clarus:
        first, second = (asyncio.ensure_future(clarus.ping()) for _ in range(2))
        await cancelled_at(moment, first)
        await second
        assert sim.count(Endpoint.TOKEN) == 1


@swept(5)
async def test_a_rotation_is_not_lost_to_the_caller_that_began_it(moment):
    """Cancelled at any turn, the caller leaves the new refresh token stored and in use."""
    async with Simulator(latency=0.5, token_lifetime=600.0) as sim:
        stored = []

        async def store(token):
            await asyncio.sleep(1.0)
            stored.append(token)

        credentials = RefreshToken(sim.client_id, sim.client_secret, sim.refresh_token(), store)
        async with ClarusClient("acme", credentials, base_url=sim.url) as clarus:
            await cancelled_at(moment, clarus.ping())
            await clarus.ping()
            assert len(stored) == 1
            await asyncio.sleep(700.0)
            await clarus.ping()
            assert stored[0] in sim.requests[-2].body.decode()


@swept(5)
async def test_an_exchange(moment):
    async with Simulator(latency=0.5) as sim:
        flow = AuthorizationCode(sim.client_id, sim.client_secret, "https://x.test/", base_url=sim.url)
        code = sim.authorize(redirect_uri="https://x.test/", code_challenge=s256("v" * 43))
        await cancelled_at(moment, flow.exchange(code, "v" * 43))
        await asyncio.sleep(1.0)
        assert sim.open_connections == 0


@swept(20)
async def test_a_run(moment):
    """Cancelled at any turn: no worker is left, nothing was sent twice, and the client goes on."""
    async with (
        Simulator(latency=0.01) as sim,
        client_of(sim) as clarus,
    ):
        specs = (NewIntegration(name=f"Shop {n}", integration_type="shopify") for n in range(8))

        async def read():
            async with clarus.integrations.provision(specs, concurrency=3) as run:
                async for _ in run:
                    pass

        # The workers, the lookups and the source end one after the other.
        await cancelled_at(moment, read(), at_once=2 * AT_ONCE)
        assert not [task for task in ours() if "provision" in task.get_name()]
        assert clarus._caller.core.connections.busy == 0
        await clarus.ping()
        await asyncio.sleep(1.0)
        assert not [name for name, n in Counter(r.name for r in sim.created("acme")).items() if n > 1]


@virtual
async def test_a_timeout_of_the_caller_s_is_a_timeout():
    async with Simulator() as sim, client_of(sim) as clarus:
        sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=20.0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await clarus.integrations.create(SHOP)
        assert now() == 2.0
        assert clarus._caller.core.connections.busy == 0
        await clarus.ping()


@virtual
async def test_a_message_given_to_cancel_arrives():
    async with Simulator() as sim, client_of(sim) as clarus:
        sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=20.0))
        task = asyncio.ensure_future(clarus.integrations.create(SHOP))
        await asyncio.sleep(1.0)
        task.cancel("shutting down")
        with pytest.raises(asyncio.CancelledError, match="shutting down"):
            await task


@virtual
async def test_a_task_group_that_fails_ends_its_calls():
    async with Simulator(latency=5.0) as sim, client_of(sim) as clarus:

        async def fail():
            await asyncio.sleep(7.0)
            raise LookupError

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(clarus.ping())
                group.create_task(fail())
        assert now() == 7.0
        assert clarus._caller.core.connections.busy == 0
        await clarus.ping()


async def test_a_cold_create_over_real_sockets():
    """The same over the kernel's sockets: where the turns fall is its business, what holds is not."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("counts the turns of asyncio's own loop")
    turns = Turns(loop)
    async with Simulator() as sim:
        for number in range(1, 60, 2):
            async with client_of(sim, max_connections=2) as clarus:
                task = asyncio.ensure_future(clarus.integrations.create(SHOP))
                turns.before(turns.count + number, task.cancel)
                await asyncio.wait([task])
                assert task.cancelled() or task.result().name == "Shop"
                assert clarus._caller.core.connections.busy == 0
                await asyncio.gather(*(clarus.ping() for _ in range(3)))
                connector = clarus._caller.core.session._session.connector
                assert not connector._acquired
        async with asyncio.timeout(30):
            while sim.open_connections:  # noqa: ASYNC110  the server sees it when the kernel says so
                await asyncio.sleep(0)
        await settle()
        assert ours() == []
    gc.collect()


def test_a_call_cancelled_before_it_ran_sent_nothing():
    async def main():
        async with Simulator() as sim, client_of(sim) as clarus:
            task = asyncio.ensure_future(clarus.integrations.create(SHOP))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert sim.count() == 0

    run_virtually(main)


@virtual
async def test_timeouts_are_not_mistaken_for_cancellations():
    timeouts = Timeouts(attempt=2.0, deadline=5.0)
    async with (
        Simulator() as sim,
        client_of(sim, timeouts=timeouts, retry=SLOW) as clarus,
    ):
        await clarus.ping()
        sim.script(Endpoint.SYNCHRONIZE, Fault(FaultKind.STALL_BEFORE, delay=100.0))
        with pytest.raises(Exception, match="outcome is unknown"):
            await clarus.integrations.synchronize(1)
        assert asyncio.current_task().cancelling() == 0
