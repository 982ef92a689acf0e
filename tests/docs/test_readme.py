"""The README's blocks work as printed."""

import ast
import functools
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import clarus_async
from tests.support.readme import BLOCKS, SERVICES

ROOT = Path(__file__).parents[2]
TESTS = [block for block in BLOCKS if "def test_" in block]
TYPED = [block for block in BLOCKS if "temporalio" in block or "taskiq" in block]
SCRIPTS = [block for block in BLOCKS if block not in [*TESTS, *TYPED, *SERVICES.values()]]


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
    monkeypatch.setattr(clarus_async, "ClientCredentials", lambda *_: credentials)
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, {})
    if inspect.iscoroutine(result):
        await result
    assert capsys.readouterr().out or "print" not in block


def test_the_readme_shows_a_client_and_a_test():
    assert len(SCRIPTS) >= 3
    assert len(TESTS) >= 1


def test_what_services_and_other_engines_run_is_checked_for_types():
    checked = [path.read_text() for path in (ROOT / "tests" / "typing").glob("*.py")]
    assert len(TYPED) == 2
    assert all(any(block in text for text in checked) for block in [*TYPED, *SERVICES.values()])


@pytest.mark.parametrize("block", TESTS)
def test_pytest_example(block, tmp_path):
    (tmp_path / "test_example.py").write_text(block)
    # Plugins that have no part in it take longer to import than the test to run.
    without = ["-p", "no:hypothesispytest", "-p", "no:pytest_cov"]
    command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", *without, "--rootdir", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_commands_are_those_that_ci_runs():
    readme = (ROOT / "README.md").read_text()
    run = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^python3 -m venv .*pytest -q -n auto$", readme, re.MULTILINE)
    assert 'grep -m1 "pytest -q -n auto$" README.md' in run


def test_every_error_is_in_the_table():
    table = (ROOT / "README.md").read_text().split("## Errors")[1].split("## Settings")[0]
    raised = {
        name
        for name in clarus_async.__all__
        if isinstance(cls := getattr(clarus_async, name), type) and issubclass(cls, clarus_async.ClarusError)
    }
    assert {name for name in raised if f"`{name}`" in table} == raised - {"ApiError"}
