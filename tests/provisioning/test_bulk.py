"""One operation done to many records: what each failure comes to, and what a journal is worth."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from clarus_async import (
    ClarusError,
    ConfigurationError,
    IntegrationChanges,
    PermissionDeniedError,
    RetryPolicy,
    Timeouts,
)
from clarus_async.provisioning.options import Options
from clarus_async.simulator import Fault, Quota, Simulator
from tests.support.builders import client_of, outcomes_of, until

FAST = {
    "timeouts": Timeouts(connect=0.3, attempt=0.3, settle=0.3, deadline=5.0),
    "retry": RetryPolicy(base=0.001, cap=0.01),
}
OPERATIONS = ("delete", "update", "synchronize")
DONE = {"delete": "deleted", "update": "updated", "synchronize": "synchronized"}


def filled(sim, count):
    """Store records, and return their ids."""
    shops = [{"name": f"Shop {n}", "integration_type": "shopify"} for n in range(count)]
    return [record.id for record in sim.preload("acme", shops)]


def bulk(clarus, operation, ids, *, name="Renamed", **options):
    """Begin a run over these ids, as a file of them would."""
    changes = IntegrationChanges(name=name) if operation == "update" else None
    given = [SimpleNamespace(id=i, changes=changes) for i in ids]
    return clarus.integrations.bulk(operation, given, Options(**options))


async def run(sim, operation, ids, **options):
    async with client_of(sim, **FAST) as clarus:
        return await outcomes_of(bulk(clarus, operation, ids, **options))


def effects(sim, operation):
    """Return the ids of the records to which it was done, each as often as it was."""
    if operation == "delete":
        return sorted(
            {record.id for record in sim.created("acme")} - {record.id for record in sim.integrations("acme")}
        )
    if operation == "synchronize":
        return sorted(record_id for record_id, _ in sim.syncs("acme"))
    return sorted(r.id for r in sim.integrations("acme") if r.attributes["name"] == "Renamed")


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_each_record_has_one_outcome_and_the_others_are_left_alone(operation):
    async with Simulator() as sim:
        ids = filled(sim, 600)
        outcomes = await run(sim, operation, ids[::2])
        assert [(o.index, o.id, o.key, o.status, o.attempts) for o in outcomes] == [
            (n, i, str(i), DONE[operation], 1) for n, i in enumerate(ids[::2])
        ]
        assert effects(sim, operation) == ids[::2]


@pytest.mark.parametrize(
    ("fault", "operation", "status", "sends"),
    [
        # No connection, a refusal for now, a token that died early: again, whatever it is.
        *(("refuse", operation, "done", 1) for operation in ("delete", "update")),
        *(("rate_limited", operation, "done", 2) for operation in OPERATIONS),
        *(("unauthorized", operation, "done", 2) for operation in OPERATIONS),
        # No answer: again, where that does no harm. A 404 then says that it is deleted.
        *(("reset_before", operation, "done", 2) for operation in ("delete", "update")),
        *(("error_before", operation, "done", 2) for operation in ("delete", "update")),
        *(("stall_before", operation, "done", 2) for operation in ("delete", "update")),
        *(("reset_after", operation, "done", 2) for operation in ("delete", "update")),
        *(("error_after", operation, "done", 2) for operation in ("delete", "update")),
        *((lost, "synchronize", "unresolved", 1) for lost in ("reset_before", "reset_after", "error_after")),
        # What was answered with success is done, whatever else the answer says.
        *(("not_json", operation, "done", 1) for operation in OPERATIONS),
        *(("json_api_error", operation, "failed", 1) for operation in OPERATIONS),
    ],
)  # fmt: skip
async def test_what_a_failure_comes_to(fault, operation, status, sends):
    async with Simulator(latency=0.001) as sim:
        ids = filled(sim, 2)
        more = {"delay": 0.35} if fault == "stall_before" else {"delay": 0.05} if fault == "refuse" else {}
        sim.script(operation, Fault(fault, **more))
        outcomes = await run(sim, operation, ids, concurrency=1)
        assert [outcome.status for outcome in outcomes] == [
            DONE[operation] if status == "done" else status,
            DONE[operation],
        ]
        # A request that meets a closed listener never arrives.
        assert sim.count(operation) in {sends + 1, sends + 2 if fault == "refuse" else sends + 1}
        applied = status == "done" or "after" in fault
        assert effects(sim, operation) == (ids if applied else ids[1:])
        if status != "done":
            assert outcomes[0].error.applied == ("no" if status == "failed" else "maybe")


@pytest.mark.parametrize(("operation", "sends"), [("delete", 16), ("update", 16), ("synchronize", 1)])
async def test_what_is_never_answered_is_unresolved(operation, sends):
    async with Simulator(faults=[Fault("error_before", endpoint=operation)]) as sim:
        [outcome] = await run(sim, operation, filled(sim, 1))
        assert (outcome.status, outcome.error.applied) == ("unresolved", "maybe")
        assert outcome.error.retryable is (operation != "synchronize")
        # Four calls of four attempts, as long as the tenant's retry budget holds.
        assert outcome.attempts == sim.count(operation) <= sends


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_record_that_is_not_there_is_failed(operation):
    async with Simulator() as sim:
        ids = filled(sim, 3)
        outcomes = await run(sim, operation, [ids[0], 10**9, ids[2]])
        assert [outcome.status for outcome in outcomes] == [DONE[operation], "failed", DONE[operation]]
        assert (outcomes[1].id, outcomes[1].error.type, outcomes[1].error.status) == (10**9, "NotFoundError", 404)


async def away(sim, seconds):
    await sim.refuse()
    await asyncio.sleep(seconds)
    await sim.accept()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_outage_costs_no_record(operation):
    # The server is away for longer than a call has attempts.
    async with Simulator(latency=0.001) as sim:
        ids = filled(sim, 100)
        slower = {"timeouts": Timeouts(connect=0.3, attempt=0.3, settle=3.0), "retry": RetryPolicy(cap=1.0)}
        async with client_of(sim, **slower) as clarus:
            outcomes = []
            async for outcome in bulk(clarus, operation, ids, concurrency=8):
                outcomes.append(outcome)
                if len(outcomes) == 20:
                    outage = asyncio.create_task(away(sim, 0.3))
            await outage
        in_doubt = [outcome for outcome in outcomes if outcome.status == "unresolved"]
        assert len(outcomes) == 100
        assert all(outcome.status in {DONE[operation], "unresolved"} for outcome in outcomes)
        assert len(in_doubt) <= (8 if operation == "synchronize" else 0)


async def test_what_would_fail_every_record_ends_the_run_when_what_is_in_flight_has_ended():
    async with Simulator(latency=0.005) as sim:
        ids = filled(sim, 200)
        sim.script("delete", *[None] * 20, Fault("forbidden"))
        outcomes = []
        async with client_of(sim, **FAST) as clarus:
            with pytest.raises(PermissionDeniedError):
                async for outcome in bulk(clarus, "delete", ids, concurrency=8):
                    outcomes.append(outcome)
        assert sim.count("delete") == len(outcomes) < 40
        assert [outcome.id for outcome in outcomes if not outcome.status.ok] == [
            outcome.id for outcome in outcomes if outcome.error is not None
        ]
        assert sorted(outcome.id for outcome in outcomes if outcome.status.ok) == effects(sim, "delete")


async def test_more_failures_than_allowed_end_the_run():
    async with Simulator(latency=0.005) as sim:
        outcomes = []
        async with client_of(sim, **FAST) as clarus:
            with pytest.raises(ClarusError, match="4 had failed"):
                async for outcome in bulk(clarus, "delete", range(10**6, 10**6 + 500), concurrency=4, max_failures=3):
                    outcomes.append(outcome)
        assert 4 <= len(outcomes) == sim.count("delete") <= 4 + 4


async def test_stopping_lets_what_is_in_flight_end():
    async with Simulator(latency=0.02) as sim:
        ids = filled(sim, 100)
        async with client_of(sim, **FAST) as clarus:
            run = bulk(clarus, "synchronize", ids, concurrency=8)
            outcomes = []
            async for outcome in run:
                outcomes.append(outcome)
                run.stop()
        assert sorted(outcome.id for outcome in outcomes) == effects(sim, "synchronize") == ids[: len(outcomes)]
        assert len(outcomes) <= 16


async def test_an_input_of_any_length_is_read_only_a_little_ahead():
    pulled = 0

    def endless():
        nonlocal pulled
        while True:
            pulled += 1
            yield SimpleNamespace(id=10**6 + pulled, changes=None)

    async with Simulator() as sim, client_of(sim, **FAST) as clarus:
        async with clarus.integrations.bulk("delete", endless(), Options(concurrency=4)) as run:
            seen = 0
            async for _ in run:
                seen += 1
                if seen == 50:
                    break
        # Two batches, and those that are under way.
        assert pulled <= 50 + 2 * 256 + 8


async def test_a_paused_tenant_is_waited_for_and_no_deadline_runs():
    async with Simulator() as sim:
        ids = filled(sim, 20)
        sim.script("delete", Fault("rate_limited", retry_after=1))
        async with client_of(sim, timeouts=Timeouts(connect=0.3, attempt=0.3, settle=0.3, deadline=0.5)) as clarus:
            outcomes = await outcomes_of(bulk(clarus, "delete", ids))
        assert {outcome.status for outcome in outcomes} == {"deleted"}


async def test_the_tenants_quota_is_kept():
    async with Simulator(quota=Quota(limit=100, window=1.0)) as sim:
        ids = filled(sim, 250)
        async with client_of(sim, **FAST) as clarus:
            outcomes = await outcomes_of(bulk(clarus, "delete", ids))
        assert {outcome.status for outcome in outcomes} == {"deleted"}
        assert sim.count("delete") <= 250 * 1.1


async def test_what_waited_for_the_pace_when_a_run_was_broken_off_was_not_sent(tmp_path):
    async with Simulator() as sim:
        ids = filled(sim, 20)
        sim.script("synchronize", None, Fault("rate_limited", retry_after=60))
        async with client_of(sim, **FAST) as clarus:
            run = bulk(clarus, "synchronize", ids, concurrency=4, journal=tmp_path / "sync.db")
            first = await anext(run)
            await until(lambda: sim.count("synchronize") >= 2 and run.progress.paused_until, 0.001)
            assert (run.progress.bottleneck, run.progress.total, run.progress.in_doubt) == ("rate limit", 20, 0)
            await run.aclose()
        began = sim.count("synchronize")
        outcomes = await run_again(sim, ids, tmp_path)
        # What was on the wire may be in doubt; what waited is not.
        in_doubt = [outcome for outcome in outcomes if outcome.status == "unresolved"]
        assert len(in_doubt) <= began - 2
        assert outcomes[first.index] == first
        assert sorted({*effects(sim, "synchronize"), *(outcome.id for outcome in in_doubt)}) == ids
        assert len(effects(sim, "synchronize")) == len({*effects(sim, "synchronize")})


async def run_again(sim, ids, tmp_path):
    return await run(sim, "synchronize", ids, journal=tmp_path / "sync.db")


async def test_a_corrected_row_is_sent_again_and_the_others_are_not(tmp_path):
    async with Simulator() as sim:
        ids = filled(sim, 4)
        for name in ("Renamed", "Renamed", "Again"):
            outcomes = await run(sim, "update", ids, name=name, journal=tmp_path / "update.db")
            assert {outcome.status for outcome in outcomes} == {"updated"}
        assert sim.count("update") == 8
        assert b"Renamed" not in (tmp_path / "update.db").read_bytes()


async def test_what_failed_is_sent_again(tmp_path):
    async with Simulator() as sim:
        ids = filled(sim, 3)
        sim.script("delete", Fault("json_api_error"))
        for failed in (1, 0):
            outcomes = await run(sim, "delete", ids, journal=tmp_path / "delete.db")
            assert sum(outcome.status == "failed" for outcome in outcomes) == failed
        assert sim.count("delete") == 4
        assert effects(sim, "delete") == ids


async def test_an_operation_that_the_api_does_not_have():
    async with Simulator() as sim, client_of(sim) as clarus:
        for operation in ("delete", "synchronize"):
            with pytest.raises(ConfigurationError, match=f"{operation}: the API has no such operation"):
                clarus.external_entities.bulk(operation, [])
