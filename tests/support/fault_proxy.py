"""A TCP proxy between a client and a server, which spoils what comes through as no HTTP server would.

It knows requests and answers and numbers them, and hands each to a coroutine function that does with it what it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Self
from urllib.parse import urlsplit

from tests.support.stub_server import Asked, StubServer, read_request

Spoil = Callable[["Exchange"], Awaitable[bool | None]]
"""Does something with one request; the connection is kept where it returns true, and else ends in order."""

Greet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Exchange:
    """A request that came through, and all that can be done with it."""

    def __init__(self, proxy: FaultProxy, number: int, raw: bytes, asked: Asked, reader, writer) -> None:
        self.number = number
        self.asked = asked
        self._proxy = proxy
        self._raw = raw
        self._reader = reader
        self._writer = writer

    async def ask(self, dripping: float | None = None) -> tuple[bytes, bytes]:
        """Forward the request whole, and return the answer's head, with its empty line, and body."""
        reader, writer = await asyncio.open_connection(*self._proxy.upstream)
        try:
            await _drip(writer, self._raw, dripping)
            head = await reader.readuntil(b"\r\n\r\n")
            return head, await reader.readexactly(_length(head))
        finally:
            writer.transport.abort()

    async def say(self, data: bytes, every: float | None = None) -> None:
        """Send something to the client, all at once or byte by byte."""
        await _drip(self._writer, data, every)

    async def hold(self) -> None:
        """Keep the connection and say nothing, until the client goes."""
        await self._reader.read()

    def end(self) -> None:
        """Say that nothing more comes (FIN)."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Cut the connection (RST)."""
        reset(self._writer)


class FaultProxy(StubServer):
    """Stands before a server at ``upstream``, an ``http`` URL; every request is noted in ``asked``.

    Args:
        upstream: where requests are forwarded to.
        tls: what is shown to the client.
        greet: has each connection first, before anything is read of it.
    """

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None, greet: Greet | None = None) -> None:
        super().__init__(lambda _: None, tls=tls)
        url = urlsplit(upstream)
        self.upstream = (url.hostname, url.port)
        self.greet = greet
        self._numbers = count()
        self._spoil: Spoil | None = None
        self._path = ""
        self._times = 0

    def spoil(self, spoil: Spoil, path: str = "", times: int | None = None) -> None:
        """Let something befall the next requests to paths that begin with ``path``; ``times``: so many of them."""
        self._spoil, self._path, self._times = spoil, path, -1 if times is None else times

    def heal(self) -> Self:
        """Spoil nothing any more."""
        self._spoil = self.greet = None
        return self

    async def answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self.greet is not None:
            await self.greet(reader, writer)
            return False
        raw, asked = await read_request(reader)
        self.asked.append(asked)
        exchange = Exchange(self, next(self._numbers), raw, asked, reader, writer)
        spoil = self._spoil if asked.path.startswith(self._path) and self._times else None
        if spoil is not None:
            self._times -= 1
            if await spoil(exchange):
                return True
            with contextlib.suppress(OSError):
                writer.close()
                await writer.wait_closed()
            return False
        await exchange.say(b"".join(await exchange.ask()))
        return True


def reset(writer: asyncio.StreamWriter) -> None:
    """Cut a connection with a TCP RST, so that who is at its other end sees no orderly end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _drip(writer: asyncio.StreamWriter, data: bytes, every: float | None) -> None:
    pieces = [data] if every is None else [data[i : i + 1] for i in range(len(data))]
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        if every is not None:
            await asyncio.sleep(every)


def _length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return int(next((value for name, _, value in lines if name == b"content-length"), 0))


# What befalls requests. Those that begin with `ask` have the server do what it is asked.


async def never(exchange: Exchange) -> None:
    """Half-open: the client's request arrives nowhere."""
    await exchange.hold()


async def reset_before(exchange: Exchange) -> None:
    exchange.reset()


async def end_before(exchange: Exchange) -> None:
    exchange.end()


async def reset_after(exchange: Exchange) -> None:
    await exchange.ask()
    exchange.reset()


async def end_then_reset(exchange: Exchange) -> None:
    await exchange.ask()
    exchange.end()
    exchange.reset()


def cut(share: float, *, in_body: bool, how: str) -> Spoil:
    """Stop in the middle of the head or the body, where there is one: ``hold``, ``end`` or ``reset``."""

    async def spoil(exchange: Exchange) -> bool:
        head, body = await exchange.ask()
        if in_body and not body:
            await exchange.say(head)
            return True
        await exchange.say(head + body[: int(len(body) * share)] if in_body else head[: int(len(head) * share)])
        # Where it is read before the reset comes, a reset takes nothing of it away.
        await asyncio.sleep(0.02 if how == "reset" else 0)
        waiting = getattr(exchange, how)()
        if waiting is not None:
            await waiting
        return False

    return spoil


def rewritten(change: Callable[[bytes, bytes], bytes], then: str = "keep", every: float | None = None) -> Spoil:
    """Answer what a function makes of head and body, and then ``keep``, ``hold`` or ``end`` the connection.

    A delete's answer has no body that somebody could wait for.
    """

    async def spoil(exchange: Exchange) -> bool:
        await exchange.say(change(*await exchange.ask()), every)
        if then == "hold" and exchange.asked.method != "DELETE":
            await exchange.hold()
        return then != "end"

    return spoil


def without_length(head: bytes) -> bytes:
    """Take the length out of a head, and its empty line."""
    lines = head.rstrip(b"\r\n").split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(b"content-length")) + b"\r\n"


def length(change: Callable[[int], object]) -> Callable[[bytes, bytes], bytes]:
    """Promise another length than the body's."""
    return lambda head, body: without_length(head) + f"Content-Length: {change(len(body))}\r\n\r\n".encode() + body


def headed(line: bytes) -> Callable[[bytes, bytes], bytes]:
    """Put a line into the head."""
    return lambda head, body: head[:-2] + line + b"\r\n\r\n" + body


def chunked(head: bytes, body: bytes) -> bytes:
    """Send the body in chunks of a byte."""
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    return without_length(head) + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def endless(piece: bytes, every: float | None = None, before: Callable[[bytes], bytes] = lambda head: head) -> Spoil:
    """Go on for as long as somebody listens."""

    async def spoil(exchange: Exchange) -> None:
        head, _ = await exchange.ask()
        await exchange.say(before(head))
        while True:
            await exchange.say(piece)
            # A writer that is never full would never let anybody else run.
            await asyncio.sleep(every or 0)

    return spoil


def only(number: int, spoil: Spoil) -> Spoil:
    """Let something befall the request of this number, from 0, and no other."""

    async def at(exchange: Exchange) -> bool | None:
        if exchange.number == number:
            return await spoil(exchange)
        await exchange.say(b"".join(await exchange.ask()))
        return True

    return at


async def dripping_both_ways(exchange: Exchange) -> bool:
    head, body = await exchange.ask(dripping=0)
    await exchange.say(head + body, every=0)
    return True


def dripped(every: float) -> Spoil:
    """Answer a byte at a time."""
    return rewritten(lambda head, body: head + body, every=every)


async def answered_twice(exchange: Exchange) -> bool:
    """Answer, and answer once more when the client has gone on."""
    answer = b"".join(await exchange.ask())
    await exchange.say(answer)
    await asyncio.sleep(0.02)
    await exchange.say(answer)
    return True


# What befalls connections before a byte of HTTP: for a client that wants TLS.


def alert(description: int) -> Greet:
    """Refuse the handshake with a fatal alert (RFC 8446, section 6)."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(bytes([21, 3, 3, 0, 2, 2, description]))
        await writer.drain()

    return greet


async def reset_the_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    reset(writer)


async def hold_the_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # A ServerHello's first bytes, so that something of an answer is there.
    writer.write(bytes([22, 3, 3, 0, 122, 2, 0, 0]))
    await reader.read()


async def another_protocol(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await reader.read(1)
