"""Our pool's own way of sending a request, and aiohttp's: they send the same bytes, and come to the same ends."""

import asyncio
import contextlib
import gc
import gzip
import socket
import warnings
import weakref

import aiohttp
import pytest
from yarl import URL

from clarus_async.http import direct
from clarus_async.http import session as module
from clarus_async.http.direct import RequestHeaders
from clarus_async.http.response import HttpResponse
from clarus_async.http.session import Session
from clarus_async.retry.effect import NoResponse
from tests.support.stub_server import StreamServer

HEADERS = RequestHeaders({"Authorization": "Bearer t", "Content-Type": "application/json", "User-Agent": "us"})
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(autouse=True)
def _both(request):
    if request.config.getoption("--ordinary"):
        pytest.skip("compares both ways")


@pytest.fixture(params=["direct", "aiohttp"])
def way(request, monkeypatch):
    """Which way a request takes."""
    if request.param == "aiohttp":
        monkeypatch.setattr(module, "is_known", lambda: False)
    return request.param


class RawServer(StreamServer):
    """Answers bytes, or by a coroutine, which is given the writer; what it received is in ``received``."""

    def __init__(self, answer):
        super().__init__()
        self._answer = answer
        self.early = False
        """Answer when the head has come, and read no body."""
        self.received = []
        self.connections = 0

    @property
    def address(self):
        return URL(f"{self.url}/api/integrations?a=b%20c")

    async def _serve(self, reader, writer):
        self.connections += 1
        await super()._serve(reader, writer)

    async def answer_one(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
        if not self.early:
            self.received.append(head + await reader.readexactly(length))
        if callable(self._answer):
            await self._answer(writer)
        else:
            writer.write(self._answer)
            await writer.drain()
        if self.early:
            await asyncio.sleep(3600)
        return True


async def stall(_):
    await asyncio.sleep(3600)


@contextlib.asynccontextmanager
async def pool(size=4):
    session = Session(size)
    try:
        yield session
    finally:
        await session.close()


async def send(session, url, body=b"{}", method="POST", headers=HEADERS, attempt=5.0, **options):
    now = asyncio.get_running_loop().time()
    return await session.send(method, url, headers, body, now=now, connect=5.0, attempt=attempt, **options)


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("body", [None, b"{}", b"x" * 100_000], ids=["no body", "a body", "a long body"])
@pytest.mark.parametrize("key", [None, "0123-abcd"])
async def test_both_ways_send_the_same_bytes(method, body, key):
    async with RawServer(OK) as server, pool() as session:
        await send(session, server.address, body, method, idempotency_key=key)
        session._direct = None
        await send(session, server.address, body, method, idempotency_key=key)

    def sorted_lines(request):
        head, _, rest = request.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        return first, sorted(lines), rest

    ours, theirs = server.received
    assert sorted_lines(ours) == sorted_lines(theirs)
    assert ours.startswith(b"%b /api/integrations?a=b%%20c HTTP/1.1\r\n" % method.encode())


async def test_a_connection_is_used_again(way):
    async with RawServer(OK) as server, pool() as session:
        for _ in range(3):
            assert (await send(session, server.address)).body == b"{}"
    assert server.connections == 1


@pytest.mark.parametrize("code", ["101 Switching", "099 What", "199 Last", "100 Continue"])
async def test_interim_responses_are_those_from_100_to_199_without_101(way, code):
    interim = b"HTTP/1.1 %b\r\n\r\n" % code.encode()
    async with RawServer(interim + OK) as server, pool() as session:
        result = await send(session, server.address, attempt=2.0)
    status = int(code[:3])
    if status in {100, 199}:
        assert (result.status, result.body) == (200, b"{}")
    elif isinstance(result, HttpResponse):
        assert result.status == status
    else:
        assert result.reason is NoResponse.CONNECTION_LOST


async def test_what_is_not_http_is_a_lost_connection(way):
    async with RawServer(b"SSH-2.0-OpenSSH\r\n\r\n") as server, pool() as session:
        result = await send(session, server.address)
    assert result.reason is NoResponse.CONNECTION_LOST
    assert "what came is not HTTP" in result.message


@pytest.mark.parametrize(
    "head", [b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"]
)
async def test_a_body_that_stalls_is_not_whole(way, head):
    async def begin(writer):
        start = b'5\r\n{"a":\r\n' if b"chunked" in head else b"{}"
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + start)
        await asyncio.sleep(3600)

    async with RawServer(begin) as server, pool() as session:
        result = await send(session, server.address, attempt=0.2)
    # One that ends with the connection looks whole where it was our own timer that ended that.
    assert (result.status, result.whole) == (200, False)


async def test_a_response_that_does_not_come_is_timed_out(way):
    async with RawServer(stall) as server, pool() as session:
        results = await asyncio.gather(*(send(session, server.address, attempt=0.1 * n) for n in (3, 1, 2)))
    assert [result.reason for result in results] == [NoResponse.TIMED_OUT] * 3


async def test_one_timer_ends_each_attempt_at_its_own_time(way):
    ended = []

    async def attempt(session, url, seconds):
        await send(session, url, attempt=seconds)
        ended.append(seconds)

    async with RawServer(stall) as server, pool() as session:
        await asyncio.gather(*(attempt(session, server.address, seconds) for seconds in (0.3, 0.1, 0.2)))
        assert ended == [0.1, 0.2, 0.3]
        began = asyncio.get_running_loop().time()
        await attempt(session, server.address, 0.1)
        # uvloop counts milliseconds.
        assert 0.09 <= asyncio.get_running_loop().time() - began < 0.3


async def test_a_pool_that_nobody_closed_is_collected_at_once():
    async with RawServer(OK) as server:
        session = Session(4)
        await send(session, server.address, attempt=600.0)
        connector = weakref.ref(session._session.connector)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            del session
            gc.collect()
        assert connector() is None


async def test_an_answer_before_the_request_is_written_out_ends_the_connection(way):
    async with RawServer(OK) as server, pool() as session:
        await send(session, server.address)
        server.early = True
        ((connections),) = session._session.connector._conns.values()
        connections[0][0].transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        assert (await send(session, server.address, b"x" * 2**20, attempt=2.0)).body == b"{}"
        assert not session._session.connector._conns


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\r\nX-Evil: 1"])
@pytest.mark.parametrize("where", ["key", "header"])
async def test_no_line_end_comes_into_a_head(way, character, where):
    async with RawServer(OK) as server, pool() as session:
        if where == "key":
            result = await send(session, server.address, idempotency_key=f"k{character}")
        else:
            result = await send(
                session, server.address, headers=RequestHeaders({"Authorization": f"Bearer t{character}"})
            )
    assert result.reason in {NoResponse.RAISED_BEFORE, NoResponse.RAISED_AFTER, NoResponse.CONNECTION_LOST}
    assert server.received == []
    assert (result.reason is NoResponse.RAISED_BEFORE) >= (way == "direct")


async def test_what_is_cancelled_before_it_is_written_is_never_written():
    async with RawServer(OK) as server, pool() as session:
        await asyncio.gather(send(session, server.address), send(session, server.address))
        first = asyncio.create_task(send(session, server.address, b"first"))
        never = asyncio.create_task(send(session, server.address, b"never"))
        await asyncio.sleep(0)
        never.cancel()
        with pytest.raises(asyncio.CancelledError):
            await never
        await first
        await send(session, server.address, b"after")
    assert [request.rpartition(b"\r\n")[2] for request in server.received] == [b"{}", b"{}", b"first", b"after"]


async def test_what_is_sent_while_nothing_is_on_the_wire_is_written_at_once(monkeypatch):
    monkeypatch.setattr(direct.DirectSender, "_write_all", lambda _: pytest.fail("it waited"))
    async with RawServer(OK) as server, pool() as session:
        for _ in range(3):
            assert (await send(session, server.address, attempt=1.0)).body == b"{}"


async def test_what_else_is_sent_in_one_turn_of_the_loop_is_written_at_its_end(monkeypatch):
    writes = []
    written = direct.DirectSender._write_all
    monkeypatch.setattr(
        direct.DirectSender, "_write_all", lambda sender: (writes.append(len(sender._unwritten)), written(sender))
    )
    async with RawServer(OK) as server, pool() as session:
        await asyncio.gather(*(send(session, server.address) for _ in range(4)))
        writes.clear()
        await asyncio.gather(*(send(session, server.address) for _ in range(4)))
    assert writes == [3]


@pytest.mark.parametrize("encoded", [False, True])
async def test_a_body_over_the_cap_is_not_read_on(way, encoded):
    body = b"x" * 300_000
    fields = b""
    if encoded:
        body, fields = gzip.compress(body), b"Content-Encoding: gzip\r\n"
    answer = b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with RawServer(answer) as server, pool() as session:
        result = await send(session, server.address, cap=200_000)
        assert (result.too_large, len(result.body) <= 200_000) == (True, True)
        assert len((await send(session, server.address, cap=300_000)).body) == 300_000


async def test_a_session_that_is_watched_takes_the_ordinary_way():
    watched = []
    trace = aiohttp.TraceConfig()

    async def on_request_end(_, __, params):
        watched.append(params.response.status)

    trace.on_request_end.append(on_request_end)
    trace.freeze()
    async with RawServer(OK) as server, pool() as session:
        await send(session, server.address)
        session._session._trace_configs.append(trace)
        assert (await send(session, server.address)).body == b"{}"
    assert watched == [200]


async def test_a_session_that_is_mocked_takes_the_ordinary_way(monkeypatch):
    async def refuse(*_, **__):
        raise aiohttp.ClientConnectionError

    async with RawServer(OK) as server, pool() as session:
        await send(session, server.address)
        monkeypatch.setattr(aiohttp.ClientSession, "_request", refuse)
        assert (await send(session, server.address)).reason is NoResponse.CONNECTION_LOST
    assert len(server.received) == 1


@pytest.mark.parametrize("other", ["parameters", "methods"])
async def test_an_aiohttp_that_is_not_as_it_is_known_is_used_in_the_ordinary_way(monkeypatch, other):
    def is_known():
        direct.is_known.cache_clear()
        return direct.is_known()

    assert is_known()
    try:
        with monkeypatch.context() as patched:
            if other == "parameters":
                patched.setattr(direct.ResponseHandler, "set_response_params", lambda self, timer: None)
            else:
                patched.delattr(direct.StreamReader, "read_nowait")
            assert not is_known()
        async with RawServer(OK) as server, pool() as session:
            assert (await send(session, server.address)).body == b"{}"
            assert session._direct is None
    finally:
        direct.is_known.cache_clear()


async def test_many_tokens_are_not_kept_for_ever():
    async with RawServer(OK) as server, pool() as session:
        for number in range(direct._MOST_HEADS + 10):
            await send(session, server.address, headers=RequestHeaders({"Authorization": f"Bearer {number}"}))
        assert len(session._direct._heads) <= direct._MOST_HEADS
