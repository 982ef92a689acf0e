"""One quota for uvicorn workers and scripts, through Redis: how much of it is used, and how much is refused.

``python -m benchmarks.shared_pace [--processes 2 4] [--kinds bucket fixed sliding] [--limit 100] [--seconds 30]
[--headers none] [--given]``. Half of the processes are uvicorn workers. The simulator keeps the quota; Redis is a real
one on loopback, started and stopped here. Needs the ``dev`` extra.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from clarus_async import ClarusClient, ClientCredentials, NewIntegration
from clarus_async.fleet.redis import RedisPacing
from clarus_async.fleet.shard_store import connect
from clarus_async.simulator import Endpoint, Quota, Simulator
from tests.support.process import free_port
from tests.support.redis_server import RedisServer

_WIDTH: Final = 16
_COLD: Final = 3  # seconds in which the limit is found
_ROOT: Final = Path(__file__).parents[1]


def _client() -> ClarusClient:
    rate = os.environ.get("RATE")
    pacing = RedisPacing(url=os.environ["REDIS_URL"], rate=float(rate) if rate else None)
    credentials = ClientCredentials(Simulator.client_id, Simulator.client_secret)
    return ClarusClient("acme", credentials, base_url=os.environ["CLARUS_BASE_URL"], pacing=pacing)


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """A service that creates an integration for each request, with one client for its life."""
    if scope["type"] == "lifespan":
        await receive()
        async with _client() as app.client:  # type: ignore[attr-defined]
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await app.client.integrations.create(NewIntegration(name="Shop", integration_type="shopify"))  # type: ignore[attr-defined]
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def script(until: float) -> None:
    """Create integrations for a while."""

    async def one(client: ClarusClient) -> None:
        while time.time() < until:
            await client.integrations.create(NewIntegration(name="Shop", integration_type="shopify"))

    async def main() -> None:
        async with _client() as client:
            await asyncio.gather(*(one(client) for _ in range(_WIDTH)))

    asyncio.run(main())


async def _ask(url: str, until: float, workers: int) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:

        async def one() -> None:
            while time.time() < until:
                async with session.post(url) as response:
                    assert response.status == 201

        await asyncio.gather(*(one() for _ in range(workers * _WIDTH)))


async def _run(quota: Quota, seconds: float, processes: int, redis: RedisServer, *, given: bool) -> Simulator:
    async with Simulator(quota=quota, latency=0.02) as sim:
        os.environ |= {"REDIS_URL": redis.url, "CLARUS_BASE_URL": sim.url}
        os.environ["RATE"] = str(quota.limit / quota.window) if given else ""
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "benchmarks.shared_pace:app", "--workers", str(processes // 2),
                   "--port", str(port), "--log-level", "warning"]  # fmt: skip
        service = await asyncio.to_thread(subprocess.Popen, command, cwd=_ROOT)
        try:
            await _until_it_answers(port)
            until = time.time() + seconds
            context = multiprocessing.get_context("spawn")
            scripts = [context.Process(target=script, args=(until,)) for _ in range(processes - processes // 2)]
            for process in scripts:
                process.start()
            await _ask(f"http://127.0.0.1:{port}/", until, processes // 2)
            for process in scripts:
                await asyncio.to_thread(process.join)
        finally:
            service.send_signal(signal.SIGTERM)
            await asyncio.to_thread(service.wait, 20)
        return sim


async def _until_it_answers(port: int) -> None:
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise TimeoutError("uvicorn does not answer")


def _measure(quota: Quota, options: argparse.Namespace, processes: int) -> bool:
    with RedisServer() as redis:
        sim = asyncio.run(_run(quota, options.seconds, processes, redis, given=options.given))
        commands = _commands(redis)
    creates = [entry for entry in sim.requests if entry.endpoint is Endpoint.CREATE]
    began = creates[0].at
    admitted: Counter[int] = Counter()
    refused: Counter[int] = Counter()
    for entry in creates:
        (refused if entry.status == 429 else admitted)[int(entry.at - began)] += 1
    warm = range(_COLD, int(options.seconds) - 1)
    if options.verbose:
        print("a second:", " ".join(f"{admitted[second]}+{refused[second]}" for second in range(int(options.seconds))))
    used = sum(admitted[second] for second in warm) / len(warm) / options.limit
    part = refused.total() / len(creates)
    print(
        f"{processes} processes, {quota.kind}: used of the quota after {_COLD} s: {used:.3f}; refused, from the first "
        f"request on: {part:.2%}; commands of Redis, a second and process: {commands / options.seconds / processes:.0f}"
    )
    return used >= 0.95 and part <= 0.01


def _commands(redis: RedisServer) -> int:
    async def ask() -> int:
        async with connect(redis.url) as client:
            return int((await client.info("stats"))["total_commands_processed"])

    return asyncio.run(ask())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--kinds", nargs="+", default=["bucket", "fixed", "sliding"])
    parser.add_argument("--limit", type=int, default=100, help="requests a second")
    parser.add_argument("--burst", type=int, default=20, help="depth of a bucket")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--headers", default="none")
    parser.add_argument("--given", action="store_true", help="the processes know the rate")
    parser.add_argument("--verbose", action="store_true", help="what was admitted and refused in each second")
    options = parser.parse_args()
    good = True
    for kind in options.kinds:
        burst = options.burst if kind in {"bucket", "gcra", "nginx"} else None
        quota = Quota(limit=options.limit, kind=kind, headers=options.headers, burst=burst)
        for processes in options.processes:
            good &= _measure(quota, options, processes)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
