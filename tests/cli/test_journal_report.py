"""``clarus provision --journal`` and ``clarus report``, in this process, against a simulator over real sockets."""

from __future__ import annotations

import sqlite3

import orjson
import pytest

from clarus_async import ClarusClient, NewIntegration, Timeouts
from clarus_async.simulator import Endpoint, Fault, FaultKind
from tests.cli.test_commands import clarus, environment, simulator  # noqa: F401  fixtures


@pytest.fixture
def shops(tmp_path):
    """A file of three records."""
    path = tmp_path / "shops.jsonl"
    rows = [
        {"name": f"Shop {number}", "integration_type": "shopify", "external_system_reference1": f"shop-{number}"}
        for number in range(3)
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return str(path)


@pytest.fixture
def journal(tmp_path):
    return str(tmp_path / "run.db")


class TestProvision:
    async def test_the_same_command_again_sends_nothing_and_says_the_same(self, clarus, simulator, shops, journal):  # noqa: F811
        first = await clarus("provision", shops, "--journal", journal)
        sent = len(simulator.requests)
        again = await clarus("provision", shops, "--journal", journal)

        assert first[0] == again[0] == 0
        assert sorted(first[1], key=orjson.dumps) == sorted(again[1], key=orjson.dumps)
        assert len(simulator.requests) == sent
        assert len(simulator.created("acme")) == 3

    @pytest.mark.parametrize(
        ("existing", "status", "outcomes", "stored"),
        [
            ("adopt", 0, "adopted", 3),
            ("update", 0, "updated", 3),
            ("fail", 1, "failed", 3),
            ("ignore", 0, "created", 6),
        ],
    )
    async def test_existing(self, clarus, simulator, shops, existing, status, outcomes, stored):  # noqa: F811
        await clarus("provision", shops)
        got, results, _ = await clarus("provision", shops, "--existing", existing)

        assert got == status
        assert {result["status"] for result in results} == {outcomes}
        assert len(simulator.created("acme")) == stored

    async def test_a_row_that_is_there_with_other_values_is_named_and_then_updated(
        self,
        clarus,  # noqa: F811
        simulator,  # noqa: F811
        tmp_path,
        journal,
    ):
        there = [
            {"name": f"Shop {number}", "integration_type": "shopify", "is_active": False, "provider": "ebay"}
            for number in range(2)
        ]
        simulator.preload("acme", there)
        rows = [row | {"is_active": True} for row in there]
        path = tmp_path / "there.jsonl"
        path.write_bytes(b"\n".join(map(orjson.dumps, [rows[0], rows[1] | {"provider": "amazon"}])))
        command = "provision", str(path), "--journal", journal
        for _ in range(2):
            status, results, said = await clarus(*command)

            assert status == 0
            assert [result["status"] for result in results] == ["adopted"] * 2
            assert sorted(result["differs"] for result in results) == [["is_active"], ["provider", "is_active"]]
            assert said[-5:-2] == [
                "2 records are there and differ from the input: is_active (2), provider (1)",
                "clarus: to send what differs, provision the same file again with --existing update",
                "clarus: no update changes provider",
            ]
        assert (await clarus("report", journal))[2][:3] == said[-5:-2]
        status, results, said = await clarus(*command, "--existing", "update")

        assert status == 0
        assert [result["status"] for result in results] == ["updated"] * 2
        assert [record.attributes["is_active"] for record in simulator.created("acme")] == [True, True]
        assert said[-4:-2] == [
            "1 record is there and differs from the input: provider (1)",
            "clarus: no update changes provider",
        ]

    async def test_a_dry_run_sends_no_write(self, clarus, simulator, shops, journal, tmp_path):  # noqa: F811
        status, results, _ = await clarus("provision", shops, "--dry-run", "--journal", journal)

        assert status == 0
        assert [(result["status"], result["id"]) for result in results] == [("created", None)] * 3
        assert simulator.count(Endpoint.CREATE) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["shops.jsonl"]

    async def test_too_many_failures_end_it(self, clarus, simulator, shops):  # noqa: F811
        simulator.script(Endpoint.CREATE, *[Fault(FaultKind.ERROR_BEFORE, status=422)] * 3)
        status, results, said = await clarus("provision", shops, "--max-failures", "1", "--concurrency", "1")

        assert status == 1
        assert len(results) == 2
        assert said[-1] == (
            "clarus: error: provision: stopped when 2 records had failed (--max-failures 1);"
            " what was in flight has ended, and the rest was not sent"
        )

    async def test_another_tenants_journal_is_refused(self, clarus, simulator, shops, journal):  # noqa: F811
        await clarus("provision", shops, "--journal", journal)
        status, results, said = await clarus("provision", shops, "--journal", journal, "--subdomain", "globex")

        assert (status, results) == (1, [])
        assert "its tenant is acme, this one's globex" in said[-1]
        assert simulator.created("globex") == []

    async def test_a_simulated_run_has_no_journal(self, clarus, shops, journal, monkeypatch):  # noqa: F811
        for name in ("SUBDOMAIN", "BASE_URL"):
            monkeypatch.delenv(f"CLARUS_{name}", raising=False)
        status, results, said = await clarus("provision", shops, "--simulate", "--journal", journal)

        assert (status, results) == (2, [])
        assert "--simulate" in said[-1]


class TestReport:
    async def test_it_prints_the_counts_and_what_is_not_ok(self, clarus, simulator, shops, journal):  # noqa: F811
        simulator.script(Endpoint.CREATE, None, Fault(FaultKind.ERROR_BEFORE, status=422))
        await clarus("provision", shops, "--journal", journal, "--concurrency", "1")
        status, [report], said = await clarus("report", journal)

        assert status == 1
        assert (report["created"], report["failed"], report["total"]) == (2, 1, 3)
        assert said[0].startswith("shop-1: failed: POST /api/integrations: 422")

    async def test_it_counts_what_was_wrong_with_the_input_once(self, clarus, tmp_path, journal):  # noqa: F811
        row = {"name": "Shop", "integration_type": "shopify"}
        path = tmp_path / "twice.jsonl"
        path.write_bytes(b"\n".join([orjson.dumps(row)] * 2))
        for _ in range(3):
            await clarus("provision", str(path), "--journal", journal)
        _, [report], _ = await clarus("report", journal)

        assert (report["created"], report["failed"], report["total"]) == (1, 1, 2)

    async def test_there_has_to_be_one(self, clarus, tmp_path):  # noqa: F811
        status, results, said = await clarus("report", str(tmp_path / "none.db"))

        assert (status, results) == (1, [])
        assert "no such file" in said[-1]
        assert list(tmp_path.iterdir()) == []

    async def test_look_names_what_came_too_late(self, clarus, simulator, journal):  # noqa: F811
        async def provision():
            timeouts = Timeouts(attempt=0.1, settle=0.1)
            async with ClarusClient("acme", simulator.credentials, base_url=simulator.url, timeouts=timeouts) as client:
                new = NewIntegration(name="Shop", integration_type="shopify")
                return [outcome async for outcome in client.integrations.provision([new], journal=journal)]

        simulator.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
        [outcome] = await provision()
        assert outcome.status == "created"
        [late] = simulator.preload("acme", [{"name": "Shop", "integration_type": "shopify"}])
        status, [looked, report], said = await clarus("report", journal, "--look")

        assert status == 1
        assert looked["status"] == "duplicated"
        assert (looked["id"], looked["others"]) == (outcome.id, [late.id])
        assert report["duplicated"] == report["total"] == 1
        assert said[0].startswith("Shop: duplicated")
        # It was written down.
        assert (await clarus("report", journal))[1] == [report]

    async def test_look_settles_what_was_in_flight(self, clarus, simulator, shops, journal):  # noqa: F811
        await clarus("provision", shops, "--journal", journal)
        with sqlite3.connect(journal) as database:
            database.execute("UPDATE records SET status = NULL, id = NULL WHERE key = 'shop-1'")
        database.close()
        status, [looked, report], _ = await clarus("report", journal, "--look")

        assert status == 0
        assert (looked["key"], looked["status"], looked["matched_by"]) == ("shop-1", "adopted", "name")
        assert (report["created"], report["adopted"]) == (2, 1)

    async def test_look_asks_nobody_where_nothing_was_in_doubt(self, clarus, simulator, shops, journal):  # noqa: F811
        await clarus("provision", shops, "--journal", journal)
        before = len(simulator.requests)
        status, [report], _ = await clarus("report", journal, "--look")

        assert (status, report["total"]) == (0, 3)
        assert len(simulator.requests) == before
