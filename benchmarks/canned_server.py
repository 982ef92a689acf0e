"""A server that answers every create at once and lists what it is told to: some asyncio, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import cast

_PAGE = 100
_ATTRIBUTES = {
    "name": "Shopify Store",
    "is_active": True,
    "account_id": None,
    "warehouse_id": None,
    "configuration": {"api_key": "your-api-key", "shop_domain": "mystore.myshopify.com"},
    "external_system_reference1": "shop-1",
}


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@functools.cache
def _page(first: int, rows: int, end: str | None) -> bytes:
    edges = [
        {
            "cursor": str(n),
            "node": {
                "id": str(n),
                "name": f"Shop {n}",
                "integration_provider": "shopify",
                "integration_type": "ecommerce",
                "status": "active",
                "enabled": True,
                "created_at": "2026-01-10T12:00:00Z",
            },
        }
        for n in range(first, first + rows)
    ]
    page = {"edges": edges, "pageInfo": {"hasNextPage": end is not None, "endCursor": end}}
    return _answer(json.dumps({"data": {"integrations": {"all": page}}}).encode())


_TOKEN = _answer(json.dumps({"access_token": "t", "token_type": "Bearer"}).encode())
# The id always has nine digits, so that the answer is as long as it says.
# Introspection is switched off.
_NO_SCHEMA = _answer(b'{"data": {"__schema": null}}')
_CREATE = _answer(json.dumps({"data": {"id": 123456789, "type": "integrations", "attributes": _ATTRIBUTES}}).encode())
_BEFORE_ID, _AFTER_ID = _CREATE.split(b"123456789")


class Canned(asyncio.Protocol):
    """One connection; what it lists and counts is common to all."""

    last = 100_000_000
    answered = 0
    rows = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is none of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, separator, rest = self._received.partition(b"\r\n\r\n")
            if not separator:
                return
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            self._received = rest[length:]
            Canned.answered += 1
            self._transport.write(self._reply(head, rest[:length]))

    def _reply(self, head: bytes, body: bytes) -> bytes:
        if b" /graphql " in head[:40]:
            if b"__schema" in body:
                return _NO_SCHEMA
            variables = json.loads(body)["variables"]
            if variables.get("filter"):
                return _page(0, 0, None)
            first = int(variables.get("after") or 0)
            rows = min(_PAGE, self.rows - first)
            return _page(first, rows, str(first + rows) if first + rows < self.rows else None)
        if b" /oauth/" in head[:40]:
            return _TOKEN
        Canned.last += 1
        return b"%b%d%b" % (_BEFORE_ID, Canned.last, _AFTER_ID)


def _serve(pipe: Connection, rows: int, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    Canned.rows = rows

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        while await asyncio.to_thread(pipe.recv):
            pipe.send((time.process_time(), Canned.answered))
        server.close()

    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(main())


class CannedServer:
    """A server that runs."""

    def __init__(self, url: str, pipe: Connection) -> None:
        self.url = url
        self._pipe = pipe

    def spent(self) -> tuple[float, int]:
        """Return the seconds of CPU that it has spent, and the requests that it has answered."""
        self._pipe.send(True)
        spent: tuple[float, int] = self._pipe.recv()
        return spent


@contextlib.contextmanager
def canned_server(*, rows: int = 0, apart: bool = False) -> Iterator[CannedServer]:
    """Start the server.

    Args:
        rows: how many it lists where no filter is given.
        apart: it has a core, and whoever calls this has the others, where the system can do that.
    """
    cores = sorted(os.sched_getaffinity(0)) if apart and hasattr(os, "sched_getaffinity") else []
    core = cores[-1] if len(cores) > 1 else None
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, rows, core), daemon=True)
    process.start()
    theirs.close()
    if core is not None:
        os.sched_setaffinity(0, cores[:-1])
    try:
        yield CannedServer(f"http://127.0.0.1:{ours.recv()}", ours)
    finally:
        if core is not None:
            os.sched_setaffinity(0, cores)
        ours.close()
        process.join(5)
        process.terminate()
