"""The canary outside of calls: the command line, its process, files, tasks, live objects, copies and warnings."""

from __future__ import annotations

import asyncio
import copy
import gc
import io
import os
import pickle
import sys
import traceback
import warnings
from pathlib import Path

import orjson
import pytest

from clarus_async import (
    AccessToken,
    AuthorizationCode,
    ClarusClient,
    ClarusError,
    ClientCredentials,
    NewIntegration,
    RefreshToken,
    Report,
    Token,
)
from clarus_async.cli.commands import main
from clarus_async.simulator import Endpoint, Fault, FaultKind
from clarus_async.simulator.faults import possible
from tests.secrets.test_calls import (
    BACK,
    CALLS,
    CHANGES,
    CONFIGURATION,
    HURRIED,
    NEW,
    SECRETS,
    CanarySimulator,
    Watch,
    faults_of,
    watched,
)
from tests.support.virtual import virtual
from tests.support.virtual_world import journals_inline

RECORD = {"name": "Shop", "integration_type": "shopify", "configuration": CONFIGURATION}
BAD = RECORD | {"account_id": "canary-number"}
FILES = {
    "good.jsonl": orjson.dumps(RECORD),
    "bad.jsonl": orjson.dumps(BAD) + b'\n{"configuration": {"api_key": "canary-cut',
    "good.csv": b"name,integration_type,configuration.api_key\nShop,shopify,canary-api-key\n",
    "bad.csv": b"name,integration_type,account_id,configuration.api_key\nShop,shopify,canary-1,canary-2\nx,y,1\n",
    "headless.csv": b"canary-name,canary-type,canary-key\nShop,shopify,canary-api-key\n",
    "open.csv": b'name,integration_type,configuration.api_key\nShop,shopify,"canary-api-key\n',
    "latin.csv": b"name,integration_type,configuration.api_key\nShop,shopify,canary-\xe9\n",
}
INPUT = orjson.dumps({"configuration": CONFIGURATION})
COMMANDS = {
    "provision": ["provision", "good.jsonl", "--journal", "run.db"],
    "provision csv": ["provision", "good.csv", "--existing", "update"],
    "dry run": ["provision", "good.jsonl", "--dry-run"],
    "create": ["create", "--name", "Shop", "--type", "shopify", "--json", "-"],
    "update": ["update", "1", "--json", "-"],
    "delete": ["delete", "1"],
    "sync": ["sync", "1"],
    "list": ["list"],
    "ping": ["ping"],
}
ENDPOINTS = {
    "provision": Endpoint.CREATE, "provision csv": Endpoint.CREATE, "create": Endpoint.CREATE,
    "update": Endpoint.UPDATE, "delete": Endpoint.DELETE, "sync": Endpoint.SYNCHRONIZE,
}  # fmt: skip
# What answers at once and echoes what it can, and what is not understood.
KINDS = [
    FaultKind.JSON_API_ERROR, FaultKind.UNAUTHORIZED, FaultKind.FORBIDDEN, FaultKind.REDIRECT, FaultKind.NOT_JSON,
    FaultKind.GRAPHQL_ERRORS,
]  # fmt: skip
# Nothing is read of it, and nothing is sent.
MISTAKES = [
    ["ping", "--client-secret", "canary-secret"],
    ["ping", "--client-secret=canary-secret"],
    ["ping", "canary-secret"],
    ["create", "--name", "A", "--type", "t", "--json", '{"configuration": {"api_key": "canary"'],
    ["create", "--name", "A", "--type", "t", "--json", '["canary"]'],
    ["create", "--name", "A", "--type", "t", "--json", '{"configuration": "canary"}'],
    ["update", "1", "--json", '{"configuration": "canary", "x": 1}'],
    ["update", "1", "--set", "configuration=canary"],
    ["update", "1", "--set", "=canary"],
    ["update", "1", "--set", "configuration.api_key=canary"],
    ["ping", "--deadline", "canary"],
    ["ping", "--base-url", "https://user:canary@clarus.test"],
    *(["provision", name] for name in FILES if name not in {"good.jsonl", "good.csv"}),
    ["report", "good.jsonl"],
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def give_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(INPUT)))


class TestTheCommandLine:
    @pytest.mark.parametrize("kind", [None, *KINDS], ids=str)
    async def test_says_no_secret_whatever_the_server_answers(self, kind, folder, monkeypatch, capfd):
        with Watch() as watch:
            async with CanarySimulator() as sim:
                sim.preload("acme", [{"name": "Old", "integration_type": "shopify"}])
                for name, value in sim.environment().items():
                    monkeypatch.setenv(name, value)
                failed = 0
                for name, argv in COMMANDS.items():
                    endpoint = ENDPOINTS.get(name, Endpoint.GRAPHQL)
                    if kind is not None and endpoint in possible(kind):
                        sim.script(endpoint, *[kind] * (2 if kind is FaultKind.UNAUTHORIZED else 1))
                    give_input(monkeypatch)
                    failed += await asyncio.to_thread(main, [*argv, "-vv", "--deadline", "2"]) != 0
                await asyncio.to_thread(main, ["report", "run.db", "--look"])
                out, err = capfd.readouterr()
                watch.check("standard output", out)
                watch.check("standard error", err)
                assert '"Shop"' in out
                # Where all is well, a synchronize finds that its record was deleted.
                assert failed >= 1

    @pytest.mark.parametrize("argv", MISTAKES, ids=" ".join)
    def test_repeats_nothing_that_was_given_by_mistake(self, argv, folder, monkeypatch, capfd):
        monkeypatch.setenv("CLARUS_SUBDOMAIN", "acme")
        monkeypatch.setenv("CLARUS_ACCESS_TOKEN", "canary-token")
        with Watch() as watch:
            assert main([*argv, "-vv"]) in {1, 2}
            out, err = capfd.readouterr()
            assert err
            watch.check("standard output", out)
            # A traceback shows the lines of the code, and never a value.
            watch.check("standard error", err)

    @pytest.mark.parametrize("command", ["", *dict.fromkeys(argv[0] for argv in COMMANDS.values()), "report"])
    def test_help_shows_nothing_of_the_environment(self, command, monkeypatch, capsys):
        for name in ("SUBDOMAIN", "CLIENT_ID", "CLIENT_SECRET", "ACCESS_TOKEN", "REFRESH_TOKEN", "SCOPES", "BASE_URL"):
            monkeypatch.setenv(f"CLARUS_{name}", "canary")
        assert main([*command.split(), "--help"]) == 0
        assert "canary" not in "".join(capsys.readouterr())

    async def test_its_process_shows_a_secret_only_where_it_was_given(self):
        """What it authenticates with is in its environment, which is its user's alone to read; else there is none."""
        command = [sys.executable, "-X", "dev", "-m", "clarus_async", *COMMANDS["create"], "-vv"]
        async with CanarySimulator() as sim:
            sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_BEFORE, delay=30.0))
            env = {name: value for name, value in os.environ.items() if not name.startswith("CLARUS_")}
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(
                *command, "--deadline", "3", env=env | sim.environment(), stdin=pipe, stdout=pipe, stderr=pipe
            )
            process.stdin.write(INPUT)
            process.stdin.close()
            async with asyncio.timeout(60):
                while not sim.count(Endpoint.CREATE):  # noqa: ASYNC110  another process fulfils it
                    await asyncio.sleep(0.01)
            proc = Path(f"/proc/{process.pid}")
            if sys.platform == "linux":
                seen = {name: (proc / name).read_bytes().decode() for name in ("cmdline", "environ", "comm")}
                assert "CLARUS_CLIENT_SECRET=canary-client-secret" in seen["environ"]
                assert (proc / "environ").stat().st_mode & 0o077 == 0
                left = seen["environ"].replace("canary-client-secret", "")
                assert not [secret for secret in SECRETS if secret in left + seen["cmdline"] + seen["comm"]]
            out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 1
        assert b"Traceback" in err
        assert not [secret for secret in SECRETS if secret.encode() in out + err]


class TestFiles:
    @pytest.mark.parametrize("kind", [kind for kind in FaultKind if Endpoint.CREATE in possible(kind)], ids=str)
    @virtual
    async def test_a_journal_and_a_report_hold_no_secret(self, kind, tmp_path):
        def look():
            for file in tmp_path.iterdir():
                watch.check(file.name, file.read_bytes().decode("latin-1"))

        with journals_inline():
            async with watched(timeouts=HURRIED) as (watch, sim, clarus):
                sim.script(Endpoint.CREATE, *faults_of(kind, Endpoint.CREATE)[:2])
                news = [NewIntegration(name=f"Shop {n}", integration_type="x", configuration=CONFIGURATION)
                        for n in range(3)]  # fmt: skip
                for existing in ("ignore", "update"):
                    report = Report()
                    try:
                        provision = clarus.integrations.provision(news, journal=tmp_path / "run.db", existing=existing)
                        async with provision as run_:
                            async for outcome in run_:
                                report.add(outcome)
                                watch.check("an outcome", outcome.to_json().decode() + repr(outcome))
                                look()
                    except ClarusError as error:
                        watch.check_error(error)
                    look()
                    watch.check("a report", f"{report.to_json()!r} {report}")
                async for outcome in clarus.integrations.review(tmp_path / "run.db"):
                    watch.check("a reviewed outcome", outcome.to_json().decode())
                look()


def live():
    """Everything of ours that is alive, but for classes."""

    def of(thing):
        # Of a class with slots it may be what reads a slot.
        return str(type(thing).__module__)

    return [
        thing for thing in gc.get_objects()
        if of(thing).startswith("clarus_async") and not of(thing).startswith("clarus_async.simulator")
        and not isinstance(thing, type)
    ]  # fmt: skip


async def provisioned(clarus):
    async with clarus.integrations.provision([NEW]) as provision:
        return [outcome async for outcome in provision]


class TestWhileACallIsUnderWay:
    @pytest.mark.parametrize("call", ["create", "update", "graphql", "provision"])
    @pytest.mark.parametrize("waits_for", ["its answer", "a token"])
    @virtual
    async def test_tasks_and_live_objects_show_no_secret(self, call, waits_for):
        async with watched() as (watch, sim, clarus):
            endpoint = Endpoint.TOKEN
            if waits_for == "its answer":
                endpoint = ENDPOINTS.get(call, Endpoint.GRAPHQL)
                await clarus.ping()
            sim.script(endpoint, Fault(FaultKind.STALL_BEFORE, delay=20.0))
            task = asyncio.ensure_future((CALLS | {"provision": provisioned})[call](clarus))
            await asyncio.sleep(3.0)
            assert sim.requests[-1].endpoint is endpoint
            assert not task.done()
            for each in asyncio.all_tasks():
                if each is asyncio.current_task() or "simulator" in repr(each):
                    continue
                watch.check("a task", f"{each!r} {each.get_name()} {each.get_coro()!r}")
                said = io.StringIO()
                each.print_stack(file=said)
                watch.check("a task's stack", said.getvalue())
            things = live()
            assert len(things) > 20
            for thing in things:
                watch.check(
                    f"a {type(thing).__qualname__}",
                    f"{thing!r} {thing}" if _has_own_str(thing) else repr(thing),
                )
            task.cancel()
            await asyncio.wait([task])


def _has_own_str(thing):
    return type(thing).__str__ is not object.__str__ and not isinstance(thing, tuple)


class TestCopies:
    @pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))],
                             ids=["copy", "deepcopy", "pickle"])  # fmt: skip
    def test_of_what_holds_one_are_refused_or_show_as_little(self, how):
        client = ClarusClient("acme", ClientCredentials("id", "canary"))
        shown = 0
        run = client.integrations.provision([NEW])
        run.stop()
        with Watch() as watch:
            for thing in (
                ClientCredentials("id", "canary"), RefreshToken("id", "canary", "canary"), AccessToken("canary"),
                Token("canary"), AuthorizationCode("id", "canary", BACK), NEW, CHANGES, client, client.integrations,
                client.for_subdomain("globex"), run,
            ):  # fmt: skip
                try:
                    made = how(thing)
                except TypeError as error:
                    watch.check("a refusal", "".join(traceback.format_exception(error)))
                    continue
                shown += 1
                watch.check("a copy", f"{made!r} {made}")
        # The records are the caller's own, and travel.
        assert shown >= 2


class TestWarnings:
    async def test_of_a_client_that_nobody_closed(self):
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        with Watch() as watch:
            async with CanarySimulator() as sim:
                clarus = ClarusClient("acme", sim.credentials, base_url=sim.url, observer=watch)
                await CALLS["create"](clarus)
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    del clarus
                    for _ in range(3):
                        gc.collect()
                        await asyncio.sleep(0)
                assert caught
                for one in caught:
                    watch.check("a warning", f"{one} {one.message!r} {one.source!r}")
                for context in told:
                    watch.check("what a loop tells", repr(context))
