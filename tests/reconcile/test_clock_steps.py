"""Our wall clock is set while something is in doubt: what is known rests on the server's clock, and on no other."""

from __future__ import annotations

import asyncio
import pickle

import pytest

from clarus_async import (
    ClarusClient,
    DeadlineExceededError,
    NewIntegration,
    OutcomeUnknownError,
    Timeouts,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.virtual import now, run_virtually
from tests.support.virtual_world import virtual_world

TIMEOUTS = Timeouts(attempt=5.0, settle=20.0, deadline=60.0)
SHOP = NewIntegration(name="Shop", integration_type="shopify")
STEPS = pytest.mark.parametrize("step", [-3600.0, -5.0, 5.0, 3600.0])


def client_of(sim, **options):
    return ClarusClient("acme", sim.credentials, base_url=sim.url, **{"timeouts": TIMEOUTS} | options)


def in_a_world_with_a_clock(check):
    with virtual_world() as clock:
        run_virtually(lambda: check(clock))


def in_a_world(check):
    return lambda: in_a_world_with_a_clock(lambda _: check())


async def unsettled(sim, fault):
    """What a create raises, as another process would read it."""
    async with client_of(sim) as clarus:
        sim.script(Endpoint.CREATE, fault)
        with pytest.raises(OutcomeUnknownError) as caught:
            await clarus.integrations.create(SHOP, on_unknown="raise")
    return pickle.loads(pickle.dumps(caught.value))


@STEPS
@pytest.mark.parametrize(
    "fault", [Fault(FaultKind.RESET_AFTER), Fault(FaultKind.LATE_APPLY, delay=15.0)], ids=["at once", "late"]
)
def test_what_was_created_is_found_by_resolve_and_not_said_to_be_absent_before_it_has_come(step, fault):
    async def check(clock):
        async with Simulator() as sim:
            error = await unsettled(sim, fault)
            clock.skew += step
            async with client_of(sim) as clarus:
                found = await clarus.integrations.resolve(error)
            assert [record.id for record in sim.created("acme")] == [found.id]

    in_a_world_with_a_clock(check)


@STEPS
def test_a_run_that_is_resumed_sends_nothing_twice(step, tmp_path):
    async def check(clock):
        async with Simulator(latency=0.5) as sim:
            specs = [NewIntegration(name=f"Shop {n}", integration_type="shopify") for n in range(3)]
            options = {"journal": tmp_path / "run.db", "existing": "ignore"}
            async with client_of(sim) as clarus, clarus.integrations.provision(specs, **options) as run:
                reading = asyncio.create_task(anext(run))
                # A token and the schema take half a second each; then all are stored, and no answer has come.
                await asyncio.sleep(1.2)
                assert len(sim.created("acme")) == len(specs)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            clock.skew += step
            async with client_of(sim) as clarus:
                outcomes = [outcome async for outcome in clarus.integrations.provision(specs, **options)]
            assert sorted(o.id for o in outcomes) == [record.id for record in sim.created("acme")]
            assert len(sim.created("acme")) == len(specs)

    in_a_world_with_a_clock(check)


@in_a_world
async def test_what_another_create_of_the_same_name_was_given_is_not_taken_by_a_late_resolve():
    async with Simulator() as sim, client_of(sim) as clarus:
        sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
        with pytest.raises(OutcomeUnknownError) as caught:
            await clarus.integrations.create(SHOP, on_unknown="raise")
        other = await clarus.integrations.create(SHOP)
        # What ended long ago is forgotten when others begin.
        await asyncio.sleep(100.0)
        await clarus.integrations.create(NewIntegration(name="Another", integration_type="shopify"))
        assert other.id in {record.id for record in sim.created("acme")}
        assert await clarus.integrations.resolve(caught.value) is None


@in_a_world
async def test_the_error_knows_what_others_were_given_while_it_was_under_way():
    async with Simulator() as sim:
        async with client_of(sim, timeouts=Timeouts(attempt=5.0, settle=20.0, deadline=8.0)) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_BEFORE, delay=100.0))
            first = asyncio.create_task(clarus.integrations.create(SHOP))
            await asyncio.sleep(1.0)
            other = await clarus.integrations.create(SHOP)
            error = (await asyncio.gather(first, return_exceptions=True))[0]
        error = pickle.loads(pickle.dumps(error))
        assert error.pending.not_ours == (other.id,)
        async with client_of(sim) as clarus:
            assert await clarus.integrations.resolve(error) is None


@in_a_world
async def test_a_last_look_that_fails_does_not_count_as_one_that_agreed():
    timeouts = Timeouts(attempt=20.0, settle=20.0, deadline=35.0)
    async with Simulator() as sim, client_of(sim, timeouts=timeouts) as clarus:
        # The first send is applied later than it may be, the second is answered, and what would tell can't be read.
        sim.script(Endpoint.CREATE, Fault(FaultKind.LATE_APPLY, delay=25.0))
        creating = asyncio.create_task(clarus.integrations.create(SHOP))
        await asyncio.sleep(30.0)
        sim.set_faults([Fault(FaultKind.ERROR_BEFORE, endpoint=Endpoint.GRAPHQL)])
        with pytest.raises(OutcomeUnknownError, match="looking it up failed") as caught:
            await creating
        # The one that was answered; the other is there, and nobody could see it.
        [answered] = caught.value.found
        other = next(record.id for record in sim.created("acme") if record.id != answered)
        sim.set_faults([])
        with pytest.raises(OutcomeUnknownError) as later:
            await clarus.integrations.resolve(caught.value)
        assert other in later.value.found


@in_a_world
async def test_who_waits_for_the_schema_that_another_asks_for_keeps_to_its_own_deadline():
    async with Simulator(searchable_references=True, latency=10.0, token_lifetime=None) as sim:
        async with client_of(sim, timeouts=Timeouts(attempt=30.0, settle=30.0, deadline=60.0)) as clarus:
            await clarus.ping()
            patient = asyncio.create_task(clarus.integrations.find(reference="ref"))
            await asyncio.sleep(1.0)
            hasty = clarus.with_options(timeouts=Timeouts(attempt=5.0, settle=5.0, deadline=5.0))
            began = now()
            with pytest.raises(DeadlineExceededError, match="schema was not read in time") as caught:
                await hasty.integrations.find(reference="ref")
            assert now() - began == pytest.approx(5.0, abs=0.05)
            assert caught.value.retryable
            assert await patient == []
