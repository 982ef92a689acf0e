"""What pacing costs where the machine is the limit and no quota: ``python -m benchmarks.pacing_machine``.

Creates of a client that has to learn that nothing limits it, beside those of one that was given a rate out of reach;
and creates of nine tenants with a tenth beside them whose quota is one a second, and without it. Both ways take turns
in one process, slice by slice, so that what else the machine does falls on both. The exit status is 1 where a request
of theirs was refused, or more was lost than a fiftieth. Needs the ``bench`` and ``dev`` extras.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, TypeAlias

from benchmarks.measuring import in_a_pool
from clarus_async import ClarusClient, ClientCredentials, NewIntegration, PacingPolicy
from clarus_async.events import AttemptEvent, Event
from clarus_async.simulator import Quota, Simulator
from tests.support.process import Process

Slice: TypeAlias = tuple[Sequence[ClarusClient], Callable[[], AbstractAsyncContextManager[object]]]
"""Whose creates are counted, and what goes on beside them."""

_WIDTH: Final = 64
_FREE: Final = tuple(f"free-{number}" for number in range(9))
_THROTTLED: Final = "throttled"
_MOST_LOST: Final = 0.02
# Callers of the tenth tenant have met its limit by then, as in a job of hours.
_HEAD_START: Final = 0.6


class _Refusals:
    def __init__(self) -> None:
        self.count = 0

    def on_event(self, event: Event) -> None:
        self.count += isinstance(event, AttemptEvent) and event.status in {429, 503}


async def _create(client: ClarusClient, number: int) -> None:
    async def one(_: int) -> None:
        await client.integrations.create(NewIntegration(name="Shop", integration_type="shopify"))

    await in_a_pool(one, range(number), _WIDTH)


async def _compare(one: Slice, other: Slice, slices: int, creates: int) -> float:
    """Return the median of how many creates a second there are one way, by how many there are the other way."""

    async def seconds(way: Slice) -> float:
        clients, beside = way
        gc.collect()
        async with beside():
            began = time.perf_counter()
            await asyncio.gather(*(_create(client, creates // len(clients)) for client in clients))
            return time.perf_counter() - began

    ratios = []
    for number in range(slices):
        # Who goes first takes turns, too: what grows or slows down with time is no advantage of either.
        if number % 2:
            of_other = await seconds(other)
            of_one = await seconds(one)
        else:
            of_one = await seconds(one)
            of_other = await seconds(other)
        ratios.append(of_other / of_one)
    # A machine's slow moments last longer than a pair of slices.
    return statistics.median(ratios)


@contextlib.asynccontextmanager
async def _hammering(client: ClarusClient) -> AsyncIterator[None]:
    job = asyncio.create_task(_create(client, 1_000_000))
    try:
        await asyncio.sleep(_HEAD_START)
        yield
    finally:
        job.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await job


async def _measure(slices: int, creates: int) -> int:
    command = [sys.executable, "-m", __spec__.name, "--serve"]
    refusals = _Refusals()
    credentials = ClientCredentials(Simulator.client_id, Simulator.client_secret)
    async with Process(lambda _, port: [*command, str(port)]) as server, contextlib.AsyncExitStack() as stack:

        async def client(pacing: PacingPolicy) -> ClarusClient:
            return await stack.enter_async_context(
                ClarusClient(_FREE[0], credentials, base_url=server.url, pacing=pacing, observer=refusals)
            )

        learning = await client(PacingPolicy())
        given = await client(PacingPolicy(rate=1e6, burst=1_000_000))
        of_given = await _compare(([learning], nullcontext), ([given], nullcontext), slices, creates)
        print(f"one that learns, by one that was given a rate out of reach: {of_given:.3f}")
        print(f"requests refused: {refusals.count}")
        failed = refusals.count > 0 or of_given < 1 - _MOST_LOST

        tenants = [learning.for_subdomain(name) for name in _FREE]
        throttled = learning.for_subdomain(_THROTTLED)
        beside: Slice = (tenants, lambda: _hammering(throttled))
        # Callers that rested begin with a cold cache, so both ways rest.
        alone: Slice = (tenants, _rest)
        of_alone = await _compare(beside, alone, slices, creates)
        print(f"nine tenants with a throttled one, by nine without it: {of_alone:.3f}")
        return 1 if failed or of_alone < 1 - _MOST_LOST else 0


@contextlib.asynccontextmanager
async def _rest() -> AsyncIterator[None]:
    await asyncio.sleep(_HEAD_START)
    yield


async def _serve(port: int) -> None:
    quota = {_THROTTLED: Quota(limit=1, window=1.0)}
    async with Simulator(tenants=[*_FREE, _THROTTLED], quota=quota, port=port, keep_requests=1):
        await asyncio.Event().wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=40, help="of each way (default: 40)")
    parser.add_argument("--creates", type=int, default=450, help="in each slice (default: 450)")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(_serve(options.serve))
        return 0
    return asyncio.run(_measure(options.slices, options.creates))


if __name__ == "__main__":
    sys.exit(main())
