"""The client beside others that people write or take: each creates the same records, through the same server.

The others retry as their own documentation shows, up to eight times, and all of them find the limit by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import aiohttp

from benchmarks.measuring import in_a_pool
from benchmarks.pacing_limiters import Server
from clarus_async import ClarusClient, ClientCredentials
from clarus_async.events import AttemptEvent
from tests.peers.scenario import TENANT, Told, specs
from tests.support.recorder import Recorder

WIDTH = 64

Document: TypeAlias = Mapping[str, Any]
Send: TypeAlias = Callable[[Document], Awaitable[Document | None]]
"""Creates what a body says, and returns the server's document; ``None`` where it gave up."""
Peer: TypeAlias = Callable[[str, Mapping[str, str]], AbstractAsyncContextManager[Send]]
"""Opens a client, given the URL to create at and the headers of every request."""

_RETRIES = 8
_RETRIED = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE,
            HTTPStatus.GATEWAY_TIMEOUT}  # fmt: skip
_TIMEOUT = 60.0
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


@contextlib.asynccontextmanager
async def tenacity_loop(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open what most would write: tenacity around aiohttp."""
    from tenacity import (  # noqa: PLC0415  so in all of them: a peer that isn't installed keeps none of the others
        AsyncRetrying,
        RetryCallState,
        retry_if_exception_type,
        retry_if_result,
        stop_after_attempt,
        wait_random_exponential,
    )

    backoff = wait_random_exponential(multiplier=0.5, max=20)

    def wait(state: RetryCallState) -> float:
        assert state.outcome is not None
        response: aiohttp.ClientResponse | None = None if state.outcome.failed else state.outcome.result()
        told = response.headers.get("Retry-After") if response is not None else None
        return float(told) if told else backoff(state)

    retrying = AsyncRetrying(
        retry=retry_if_result(lambda response: response.status in _RETRIED) | retry_if_exception_type(OSError),
        wait=wait,
        stop=stop_after_attempt(1 + _RETRIES),
    )

    async with aiohttp.ClientSession(headers=headers) as session:

        async def post(body: Document) -> aiohttp.ClientResponse:
            async with session.post(url, json=body) as response:
                await response.read()
                return response

        async def send(body: Document) -> Document | None:
            response = await retrying(post, body)
            return await response.json() if response.ok else None

        yield send


@contextlib.asynccontextmanager
async def aiohttp_retry(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open aiohttp-retry, with the jitter that it has to offer; it retries 5xx by default."""
    from aiohttp_retry import JitterRetry, RetryClient  # noqa: PLC0415

    async with aiohttp.ClientSession(headers=headers) as session:
        client = RetryClient(session, retry_options=JitterRetry(attempts=1 + _RETRIES, statuses={429}))

        async def send(body: Document) -> Document | None:
            async with client.post(url, json=body) as response:
                return await response.json() if response.ok else None

        yield send


@contextlib.asynccontextmanager
async def httpx_retries(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open httpx with httpx-retries."""
    import httpx  # noqa: PLC0415
    from httpx_retries import Retry, RetryTransport  # noqa: PLC0415

    transport = RetryTransport(retry=Retry(total=_RETRIES, backoff_factor=0.5, allowed_methods=["POST"]))
    async with httpx.AsyncClient(transport=transport, headers=dict(headers), timeout=_TIMEOUT) as client:

        async def send(body: Document) -> Document | None:
            response = await client.post(url, json=body)
            return response.json() if response.is_success else None

        yield send


@contextlib.asynccontextmanager
async def openai_base(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open the base client of the openai package, as the best known of the generated ones."""
    from openai import AsyncOpenAI  # noqa: PLC0415

    base, _, path = url.rpartition("/")
    client = AsyncOpenAI(
        base_url=base, api_key="unused", default_headers=headers, max_retries=_RETRIES, timeout=_TIMEOUT
    )
    async with client:

        async def send(body: Document) -> Document | None:
            document: Document = await client.post(f"/{path}", body=body, cast_to=object)
            return document

        yield send


@contextlib.asynccontextmanager
async def botocore_adaptive(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open botocore's adaptive mode around aiohttp: its token bucket blocks threads, one for each caller."""
    from botocore.hooks import HierarchicalEmitter, first_non_none_response  # noqa: PLC0415
    from botocore.model import ServiceId  # noqa: PLC0415
    from botocore.retries import adaptive, standard  # noqa: PLC0415

    events = HierarchicalEmitter()
    service = SimpleNamespace(service_name="clarus", service_id=ServiceId("clarus"))
    operation = SimpleNamespace(name="Create", error_shapes=[], service_model=service)
    owner = SimpleNamespace(meta=SimpleNamespace(events=events, service_model=service))
    adaptive.register_retry_handler(owner)
    standard.register_retry_handler(owner, max_attempts=1 + _RETRIES)

    async with aiohttp.ClientSession(headers=headers) as session:
        with ThreadPoolExecutor(WIDTH) as threads:

            async def post(body: Document) -> SimpleNamespace:
                emitted = asyncio.get_running_loop().run_in_executor(
                    threads, lambda: events.emit("before-send.clarus.Create", request=None)
                )
                await emitted
                async with session.post(url, json=body) as response:
                    document = await response.json() if response.ok else None
                    return SimpleNamespace(status_code=response.status, headers=response.headers, document=document)

            async def send(body: Document) -> Document | None:
                context: dict[str, Any] = {}
                for attempt in range(1, 2 + _RETRIES):
                    answer = await post(body)
                    answers = events.emit(
                        "needs-retry.clarus.Create", response=(answer, {}), endpoint=None, operation=operation,
                        attempts=attempt, caught_exception=None, request_dict={"context": context},
                    )  # fmt: skip
                    if not (delay := first_non_none_response(answers)):
                        break
                    await asyncio.sleep(delay)
                events.emit("after-call.clarus.Create", context=context, http_response=answer)
                return answer.document

            yield send


PEERS: dict[str, Peer] = {
    "tenacity around aiohttp": tenacity_loop,
    "aiohttp-retry": aiohttp_retry,
    "httpx-retries": httpx_retries,
    "openai's base client": openai_base,
    "botocore's adaptive mode": botocore_adaptive,
}
