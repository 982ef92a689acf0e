"""The adapter of aiohttp: sends one request, and returns its response, or why there is none, as a value.

Nothing here raises for what a server or a network does. An exception of aiohttp's holds the request's headers, and so
the token; it goes no further.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from http import HTTPStatus
from typing import Final, cast
from weakref import WeakSet

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
from aiohttp.tracing import Trace
from yarl import URL

from clarus_async._version import __version__
from clarus_async.errors import ConfigurationError
from clarus_async.http.connect_errors import host_port
from clarus_async.http.transport_failure import (
    TransportFailure,
    UnsolicitedDataError,
    refused_by_proxy,
    transport_failure,
    unexpected,
    withheld,
)
from clarus_async.http.write_guard import WithheldError, WriteGuard, check_may_send

ClientSession = aiohttp.ClientSession

BODY_CAP: Final = 8 * 2**20
"""Bytes of a decoded body that are read. A page of 100 rows is some 20 KiB; a gzip of 292 KiB can hold 300 MB."""

USER_AGENT: Final = f"clarus-async/{__version__} aiohttp/{aiohttp.__version__}"

# Seconds. A call on a new connection costs 2.5 times one on a pooled connection, and 11 times with TLS (python -m
# benchmarks connections). But this is below the 5 s of Apache, Node and uvicorn: a POST on a connection that the server
# is about to close has an unknown outcome, which costs far more than a handshake.
_KEEP_ALIVE: Final = 4.0
# Seconds. Resolving a name costs as much as a call; a minute is the usual TTL of cloud providers' names.
_DNS_CACHE: Final = 60
# A connection that takes longer than this part of an attempt leaves no time for a response. It also ends the wait for
# a connection before the attempt's own timer, so that a timeout tells which of the two it was.
_CONNECT_PART: Final = 0.95
_READ_SIZE: Final = 64 * 2**10  # bytes, the limit of asyncio's own stream buffers
_LARGEST_WRITE: Final = 2**20  # bytes; aiohttp warns of larger bodies, which it would write at once

# aiohttp frames a request by these headers before a middleware can remove them.
_FRAMING: Final = frozenset({"content-length", "expect", "host"})


class _GuardedBody(aiohttp.BytesIOPayload):
    """A body that is written through a ``WriteGuard``, with the headers, which aiohttp holds back for it."""

    def __init__(self, body: bytes, may_send: Callable[[], bool]) -> None:
        super().__init__(io.BytesIO(body))
        self._may_send = may_send

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        protocol = cast("StreamWriter", writer).protocol
        if (transport := protocol.transport) is None:
            raise aiohttp.ClientConnectionResetError
        protocol.transport = guard = cast("asyncio.Transport", WriteGuard(transport, self._may_send))
        try:
            await super().write_with_length(writer, content_length)
        finally:
            if protocol.transport is guard:
                protocol.transport = transport


# Not frozen, which would cost more for each attempt; nobody changes it.
@attrs.define(eq=False)
class HttpResponse:
    """A response whose status line was received, and its decoded body as far as it was read."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    whole: bool = True
    too_large: bool = False


class Session:
    """A pool of connections on one event loop.

    Raises:
        ConfigurationError: the caller's session has a cookie jar, which would carry one tenant's cookies to another, or
            a default header that frames requests.
    """

    def __init__(self, max_connections: int, session: ClientSession | None = None) -> None:
        if session is not None:
            _check(session)
        self._max_connections = max_connections
        self._callers_session = session
        self._session = session
        # aiohttp has no public name for the middlewares of a session, and ours must not replace the caller's.
        self._middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = tuple(getattr(session, "_middlewares", ()))
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    @property
    def width(self) -> int:
        """How many requests can be on the wire at once."""
        connector = None if self._callers_session is None else self._callers_session.connector
        if connector is None:
            return self._max_connections
        limits = [self._max_connections, connector.limit, connector.limit_per_host]
        return min(limit for limit in limits if limit > 0)

    @property
    def closed(self) -> bool:
        """Whether the caller closed the session that was passed in."""
        return self._callers_session is not None and self._callers_session.closed

    def _open(self) -> ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # One more than calls may use, so that a token request never waits for calls that wait for it.
                connector=_Connector(self._max_connections + 1),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        now: float,
        connect: float,
        attempt: float,
        cap: int = BODY_CAP,
        may_send: Callable[[], bool] | None = None,
        new_connection: bool = False,
    ) -> HttpResponse | TransportFailure:
        """Send one request and read its whole response, all within ``attempt`` seconds.

        ``may_send`` is asked before the request, and again right before a body is written. A new connection is one that
        was never used; the idle ones of our own pool are closed on the way to it.
        """
        # On the hot path of a create. Nearly all of its cost is aiohttp's.
        checkout = _Checkout(new_connection)
        _checkout.set(checkout)
        session = self._open()
        response: aiohttp.ClientResponse | None = None
        once = self._send_once(method, headers)
        connect = min(connect, attempt * _CONNECT_PART)
        try:
            if may_send is not None:
                check_may_send(may_send)
            # Not aiohttp's total timeout: if that expires as the task is cancelled, it swallows the cancellation, and
            # the call goes on.
            async with asyncio.timeout_at(now + attempt):
                response = await session.request(
                    method,
                    url,
                    # aiohttp refuses this beside the session's own authentication; the middleware sets it afterwards.
                    headers=headers if self._callers_session is None else _without_authorization(headers),
                    data=_data(body, may_send),
                    # A redirect would send the tenant's header and the body to wherever the server wants.
                    allow_redirects=False,
                    raise_for_status=False,
                    timeout=self._timeout(connect),
                    auto_decompress=True,
                    middlewares=None if once is None else (*self._middlewares, once),
                )
                if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and once is not None and once.proxy:
                    return refused_by_proxy(host_port(url.host, url.port), once.proxy, response.status)
                return await _read(response, cap)
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:
            if response is not None:
                return HttpResponse(response.status, response.headers, b"", whole=False)
            return transport_failure(error, url, None if once is None else once.proxy, connect, attempt)
        except WithheldError as error:
            return withheld(error)
        except Exception as error:  # noqa: BLE001  the traceback of whatever it is holds the token, so it ends here
            # With the caller's session, our middleware runs last, right before the request is sent.
            sent = checkout.done if self._callers_session is None or once is None else once.sent
            return unexpected(error, url, sent=sent)
        finally:
            if response is not None:
                # After a whole body the connection is back in the pool already; after anything else it can't be used
                # again.
                response.close()

    def _timeout(self, connect: float) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get(connect)
        if timeout is None:
            # aiohttp rounds timeouts above the threshold up to a whole second.
            timeout = aiohttp.ClientTimeout(total=None, connect=connect, ceil_threshold=2 * connect)
            # Views rarely have more different ones; the last attempts of calls have any number.
            if len(self._timeouts) < 16:
                self._timeouts[connect] = timeout
        return timeout

    def _send_once(self, method: str, headers: Mapping[str, str]) -> _SendOnce | None:
        if self._callers_session is not None:
            return _SendOnce(headers, frozenset(self._callers_session.headers))
        return _SendOnce() if method == "DELETE" else None

    async def close(self) -> None:
        """Close the pool, unless it is the caller's."""
        if self._session is not None and self._callers_session is None:
            await self._session.close()

    def abandon(self) -> None:
        """Drop a pool whose event loop is gone; its sockets were closed with the loop."""
        if self._session is not None and self._callers_session is None:
            connector = self._session.connector
            self._session.detach()
            self._session = None
            if connector is not None:
                # Nothing can be awaited on a loop that is gone; one step marks the pool as closed.
                closing = connector.close()
                with contextlib.suppress(StopIteration):
                    closing.__await__().__next__()


class _Checkout:
    """A request's checkout of a connection: what it wants of ``_Connector``, and whether it got one."""

    __slots__ = ("done", "new_connection")

    def __init__(self, new_connection: bool) -> None:
        self.new_connection = new_connection
        self.done = False


# The checkout of the task's request: aiohttp has no other way to pass something to its connector.
_checkout: ContextVar[_Checkout] = ContextVar("_checkout")


class _Connector(aiohttp.TCPConnector):
    """Hands out no connection that received something unasked, and no used one to a request that wants a new one.

    aiohttp checks a connection when it is returned to the pool, and not again when it is handed out: what it received
    in between, such as a response that a proxy sent twice, aiohttp takes for the response to the next request. And
    where a gateway has closed one idle connection, it has closed the others: each would cost a request whose outcome is
    unknown.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=_DNS_CACHE)
        self._used: WeakSet[object] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None:
                return connection
            if protocol.should_close:
                connection.close()
                raise UnsolicitedDataError
            checkout = _checkout.get()
            if not checkout.new_connection or protocol not in self._used:
                self._used.add(protocol)
                checkout.done = True
                return connection
            connection.close()


def _data(body: bytes | None, may_send: Callable[[], bool] | None) -> bytes | io.BytesIO | _GuardedBody | None:
    if body is None:
        return None
    if may_send is not None:
        return _GuardedBody(body, may_send)
    return body if len(body) <= _LARGEST_WRITE else io.BytesIO(body)


def _without_authorization(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "Authorization"}


def _check(session: ClientSession) -> None:
    if not isinstance(session.cookie_jar, aiohttp.DummyCookieJar):
        raise ConfigurationError(
            "session: its cookie jar would carry one tenant's cookies to another; "
            "make it with cookie_jar=aiohttp.DummyCookieJar()"
        )
    if framing := sorted({name.lower() for name in session.headers} & _FRAMING):
        raise ConfigurationError(
            f"session: its default header {framing[0]} would change how every request is sent; leave it out"
        )


class _SendOnce:
    """An aiohttp middleware that sends a request once, without a session's default headers and authentication.

    aiohttp repeats an idempotent request by itself when a pooled connection turns out to be dead. A DELETE that worked
    is then answered with 404, and nobody knows that it was sent twice.
    """

    def __init__(self, headers: Mapping[str, str] | None = None, defaults: frozenset[str] = frozenset()) -> None:
        self.proxy: str | None = None
        """Host and port of the proxy that the request goes through, if any."""
        self.sent = False
        """Whether the request got past the caller's own middlewares."""
        self._headers = headers
        kept = {name.lower() for name in headers or ()}
        self._dropped = [name for name in defaults if name.lower() not in kept]

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self.sent:
            raise aiohttp.ServerDisconnectedError
        self.sent = True
        if request.proxy is not None:
            # Its userinfo is a secret.
            self.proxy = host_port(request.proxy.host, request.proxy.port)
        for name in self._dropped:
            request.headers.popall(name, None)
        if self._headers is not None:
            request.headers.popall("Authorization", None)
            if (authorization := self._headers.get("Authorization")) is not None:
                request.headers["Authorization"] = authorization
        return await handler(request)


async def _read(response: aiohttp.ClientResponse, cap: int) -> HttpResponse:
    status, headers = response.status, response.headers
    length = headers.get("Content-Length")
    # The parser refuses a length that is not a number.
    if length is not None and "Content-Encoding" not in headers and int(length) <= cap:
        # The parser delivers no more than Content-Length says.
        return HttpResponse(status, headers, await response.read())
    chunks: list[bytes] = []
    size = 0
    # Decoding pauses while nobody reads, so no more than one chunk ahead of this loop is in memory.
    while chunk := await response.content.read(_READ_SIZE):
        size += len(chunk)
        if size > cap:
            return HttpResponse(status, headers, b"".join(chunks), whole=True, too_large=True)
        chunks.append(chunk)
    return HttpResponse(status, headers, b"".join(chunks))
