"""What a run and its journal cost: the same records with and without, and by ``create`` alone, 64 at a time.

``python -m benchmarks provision``. The server answers at once, so nothing hides what the client does. A flush to the
disk is measured beside it, for it is what a journal waits for; ``JOURNAL_DIR`` says on which disk.
"""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.canned_server import canned_server
from benchmarks.measuring import Figure, in_a_pool, interleaved, median, ratio, run
from benchmarks.peers import WIDTH
from clarus_async import AccessToken, ClarusClient, NewIntegration

_CONFIGURATION: Final = {"api_key": "your-api-key", "shop_domain": "mystore.myshopify.com"}
_NUMBERS = itertools.count()

POOL: Final = "create in a bare pool of workers"
WITHOUT: Final = "provision without a journal"
WITH: Final = "provision with a journal"


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


async def _provision(client: ClarusClient, folder: Path | None, count: int) -> None:
    journal = None if folder is None else folder / f"{next(_NUMBERS)}.db"
    run = client.integrations.provision(_specs(count), journal=journal)
    async for _ in run:
        pass
    assert run.report.ok, run.report.as_dict()


async def _bare(client: ClarusClient, count: int) -> None:
    await in_a_pool(client.integrations.create, _specs(count), WIDTH)


async def _measure(url: str, folder: str, rounds: int, count: int) -> list[Figure]:
    async with ClarusClient("acme", AccessToken("t"), base_url=url) as client:
        peers = {
            POOL: functools.partial(_bare, client),
            WITHOUT: functools.partial(_provision, client, None),
            WITH: functools.partial(_provision, client, Path(folder)),
        }
        spent = await interleaved(peers, rounds, dict.fromkeys(peers, count))
    table = [
        Figure(
            name=f"a record: {name}", value=median(slices), unit="us CPU", note=f"{median(slices, 'wall'):.0f} us wall"
        )
        for name, slices in spent.items()
    ]
    pairs = ((WITH, WITHOUT, 1.15, 2.0), (WITH, POOL, 1.25, 3.0))
    for one, other, most, fails in pairs:
        wall = ratio(spent[one], spent[other], "wall")
        cpu = ratio(spent[one], spent[other])
        table.append(Figure(name=f"{one} / {other}, wall", value=wall, most=most, fails=fails, note=f"CPU {cpu:.3f}"))
    table.append(Figure(name="a flush to the disk of 4 KiB", value=_flush(folder) * 1e3, unit="ms"))
    return table


def _flush(folder: str) -> float:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(100):
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        return (time.perf_counter() - began) / 100


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table."""
    rounds, count = (3, 1000) if quick else (15, 3000)
    # The journal's thread has the client's core to itself as little as in a service.
    with canned_server() as server, tempfile.TemporaryDirectory(dir=os.environ.get("JOURNAL_DIR")) as folder:
        return run(_measure(server.url, folder, rounds, count))
