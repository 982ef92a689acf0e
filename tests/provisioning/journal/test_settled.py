"""What a journal answers for: the same record, under the same ``existing``, and how a record that is there differs."""

from __future__ import annotations

import pytest

from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.provisioning.test_existing import alike_server
from tests.provisioning.test_resume import (
    STALL,
    client_of,
    creates,
    cut_off,
    ledger,
    queries_are_read_once,  # noqa: F401  a fixture
    rows,
    run,
    statuses,
    virtually,
)
from tests.support.builders import referenced, shops


@pytest.fixture
def sim():
    return Simulator()


def there(number, **more):
    return {"name": f"Shop {number}", "integration_type": "shopify"} | more


def attributes(sim, name):
    return [record.attributes.get(name) for record in sim.created("acme")]


def differs(outcomes):
    return {outcome.key: set(outcome.differs) for outcome in outcomes}


@virtually
class TestAnotherExisting:
    """The same input and the same journal, with another ``existing``."""

    async def test_what_was_only_adopted_is_updated(self, sim, tmp_path):
        sim.preload("acme", [there(0, string1="wrong")])
        specs = [referenced(0, string1="right")]
        assert statuses(await run(sim, specs, tmp_path / "run.db")) == {"ref-0": "adopted"}
        assert statuses(await run(sim, specs, tmp_path / "run.db", existing="update")) == {"ref-0": "updated"}
        assert attributes(sim, "string1") == ["right"]

    @pytest.mark.parametrize(
        ("first", "second", "status", "stored"),
        [
            ("adopt", "fail", "failed", 1),
            ("adopt", "ignore", "created", 2),
            ("update", "adopt", "adopted", 1),
            ("update", "fail", "failed", 1),
            ("fail", "adopt", "adopted", 1),
            ("fail", "update", "updated", 1),
        ],
    )
    async def test_what_was_there_before_is_decided_anew(self, sim, tmp_path, first, second, status, stored):
        sim.preload("acme", [there(0)])
        await run(sim, shops(1), tmp_path / "run.db", existing=first)
        outcomes = await run(sim, shops(1), tmp_path / "run.db", existing=second)
        assert statuses(outcomes) == {"ref-0": status}
        assert len(sim.created("acme")) == stored
        before = len(sim.requests)
        assert statuses(await run(sim, shops(1), tmp_path / "run.db", existing=second)) == {"ref-0": status}
        assert status == "failed" or len(sim.requests) == before

    @pytest.mark.parametrize("answer", [None, FaultKind.RESET_AFTER], ids=["created", "adopted after doubt"])
    @pytest.mark.parametrize("first", ["adopt", "update", "fail", "ignore"])
    @pytest.mark.parametrize("second", ["adopt", "fail", "ignore"])
    async def test_what_this_job_made_is_not_there_already(self, sim, tmp_path, first, second, answer):
        sim.script(Endpoint.CREATE, answer)
        outcomes = await run(sim, shops(1), tmp_path / "run.db", existing=first)
        before = len(sim.requests)
        assert await run(sim, shops(1), tmp_path / "run.db", existing=second) == outcomes
        assert len(sim.requests) == before

    async def test_what_this_job_made_is_updated_where_that_is_asked_for(self, sim, tmp_path):
        [created] = await run(sim, shops(1), tmp_path / "run.db")
        async with client_of(sim) as clarus:
            await clarus.integrations.delete(created.id)
        outcomes = await run(sim, shops(1), tmp_path / "run.db", existing="update")
        assert statuses(outcomes) == {"ref-0": "created"}
        first, second = (
            request.headers["Idempotency-Key"]
            for request in sim.requests
            if "api/int" in request.path and request.method == "POST"
        )
        assert first != second

    async def test_a_dry_run_says_what_a_run_would_do(self, sim, tmp_path):
        sim.preload("acme", [there(0)])
        await run(sim, shops(1), tmp_path / "run.db")
        before = rows(tmp_path / "run.db")
        [outcome] = await run(sim, shops(1), tmp_path / "run.db", existing="update", dry_run=True)
        assert outcome.status.value.endswith(("update", "updated"))
        assert sim.count(Endpoint.UPDATE) == 0
        assert rows(tmp_path / "run.db") == before

    async def test_what_is_in_doubt_is_settled_whatever_it_is(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, STALL)
        await cut_off(sim, shops(1), tmp_path / "run.db", existing="adopt")
        for existing in ("ignore", "fail"):
            outcomes = await run(sim, shops(1), tmp_path / "run.db", existing=existing)
            assert statuses(outcomes) == {"ref-0": "adopted"}
        assert ledger(sim) == {"ref-0": 1}


@virtually
class TestDiffers:
    """An adopted record says in which attributes it is not as the input has it."""

    @pytest.mark.parametrize("journal", [True, False])
    async def test_from_what_is_listed(self, tmp_path, journal):
        async with Simulator(searchable_references=True) as sim:
            old = {"integration_type": "erp", "provider": "xero", "is_active": False, "string1": "x"}
            sim.preload("acme", [there(0, external_system_reference1="ref-0", **old)])
            new = referenced(0, integration_type="carrier", provider="dhl", is_active=True, string1="y")
            path = tmp_path / "run.db" if journal else None
            outcomes = await run(sim, [new], path)
            assert differs(outcomes) == {"ref-0": {"integration_type", "provider", "is_active"}}
            if journal:
                assert await run(sim, [new], path) == outcomes

    @pytest.mark.parametrize("more", [{}, {"provider": "shopify"}, {"is_active": True}])
    async def test_what_is_as_it_was_sent_differs_in_nothing(self, tmp_path, more):
        async with Simulator(searchable_references=True) as sim:
            await run(sim, [referenced(0, **more)], None)
            assert differs(await run(sim, [referenced(0, **more)], tmp_path / "run.db")) == {"ref-0": set()}

    async def test_a_name_in_another_case(self, sim, tmp_path):
        with alike_server(str.casefold):
            sim.preload("acme", [there(0, name="SHOP 0")])
            assert differs(await run(sim, shops(1), tmp_path / "run.db")) == {"ref-0": {"name"}}

    @pytest.mark.parametrize("searchable", [True, False], ids=["by reference", "by name"])
    @pytest.mark.parametrize(
        ("sent", "corrected", "different"),
        [
            ({"string1": "a"}, {"string1": "b"}, {"string1"}),
            ({}, {"string1": "b"}, {"string1"}),
            ({"string1": "a"}, {}, set()),
            ({"configuration": {"k": "a"}}, {"configuration": {"k": "b"}}, {"configuration"}),
            ({"configuration": {"k": "a", "l": 1}}, {"configuration": {"l": 1, "k": "a"}, "string2": "b"}, {"string2"}),
            ({"account_id": 1}, {"account_id": 2, "is_active": False}, {"account_id", "is_active"}),
        ],
    )
    async def test_from_what_was_sent(self, tmp_path, searchable, sent, corrected, different):
        async with Simulator(searchable_references=searchable) as sim:
            await run(sim, [referenced(0, **sent)], tmp_path / "run.db")
            for _ in range(2):
                outcomes = await run(sim, [referenced(0, **corrected)], tmp_path / "run.db")
                assert statuses(outcomes) == {"ref-0": "adopted"}
                assert differs(outcomes) == {"ref-0": different}

    async def test_corrected_and_corrected_back(self, sim, tmp_path):
        await run(sim, [referenced(0, string1="a")], tmp_path / "run.db")
        await run(sim, [referenced(0, string1="b")], tmp_path / "run.db")
        outcomes = await run(sim, [referenced(0, string1="a")], tmp_path / "run.db")
        assert differs(outcomes) == {"ref-0": set()}
        for value in "bab":
            await run(sim, [referenced(0, string1=value)], tmp_path / "run.db", existing="update")
            assert attributes(sim, "string1") == [value]
        outcomes = await run(sim, [referenced(0, string1="a")], tmp_path / "run.db")
        assert differs(outcomes) == {"ref-0": {"string1"}}

    async def test_an_update_leaves_what_cannot_be_changed(self, sim, tmp_path):
        await run(sim, [referenced(0, account_id=1, string1="a")], tmp_path / "run.db")
        corrected = [referenced(0, account_id=2, string1="b")]
        [outcome] = await run(sim, corrected, tmp_path / "run.db", existing="update")
        assert (outcome.status, outcome.differs) == ("updated", ("account_id",))
        assert await run(sim, corrected, tmp_path / "run.db", existing="update") == [outcome]
        assert differs(await run(sim, corrected, tmp_path / "run.db")) == {"ref-0": {"account_id"}}

    @pytest.mark.parametrize("existing", ["adopt", "ignore"])
    async def test_one_that_was_corrected_while_it_was_in_doubt(self, sim, tmp_path, existing):
        sim.script(Endpoint.CREATE, STALL)
        await cut_off(sim, [referenced(0, string1="a")], tmp_path / "run.db", existing=existing)
        outcomes = await run(sim, [referenced(0, string1="b")], tmp_path / "run.db", existing=existing)
        assert statuses(outcomes) == {"ref-0": "adopted"}
        assert differs(outcomes) == {"ref-0": {"string1"}}
        assert attributes(sim, "string1") == ["a"]

    async def test_another_record_in_its_place_is_not_what_was_sent(self, sim, tmp_path):
        [created] = await run(sim, [referenced(0, string1="a")], tmp_path / "run.db")
        async with client_of(sim) as clarus:
            await clarus.integrations.delete(created.id)
        sim.preload("acme", [there(0, string1="z")])
        outcomes = await run(sim, [referenced(0, string1="b")], tmp_path / "run.db")
        assert statuses(outcomes) == {"ref-0": "adopted"}
        assert differs(outcomes) == {"ref-0": set()}

    async def test_no_journal_holds_a_value(self, sim, tmp_path):
        specs = [referenced(0, string1="the-secret", configuration={"api_key": "the-secret"})]
        for existing in ("adopt", "update"):
            await run(sim, specs, tmp_path / "run.db", existing=existing)
        assert all(b"the-secret" not in file.read_bytes() for file in tmp_path.iterdir())


@virtually
class TestChangesThatWereCutOff:
    """A change that may have been made, and a journal that says so."""

    @pytest.mark.parametrize("made", [True, False], ids=["this job's", "another's"])
    async def test_one_that_is_corrected_back_is_changed_back(self, sim, tmp_path, made):
        if not made:
            sim.preload("acme", [there(0)])
        await run(sim, [referenced(0, string1="a")], tmp_path / "run.db", existing="update")
        sim.script(Endpoint.UPDATE, STALL)
        await cut_off(sim, [referenced(0, string1="b")], tmp_path / "run.db", existing="update")
        assert attributes(sim, "string1") == ["b"]
        outcomes = await run(sim, [referenced(0, string1="a")], tmp_path / "run.db", existing="update")
        assert statuses(outcomes) == {"ref-0": "updated"}
        assert attributes(sim, "string1") == ["a"]

    async def test_so_is_one_whose_create_was_in_doubt(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, STALL)
        await cut_off(sim, [referenced(0, string1="a")], tmp_path / "run.db", existing="update")
        sim.script(Endpoint.UPDATE, STALL)
        await cut_off(sim, [referenced(0, string1="b")], tmp_path / "run.db", 3.0, existing="update")
        assert attributes(sim, "string1") == ["b"]
        await run(sim, [referenced(0, string1="a")], tmp_path / "run.db", existing="update")
        assert attributes(sim, "string1") == ["a"]

    async def test_adopted_it_may_differ(self, sim, tmp_path):
        await run(sim, [referenced(0, string1="a")], tmp_path / "run.db")
        sim.script(Endpoint.UPDATE, *[FaultKind.RESET_AFTER] * 4)
        outcomes = await run(sim, [referenced(0, string1="b")], tmp_path / "run.db", existing="update")
        assert statuses(outcomes) == {"ref-0": "unresolved"}
        outcomes = await run(sim, [referenced(0, string1="a")], tmp_path / "run.db")
        assert differs(outcomes) == {"ref-0": {"string1"}}

    async def test_what_was_stopped_before_its_change_is_known(self, sim, tmp_path):
        await run(sim, shops(40), tmp_path / "run.db")
        corrected = [referenced(number, string1="b") for number in range(40)]
        await run(sim, corrected, tmp_path / "run.db", existing="update", most=3, concurrency=1)
        held = rows(tmp_path / "run.db")
        assert len(held) == 40
        assert all(row.ours and row.id for row in held.values())
        outcomes = await run(sim, corrected, tmp_path / "run.db", existing="update")
        assert set(statuses(outcomes).values()) == {"updated"}
        assert len(sim.created("acme")) == 40


@virtually
class TestAnotherInput:
    """The same journal, and an input with fewer, more or other rows in another order."""

    async def test_rows_are_known_by_their_keys(self, sim, tmp_path):
        first = await run(sim, shops(6), tmp_path / "run.db")
        ids = {outcome.key: outcome.id for outcome in first}
        for specs in (shops(2), [*reversed(shops(6))], [referenced(9), *shops(6)]):
            outcomes = await run(sim, specs, tmp_path / "run.db")
            assert [o.key for o in sorted(outcomes, key=lambda o: o.index)] == [spec.key for spec in specs]
            assert all(ids.get(o.key, o.id) == o.id for o in outcomes)
        assert creates(sim) == 7
        assert len(rows(tmp_path / "run.db")) == 7

    async def test_a_row_that_is_left_out_for_a_while_is_still_known(self, sim, tmp_path):
        await run(sim, [referenced(0, string1="a"), referenced(1)], tmp_path / "run.db")
        await run(sim, [referenced(1)], tmp_path / "run.db", existing="update")
        outcomes = await run(sim, [referenced(0, string1="b"), referenced(1)], tmp_path / "run.db")
        assert differs(outcomes) == {"ref-0": {"string1"}, "ref-1": set()}


@virtually
class TestReviewed:
    async def test_what_a_review_finds_is_kept_with_what_was_known(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, None, FaultKind.RESET_AFTER)
        await run(sim, [referenced(0, string1="a"), referenced(1)], tmp_path / "run.db", concurrency=1)
        [outcome] = await run(sim, [referenced(1, string1="b")], tmp_path / "run.db")
        before = rows(tmp_path / "run.db")
        async with client_of(sim) as clarus:
            reviewed = [one async for one in clarus.integrations.review(tmp_path / "run.db")]
        assert [(one.key, one.differs) for one in reviewed] == [("ref-1", outcome.differs)] == [("ref-1", ("string1",))]
        assert rows(tmp_path / "run.db") == before

    async def test_what_a_review_settles_is_kept_with_how_it_was_sent(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=1000.0))
        await cut_off(sim, [referenced(0)], tmp_path / "run.db")
        unresolved = rows(tmp_path / "run.db")["ref-0"]._replace(status="unresolved", unknown=True, existing="adopt")
        file = JournalFile(tmp_path / "run.db")
        file.open()
        file.write([unresolved])
        file.close()
        async with client_of(sim) as clarus:
            [reviewed] = [one async for one in clarus.integrations.review(tmp_path / "run.db")]
        settled = rows(tmp_path / "run.db")["ref-0"]
        assert (settled.status, settled.id, settled.ours) == ("adopted", reviewed.id, True)
        assert (settled.sends, settled.existing, settled.hash) == (1, "adopt", unresolved.hash)

    async def test_what_a_review_settled_is_not_sent_again(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=1000.0))
        await cut_off(sim, [referenced(0)], tmp_path / "run.db", existing="ignore")
        async with client_of(sim) as clarus:
            [reviewed] = [one async for one in clarus.integrations.review(tmp_path / "run.db")]
        assert reviewed.status == "adopted"
        for existing in ("ignore", "adopt", "fail"):
            assert statuses(await run(sim, [referenced(0)], tmp_path / "run.db", existing=existing)) == {
                "ref-0": "adopted"
            }
        assert ledger(sim) == {"ref-0": 1}


@virtually
class TestWhatThisJobMade:
    """A record that a send of this job made is the row's, whatever else has its key."""

    @pytest.mark.parametrize("searchable", [True, False], ids=["by reference", "by name"])
    @pytest.mark.parametrize(
        ("existing", "status", "name"),
        [("adopt", "adopted", "Shop 0"), ("update", "updated", "Renamed"), ("fail", "failed", "Shop 0")],
    )
    async def test_a_row_that_was_renamed_is_not_sent_again(self, tmp_path, searchable, existing, status, name):
        async with Simulator(searchable_references=searchable) as sim:
            await run(sim, [referenced(0)], tmp_path / "run.db")
            [outcome] = await run(sim, [referenced(0, name="Renamed")], tmp_path / "run.db", existing=existing)
            assert outcome.status == status
            assert outcome.differs == (("name",) if status == "adopted" else ())
            assert attributes(sim, "name") == [name]

    async def test_nor_is_one_whose_renaming_was_cut_off(self, sim, tmp_path):
        await run(sim, [referenced(0)], tmp_path / "run.db")
        sim.script(Endpoint.UPDATE, STALL)
        await cut_off(sim, [referenced(0, name="Renamed")], tmp_path / "run.db", existing="update")
        assert attributes(sim, "name") == ["Renamed"]
        for name in ("Renamed", "Shop 0"):
            await run(sim, [referenced(0, name=name)], tmp_path / "run.db", existing="update")
            assert attributes(sim, "name") == [name]

    async def test_two_rows_that_change_names_keep_their_records(self, sim, tmp_path):
        first = await run(sim, [referenced(0, name="A"), referenced(1, name="B")], tmp_path / "run.db")
        swapped = [referenced(0, name="B"), referenced(1, name="A")]
        again = await run(sim, swapped, tmp_path / "run.db", existing="update")
        assert {o.key: o.id for o in again} == {o.key: o.id for o in first}
        assert sorted(attributes(sim, "name")) == ["A", "B"]
        assert ledger(sim) == {"ref-0": 1, "ref-1": 1}

    async def test_another_record_of_its_name_is_no_conflict(self, sim, tmp_path):
        [created] = await run(sim, [referenced(0)], tmp_path / "run.db")
        sim.preload("acme", [there(0)])
        [updated] = await run(sim, [referenced(0, string1="b")], tmp_path / "run.db", existing="update")
        assert (updated.status, updated.id) == ("updated", created.id)

    @pytest.mark.parametrize("fault", [FaultKind.RESET_BEFORE, FaultKind.JSON_API_ERROR, None])
    async def test_ignore_sends_none_again_whose_change_went_wrong(self, sim, tmp_path, fault):
        await run(sim, [referenced(0)], tmp_path / "run.db", existing="ignore")
        corrected = [referenced(0, string1="b")]
        sim.script(Endpoint.UPDATE, *[fault or STALL] * 4)
        await cut_off(sim, corrected, tmp_path / "run.db", 60.0 if fault else 2.0, existing="update")
        [outcome] = await run(sim, corrected, tmp_path / "run.db", existing="ignore")
        assert outcome.status == "adopted"
        assert outcome.differs == ("string1",)
        assert ledger(sim) == {"ref-0": 1}

    async def test_a_name_that_it_has_is_not_free_for_another_row(self, sim, tmp_path):
        await run(sim, [referenced(0)], tmp_path / "run.db")
        await run(sim, [referenced(0, name="Renamed")], tmp_path / "run.db")
        outcomes = await run(sim, [referenced(1, name="Shop 0")], tmp_path / "run.db")
        assert statuses(outcomes) == {"ref-1": "created"}
        assert ledger(sim) == {"ref-0": 1, "ref-1": 1}
        for _ in range(2):
            outcomes = await run(sim, [referenced(0, name="Renamed")], tmp_path / "run.db")
            assert statuses(outcomes) == {"ref-0": "adopted"}

    async def test_one_that_was_renamed_while_it_was_in_doubt(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, STALL)
        await cut_off(sim, [referenced(0)], tmp_path / "run.db", existing="update")
        sim.script(Endpoint.UPDATE, STALL)
        await cut_off(sim, [referenced(0, name="Renamed")], tmp_path / "run.db", 3.0, existing="update")
        assert attributes(sim, "name") == ["Renamed"]
        for name in ("Shop 0", "Renamed"):
            outcomes = await run(sim, [referenced(0, name=name)], tmp_path / "run.db", existing="update")
            assert statuses(outcomes) == {"ref-0": "updated"}
            assert attributes(sim, "name") == [name]

    async def test_records_that_it_made_twice_are_told_whatever_is_wanted(self, sim, tmp_path):
        late = Fault(FaultKind.LATE_APPLY, delay=30.0)
        sim.script(Endpoint.CREATE, late)
        [twice] = await run(sim, [referenced(0)], tmp_path / "run.db")
        ids = {twice.id, *twice.others}
        assert (twice.status, len(ids)) == ("duplicated", 2)
        for existing in ("ignore", "fail", "update", "ignore", "adopt"):
            [outcome] = await run(sim, [referenced(0)], tmp_path / "run.db", existing=existing)
            assert not outcome.status.ok
            assert {outcome.id, *outcome.others} - {None} == ids
        assert len(sim.created("acme")) == 2
        assert sim.count(Endpoint.UPDATE) == 0

    async def test_a_look_that_fails_loses_no_id(self, sim, tmp_path):
        [created] = await run(sim, [referenced(0)], tmp_path / "run.db")
        sim.script(Endpoint.GRAPHQL, None, *[Fault(FaultKind.ERROR_BEFORE, status=500)] * 100)
        [outcome] = await run(sim, [referenced(0, string1="b")], tmp_path / "run.db")
        assert outcome.status == "failed"
        row = rows(tmp_path / "run.db")["ref-0"]
        assert (row.ours, row.id) == (True, created.id)

    async def test_a_review_takes_no_change_for_made(self, sim, tmp_path):
        sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
        await run(sim, [referenced(0)], tmp_path / "run.db", existing="update")
        sim.script(Endpoint.UPDATE, *[FaultKind.RESET_BEFORE] * 4)
        corrected = [referenced(0, string1="b")]
        await run(sim, corrected, tmp_path / "run.db", existing="update")
        async with client_of(sim) as clarus:
            [reviewed] = [one async for one in clarus.integrations.review(tmp_path / "run.db")]
        assert reviewed.status == "unresolved"
        assert statuses(await run(sim, corrected, tmp_path / "run.db", existing="update")) == {"ref-0": "updated"}
