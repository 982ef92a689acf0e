"""``clarus provision --journal`` and ``clarus report``, in this process, against a simulator over real sockets."""

from __future__ import annotations

import sqlite3

import orjson
import pytest

from clarus_async import ClarusClient, NewIntegration, Timeouts
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.rows import Row
from clarus_async.simulator import Endpoint, Fault, FaultKind
from tests.cli.test_commands import clarus, environment, no_environment, simulator  # noqa: F401  fixtures


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
        assert [(result["status"], result["id"]) for result in results] == [("would_create", None)] * 3
        assert simulator.count(Endpoint.CREATE) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["shops.jsonl"]

    async def test_too_many_failures_end_it(self, clarus, simulator, shops):  # noqa: F811
        simulator.script(Endpoint.CREATE, *[Fault(FaultKind.ERROR_BEFORE, status=422)] * 3)
        status, results, said = await clarus("provision", shops, "--max-failures", "1", "--concurrency", "1")

        assert status == 1
        assert len(results) == 2
        assert said[-1] == (
            "clarus: error: provision: stopped when 2 had failed (--max-failures 1); the rest was not sent"
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
        status, outcomes, said = await clarus("report", journal)

        assert status == 1
        assert [outcome["status"] for outcome in outcomes] == ["created", "failed", "created"]
        assert said[0].startswith("shop-1: failed: POST /api/integrations: 422")
        assert " requests in 1 run, " in said[-1]
        assert said[-1].endswith("0 refused by the rate limit")
        _, [failed], _ = await clarus("report", journal, "--status", "failed", "--status", "in-flight")
        assert failed["key"] == "shop-1"

    async def test_it_needs_no_environment_and_no_resource(self, clarus, no_environment, tmp_path):  # noqa: F811
        file = JournalFile(tmp_path / "run.db", "acme", "https://clarus.test", "external_entities", "delete")
        file.open()
        file.write([Row(1, "a"), Row(1, "a", status="failed"), Row(2, "b"), Row(3, "c")])
        file.close()
        status, outcomes, _ = await clarus("report", str(file.path), "--status", "in-flight")

        assert (status, [outcome["key"] for outcome in outcomes]) == (1, ["b", "c"])
        assert {outcome["resource"] for outcome in outcomes} == {"external_entities"}

    async def test_records_of_a_later_release_are_refused(self, clarus, tmp_path):  # noqa: F811
        file = JournalFile(tmp_path / "run.db", "acme", "https://clarus.test", "gadgets")
        file.open()
        file.close()
        status, _, said = await clarus("report", str(file.path))

        assert (status, "its records are gadgets" in said[-1]) == (1, True)

    async def test_an_unknown_status_is_refused(self, clarus, journal):  # noqa: F811
        status, _, said = await clarus("report", journal, "--status", "conflicts")

        assert status == 2
        assert "must be one of created, adopted" in said[-1]

    async def test_many_are_written_as_they_are_read(self, clarus, tmp_path):  # noqa: F811
        file = JournalFile(tmp_path / "run.db", "acme", "https://clarus.test", "integrations")
        file.open()
        numbers = range(1, 2502)
        file.write([Row(n, f"k-{n}") for n in numbers] + [Row(n, f"k-{n}", status="created") for n in numbers])
        file.close()
        status, outcomes, _ = await clarus("report", str(file.path))

        assert (status, [outcome["key"] for outcome in outcomes]) == (0, [f"k-{n}" for n in numbers])

    async def test_a_page_is_written_in_the_place_of_results(self, clarus, simulator, shops, journal, tmp_path):  # noqa: F811
        await clarus("provision", shops, "--journal", journal)
        page = tmp_path / "report.html"
        for _ in range(2):
            assert (await clarus("report", journal, "--html", str(page)))[:2] == (0, [])
        assert b"3 records" in page.read_bytes()
        copy = tmp_path / "run.db"
        before = copy.read_bytes()
        status, _, said = await clarus("report", journal, "--html", journal)

        assert (status, copy.read_bytes()) == (2, before)
        assert "is there already, and is no report" in said[-1]
        status, _, said = await clarus("report", journal, "--html", str(tmp_path / "none" / "report.html"))

        assert status == 1
        assert "none/report.html: No such file or directory" in said[-1]

    async def test_it_counts_what_was_wrong_with_the_input_once(self, clarus, simulator, journal):  # noqa: F811
        new = NewIntegration(name="Shop", integration_type="shopify")
        async with ClarusClient("acme", simulator.credentials, base_url=simulator.url) as client:
            for _ in range(3):
                await client.integrations.provision([new, new], journal=journal)
        _, outcomes, _ = await clarus("report", journal)

        assert [outcome["status"] for outcome in outcomes] == ["created", "failed"]

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
        status, [looked], said = await clarus("report", journal, "--look")

        assert status == 1
        assert looked["status"] == "duplicated"
        assert (looked["id"], looked["others"]) == (outcome.id, [late.id])
        assert said[0].startswith("Shop: duplicated")
        # It was written down.
        [told] = (await clarus("report", journal))[1]
        assert told | {"matched_by": None} == looked | {"matched_by": None}

    async def test_look_settles_what_was_in_flight(self, clarus, simulator, shops, journal):  # noqa: F811
        await clarus("provision", shops, "--journal", journal)
        with sqlite3.connect(journal) as database:
            database.execute("UPDATE records SET status = NULL, id = NULL WHERE key = 'shop-1'")
        database.close()
        status, [looked], _ = await clarus("report", journal, "--look")

        assert status == 0
        assert (looked["key"], looked["status"], looked["matched_by"]) == ("shop-1", "adopted", "name")
        assert len((await clarus("report", journal, "--status", "created"))[1]) == 2

    async def test_look_asks_nobody_where_nothing_was_in_doubt(self, clarus, simulator, shops, journal):  # noqa: F811
        await clarus("provision", shops, "--journal", journal)
        before = len(simulator.requests)
        status, looked, _ = await clarus("report", journal, "--look")

        assert (status, looked) == (0, [])
        assert len(simulator.requests) == before
