"""What a run created is undone, and nothing else."""

from __future__ import annotations

import random

import attrs
import pytest

from clarus_async import ClarusError, ConfigurationError, JournalError, NewExternalEntity, RetryPolicy, Timeouts
from clarus_async.provisioning.options import Options
from clarus_async.simulator import Fault, Quota, Simulator
from tests.support.builders import client_of, outcomes_of, shops, until

FAST = {
    "timeouts": Timeouts(connect=0.3, attempt=0.3, settle=0.3, deadline=5.0),
    "retry": RetryPolicy(base=0.001, cap=0.01, max_attempts=8),
}


async def provision(sim, journal, specs, **options):
    async with client_of(sim, **FAST) as clarus:
        return await outcomes_of(clarus.integrations.provision(specs, journal=journal, **options))


async def undone(sim, journal, *, delete=True, **options):
    """Undo a run; return what was said first, and the outcomes."""
    async with client_of(sim, **FAST) as clarus, clarus.integrations.undo(journal, delete=delete) as undo:
        counts, run = dict(undo.counts), undo.run(Options(**options))
        return counts, await outcomes_of(run)


def content(sim):
    """What the tenant has, by id."""
    return {record.id: dict(record.attributes) for record in sim.integrations("acme")}


def preload(sim, specs):
    sim.preload("acme", [{n: v for n, v in attrs.asdict(spec).items() if v is not None} for spec in specs])


def ids(outcomes):
    return {outcome.id for outcome in outcomes}


@pytest.mark.parametrize("delete", [True, False])
@pytest.mark.parametrize("existing", ["adopt", "update"])
async def test_exactly_what_was_created_is_undone(tmp_path, delete, existing):
    journal = tmp_path / "run.db"
    async with Simulator() as sim:
        preload(sim, shops(30, string1="theirs"))
        await provision(sim, journal, shops(100, string1="ours"), existing=existing)
        before = content(sim)
        created = {i for i, attributes in before.items() if attributes["name"] not in {f"Shop {n}" for n in range(30)}}
        assert len(created) == 70
        counts, outcomes = await undone(sim, journal, delete=delete)
        assert counts == {
            "ours": 70,
            "in_doubt": 0,
            "there_before": 30 if existing == "adopt" else 0,
            "updated": 0 if existing == "adopt" else 30,
            "disabled": 0,
            "deleted": 0,
        }
        assert ids(outcomes) == created
        assert {outcome.status for outcome in outcomes} == {"deleted" if delete else "disabled"}
        assert {outcome.key for outcome in outcomes} == {f"ref-{n}" for n in range(30, 100)}
        after = content(sim)
        if delete:
            assert after == {i: attributes for i, attributes in before.items() if i not in created}
        else:
            assert after == {i: a | ({"is_active": False} if i in created else {}) for i, a in before.items()}
        # Once more: there is nothing left.
        sent = sim.count("delete"), sim.count("update")
        counts, outcomes = await undone(sim, journal, delete=delete)
        assert outcomes == []
        assert counts["ours"] == (0 if delete else 70)
        assert (sim.count("delete"), sim.count("update")) == sent


async def test_what_was_disabled_can_be_deleted_and_then_provisioned_anew(tmp_path):
    journal, specs = tmp_path / "run.db", shops(20)
    async with Simulator() as sim:
        first = await provision(sim, journal, specs)
        await undone(sim, journal, delete=False)
        # It is there, and not as it was left.
        again = await provision(sim, journal, specs)
        assert ids(again) == ids(first)
        assert all(outcome.status == "adopted" for outcome in again)
        counts, outcomes = await undone(sim, journal)
        assert counts["ours"] == 20
        assert ids(outcomes) == ids(first)
        assert content(sim) == {}
        anew = await provision(sim, journal, specs)
        assert {outcome.status for outcome in anew} == {"created"}
        assert len(content(sim)) == 20
        assert not ids(anew) & ids(first)
        # And that can be undone, too.
        counts, outcomes = await undone(sim, journal)
        assert ids(outcomes) == ids(anew)
        assert content(sim) == {}


async def test_all_that_a_run_left_of_one_record_is_undone(tmp_path):
    journal = tmp_path / "run.db"
    async with Simulator() as sim:
        # The first is applied long after it was given up and sent again.
        sim.script("create", Fault("late_apply", delay=0.65))
        [outcome] = await provision(sim, journal, shops(1))
        assert outcome.status in {"created", "adopted", "duplicated"}
        await until(lambda: len(content(sim)) == 2, 0.01)
        # Whether or not the run has seen the second: the server is asked before anything is undone.
        counts, outcomes = await undone(sim, journal)
        assert counts["ours"] == 1
        assert [(o.status, len(o.others)) for o in outcomes] == [("deleted", 1)]
        assert content(sim) == {}


@pytest.mark.parametrize("delete", [True, False])
async def test_what_is_gone_needs_nothing(tmp_path, delete):
    journal = tmp_path / "run.db"
    async with Simulator() as sim:
        first = await provision(sim, journal, shops(3))
        async with client_of(sim) as clarus:
            await clarus.integrations.delete(first[1].id)
        _, outcomes = await undone(sim, journal, delete=delete)
        way = "deleted" if delete else "disabled"
        assert [outcome.status for outcome in outcomes] == [way, "deleted", way]


@pytest.mark.parametrize("seed", range(4))
async def test_undoing_through_faults_leaves_nothing_and_touches_nothing_else(tmp_path, seed):
    journal, dice = tmp_path / "run.db", random.Random(seed)
    lost = ("reset_before", "reset_after", "error_after", "error_before", "rate_limited", "unauthorized")
    faults = [Fault(kind, endpoint=at, probability=0.02) for kind in lost for at in ("create", "update", "delete")]
    async with Simulator(seed=seed) as sim:
        preload(sim, shops(20))
        before = content(sim)
        sim.set_faults(faults)
        await provision(sim, journal, shops(80), max_failures=dice.choice([None, 0]))
        for _ in range(5):
            counts, _ = await undone(sim, journal, delete=dice.random() < 0.7)
        sim.set_faults([])
        counts, outcomes = await undone(sim, journal)
        assert all(outcome.status.ok for outcome in outcomes)
        assert content(sim) == before
        assert counts["in_doubt"] == 0


async def test_what_stays_in_doubt_is_said(tmp_path):
    journal = tmp_path / "run.db"
    async with Simulator() as sim:
        async with client_of(sim, **FAST) as clarus:
            run = clarus.integrations.provision(shops(3), journal=journal, concurrency=1)
            sim.script("create", None, Fault("stall_before", delay=30.0))
            async for _ in run:
                break
            await until(lambda: sim.count("create") == 2, 0.001)
            await run.aclose()
        counts, outcomes = await undone(sim, journal)
        assert (counts["ours"], counts["in_doubt"]) == (1, 1)
        assert [outcome.status for outcome in outcomes] == ["deleted", "unresolved"]


async def test_what_an_undo_can_not_be_done_to(tmp_path):
    journal = tmp_path / "run.db"
    async with Simulator(tenants=("acme", "other")) as sim, client_of(sim) as clarus:
        await provision(sim, journal, shops(1))
        for delete in (True, False):
            with pytest.raises(ConfigurationError, match="the API has no way to disable or delete external entities"):
                clarus.external_entities.undo(journal, delete=delete)
        async with client_of(sim, subdomain="other") as other:
            with pytest.raises(JournalError, match="belongs to another job: its tenant is acme, this one's other"):
                async with other.integrations.undo(journal):
                    pass
        async with clarus.integrations.undo(journal):
            with pytest.raises(JournalError, match="is in use by another run"):
                async with clarus.integrations.undo(journal):
                    pass
        with pytest.raises(JournalError, match="there is no such file"):
            async with clarus.integrations.undo(tmp_path / "nowhere.db"):
                pass
        entities = tmp_path / "entities.db"
        new = NewExternalEntity(entity_type="product", code="1", external_system_reference1="1")
        await outcomes_of(clarus.external_entities.provision([new], journal=entities))
        with pytest.raises(JournalError, match="its resource is external_entities, this one's integrations"):
            async with clarus.integrations.undo(entities):
                pass


async def test_an_operations_journal_is_no_runs_journal(tmp_path):
    journal = tmp_path / "bulk.db"
    async with Simulator() as sim, client_of(sim) as clarus:
        await outcomes_of(clarus.integrations.bulk("delete", [], Options(journal=journal)))
        with pytest.raises(JournalError, match="its operation is delete, this one's synchronize"):
            await outcomes_of(clarus.integrations.bulk("synchronize", [], Options(journal=journal)))
        with pytest.raises(JournalError, match="its operation is delete, this one's provision"):
            async with clarus.integrations.undo(journal):
                pass


async def test_a_server_that_can_not_be_asked_ends_it_before_anything_is_undone(tmp_path):
    journal = tmp_path / "run.db"
    async with Simulator() as sim:
        sim.script("create", Fault("reset_after"))
        await provision(sim, journal, shops(3))
        sim.set_faults([Fault("forbidden", endpoint="graphql")])
        with pytest.raises(ClarusError):
            await undone(sim, journal)
        assert sim.count("delete") == 0
        sim.set_faults([])
        await undone(sim, journal)
        assert content(sim) == {}


async def test_the_quota_is_kept(tmp_path):
    journal = tmp_path / "run.db"
    async with Simulator() as sim:
        await provision(sim, journal, shops(300))
        sim.set_quota(Quota(limit=100, window=1.0))
        _, outcomes = await undone(sim, journal)
        assert {outcome.status for outcome in outcomes} == {"deleted"}
        assert sim.count("delete") <= 330
