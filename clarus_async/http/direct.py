"""The short way of a request through our own pool: without the objects that aiohttp makes for each request.

aiohttp's connector, resolver, TLS and parser do the work; its session, request and response are left out, which are
most of what a request costs. This is the only module that uses what aiohttp does not document. Where any of that is not
as it is known here, requests take the ordinary way, which costs more and does the same.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector, Connection
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from yarl import URL

from clarus_async.http.attempt_timer import AttemptTimer
from clarus_async.http.pool import Checkout, Connector
from clarus_async.http.response import HttpResponse, read_response
from clarus_async.http.write_guard import check_may_send

# What mocks and instrumentation replace.
_REQUEST: Final = aiohttp.ClientSession._request  # noqa: SLF001
# They depend on the body, so they are no part of what is kept.
_OF_THE_BODY: Final = frozenset({"content-length", "transfer-encoding"})
# A client has one for each tenant and token.
_MOST_HEADS: Final = 256


class RequestHeaders:
    """The headers that many requests have in common, which are encoded once.

    Args:
        fields: by name.
    """

    __slots__ = ("fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields: Mapping[str, str] = fields


class _Head:
    """What requests with the same headers share: an aiohttp request for the connector, and their header lines."""

    __slots__ = ("authority", "lines", "request", "scheme")

    def __init__(self, url: URL, request: aiohttp.ClientRequest, lines: str) -> None:
        self.scheme = url.scheme
        self.authority = url.authority
        self.request = request
        self.lines = lines


class _Exchange:
    """A request that is on the wire, and its response."""

    __slots__ = ("data", "expires", "protocol", "timed_out", "transport")

    def __init__(self, protocol: ResponseHandler, transport: asyncio.Transport, data: bytes, expires: float) -> None:
        self.protocol = protocol
        self.transport = transport
        self.data: bytes | None = data
        self.expires: float = expires
        self.timed_out = False

    def expire(self) -> None:
        self.timed_out = True
        # Not the protocol's abort(), which leaves those waiting that read a body.
        self.transport.abort()


def is_unwatched(session: aiohttp.ClientSession) -> bool:
    """Whether nobody mocks or watches a session."""
    return type(session)._request is _REQUEST and not session.trace_configs  # noqa: SLF001


@functools.cache
def is_known() -> bool:
    """Whether aiohttp is as this module knows it."""
    try:
        return (
            _takes(BaseConnector.connect, "req", "traces", "timeout")
            and _takes(Connection.release)
            and _takes(Connection.close)
            and _takes(ResponseHandler.set_response_params, "read_until_eof", "auto_decompress", "read_timeout")
            and _takes(ResponseHandler.read)
            and ResponseHandler(asyncio.get_running_loop())._waiter is None  # noqa: SLF001
            and _takes(StreamReader.read_nowait, "n")
            and _takes(StreamReader.is_eof)
            and _takes(aiohttp.ClientRequest.__init__, "method", "url", "headers", "loop")
        )
    except (AttributeError, TypeError, ValueError):
        return False


def _takes(function: Callable[..., Any], *names: str) -> bool:
    return set(names) <= set(inspect.signature(function).parameters)


class DirectSender:
    """Sends requests on the connections of a pool.

    Args:
        connector: the pool.
        timer: ends attempts.
    """

    def __init__(self, connector: Connector, timer: AttemptTimer) -> None:
        self._connector = connector
        self._timer = timer
        self._loop = asyncio.get_running_loop()
        self._heads: dict[RequestHeaders, _Head] = {}
        self._unwritten: list[_Exchange] = []

    async def send(
        self,
        method: str,
        url: URL,
        headers: RequestHeaders,
        body: bytes,
        *,
        checkout: Checkout,
        timeout: aiohttp.ClientTimeout,
        expires: float,
        cap: int,
        idempotency_key: str | None = None,
        may_send: Callable[[], bool] | None = None,
    ) -> HttpResponse:
        """Send one request, and read its response.

        Args:
            method: the HTTP method.
            url: where to.
            headers: what is sent beside aiohttp's own.
            body: what is sent.
            checkout: of the connection.
            timeout: of getting a connection.
            expires: when the attempt ends, in seconds on the event loop's clock.
            cap: bytes of the decoded body that are read at most.
            idempotency_key: goes into a header of its own.
            may_send: is asked right before the request is written.

        Raises:
            aiohttp.ClientError: as its session raises.
            TimeoutError: the attempt ended before the response's head had come.
            WithheldError: ``may_send`` does not allow it.
        """
        head = self._heads.get(headers)
        if head is None or head.authority != url.authority or head.scheme != url.scheme:
            head = self._new_head(headers, url)
        extra = "" if idempotency_key is None else f"Idempotency-Key: {_checked(idempotency_key)}\r\n"
        data = f"{method} {url.raw_path_qs} HTTP/1.1\r\n{head.lines}{extra}Content-Length: {len(body)}\r\n\r\n"
        try:
            connection = await self._connector.check_out(head.request, [], timeout, checkout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        protocol = connection.protocol
        reusable = False
        try:
            transport = None if protocol is None else protocol.transport
            if protocol is None or transport is None or transport.is_closing():
                raise aiohttp.ClientConnectionResetError
            protocol.set_response_params(read_until_eof=True)
            exchange = _Exchange(protocol, transport, data.encode() + body, expires)
            if may_send is not None:
                check_may_send(may_send)
                self._write(exchange)
            elif not self._timer.attempts:
                # Nothing else is on the wire, so hardly anything is about to be written with it.
                self._write(exchange)
            else:
                if not self._unwritten:
                    self._loop.call_soon(self._write_all)
                self._unwritten.append(exchange)
            self._timer.add(exchange)
            try:
                response = await self._receive(protocol, exchange, cap)
            finally:
                self._timer.discard(exchange)
                exchange.data = None
            # A response that came before the request was written leaves a rest of it in the buffer.
            if response.whole and not response.too_large and not transport.is_closing():
                reusable = transport.get_write_buffer_size() == 0
            return response
        finally:
            if reusable:
                connection.release()
            else:
                connection.close()

    async def _receive(self, protocol: ResponseHandler, exchange: _Exchange, cap: int) -> HttpResponse:
        while True:
            try:
                message, payload = await protocol.read()
            except Exception:
                if exchange.timed_out:
                    raise TimeoutError from None
                raise
            # 101 is final, and what is below 100 is no interim response either (RFC 9110, section 15.2).
            if not 100 <= message.code < 200 or message.code == 101:
                break
        status, fields = message.code, message.headers
        try:
            if payload is EMPTY_PAYLOAD:
                response = HttpResponse(status, fields, b"")
            elif payload.is_eof() and payload.total_bytes <= cap and "Content-Encoding" not in fields:
                response = HttpResponse(status, fields, payload.read_nowait())
            else:
                response = await read_response(status, fields, payload, cap)
        except (aiohttp.ClientError, OSError):
            response = HttpResponse(status, fields, b"", whole=False)
        # A body that ends where the connection does looks whole where it was our timer that ended it.
        return HttpResponse(status, fields, b"", whole=False) if exchange.timed_out else response

    def _new_head(self, headers: RequestHeaders, url: URL) -> _Head:
        request = aiohttp.ClientRequest("POST", url, headers=headers.fields, loop=self._loop)
        lines = "".join(
            f"{_checked(name)}: {_checked(value)}\r\n"
            for name, value in request.headers.items()
            if name.lower() not in _OF_THE_BODY
        )
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        head = self._heads[headers] = _Head(url, request, lines)
        return head

    def _write_all(self) -> None:
        """Write what was sent in one turn of the event loop: the server is woken once for all of it."""
        exchanges, self._unwritten = self._unwritten, []
        for exchange in exchanges:
            self._write(exchange)

    @staticmethod
    def _write(exchange: _Exchange) -> None:
        # What was cancelled meanwhile is never written. Its task, which waits for the response, may not know it yet.
        waiter = exchange.protocol._waiter  # noqa: SLF001
        cancelled = waiter is not None and waiter.cancelled()
        # uvloop raises where a transport was closed meanwhile.
        if exchange.data is not None and not cancelled and not exchange.transport.is_closing():
            exchange.transport.write(exchange.data)
        exchange.data = None


def _checked(text: str) -> str:
    """Return a part of a head, which no line end may leave."""
    if "\r" in text or "\n" in text or "\0" in text:
        raise ValueError("a header must not have line ends or NUL in it")
    return text
