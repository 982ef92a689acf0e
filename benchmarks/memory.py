"""What waiting callers weigh, and whether anything grows with views, or over an hour of calls of which some fail.

The hour is virtual: client and server talk over simulated sockets, and waiting costs nothing. Needs the ``dev`` extra.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.measuring import Figure, run
from clarus_async import AccessToken, ClarusClient, ClarusError, IntegrationChanges, NewIntegration
from tests.support.virtual import run_virtually, settle

_WAITERS: Final = 10_000
_HOUR: Final = 3600.0
_WORKERS: Final = 64


# --- waiting callers


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _waiters() -> list[Figure]:
    server = await asyncio.start_server(_silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    new = NewIntegration(name="Shop", integration_type="shopify")
    async with ClarusClient("acme", AccessToken("t"), base_url=url, max_connections=1) as client:
        # What the event loop and we keep room for, for a while.
        await _wait(client, new, _WAITERS)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        during = await _wait(client, new, _WAITERS)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    server.close()
    await server.wait_closed()
    return [
        Figure(
            name="a caller that waits, of 10,000 on one client",
            value=(during - before) / _WAITERS / 1024,
            unit="KiB",
            most=4.0,
            fails=6.0,
        ),
        Figure(
            name="what they leave when they are gone", value=(after - before) / 1024, unit="KiB", most=64, fails=256
        ),
    ]


async def _wait(client: ClarusClient, new: NewIntegration, count: int) -> int:
    tasks = [asyncio.create_task(client.integrations.create(new)) for _ in range(count)]
    # After some turns of the loop, all but the one that is on the wire wait.
    await settle()
    assert client.pace.queued + client.pace.waiting >= count - 1
    gc.collect()
    weight = tracemalloc.get_traced_memory()[0]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return weight


# --- views


def _views(count: int) -> list[Figure]:
    client = ClarusClient("acme", AccessToken("t"))

    def thousand(first: int) -> float:
        began = time.process_time()
        for number in range(first, first + 1000):
            client.for_subdomain(f"tenant-{number}", AccessToken(f"token-{number}"))
        return time.process_time() - began

    thousand(-1000)
    gc.collect()
    tracemalloc.start()
    before, objects = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
    took = [thousand(number) for number in range(0, count, 1000)]
    gc.collect()
    grown, more = tracemalloc.get_traced_memory()[0] - before, len(gc.get_objects()) - objects
    tracemalloc.stop()
    ratio = min(took[-3:]) / min(took[:3])
    return [
        Figure(
            name=f"growth in {count:,} views with tokens of their own",
            value=grown / 2**20,
            unit="MiB",
            most=0.1,
            fails=4.0,
            note=f"{more} objects",
        ),
        Figure(name="the last thousand, by the first", value=ratio, most=1.2, fails=3.0),
    ]


# --- an hour of calls


_INTEGRATION: Final = json.dumps({"data": {"id": 1, "type": "integrations", "attributes": {"name": "Shop"}}}).encode()
_PAGE: Final = {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}
_EMPTY: Final = json.dumps({"data": {"integrations": {"all": _PAGE}, "sites": {"all": {"edges": []}}}}).encode()


class _Faulty(asyncio.Protocol):
    """Answers what a client asks after 20 ms; one in twenty meets a fault."""

    dice = random.Random(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]) if separator else 0
        if not separator or len(body) < length:
            return
        self._received = b""
        delay = 0.02
        answer = _answer(200, _EMPTY if b"/graphql" in head[:40] else _INTEGRATION)
        if self.dice.random() < 0.05:
            fault = self.dice.choice(["drop", "500", "502", "429", "503", "stall", "half", "garbage"])
            if fault == "drop":
                self._transport.abort()
                return
            delay = 40.0 if fault == "stall" else delay
            answer = _FAULTS.get(fault, answer)
        asyncio.get_running_loop().call_later(delay, self._write, answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)
            if answer is _FAULTS["half"]:
                self._transport.close()


def _answer(status: int, body: bytes, more: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


_FAULTS: Final = {
    "500": _answer(500, b'{"errors": [{"title": "no"}]}'),
    "502": _answer(502, b"<html><title>Bad gateway</title></html>"),
    "429": _answer(429, b"{}", "Retry-After: 0.2\r\n"),
    "503": _answer(503, b"{}", "Retry-After: 1\r\n"),
    "half": _answer(200, _INTEGRATION)[:-20],
    "garbage": _answer(200, b"OK"),
}


class _Held(NamedTuple):
    """What this process holds."""

    rss: float
    handles: int
    tasks: int
    objects: int


def _held() -> _Held:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    handles = len(list(Path("/proc/self/fd").iterdir()))
    rss = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return _Held(rss, handles, len(asyncio.all_tasks()), len(gc.get_objects()))


def _call(client: ClarusClient, number: int) -> Awaitable[object]:
    new = NewIntegration(name=f"Shop {number}", integration_type="shopify")
    every: list[Callable[[], Awaitable[object]]] = [
        lambda: client.integrations.create(new, on_unknown="raise" if number % 8 else "reconcile"),
        lambda: client.integrations.update(1, IntegrationChanges(string1="x")),
        lambda: client.integrations.delete(1),
        lambda: client.integrations.find(name="Shop"),
        client.ping,
    ]
    return every[number % len(every)]()


async def _calls(client: ClarusClient, count: int) -> None:
    numbers = iter(range(count))
    pace = _HOUR / 1_000_000 * _WORKERS

    async def worker() -> None:
        loop = asyncio.get_running_loop()
        for number in numbers:
            due = loop.time() + pace
            with contextlib.suppress(ClarusError):
                await _call(client, number)
            await asyncio.sleep(max(0.0, due - loop.time()))

    await asyncio.gather(*(worker() for _ in range(_WORKERS)))


def _hour(count: int) -> list[Figure]:
    found: list[_Held] = []
    took = 0.0

    async def main() -> None:
        nonlocal took
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Faulty, "127.0.0.1", 80)
        async with ClarusClient("acme", AccessToken("t"), base_url="http://127.0.0.1:80") as client:
            await _calls(client, count // 10)
            # What is remembered is remembered for minutes at the most.
            await asyncio.sleep(600.0)
            found.append(_held())
            began = loop.time()
            await _calls(client, count)
            took = loop.time() - began
            await asyncio.sleep(600.0)
            found.append(_held())
        server.close()

    run_virtually(main)
    before, after = found
    what = f"growth of RSS in {count:,} calls, of which one in twenty fails"
    over = f"in {took / 60:.0f} virtual minutes"
    return [
        Figure(name=what, value=after.rss - before.rss, unit="MiB", most=8.0, fails=16.0, note=over),
        Figure(name="growth in tasks", value=after.tasks - before.tasks, most=0, fails=0),
        Figure(name="growth in file handles", value=after.handles - before.handles, most=0, fails=0),
        Figure(name="growth in objects", value=after.objects - before.objects, most=500, fails=5000),
    ]


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table."""
    table = run(_waiters()) + _views(5_000 if quick else 100_000)
    if Path("/proc/self/statm").exists():
        table += _hour(5_000 if quick else 1_000_000)
    return table
