"""A client on aioresponses."""

from __future__ import annotations

import pytest

from tests.support.vendor import make_client


@pytest.fixture
async def clarus():
    async with make_client() as client:
        yield client
