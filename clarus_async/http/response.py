"""A response, and its body, which is read up to a cap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp.streams import StreamReader

_READ_SIZE: Final = 64 * 2**10  # bytes, the limit of asyncio's own stream buffers


class HttpResponse:
    """A response whose status line was received, and its decoded body as far as it was read."""

    __slots__ = ("body", "headers", "status", "too_large", "whole")

    def __init__(
        self, status: int, headers: Mapping[str, str], body: bytes, whole: bool = True, too_large: bool = False
    ) -> None:
        self.status: int = status
        self.headers: Mapping[str, str] = headers
        self.body: bytes = body
        self.whole: bool = whole
        self.too_large: bool = too_large

    def __repr__(self) -> str:
        # The rest may hold secrets.
        return f"{type(self).__name__}({self.status})"


async def read_response(
    status: int,
    headers: Mapping[str, str],
    content: StreamReader,
    cap: int,
    read: Callable[[], Awaitable[bytes]] | None = None,
) -> HttpResponse:
    """Read the body of a response, of which at most ``cap`` decoded bytes; ``read`` reads one that is known to fit."""
    length = headers.get("Content-Length")
    # The parser refuses a length that is not a number.
    if length is not None and "Content-Encoding" not in headers and int(length) <= cap:
        # The parser delivers no more than Content-Length says.
        return HttpResponse(status, headers, await (read or content.read)())
    chunks: list[bytes] = []
    size = 0
    # Decoding pauses while nobody reads, so no more than one chunk ahead of this loop is in memory.
    while chunk := await content.read(_READ_SIZE):
        size += len(chunk)
        if size > cap:
            return HttpResponse(status, headers, b"".join(chunks), whole=True, too_large=True)
        chunks.append(chunk)
    return HttpResponse(status, headers, b"".join(chunks))
