"""The faults that befall an answer on its way: the connection is cut, or carries half of it, or far too much."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from clarus_async.simulator.documents import Answer
from clarus_async.simulator.faults import Fault

_CHUNK: Final = 256 * 1024


def reset(request: web.BaseRequest) -> web.StreamResponse:
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


async def truncated(request: web.BaseRequest, answer: Answer, headers: CIMultiDict[str]) -> web.StreamResponse:
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


async def oversized(
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
    left = max(0, size - len(body))
    spaces = b" " * min(left, _CHUNK)
    while left > 0:
        yield spaces[:left]
        left -= len(spaces)
    yield body


def _gzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=31)
    for chunk in chunks:
        yield packer.compress(chunk)
    yield packer.flush()
