"""Fixtures for the tests of a service that uses ``clarus_async``: a simulator, and a client on it.

pytest loads this module in every run of everyone who has the package: nothing heavy is imported here.
The fixtures are asynchronous and live in the test's own event loop, under pytest-asyncio or anyio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from clarus_async import ClarusClient
    from clarus_async.simulator import Simulator

Function = TypeVar("Function", bound=Callable[..., object])


def _async_fixture(function: Function) -> Function:
    # In its strict mode, pytest-asyncio drives only the fixtures that it made itself.
    plugin = "pytest_asyncio" if find_spec("pytest_asyncio") is not None else "pytest"
    fixture: Function = import_module(plugin).fixture(function)
    return fixture


@pytest.fixture
def clarus_simulator_options() -> dict[str, Any]:
    """Keyword arguments of the ``Simulator`` that ``clarus_simulator`` starts; override it to change them."""
    return {}


@_async_fixture
async def clarus_simulator(clarus_simulator_options: dict[str, Any]) -> AsyncIterator[Simulator]:
    """Return a started simulator with the tenant ``acme``."""
    from clarus_async.simulator import Simulator  # noqa: PLC0415 - only for tests that ask for it

    async with Simulator(**clarus_simulator_options) as simulator:
        yield simulator


@_async_fixture
async def clarus_client(clarus_simulator: Simulator) -> AsyncIterator[ClarusClient]:
    """Return a client of the tenant ``acme`` on ``clarus_simulator``."""
    from clarus_async import ClarusClient  # noqa: PLC0415 - only for tests that ask for it

    async with ClarusClient("acme", clarus_simulator.credentials, base_url=clarus_simulator.url) as client:
        yield client
