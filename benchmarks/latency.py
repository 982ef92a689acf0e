"""How long one create takes whoever awaits it, beside a plain call, one at a time and 64 at a time."""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from typing import Any, Final

from benchmarks.call import ANEW, PEERS, PLAIN, Create
from benchmarks.canned_server import CannedServer, canned_server
from benchmarks.measuring import Figure, in_a_pool, run
from benchmarks.peers import WIDTH

# Of a slice's calls, the slowest hundredth has to be more than one or two.
_CALLS: Final = 1000
_TARGETS: Final = ((50, 1.05), (99, 1.2))


async def _slice(create: Create, count: int, width: int) -> list[float]:
    """Create so many records, and return by hundredth what a call took, in microseconds."""
    took = []

    async def timed(item: Any) -> None:
        began = time.perf_counter()
        await create(item)
        took.append(time.perf_counter() - began)

    await in_a_pool(timed, range(count), width)
    return [0.0, *(seconds * 1e6 for seconds in statistics.quantiles(took, n=100))]


async def _measured(server: CannedServer, width: int, rounds: int, count: int) -> dict[str, list[list[float]]]:
    slices: dict[str, list[list[float]]] = {ANEW: [], PLAIN: []}
    async with contextlib.AsyncExitStack() as stack:
        creates = {name: await stack.enter_async_context(PEERS[name](server.url)) for name in slices}
        for create in creates.values():
            await _slice(create, count, WIDTH)
        for number in range(rounds):
            for name in [*slices][:: -1 if number % 2 else 1]:
                gc.collect()
                slices[name].append(await _slice(creates[name], count, width))
    return slices


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table."""
    rounds, count = (7, _CALLS // 2) if quick else (21, _CALLS)
    table = []
    with canned_server(apart=True) as server:
        for width in (1, WIDTH):
            slices = run(_measured(server, width, rounds, count))
            for part, most in _TARGETS:
                ours, theirs = ([slice_[part] for slice_ in slices[name]] for name in (ANEW, PLAIN))
                table.append(
                    Figure(
                        name=f"{width} at a time, p{part}: {ANEW} / by hand",
                        value=statistics.median(one / other for one, other in zip(ours, theirs, strict=True)),
                        most=most,
                        fails=2.0,
                        note=f"{statistics.median(ours):.0f} us, {statistics.median(theirs):.0f} us",
                    )
                )
    return table
