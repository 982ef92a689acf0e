"""The simulators of the command line: what they do on purpose ends no run, and leaves it its quota."""

from __future__ import annotations

import argparse
import asyncio
import contextlib

import orjson
import pytest

from clarus_async import ClarusClient, NewExternalEntity, NewIntegration
from clarus_async.cli import provision, simulate
from clarus_async.cli.commands import main
from clarus_async.simulator import Simulator
from tests.support.virtual import now, run_virtually


def records(count: int) -> list[NewIntegration]:
    return [
        NewIntegration(name=f"Shop {n}", integration_type="t", external_system_reference1=f"r-{n}")
        for n in range(count)
    ]


def entities(count: int) -> list[NewExternalEntity]:
    # Their integrations are those of a real tenant.
    return [
        NewExternalEntity(
            entity_type="product",
            code=f"SKU-{n}",
            external_system_reference1=f"p-{n // 2}",
            integration_id=84211 + n % 2,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(("resource", "make"), [("integrations", records), ("external_entities", entities)])
def test_a_trial_uses_its_quota(resource, make):
    async def check():
        args = argparse.Namespace(concurrency=64, deadline=None)
        async with contextlib.AsyncExitStack() as stack:
            clarus = await stack.enter_async_context(await provision._trial(stack, args))
            outcomes = [outcome async for outcome in getattr(clarus, resource).provision(make(1000))]

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


def test_a_file_of_another_resource_is_tried(tmp_path, capfd, monkeypatch):
    for name in ("SUBDOMAIN", "BASE_URL"):
        monkeypatch.delenv(f"CLARUS_{name}", raising=False)
    path = tmp_path / "skus.csv"
    header = "entity_type,code,external_system_reference1,integration_id\n"
    path.write_text(header + "".join(f"product,SKU-{n},p-{n},84211\n" for n in range(20)))
    status = main(["provision", str(path), "--resource", "external_entities", "--simulate"])
    outcomes = [orjson.loads(line) for line in capfd.readouterr().out.splitlines()]

    assert status == 0
    assert {(outcome["resource"], outcome["key"]) for outcome in outcomes} == {
        ("external_entities", f"84211/product/p-{n}") for n in range(20)
    }
