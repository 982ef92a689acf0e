"""Clients that people write or take instead, which retry as their own documentation shows, up to eight times.

Each is imported where it is opened: one that isn't installed keeps none of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, TypeAlias

import aiohttp
import orjson

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


@contextlib.asynccontextmanager
async def tenacity_loop(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open what most would write: tenacity around aiohttp."""
    from tenacity import (  # noqa: PLC0415
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
            async with client.post(url, data=orjson.dumps(body)) as response:
                return orjson.loads(await response.read()) if response.ok else None

        yield send


@contextlib.asynccontextmanager
async def httpx_retries(url: str, headers: Mapping[str, str]) -> AsyncIterator[Send]:
    """Open httpx with httpx-retries."""
    import httpx  # noqa: PLC0415
    from httpx_retries import Retry, RetryTransport  # noqa: PLC0415

    transport = RetryTransport(retry=Retry(total=_RETRIES, backoff_factor=0.5, allowed_methods=["POST"]))
    async with httpx.AsyncClient(transport=transport, headers=dict(headers), timeout=_TIMEOUT) as client:

        async def send(body: Document) -> Document | None:
            response = await client.post(url, content=orjson.dumps(body))
            return orjson.loads(response.content) if response.is_success else None

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
