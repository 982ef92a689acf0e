"""Where aiohttp is used: a request goes out, and what came back is returned as a value.

Nothing here raises for what a server or a network does. An exception of aiohttp's holds the request's headers, and so
the token; it ends here.
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
from clarus_async.http.no_answer import (
    Unanswered,
    UnaskedAnswerError,
    refused_by_proxy,
    unanswered,
    unexpected,
    withheld,
)
from clarus_async.http.write_guard import WithheldError, WriteGuard, ask

ClientSession = aiohttp.ClientSession

BODY_CAP: Final = 8 * 2**20
"""Bytes of a decoded answer. A page of 100 rows is some 20 KiB; a 292 KiB gzip can hold 300 MB."""

USER_AGENT: Final = f"clarus-async/{__version__} aiohttp/{aiohttp.__version__}"

# A call on a new connection costs 2.5 times one on a connection that was kept, and 11 times with TLS (python -m
# benchmarks connections). But this is below the 5 s of Apache, Node and uvicorn: a POST on a connection that the server
# is about to close has an unknown outcome, and that costs far more than a handshake.
_KEEP_ALIVE: Final = 4.0
# Looking a name up costs as much as a call. A minute is what name servers of clouds say, so that a change gets through.
_DNS_CACHE: Final = 60
# A connection that takes longer than this part of an attempt leaves no time for an answer. It also ends the wait for
# a connection before the attempt's own timer, so that a timeout tells which of the two it was.
_CONNECT_PART: Final = 0.95
_ONE_READ: Final = 64 * 2**10
_ONE_WRITE: Final = 2**20


# aiohttp has framed a request by these before a middleware can take them out.
_FRAMING: Final = frozenset({"content-length", "expect", "host"})


class _GuardedBody(aiohttp.BytesIOPayload):
    """A body that is written behind a fence, and with it the headers, which aiohttp holds back for it."""

    def __init__(self, body: bytes, may_send: Callable[[], bool]) -> None:
        super().__init__(io.BytesIO(body))
        self._may_send = may_send

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        protocol = cast("StreamWriter", writer).protocol
        if (transport := protocol.transport) is None:
            raise aiohttp.ClientConnectionResetError
        protocol.transport = fence = cast("asyncio.Transport", WriteGuard(transport, self._may_send))
        try:
            await super().write_with_length(writer, content_length)
        finally:
            if protocol.transport is fence:
                protocol.transport = transport


# Not frozen, for one is made for each attempt; nobody changes it.
@attrs.define(eq=False)
class Received:
    """An answer whose status line was read.

    Args:
        status: the HTTP status code.
        headers: the answer's headers.
        body: its decoded body, as far as it was read.
        whole: whether that is all of it.
        too_large: whether reading stopped at the cap.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    whole: bool = True
    too_large: bool = False


class Session:
    """A pool of connections on one event loop.

    Args:
        max_connections: the pool's width, where the session is ours.
        session: the caller's own, never closed by us.

    Raises:
        ConfigurationError: the caller's session has a cookie jar, which would carry one tenant's cookie to another, or
            a default header that frames requests.
    """

    def __init__(self, max_connections: int, session: ClientSession | None = None) -> None:
        if session is not None:
            _check(session)
        self._max_connections = max_connections
        self._theirs = session
        self._session = session
        # aiohttp has no public name for the middlewares of a session, and ours must not replace the caller's.
        self._middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = tuple(getattr(session, "_middlewares", ()))
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    @property
    def width(self) -> int:
        """How many requests the pool takes at once."""
        connector = None if self._theirs is None else self._theirs.connector
        if connector is None:
            return self._max_connections
        limits = [self._max_connections, connector.limit, connector.limit_per_host]
        return min(limit for limit in limits if limit > 0)

    @property
    def closed(self) -> bool:
        """Whether the caller closed the session that was passed in."""
        return self._theirs is not None and self._theirs.closed

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
        fresh: bool = False,
    ) -> Received | Unanswered:
        """Send one request and read its whole answer.

        Args:
            method: the HTTP method.
            url: where to.
            headers: what is sent with it, beside aiohttp's own.
            body: what is sent in it.
            now: seconds on the event loop's clock.
            connect: seconds for a connection.
            attempt: seconds for everything.
            cap: bytes of decoded body that are read at the most.
            may_send: is asked before the request, and once more right before anything of one with a body is written.
            fresh: use no connection that was used before, where the session is ours; those that are idle are closed.
        """
        lending = _Lending(fresh)
        _lending.set(lending)
        session = self._open()
        response: aiohttp.ClientResponse | None = None
        once = self._once(method, headers)
        connect = min(connect, attempt * _CONNECT_PART)
        try:
            if may_send is not None:
                ask(may_send)
            # Not aiohttp's total timeout: where that runs out as the task is cancelled, it takes the cancellation for
            # its own, and the call goes on.
            async with asyncio.timeout_at(now + attempt):
                response = await session.request(
                    method,
                    url,
                    # Beside the session's own authentication, aiohttp refuses ours; it goes in behind it.
                    headers=headers if self._theirs is None else _without_authorization(headers),
                    data=_data(body, may_send),
                    # A redirect would send the tenant's header and the body to wherever the server says.
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
                return Received(response.status, response.headers, b"", whole=False)
            return unanswered(error, url, None if once is None else once.proxy, connect, attempt)
        except WithheldError as error:
            return withheld(error)
        except Exception as error:  # noqa: BLE001  the traceback of whatever it is holds the token, so it ends here
            # Ours comes last before a request is sent, where the connections are the caller's.
            sent = lending.lent if self._theirs is None or once is None else once.sent
            return unexpected(error, url, sent=sent)
        finally:
            if response is not None:
                # After a whole body the connection went back to the pool already; after anything else it is spoilt.
                response.close()

    def _timeout(self, connect: float) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get(connect)
        if timeout is None:
            # aiohttp would round what is longer than the threshold up to a whole second.
            timeout = aiohttp.ClientTimeout(total=None, connect=connect, ceil_threshold=2 * connect)
            if len(self._timeouts) < 16:
                self._timeouts[connect] = timeout
        return timeout

    def _once(self, method: str, headers: Mapping[str, str]) -> _Once | None:
        if self._theirs is not None:
            return _Once(headers, frozenset(self._theirs.headers))
        return _Once() if method == "DELETE" else None

    async def close(self) -> None:
        """Close the pool, unless it is the caller's."""
        if self._session is not None and self._theirs is None:
            await self._session.close()

    def abandon(self) -> None:
        """Let go of a pool whose event loop is gone; its sockets were closed with the loop."""
        if self._session is not None and self._theirs is None:
            connector = self._session.connector
            self._session.detach()
            self._session = None
            if connector is not None:
                # Where the loop is gone nothing can be waited for: one step marks the pool as closed.
                closing = connector.close()
                with contextlib.suppress(StopIteration):
                    closing.__await__().__next__()


class _Lending:
    """What a request wants of our connector, and whether it was lent a connection.

    Args:
        fresh: one that was not used before.
    """

    __slots__ = ("fresh", "lent")

    def __init__(self, fresh: bool) -> None:
        self.fresh = fresh
        self.lent = False


# That of the task's request: aiohttp passes nothing of ours to its connector.
_lending: ContextVar[_Lending] = ContextVar("_lending")


class _Connector(aiohttp.TCPConnector):
    """Lends no connection on which something came that nobody asked for, nor a used one to who wants a fresh one.

    aiohttp looks when a connection is given back, and not again when it is lent: what came in between, such as an
    answer that a proxy sent twice, it takes for the answer to the next request. And where a gateway has closed one idle
    connection, it has closed the others: each would cost a request whose outcome is unknown.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=_DNS_CACHE)
        self._lent: WeakSet[object] = WeakSet()

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
                raise UnaskedAnswerError
            lending = _lending.get()
            if not lending.fresh or protocol not in self._lent:
                self._lent.add(protocol)
                lending.lent = True
                return connection
            connection.close()


def _data(body: bytes | None, may_send: Callable[[], bool] | None) -> bytes | io.BytesIO | _GuardedBody | None:
    if body is None:
        return None
    if may_send is not None:
        return _GuardedBody(body, may_send)
    # aiohttp warns of bytes larger than this, which it would write in one go.
    return body if len(body) <= _ONE_WRITE else io.BytesIO(body)


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


class _Once:
    """An aiohttp middleware that lets a request out once, and without a session's default headers and authentication.

    aiohttp sends an idempotent request again by itself when a kept-alive connection turns out dead. A DELETE that
    worked then comes back as 404, and nobody knows that it was sent twice.
    """

    def __init__(self, ours: Mapping[str, str] | None = None, defaults: frozenset[str] = frozenset()) -> None:
        self.proxy: str | None = None
        """Host and port of the proxy that the request goes through, if any."""
        self.sent = False
        """Whether it went past the caller's own middlewares."""
        self._ours = ours
        kept = {name.lower() for name in ours or ()}
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
        if self._ours is not None:
            request.headers.popall("Authorization", None)
            if (authorization := self._ours.get("Authorization")) is not None:
                request.headers["Authorization"] = authorization
        return await handler(request)


async def _read(response: aiohttp.ClientResponse, cap: int) -> Received:
    status, headers = response.status, response.headers
    length = headers.get("Content-Length")
    # The parser has refused a length that is no number.
    if length is not None and "Content-Encoding" not in headers and int(length) <= cap:
        # The parser delivers no more than Content-Length says.
        return Received(status, headers, await response.read())
    chunks: list[bytes] = []
    size = 0
    # Decoding stops while nobody reads, so what is in memory is a chunk ahead of this loop and no more.
    while chunk := await response.content.read(_ONE_READ):
        size += len(chunk)
        if size > cap:
            return Received(status, headers, b"".join(chunks), whole=True, too_large=True)
        chunks.append(chunk)
    return Received(status, headers, b"".join(chunks))
