"""A hand-written HTTP server of a few lines: what it answers is a function of what it is asked.

For what the simulator would never do: echo secrets, rotate without mercy, answer tokens that make no sense.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from tests.support.streams import StreamServer

TOKEN_PATH = "/oauth/token"


class Asked(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


class Reply(NamedTuple):
    """What is answered; ``None`` instead of one cuts the connection."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[str, ...] = ("Content-Type: application/json",)


def reply(document: Any = None, status: int = 200, *headers: str) -> Reply:
    """Answer a JSON document."""
    return Reply(status, json.dumps({} if document is None else document).encode(), (*Reply().headers, *headers))


def bearer(value: str, **more: Any) -> Reply:
    """Answer a token."""
    return reply({"access_token": value, "token_type": "Bearer"} | more)


def created(number: int = 1) -> Reply:
    """Answer a create."""
    return reply({"data": {"id": number, "type": "integrations", "attributes": {"name": "Shop"}}})


Handler = Callable[[Asked], Reply | None | Awaitable[Reply | None]]


class StubServer(StreamServer):
    """Serves ``answer``, or ``token`` for the token endpoint; every request is noted in ``asked``."""

    def __init__(self, answer: Handler, token: Handler | None = None, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self._answer = answer
        self._token = token or (lambda _: bearer(f"stub-token-{self.count(TOKEN_PATH)}"))
        self.asked: list[Asked] = []

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(asked.path == path for asked in self.asked)

    @property
    def open_connections(self) -> int:
        return len(self._serving)

    async def answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        _, asked = await read_request(reader)
        self.asked.append(asked)
        answer = (self._token if asked.path == TOKEN_PATH else self._answer)(asked)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is None:
            return False
        parts = [f"HTTP/1.1 {answer.status} Whatever", f"Content-Length: {len(answer.body)}", *answer.headers, "", ""]
        writer.write("\r\n".join(parts).encode() + answer.body)
        await writer.drain()
        return True


@contextlib.contextmanager
def in_a_thread(server: StubServer) -> Iterator[StubServer]:
    """Serve on a loop of its own in a thread, so that the server outlives the test's loops."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def on_its_loop(coroutine: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(5)

    on_its_loop(server.__aenter__())
    yield server
    on_its_loop(server.__aexit__())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, Asked]:
    """Read a request; return its bytes and what they say."""
    raw = await reader.readuntil(b"\r\n\r\n")
    line, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = line.split(" ")
    return raw + body, Asked(method, path, headers, body)
