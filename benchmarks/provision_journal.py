"""What a journal costs a run: the same job with and without, one after the other, 64 wide, over real HTTP.

``python -m benchmarks.provision_journal [--records 10000] [--rounds 5] [--folder DIR]``. The server answers at once, so
nothing hides what the client does. A flush to the disk is measured beside it, for it is what a journal waits for.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.canned_server import canned_server
from clarus_async import AccessToken, ClarusClient, NewIntegration

_CONFIGURATION = {"api_key": "your-api-key", "shop_domain": "mystore.myshopify.com"}
_NUMBERS = itertools.count()


def _specs(count: int) -> list[NewIntegration]:
    return [
        NewIntegration(
            name=f"Shop {number}",
            integration_type="shopify",
            configuration=_CONFIGURATION,
            external_system_reference1=f"shop-{number}",
        )
        for number in itertools.islice(_NUMBERS, count)
    ]


async def _provision(client: ClarusClient, count: int, journal: Path | None) -> tuple[float, float]:
    specs = _specs(count)
    began, cpu = time.perf_counter(), time.process_time()
    run = client.integrations.provision(specs, journal=journal)
    async for _ in run:
        pass
    assert run.report.ok, run.report.as_dict()
    return time.perf_counter() - began, time.process_time() - cpu


async def _bare(client: ClarusClient, count: int) -> tuple[float, float]:
    specs = iter(_specs(count))

    async def work() -> None:
        for new in specs:
            await client.integrations.create(new)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(64)))
    return time.perf_counter() - began, time.process_time() - cpu


def _flush(folder: str) -> float:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(100):
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        return (time.perf_counter() - began) / 100


async def _main(url: str, count: int, rounds: int, folder: str) -> None:
    took: dict[str, list[tuple[float, float]]] = {"create in a worker pool": [], "without": [], "with": []}
    async with ClarusClient("acme", AccessToken("t"), base_url=url) as client:
        await _provision(client, 1000, None)
        for number in range(rounds):
            took["create in a worker pool"].append(await _bare(client, count))
            took["without"].append(await _provision(client, count, None))
            took["with"].append(await _provision(client, count, Path(folder) / f"{number}.db"))
    for name, times in took.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:>24}: {wall / count * 1e6:7.1f} us a record, {cpu / count * 1e6:7.1f} us of CPU")
    for name, than in (("with", "without"), ("with", "create in a worker pool")):
        pairs = zip(took[name], took[than], strict=True)
        ratios = [(one[0] / other[0], one[1] / other[1]) for one, other in pairs]
        wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(f"{name} a journal / {than}: {wall:.3f} (CPU {cpu:.3f})")
    print(f"a flush to the disk of 4 KiB: {_flush(folder) * 1e3:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the journals are made, and removed (default: a temporary one)")
    args = parser.parse_args()
    with canned_server() as url, tempfile.TemporaryDirectory(dir=args.folder) as folder:
        asyncio.run(_main(url, args.records, args.rounds, folder))


if __name__ == "__main__":
    main()
