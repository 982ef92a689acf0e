"""``clarus delete``, ``update`` and ``sync`` with ``--from``, and ``clarus undo``, which ask first as these do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import sys

import orjson
import pytest

from clarus_async import NewExternalEntity
from clarus_async.cli import progress
from clarus_async.cli.commands import main
from clarus_async.simulator import Endpoint, FaultKind, Simulator
from tests.support.builders import client_of, environment_of, outcomes_of, shops

PATIENCE = 30.0


@pytest.fixture
async def simulator():
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
def clarus(simulator, capfd, monkeypatch):
    """Run a command line in a thread; return its exit status, results and lines on standard error."""
    monkeypatch.setattr(progress, "_INTERVAL", float("inf"))
    for name, value in environment_of(simulator).items():
        monkeypatch.setenv(name, value)

    async def run(*argv):
        status = await asyncio.to_thread(main, [str(word) for word in argv])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if " done, " not in line]
        return status, [orjson.loads(line) for line in out.splitlines() if line.startswith("{")], lines

    return run


@pytest.fixture
def ids(simulator):
    stored = [{"name": f"Shop {n}", "integration_type": "shopify"} for n in range(10)]
    return [record.id for record in simulator.preload("acme", stored)]


@pytest.fixture
def file(tmp_path):
    def write(*lines):
        path = tmp_path / "input.csv"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


def left(simulator):
    return [record.id for record in simulator.integrations("acme")]


async def test_it_deletes_what_a_file_names(clarus, simulator, ids, file):
    status, results, lines = await clarus("delete", "--from", file("id", *ids[:4], 999), "--yes")
    assert status == 1
    assert {(r["id"], r["status"]) for r in results} == {*((i, "deleted") for i in ids[:4]), (999, "failed")}
    assert left(simulator) == ids[4:]
    assert lines[0] == "clarus: delete 5 integrations in tenant acme"
    assert lines[1].startswith("line 6: 999: failed: DELETE /api/integrations/999: 404")


async def test_it_changes_what_a_file_says(clarus, simulator, ids, file):
    rows = [f"{ids[0]},New,true,", rf"{ids[1]},,false,\N"]
    status, results, _ = await clarus("update", "--from", file("id,name,is_active,string1", *rows), "--yes")
    assert (status, {r["status"] for r in results}) == (0, {"updated"})
    there = [record.attributes for record in simulator.integrations("acme")]
    assert [(a["name"], a["is_active"]) for a in there[:2]] == [("New", True), ("Shop 1", False)]
    assert simulator.count(Endpoint.UPDATE) == 2


@pytest.mark.parametrize("output", ["csv", "jsonl"])
async def test_what_clarus_lists_can_be_synchronized(clarus, simulator, ids, tmp_path, capfd, output):
    path = tmp_path / f"listed.{output}"
    assert await asyncio.to_thread(main, ["list", "--output", output]) == 0
    path.write_text(capfd.readouterr().out)
    status, results, _ = await clarus("sync", "--from", path, "--yes", "--journal", tmp_path / "sync.db")
    assert (status, {r["status"] for r in results}) == (0, {"synchronized"})
    # The same again: the journal has all of it.
    status, results, _ = await clarus("sync", "--from", path, "--yes", "--journal", tmp_path / "sync.db")
    assert (status, len(results)) == (0, 10)
    assert sorted(i for i, _ in simulator.syncs("acme")) == ids


async def test_outcomes_are_an_input_too(clarus, simulator, tmp_path):
    async with client_of(simulator) as client:
        outcomes = await outcomes_of(client.integrations.provision(shops(5)))
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(b"".join(outcome.to_json() + b"\n" for outcome in outcomes))
    status, results, _ = await clarus("delete", "--from", path, "--yes")
    assert (status, len(results), left(simulator)) == (0, 5, [])


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["delete", "17", "--from", "FILE"], "--from: what is to be done is in the file: leave an ID out"),
        (["update", "--from", "FILE", "--set", "name=x", "--clear", "string1"], "leave --set and --clear out"),
        (["delete", "--from", "FILE"], "delete 2 integrations in tenant acme: there is no terminal to ask at"),
        (["sync", "--from", "FILE", "--resource", "external_entities"], "no such operation for external_entities"),
        (["delete"], "takes the ID of a record, or --from FILE"),
    ],
)  # fmt: skip
async def test_usage(clarus, simulator, ids, file, argv, reason):
    path = file("id", *ids[:2])
    status, results, lines = await clarus(*(path if word == "FILE" else word for word in argv))
    assert (status, results) == (2, [])
    assert reason in lines[-1]
    assert simulator.count() == 0


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["id", "{0}", "{0}"], "is the same as on line 2"),
        (["id", "{0}", "x"], "line 3"),
        (["name", "Shop"], "id"),
    ],
)
async def test_a_bad_row_keeps_all_from_being_sent(clarus, simulator, ids, file, lines, reason):
    path = file(*(line.format(ids[0]) for line in lines))
    status, results, said = await clarus("delete", "--from", path, "--yes")
    assert (status, results) == (2, [])
    assert any(reason in line for line in said)
    assert "nothing was sent" in said[-1]
    assert simulator.count() == 0


@pytest.mark.parametrize("command", ["delete", "sync"])
async def test_a_dry_run_sends_nothing(clarus, simulator, ids, file, command):
    status, results, lines = await clarus(command, "--from", file("id", *ids), "--dry-run")
    assert (status, results) == (0, [])
    assert lines == [f"clarus: would {command} 10 integrations in tenant acme; a dry run sends nothing"]
    assert simulator.count() == 0


class TestUndo:
    @pytest.fixture
    async def journal(self, simulator, tmp_path, ids):
        async with client_of(simulator) as client:
            await outcomes_of(client.integrations.provision(shops(20), journal=tmp_path / "run.db"))
        return tmp_path / "run.db"

    async def test_it_says_what_it_does(self, clarus, simulator, journal, ids):
        said = f"{journal} created 10 integrations in tenant acme (there before and left alone: 10): "
        status, results, lines = await clarus("undo", journal)
        assert (status, results) == (2, [])
        assert lines == [
            f"clarus: error: {said}disable them: there is no terminal to ask at; --yes does it without asking"
        ]
        status, results, lines = await clarus("undo", journal, "--dry-run", "--delete")
        assert (status, results) == (0, [])
        assert lines == [f"clarus: {said}would delete them; a dry run sends nothing"]
        status, results, lines = await clarus("undo", journal, "--yes")
        assert (status, {r["status"] for r in results}) == (0, {"disabled"})
        assert lines[0] == f"clarus: {said}disable them"
        status, _, lines = await clarus("undo", journal, "--yes")
        assert status == 0
        assert lines[0].endswith("disabled already: 10): there is nothing to undo")
        status, results, lines = await clarus("undo", journal, "--yes", "--delete")
        assert (status, len(results), left(simulator)) == (0, 10, ids)
        status, results, lines = await clarus("undo", journal, "--yes", "--delete")
        assert lines[0].endswith("deleted already: 10): there is nothing to undo")

    async def test_a_failure_is_told_and_the_same_command_goes_on(self, clarus, simulator, journal, ids):
        simulator.script(Endpoint.DELETE, None, FaultKind.JSON_API_ERROR)
        status, results, _ = await clarus("undo", journal, "--yes", "--delete")
        assert status == 1
        assert sorted(r["status"] for r in results) == ["deleted"] * 9 + ["failed"]
        status, results, lines = await clarus("undo", journal, "--yes", "--delete")
        assert (status, len(results), left(simulator)) == (0, 1, ids)
        assert "created 1 integration in tenant acme (" in lines[0]
        assert lines[0].endswith(": delete it")

    async def test_a_resource_that_has_no_way(self, clarus, simulator, tmp_path):
        new = NewExternalEntity(entity_type="product", code="1", external_system_reference1="1")
        async with client_of(simulator) as client:
            await outcomes_of(client.external_entities.provision([new], journal=tmp_path / "run.db"))
        status, _, lines = await clarus("undo", tmp_path / "run.db", "--resource", "external_entities", "--yes")
        assert (status, lines) == (
            2,
            ["clarus: error: undo: the API has no way to disable or delete external entities"],
        )
        status, _, lines = await clarus("undo", tmp_path / "run.db", "--yes")
        assert status == 1
        assert "its resource is external_entities, this one's integrations" in lines[-1]


@contextlib.asynccontextmanager
async def at_a_terminal(simulator, *argv):
    """Run a command whose standard input and error are a terminal; yield it, and what types and reads there."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLARUS_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "clarus_async", *map(str, argv),
        env=environment | environment_of(simulator) | {"TERM": "dumb"},
        stdin=theirs, stdout=asyncio.subprocess.PIPE, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
    )
    try:
        yield process, ours, reader
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
        transport.close()


@pytest.mark.parametrize(
    ("typed", "status"), [(b"y\n", 0), (b"YES\n", 0), (b"\n", 1), (b"n\n", 1), (b"\x04", 1), (signal.SIGINT, 130)]
)
async def test_it_asks_at_a_terminal(simulator, ids, file, typed, status):
    async with at_a_terminal(simulator, "delete", "--from", file("id", *ids[:3])) as (process, terminal, reader):
        async with asyncio.timeout(PATIENCE):
            question = await reader.readuntil(b"? [y/N] ")
            assert question == b"clarus: delete 3 integrations in tenant acme? [y/N] "
            assert simulator.count() == 0
            if isinstance(typed, bytes):
                os.write(terminal, typed)
            else:
                process.send_signal(typed)
            out, _ = await process.communicate()
    assert process.returncode == status
    assert len(out.splitlines()) == (3 if status == 0 else 0)
    assert left(simulator) == (ids[3:] if status == 0 else ids)
