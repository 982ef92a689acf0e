"""The adapter of aiohttp: sends one request, and returns its response, or why there is none, as a value.

Nothing here raises for what a server or a network does. An exception of aiohttp's holds the request's headers, and so
the token; it goes no further.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpProcessingError, StreamWriter
from yarl import URL

from clarus_async._version import __version__
from clarus_async.errors import ConfigurationError
from clarus_async.http.attempt_timer import AttemptTimer, TaskTimeout
from clarus_async.http.connect_errors import host_port
from clarus_async.http.direct import DirectSender, RequestHeaders, is_known, is_unwatched
from clarus_async.http.pool import Checkout, Connector, checkout_of_task
from clarus_async.http.response import HttpResponse, read_response
from clarus_async.http.transport_failure import (
    TransportFailure,
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

# A connection that takes longer than this part of an attempt leaves no time for a response. It also ends the wait for
# a connection before the attempt's own timer, so that a timeout tells which of the two it was.
_CONNECT_PART: Final = 0.95
_LARGEST_WRITE: Final = 2**20  # bytes; aiohttp warns of larger bodies, which it would write at once

# aiohttp frames a request by these headers before a middleware can remove them.
_FRAMING: Final = frozenset({"content-length", "expect", "host"})


def proxied_session(proxy: str, max_connections: int) -> ClientSession:
    """Make a session whose requests go through a proxy."""
    connector = aiohttp.TCPConnector(limit=max_connections)
    return aiohttp.ClientSession(proxy=proxy, connector=connector, cookie_jar=aiohttp.DummyCookieJar())


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
        self._timer = AttemptTimer()
        self._direct: DirectSender | None = None

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
        # One more than calls may use, so that a token request never waits for calls that wait for it.
        connector = Connector(self._max_connections + 1)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        self._direct = DirectSender(connector, self._timer) if is_known() else None
        return self._session

    async def send(
        self,
        method: str,
        url: URL,
        headers: RequestHeaders,
        body: bytes | None,
        *,
        idempotency_key: str | None = None,
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
        # On the hot path of a create.
        checkout = Checkout(new_connection)
        session = self._open() if self._session is None else self._session
        connect = min(connect, attempt * _CONNECT_PART)
        timeout = self._timeouts.get(connect) or self._new_timeout(connect)
        once: _SendOnce | None = None
        try:
            if may_send is not None:
                check_may_send(may_send)
            if self._direct is not None and is_unwatched(session) and (body is None or len(body) <= _LARGEST_WRITE):
                return await self._direct.send(
                    method,
                    url,
                    headers,
                    body or b"",
                    idempotency_key=idempotency_key,
                    checkout=checkout,
                    timeout=timeout,
                    expires=now + attempt,
                    cap=cap,
                    may_send=may_send,
                )
            fields = dict(headers.fields)
            if idempotency_key is not None:
                fields["Idempotency-Key"] = idempotency_key
            once = self._send_once(method, fields)
            checkout_of_task.set(checkout)
            data = _data(body, may_send)
            return await self._send_by_session(session, method, url, fields, data, timeout, now + attempt, cap, once)
        except (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError, UnicodeError) as error:
            return transport_failure(error, url, None if once is None else once.proxy, connect, attempt)
        except WithheldError as error:
            return withheld(error)
        except Exception as error:  # noqa: BLE001  the traceback of whatever it is holds the token, so it ends here
            # With the caller's session, our middleware runs last, right before the request is sent.
            sent = checkout.done if self._callers_session is None else once is None or once.sent
            return unexpected(error, url, sent=sent)

    async def _send_by_session(
        self,
        session: ClientSession,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        data: bytes | io.BytesIO | _GuardedBody | None,
        timeout: aiohttp.ClientTimeout,
        expires: float,
        cap: int,
        once: _SendOnce | None,
    ) -> HttpResponse | TransportFailure:
        """Send by aiohttp's session: the caller's own, or ours where it is watched or mocked."""
        response: aiohttp.ClientResponse | None = None
        try:
            # Not aiohttp's total timeout: if that expires as the task is cancelled, it swallows the cancellation, and
            # the call goes on.
            with TaskTimeout(self._timer, expires):
                response = await session.request(
                    method,
                    url,
                    # aiohttp refuses this beside the session's own authentication; the middleware sets it afterwards.
                    headers=headers if once is None or not once.replaces else _without_authorization(headers),
                    data=data,
                    # A redirect would send the tenant's header and the body to wherever the server wants.
                    allow_redirects=False,
                    raise_for_status=False,
                    timeout=timeout,
                    auto_decompress=True,
                    middlewares=None if once is None else (*self._middlewares, once),
                )
                if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and once is not None and once.proxy:
                    return refused_by_proxy(host_port(url.host, url.port), once.proxy, response.status)
                status, fields, content = response.status, response.headers, response.content
                # By its own method, which the caller's traces hear of.
                return await read_response(status, fields, content, cap, response.read)
        except (aiohttp.ClientError, TimeoutError, OSError):
            if response is None:
                raise
            return HttpResponse(response.status, response.headers, b"", whole=False)
        finally:
            if response is not None:
                # After a whole body the connection is back in the pool already; after anything else it can't be used
                # again.
                response.close()

    def _new_timeout(self, connect: float) -> aiohttp.ClientTimeout:
        # aiohttp rounds timeouts above the threshold up to a whole second.
        timeout = aiohttp.ClientTimeout(total=None, connect=connect, ceil_threshold=2 * connect)
        # Views rarely have more different ones; the last attempts of calls have any number.
        if len(self._timeouts) < 16:
            self._timeouts[connect] = timeout
        return timeout

    def _send_once(self, method: str, headers: Mapping[str, str]) -> _SendOnce | None:
        """Return what is needed where a session would add to a request, pass it on, tell of it, or send it twice."""
        session = self._callers_session
        if session is None:
            return _SendOnce() if method == "DELETE" else None
        adds = session.headers or session.auth or session.trust_env or getattr(session, "_default_proxy", None)
        if method != "DELETE" and not adds and not self._middlewares and is_unwatched(session):
            return None
        return _SendOnce(headers, frozenset(session.headers))

    async def close(self) -> None:
        """Close the pool, unless it is the caller's."""
        self._timer.close()
        if self._session is not None and self._callers_session is None:
            await self._session.close()

    def abandon(self) -> None:
        """Drop a pool whose event loop is gone; its sockets were closed with the loop."""
        self._timer = AttemptTimer()
        if self._session is not None and self._callers_session is None:
            connector = self._session.connector
            self._session.detach()
            self._session = self._direct = None
            if connector is not None:
                # Nothing can be awaited on a loop that is gone; one step marks the pool as closed.
                closing = connector.close()
                with contextlib.suppress(StopIteration):
                    closing.__await__().__next__()


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
        self.replaces = headers is not None
        """Whether it replaces the authentication of a caller's session."""
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
