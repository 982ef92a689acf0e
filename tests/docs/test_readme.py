"""The examples in the README and in the chapters work as printed."""

import ast
import asyncio
import functools
import importlib.util
import inspect
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib

import aiohttp
import pytest

import clarus_async
from clarus_async.cli.commands import parse
from tests.support.readme import BLOCKS, CHAPTERS, DOCUMENTS, README, ROOT, SERVICES, blocks
from tests.support.web import within

TESTS = [block for block in BLOCKS if "def test_" in block]
TYPED = [block for block in BLOCKS if "temporalio" in block or "taskiq" in block]
PROGRAMS = [block for block in BLOCKS if "\nasyncio.run(" in block]
SCRIPTS = [block for block in BLOCKS if block not in [*TESTS, *TYPED, *PROGRAMS, *SERVICES.values()]]
COMMANDS = [
    line for text in DOCUMENTS.values() for block in blocks(text, "sh") for line in block.splitlines() if line.strip()
]


@pytest.fixture
def clarus_simulator_options():
    return {"tenants": ("acme", "globex")}


@pytest.mark.parametrize("block", SCRIPTS, ids=lambda block: block.splitlines()[-1].strip())
async def test_script(block, clarus_simulator, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    # The same client and credentials, but for where they lead.
    client = functools.partial(clarus_async.ClarusClient, base_url=clarus_simulator.url)
    monkeypatch.setattr(clarus_async, "ClarusClient", client)
    credentials = clarus_simulator.credentials
    if "flow" not in block:
        monkeypatch.setattr(clarus_async, "ClientCredentials", lambda *_: credentials)
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, {})
    if inspect.iscoroutine(result):
        await result
    assert capsys.readouterr().out or "print" not in block


@pytest.mark.parametrize("block", PROGRAMS)
def test_program_runs_as_it_stands(block, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "Shopify Store" in done.stdout


def test_the_readme_shows_a_client_and_a_test():
    assert len(PROGRAMS) == 1
    assert any("def test_" in block for block in blocks(README))
    assert len(SCRIPTS) >= 9
    assert len(TESTS) >= 5


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 250


async def test_the_readmes_service_answers(clarus_simulator, monkeypatch):
    async with within("short", clarus_simulator, monkeypatch) as service, aiohttp.ClientSession() as session:
        async with session.post(f"http://127.0.0.1:{service.port}/globex/shops/Shop") as answer:
            body = await answer.json()
    assert [body["id"]] == [stored.id for stored in clarus_simulator.integrations("globex")]


def test_what_services_and_other_engines_run_is_checked_for_types():
    checked = [path.read_text() for path in (ROOT / "tests" / "typing").glob("*.py")]
    assert len(TYPED) == 2
    assert all(any(block in text for text in checked) for block in [*TYPED, *SERVICES.values()])


@pytest.mark.parametrize("block", TESTS, ids=lambda block: re.search(r"def (test_\w+)", block)[1])
def test_pytest_example(block, tmp_path):
    (tmp_path / "test_example.py").write_text(block)
    # Plugins that have no part in it take longer to import than the test to run.
    without = ["-p", "no:hypothesispytest", "-p", "no:pytest_cov"]
    command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", *without, "--rootdir", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("language", ["csv", "json"])
def test_the_files_that_are_shown_can_be_read(language, tmp_path):
    [text] = blocks(CHAPTERS["clarus_async.provisioning.files"], language)
    (tmp_path / "file").write_text(text)
    command = [sys.executable, "-m", "clarus_async", "provision", "file", "--simulate", "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    key = {"csv": "shop-1", "json": "Books"}[language]
    assert f'"key":"{key}"' in done.stdout


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("clarus ")])
def test_clarus_takes_the_options_that_are_shown(line):
    assert parse(shlex.split(line, comments=True)[1:]) != 2


async def test_clarus_does_what_is_shown(clarus_simulator, tmp_path):
    files = CHAPTERS["clarus_async.provisioning.files"]
    (tmp_path / "integrations.csv").write_text(*blocks(files, "csv"))
    (tmp_path / "integrations.jsonl").write_text(*blocks(files, "json"))
    environment = os.environ | {
        "CLARUS_BASE_URL": clarus_simulator.url,
        "CLARUS_SUBDOMAIN": "acme",
        "CLARUS_CLIENT_ID": clarus_simulator.client_id,
        "CLARUS_CLIENT_SECRET": clarus_simulator.client_secret,
    }
    # Those that need what is not here are left out: a fleet, a record with this id, and somebody who stops it.
    left_out = r"--celery|stores|rejects\.csv --map|--status"  # the tour has a test of its own
    wanted = rf"clarus (provision|report|create|list|ping)\b(?!.*({left_out}))"
    lines = [line for line in COMMANDS if re.match(wanted, line)]
    assert len(lines) >= 5
    for line in lines:
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "clarus_async", *shlex.split(line)[1:]],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if "--html" not in line:
            json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_name_of_ours_is_there(document):
    for name in re.findall(r"`(clarus_async(?:\.\w+)+)", DOCUMENTS[document]):
        assert pkgutil.resolve_name(name) is not None


@pytest.mark.parametrize("line", [line for line in COMMANDS if not line.startswith("clarus ")])
def test_other_commands_name_what_is_there(line):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named in re.findall(r"\[([\w,]+)\]", line):
        assert set(named.split(",")) <= set(extras)
    for named in re.findall(r"\bclarus_async(?:\.\w+)*(?![\w/.])", line):
        assert importlib.util.find_spec(named), named
    for named in re.findall(r"clarus_async/[\w/.]+", line):
        assert (ROOT / named).is_file(), named


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_module_that_is_to_be_run_is_there(document):
    for named in re.findall(r"python3? -m ((?:benchmarks|tests)[\w.]*)", DOCUMENTS[document]):
        assert importlib.util.find_spec(named), named


def test_the_commands_are_those_that_ci_runs():
    run = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^python3 -m venv .*pytest -q -n auto$", README, re.MULTILINE)
    assert 'grep -m1 "pytest -q -n auto$" README.md' in run


def test_the_chapter_and_the_readme_agree_on_what_a_failure_proves():
    def rows(text):
        table = text.split("| seen | proves |")[1].split("\n\n")[0]
        return [[cell.strip() for cell in row.split("|")[1:4]] for row in table.splitlines()[2:]]

    assert len(rows(README)) == 10
    assert rows(CHAPTERS["clarus_async.retry"]) == rows(README)


def test_every_error_is_in_the_table():
    table = CHAPTERS["clarus_async.errors"]
    raised = {
        name
        for name in clarus_async.__all__
        if isinstance(cls := getattr(clarus_async, name), type) and issubclass(cls, clarus_async.ClarusError)
    }
    assert {name for name in raised if f"`{name}`" in table} == raised
