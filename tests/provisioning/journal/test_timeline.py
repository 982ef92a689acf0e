"""What a journal keeps of a run's course: when, how much and how long, in bounded room, and nothing of the records."""

from __future__ import annotations

import itertools
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarus_async.errors import JournalError
from clarus_async.provisioning.job_index import intent_of
from clarus_async.provisioning.journal import file as file_module
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.journal.timeline import JournaledRun, Stretch, merged
from clarus_async.reconcile.pending import LookupKey
from clarus_async.simulator import Endpoint, FaultKind, Quota, Simulator
from tests.provisioning.test_resume import STALL, client_of, cut_off, rows, run, sim, statuses, virtually  # noqa: F401
from tests.support.builders import referenced, shops
from tests.support.virtual import now
from tests.support.virtual_world import virtual_world

EPOCH = 1_768_046_400.0
"""When the virtual clock begins."""


def read(path, statement):
    with sqlite3.connect(path) as database:
        found = database.execute(statement).fetchall()
    database.close()
    return found


def course(path):
    """The runs and the stretches of a journal."""
    runs = [JournaledRun.of(row) for row in read(path, "SELECT began, ended, what, source FROM runs ORDER BY n")]
    names = ", ".join(Stretch._fields)
    return runs, [Stretch.of(row) for row in read(path, f"SELECT {names} FROM timeline ORDER BY n")]


@pytest.fixture(autouse=True)
def world():
    """Have wall clocks follow the virtual loop's."""
    with virtual_world():
        yield


@virtually
class TestOfARun:
    async def test_when_it_went_on_and_how_much(self, tmp_path):
        async with Simulator(latency=0.5, quota=Quota(limit=20, window=10.0), token_lifetime=None) as sim:  # noqa: F811
            async with client_of(sim) as clarus:
                began = now()
                async with clarus.integrations.provision(shops(60), journal=tmp_path / "run.db") as running:
                    assert len([outcome async for outcome in running]) == 60
                ended = now()
            requests = [r for r in sim.requests if r.endpoint in {Endpoint.CREATE, Endpoint.GRAPHQL}]
        [first], stretches = course(tmp_path / "run.db")
        assert (first.what, first.source) == ("provision", None)
        assert ended - began > 15.0
        assert first.ended - first.began == pytest.approx(ended - began, abs=0.1)
        assert sum(s.records for s in stretches) == 60
        assert sum(s.requests for s in stretches) == len(requests)
        assert sum(s.refused for s in stretches) == sum(r.status == 429 for r in requests) > 0
        assert sum(s.seconds for s in stretches) == pytest.approx(ended - began, abs=0.1)
        assert 5.0 < sum(s.paused for s in stretches) < ended - began
        assert all(s.seconds >= 1.0 for s in stretches[:-1])
        assert all(s.paused <= s.seconds for s in stretches)
        assert all(a.until == pytest.approx(b.at, abs=0.01) for a, b in itertools.pairwise(stretches))

    async def test_answers_that_are_lost_and_how_long_that_took(self, sim, tmp_path):  # noqa: F811
        sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE, None, FaultKind.JSON_API_ERROR)
        began = now()
        await run(sim, [*shops(4), "no record"], tmp_path / "run.db", concurrency=1)
        _, stretches = course(tmp_path / "run.db")
        assert sum(s.unclear for s in stretches) == 2
        found = rows(tmp_path / "run.db")
        # The second was sent again once the server could apply nothing any more, and looked for after that.
        assert found["ref-0"].took < 5.0 < 20.0 <= found["ref-1"].took < 50.0
        assert found["ref-2"].took < 1.0
        assert found["ref-3"].took < 1.0
        assert all(began <= row.ended - EPOCH <= now() for row in found.values())

    async def test_nothing_is_noted_of_what_no_run_sends(self, sim, tmp_path):  # noqa: F811
        sim.preload("acme", [{"name": "Shop 0", "integration_type": "shopify"}])
        await run(sim, shops(1), tmp_path / "run.db")
        before = course(tmp_path / "run.db")
        await run(sim, shops(1), tmp_path / "run.db", dry_run=True)
        async with client_of(sim) as clarus:
            assert [o async for o in clarus.integrations.review(tmp_path / "run.db")] == []
        assert course(tmp_path / "run.db") == before
        assert rows(tmp_path / "run.db")["ref-0"].took is None

    async def test_each_run_has_its_own(self, sim, tmp_path):  # noqa: F811
        class Named(list):
            source_name = "shops.csv"

        sim.script(Endpoint.CREATE, STALL)
        await cut_off(sim, Named(shops(1)), tmp_path / "run.db", 3.0)
        await run(sim, Named(shops(1)), tmp_path / "run.db")
        runs, _ = course(tmp_path / "run.db")
        assert [one.source for one in runs] == ["shops.csv"] * 2
        assert [one.ended is None for one in runs] == [True, False]
        assert runs[0].began < runs[1].began < runs[1].ended
        # It was there when this run looked, and what an earlier one waited does not count.
        assert rows(tmp_path / "run.db")["ref-0"].took < 1.0

    async def test_a_change_of_what_is_there_takes_no_time_from_a_send(self, sim, tmp_path):  # noqa: F811
        await run(sim, [referenced(0)], tmp_path / "run.db")
        await run(sim, [referenced(0, string1="b")], tmp_path / "run.db", existing="update")
        row = rows(tmp_path / "run.db")["ref-0"]
        assert (row.status, row.took) == ("updated", None)


@virtually
class TestMade:
    async def test_what_the_job_made_and_may_have_made(self, sim, tmp_path):  # noqa: F811
        sim.preload("acme", [{"name": "Shop 0", "integration_type": "shopify"}])
        sim.script(Endpoint.CREATE, None, FaultKind.RESET_AFTER, FaultKind.JSON_API_ERROR, STALL)
        await cut_off(sim, shops(5), tmp_path / "run.db", 3.0, concurrency=1)
        journal = JournalFile(tmp_path / "run.db")
        journal.open()
        made, counts = journal.made(0, 10), journal.made_counts()
        journal.close()
        assert [row.key for row in made.values()] == ["ref-1", "ref-2", "ref-4"]
        assert [row.ours for row in made.values()] == [True, True, False]
        assert counts == {
            "ours": 2, "in_doubt": 1, "there_before": 1, "updated": 0, "disabled": 0, "deleted": 0,
        }  # fmt: skip


class TestKept:
    def stretches(self, count, seconds=1.0):
        return [Stretch(10.0 + n * seconds, seconds, 1, 2, 1, 0, 0.5 * seconds) for n in range(count)]

    @given(st.lists(st.floats(1.0, 90.0), min_size=1, max_size=200), st.integers(4, 40))
    def test_merged_they_are_of_the_same_sums(self, lengths, most):
        stretches = [Stretch(float(n), seconds, n, 2 * n, n, 1, 0.0) for n, seconds in enumerate(lengths)]
        joined = merged(stretches, most)
        assert len(joined) <= most // 2 + 1
        for name in ("records", "requests", "refused", "unclear"):
            assert sum(getattr(s, name) for s in joined) == sum(getattr(s, name) for s in stretches)
        assert sum(s.seconds for s in joined) == pytest.approx(sum(lengths))

    def test_a_long_run_takes_no_more_room(self, tmp_path, monkeypatch):
        monkeypatch.setattr(file_module, "MOST_STRETCHES", 64)
        file = JournalFile(tmp_path / "run.db", "acme", "https://clarus.test", "integrations")
        file.open()
        for n, stretch in enumerate(self.stretches(1000), 1):
            file.write([intent_of(n, [LookupKey("name", f"Shop {n}", "name")])], stretch)
        file.close()
        _, kept = course(tmp_path / "run.db")
        assert 16 <= len(kept) <= 64
        assert (kept[0].at, kept[-1].until) == (10.0, 1010.0)
        assert (sum(s.records for s in kept), sum(s.requests for s in kept)) == (1000, 2000)
        assert max(s.seconds for s in kept) <= 4 * 1000 / 64

    @pytest.mark.parametrize("value", ["'x'", "-1.0", "9e999", "NULL"])
    @pytest.mark.parametrize(("table", "column"), [("timeline", "seconds"), ("timeline", "refused"), ("runs", "began")])
    async def test_what_is_damaged_is_refused(self, tmp_path, table, column, value):
        path = tmp_path / "run.db"
        file = JournalFile(path, "acme", "https://clarus.test", "integrations")
        file.open()
        file.begin_run(5.0, "provision", None)
        file.close(6.0, *self.stretches(1))
        with sqlite3.connect(path) as database:
            nullable = "UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '')"
            database.executescript(f"PRAGMA writable_schema = 1; {nullable} WHERE name IN ('timeline', 'runs')")
        database.close()
        read(path, f"UPDATE {table} SET {column} = {value}")
        journal = Journal(JournalFile(path))
        await journal.open(make=False)
        with pytest.raises(JournalError, match="is damaged"):
            await journal.run(journal.file.course)
        await journal.close()
