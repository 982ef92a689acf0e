"""What many tests need: aioresponses that works with this aiohttp, a client for it, and no event loop left open."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import ClientResponse, ClientSession
from hypothesis import HealthCheck, settings

from clarus_async.http import session
from clarus_async.simulator.aioresponses import aioresponses
from tests.support.vendor import make_client

# The same examples in every run, however slow the machine is: what is new is looked for by tests/fuzz.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--uvloop", action="store_true", help="run async tests on uvloop, but for those in virtual time")
    parser.addoption("--ordinary", action="store_true", help="send every request by aiohttp's session")


class Uvloop:
    """Has each test that pytest runs in a loop, and each ``asyncio.run`` of a test, use uvloop's."""

    def __init__(self) -> None:
        import uvloop

        self.factories: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        return self.factories


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--uvloop"):
        config.pluginmanager.register(Uvloop())
    if config.getoption("--ordinary"):
        session.is_known = lambda: False
    # Before 3.12 the first look for "the" event loop makes one; pytest-asyncio looks, and leaves it unclosed.
    asyncio.set_event_loop(None)
    # Most of what is made while tests are collected and run lives to the end: looking for garbage in it takes long.
    gc.set_threshold(50_000, 20, 20)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()


@pytest.fixture
def mocked() -> Iterator[aioresponses]:
    """Yield an aioresponses whose answers this aiohttp accepts. No timeout, connector or middleware runs under it."""
    mock = aioresponses()
    takes = _signature_of_a_request()

    async def request(*args: Any, **kwargs: Any) -> ClientResponse:
        takes.bind(*args, **kwargs)
        return await mock._request_mock(*args, **kwargs)

    # Its own patcher makes a specification of aiohttp's method each time, which takes longer than most tests.
    mock.patcher = patch.object(ClientSession, "_request", request)
    with mock:
        yield mock


@pytest.fixture
async def clarus():
    async with make_client() as client:
        yield client


@functools.cache
def _signature_of_a_request() -> inspect.Signature:
    return inspect.signature(ClientSession._request)
