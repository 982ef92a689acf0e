"""A run of a million records from a generator, against a stub in this process: what the run itself costs.

``python -m benchmarks.provision_million [--records N] [--no-journal] [--profile]``. Each size runs in a process of its
own. Printed: the time of a record, and how much memory the run needed at its peak beyond what a run of a thousand did.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from clarus_async import Integration, IntegrationRow, NewIntegration, RetryPolicy
from clarus_async.errors import Applied, ClarusError
from clarus_async.provisioning.options import Options
from clarus_async.provisioning.run import ProvisionRun
from clarus_async.reconcile.decide import LookupResult
from clarus_async.reconcile.pending import LookupKey, PendingCreate, lookup_keys
from clarus_async.reconcile.reconciler import Creation, Terms
from clarus_async.resources.integrations import INTEGRATIONS
from clarus_async.retry.circuit_breaker import CircuitBreaker

_CONFIGURATION = {"api_key": "your-api-key", "shop_domain": "mystore.myshopify.com"}


class Stub:
    """An API that creates at once and lists nothing."""

    spec = INTEGRATIONS
    terms = Terms("acme", "http://localhost", 60.0, 4, 300.0)
    paused = 0.0
    server_time = None

    def __init__(self) -> None:
        self._last = 0

    def circuit_breaker(self) -> CircuitBreaker:
        return CircuitBreaker(RetryPolicy(), lambda: 0.5)

    def prepare(self, new: NewIntegration, idempotency_key: str | None = None) -> Creation:
        key = idempotency_key or "00000000-0000-4000-8000-000000000000"
        return Creation(new, PendingCreate(self.spec.name, lookup_keys(self.spec, new), key))

    def begin(self, creation: Creation) -> None:
        pass

    def end(self, creation: Creation) -> None:
        pass

    async def send(self, creation: Creation, *, wait_for_pace: bool = False) -> None:
        await asyncio.sleep(0)
        self._last += 1
        creation.pending.attempts += 1
        creation.record = Integration(id=self._last, name=creation.new.name)
        creation.pending.in_doubt.sent(Applied.YES, asyncio.get_running_loop().time(), self._last)

    def sort_out(
        self,
        creation: Creation,
        key: LookupKey,
        rows: Sequence[IntegrationRow],
        at: float,
        others: Collection[int] = (),
    ) -> LookupResult:
        return LookupResult(at, ())

    async def searches_optional_keys(self, *, wait_for_pace: bool = False) -> bool:
        return True

    async def find(
        self, keys: Sequence[LookupKey], *, wait_for_pace: bool = False
    ) -> dict[LookupKey, list[IntegrationRow] | ClarusError]:
        await asyncio.sleep(0)
        return {key: [] for key in keys}


async def _run(count: int, journal: str | None) -> None:
    specs = (
        NewIntegration(
            name=f"Shop {number}",
            integration_type="shopify",
            configuration=_CONFIGURATION,
            external_system_reference1=f"shop-{number:07}",
        )
        for number in range(count)
    )
    run = ProvisionRun(Stub(), specs, Options(journal=journal))
    async for _ in run:
        pass
    assert run.report.total == count


def _child(count: int, *, journal: bool, profile: bool) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("JOURNAL_DIR")) as folder:
        path = str(Path(folder) / "run.db") if journal else None
        asyncio.run(_run(1000, None))
        before = resource.getrusage(resource.RUSAGE_SELF)
        began = time.perf_counter()
        profiler = cProfile.Profile() if profile else contextlib.nullcontext()
        with profiler:
            asyncio.run(_run(count, path))
        took = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        if isinstance(profiler, cProfile.Profile):
            pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(35)
    unit = 1024 if sys.platform == "linux" else 1
    figures = {
        "records": count,
        "journal": journal,
        "us_a_record": took / count * 1e6,
        "cpu_us_a_record": (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / count * 1e6,
        "growth_mib": (after.ru_maxrss - before.ru_maxrss) * unit / 2**20,
    }
    print(json.dumps(figures))


def _in_a_process(count: int, *, journal: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.provision_million", "--child", "--records", str(count)]
    done = subprocess.run(
        [*command, *([] if journal else ["--no-journal"])], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--no-journal", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--child", action="store_true")
    args = parser.parse_args()
    if args.child or args.profile:
        _child(args.records, journal=not args.no_journal, profile=args.profile)
        return
    for journal in (True, False):
        # The small ones are short, so they are taken several times, before and after.
        small = [_in_a_process(10_000, journal=journal) for _ in range(3)]
        large = _in_a_process(args.records, journal=journal)
        small += [_in_a_process(10_000, journal=journal) for _ in range(3)]
        for name in ("us_a_record", "cpu_us_a_record"):
            middle = sorted(figures[name] for figures in small)[len(small) // 2]
            print(
                f"{'with' if journal else 'without'} a journal, {name}: {middle:.1f} at 10,000, {large[name]:.1f} at"
                f" {args.records:,}: ratio {large[name] / middle:.3f}"
            )
        print(f"{'with' if journal else 'without'} a journal, peak growth: {large['growth_mib']:.1f} MiB")


if __name__ == "__main__":
    main()
