"""What a connection costs: kept or new, with TLS or without, its name looked up or known.

These are the figures behind the session's settings: a pool as wide as its limiter, connections that are kept for as
long as servers do, and names that are remembered for a minute. A TLS session can't be resumed: asyncio's streams take
none.
Needs the ``dev`` extra, for the certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import aiohttp
import trustme

from benchmarks.call import by_hand
from benchmarks.canned_server import Canned
from benchmarks.measuring import Figure, in_a_pool, interleaved, median, ratio, run

_WIDTH: Final = 8
# Whether each request has a connection of its own, and whether names are remembered.
_KINDS: Final = {"kept": (False, True), "new": (True, True), "new, its name looked up": (True, False)}


@contextlib.asynccontextmanager
async def _served(tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0, ssl=tls, backlog=1024)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def _measure(rounds: int) -> list[Figure]:
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(ours)
    authority.issue_cert("localhost").configure_cert(theirs)
    works: dict[str, Callable[[int], Awaitable[None]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        for tls in (False, True):
            port = await stack.enter_async_context(_served(theirs if tls else None))
            url = f"http{'s' if tls else ''}://localhost:{port}"
            for kind, (new, remembered) in _KINDS.items():
                connector = aiohttp.TCPConnector(ssl=ours, force_close=new, use_dns_cache=remembered)
                session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
                create = by_hand(session, f"{url}/api/integrations")
                works[f"{'TLS' if tls else 'plain'}, {kind}"] = functools.partial(_work, create)
        spent = await interleaved(works, rounds, dict.fromkeys(works, 64))
    kept = spent["plain, kept"]
    return [
        Figure(name=f"a create: {name}", value=median(slices), unit="us CPU", note=f"{ratio(slices, kept):.1f} times")
        for name, slices in spent.items()
    ]


async def _work(create: Callable[[object], Awaitable[object]], count: int) -> None:
    await in_a_pool(create, range(count), _WIDTH)


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table. Client and server are one process here, so the figures are those of both."""
    return run(_measure(5 if quick else 21))
