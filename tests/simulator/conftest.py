"""A simulator, and a bare client that is logged in nowhere yet; a module that needs other options has its own."""

import pytest

from clarus_async.simulator import Simulator
from tests.simulator.test_lifecycle import Api


@pytest.fixture
async def simulator():
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def api(simulator):
    async with Api(simulator) as api:
        yield api
