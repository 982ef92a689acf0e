"""What many tests need: aioresponses that works with this aiohttp, and no event loop that nobody closes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aioresponses
import pytest
from aiohttp import ClientResponse


def pytest_configure() -> None:
    # Before 3.12 the first look for "the" event loop makes one; pytest-asyncio looks, and leaves it unclosed.
    asyncio.set_event_loop(None)


class ShimmedResponse(ClientResponse):
    """A ClientResponse that aioresponses 0.7.9 can make: it does not pass ``stream_writer``, which aiohttp wants."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture
def mocked() -> Iterator[aioresponses.aioresponses]:
    """Yield an aioresponses whose answers this aiohttp accepts. No timeout, connector or middleware runs under it."""
    with aioresponses.aioresponses() as mock:
        mock.add = functools.partial(mock.add, response_class=ShimmedResponse)
        yield mock
