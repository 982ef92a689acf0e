"""What it costs to read a long list, beside a loop that is written by hand and builds plain dicts."""

from __future__ import annotations

import contextlib
import functools
import resource
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
import orjson

from benchmarks.canned_server import canned_server
from benchmarks.measuring import Figure, interleaved, median, ratio, run
from clarus_async import AccessToken, ClarusClient
from clarus_async.resources.integrations import INTEGRATIONS
from clarus_async.wire.graphql import list_document

_PAGE: Final = 100
_HEADERS: Final = {"Authorization": "Bearer t", "X-Clarus-Subdomain": "acme", "Content-Type": "application/json"}


async def _ours(client: ClarusClient, count: int) -> None:
    rows = 0
    async for _ in client.integrations.list(page_size=_PAGE):
        rows += 1
        if rows == count:
            return
    assert rows == count


async def _by_hand(session: aiohttp.ClientSession, url: str, count: int) -> None:
    rows, after = 0, None
    while rows < count:
        variables = {"first": _PAGE} | ({} if after is None else {"after": after})
        body = orjson.dumps({"query": list_document(INTEGRATIONS.listing), "variables": variables})
        async with session.post(f"{url}/graphql", data=body, headers=_HEADERS) as response:
            response.raise_for_status()
            page = orjson.loads(await response.read())["data"]["integrations"]["all"]
        for edge in page["edges"]:
            node = edge["node"]
            node["id"] = int(node["id"])
            rows += 1
        after = page["pageInfo"]["endCursor"]


def _peak() -> float:
    unit = 1024 if sys.platform == "linux" else 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


async def _measure(url: str, rows: int, rounds: int) -> list[Figure]:
    peers: dict[str, Callable[[int], Awaitable[None]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(ClarusClient("acme", AccessToken("t"), base_url=url))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        peers["ours"] = functools.partial(_ours, client)
        peers["by hand"] = functools.partial(_by_hand, session, url)
        spent = await interleaved(peers, rounds, dict.fromkeys(peers, rows // 10))
        before = _peak()
        await _ours(client, rows)
        growth = _peak() - before
    return [
        Figure(name="a row of a list", value=median(spent["ours"]), unit="us CPU"),
        Figure(name="a row, by hand as plain dicts", value=median(spent["by hand"]), unit="us CPU"),
        Figure(name="a list / by hand, CPU", value=ratio(spent["ours"], spent["by hand"]), most=1.5, fails=6.0),
        Figure(
            name=f"peak memory of {rows:,} rows over a tenth of them", value=growth, unit="MiB", most=1.0, fails=4.0
        ),
    ]


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table."""
    rows, rounds = (20_000, 7) if quick else (100_000, 15)
    with canned_server(rows=rows, apart=True) as server:
        return run(_measure(server.url, rows, rounds))
