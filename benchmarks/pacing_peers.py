"""The client beside others that people would take: the same job, body and headers, each against a server of its own.

Every peer retries a 429 as its own documentation shows, eight times or so, with its own backoff.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import aiohttp
import orjson

from benchmarks.pacing_client import WIDTH, Job, client_of, create_all, records
from benchmarks.pacing_report import Cell, none_of, part, percent, share
from benchmarks.pacing_server import TENANT, Address, Server, serving
from clarus_async.simulator import Quota
from clarus_async.wire.envelope import create_body

Send: TypeAlias = Callable[[bytes], Awaitable[bool]]
"""Creates what a body says; false where it gave up."""
Peer: TypeAlias = Callable[[str, Mapping[str, str]], AbstractAsyncContextManager[Send]]
"""Opens a client, given a base URL and the headers of every request."""

_QUOTA = Quota(limit=100, window=1.0, kind="sliding", headers="none")
_PATH = "/api/integrations"
_RETRIES = 8
_TIMEOUT = 60.0


@contextlib.asynccontextmanager
async def tenacity_loop(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open what most would write: tenacity around aiohttp."""
    from tenacity import (  # noqa: PLC0415  so in all of them: a peer that isn't installed keeps none of the others
        AsyncRetrying,
        retry_if_result,
        stop_after_attempt,
        wait_random_exponential,
    )

    async with aiohttp.ClientSession(headers=headers) as session:

        async def post(body: bytes) -> int:
            async with session.post(url + _PATH, data=body) as response:
                await response.read()
                return response.status

        retrying = AsyncRetrying(
            retry=retry_if_result(lambda status: status == 429),
            wait=wait_random_exponential(multiplier=0.5, max=20),
            stop=stop_after_attempt(_RETRIES),
            retry_error_callback=lambda _: 429,
        )

        async def send(body: bytes) -> bool:
            return bool(await retrying(post, body) == 200)

        yield send


@contextlib.asynccontextmanager
async def aiohttp_retry(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open aiohttp-retry, with the jitter that it has to offer."""
    from aiohttp_retry import JitterRetry, RetryClient  # noqa: PLC0415

    options = JitterRetry(attempts=_RETRIES, statuses={429}, retry_all_server_errors=False)
    async with aiohttp.ClientSession(headers=headers) as session:
        client = RetryClient(client_session=session, retry_options=options)

        async def send(body: bytes) -> bool:
            async with client.post(url + _PATH, data=body) as response:
                await response.read()
                return response.status == 200

        yield send


@contextlib.asynccontextmanager
async def httpx_retries(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open httpx with httpx-retries."""
    import httpx  # noqa: PLC0415
    from httpx_retries import Retry, RetryTransport  # noqa: PLC0415

    retry = Retry(total=_RETRIES, backoff_factor=0.5, status_forcelist=[429], allowed_methods=["POST"])
    transport = RetryTransport(retry=retry)
    async with httpx.AsyncClient(transport=transport, headers=dict(headers), timeout=_TIMEOUT) as client:

        async def send(body: bytes) -> bool:
            return (await client.post(url + _PATH, content=body)).status_code == 200

        yield send


@contextlib.asynccontextmanager
async def openai_base(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open the base client of the openai package, as the best known of the generated ones."""
    from openai import APIStatusError, AsyncOpenAI  # noqa: PLC0415

    own = {name: value for name, value in headers.items() if name != "Authorization"}
    token = headers["Authorization"].removeprefix("Bearer ")
    client = AsyncOpenAI(base_url=url, api_key=token, default_headers=own, max_retries=_RETRIES, timeout=_TIMEOUT)
    async with client:

        async def send(body: bytes) -> bool:
            try:
                await client.post(_PATH, body=orjson.loads(body), cast_to=object)
            except APIStatusError:
                return False
            return True

        yield send


PEERS: dict[str, Peer] = {
    "tenacity around aiohttp": tenacity_loop,
    "aiohttp-retry": aiohttp_retry,
    "httpx-retries": httpx_retries,
    "openai's base client": openai_base,
}


def compare(creates: int, peer: Peer | None) -> dict[str, Cell]:
    """Have one of them do the job, and return its figures.

    Args:
        creates: how many.
        peer: which; ``None``: this package's client.
    """
    with serving(quota=_QUOTA) as server:
        try:
            job = asyncio.run(_ours(server, creates) if peer is None else _theirs(server, creates, peer))
        except ModuleNotFoundError:
            return {"goodput": Cell("not installed")}
        ledger = server.ledger()
    return {
        "goodput": part(job.goodput(_QUOTA.limit / _QUOTA.window)),
        "429 share": share(ledger.share()),
        "as it reports": Cell(percent(job.share) if peer is None else "-"),
        "records lost": none_of(job.lost),
        "requests": Cell(str(ledger.served() + ledger.refused())),
        "wall": Cell(f"{job.seconds:.1f} s"),
    }


async def _ours(server: Server, creates: int) -> Job:
    async with client_of(server.address) as client:
        return await create_all(client, records(creates))


async def _theirs(server: Server, creates: int, peer: Peer) -> Job:
    headers = {
        "Authorization": f"Bearer {await _token(server.address)}",
        "X-Clarus-Subdomain": TENANT,
        "Content-Type": "application/json",
        "Accept": "application/json",
    }
    bodies = iter([create_body(record) for record in records(creates)])
    errors: Counter[str] = Counter()
    created = 0
    async with peer(server.address.url, headers) as send:
        started = last = time.monotonic()

        async def work() -> None:
            nonlocal created, last
            for body in bodies:
                try:
                    there = await send(body)
                except Exception as error:  # noqa: BLE001  each fails in its own way; the record is lost in all
                    errors[type(error).__name__] += 1
                    continue
                if there:
                    created += 1
                    last = time.monotonic()
                else:
                    errors["gave up"] += 1

        await asyncio.gather(*(work() for _ in range(WIDTH)))
    return Job(created, errors.total(), 0, last - started, errors)


async def _token(server: Address) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": server.client_id,
        "client_secret": server.client_secret,
    }
    async with aiohttp.ClientSession() as session, session.post(f"{server.url}/oauth/token", data=form) as response:
        answer: dict[str, Any] = await response.json()
    token: str = answer["access_token"]
    return token
