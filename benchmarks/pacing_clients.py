"""The client beside others that people write or take: each creates the same records, through the same server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import NamedTuple

import aiohttp

from benchmarks.measuring import in_a_pool
from benchmarks.pacing_limiters import Server
from benchmarks.peers import WIDTH, Peer
from clarus_async import ClarusClient, ClientCredentials
from clarus_async.events import AttemptEvent
from tests.peers.scenario import TENANT, Told, specs
from tests.support.recorder import Recorder

_SAMPLED_EVERY = 0.05  # seconds, a quarter of the narrowest bar of a plot


class Pace(NamedTuple):
    """What ``client.pace`` said at a moment: seconds on the event loop's clock, and requests a second."""

    at: float
    rate: float | None


class Run(NamedTuple):
    """What a client told of its records, and when."""

    told: list[Told]  # of each record
    told_at: list[float]  # the moment of each, on the event loop's clock
    began_at: float  # when the first call was made
    attempts: list[AttemptEvent]  # the requests, where the client tells of them
    paces: list[Pace]  # what it believed, from time to time


async def provision(server: Server, creates: int, within: float) -> Run:
    """Create records with this package's client and its defaults, in one run."""
    recorder = Recorder()

    async def sample() -> None:
        while True:
            paces.append(Pace(time.monotonic(), client.pace.rate))
            await asyncio.sleep(_SAMPLED_EVERY)

    credentials = ClientCredentials(server.client_id, server.client_secret)
    told: list[Told] = []
    told_at: list[float] = []
    paces: list[Pace] = []
    async with ClarusClient(TENANT, credentials, base_url=server.url, observer=recorder) as client:
        began_at = time.monotonic()
        sampling = asyncio.create_task(sample())
        try:
            with contextlib.suppress(TimeoutError):
                async with (
                    asyncio.timeout(within),
                    client.integrations.provision(specs(0, creates), concurrency=WIDTH) as run,
                ):
                    async for outcome in run:
                        told.append(Told.of(outcome))
                        told_at.append(time.monotonic())
        finally:
            sampling.cancel()
    return Run(told, told_at, began_at, recorder.attempts, paces)


async def create_with(peer: Peer, server: Server, creates: int, within: float) -> Run:
    """Create the same records with another client."""
    headers = {
        "Authorization": f"Bearer {await _token(server)}",
        "X-Clarus-Subdomain": TENANT,
        "Content-Type": "application/json",
    }
    told: list[Told] = []
    told_at: list[float] = []
    async with peer(f"{server.url}/api/integrations", headers) as send:

        async def create(number: int) -> None:
            key = f"shop-{number}"
            attributes = {
                "name": f"Shop {number}",
                "integration_type": "shopify",
                "external_system_reference1": key,
            }
            document, error = None, "gave up"
            try:
                document = await send({"data": {"type": "integrations", "attributes": attributes}})
            except Exception as raised:  # noqa: BLE001  each fails in its own way
                error = type(raised).__name__
            if document is None:
                told.append(Told(key, "failed", None, error))
            else:
                told.append(Told(key, "created", int(document["data"]["id"])))
            told_at.append(time.monotonic())

        began_at = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await in_a_pool(create, range(creates), WIDTH)
    return Run(told, told_at, began_at, [], [])


async def _token(server: Server) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": server.client_id,
        "client_secret": server.client_secret,
    }
    async with aiohttp.ClientSession() as session, session.post(f"{server.url}/oauth/token", data=form) as response:
        return str((await response.json())["access_token"])
