"""One request from arrival to answer: read it, inject a fault, serve it, and deliver the answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import attrs
from aiohttp import web
from multidict import CIMultiDict

from clarus_async.simulator import spoil
from clarus_async.simulator.clock import Clock
from clarus_async.simulator.documents import Answer, not_found, problem, problems
from clarus_async.simulator.faults import Endpoint, Fault, FaultKind, FaultPlan
from clarus_async.simulator.listener import Listener
from clarus_async.simulator.log import LoggedRequest, RequestLog
from clarus_async.simulator.resources import RESOURCES
from clarus_async.simulator.service import Service

_FIXED: Final = {("POST", "/oauth/token"): Endpoint.TOKEN, ("POST", "/graphql"): Endpoint.GRAPHQL}
_OF_A_RECORD: Final = {
    ("PATCH", ""): Endpoint.UPDATE,
    ("DELETE", ""): Endpoint.DELETE,
    ("POST", "synchronize"): Endpoint.SYNCHRONIZE,
}


_CHUNK: Final = 256 * 1024


class Route(NamedTuple):
    """What a request asks for, and of what."""

    endpoint: Endpoint | None
    resource: str | None = None
    record_id: int | None = None


def route(method: str, target: str) -> Route:
    """Return what a request asks for (CLARUS_API.md §1 and §5)."""
    path = target.partition("?")[0]
    name, _, rest = path.removeprefix("/api/").partition("/")
    resource = RESOURCES.get(name) if path.startswith("/api/") else None
    if resource is None:
        return Route(_FIXED.get((method, path)))
    if path == f"/api/{resource.name}":
        return Route(Endpoint.CREATE if method == "POST" else None, resource.name)
    record, _, action = rest.partition("/")
    endpoint = _OF_A_RECORD.get((method, action))
    is_id = record.isascii() and record.isdecimal() and len(record) < 19
    return Route(endpoint if endpoint in resource.operations else None, resource.name, int(record) if is_id else None)


@attrs.define(kw_only=True, eq=False)
class Shell:
    """Handles requests, and owns everything that has to end when the simulator stops."""

    _service: Service
    _plan: FaultPlan
    _log: RequestLog
    _clock: Clock
    _listener: Listener
    """The listening socket, which a fault may close."""
    _latency: Callable[[], float]
    """Returns the seconds to wait before an answer."""
    _server: web.Server | None = attrs.field(default=None, init=False)
    _serving: dict[web.RequestHandler, asyncio.Task[None]] = attrs.field(factory=dict, init=False)
    _late: set[asyncio.TimerHandle] = attrs.field(factory=set, init=False)

    def open(self) -> web.Server:
        """Return a fresh factory of connections."""
        loop = asyncio.get_running_loop()

        def read(message, payload, protocol, writer, task):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=16 * 2**20)

        self._server = web.Server(self._handle, request_factory=read, access_log=None)
        return self._server

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        return sum(connection.transport is not None for connection in self._connections())

    def drop_idle(self) -> None:
        """Close the connections on which no request is being served."""
        for connection in self._connections():
            if connection not in self._serving:
                connection.force_close()

    async def close(self) -> None:
        """Cancel what is going on, late applies too, and close every connection."""
        for handle in self._late:
            handle.cancel()
        self._late.clear()
        for task in self._serving.values():
            task.cancel()
        if self._server is not None:
            for connection in self._connections():
                # An orderly end under TLS would wait for the client's goodbye.
                if connection.transport is not None:
                    connection.transport.abort()
            await self._server.shutdown(1.0)
            self._server = None
            # Transports report their end in the loop's next turn.
            await asyncio.sleep(0)

    def _connections(self) -> list[web.RequestHandler]:
        return [] if self._server is None else self._server.connections

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        # A connection has one request at a time.
        self._serving[request.protocol] = request.task
        try:
            return await self._serve(request)
        finally:
            del self._serving[request.protocol]

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        endpoint, resource, record_id = route(request.method, request.raw_path)
        entry = LoggedRequest(
            at=self._clock.now(),
            endpoint=endpoint,
            method=request.method,
            path=request.raw_path,
            tenant=request.headers.get("X-Clarus-Subdomain"),
            headers=request.headers,
            request_id=self._log.next_id(),
            resource=resource,
            record_id=record_id,
        )
        self._log.add(entry)
        try:
            entry.body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            refusal = problems(413, problem("too_large", "too_large", "The body is too large"))
            return await self._send(request, entry, refusal, None)
        except (OSError, web.RequestPayloadError):
            # The client left in the middle of its request: nothing was asked.
            return _reset(request)
        if endpoint is None:
            return await self._send(request, entry, self._elsewhere(entry), None)
        self._service.arrived(entry)
        fault = self._plan.draw(endpoint, entry.tenant)
        if fault is None:
            return await self._admitted(request, entry, None)
        entry.fault = fault.kind
        return await self._inject(request, entry, fault)

    def _elsewhere(self, entry: LoggedRequest) -> Answer:
        if entry.method == "GET" and entry.path.partition("?")[0] == "/oauth/authorize":
            return self._service.authorization_redirect(entry, self._clock.now())
        return not_found(f"{entry.method} {entry.path}")

    async def _admitted(
        self, request: web.BaseRequest, entry: LoggedRequest, fault: Fault | None
    ) -> web.StreamResponse:
        """Serve a request if it may come in; it is under way for a limiter until its answer is sent."""
        now = self._clock.now()
        if entry.endpoint is Endpoint.TOKEN:
            return await self._answer(request, entry, self._service.token(entry, now), fault)
        admission = self._service.admit(entry, now)
        try:
            if admission.refusal is not None:
                answer = admission.refusal
            else:
                if admission.delay:
                    await asyncio.sleep(admission.delay)
                stale = fault.delay if fault is not None and fault.kind is FaultKind.STALE_LIST else 0.0
                answer = self._service.apply(entry, self._clock.now(), stale=stale)
            answer = attrs.evolve(answer, headers={**answer.headers, **admission.headers})
            return await self._answer(request, entry, answer, fault)
        finally:
            admission.leave(self._clock.now())

    async def _answer(
        self, request: web.BaseRequest, entry: LoggedRequest, answer: Answer, fault: Fault | None
    ) -> web.StreamResponse:
        """Deliver what the server did, or what a fault makes of that."""
        if fault is None:
            return await self._send(request, entry, answer, None)
        now = self._clock.now()
        if fault.kind is FaultKind.STALL_AFTER:
            await asyncio.sleep(fault.delay)
        if fault.kind in {FaultKind.STALL_AFTER, FaultKind.RESET_AFTER}:
            return _reset(request)
        return await self._send(request, entry, spoil.answer_after(fault, answer, self._clock.wall(now)), fault)

    async def _inject(self, request: web.BaseRequest, entry: LoggedRequest, fault: Fault) -> web.StreamResponse:
        match fault.kind:
            case FaultKind.REFUSE:
                self._listener.refuse_for(fault.delay)
                self.drop_idle()
                return _reset(request)
            case FaultKind.RESET_BEFORE:
                return _reset(request)
            case FaultKind.STALL_BEFORE:
                await asyncio.sleep(fault.delay)
                return _reset(request)
            case FaultKind.LATE_APPLY:
                self._apply_later(entry, fault.delay)
                return _reset(request)
            case FaultKind.GATEWAY_TIMEOUT:
                self._apply_later(entry, fault.delay)
        answer = spoil.answer_instead(fault, entry, self._clock.wall(self._clock.now()))
        if answer is not None:
            return await self._send(request, entry, answer, None)
        return await self._admitted(request, entry, fault)

    def _apply_later(self, entry: LoggedRequest, delay: float) -> None:
        admission = self._service.admit(entry, self._clock.now())
        if admission.refusal is not None:
            return

        def apply() -> None:
            self._late.discard(handle)
            self._service.apply(entry, self._clock.now())
            admission.leave(self._clock.now())

        handle = asyncio.get_running_loop().call_later(admission.delay + delay, apply)
        self._late.add(handle)

    async def _send(
        self, request: web.BaseRequest, entry: LoggedRequest, answer: Answer, fault: Fault | None
    ) -> web.StreamResponse:
        if wait := self._latency():
            await asyncio.sleep(wait)
        if request.transport is None or request.transport.is_closing():
            return _reset(request)
        headers = CIMultiDict(answer.headers)
        headers["Date"] = self._clock.http_date(self._clock.now())
        headers["X-Request-Id"] = entry.request_id
        headers["Server"] = "clarus-simulator"
        if answer.body:
            headers["Content-Type"] = answer.content_type
        entry.status = answer.status
        if fault is not None and fault.kind is FaultKind.TRUNCATED:
            return await _truncated(request, answer, headers)
        if fault is not None and fault.kind is FaultKind.OVERSIZED:
            response = await _oversized(request, fault, answer, headers)
        else:
            response = web.Response(status=answer.status, body=answer.body or None, headers=headers)
        if not self._listener.is_open:
            # A refusing server keeps no connection alive on which it could be reached.
            response.force_close()
        return response


def _reset(request: web.BaseRequest) -> web.StreamResponse:
    """Cut the connection with a TCP RST, so that the client sees a reset and no orderly end."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        descriptor = None if connection is None else connection.fileno()
        # A simulated network has no file descriptors, and no RST either.
        if isinstance(descriptor, int) and descriptor >= 0:
            # A duplicate, because not every event loop lets its own socket be touched.
            with socket.socket(fileno=os.dup(descriptor)) as duplicate:
                duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()  # the server insists on one; it goes nowhere


async def _truncated(request: web.BaseRequest, answer: Answer, headers: CIMultiDict[str]) -> web.StreamResponse:
    """Send half of the answer, which promises all of it, and close the connection.

    An answer without a body ends in the middle of its headers.
    """
    transport = request.transport
    if transport is None:
        return web.Response()
    if not answer.body:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {answer.status} No Content\r\n{lines}\r\n".encode()
        transport.write(head[: len(head) // 2])
        transport.close()
        return web.Response()
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_length = len(answer.body)
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
    transport.close()
    return response


async def _oversized(
    request: web.BaseRequest, fault: Fault, answer: Answer, headers: CIMultiDict[str]
) -> web.StreamResponse:
    """Send the answer behind so many spaces that it is ``fault.size`` bytes long, without ever holding it."""
    response = web.StreamResponse(status=answer.status, headers=headers)
    chunks = _padded(answer.body, fault.size)
    if fault.gzip:
        response.headers["Content-Encoding"] = "gzip"
        chunks = _gzipped(chunks)
    else:
        response.content_length = max(fault.size, len(answer.body))
    # A client that has seen enough hangs up; that is what the fault is for.
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        for chunk in chunks:
            if chunk:
                await response.write(chunk)
            await asyncio.sleep(0)
    return response


def _padded(body: bytes, size: int) -> Iterator[bytes]:
    for left in range(size - len(body), 0, -_CHUNK):
        yield b" " * min(left, _CHUNK)
    yield body


def _gzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=31)
    for chunk in chunks:
        yield packer.compress(chunk)
    yield packer.flush()
