"""What most tests begin with: a client of a server, records to create, and what a run came to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from clarus_async import ClarusClient, NewIntegration


def client_of(server: Any, credentials: Any = None, *, subdomain: str = "acme", **options: Any) -> ClarusClient:
    """Make a client of whatever has a URL, with the credentials that it takes."""
    return ClarusClient(subdomain, credentials or server.credentials, base_url=server.url, **options)


def environment_of(simulator: Any) -> dict[str, str]:
    """The variables that a command line reads, for the tenant ``acme`` of a simulator."""
    return {
        "CLARUS_SUBDOMAIN": "acme",
        "CLARUS_BASE_URL": simulator.url,
        "CLARUS_CLIENT_ID": simulator.client_id,
        "CLARUS_CLIENT_SECRET": simulator.client_secret,
    }


def shop(number: int | str = 0, **more: Any) -> NewIntegration:
    """Make a record that has nothing but a name of its own, and what is asked for."""
    return NewIntegration(**{"name": f"Shop {number}", "integration_type": "shopify"} | more)


def referenced(number: int = 0, **more: Any) -> NewIntegration:
    """Make a record that has a reference of its own, too."""
    return shop(number, **{"external_system_reference1": f"ref-{number}"} | more)


def shops(count: int, first: int = 0, **more: Any) -> list[NewIntegration]:
    """Make records that have a reference each."""
    return [referenced(number, **more) for number in range(first, first + count)]


async def collect(run: Any) -> list[Any]:
    """Return the outcomes of a run, in the order in which they came."""
    return [outcome async for outcome in run]


async def outcomes_of(run: Any) -> list[Any]:
    """Return the outcomes of a run, in the order of its input."""
    return sorted(await collect(run), key=lambda outcome: outcome.index)


async def until(condition: Callable[[], object], pause: float = 0.0) -> None:
    """Wait until something has happened that is in no event of ours, for as long as a broken test may take.

    In virtual time, a pause of some milliseconds lets the time go on; without one, it stands still.
    """
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(pause)
