"""Servers whose tokens are short, or die before their time: what several clients of one account come to.

A server that has one live token for a client ends it whenever it gives another (Doorkeeper's
``revoke_previous_client_credentials_token``), and a login on the front end ends it as well (CLARUS_API.md, section 2).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

import aiohttp

from clarus_async import ClarusClient, ClarusError, ClientCredentials, IntegrationChanges, NewIntegration
from tests.peers.scenario import TENANT, Row, Told, judge, specs
from tests.peers.servers import SECRET, ServerScenario, server
from tests.support.second_integrations import Record

CREDENTIALS = ClientCredentials("peer", SECRET)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runs(ServerScenario):
    """Several processes that provision at the same time, each its own records, with one account."""

    env: dict[str, str]  # what the server is told
    processes: int = 2
    records: int = 500  # of each
    login: float | None = None  # seconds from one login on the front end to the next
    within: float = 600.0  # seconds after which all is given up

    async def run(self) -> Row:
        """Run it once, and hold what was told against what the server lists."""
        async with server(self.server, **self.env) as peer, logins(peer.url, self.login):
            began = time.monotonic()
            told: list[Told] = []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.within):
                    await asyncio.gather(*(self._process(peer.url, n, told) for n in range(self.processes)))
            seconds = time.monotonic() - began
            async with ClarusClient(TENANT, CREDENTIALS, base_url=peer.url) as clarus:
                stored = [
                    Record(row.id, TENANT, {"external_system_reference1": row.name}, datetime.now(UTC))
                    async for row in clarus.integrations.list()
                ]
        return judge(_row(self.name, self.processes * self.records, seconds, told), stored)

    async def _process(self, url: str, number: int, told: list[Told]) -> None:
        first = number * self.records
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, url, str(first), str(first + self.records),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert worker.stdout is not None
        try:
            async for line in worker.stdout:
                told.append(Told(*json.loads(line)))
        except asyncio.CancelledError:
            # Its own kill() would reap it before asyncio does.
            os.kill(worker.pid, signal.SIGKILL)
            raise
        finally:
            await worker.wait()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calls(ServerScenario):
    """Calls of every kind of one client, whose tokens live for a few seconds."""

    life: int  # seconds
    calls: int = 5_000
    width: int = 64  # at a time

    async def run(self) -> Row:
        """Run it once."""
        async with (
            server(self.server, LIFE=str(self.life)) as peer,
            ClarusClient(TENANT, CREDENTIALS, base_url=peer.url) as clarus,
        ):
            began = time.monotonic()
            told = await calls(clarus, self.calls, self.width)
            seconds = time.monotonic() - began
        row = _row(self.name, self.calls, seconds, told)
        return dataclasses.replace(row, failed=sum(not each.ok for each in told))


async def calls(clarus: ClarusClient, number: int, width: int) -> list[Told]:
    """Make calls of every kind, and say what became of each."""
    kept = await clarus.integrations.create(NewIntegration(name="Kept", integration_type="shopify"))
    at_a_time = asyncio.Semaphore(width)

    async def create_and_delete(n: int) -> None:
        made = await clarus.integrations.create(NewIntegration(name=f"Shop {n}", integration_type="shopify"))
        await clarus.integrations.delete(made.id)

    async def find(_: int) -> None:
        await clarus.integrations.find(name="Kept")

    async def update(n: int) -> None:
        await clarus.integrations.update(kept.id, IntegrationChanges(string1=f"{n}"))

    async def ping(_: int) -> None:
        await clarus.ping()

    kinds: Sequence[Callable[[int], Awaitable[None]]] = (create_and_delete, find, update, ping)

    async def one(n: int) -> Told:
        async with at_a_time:
            try:
                await kinds[n % len(kinds)](n)
            except ClarusError as error:
                return Told(str(n), "failed", None, f"{type(error).__name__}: {error}")
        return Told(str(n), "updated")

    return await asyncio.gather(*map(one, range(number)))


@contextlib.asynccontextmanager
async def logins(url: str, seconds: float | None) -> AsyncIterator[None]:
    """While this is open, somebody logs in on the front end every few seconds, which ends all tokens."""

    async def log_in(session: aiohttp.ClientSession, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            async with session.post(f"{url}/login") as answer:
                assert answer.status == 204

    if seconds is None:
        yield
        return
    async with aiohttp.ClientSession() as session:
        logging_in = asyncio.create_task(log_in(session, seconds))
        try:
            yield
        finally:
            logging_in.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await logging_in


async def provision(clarus: ClarusClient, first: int, end: int) -> AsyncIterator[Told]:
    """Provision the records from one number to another, and say what became of each."""
    async with clarus.integrations.provision(specs(first, end)) as run:
        async for outcome in run:
            yield Told.of(outcome)


def _row(name: str, records: int, seconds: float, told: Sequence[Told]) -> Row:
    errors = tuple(text for text, _ in Counter(each.error for each in told if each.error).most_common())
    return Row(
        peer=name, records=records, goodput=None, refused=0.0, seconds=seconds, pace="", errors=errors, told=told,
    )  # fmt: skip


_ONE = {"ONE_TOKEN": "1"}
_SERVERS = ("rails", "django", "flask", "oidc-provider")

SCENARIOS: tuple[Runs | Calls, ...] = (
    *(Runs(name=f"tokens-one-{name}", server=name, env=_ONE) for name in _SERVERS),
    *(Runs(name=f"tokens-one-login-5s-{name}", server=name, env=_ONE, login=5.0) for name in _SERVERS),
    *(Runs(name=f"tokens-login-5s-{name}", server=name, env={}, login=5.0) for name in _SERVERS),
    *(Calls(name=f"tokens-{life}s-{name}", server=name, life=life) for life in (1, 2, 3, 5) for name in _SERVERS),
)


async def _main() -> None:
    url, first, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    async with ClarusClient(TENANT, CREDENTIALS, base_url=url) as clarus:
        try:
            async for told in provision(clarus, first, end):
                print(json.dumps(told), flush=True)
        except ClarusError as error:
            # The run was ended: of the rest of its records nothing is told.
            print(f"{os.getpid()}: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(_main())
