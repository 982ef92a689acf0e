"""What one create costs in opcodes, which no load on the machine changes: of this package, and of all Python code."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import aiohttp

import clarus_async
from benchmarks.call import ATTRIBUTES, PATH, Create, by_hand
from benchmarks.canned_server import canned_server
from benchmarks.measuring import Figure, in_a_pool, on_uvloop, run
from clarus_async import AccessToken, ClarusClient, NewIntegration

_PACKAGE: Final = str(Path(clarus_async.__file__).parent)
# The first ones look up URLs and fill caches; until there are some hundreds, the limiter lets only so many out at once.
_WARM_UP: Final = 1000
_WIDTH: Final = 64


class _Counter:
    def __init__(self) -> None:
        self.ours = self.all = 0

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            self.all += 1
            # What attrs generates, and what fills records, has a name of its own.
            self.ours += frame.f_code.co_filename.startswith((_PACKAGE, "<attrs", "<clarus_async"))
        return self.trace


@contextlib.asynccontextmanager
async def _ours(url: str) -> AsyncIterator[Create]:
    async with ClarusClient("acme", AccessToken("t"), base_url=url) as client:

        async def create(number: Any) -> None:
            await client.integrations.create(NewIntegration(**{**ATTRIBUTES, "name": f"Shop {number}"}))

        yield create


@contextlib.asynccontextmanager
async def _by_hand(url: str) -> AsyncIterator[Create]:
    async with aiohttp.ClientSession() as session:
        yield by_hand(session, url + PATH)


async def _counted(opened: contextlib.AbstractAsyncContextManager[Create], rounds: int) -> _Counter:
    """Count, per create, with 64 at a time."""
    async with opened as create:
        await in_a_pool(create, range(_WARM_UP), _WIDTH)
        counts = []
        for number in range(rounds):
            counter, numbers = _Counter(), range(_WARM_UP + 256 * number, _WARM_UP + 256 * (number + 1))
            before = sys.gettrace()
            sys.settrace(counter.trace)
            try:
                # A task of its own, which is traced from its beginning.
                await asyncio.create_task(in_a_pool(create, numbers, _WIDTH))
            finally:
                sys.settrace(before)
            counts.append(counter)
    median = _Counter()
    median.ours = round(statistics.median(counter.ours for counter in counts) / 256)
    median.all = round(statistics.median(counter.all for counter in counts) / 256)
    return median


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table."""
    rounds = 3 if quick else 9
    with canned_server(apart=True) as server:
        ours = run(_counted(_ours(server.url), rounds))
        by_hand = run(_counted(_by_hand(server.url), rounds))
    # Since Python 3.12 aiohttp needs fewer steps of the event loop, and uvloop takes them in C: of that, this package
    # saves less.
    fails = 1.05 if sys.version_info < (3, 12) and not on_uvloop() else None
    return [
        Figure(name="a create, the record made anew: of this package", value=ours.ours, unit="opcodes"),
        Figure(name="the same, of all Python code", value=ours.all, unit="opcodes"),
        Figure(name="aiohttp + orjson, by hand, of all Python code", value=by_hand.all, unit="opcodes"),
        Figure(name="clarus_async / by hand, opcodes", value=ours.all / by_hand.all, most=1.0, fails=fails),
    ]
