"""A simulator in a process of its own, and its count of what arrived: the server's side of every figure.

Times are seconds on the event loop's clock. That is the machine's one monotonic clock, the same in every process, so
what a client and a server noted can be compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import time
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from clarus_async.simulator import Quota

if TYPE_CHECKING:
    from clarus_async.simulator import Simulator

TENANT = "acme"
QuotaOption: TypeAlias = Quota | Mapping[str, Quota] | None

_PATIENCE = 60.0
_SPAWN = multiprocessing.get_context("spawn")


class Refusal(NamedTuple):
    """A 429 that said when to come back.

    Args:
        request_id: the ``X-Request-Id`` of its answer.
        at: when it was answered.
        retry_after: seconds.
    """

    request_id: str
    at: float
    retry_after: float


class Ledger:
    """When each request of each tenant was answered, and how. The token endpoint's are left out."""

    def __init__(self) -> None:
        self._served: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._refused: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self.told: list[Refusal] = []
        self.others: Counter[int] = Counter()
        self.cpu = 0.0
        self.last = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_served": dict(self._served), "_refused": dict(self._refused)}

    def note(self, tenant: str, status: int, at: float) -> None:
        """Count an answer.

        Args:
            tenant: whose.
            status: of it.
            at: when.
        """
        self.last = at
        if status == 429:
            self._refused[tenant].append(at)
        elif 200 <= status < 300:
            self._served[tenant].append(at)
        else:
            self.others[status] += 1

    def served(self, since: float = 0.0, until: float = float("inf"), tenant: str | None = None) -> int:
        """Count the requests that were served in ``[since, until)``.

        Args:
            since: the first moment.
            until: the first moment after it.
            tenant: whose; ``None``: everybody's.
        """
        return _between(self._served, since, until, tenant)

    def refused(self, since: float = 0.0, until: float = float("inf"), tenant: str | None = None) -> int:
        """Count the 429s in ``[since, until)``.

        Args:
            since: the first moment.
            until: the first moment after it.
            tenant: whose; ``None``: everybody's.
        """
        return _between(self._refused, since, until, tenant)

    def share(self, since: float = 0.0, until: float = float("inf")) -> float:
        """Return which part of the requests in ``[since, until)`` was a 429.

        Args:
            since: the first moment.
            until: the first moment after it.
        """
        served, refused = self.served(since, until), self.refused(since, until)
        return refused / max(1, served + refused)


def _between(kept: Mapping[str, array[float]], since: float, until: float, tenant: str | None) -> int:
    chosen = kept.values() if tenant is None else [kept[tenant]] if tenant in kept else []
    return sum(bisect_left(times, until) - bisect_left(times, since) for times in chosen)


class Address(NamedTuple):
    """What a client needs to know of a server.

    Args:
        url: where it listens.
        client_id: of the credentials that it knows.
        client_secret: of the same.
    """

    url: str
    client_id: str
    client_secret: str


class Server:
    """A simulator in another process.

    Args:
        connection: to that process.
        address: where it is, which other processes may be told.
    """

    def __init__(self, connection: Connection, address: Address) -> None:
        self._connection = connection
        self.address = address

    def set_quota(self, quota: Quota | None) -> float:
        """Change the quota while clients are at work, and return when it was changed.

        Args:
            quota: the new one, with fresh counters.
        """
        self._connection.send(("quota", quota))
        at: float = self._answer()
        return at

    def ledger(self) -> Ledger:
        """Return what has been counted so far."""
        self._connection.send(("ledger", None))
        ledger: Ledger = self._answer()
        return ledger

    def _answer(self) -> Any:
        if not self._connection.poll(_PATIENCE):
            raise TimeoutError("the server's process does not answer")
        return self._connection.recv()


@contextlib.contextmanager
def serving(*, quota: QuotaOption, tenants: Sequence[str] = (TENANT,)) -> Iterator[Server]:
    """Start a server, and stop it in the end.

    Args:
        quota: as the simulator takes it.
        tenants: the subdomains that it knows.
    """
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(theirs, quota, tuple(tenants)), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_PATIENCE):
            raise TimeoutError("the server's process does not start")
        yield Server(ours, ours.recv())
    finally:
        # The process ends when it sees the end of the pipe, as it would if this one were killed.
        ours.close()
        process.join(5.0)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(connection: Connection, quota: QuotaOption, tenants: Sequence[str]) -> None:
    # Ctrl-C reaches the whole group; whoever started this process ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_until_the_pipe_ends(connection, quota, tenants))


async def _until_the_pipe_ends(connection: Connection, quota: QuotaOption, tenants: Sequence[str]) -> None:
    ledger = Ledger()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    simulator = _counting(quota, tenants, ledger)

    def asked() -> None:
        try:
            what, value = connection.recv()
            if what == "quota":
                simulator.set_quota(value)
                connection.send(loop.time())
            else:
                ledger.cpu = time.process_time()
                connection.send(ledger)
        except (EOFError, OSError):
            loop.remove_reader(connection.fileno())
            ended.set()

    async with simulator:
        loop.add_reader(connection.fileno(), asked)
        connection.send(Address(simulator.url, simulator.client_id, simulator.client_secret))
        await ended.wait()


def _counting(quota: QuotaOption, tenants: Sequence[str], ledger: Ledger) -> Simulator:
    # Whoever starts a server imports this module, too, and has no need of what the server needs.
    from clarus_async.simulator import Endpoint, LoggedRequest, Simulator  # noqa: PLC0415
    from clarus_async.simulator.documents import Answer  # noqa: PLC0415

    class Counting(Simulator):
        """Counts where answers are made: the simulator's own ledger keeps whole requests, and no Retry-After."""

        def __init__(self) -> None:
            super().__init__(tenants=tenants, quota=quota, keep_requests=1)
            serve = self._service.serve

            def counted(entry: LoggedRequest, at: float, stale: float = 0.0) -> Answer:
                answer = serve(entry, at, stale)
                if entry.endpoint is not Endpoint.TOKEN:
                    ledger.note(entry.tenant or "", answer.status, at)
                    if answer.status == 429 and (seconds := answer.headers.get("Retry-After")) is not None:
                        ledger.told.append(Refusal(entry.request_id, at, float(seconds)))
                return answer

            self._service.serve = counted  # type: ignore[method-assign]

    return Counting()
