"""A simulator in a process of its own, which can be asked."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import Awaitable, Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

from clarus_async.simulator import Endpoint, Simulator

TENANT = "acme"
_SPAWN = multiprocessing.get_context("spawn")
_T = TypeVar("_T")


class Simulated(NamedTuple):
    """Where it is, its credentials, and what it is asked by."""

    url: str
    client_id: str
    client_secret: str
    pipe: Connection

    def ask(self, what: Callable[[Simulator], _T]) -> _T:
        """Return what a function of a module says of it."""
        self.pipe.send(what)
        return self.pipe.recv()

    def ledger(self) -> list[tuple[int, str]]:
        """Return the id and the reference of every record that was ever created."""
        return self.ask(_ledger)

    def creates(self) -> list[tuple[float, str]]:
        """Return when each create arrived, on this machine's monotonic clock, and with what token."""
        return self.ask(_creates)

    def environment(self) -> dict[str, str]:
        """Return what tells a client of it."""
        return {
            "CLARUS_SUBDOMAIN": TENANT, "CLARUS_BASE_URL": self.url,
            "CLARUS_CLIENT_ID": self.client_id, "CLARUS_CLIENT_SECRET": self.client_secret,
        }  # fmt: skip


def _ledger(sim: Simulator) -> list[tuple[int, str]]:
    return [(record.id, record.external_system_reference1) for record in sim.created(TENANT)]


def _creates(sim: Simulator) -> list[tuple[float, str]]:
    return [(entry.at, entry.headers["Authorization"]) for entry in sim.requests if entry.endpoint is Endpoint.CREATE]


def _simulate(pipe: Connection, meanwhile: Callable[[Simulator], Awaitable[None]], options: dict[str, Any]) -> None:
    async def main() -> None:
        async with Simulator(**options) as sim:
            pipe.send((sim.url, sim.client_id, sim.client_secret))
            happening = asyncio.ensure_future(meanwhile(sim))
            while (asked := await asyncio.to_thread(pipe.recv)) is not None:
                pipe.send(asked(sim))
            happening.cancel()

    asyncio.run(main())


async def _nothing(_: Simulator) -> None:
    pass


@contextlib.contextmanager
def simulated_apart(
    meanwhile: Callable[[Simulator], Awaitable[None]] = _nothing, **options: Any
) -> Iterator[Simulated]:
    """Run a simulator with these options, and a function of a module beside it."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_simulate, args=(theirs, meanwhile, options), daemon=True)
    process.start()
    try:
        theirs.close()
        yield Simulated(*ours.recv(), ours)
        ours.send(None)
        process.join(10)
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()
