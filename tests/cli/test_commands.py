"""The commands in this process, against a simulator over real sockets."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from types import SimpleNamespace

import orjson
import pytest

from clarus_async.cli import output, progress
from clarus_async.cli.commands import main
from clarus_async.errors import DeadlineExceededError
from clarus_async.simulator import Endpoint, FaultKind, Simulator
from tests.support.builders import environment_of

SECRET = "canary-3f9c"


@pytest.fixture
async def simulator():
    async with Simulator(tenants=("acme", "globex")) as simulator:
        yield simulator


@pytest.fixture
def environment(simulator, monkeypatch):
    for name, value in environment_of(simulator).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def clarus(environment, capfd, monkeypatch):
    """Run a command line in a thread; return its exit status, result objects and lines on standard error."""
    # Whether a line says how far a run has come depends on the time it takes.
    monkeypatch.setattr(progress, "_INTERVAL", float("inf"))

    async def run(*argv: str) -> tuple[int, list, list[str]]:
        status = await asyncio.to_thread(main, argv)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return status, [orjson.loads(line) for line in out.splitlines()], err.splitlines()

    return run


@pytest.fixture
def no_environment(monkeypatch):
    for name in ("SUBDOMAIN", "BASE_URL", "CLIENT_ID", "CLIENT_SECRET", "ACCESS_TOKEN", "REFRESH_TOKEN", "SCOPES"):
        monkeypatch.delenv(f"CLARUS_{name}", raising=False)


class TestUsage:
    @pytest.mark.parametrize(
        "command", ["", "provision", "list", "create", "update", "delete", "sync", "ping", "simulator"]
    )
    def test_help(self, command, capfd):
        assert main([*command.split(), "--help"]) == 0
        shown = capfd.readouterr().out
        assert "clarus" in shown
        assert all(len(line) <= 120 for line in shown.splitlines())

    def test_version(self, capfd):
        from clarus_async import __version__

        assert main(["--version"]) == 0
        assert capfd.readouterr().out == f"clarus {__version__}\n"

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "explode",
            "provision",
            "provision f.csv --concurrency 0",
            "provision f.csv --format xml",
            "provision f.csv --deadline -1",
            "provision f.csv --deadline nan",
            "update x",
            "update 1 --set name",
            "update 1 --set =x",
            "delete -1",
            "list --page-size 1001",
            "list --resource moons",
            "create --resource moons --name A",
            "provision f.csv --resource",
            "simulator --faults 1.5",
            "simulator --quota 0/1",
            "simulator --quota 10/0",
            "simulator --quota 10/1 --quota-also 0/1",
            "simulator --quota 10/1 --quota-block 0",
            "simulator --port 70000",
            "ping --client-secret x",
        ],
    )
    def test_a_wrong_command_line_is_2(self, line, capfd):
        assert main(line.split()) == 2

        out, err = capfd.readouterr()
        assert not out
        assert "Usage: clarus" in err or "--help shows what there is" in err

    def test_every_missing_variable_is_named_at_once(self, no_environment, capfd):
        assert main(["ping"]) == 2

        out, err = capfd.readouterr()
        assert not out
        [line] = err.splitlines()
        assert line.startswith("clarus: error: ")
        assert all(f"CLARUS_{name}" in line for name in ("SUBDOMAIN", "CLIENT_ID", "CLIENT_SECRET"))

    @pytest.mark.parametrize(
        "line",
        [
            "ping --subdomain Not_A_Label",
            "ping --base-url http://clarus.example",
            "list --name ",
            "create --name A",
            "create --name A --type t --account-id x",
            'create --name A --type t --json {"name":"B"}',
            "create --json {",
            "create --json []",
            'create --name A --type t --json {"string1":"B","string1":"B"}',
            'create --name A --type t --json {"configuration":{"a":1,"a":2}}',
            'create --name A --type t --json {"configuration":{"n":147573952589676412928}}',
            'update 1 --json {"configuration":{"n":0.1234567890123456789}}',
            'update 1 --json {"configuration":{"n":NaN}}',
            'create --name A --type t --json {"nmae":"B"}',
            "update 1",
            "update 1 --set nmae=A",
            "update 1 --set name=A --set name=B",
            "update 1 --set name=A --clear name",
            "update 1 --clear name",
            "update 1 --set is_active=perhaps",
            "update 1 --set configuration=x",
            "provision missing.csv",
            "provision .",
            "provision missing.csv --simulate --subdomain acme",
            "simulator --tenant a --tenant a",
            "simulator --quota 10/1 --quota-kind leaky",
            "simulator --quota 10/1 --quota-headers all",
            "simulator --quota 10/1 --quota-delay 1",
            "simulator --quota 10/1 --quota-status 418",
            "simulator --quota-kind nginx",
        ],
    )
    async def test_a_bad_value_is_2_and_one_line(self, line, clarus, simulator):
        status, results, said = await clarus(*line.split(" "))

        assert status == 2
        assert not results
        assert len(said) == 1
        assert said[0].startswith("clarus: error: ")
        assert not simulator.requests

    def test_the_entry_imports_nothing_but_the_package(self):
        code = (
            "import sys, clarus_async; before = set(sys.modules); import clarus_async.cli.commands;"
            "new = set(sys.modules) - before;"
            "print(*sorted(name for name in new if name.startswith(('clarus_async', 'rich', 'click'))))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert done.stdout.split() == [
            "clarus_async.cli", "clarus_async.cli.commands", "clarus_async.cli.streams",
        ]  # fmt: skip


class TestCommands:
    async def test_ping(self, clarus):
        status, [result], said = await clarus("ping")

        assert (status, said) == (0, [])
        assert result == {"subdomain": "acme", "ok": True, "seconds": result["seconds"]}

    async def test_create_sends_what_was_given_and_shows_no_configuration(self, clarus, simulator):
        status, [result], said = await clarus(
            *("create", "--name", "A", "--type", "shopify", "--inactive", "--account-id", "17", "--reference1", "r-1"),
            *("--json", orjson.dumps({"configuration": {"api_key": SECRET}, "string1": "x"}).decode()),
        )

        assert (status, said) == (0, [])
        [stored] = simulator.integrations("acme")
        assert result["id"] == stored.id
        assert result["is_active"] is False
        assert "configuration" not in result
        assert stored.attributes["configuration"] == {"api_key": SECRET}
        assert (stored.attributes["account_id"], stored.attributes["string1"]) == (17, "x")

    async def test_update_sets_and_clears(self, clarus, simulator):
        simulator.preload("acme", [{"name": "A", "integration_type": "t", "string1": "x", "string2": "y"}])
        [stored] = simulator.integrations("acme")
        status, [result], said = await clarus(
            *("update", str(stored.id), "--set", "name=B=C", "--set", "is_active=FALSE", "--clear", "string1"),
            *("--json", '{"string2": null, "configuration": {"k": 1}}'),
        )

        assert (status, said) == (0, [])
        [stored] = simulator.integrations("acme")
        assert result["name"] == stored.attributes["name"] == "B=C"
        assert orjson.loads(simulator.requests[-1].body)["data"]["attributes"] == {
            "name": "B=C",
            "is_active": False,
            "string1": None,
            "string2": None,
            "configuration": {"k": 1},
        }

    async def test_delete_and_sync(self, clarus, simulator):
        simulator.preload("acme", [{"name": "A", "integration_type": "t"}])
        [stored] = simulator.integrations("acme")

        assert await clarus("sync", str(stored.id)) == (0, [{"id": stored.id, "synchronizing": True}], [])
        assert len(simulator.syncs("acme")) == 1
        assert await clarus("delete", str(stored.id)) == (0, [{"id": stored.id, "deleted": True}], [])
        assert simulator.integrations("acme") == []

    async def test_a_failed_call_is_1_and_one_line(self, clarus):
        status, results, said = await clarus("delete", "999")

        assert (status, results) == (1, [])
        [line] = said
        assert line.startswith("clarus: error: DELETE /api/integrations/999: ")
        assert "nothing was applied" in line

    async def test_list_filters(self, clarus, simulator):
        simulator.preload(
            "acme",
            [
                {
                    "name": f"Shop {n}",
                    "integration_type": "t",
                    "provider": ("xero", "dhl", "ebay")[n % 3],
                    "is_active": n < 6,
                }
                for n in range(9)
            ],
        )

        status, rows, said = await clarus("list", "--page-size", "2")
        assert (status, len(rows), said) == (0, 9, [])
        assert set(rows[0]) >= {"id", "name", "provider", "integration_type", "status", "is_active", "created_at"}
        assert "extra" not in rows[0]
        _, rows, _ = await clarus("list", "--provider", "xero", "--provider", "dhl", "--active")
        assert [row["name"] for row in rows] == ["Shop 0", "Shop 1", "Shop 3", "Shop 4"]
        _, rows, _ = await clarus("list", "--name", "Shop 8", "--inactive")
        assert [row["name"] for row in rows] == ["Shop 8"]
        _, rows, _ = await clarus("list", "--name-contains", "shop", "--subdomain", "globex")
        assert rows == []

    async def test_twice_verbose_shows_where(self, environment, capfd):
        assert await asyncio.to_thread(main, ["delete", "999", "-vv"]) == 1

        err = capfd.readouterr().err
        assert err.count("Traceback (most recent call last)") == 1
        assert err.splitlines()[-1].startswith("clarus: error: DELETE")

    @pytest.mark.parametrize(
        ("argv", "variable", "said"),
        [
            (("ping",), "", 0), (("ping", "-v"), "", 0), (("ping", "-vv"), "", 2), (("ping",), "debug", 2),
            (("ping", "-v"), "debug", 0),
        ],
    )  # fmt: skip
    async def test_what_is_logged_is_said_as_it_is_asked_for(self, argv, variable, said, clarus, monkeypatch):
        monkeypatch.setenv("CLARUS_LOG", variable)
        status, _, lines = await clarus(*argv)

        assert status == 0
        assert len([line for line in lines if line.startswith("attempt 1 of")]) == min(said, 1)
        assert bool(lines) == bool(said)

    async def test_an_unknown_level_is_named(self, clarus, monkeypatch):
        monkeypatch.setenv("CLARUS_LOG", "loud")

        assert await clarus("ping") == (2, [], ["clarus: error: CLARUS_LOG: must be one of warning, info, debug"])

    async def test_what_is_not_ours_is_not_repeated(self, environment, monkeypatch, capfd):
        from clarus_async.client import ClarusClient

        async def ping(self):
            raise LookupError(SECRET)

        monkeypatch.setattr(ClarusClient, "ping", ping)

        assert await asyncio.to_thread(main, ["ping"]) == 1
        assert capfd.readouterr().err == "clarus: error: unexpected LookupError; -vv shows where\n"

    async def test_the_deadline_is_the_call_s(self, clarus, simulator):
        simulator.script(Endpoint.GRAPHQL, FaultKind.RATE_LIMITED, FaultKind.RATE_LIMITED)
        started_at = asyncio.get_running_loop().time()
        status, _, said = await clarus("ping", "--deadline", "0.001")

        assert status == 1
        assert len(said) == 1
        assert asyncio.get_running_loop().time() - started_at < 5


class TestProvision:
    @pytest.fixture
    def csv(self, tmp_path):
        def write(
            *rows: str, header: str = "name,integration_type,external_system_reference1,configuration.api_key"
        ) -> str:
            path = tmp_path / "shops.csv"
            path.write_text("\n".join([header, *rows]) + "\n")
            return str(path)

        return write

    async def test_each_record_has_an_outcome_and_the_summary_adds_up(self, clarus, simulator, csv):
        path = csv(*(f"Shop {n},shopify,r-{n},{SECRET}-{n}" for n in range(30)))
        status, outcomes, said = await clarus("provision", path, "--concurrency", "4")

        assert status == 0
        assert sorted(outcome["index"] for outcome in outcomes) == list(range(30))
        assert {outcome["status"] for outcome in outcomes} == {"created"}
        assert {outcome["id"] for outcome in outcomes} == {row.id for row in simulator.integrations("acme")}
        assert said[-2].split() == ["created", "30"]
        assert said[-1].split()[:2] == ["total", "30"]
        assert SECRET not in "".join([*said, repr(outcomes)])
        assert simulator.integrations("acme")[0].attributes["configuration"]["api_key"].startswith(SECRET)

    async def test_all_bad_rows_are_listed_and_nothing_is_sent(self, clarus, simulator, csv):
        path = csv("A,t,r-1,k", f",t,r-2,{SECRET}", "B,t,r-3,k", f"C,,r-4,{SECRET}", f"D,t,r-5,{SECRET},{SECRET}")
        status, outcomes, said = await clarus("provision", path)

        assert (status, outcomes) == (2, [])
        assert said == [
            "line 3: name: is required",
            "line 5: integration_type: is required",
            "line 6: column 5: the row has 5 cells, the header 4",
            f"clarus: error: {path}: 3 bad rows; nothing was sent",
        ]
        assert not simulator.requests

    async def test_a_name_that_would_drive_the_terminal_is_escaped_and_cut(self, clarus, tmp_path):
        path = tmp_path / "shops.jsonl"
        path.write_bytes(orjson.dumps({"name": "A", "integration_type": "t", "\x1b[2J\n" + "x" * 500: 1}))
        status, _, said = await clarus("provision", str(path))

        assert status == 2
        assert len(said) == 2
        assert said[0].startswith(r"line 1: \x1b[2J\nxxx")
        assert len(said[0]) < 200

    async def test_records_that_are_not_ok_have_a_line_each_and_twenty_are_shown(self, clarus, simulator, csv):
        simulator.script(Endpoint.CREATE, *[FaultKind.JSON_API_ERROR] * 25)
        path = csv(*(f"Shop {n},shopify,r-{n},{SECRET}-{n}" for n in range(30)))
        status, outcomes, said = await clarus("provision", path)

        assert status == 1
        failed = [outcome for outcome in outcomes if outcome["status"] == "failed"]
        assert (len(outcomes), len(failed)) == (30, 25)
        for line, outcome in zip(said, failed[:20], strict=False):
            assert line.startswith(f"line {outcome['index'] + 2}: r-{outcome['index']}: failed: POST /api/integrations")
        assert said[20] == "and 5 more"
        assert [line.split()[:2] for line in said[21:]] == [["created", "5"], ["failed", "25"], ["total", "30"]]
        assert SECRET not in "".join([*said, repr(outcomes)])

    async def test_a_lost_answer_is_looked_up_and_well(self, clarus, simulator, csv):
        simulator.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
        status, outcomes, said = await clarus("provision", csv("A,t,r-1,k", "B,t,r-2,k"))

        assert status == 0
        assert sorted(outcome["status"] for outcome in outcomes) == ["adopted", "created"]
        assert [line.split()[:2] for line in said[-3:]] == [["created", "1"], ["adopted", "1"], ["total", "2"]]

    async def test_an_unknown_outcome_is_1(self, clarus, simulator, csv):
        simulator.preload("acme", [{"name": "B", "integration_type": "t", "external_system_reference1": "r-2"}])
        simulator.script(Endpoint.UPDATE, *[FaultKind.RESET_AFTER] * 9)
        status, outcomes, said = await clarus("provision", csv("A,t,r-1,k", "B,t,r-2,k"), "--existing", "update")

        assert status == 1
        assert sorted(outcome["status"] for outcome in outcomes) == ["created", "unresolved"]
        assert [line.split()[:2] for line in said[-3:]] == [["created", "1"], ["unresolved", "1"], ["total", "2"]]

    async def test_what_would_fail_every_record_ends_the_run_with_all_accounted_for(self, clarus, simulator, csv):
        simulator.script(Endpoint.CREATE, *[FaultKind.FORBIDDEN] * 3)
        path = csv(*(f"Shop {n},shopify,r-{n},k" for n in range(30)))
        status, outcomes, said = await clarus("provision", path, "--concurrency", "2")

        assert status == 1
        assert said[-1].startswith("clarus: error: POST /api/integrations: ")
        assert said[-2].startswith("clarus: to go on, run the same command again")
        assert said[-3].split()[:2] == ["total", "30"]
        counts = {" ".join(words[:-1]): int(words[-1]) for line in said[-5:-3] if (words := line.split())}
        assert counts["not sent"] == 30 - len(outcomes) > 20

    async def test_a_redirect_is_2(self, clarus, simulator, csv):
        simulator.script(Endpoint.CREATE, FaultKind.REDIRECT)
        status, _, said = await clarus("provision", csv("A,t,r-1,k"))

        assert status == 2
        assert said[-1].startswith("clarus: error: ")

    async def test_json_lines_and_an_explicit_format(self, clarus, simulator, tmp_path):
        path = tmp_path / "shops.txt"
        path.write_text('\n{"name": "A", "integration_type": "t", "configuration": {"a": {"b": 1}}}\n')

        assert (await clarus("provision", str(path)))[0] == 0
        assert (await clarus("provision", str(path), "--format", "csv"))[0] == 2
        assert [row.attributes["configuration"] for row in simulator.integrations("acme")] == [{"a": {"b": 1}}]

    async def test_an_empty_input_is_well(self, clarus, csv):
        status, outcomes, said = await clarus("provision", csv())

        assert (status, outcomes) == (0, [])
        assert [line.split()[:2] for line in said] == [["total", "0"]]

    async def test_without_the_simulator_s_extra_the_trial_says_so(self, clarus, csv, monkeypatch):
        monkeypatch.delitem(sys.modules, "clarus_async.simulator.schema", raising=False)
        monkeypatch.setitem(sys.modules, "graphql", None)
        for command in (("provision", csv("A,t,r-1,k"), "--simulate"), ("simulator",)):
            status, _, said = await clarus(*command)

            assert status == 2
            assert len(said) == 1
            assert 'pip install "clarus-async[simulator]"' in said[0]


class TestDeliver:
    async def test_results_that_nobody_reads_stop_everything_when_the_time_is_up(self):
        stopped: list[str] = []

        def lose(_: bytes) -> None:
            raise BrokenPipeError

        async def work(results: output.Results) -> None:
            await results.write(b"x")
            await asyncio.sleep(30)

        view = SimpleNamespace(write_results=lose, say=stopped.append)
        with pytest.raises(BrokenPipeError):
            await output.deliver(lambda: stopped.append("intake"), view, 0.01, work, bytes)
        assert stopped == ["intake"]

    @pytest.mark.parametrize("error", [TimeoutError(), DeadlineExceededError("x"), asyncio.CancelledError()])
    async def test_what_the_work_raises_goes_on(self, error):
        async def work(_: output.Results) -> None:
            raise error

        view = SimpleNamespace(write_results=lambda _: None, say=lambda _: None)
        with pytest.raises(type(error)):
            await output.deliver(lambda: None, view, 10, work, bytes)


class TestResults:
    async def test_a_slow_reader_blocks_the_writer_and_nobody_else(self):
        reader = threading.Event()
        written: list[bytes] = []

        def write(line: bytes) -> None:
            reader.wait(10)
            written.append(line)

        results = output.Results(bytes, write)

        async def write_all() -> None:
            for n in range(1000):
                assert await results.write(str(n).encode())

        writing = asyncio.create_task(write_all())
        await asyncio.sleep(0.05)
        assert not writing.done()
        reader.set()
        await writing
        await results.close()
        assert b"".join(written) == b"".join(b"%d" % n for n in range(1000))

    async def test_closing_does_not_wait_for_ever(self):
        reader = threading.Event()
        results = output.Results(bytes, lambda _: reader.wait(10))
        await results.write(b"x")
        await asyncio.wait_for(results.close(within=0.01), 5)
        reader.set()

    async def test_what_keeps_lines_from_being_written_is_told(self):
        def write(_: bytes) -> None:
            raise BrokenPipeError

        results = output.Results(bytes, write)
        for _ in range(1000):
            await results.write(b"x")
        assert not await results.write(b"x")
        await results.close()
        assert isinstance(results.lost, BrokenPipeError)
