"""Everything at once, from a seed: tenants, faults, quotas, ended sessions, cancellations, short deadlines.

Whatever happened, every call ended in its time, no slot, probe or task is lost, and the server's ledger agrees.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from clarus_async import (
    Applied,
    ClarusClient,
    ClarusError,
    IntegrationChanges,
    NewIntegration,
    OutcomeUnknownError,
    RetryPolicy,
    Timeouts,
)
from clarus_async.simulator import Fault, Quota, Simulator
from tests.support.virtual import now, settle, virtual

TENANTS = ("acme", "globex", "initech")
KINDS = [
    "reset_before", "reset_after", "error_before", "error_after", "html_502", "truncated", "not_json", "unauthorized",
]  # fmt: skip


def trouble():
    faults = [Fault(kind, probability=0.02) for kind in KINDS]
    faults += [Fault("stall_after", probability=0.02, delay=40.0), Fault("stall_before", probability=0.02, delay=40.0)]
    faults += [Fault("rate_limited", probability=0.02, retry_after=after) for after in (0.0, 0.4, 9.0)]
    faults += [Fault("refuse", probability=0.02, delay=1.0)]
    return [*faults, Fault("unavailable", probability=0.02, retry_after=2.0)]


def a_call(dice, clarus, number):
    new = NewIntegration(name=f"Shop {number}", integration_type="shopify")
    return dice.choice(
        [
            lambda: clarus.integrations.create(new),
            lambda: clarus.integrations.create(new),
            lambda: clarus.integrations.update(dice.randint(1, 9), IntegrationChanges(string1=None)),
            lambda: clarus.integrations.delete(dice.randint(1, 9)),
            lambda: clarus.integrations.synchronize(dice.randint(1, 9)),
            lambda: clarus.integrations.find(name=f"Shop {number}"),
            clarus.ping,
        ]
    )()


@pytest.mark.parametrize("seed", range(7))
def test_everything_at_once(seed):
    @virtual
    async def check():
        dice = random.Random(seed)
        quota = dice.choice([None, Quota(limit=15, window=1.0), Quota(limit=15, window=1.0, headers="retry-after")])
        sim = Simulator(
            tenants=TENANTS, faults=trouble(), seed=seed, quota=quota, latency=dice.choice([0.0, 0.03]),
            token_lifetime=dice.choice([20.0, 3600.0]),
        )  # fmt: skip
        async with sim:
            # What is changed and deleted: a create whose record somebody deletes is rightly sent again.
            for tenant in TENANTS:
                sim.preload(tenant, [{"name": "Old", "integration_type": "shopify"}] * 3)
            client = ClarusClient(
                "acme",
                sim.credentials,
                base_url=sim.url,
                max_connections=dice.choice([2, 8]),
                timeouts=Timeouts(attempt=8.0, settle=8.0, deadline=25.0),
                retry=RetryPolicy(base=0.2, cap=3.0),
            )
            async with client as clarus:
                views = [clarus.for_subdomain(tenant) for tenant in TENANTS]
                errors = []

                async def call(number):
                    await asyncio.sleep(dice.uniform(0.0, 40.0))
                    view = dice.choice(views)
                    began = now()
                    try:
                        await a_call(dice, view, number)
                    except ClarusError as error:
                        errors.append(error)
                    assert now() - began <= 25.0 + 1e-3

                tasks = [asyncio.ensure_future(call(number)) for number in range(250)]
                for task in dice.sample(tasks, 60):
                    asyncio.get_running_loop().call_later(dice.uniform(0.0, 60.0), task.cancel)
                for at in (10.0, 30.0):
                    asyncio.get_running_loop().call_later(at, sim.expire_tokens)
                results = await asyncio.gather(*tasks, return_exceptions=True)
                odd = [r for r in results if isinstance(r, BaseException) and not isinstance(r, asyncio.CancelledError)]
                assert odd == []
                assert all(error.attempts > 0 or error.applied is Applied.NO for error in errors)
                doubtful = [error for error in errors if error.applied is not Applied.NO]
                assert {type(error) for error in doubtful} <= {OutcomeUnknownError}

                shared = clarus._caller.core
                assert shared.connections.busy == 0
                sim.set_faults([])
                sim.set_quota(None)
                await sim.accept()
                await asyncio.sleep(60.0)
                # A 401-driven refresh may be used up for a minute; after it every tenant is as good as new.
                await asyncio.gather(*(view.ping() for view in views for _ in range(5)))
                for view in views:
                    assert view.pace.waiting == view.pace.queued == 0
                    assert len(shared.tenants.get(view.subdomain).queue.pace._out) == 0
                    assert view.pace.paused_until is None
                assert not shared.session._session.connector._acquired
            await asyncio.sleep(0.1)
            await settle()
            assert sim.open_connections == 0
            sends = Counter(record.idempotency_key for tenant in TENANTS for record in sim.created(tenant))
            assert sends.pop(None) == 9
            assert max(sends.values(), default=1) == 1

    check()
