"""What the pace costs a call that nothing limits, and what the pure core comes to in simulation, in virtual time."""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable

from benchmarks.measuring import Figure, run
from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.limiter import AdaptiveRateLimiter
from clarus_async.ratelimit.queue import ConnectionLimiter, RequestQueue
from clarus_async.simulator.limiters import FixedWindow, SlidingLog, TokenBucket
from clarus_async.simulator.limiters import Limiter as ServersLimiter
from tests.zoo.runner import Client, play
from tests.zoo.worlds import plain

_CALLS = 100_000
_SCENARIOS: dict[str, tuple[Callable[[], ServersLimiter], int, float]] = {
    "100/s sliding, 20,000 creates": (lambda: SlidingLog(100, 1.0), 20_000, 100),
    "the same, 1,000 creates": (lambda: SlidingLog(100, 1.0), 1_000, 100),
    "bucket 50/s, 10,000 creates": (lambda: TokenBucket(50, 50), 10_000, 50),
    "600 a minute fixed, 6,000 creates": (lambda: FixedWindow(600, 60.0), 6_000, 10),
    "10/s sliding, 150 creates": (lambda: SlidingLog(10, 1.0), 150, 10),
    "5/s sliding, 600 creates": (lambda: SlidingLog(5, 1.0), 600, 5),
}


async def cost() -> float:
    """Microseconds of CPU that a call spends in the queue, where nothing is limited."""
    queue = RequestQueue(connections := ConnectionLimiter(100), AdaptiveRateLimiter(PacingPolicy()))
    began = time.process_time()
    for _ in range(_CALLS):
        sent = connections.try_acquire(queue, asyncio.get_running_loop().time())
        if sent is None:
            sys.exit("held back")
        queue.answered(sent, asyncio.get_running_loop().time())
        queue.release(sent)
    return (time.process_time() - began) / _CALLS * 1e6


def simulated(
    make: Callable[[], ServersLimiter], creates: int, quota: float, latency: float, seeds: int
) -> tuple[float, float]:
    """Goodput and share of 429s, each as the mean over the seeds."""
    goodputs, shares = [], []
    for seed in range(seeds):
        client = Client(AdaptiveRateLimiter(PacingPolicy()), creates)
        # Windows are a minute at the most, and begin anywhere.
        world = plain(make(), latency, seed, unix=1.8e9 + 60.0 * random.Random(seed).random())
        seconds = play(world, [client]).seconds
        goodputs.append((creates - 1) / quota / seconds)
        shares.append(len(client.refused) / client.sent)
    return statistics.mean(goodputs), statistics.mean(shares)


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table; ``python -m benchmarks.pacing`` does so beside others, over real sockets."""
    run(cost())
    table = [Figure(name="a call in the queue", value=statistics.median(run(cost()) for _ in range(5)), unit="us")]
    for name, scenario in _SCENARIOS.items():
        goodput, share = simulated(*scenario, latency=0.02, seeds=2 if quick else 20)
        table.append(Figure(name=f"left unused of {name}, at 20 ms", value=1.0 - goodput, fails=0.25))
        table.append(Figure(name="429s of that", value=share, fails=0.1))
    return table
