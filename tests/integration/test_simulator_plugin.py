"""The pytest fixtures, as a stranger's tests meet them."""

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
