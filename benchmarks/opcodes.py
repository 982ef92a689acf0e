"""What one create costs in opcodes of this package, which no load on the machine changes."""

from __future__ import annotations

import asyncio
import statistics
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

import clarus_async
from benchmarks.call import NEW
from benchmarks.canned_server import canned_server
from benchmarks.measuring import Figure
from clarus_async import AccessToken, ClarusClient

_PACKAGE: Final = str(Path(clarus_async.__file__).parent)
# The first ones look up URLs, and fill caches.
_WARM_UP: Final = 20


class _Counter:
    def __init__(self) -> None:
        self.ours = 0

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        # What attrs generates has a name of its own.
        if not name.startswith((_PACKAGE, "<attrs")):
            return None
        frame.f_trace_opcodes = True
        self.ours += event == "opcode"
        return self.trace


async def _counted(url: str, rounds: int) -> list[int]:
    counts = []
    async with ClarusClient("acme", AccessToken("t"), base_url=url) as client:
        for _ in range(_WARM_UP):
            await client.integrations.create(NEW)
        for _ in range(rounds):
            counter = _Counter()
            before = sys.gettrace()
            sys.settrace(counter.trace)
            try:
                await client.integrations.create(NEW)
            finally:
                sys.settrace(before)
            counts.append(counter.ours)
    return counts


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table."""
    with canned_server(apart=True) as server:
        counts = asyncio.run(_counted(server.url, 9 if quick else 41))
    # Versions of Python differ by some tenths.
    return [Figure(name="a create", value=statistics.median(counts), unit="opcodes", most=2800, fails=3600)]
