"""What is there already, whose it is, and what a run says of it."""

from __future__ import annotations

import asyncio
import functools
import gc
from collections import Counter
from datetime import timedelta
from unittest.mock import patch

import pytest

from clarus_async import OutcomeStatus, PacingPolicy, PermissionDeniedError
from clarus_async.provisioning.report import PLANNED
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from clarus_async.simulator import schema as simulator_schema
from tests.chaos.provision_faults import TIMEOUTS
from tests.support import builders
from tests.support.virtual import each_test, now, run_virtually
from tests.support.virtual_world import VirtualDate, virtual_world


@each_test
def virtually(test):
    """Run an async test, or those of a class, in virtual time, with wall clocks that follow it and journals inline."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        with virtual_world():
            run_virtually(lambda: test(*args, **kwargs))

    return run


def shop(name, reference=None, **more):
    return builders.shop(name=named(name), external_system_reference1=reference, **more)


def old(name, reference=None):
    attributes = {"name": named(name), "integration_type": "shopify"}
    return attributes if reference is None else attributes | {"external_system_reference1": reference}


def named(name):
    return name if isinstance(name, str) else f"Shop {name}"


def on_creates(kind, share=0.2, **options):
    return [Fault(kind, endpoint=Endpoint.CREATE, probability=share, **options)]


client_of = functools.partial(builders.client_of, timeouts=TIMEOUTS)


async def provision(sim, specs, *, client=None, **options):
    """Run once with a client of its own; return the outcomes in the order of the input."""
    async with client_of(sim, **(client or {})) as clarus:
        return await builders.outcomes_of(clarus.integrations.provision(specs, **options))


def statuses(outcomes):
    return Counter(outcome.status.value for outcome in outcomes)


def stored(sim):
    return [(record.name, record.external_system_reference1) for record in sim.created("acme")]


@virtually
class TestNamesakes:
    """Records of the same names that were there before, and ``existing="ignore"``."""

    @pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE, FaultKind.NOT_JSON])
    @pytest.mark.parametrize("references", [False, True])
    async def test_new_ones_are_created_and_no_old_one_answers(self, kind, references):
        async with Simulator(faults=on_creates(kind), seed=5, latency=0.05, searchable_references=references) as sim:
            before = {record.id for record in sim.preload("acme", [old(n) for n in range(60)] * 2)}
            outcomes = await provision(sim, [shop(n) for n in range(60)], existing="ignore")
            after = {record.id: record.name for record in sim.created("acme") if record.id not in before}
            assert {o.id: o.key for o in outcomes} == after
            assert set(statuses(outcomes)) <= {"created", "adopted"}

    @pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE])
    @pytest.mark.parametrize("ago", [4.0, 10.0])
    @pytest.mark.parametrize("ahead", [-300.0, 0.0, 300.0])
    def test_so_it_is_where_the_old_one_is_seconds_old_and_our_clock_is_wrong(self, kind, ago, ahead):
        async def check():
            status, new, sim = await send_beside_an_old_one(kind, ago)
            assert status in {"created", "adopted"}
            assert new
            assert len(sim.created("acme")) == 2

        with virtual_world(skew=ahead):
            run_virtually(check)

    @pytest.mark.parametrize("ago", [1.5, 2.0, 3.0])
    async def test_one_of_a_moment_ago_is_never_taken_for_ours(self, ago):
        status, new, _ = await send_beside_an_old_one(FaultKind.RESET_BEFORE, ago)
        assert new or status == "unresolved"
        assert status != "duplicated"


async def send_beside_an_old_one(kind, ago):
    """Return what became of a create, whether it names the new record, and the simulator."""
    async with Simulator(latency=0.05) as sim:
        await asyncio.sleep(30.4)
        sent_at = VirtualDate.started + timedelta(seconds=now())
        [stranger] = sim.preload("acme", [old(0)], created_at=sent_at - timedelta(seconds=ago))
        sim.script(Endpoint.CREATE, kind)
        [outcome] = await provision(sim, [shop(0)], existing="ignore")
        named = {outcome.id, *outcome.others} - {None}
        return outcome.status.value, bool(named) and stranger.id not in named, sim


@virtually
class TestTwice:
    @pytest.mark.parametrize("references", [False, True])
    async def test_the_same_file_twice_creates_nothing(self, references):
        async with Simulator(searchable_references=references) as sim:
            specs = [shop(n, None if n % 2 else f"ref-{n}") for n in range(120)]
            first = await provision(sim, specs)
            second = await provision(sim, specs)
            assert statuses(second) == {"adopted": 120}
            assert [o.id for o in second] == [o.id for o in first]
            assert sim.count(Endpoint.CREATE) == 120

    @pytest.mark.parametrize("journal", [False, True])
    async def test_two_files_that_overlap_create_what_only_one_has(self, journal, tmp_path):
        async with Simulator(faults=on_creates(FaultKind.RESET_AFTER), seed=2, latency=0.05) as sim:
            path = tmp_path / "run.db" if journal else None
            await provision(sim, [shop(n, f"ref-{n}") for n in range(80)], journal=path)
            await provision(sim, [shop(n, f"ref-{n}") for n in range(40, 120)], journal=path)
            assert sorted(stored(sim)) == sorted((f"Shop {n}", f"ref-{n}") for n in range(120))


@virtually
class TestOneNameManyReferences:
    """Names that repeat with different references."""

    @pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE, FaultKind.ERROR_AFTER])
    @pytest.mark.parametrize("existing", ["adopt", "ignore"])
    @pytest.mark.parametrize("references", [False, True])
    async def test_each_has_its_own_record(self, kind, existing, references):
        async with Simulator(faults=on_creates(kind), seed=3, latency=0.05, searchable_references=references) as sim:
            specs = [shop("Shop", f"ref-{n}") for n in range(40)]
            outcomes = await provision(sim, specs, existing=existing)
            ids = {record.external_system_reference1: record.id for record in sim.created("acme")}
            assert len(sim.created("acme")) == len(ids) == 40
            assert {o.key: o.id for o in outcomes} == ids
            assert set(statuses(outcomes)) <= {"created", "adopted"}

    async def test_a_second_run_over_names_says_plainly_that_it_cannot_tell(self):
        async with Simulator() as sim:
            specs = [shop("Shop", f"ref-{n}") for n in range(10)]
            await provision(sim, specs)
            again = await provision(sim, specs)
            assert statuses(again) == {"conflict": 10}
            assert all(outcome.error.message for outcome in again)
            assert len(sim.created("acme")) == 10


@virtually
class TestWhatIsThere:
    """``existing``, where a look before the first send finds something."""

    async def test_an_update_patches_what_can_be_and_names_the_rest(self):
        async with Simulator(searchable_references=True) as sim:
            [there] = sim.preload("acme", [old(1, "ref-1")])
            new = shop(1, "ref-1", account_id=7, is_active=False, string3="x", configuration={"api_key": "k"})
            [outcome] = await provision(sim, [new], existing="update")
            [record] = sim.created("acme")
            assert outcome.id == there.id
            assert set(outcome.unpatched) == {"integration_type", "account_id", "external_system_reference1"}
            assert record.attributes == old(1, "ref-1") | {
                "is_active": False, "string3": "x", "configuration": {"api_key": "k"},
            }  # fmt: skip

    @pytest.mark.parametrize("existing", ["adopt", "update", "fail", "ignore"])
    async def test_a_dry_run_sends_nothing_that_writes(self, existing):
        async with Simulator() as sim:
            sim.preload("acme", [old(n) for n in range(5)])
            outcomes = await provision(sim, [shop(n) for n in range(10)], existing=existing, dry_run=True)
            real = await provision(sim, [shop(n) for n in range(10)], existing=existing)
            assert [o.status for o in outcomes] == [PLANNED.get(o.status, o.status) for o in real]
            assert all(o.attempts == 0 for o in outcomes)

    async def test_ten_records_against_a_large_tenant_cost_one_query(self):
        async with Simulator() as sim:
            sim.preload("acme", [old(n) for n in range(20_000)])
            outcomes = await provision(sim, [shop(n) for n in range(19_995, 20_005)])
            assert statuses(outcomes) == {"adopted": 5, "created": 5}
            assert sim.count(Endpoint.GRAPHQL) == 1


def alike_server(fold):
    """A server that takes names for equal that are so once folded."""
    operators = {
        "eq": lambda value, wanted: value is not None and fold(value) == fold(wanted),
        "in": lambda value, wanted: value is not None and fold(value) in {fold(one) for one in wanted},
    }
    return patch.multiple(simulator_schema, INDEXED=(), _OPERATORS={**simulator_schema._OPERATORS, **operators})


@virtually
class TestAServerThatFoldsNames:
    @pytest.mark.parametrize("fold", [str.casefold, str.strip], ids=["case", "spaces"])
    @pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE])
    def test_nothing_is_there_twice(self, fold, kind):
        @virtually
        async def check():
            async with Simulator(faults=on_creates(kind, 0.1), seed=4, latency=0.05) as sim:
                specs = [shop(f"SHOP {n} ") for n in range(30)]
                first = await provision(sim, specs)
                again = await provision(sim, specs)
                assert len(sim.created("acme")) == 30
                assert [o.id for o in first] == [o.id for o in again]

        with alike_server(fold):
            check()

    async def test_what_is_there_in_another_case_is_found(self):
        async with Simulator() as sim:
            with alike_server(str.casefold):
                there = sim.preload("acme", [old(n) for n in range(20)])
                outcomes = await provision(sim, [shop(f"SHOP {n}") for n in range(20)])
                assert [o.id for o in outcomes] == [record.id for record in there]

    async def test_two_records_of_one_file_whose_names_it_takes_for_equal(self):
        async with Simulator(latency=0.05) as sim:
            with alike_server(str.casefold):
                sim.preload("acme", [old("Shop")])
                sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
                outcomes = await provision(sim, [shop("Shop"), shop("SHOP")])
                named = [o.id for o in outcomes if o.status.ok]
                assert len(named) == len(set(named))


@virtually
class TestLooks:
    async def test_ignore_without_graphql_leaves_doubt_and_says_why(self):
        refused = Fault(FaultKind.FORBIDDEN, endpoint=Endpoint.GRAPHQL)
        async with Simulator(faults=[refused], latency=0.05) as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            outcomes = []
            with pytest.raises(PermissionDeniedError):
                async for outcome in clarus.integrations.provision([shop(0)], existing="ignore"):
                    outcomes.append(outcome)
            assert [o.status for o in outcomes] == [OutcomeStatus.UNRESOLVED]
            assert "looking it up failed" in outcomes[0].error.message

    async def test_many_in_doubt_cost_few_queries_where_creates_are_slow(self):
        async with Simulator(faults=on_creates(FaultKind.RESET_AFTER, 0.5), latency=0.05) as sim:
            outcomes = await provision(
                sim,
                [shop(n) for n in range(400)],
                existing="ignore",
                client={"pacing": PacingPolicy(rate=5.0)},
            )
            assert statuses(outcomes)["adopted"] > 150
            assert sim.count(Endpoint.GRAPHQL) < 40

    async def test_looks_that_fail_side_by_side_are_all_heard(self):
        async with Simulator(latency=0.05) as sim:
            # The second of two looks fails for good while the first is still being tried.
            sim.script(Endpoint.GRAPHQL, FaultKind.ERROR_BEFORE, FaultKind.FORBIDDEN, FaultKind.FORBIDDEN)
            with pytest.raises(PermissionDeniedError):
                await provision(sim, [shop(n) for n in range(64)])
            gc.collect()


@virtually
class TestStartedAgain:
    """A run that something ended, and the next one with its journal."""

    async def test_what_was_answered_and_not_looked_up_a_last_time_is_not_sent_again(self, tmp_path):
        async with Simulator(latency=0.05) as sim:
            await interrupted_before_the_last_look(sim, tmp_path / "run.db", FaultKind.RESET_BEFORE)
            outcomes = await provision(sim, [shop(0), shop(1)], journal=tmp_path / "run.db")
            assert sorted(stored(sim)) == [("Shop 0", None), ("Shop 1", None)]
            assert all(o.status.ok for o in outcomes)

    async def test_what_was_sent_twice_is_looked_up_a_last_time(self, tmp_path):
        async with Simulator(latency=0.05) as sim:
            late = Fault(FaultKind.LATE_APPLY, delay=90.0)
            await interrupted_before_the_last_look(sim, tmp_path / "run.db", late)
            outcomes = await provision(sim, [shop(0), shop(1)], journal=tmp_path / "run.db")
            ids = {record.id for record in sim.created("acme") if record.name == "Shop 0"}
            assert outcomes[0].status is OutcomeStatus.DUPLICATED
            assert {outcomes[0].id, *outcomes[0].others} == ids


async def interrupted_before_the_last_look(sim, journal, first):
    """Have a record sent a second time, with an answer, and end the run a moment after."""

    async def source():
        yield shop(0)
        while sim.count(Endpoint.CREATE) < 2:  # noqa: ASYNC110  the simulator tells nobody of a request
            await asyncio.sleep(1.0)
        yield shop(1)

    sim.script(Endpoint.CREATE, first, None, FaultKind.FORBIDDEN)
    with pytest.raises(PermissionDeniedError):
        await provision(sim, source(), journal=journal)
