"""Scenarios that the machine bounds and no quota: they run alone, and compare two ways within one process.

The two ways take turns, chunk by chunk, so that what else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple
from unittest.mock import patch

from benchmarks.pacing_client import WIDTH, client_of, create_all, records
from benchmarks.pacing_report import Cell, none_of, part, ratio, share
from benchmarks.pacing_server import Server, serving
from clarus_async import ClarusClient
from clarus_async.policy.pacing import Pace
from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.measured import Sent
from clarus_async.simulator import Quota

_HEAD_START = 0.6


class Chunk(NamedTuple):
    """What one turn took.

    Args:
        creates: how many it made.
        lost: how many it lost.
        seconds: from its beginning to its end.
        cpu: seconds of this process's CPU.
    """

    creates: int
    lost: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Creates a second."""
        return self.creates / self.seconds


class _NoPace(Pace):
    """Lets every request go at once, and listens to nothing."""

    _SENT = Sent(0.0, None, probe=False)

    def ask(self, now: float) -> float | None:
        return 0.0

    def send(self, now: float) -> Sent:
        return self._SENT

    def answered(self, sent: Sent, now: float, told: Told | None = None) -> None:
        pass

    def lost(self, sent: Sent) -> None:
        pass


@contextlib.contextmanager
def without_pacing() -> Iterator[None]:
    """Let every request go at once, whatever answers say, for clients that are made and used inside."""
    with (
        patch("clarus_async.transport.shared.Pace", _NoPace),
        patch("clarus_async.transport.call.read_rate_limit", lambda *_: None),
    ):
        yield


def unlimited(creates: int, chunks: int) -> dict[str, Cell]:
    """Compare the throughput with pacing to the throughput without it, where nothing limits either.

    Args:
        creates: how many each way makes.
        chunks: in how many turns.
    """

    async def run(server: Server) -> tuple[list[Chunk], list[Chunk]]:
        paced: list[Chunk] = []
        free: list[Chunk] = []
        size = max(WIDTH, creates // chunks)
        async with client_of(server.address) as first:
            # Not with the clients that are compared: what finding out costs belongs to it.
            await _chunk([first], size)
        async with client_of(server.address) as client, _free_client(server) as other:

            async def with_it() -> None:
                paced.append(await _chunk([client], size))

            async def without_it() -> None:
                with without_pacing():
                    free.append(await _chunk([other], size))

            await _by_turns(with_it, without_it, chunks)
        return paced, free

    with serving(quota=None) as server:
        paced, free = asyncio.run(run(server))
        ledger = server.ledger()
    return _compared(paced, free) | {
        "429s": none_of(ledger.refused()),
        "lost": none_of(sum(chunk.lost for chunk in paced + free)),
        "server's CPU by client's": Cell(ratio(ledger.cpu / sum(chunk.cpu for chunk in paced + free))),
    }


@contextlib.asynccontextmanager
async def _free_client(server: Server) -> AsyncIterator[ClarusClient]:
    with without_pacing():
        client = client_of(server.address)
    async with client:
        yield client


def beside_a_throttled_one(tenants: int, creates: int, chunks: int, most: float) -> dict[str, Cell]:
    """Compare the throughput of tenants that nothing limits, with one beside them that has a quota, and without it.

    Args:
        tenants: how many, with the one.
        creates: how many all the others make in all, each way.
        chunks: in how many turns.
        most: the part of their throughput that the others may lose.
    """
    throttled = "throttled"
    names = [f"free-{number}" for number in range(tenants - 1)]
    size = max(1, creates // chunks // len(names))

    async def run(server: Server) -> tuple[list[Chunk], list[Chunk]]:
        beside: list[Chunk] = []
        alone: list[Chunk] = []
        async with client_of(server.address, names[0]) as client:
            views = [client.for_subdomain(name) for name in names]
            slow = client.for_subdomain(throttled)
            # Connections are opened before, which would fall on the first chunk alone.
            await _chunk(views, size)

            async def with_it() -> None:
                async with _hammering(slow):
                    beside.append(await _chunk(views, size))

            async def without_it() -> None:
                # Whoever rested begins with a cold cache, so both do.
                await asyncio.sleep(_HEAD_START)
                alone.append(await _chunk(views, size))

            await _by_turns(with_it, without_it, chunks)
        return beside, alone

    quota = {throttled: Quota(limit=1, window=1.0, kind="sliding", headers="none")}
    with serving(quota=quota, tenants=[*names, throttled]) as server:
        beside, alone = asyncio.run(run(server))
        ledger = server.ledger()
    return _compared(beside, alone) | {
        "throughput lost": share(1 - _paired(beside, alone), most),
        "throttled one's 429s": Cell(str(ledger.refused(tenant=throttled))),
        "lost": none_of(sum(chunk.lost for chunk in beside + alone)),
    }


@contextlib.asynccontextmanager
async def _hammering(slow: ClarusClient) -> AsyncIterator[None]:
    job = asyncio.create_task(create_all(slow, records()))
    try:
        # Its workers have started and met the limit when the others' time begins to count, as in a job of hours.
        await asyncio.sleep(_HEAD_START)
        yield
    finally:
        job.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await job


async def _by_turns(one: Callable[[], Awaitable[None]], other: Callable[[], Awaitable[None]], times: int) -> None:
    # One, other, other, one: what grows or slows down with time is no advantage of either.
    for number in range(times):
        first, second = (one, other) if number % 2 == 0 else (other, one)
        await first()
        await second()


async def _chunk(clients: Sequence[ClarusClient], size: int) -> Chunk:
    # Records are made before, and garbage is collected: neither is what is compared.
    work = [(client, list(records(size))) for client in clients]
    gc.collect()
    started, cpu = time.monotonic(), time.process_time()
    jobs = await asyncio.gather(*(create_all(client, specs, WIDTH) for client, specs in work))
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    return Chunk(sum(job.created for job in jobs), sum(job.lost for job in jobs), seconds, cpu)


def _compared(one: Sequence[Chunk], other: Sequence[Chunk]) -> dict[str, Cell]:
    return {
        "creates a second": Cell(f"{_median(one):,.0f}"),
        "without": Cell(f"{_median(other):,.0f}"),
        "median of ratios": part(_paired(one, other)),
        "ratio of medians": part(_median(one) / _median(other)),
        "of totals": part(_total(one) / _total(other)),
        "of CPU a create": part(statistics.median(a.cpu / b.cpu for a, b in zip(one, other, strict=True))),
    }


def _paired(one: Sequence[Chunk], other: Sequence[Chunk]) -> float:
    # Of all that was tried, this strays the least from 1 where both ways are the same: a machine's slow moments last
    # longer than a pair of chunks.
    return statistics.median(a.rate / b.rate for a, b in zip(one, other, strict=True))


def _median(chunks: Sequence[Chunk]) -> float:
    return statistics.median(chunk.rate for chunk in chunks)


def _total(chunks: Sequence[Chunk]) -> float:
    return sum(chunk.creates for chunk in chunks) / sum(chunk.seconds for chunk in chunks)
