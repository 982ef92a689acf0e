"""Runs that end by ``kill -9``, at random and at each step of the journal; ``tests.chaos.provision_kill`` does more."""

from __future__ import annotations

import pytest

from clarus_async.simulator import Simulator
from tests.chaos.provision_kill import corrected_at_steps, faults, job_of, killed_at_random, killed_at_steps

pytestmark = pytest.mark.parametrize("resource", ["integrations", "external_entities"])


async def test_a_job_that_is_killed_again_and_again(resource, tmp_path):
    async with Simulator(faults=faults(0.12), seed=7, latency=0.003) as sim:
        job = job_of(sim, "acme", tmp_path, records=80, concurrency=16, resource=resource)
        killed = await killed_at_random(sim, job, 2, seed=7, longest=0.5, most_seconds=20.0)
        assert killed.verdict.kept, killed


@pytest.mark.parametrize(("existing", "every"), [("adopt", 3), ("ignore", 6)])
async def test_a_job_that_is_killed_at_the_steps_of_its_journal(resource, existing, every, tmp_path):
    # The benchmark takes every step.
    tenants = [f"t{number}" for number in range(200)]
    async with Simulator(tenants=tenants, latency=0.003) as sim:
        options = {"existing": existing, "resource": resource}
        verdicts = await killed_at_steps(sim, tmp_path, tenants, at_once=32, every=every, records=2, **options)
        assert {step: verdict for step, verdict in verdicts.items() if not verdict.kept} == {}


async def test_a_corrected_job_that_is_killed_and_corrected_back(resource, tmp_path):
    tenants = [f"t{number}" for number in range(200)]
    async with Simulator(tenants=tenants, latency=0.003) as sim:
        verdicts = await corrected_at_steps(sim, tmp_path, tenants, at_once=8, every=10, records=2, resource=resource)
        assert {step: verdict for step, verdict in verdicts.items() if not verdict.kept} == {}
