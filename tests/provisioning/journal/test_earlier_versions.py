"""Journals that an earlier release made, with settled, doubtful and waiting records: nothing is lost, nothing twice."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.report import OutcomeStatus
from clarus_async.provisioning.review import history_of, outcomes_of
from clarus_async.reconcile.reconciler import Reconciler
from clarus_async.simulator import Endpoint, Simulator
from tests.chaos.provision_kill import Steps, life
from tests.data.journals.make import BASE_URL, at_base_url, shop
from tests.provisioning.test_resume import client_of, rows, run, sends, statuses, virtually

MADE = Path(__file__).parents[2] / "data" / "journals"
TENANT = "acme"
RECORDS = 13
OURS = (0, 5, 6, 8)
"""What the job had made, and known of."""
DOUBTFUL = (7, 9)
"""What it had made, and not known of."""
NOT_THERE = (3, 10, 11, 12)


@pytest.fixture(params=["v1", "v2"])
def version(request, monkeypatch):
    """A release whose journals are there; this one's client is where they say that the API is."""
    monkeypatch.setattr(Reconciler, "terms", at_base_url(Reconciler.terms))
    return request.param


def copy_of(version, state, folder):
    """Copy a journal as it was left."""
    path = folder / "run.db"
    for suffix in ("", "-wal"):
        if (source := MADE / f"{version}-{state}.db{suffix}").exists():
            shutil.copy(source, f"{path}{suffix}")
    return path


@contextlib.asynccontextmanager
async def server(version):
    """Run a server that has stored what the journal's had."""
    stored = json.loads((MADE / f"{version}-server.json").read_text())
    async with Simulator() as sim:
        for number, attributes, created_at in stored:
            [record] = sim.preload(TENANT, [attributes], created_at=datetime.fromisoformat(created_at))
            assert record.id == number
        yield sim


def stored(sim):
    return Counter(record.name for record in sim.created(TENANT))


ONCE = Counter({f"Shop {number}": 1 for number in range(RECORDS)} | {"Shop 4": 2, "Shop 5": 2})


@virtually
class TestResumed:
    async def test_every_record_has_its_outcome(self, version, tmp_path):
        async with server(version) as sim:
            path = copy_of(version, "killed", tmp_path)
            outcomes = await run(sim, map(shop, range(RECORDS)), path)
            assert statuses(outcomes) == {
                "ref-0": "created", "ref-1": "adopted", "ref-2": "adopted", "ref-3": "created",
                "ref-4": "conflict", "ref-5": "duplicated", "ref-6": "adopted", "ref-7": "adopted",
                "ref-8": "created", "ref-9": "adopted", "ref-10": "created", "ref-11": "created",
                "ref-12": "created",
            }  # fmt: skip
            by_key = {outcome.key: outcome for outcome in outcomes}
            assert (by_key["ref-5"].id, by_key["ref-5"].others) == (6, (7,))
            assert by_key["ref-5"].error.message == "it was sent 2 times, and 2 records answer for it"
            assert (by_key["ref-6"].matched_by, by_key["ref-6"].attempts) == ("name", 1)
            assert all(not outcome.differs for outcome in outcomes)
            assert stored(sim) == ONCE
            assert [len(sends(sim, number)) for number in range(RECORDS)] == [
                number in NOT_THERE for number in range(RECORDS)
            ]
            again = await run(sim, map(shop, range(RECORDS)), path)
            assert statuses(again) == statuses(outcomes)
            assert stored(sim) == ONCE

    @pytest.mark.parametrize("existing", ["fail", "ignore"])
    async def test_whatever_is_to_be_done_with_what_is_there_nothing_is_sent_twice(self, version, tmp_path, existing):
        async with server(version) as sim:
            path = copy_of(version, "killed", tmp_path)
            outcomes = await run(sim, map(shop, range(RECORDS)), path, existing=existing)
            assert len(outcomes) == RECORDS
            assert not any(sends(sim, number) for number in (*OURS, *DOUBTFUL))
            assert all(stored(sim)[f"Shop {number}"] == 1 for number in (*OURS, *DOUBTFUL) if number != 5)

    async def test_an_update_sends_what_was_not_certainly_sent(self, version, tmp_path):
        async with server(version) as sim:
            path = copy_of(version, "killed", tmp_path)
            outcomes = await run(sim, map(shop, range(RECORDS)), path, existing="update")
            changed = {request.path for request in sim.requests if request.endpoint is Endpoint.UPDATE}
            # Version 1 does not say that it was made under "update", as version 2 does.
            told = {"v1": {"ref-8": 10}, "v2": {}}[version]
            assert changed == {f"/api/integrations/{number}" for number in (1, 5, 8, *told.values())}
            assert {o.key for o in outcomes if o.status == "updated"} == {"ref-0", "ref-1", "ref-2", "ref-6", *told}
            [updated] = (outcome for outcome in outcomes if outcome.key == "ref-2")
            assert updated.unpatched == ("integration_type", "external_system_reference1")
            assert stored(sim) == ONCE

    async def test_a_corrected_row_may_differ_in_all_that_is_not_listed(self, version, tmp_path):
        async with server(version) as sim:
            path = copy_of(version, "killed", tmp_path)
            corrected = [shop(0, string1="two"), shop(9, string1="two"), shop(1, is_active=True)]
            outcomes = {outcome.key: outcome for outcome in await run(sim, corrected, path)}
            assert {outcome.status for outcome in outcomes.values()} == {"adopted"}
            assert "string1" in outcomes["ref-0"].differs
            assert "string1" in outcomes["ref-9"].differs
            assert outcomes["ref-1"].differs == ("is_active",)

    async def test_it_is_reviewed(self, version, tmp_path):
        async with server(version) as sim:
            path = copy_of(version, "killed", tmp_path)
            async with client_of(sim) as clarus:
                reviewed = {o.key: o.status.value async for o in clarus.integrations.review(path)}
            assert reviewed == {
                "ref-5": "duplicated", "ref-6": "adopted", "ref-7": "adopted", "ref-9": "adopted",
                "ref-10": "unresolved", "ref-11": "unresolved", "ref-12": "unresolved",
            }  # fmt: skip
            assert statuses(await run(sim, map(shop, range(RECORDS)), path))["ref-7"] == "adopted"
            assert stored(sim) == ONCE


class TestUpgraded:
    @pytest.mark.parametrize("state", ["closed", "killed"])
    async def test_it_holds_what_it_held(self, version, tmp_path, state):
        journal = Journal(JournalFile(copy_of(version, state, tmp_path), TENANT, BASE_URL))
        await journal.open()
        try:
            report = (await history_of(journal, 4)).report
            assert (report.total, report.counts["created"], report.counts["duplicated"]) == (
                {"closed": 9, "killed": RECORDS}[state], 2, 1,
            )  # fmt: skip
            not_ok = [None, *(status for status in OutcomeStatus if not status.ok)]
            first = [outcome.key async for outcome in outcomes_of(journal, not_ok)][:4]
            assert first == ["ref-3", "ref-5", "ref-4", "ref-7"]
            assert await journal.run(journal.file.differing) == {}
        finally:
            await journal.close()

    @pytest.mark.parametrize("state", ["closed", "killed"])
    async def test_a_kill_leaves_it_whole(self, version, tmp_path, state):
        async def killed(step):
            folder = tmp_path / f"{step}"
            folder.mkdir()
            path = copy_of(version, state, folder)
            await life(open_in_steps, str(path), step, seconds=30.0)
            return path

        whole = rows(await killed(None))
        count = int((tmp_path / "None" / "run.db.steps").read_text())
        for step in range(1, count + 1, 7):
            assert rows(await killed(step)) == whole
        assert {key for key, row in whole.items() if row.ours} == {f"ref-{number}" for number in OURS}
        settled = {"ref-0", "ref-1", "ref-3", "ref-4", "ref-5", "ref-6", "ref-7"} if version == "v2" else set()
        updated = {"ref-2", "ref-8"} if version == "v2" else {"ref-2"}
        existing = dict.fromkeys(settled, "adopt") | dict.fromkeys(updated, "update")
        assert {key: row.existing for key, row in whole.items() if row.existing} == existing
        assert not any(row.ended or row.took for row in whole.values())

    @pytest.mark.parametrize("state", ["closed", "killed"])
    def test_it_tells_its_version(self, version, tmp_path, state):
        path = copy_of(version, state, tmp_path)
        assert rows(path)
        # Without its WAL, as an earlier release looks at it before it opens it.
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            job = dict(database.execute("SELECT name, value FROM job"))
        assert (job["version"], job["resource"], job["operation"]) == ("3", "integrations", "provision")


def open_in_steps(path, last):
    """Open a journal and close it, and be killed at a step; write down how many there were."""
    steps = Steps(last)
    with steps.watched():
        file = JournalFile(path, TENANT, BASE_URL, "integrations")
        file.open()
        file.close()
    Path(f"{path}.steps").write_text(str(steps.count))
