"""An answer of hundreds of megabytes ends a call truly, and costs no more than 32 MiB."""

import asyncio
import contextlib
import functools
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import brotli
import pytest

SIZE = 300 * 10**6
MOST = 32 * 2**20
_PIECE = 2**20


def spaces():
    """300 MB that any JSON parser would pass over."""
    piece = b" " * _PIECE
    for _ in range(SIZE // _PIECE):
        yield piece
    yield b'{"data": {"id": 1, "type": "integrations", "attributes": {"name": "A"}}}'


def objects():
    """300 MB that a JSON parser has to keep."""
    piece = b"{}," * (_PIECE // 3)
    yield b'{"errors":['
    for _ in range(SIZE // _PIECE):
        yield piece
    yield b"{}]}"


@functools.cache
def packed(coding, make):
    """300 MB as a few hundred KB, made without ever holding them."""
    if coding == "br":
        packer = brotli.Compressor(quality=1)
        return b"".join([*map(packer.process, make()), packer.finish()])
    packer = zlib.compressobj(1, wbits=31 if coding == "gzip" else 15)
    # After a full flush the same piece is packed into the same bytes, so that once is enough. That makes the checksum
    # at the end a wrong one, but no client gets that far.
    pack = functools.cache(lambda piece: packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH))
    return b"".join([packer.flush(zlib.Z_FULL_FLUSH), *map(pack, make()), packer.flush()])


def encoded(coding, make=spaces, status=200, extra=()):
    body = packed(coding, make)
    lines = [f"Content-Encoding: {coding}", f"Content-Length: {len(body)}", *extra]
    return status, lines, lambda: iter([body])


def chunked(make=spaces):
    def pieces():
        for piece in make():
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"

    return 200, ["Transfer-Encoding: chunked"], pieces


def packed_chunks():
    def pieces():
        body = packed("gzip", spaces)
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"

    return 200, ["Transfer-Encoding: chunked", "Content-Encoding: gzip"], pieces


def endless(text):
    """A header that never ends."""
    return 200, [], lambda: (text * (_PIECE // len(text)) for _ in range(SIZE // _PIECE))


@contextlib.asynccontextmanager
async def serving(answer):
    """Serve one answer to every request, generated as it is sent; yield its URL."""
    status, lines, pieces = answer

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            head = [f"HTTP/1.1 {status} Whatever", "Content-Type: application/json", *lines]
            # Without a header of the answer's own, what follows is one more header.
            writer.write(("\r\n".join(head) + ("\r\n\r\n" if lines else "\r\nX-Endless: ")).encode())
            for piece in pieces():
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture(scope="module")
def measured():
    """Ask a client in another process to make a call; it says how that ended, and what it took at its peak."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux lets a process reset its peak memory")
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.support.measured_client"],
        cwd=Path(__file__).parents[2],
        # Large blocks go back to the system at once, so that one call's memory is not the next one's.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(**question):
        worker.stdin.write(json.dumps(question) + "\n")
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())

    async def call(answer, operation):
        async with serving(answer) as url:
            return await asyncio.to_thread(ask, url=url, operation=operation)

    yield call
    worker.stdin.close()
    worker.stdout.close()
    worker.wait(10)


ENDS = {
    "create": ("OutcomeUnknownError", "yes"),
    "mutation": ("OutcomeUnknownError", "yes"),
    "list": ("ResponseError", "no"),
    "ping": ("ResponseError", "no"),
    "token": ("ResponseError", "no"),
    "exchange": ("ResponseError", "no"),
    # A write that needs no answer is done.
    "update": (None, None),
    "delete": (None, None),
    "synchronize": (None, None),
}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("operation", ENDS)
async def test_300_mb_end_a_call_truly(measured, coding, operation):
    result = await measured(encoded(coding), operation)

    error, applied = ENDS[operation]
    assert result["error"] == error
    if error is not None:
        assert (result["applied"], result["attempts"]) == (applied, 1)
        # What is read of a token's answer is much less.
        assert operation in {"token", "exchange"} or "at most 8388608 bytes" in result["text"]
    assert result["growth"] < MOST


@pytest.mark.parametrize("answer", [chunked(), packed_chunks(), (200, [f"Content-Length: {SIZE + 72}"], spaces)])
@pytest.mark.parametrize("operation", ["create", "list"])
async def test_300_mb_in_plain_are_stopped_too(measured, answer, operation):
    result = await measured(answer, operation)

    assert result["error"] == ("OutcomeUnknownError" if operation == "create" else "ResponseError")
    assert "at most 8388608 bytes" in result["text"]
    assert result["growth"] < MOST


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, "ConfigurationError"),
        (401, "AuthenticationError"),
        (404, "NotFoundError"),
        (422, "ValidationError"),
        (500, "OutcomeUnknownError"),
    ],
)
async def test_300_mb_of_nothing_in_an_error_answer(measured, status, error):
    result = await measured(encoded("gzip", status=status), "create")

    assert result["error"] == error
    assert len(result["text"]) < 1000
    assert result["growth"] < MOST


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (422, "ValidationError"),
        (500, "OutcomeUnknownError"),
        (200, "OutcomeUnknownError"),
    ],
)
async def test_300_mb_of_errors(measured, status, error):
    result = await measured(encoded("gzip", objects, status), "create")

    assert result["error"] == error
    assert len(result["text"]) < 1000
    assert result["growth"] < MOST


@pytest.mark.parametrize("operation", ["create", "list"])
async def test_a_header_without_end(measured, operation):
    result = await measured(endless(b"x"), operation)

    assert result["error"] == ("OutcomeUnknownError" if operation == "create" else "ConnectionFailedError")
    assert result["growth"] < MOST


async def test_headers_without_end(measured):
    result = await measured(endless(b"1\r\nX-More: "), "create")

    assert result["error"] == "OutcomeUnknownError"
    assert result["growth"] < MOST
