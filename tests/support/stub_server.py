"""Servers on loopback, out of asyncio's streams: nothing of them is left when their ``with`` ends.

:class:`StubServer` answers what the simulator never would: echoes of secrets, tokens that make no sense. What it
answers is a function of what it is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

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


class StreamServer:
    """Answers the requests of each connection one after the other, as :meth:`answer_one` does."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        # asyncio forgets a connection that it accepted if the server closes before the connection is made.
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        await _turns()
        self._server.close()
        for _ in range(2):
            # Those that were just made have yet to begin, and those that are cut have yet to end.
            await _turns()
            serving = list(self._serving)
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
        await _turns()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        try:
            # Cancelled only by us; asyncio's streams would report that as a failure of the callback.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self.answer_one(reader, writer):
                    pass
        finally:
            self.end(writer)
            self._serving.discard(asyncio.current_task())

    async def answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; say whether the connection stays open."""
        raise NotImplementedError

    def end(self, writer: asyncio.StreamWriter) -> None:
        """End a connection."""
        writer.transport.abort()


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


@contextlib.asynccontextmanager
async def listening(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Have a handler serve each connection, and yield the port; whatever it leaves open is closed at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await _turns()


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
