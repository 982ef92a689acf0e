"""What one create costs, beside what people would write or take instead: same server, same body, 64 at a time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import aiohttp
import attrs
import orjson
from yarl import URL

from benchmarks.canned_server import CannedServer, canned_server
from benchmarks.measuring import Figure, Spent, in_a_pool, interleaved, median, ratio, run
from benchmarks.peers import WIDTH, Peer, aiohttp_retry, httpx_retries, openai_base
from clarus_async import AccessToken, ClarusClient, NewIntegration, Observer

PATH: Final = "/api/integrations"
_HEADERS: Final = {
    "Authorization": "Bearer t",
    "X-Clarus-Subdomain": "acme",
    "Content-Type": "application/json",
    "Accept": "application/json",
}
ATTRIBUTES: Final[Mapping[str, Any]] = {
    "name": "Shopify Store",
    "integration_type": "shopify",
    "configuration": {"api_key": "your-api-key", "shop_domain": "mystore.myshopify.com"},
}
NEW: Final = NewIntegration.from_mapping(ATTRIBUTES)

Create = Callable[[Any], Awaitable[object]]

OURS: Final = "clarus_async"
ANEW: Final = "clarus_async, the record made anew"
THEIRS: Final = "clarus_async, by the caller's session"
SEEN: Final = "clarus_async, seen by OpenTelemetry"
SDK: Final = "clarus_async + OpenTelemetry by hand"
PLAIN: Final = "aiohttp + orjson, by hand"
TUNED: Final = "the same, with our session's settings"
USUAL: Final = "aiohttp + tenacity + cattrs, by hand"
RETRY: Final = "aiohttp-retry"
OPENAI: Final = "openai's base client"
HTTPX: Final = "httpx-retries"
SOCKETS: Final = "bare sockets"

_SLOW: Final = frozenset({OPENAI, HTTPX})


def _envelope() -> bytes:
    return orjson.dumps({"data": {"type": "integrations", "attributes": ATTRIBUTES}})


@contextlib.asynccontextmanager
async def _ours(
    url: str, observer: Observer | None = None, session: aiohttp.ClientSession | None = None
) -> AsyncIterator[Create]:
    async with ClarusClient("acme", AccessToken("t"), base_url=url, observer=observer, session=session) as client:

        async def create(_: object) -> None:
            await client.integrations.create(NEW)

        yield create


@contextlib.asynccontextmanager
async def _anew(url: str) -> AsyncIterator[Create]:
    async with ClarusClient("acme", AccessToken("t"), base_url=url) as client:

        async def create(_: object) -> None:
            await client.integrations.create(NewIntegration(**ATTRIBUTES))

        yield create


@contextlib.asynccontextmanager
async def _theirs(url: str) -> AsyncIterator[Create]:
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        _ours(url, session=session) as create,
    ):
        yield create


@contextlib.asynccontextmanager
async def _seen(url: str) -> AsyncIterator[Create]:
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    from clarus_async.opentelemetry import OpenTelemetryObserver  # noqa: PLC0415

    # Nothing is exported: that is a matter of the exporter, in a thread of its own.
    observer = OpenTelemetryObserver(
        tracer_provider=TracerProvider(), meter_provider=MeterProvider([InMemoryMetricReader()])
    )
    async with _ours(url, observer) as create:
        yield create


@contextlib.asynccontextmanager
async def _sdk(url: str) -> AsyncIterator[Create]:
    """Open a client, beside which OpenTelemetry's SDK is called as often as its observer does: that is its share."""
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    tracer = TracerProvider().get_tracer("by hand")
    meter = MeterProvider([InMemoryMetricReader()]).get_meter("by hand")
    calls, requests = meter.create_histogram("calls", "s"), meter.create_histogram("requests", "s")
    server = {"server.address": "127.0.0.1", "server.port": URL(url).port or 80}
    of_call = {**server, "clarus.operation": "create"}
    of_request = {
        **server, "http.request.method": "POST", "url.template": PATH, "http.response.status_code": 200,
    }  # fmt: skip
    of_request_span = {**of_request, "clarus.proves": "done"}
    async with _ours(url) as create_unseen:

        async def create(new: object) -> None:
            began = time.time_ns()
            await create_unseen(new)
            ended = time.time_ns()
            call = tracer.start_span("clarus create", attributes=of_call, start_time=began)
            within = trace.set_span_in_context(call)
            calls.record((ended - began) / 1e9, of_call, within)
            requests.record((ended - began) / 1e9, of_request, within)
            request = tracer.start_span(
                f"POST {PATH}", within, trace.SpanKind.CLIENT, of_request_span, start_time=began
            )
            request.end(ended)
            call.end(ended)

        yield create


def by_hand(session: aiohttp.ClientSession, address: str | URL) -> Create:
    """Return what creates a record by a plain call."""

    async def create(_: object) -> Any:
        async with session.post(address, data=_envelope(), headers=_HEADERS) as response:
            response.raise_for_status()
            return orjson.loads(await response.read())["data"]

    return create


@contextlib.asynccontextmanager
async def _plain(url: str) -> AsyncIterator[Create]:
    async with aiohttp.ClientSession() as session:
        yield by_hand(session, url + PATH)


@contextlib.asynccontextmanager
async def _tuned(url: str) -> AsyncIterator[Create]:
    connector = aiohttp.TCPConnector(limit=101, keepalive_timeout=4.0, ttl_dns_cache=60)
    timeout = aiohttp.ClientTimeout(total=30.0, connect=5.0, ceil_threshold=60.0)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout
    ) as session:
        yield by_hand(session, URL(url + PATH, encoded=True))


@attrs.define
class _Answer:
    id: int
    name: str
    is_active: bool
    account_id: int | None = None
    warehouse_id: int | None = None
    configuration: dict[str, Any] | None = None
    external_system_reference1: str | None = None


@attrs.define
class _New:
    name: str
    integration_type: str
    configuration: dict[str, Any]


@contextlib.asynccontextmanager
async def _usual(url: str) -> AsyncIterator[Create]:
    from cattrs.preconf.orjson import make_converter  # noqa: PLC0415
    from tenacity import (  # noqa: PLC0415
        AsyncRetrying,
        retry_if_exception_type,
        stop_after_attempt,
        wait_random_exponential,
    )

    converter = make_converter()
    new = _New(**ATTRIBUTES)
    async with aiohttp.ClientSession() as session:

        async def post() -> _Answer:
            body = converter.dumps({"data": {"type": "integrations", "attributes": converter.unstructure(new)}})
            async with session.post(url + PATH, data=body, headers=_HEADERS) as response:
                response.raise_for_status()
                document = await response.json(loads=orjson.loads)
                return converter.structure({"id": document["data"]["id"], **document["data"]["attributes"]}, _Answer)

        async def create(_: object) -> _Answer:
            retrying = AsyncRetrying(
                retry=retry_if_exception_type(aiohttp.ClientError),
                wait=wait_random_exponential(max=20),
                stop=stop_after_attempt(4),
                reraise=True,
            )
            return await retrying(post)

        yield create


def _taken(peer: Peer) -> Callable[[str], AbstractAsyncContextManager[Create]]:
    """Return what opens a client that is taken as it is."""

    @contextlib.asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Create]:
        async with peer(url + PATH, _HEADERS) as send:

            async def create(_: object) -> Any:
                document = await send({"data": {"type": "integrations", "attributes": dict(ATTRIBUTES)}})
                assert document is not None
                return document["data"]

            yield create

    return opened


@contextlib.asynccontextmanager
async def _sockets(url: str) -> AsyncIterator[Create]:
    address = URL(url)
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    opened = []
    lines = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
    head = f"POST {PATH} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n{lines}"

    async def create(_: object) -> Any:
        if free:
            reader, writer = free.pop()
        else:
            reader, writer = await asyncio.open_connection(address.host, address.port)
            opened.append(writer)
        body = _envelope()
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        said = await reader.readuntil(b"\r\n\r\n")
        length = int(said.split(b"Content-Length: ", 1)[1].split(b"\r\n", 1)[0])
        document = orjson.loads(await reader.readexactly(length))
        free.append((reader, writer))
        return document["data"]

    yield create
    for writer in opened:
        writer.close()


PEERS: Final = {
    SOCKETS: _sockets,
    PLAIN: _plain,
    TUNED: _tuned,
    OURS: _ours,
    ANEW: _anew,
    THEIRS: _theirs,
    SEEN: _seen,
    SDK: _sdk,
    RETRY: _taken(aiohttp_retry),
    USUAL: _usual,
    HTTPX: _taken(httpx_retries),
    OPENAI: _taken(openai_base),
}


async def measured(server: CannedServer, names: list[str], rounds: int, count: int) -> dict[str, list[Spent]]:
    """Measure some of the peers, side by side."""
    async with contextlib.AsyncExitStack() as stack:
        works = {}
        for name in names:
            with contextlib.suppress(ModuleNotFoundError):
                create = await stack.enter_async_context(PEERS[name](server.url))
                works[name] = functools.partial(_work, create)
        counts = {name: max(WIDTH, count // 6) if name in _SLOW else count for name in works}
        return await interleaved(works, rounds, counts)


async def _work(create: Create, count: int) -> None:
    await in_a_pool(create, range(count), WIDTH)


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table."""
    rounds, count = (9, 320) if quick else (41, 640)
    with canned_server(apart=True) as server:
        before = server.spent()
        spent = run(measured(server, list(PEERS), rounds, count))
        after = server.spent()
    served = (after[0] - before[0]) / (after[1] - before[1]) * 1e6
    table = [
        Figure(
            name=f"a create: {name}", value=median(slices), unit="us CPU", note=f"{median(slices, 'wall'):.0f} us wall"
        )
        for name, slices in spent.items()
    ]
    table.append(Figure(name="the server, for each request", value=served, unit="us CPU", note="on a core of its own"))
    targets = (
        (OURS, PLAIN, "cpu", 0.9, 1.5),
        (OURS, PLAIN, "wall", 1.0, None),
        (ANEW, PLAIN, "cpu", 1.0, 1.7),
        (THEIRS, PLAIN, "cpu", 1.4, 2.5),
        (OURS, TUNED, "cpu", 0.9, 1.5),
        (ANEW, USUAL, "cpu", 0.5, 1.5),
        (ANEW, HTTPX, "cpu", 1 / 15, 0.4),
        (ANEW, OPENAI, "cpu", 1 / 15, 0.4),
        (SEEN, OURS, "cpu", 1.5, 4.0),
        (SDK, OURS, "cpu", None, None),
        (SEEN, SDK, "cpu", 1.15, 2.0),
    )
    table += [
        Figure(name=f"{one} / {other}, {of}", value=ratio(spent[one], spent[other], of), most=most, fails=fails)
        for one, other, of, most, fails in targets
        if one in spent and other in spent
    ]
    return table
