"""One deadline for a whole call, from which attempts, sleeps and waits are cut."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from clarus_async import (
    Applied,
    ClarusClient,
    ClarusError,
    ConnectionFailedError,
    DeadlineExceededError,
    IntegrationChanges,
    OutcomeUnknownError,
    RateLimitedError,
    RetryPolicy,
    Timeouts,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.builders import shop
from tests.support.virtual import now, virtual

STALL = Fault(FaultKind.STALL_BEFORE, delay=10_000.0)
STALL_AFTER = Fault(FaultKind.STALL_AFTER, delay=10_000.0)


def client_of(sim, attempt=30.0, deadline=120.0, **options):
    timeouts = Timeouts(attempt=attempt, deadline=deadline)
    return ClarusClient("acme", sim.credentials, base_url=sim.url, timeouts=timeouts, **options)


async def failing(call):
    """Return the error that a call ends with, and how long it took."""
    began = now()
    with pytest.raises(ClarusError) as raised:
        await call
    return raised.value, round(now() - began, 3)


class TestAttempts:
    @virtual
    async def test_an_attempt_takes_its_timeout_and_no_longer(self):
        async with Simulator() as sim, client_of(sim, attempt=7.0, retry=RetryPolicy(max_attempts=1)) as clarus:
            await clarus.ping()
            sim.script(Endpoint.GRAPHQL, STALL)
            error, seconds = await failing(clarus.ping())
            assert seconds == 7.0
            assert isinstance(error, ConnectionFailedError)
            assert "no response came in time" in str(error)

    @virtual
    async def test_the_last_one_is_cut_to_what_is_left(self):
        async with Simulator() as sim, client_of(sim, attempt=30.0, deadline=50.0) as clarus:
            await clarus.ping()
            sim.script(Endpoint.GRAPHQL, *[STALL] * 9)
            error, seconds = await failing(clarus.ping())
            assert seconds == 50.0
            assert error.attempts == 2
            assert isinstance(error, DeadlineExceededError)

    @virtual
    async def test_a_whole_call_takes_no_longer_than_its_deadline_whatever_happens(self):
        faults = [Fault(kind, probability=0.15) for kind in ("error_before", "html_502", "reset_before", "reset_after")]
        async with (
            Simulator(faults=[*faults, Fault("stall_before", probability=0.3, delay=100.0)], seed=3) as sim,
            client_of(sim, attempt=3.0, deadline=5.0) as clarus,
        ):

            async def call():
                began = now()
                with contextlib.suppress(ClarusError):
                    await clarus.ping()
                return now() - began

            assert max([await call() for _ in range(60)]) <= 5.0

    @virtual
    async def test_where_less_is_left_than_an_attempt_is_worth_nothing_is_sent(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            await clarus.ping()
            before = sim.count()
            error, seconds = await failing(clarus.with_options(timeouts=Timeouts(deadline=0.01)).ping())
            assert isinstance(error, DeadlineExceededError)
            assert "nothing was sent" in str(error)
            assert seconds == 0.0
            assert sim.count() == before


class TestWhatItProves:
    @virtual
    async def test_a_create_that_may_have_been_applied_is_unknown(self):
        async with Simulator() as sim, client_of(sim, deadline=5.0) as clarus:
            await clarus.ping()
            sim.script(Endpoint.CREATE, STALL_AFTER)
            error, seconds = await failing(clarus.integrations.create(shop(), on_unknown="raise"))
            assert seconds == 5.0
            assert isinstance(error, OutcomeUnknownError)
            assert error.applied is Applied.MAYBE
            assert len(sim.created("acme")) == 1

    @virtual
    async def test_an_update_that_may_have_been_applied_is_unknown(self):
        async with Simulator() as sim, client_of(sim, attempt=2.0, deadline=5.0) as clarus:
            [stored] = sim.preload("acme", [{"name": "Shop", "integration_type": "shopify"}])
            await clarus.ping()
            sim.script(Endpoint.UPDATE, *[STALL_AFTER] * 9)
            error, seconds = await failing(clarus.integrations.update(stored.id, IntegrationChanges(is_active=False)))
            assert seconds <= 5.0
            assert isinstance(error, OutcomeUnknownError)
            assert error.attempts == 3

    @virtual
    async def test_a_read_applied_nothing(self):
        async with Simulator() as sim, client_of(sim, deadline=5.0) as clarus:
            await clarus.ping()
            sim.script(Endpoint.GRAPHQL, STALL_AFTER)
            error, _ = await failing(clarus.ping())
            assert isinstance(error, DeadlineExceededError)
            assert error.applied is Applied.NO
            assert error.retryable


class TestSleeps:
    @virtual
    async def test_one_that_just_pays_off_is(self):
        async with Simulator() as sim, client_of(sim, deadline=50.0, retry=RetryPolicy(base=0.01)) as clarus:
            await clarus.ping()
            sim.script(Endpoint.GRAPHQL, Fault(FaultKind.UNAVAILABLE, retry_after=49))
            began = now()
            await clarus.ping()
            assert now() - began == pytest.approx(49.0, abs=0.02)

    @virtual
    async def test_a_backoff_beyond_it_is_not_slept(self):
        retry = RetryPolicy(base=1000.0, cap=1000.0)
        async with Simulator() as sim, client_of(sim, deadline=5.0, retry=retry) as clarus:
            await clarus.ping()
            sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502)
            error, seconds = await failing(clarus.ping())
            assert seconds == 0.0
            assert "past the deadline" in str(error)

    @virtual
    async def test_pauses_that_follow_each_other_end_with_it(self):
        async with Simulator() as sim, client_of(sim, deadline=50.0) as clarus:
            await clarus.ping()
            sim.set_faults([Fault(FaultKind.RATE_LIMITED, retry_after=7)])
            error, seconds = await failing(clarus.integrations.create(shop()))
            assert isinstance(error, RateLimitedError)
            assert 40.0 < seconds <= 50.0
            # The longer it is refused, the more rarely it asks.
            assert 5 <= error.attempts <= 7

    @virtual
    async def test_a_probe_that_does_not_come_back_does_not_keep_the_others_beyond_theirs(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            await clarus.ping()
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=3), STALL)
            probe = asyncio.ensure_future(clarus.integrations.create(shop(1), on_unknown="raise"))
            await asyncio.sleep(5.0)
            quick = clarus.with_options(timeouts=Timeouts(deadline=10.0))
            error, seconds = await failing(quick.integrations.create(shop(2)))
            assert seconds == 10.0
            assert isinstance(error, DeadlineExceededError | RateLimitedError)
            assert error.applied is Applied.NO
            await failing(probe)


class TestTogether:
    @virtual
    async def test_token_queue_and_attempt_share_one(self):
        async with Simulator(latency=4.0) as sim, client_of(sim, deadline=10.0, max_connections=1) as clarus:
            # The token takes 4 s, the call before it 4 s, and 2 s are left of it for an answer that takes 4 s.
            first, second = await asyncio.gather(clarus.ping(), clarus.ping(), return_exceptions=True)
            assert first is None
            assert isinstance(second, DeadlineExceededError)
            assert now() == 10.0

    @virtual
    async def test_a_look_up_is_part_of_the_create_it_serves(self):
        async with Simulator() as sim, client_of(sim, deadline=20.0) as clarus:
            await clarus.ping()
            sim.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=5))
            sim.script(Endpoint.GRAPHQL, *[STALL] * 9)
            error, seconds = await failing(clarus.integrations.create(shop()))
            assert seconds == pytest.approx(20.0, abs=0.1)
            assert isinstance(error, OutcomeUnknownError)

    @virtual
    async def test_each_page_of_a_list_has_its_own(self):
        async with Simulator(latency=4.0) as sim, client_of(sim, deadline=10.0) as clarus:
            sim.preload("acme", [{"name": f"Shop {n}", "integration_type": "shopify"} for n in range(10)])
            rows = [row async for row in clarus.integrations.list(page_size=1)]
            assert len(rows) == 10
            assert now() > 40.0

    @virtual
    async def test_each_record_of_a_run_has_its_own_from_when_it_is_admitted(self):
        async with Simulator(latency=4.0) as sim, client_of(sim, deadline=9.0) as clarus:
            run = clarus.integrations.provision((shop(n) for n in range(20)), concurrency=2)
            outcomes = [outcome async for outcome in run]
            assert all(outcome.status.ok for outcome in outcomes)
            assert now() > 40.0

    @virtual
    async def test_a_slow_reader_costs_no_record_its_time(self):
        async with (
            Simulator(latency=1.0) as sim,
            client_of(sim, deadline=5.0) as clarus,
            clarus.integrations.provision((shop(n) for n in range(10)), concurrency=2) as run,
        ):
            async for outcome in run:
                assert outcome.status.ok
                await asyncio.sleep(100.0)


async def test_over_real_sockets():
    async with Simulator() as sim, client_of(sim, attempt=60.0, deadline=60.0) as clarus:
        await clarus.ping()
        sim.script(Endpoint.GRAPHQL, Fault(FaultKind.STALL_BEFORE, delay=60.0))
        hurried = clarus.with_options(timeouts=Timeouts(attempt=60.0, settle=60.0, deadline=0.3))
        error, seconds = await failing(hurried.ping())
        assert isinstance(error, DeadlineExceededError)
        assert 0.25 <= seconds < 15.0
