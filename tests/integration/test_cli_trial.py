"""The simulators of the command line: what they do on purpose ends no run, and leaves it its quota."""

from __future__ import annotations

import argparse
import asyncio
import contextlib

import pytest

from clarus_async import ClarusClient, NewIntegration
from clarus_async.cli import provision, simulate
from clarus_async.simulator import Simulator
from tests.support.virtual import now, run_virtually


def records(count: int) -> list[NewIntegration]:
    return [
        NewIntegration(name=f"Shop {n}", integration_type="t", external_system_reference1=f"r-{n}")
        for n in range(count)
    ]


def test_a_trial_uses_its_quota():
    async def check():
        args = argparse.Namespace(concurrency=64, deadline=None)
        async with contextlib.AsyncExitStack() as stack:
            clarus = await stack.enter_async_context(await provision._trial(stack, args))
            outcomes = [outcome async for outcome in clarus.integrations.provision(records(1000))]

            # Of 100 a second.
            assert 999 / 100 / now() >= 0.9
            assert {outcome.status for outcome in outcomes} == {"created", "adopted"}
            assert max(outcome.attempts for outcome in outcomes) > 1

    run_virtually(check)


@pytest.mark.parametrize("seed", range(3))
def test_the_faults_of_a_simulator_end_no_run(seed):
    async def check():
        async with (
            Simulator(faults=simulate._faults(0.03), seed=seed) as simulator,
            ClarusClient("acme", simulator.credentials, base_url=simulator.url) as clarus,
        ):
            async with asyncio.timeout(300.0):
                outcomes = [outcome async for outcome in clarus.integrations.provision(records(1000))]

            assert {outcome.status for outcome in outcomes} == {"created", "adopted"}
            assert len(simulator.integrations("acme")) == len(outcomes) == 1000

    run_virtually(check)
