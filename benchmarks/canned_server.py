"""A server that answers every create at once and lists nothing: a few lines of asyncio, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection

_EMPTY = {"integrations": {"all": {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}}}
_ATTRIBUTES = {
    "name": "Shopify Store",
    "is_active": True,
    "account_id": None,
    "warehouse_id": None,
    "configuration": {"api_key": "your-api-key", "shop_domain": "mystore.myshopify.com"},
    "external_system_reference1": "shop-1",
}


def _answer(document: object) -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_LIST = _answer({"data": _EMPTY})
_TOKEN = _answer({"access_token": "t", "token_type": "Bearer"})
_CREATE = json.dumps({"data": {"id": 123456789, "type": "integrations", "attributes": _ATTRIBUTES}})


class _Canned(asyncio.Protocol):
    last = 100_000_000

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
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
            self._transport.write(self._reply(head))

    def _reply(self, head: bytes) -> bytes:
        if b" /graphql " in head[:40]:
            return _LIST
        if b" /oauth/" in head[:40]:
            return _TOKEN
        _Canned.last += 1
        body = _CREATE.replace("123456789", str(_Canned.last))
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        ) + body.encode()


def _serve(pipe: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Canned, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(pipe.recv)
        server.close()

    with contextlib.suppress(EOFError, KeyboardInterrupt):
        asyncio.run(main())


@contextlib.contextmanager
def canned_server() -> Iterator[str]:
    """Start the server, and say where it is."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        ours.close()
        process.join(5)
        process.terminate()
