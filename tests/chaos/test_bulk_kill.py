"""Operations on many records that end by ``kill -9``, at random and at the steps of their journal."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from clarus_async.simulator import Simulator
from tests.chaos.bulk_kill import finish, problems, steps_of, stored, task_of, told_in, work
from tests.chaos.provision_kill import life
from tests.support.builders import client_of, outcomes_of, shops

OPERATIONS = ("delete", "update", "synchronize")


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_job_that_is_killed_again_and_again(operation, tmp_path):
    dice = random.Random(operation)
    async with Simulator(latency=0.02) as sim:
        task = task_of(sim, "acme", tmp_path, operation, stored(sim, "acme", 100))
        killed = 0
        # Whether a life comes to its end before it is killed depends on the machine.
        for _ in range(4):
            killed += await life(work, task, seconds=dice.uniform(0.15, 0.35)) == -signal.SIGKILL
        await finish(task)
        assert problems(sim, task) == []
        # What was in flight when a life ended, and no more.
        unresolved = [outcome for outcome in told_in(task) if not outcome.status.ok]
        assert len(unresolved) <= 4 * killed
        assert all("look at the record itself" in outcome.error.message for outcome in unresolved)
        # Nothing is sent by a run that has nothing left to do.
        sent = sim.count(operation)
        await finish(task)
        assert sim.count(operation) == sent
        assert problems(sim, task) == []


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_job_that_is_killed_at_the_steps_of_its_journal(operation, tmp_path):
    tenants = [f"t{number}" for number in range(150)]
    async with Simulator(tenants=tenants, latency=0.003) as sim:

        async def one(tenant, step):
            task = task_of(sim, tenant, tmp_path, operation, stored(sim, tenant, 3))
            await life(work, task, step, seconds=30.0)
            await finish(task)
            return problems(sim, task)

        assert await one(tenants[0], None) == []
        # Of a run that has nothing left to do: the others take more.
        steps = range(1, 2 * steps_of(task_of(sim, tenants[0], tmp_path, operation)), 9)
        verdicts = {}
        for at in range(0, len(steps), 8):
            some = steps[at : at + 8]
            verdicts |= zip(some, await asyncio.gather(*(one(tenants[step], step) for step in some)), strict=True)
        assert {step: wrong for step, wrong in verdicts.items() if wrong} == {}


async def test_an_undo_that_is_killed_again_and_again(tmp_path):
    dice = random.Random(3)
    async with Simulator(latency=0.02) as sim:
        before = stored(sim, "acme", 20)
        async with client_of(sim) as clarus:
            made = await outcomes_of(clarus.integrations.provision(shops(120, 20), journal=tmp_path / "acme.db"))
        task = task_of(sim, "acme", tmp_path, "undo --delete")
        killed = 0
        while killed < 4 or len(sim.integrations("acme")) == 140:
            # A life that has time enough comes to its end, however slow the machine is.
            code = await life(work, task, seconds=dice.uniform(0.2, 0.5) + 0.1 * killed)
            if code != -signal.SIGKILL:
                break
            killed += 1
        # After a kill, a run with the same input believes nothing of what may be gone.
        gone = {outcome.id for outcome in made} - {record.id for record in sim.integrations("acme")}
        async with client_of(sim) as clarus:
            again = await outcomes_of(clarus.integrations.provision(shops(120, 20), journal=tmp_path / "acme.db"))
        assert gone
        assert {outcome.id for outcome in again}.isdisjoint(gone)
        assert sorted(o.id for o in again) == sorted(r.id for r in sim.integrations("acme") if r.id not in before)
        await finish(task)
        assert [record.id for record in sim.integrations("acme")] == before
        assert {outcome.status for outcome in told_in(task)} <= {"deleted"}
