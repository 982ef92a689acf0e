"""How things are measured: side by side in one process, in slices so short that a noisy machine is as noisy for all."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import attrs

VERSIONS = ("aiohttp", "aiohttp-retry", "attrs", "cattrs", "httpx", "httpx-retries", "openai", "orjson", "tenacity")

T = TypeVar("T")

_new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None


def use_loop(name: str) -> None:
    """Have ``run`` use asyncio's own event loop, or uvloop's. Servers, in processes of their own, use asyncio's."""
    global _new_loop  # noqa: PLW0603  what the command line says of the whole process
    _new_loop = importlib.import_module("uvloop").new_event_loop if name == "uvloop" else None


def on_uvloop() -> bool:
    """Whether ``run`` uses uvloop's event loop."""
    return _new_loop is not None


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the event loop that measurements are made on."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(main)


@attrs.frozen(kw_only=True)
class Figure:
    """One line of a table."""

    name: str  # what was measured
    value: float  # what came out
    unit: str = ""  # of the value; a ratio has none
    most: float | None = None  # what it may be at the most, where there is a target
    # Above this, something is wrong, on whatever machine: for ratios and counts, never for times
    fails: float | None = None
    note: str = ""  # more, in words

    @property
    def verdict(self) -> str:
        """What there is to say of it, in a word."""
        if self.fails is not None and self.value > self.fails:
            return "FAILED"
        return "" if self.most is None else "missed" if self.value > self.most else "ok"


class Spent(NamedTuple):
    """What a slice took, in microseconds for each operation."""

    wall: float
    cpu: float


async def interleaved(
    peers: Mapping[str, Callable[[int], Awaitable[None]]], rounds: int, counts: Mapping[str, int]
) -> dict[str, list[Spent]]:
    """Have each do a slice of work, one after the other, again and again."""
    spent: dict[str, list[Spent]] = {name: [] for name in peers}
    names = list(peers)
    for name, work in peers.items():
        await work(max(1, counts[name] // 4))
    for number in range(rounds):
        # Whoever goes first in one round goes later in the next.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            await peers[name](counts[name])
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            spent[name].append(Spent(wall / counts[name] * 1e6, cpu / counts[name] * 1e6))
    return spent


def median(spent: Sequence[Spent], of: str = "cpu") -> float:
    """Return the median of slices, in microseconds."""
    return statistics.median(getattr(slice_, of) for slice_ in spent)


def ratio(one: Sequence[Spent], other: Sequence[Spent], of: str = "cpu") -> float:
    """Return the median of how much more one takes than another, slice by slice."""
    return statistics.median(getattr(a, of) / getattr(b, of) for a, b in zip(one, other, strict=True))


async def in_a_pool(work: Callable[[Any], Awaitable[object]], items: Sequence[Any], width: int) -> None:
    """Work on items with so many workers."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(width)))


def machine() -> dict[str, Any]:
    """Say what this was measured on, and with."""
    versions = {}
    for name in VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
