"""Everything at once for a long while, over real sockets: ``python -m tests.chaos.soak [--seconds 600] [--seed 1]``.

A client in this process and a simulator in another: one request in twenty meets a fault, tokens live 20 seconds, a
front end's login ends them early now and then, the quota changes every 15 seconds, and 64 workers create, change,
delete, list and provision for three tenants. Then it is quiet, and then the client is closed. Nothing may be left
behind, and all that a caller was told must agree with the server's ledger. The exit status is 1 where it does not.

Needs the ``simulator`` extra, and Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.measuring import Figure
from clarus_async import ClarusClient, ClientCredentials, RetryPolicy, Timeouts
from clarus_async.events import Event, TokenEvent
from tests.chaos import soak_server
from tests.chaos.soak_calls import Calls, Verdict
from tests.chaos.soak_server import SETTLE, TENANTS

_WORKERS: Final = 64
_WARM_UP: Final = 0.2  # of the time, at most a minute
# Idle connections are kept for 4 seconds.
_QUIET: Final = 8.0
_SAME: Final = 2e-3
# Caches that have their limits: a type may grow by so many objects, and no more however long it takes.
_MOST_OF_A_TYPE: Final = 500


class Held(NamedTuple):
    """What this process holds."""

    rss: float
    tasks: int
    threads: int
    handles: int
    sockets: int
    types: Counter[str]


def held() -> Held:
    """Look at what this process holds, garbage left out."""
    for _ in range(3):
        gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    links = []
    for handle in Path("/proc/self/fd").iterdir():
        # The handle of the listing itself is gone by now.
        with contextlib.suppress(OSError):
            links.append(str(handle.readlink()))
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Held(
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(asyncio.all_tasks()),
        threading.active_count(),
        len(links),
        sum(link.startswith("socket:") for link in links),
        Counter(type(thing).__qualname__ for thing in gc.get_objects()),
    )


class Refreshes:
    """An observer that counts tokens asked for while another was."""

    def __init__(self) -> None:
        self.count = 0
        self.overlapping = 0
        self._ended = 0.0

    def on_event(self, event: Event) -> None:
        if isinstance(event, TokenEvent):
            now = asyncio.get_running_loop().time()
            self.count += 1
            self.overlapping += now - event.duration < self._ended - _SAME
            self._ended = now


class Soaked(NamedTuple):
    """What was seen."""

    bare: Held
    warm: Held
    after: Held
    closed: Held
    seen: dict[str, Any]
    verdict: Verdict
    calls: Calls
    refreshes: Refreshes


async def soak(seconds: float, seed: int, folder: Path) -> Soaked:
    """Do it, and return what was seen."""
    loop = asyncio.get_running_loop()
    refreshes = Refreshes()
    told = folder / "told"
    with soak_server.simulated(seed) as server:
        bare = held()
        with told.open("w", encoding="utf-8") as out:
            client = ClarusClient(
                TENANTS[0],
                ClientCredentials(server.client_id, server.client_secret),
                base_url=server.url,
                timeouts=Timeouts(connect=2.0, attempt=1.5, settle=SETTLE, deadline=30.0),
                retry=RetryPolicy(base=0.2, cap=2.0),
                observer=refreshes,
            )
            async with client:
                views = {tenant: client.for_subdomain(tenant) for tenant in TENANTS}
                calls = Calls(views, out, folder, seed)
                warm_up = min(60.0, seconds * _WARM_UP)
                await _all_work(calls, loop.time() + warm_up)
                warm = held()
                await _all_work(calls, loop.time() + seconds - warm_up)
                after = held()
                del views
            server.ask(soak_server.be_quiet)
        # The server sees the end of connections when the kernel says so; what it applies late, it has applied.
        await asyncio.sleep(SETTLE)
        closed = held()
        seen = server.ask(soak_server.seen)
        verdict = Verdict(seen.pop("ledger"))
        verdict.judge(told)
    return Soaked(bare, warm, after, closed, seen, verdict, calls, refreshes)


async def _all_work(calls: Calls, until: float) -> None:
    await asyncio.gather(*(calls.work(until) for _ in range(_WORKERS)))
    await asyncio.sleep(_QUIET)


def figures(soaked: Soaked) -> list[Figure]:
    """Return the promises, and whether they were kept."""
    bare, warm, after, closed, seen, verdict, calls, refreshes = soaked
    grown = Counter({name: after.types[name] - warm.types[name] for name in after.types})
    worst = grown.most_common(1)[0]
    promises = ("duplicate", "lost", "there though it was said not to be", "unresolved", "update", "delete", "nobody's")

    def zero(name: str, value: float, note: str = "") -> Figure:
        return Figure(name=name, value=value, most=0, fails=0, note=note)

    return [
        zero("growth in tasks", after.tasks - warm.tasks),
        zero("growth in threads", after.threads - warm.threads),
        zero("growth in file handles", after.handles - warm.handles),
        zero("growth in sockets", after.sockets - warm.sockets),
        Figure(
            name="growth of RSS", value=after.rss - warm.rss, unit="MiB", most=8, fails=8, note=f"to {after.rss:.0f}"
        ),
        Figure(
            name="growth of the type that grew most",
            value=worst[1],
            most=_MOST_OF_A_TYPE,
            fails=_MOST_OF_A_TYPE,
            note=", ".join(f"{name} {count}" for name, count in grown.most_common(4)),
        ),
        zero("tasks left when closed", closed.tasks - bare.tasks),
        zero("threads left when closed", closed.threads - bare.threads),
        zero("file handles left when closed", closed.handles - bare.handles),
        zero("connections that the server still sees", seen["connections"]),
        *(zero(f"against the ledger: {promise}", verdict.broken[promise]) for promise in promises),
        zero("requests with a token known dead", seen["dead"], f"{seen['tokens']} tokens"),
        zero("refreshes at the same time", refreshes.overlapping, f"{refreshes.count} refreshes"),
        zero("errors that are not as promised", len(calls.odd)),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default: 600)")
    parser.add_argument("--seed", type=int, default=1, help="of calls, faults and quotas (default: 1)")
    parser.add_argument("--json", type=Path, help="where the figures go")
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        soaked = asyncio.run(soak(args.seconds, args.seed, Path(folder)))
    seen, counts = soaked.seen, soaked.calls.counts
    print(
        f"{time.monotonic() - began:.0f} s: {seen['requests']:,} requests, of which {seen['faults']:,} met a fault and"
        f" {seen['refused']:,} a 429; judged: "
        + ", ".join(f"{count:,} {kind}s" for kind, count in soaked.verdict.judged.items())
    )
    print("  " + ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())))
    table = figures(soaked)
    for figure in table:
        print(f"  {figure.name:55} {figure.value:8.1f} {figure.unit:4} {figure.verdict:7} {figure.note}".rstrip())
    for line in (*soaked.verdict.words, *soaked.calls.odd):
        print(f"  {line}")
    if args.json is not None:
        args.json.write_text(json.dumps({figure.name: figure.value for figure in table}, indent=1))
    return int(any(figure.verdict == "FAILED" for figure in table))


if __name__ == "__main__":
    sys.exit(main())
