"""The command line as a process of its own: pipes, signals, exit statuses."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import orjson
import pytest

import clarus_async
from clarus_async import ClarusClient, ClientCredentials
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support import builders
from tests.support import forked as forked_module
from tests.support.builders import environment_of

SECRET = "canary-3f9c"
SAMPLE = Path(clarus_async.__file__).parent / "cli" / "sample.csv"
FORKED = Path(forked_module.__file__)
PATIENCE = 30.0
"""Seconds that a process may take to start and to do what is asked of it; none that works needs them."""
until = functools.partial(builders.until, pause=0.01)  # another process fulfils the condition
BARE = {name: value for name, value in os.environ.items() if not name.startswith("CLARUS_")}


@pytest.fixture(scope="module", autouse=True)
def sample_run(tmp_path_factory):
    """The longest run of all, mostly a wait for its quota: it goes on while the other tests run."""
    said = tmp_path_factory.mktemp("sample")
    with (said / "out").open("wb") as out, (said / "err").open("wb") as err:
        run = subprocess.Popen(
            [sys.executable, "-m", "clarus_async", "provision", str(SAMPLE), "--simulate"],
            env=BARE | {"PYTHONWARNINGS": "error"}, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip

    def ended():
        status = run.wait(PATIENCE)
        results = [orjson.loads(line) for line in (said / "out").read_bytes().splitlines()]
        return status, results, (said / "err").read_text().splitlines()

    with run:
        yield ended
        run.kill()


@pytest.fixture(scope="module", autouse=True)
def forks(tmp_path_factory):
    """Wait for a process that forks off the command, which takes a while to start, and return its socket."""
    path = str(tmp_path_factory.mktemp("forked") / "socket")
    command = [sys.executable, "-W", "error", str(FORKED), "serve", path]
    with subprocess.Popen(command, env=BARE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as server:

        @functools.cache
        def ready():
            server.stdout.readline()
            return path

        yield ready
        server.kill()


@pytest.fixture
async def simulator():
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def start(simulator, forks):
    """Start ``python -m clarus_async``, or a fork that is as good; whatever still runs in the end is killed."""
    environment = BARE | environment_of(simulator) | {"PYTHONWARNINGS": "error"}
    started: list[asyncio.subprocess.Process] = []

    async def start(
        *argv: str, env: dict[str, str] = environment, forked: bool = True, **pipes
    ) -> asyncio.subprocess.Process:
        streams = {
            "stdin": asyncio.subprocess.PIPE,
            "stdout": asyncio.subprocess.PIPE,
            "stderr": asyncio.subprocess.PIPE,
        }
        command = ["-I", "-S", str(FORKED), forks()] if forked else ["-m", "clarus_async"]
        process = await asyncio.create_subprocess_exec(sys.executable, *command, *argv, env=env, **streams | pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def finish(process, content: bytes = b"") -> tuple[int, list, list[str]]:
    out, err = await asyncio.wait_for(process.communicate(content if process.stdin else None), PATIENCE)
    assert b"Traceback" not in err
    return process.returncode, [orjson.loads(line) for line in (out or b"").splitlines()], lines_of(err)


def lines_of(err: bytes) -> list[str]:
    """What was said on standard error, but for how far a run has come, which depends on the time it takes."""
    return [
        line
        for line in err.decode().splitlines()
        if not re.match(r"clarus: [\d,]+( of [\d,]+)? (done|rows checked)", line)
    ]


async def next_line(process) -> str:
    """Wait for the next line on standard error of that kind."""
    while True:
        line = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
        if not line or lines_of(line):
            return line.decode()


@pytest.fixture
def records_file(tmp_path):
    """Write a file of so many records, and return its name."""

    def write(count: int) -> str:
        path = tmp_path / "shops.jsonl"
        path.write_bytes(b"".join(map(record, range(count))))
        return str(path)

    return write


def record(n: int) -> bytes:
    return orjson.dumps({
        "name": f"Shop {n}", "integration_type": "t", "external_system_reference1": f"r-{n}",
        "configuration": {"api_key": SECRET},
    }) + b"\n"  # fmt: skip


class TestStandardInput:
    async def test_each_row_is_sent_as_it_comes(self, start, simulator):
        process = await start("provision", "-", forked=False)
        process.stdin.write(record(0))
        first = orjson.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
        assert (first["key"], first["status"]) == ("r-0", "created")
        assert process.returncode is None

        process.stdin.write(b'{"name": "' + SECRET.encode() + b'"}\n')
        assert await next_line(process) == "line 2: integration_type: is required\n"
        status, outcomes, said = await finish(process, b"\n" + record(1))

        assert status == 1
        assert [outcome["key"] for outcome in outcomes] == ["r-1"]
        assert [line.split()[-2:] if "rows" in line else line.split()[:2] for line in said] == [
            ["created", "2"],
            ["rows", "1"],
            ["total", "3"],
        ]
        assert len(simulator.integrations("acme")) == 2

    async def test_a_header_that_can_not_be_used_is_2(self, start, simulator):
        status, outcomes, said = await finish(await start("provision", "-"), b"name,type\nA,t\n")

        assert (status, outcomes) == (2, [])
        assert said[0].startswith("line 1: type: is no attribute of an integration")
        assert not simulator.count(Endpoint.CREATE)

    async def test_what_is_typed_ends_at_the_first_end_of_file(self, start, simulator):
        keyboard, terminal = os.openpty()
        process = await start("provision", "-", stdin=terminal)
        os.close(terminal)
        os.write(keyboard, record(0) + b"\x04")
        status, outcomes, _ = await finish(process)
        os.close(keyboard)

        assert (status, [outcome["key"] for outcome in outcomes]) == (0, ["r-0"])

    async def test_a_file_is_checked_from_where_it_stands(self, start, simulator, tmp_path):
        path = tmp_path / "shops.jsonl"
        path.write_bytes(b"a line for somebody else\n" + record(0) + record(1)[:-2] + b"\n")
        with path.open("rb", buffering=0) as stream:
            stream.seek(25)
            status, outcomes, said = await finish(await start("provision", "-", stdin=stream.fileno()))

        assert (status, outcomes) == (2, [])
        assert said[0].startswith("line 2: is not JSON")
        assert said[-1] == "clarus: error: standard input: 1 bad row; nothing was sent"
        assert not simulator.count(Endpoint.CREATE)

    async def test_secrets_come_as_json_and_stay_inside(self, start, simulator):
        process = await start("create", "--name", "A", "--type", "t", "--json", "-")
        content = orjson.dumps({"configuration": {"api_key": SECRET}})
        status, [result], said = await finish(process, content)

        assert (status, said) == (0, [])
        assert SECRET not in repr(result)
        assert simulator.integrations("acme")[0].attributes["configuration"] == {"api_key": SECRET}

    async def test_a_pipe_is_read_once(self, start, simulator):
        # Not the event loop's own, which may be a socket that can't be opened by its name.
        reading, writing = os.pipe()
        os.write(writing, record(0) + record(1))
        os.close(writing)
        process = await start("provision", "/dev/stdin", stdin=reading)
        os.close(reading)

        status, outcomes, _ = await finish(process)

        assert status == 0
        assert len(outcomes) == 2

    async def test_a_failure_of_all_ends_a_run_whose_input_is_silent(self, start, simulator):
        simulator.script(Endpoint.CREATE, FaultKind.FORBIDDEN)
        process = await start("provision", "-")
        process.stdin.write(record(0))
        await process.stdin.drain()
        err = await asyncio.wait_for(process.stderr.read(), PATIENCE)

        assert await process.wait() == 1
        assert lines_of(err)[-1].startswith("clarus: error: POST /api/integrations")


class TestSignals:
    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    async def test_the_first_lets_finish_what_is_in_flight(self, start, simulator, signum):
        simulator.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=0.3))
        process = await start("provision", "-", forked=signum == signal.SIGTERM)
        process.stdin.write(record(0))
        await until(lambda: simulator.count(Endpoint.CREATE))
        process.send_signal(signum)
        out, err = await asyncio.wait_for(asyncio.gather(process.stdout.read(), process.stderr.read()), PATIENCE)

        assert await process.wait() == 128 + signum
        assert orjson.loads(out)["status"] == "adopted"
        said = lines_of(err)
        assert said[0].startswith("clarus: stopping")
        assert [line.split()[:2] for line in said[-2:]] == [["adopted", "1"], ["total", "1"]]

    async def test_the_second_stops_at_once(self, start, simulator):
        simulator.script(Endpoint.CREATE, Fault(FaultKind.STALL_BEFORE, delay=60.0))
        process = await start("provision", "-")
        process.stdin.write(record(0))
        await until(lambda: simulator.count(Endpoint.CREATE))
        process.send_signal(signal.SIGINT)
        assert (await next_line(process)).startswith("clarus: stopping")
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(asyncio.gather(process.stdout.read(), process.stderr.read()), PATIENCE)

        assert await process.wait() == 130
        assert out == b""
        *counts, how_to_go_on = lines_of(err)
        assert [line.split()[:2] for line in counts] == [["unfinished", "1"], ["total", "1"]]
        assert how_to_go_on.startswith("clarus: to go on, run the same command again")

    async def test_records_that_were_not_sent_are_counted(self, start, simulator, records_file):
        simulator.set_faults([Fault(FaultKind.STALL_AFTER, endpoint=Endpoint.CREATE, delay=0.25)])
        path = records_file(100)
        process = await start("provision", path, "--concurrency", "4")
        await until(lambda: simulator.count(Endpoint.CREATE) >= 4)
        process.send_signal(signal.SIGINT)
        status, outcomes, said = await finish(process)

        assert status == 130
        assert len(outcomes) == simulator.count(Endpoint.CREATE) < 20
        assert [line.split()[-1] for line in said if line.startswith("not sent")] == [str(100 - len(outcomes))]
        assert said[-2].split()[:2] == ["total", "100"]
        assert said[-1].startswith("clarus: to go on, run the same command again")

    async def test_a_silent_input_does_not_keep_it_from_stopping(self, start, simulator):
        process = await start("provision", "-")
        process.stdin.write(record(0))
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        err = await asyncio.wait_for(process.stderr.read(), PATIENCE)

        assert await process.wait() == 130
        assert lines_of(err)[-1].split()[:2] == ["total", "1"]

    async def test_a_command_that_is_interrupted_says_nothing(self, start, simulator):
        simulator.script(Endpoint.GRAPHQL, Fault(FaultKind.STALL_BEFORE, delay=60.0))
        process = await start("list")
        await until(lambda: simulator.count(Endpoint.GRAPHQL))
        process.send_signal(signal.SIGINT)

        assert await finish(process) == (130, [], [])


class TestReaderGone:
    async def test_a_list_ends_quietly(self, start, simulator):
        simulator.preload("acme", [{"name": f"Shop {n}", "integration_type": "t"} for n in range(3000)])
        read, write = os.pipe()
        process = await start("list", stdout=write)
        os.close(write)
        first = await asyncio.to_thread(os.read, read, 100)
        os.close(read)

        assert first.startswith(b'{"id":')
        assert await finish(process) == (141, [], [])

    async def test_a_run_stops_and_accounts_for_what_it_did(self, start, simulator):
        read, write = os.pipe()
        process = await start("provision", "-", "--concurrency", "2", stdout=write)
        os.close(write)
        process.stdin.write(record(0))
        await asyncio.to_thread(os.read, read, 1)
        os.close(read)
        process.stdin.write(record(1))
        err = await asyncio.wait_for(process.stderr.read(), PATIENCE)

        assert await process.wait() == 141
        assert b"Traceback" not in err
        [created, total, how_to_go_on] = lines_of(err)
        assert created.split()[1] == total.split()[1] == str(len(simulator.integrations("acme")))
        assert how_to_go_on.startswith("clarus: to go on, run the same command again")


class TestSimulator:
    async def test_it_serves_what_it_prints_until_it_is_told_to_end(self, start):
        process = await start(
            *("simulator", "--tenant", "north", "--tenant", "south", "--quota", "1000/10", "--seed", "3"),
            env=BARE,
        )
        about = orjson.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
        assert about["tenants"] == ["north", "south"]
        credentials = ClientCredentials(about["client_id"], about["client_secret"])
        async with ClarusClient("south", credentials, base_url=about["url"]) as client:
            await client.ping()
        hint = await next_line(process)
        assert f"CLARUS_BASE_URL={about['url']}" in hint
        assert "CLARUS_CLIENT_SECRET=" in await next_line(process)

        taken = await start("simulator", "--port", about["url"].rpartition(":")[2], env=BARE)
        status, results, said = await finish(taken)
        assert (status, results, len(said)) == (2, [], 1)
        assert said[0].startswith("clarus: error: ")

        process.send_signal(signal.SIGTERM)
        assert await finish(process) == (0, [], [])

    async def test_its_quota_is_the_limiter_that_was_asked_for(self, start):
        process = await start(
            *("simulator", "--quota", "1/60", "--quota-kind", "nginx", "--quota-burst", "0", "--quota-headers", "none"),
            *("--quota-status", "503", "--quota-also", "10/60"),
            env=BARE,
        )
        about = orjson.loads(await asyncio.wait_for(process.stdout.readline(), 10))
        async with aiohttp.ClientSession(about["url"]) as session:
            form = {name: about[name] for name in ("client_id", "client_secret")} | {"grant_type": "client_credentials"}
            async with session.post("/oauth/token", data=form) as answer:
                token = (await answer.json())["access_token"]
            asked = {"Authorization": f"Bearer {token}", "X-Clarus-Subdomain": "acme"}
            statuses = []
            for _ in range(2):
                async with session.post("/graphql", json={"query": "{ __typename }"}, headers=asked) as answer:
                    statuses.append(answer.status)

        assert statuses == [200, 503]
        process.send_signal(signal.SIGTERM)
        assert (await finish(process))[0] == 0

    async def test_its_faults_are_met_by_the_share_that_was_asked_for(self, start):
        process = await start("simulator", "--faults", "1", env=BARE)
        about = orjson.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
        environment = BARE | {
            "CLARUS_SUBDOMAIN": "acme", "CLARUS_BASE_URL": about["url"],
            "CLARUS_CLIENT_ID": about["client_id"], "CLARUS_CLIENT_SECRET": about["client_secret"],
        }  # fmt: skip
        status, results, said = await finish(await start("ping", "--deadline", "0.3", env=environment))

        assert (status, results, len(said)) == (1, [], 1)
        process.send_signal(signal.SIGINT)
        assert (await finish(process))[0] == 0


def test_the_sample_is_provisioned_against_a_quota_and_faults(sample_run):
    status, outcomes, said = sample_run()

    assert status == 0
    assert sorted(outcome["index"] for outcome in outcomes) == list(range(200))
    # What its answer was lost of is found.
    assert {outcome["status"] for outcome in outcomes} == {"created", "adopted"}
    assert len({outcome["id"] for outcome in outcomes}) == 200
    assert max(outcome["attempts"] for outcome in outcomes) > 1
    assert any("in doubt until" in line for line in said)
    assert said[-1].split()[:2] == ["total", "200"]
