"""The pytest fixtures, as a stranger's tests meet them."""

import os
import subprocess
import sys

import pytest

from clarus_async.simulator import Endpoint, Simulator


@pytest.fixture
def clarus_simulator_options():
    return {"seed": 7, "max_page_size": 2}


async def test_the_simulator_runs_with_the_test_s_options(clarus_simulator, clarus_simulator_options):
    assert isinstance(clarus_simulator, Simulator)
    assert clarus_simulator.url.startswith("http://127.0.0.1:")
    assert clarus_simulator.integrations("acme") == []


async def test_the_client_talks_to_it(clarus_client, clarus_simulator):
    await clarus_client.ping()

    assert clarus_simulator.count(Endpoint.GRAPHQL, "acme") == 1


def test_credentials_are_the_simulator_s():
    credentials = Simulator().credentials

    assert credentials.client_id == Simulator.client_id
    assert Simulator.client_secret not in repr(credentials)


CONFTEST = """
import sys

HEAVY = {"aiohttp", "attr", "cattr", "cattrs", "graphql", "multidict", "orjson", "yarl"}
OURS = {"clarus_async", "clarus_async._version", "clarus_async.simulator", "clarus_async.simulator.pytest_plugin"}

def pytest_sessionfinish(session):
    names = set(sys.modules)
    ours = {name for name in names if name.split(".")[0] == "clarus_async"}
    print("LOADED", sorted(names & HEAVY | ours - OURS))
"""


def loaded_in(project, test):
    """What a run of a project that has one test has loaded, beyond pytest and its plugins."""
    (project / "conftest.py").write_text(CONFTEST)
    (project / "test_theirs.py").write_text(test)
    # Which other plugins there are is not ours to say.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-qs",
        "-p",
        "no:cacheprovider",
        "-p",
        "clarus_async.simulator.pytest_plugin",
    ]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if "LOADED" in line]
    return line.partition("LOADED ")[2]


@pytest.mark.parametrize(
    "test",
    [
        "def test_theirs(): pass",
        "def test_theirs(clarus_simulator_options): assert clarus_simulator_options == {}",
    ],
)
def test_a_project_that_does_not_use_it_loads_none_of_it(tmp_path, test):
    assert loaded_in(tmp_path, test) == "[]"
