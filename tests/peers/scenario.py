"""A scenario is data: what stands before the origin, what is sent through it, and how long the origin takes.

The origin is the second server; what it has stored is the truth that all that was told is held against.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from enum import IntEnum
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp

from clarus_async import (
    Applied,
    ClarusClient,
    ClarusError,
    ClientCredentials,
    NewIntegration,
    Outcome,
    PaceState,
    PacingPolicy,
    RetryPolicy,
    Timeouts,
)
from clarus_async.events import AttemptEvent
from tests.peers.software import Peer
from tests.peers.support import Need
from tests.support.process import Process
from tests.support.recorder import Recorder
from tests.support.second_integrations import PLAIN, Record
from tests.support.second_server import SecondServer

TENANT = "acme"
ORIGIN = dataclasses.replace(PLAIN, references=True)
"""The plain second server, whose records can be looked up by their references."""


class Part(IntEnum):
    """The smallest part of the scenarios that one belongs to."""

    TEST = 1  # a few seconds: pytest runs it
    QUICK = 2  # half a minute: .ci/run does
    FULL = 3


class Told(NamedTuple):
    """What the client said of one record: an outcome's status, the id, the error's text, and the ids of others."""

    key: str
    status: str
    id: int | None = None
    error: str = ""
    others: Sequence[int] = ()

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        error = outcome.error.message if outcome.error else ""
        return cls(outcome.key, str(outcome.status), outcome.id, error, outcome.others)

    @property
    def ok(self) -> bool:
        return self.status in {"created", "adopted", "updated"}

    def names(self, ids: Sequence[int]) -> bool:
        """Whether it says that the record is there more than once, and where."""
        return len(ids) > 1 and self.status in {"duplicated", "unresolved"} and {self.id, *self.others} >= set(ids)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Right:
    """What a run should come to; ``None``: nothing is asked. Machines are shared: what misses it is marked, no more."""

    goodput: float | None = None  # at least
    refused: float | None = None  # at most
    wall: float | None = None  # at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What one run came to."""

    peer: str  # the scenario's name
    records: int  # how many were given
    # Records that are there a second, by the requests a second that the limiter admits; ``None`` without a limiter
    goodput: float | None
    refused: float  # 429 and 503, of all requests
    seconds: float  # until the last record was told of
    pace: str  # what ``client.pace`` said then
    failed: int = 0  # records that were told neither as there, nor as there more than once by the id of each
    untold: int = 0  # records of which nothing was told before the run was given up
    lost: int = 0  # records that were told as there and are not, at least not under that id
    twice: int = 0  # records that are stored more than once
    untrue: int = 0  # records that were told as there once, and are there twice, or as not there, and are
    errors: tuple[str, ...] = ()  # texts of the errors that were told, most frequent first
    told: Sequence[Told] = dataclasses.field(default=(), repr=False)  # what was told of each record
    # Those of the second after the first refusal, by what was answered before it; ``None`` where none was
    wall: float | None = None
    attempts: Sequence[AttemptEvent] = dataclasses.field(default=(), repr=False)  # the requests for records
    right: Right = Right()  # what it should have come to

    def wrong(self, *but: str) -> list[str]:
        """Say what of it must not be."""
        counts = {name: getattr(self, name) for name in ("failed", "untold", "lost", "twice", "untrue")}
        return [f"{count} {what}" for what, count in counts.items() if count and what not in but]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is run."""

    name: str  # what the table calls it
    peer: Peer  # what stands before the origin
    records: int  # how many are created
    call: Literal["provision", "create"] = "provision"  # ``provision`` in one run, or a ``create`` for each
    width: int = 64  # records at a time
    quota: float | None = None  # requests a second that the limiter admits
    late: tuple[float, float] = (0.0, 0.0)  # seconds, from and to, that the origin takes to apply a create
    late_share: float = 1.0  # of the creates; the others are applied at once
    timeouts: Timeouts = Timeouts()
    retry: RetryPolicy = RetryPolicy()
    pacing: PacingPolicy = PacingPolicy()
    # Part of a second of Unix time after which the run begins, for limiters whose windows begin with seconds; ``None``:
    # at once
    begins: float | None = None
    right: Right = Right()  # what it should come to
    within: float = 900.0  # seconds after which the run is given up
    meanwhile: Callable[[Entrance], Coroutine[None, None, None]] | None = None  # what is done while the run goes on
    # The peer itself sends a create twice; nobody can know of a second record that comes after the first was found
    gateway_repeats: bool = False
    part: Part = Part.FULL  # the smallest part that it belongs to

    @property
    def needs(self) -> tuple[Need, ...]:
        return self.peer.needs

    async def run(self) -> Row:
        """Run it once, and hold what was told against what the origin has stored."""
        recorder = Recorder()
        async with before_origin(self.peer) as entrance:
            entrance.origin.create_takes = self._create_takes
            async with entrance.client(
                timeouts=self.timeouts, retry=self.retry, pacing=self.pacing, observer=recorder
            ) as clarus:
                if self.begins is not None:
                    await asyncio.sleep((self.begins - time.time()) % 1.0)
                began = time.monotonic()
                told = await self._told(clarus, entrance)
                seconds = time.monotonic() - began
                pace = clarus.pace
            await entrance.settled()
            stored = entrance.origin.created(TENANT)
        there, attempts = sum(one.ok for one in told), recorder.attempts
        return judge(
            Row(
                peer=self.name, records=self.records, seconds=seconds, told=told, attempts=attempts, right=self.right,
                goodput=self.quota and max(0, there - 1) / (self.quota * seconds),
                refused=sum(map(was_refused, attempts)) / max(1, len(attempts)),
                wall=first_wall(attempts),
                pace=in_words(pace),
            ),
            stored,
        )  # fmt: skip

    def wrong(self, row: Row) -> list[str]:
        """Say what of a row must not be."""
        return row.wrong(*(("twice", "untrue") if self.gateway_repeats else ())) + list(
            row.errors[:1] if row.failed else ()
        )

    def _create_takes(self) -> float:
        return random.uniform(*self.late) if random.random() < self.late_share else 0.0

    async def _told(self, clarus: ClarusClient, entrance: Entrance) -> list[Told]:
        told: list[Told] = []
        disturbance = asyncio.create_task(self.meanwhile(entrance)) if self.meanwhile else None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.within):
                    await (self._provision if self.call == "provision" else self._create)(clarus, told)
        finally:
            if disturbance is not None:
                disturbance.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await disturbance
        return told

    async def _provision(self, clarus: ClarusClient, told: list[Told]) -> None:
        async with clarus.integrations.provision(specs(0, self.records), concurrency=self.width) as run:
            async for outcome in run:
                told.append(Told.of(outcome))

    async def _create(self, clarus: ClarusClient, told: list[Told]) -> None:
        at_a_time = asyncio.Semaphore(self.width)

        async def one(spec: NewIntegration) -> None:
            key = str(spec.external_system_reference1)
            async with at_a_time:
                try:
                    record = await clarus.integrations.create(spec)
                except ClarusError as error:
                    status = "failed" if error.applied is Applied.NO else "unresolved"
                    told.append(Told(key, status, None, f"{type(error).__name__}: {error}"))
                else:
                    told.append(Told(key, "created", record.id))

        async with asyncio.TaskGroup() as group:
            for spec in specs(0, self.records):
                group.create_task(one(spec))


def specs(first: int, end: int, **more: Any) -> list[NewIntegration]:
    """Return the records from one number to another; a name is the reference, which is all that some lists tell."""
    return [
        NewIntegration(name=f"shop-{n}", integration_type="shopify", external_system_reference1=f"shop-{n}", **more)
        for n in range(first, end)
    ]


@dataclasses.dataclass(frozen=True)
class Entrance:
    """The origin, and the peer in front of it."""

    origin: SecondServer
    process: Process
    base_url: str
    session: aiohttp.ClientSession | None

    def client(self, **options: object) -> ClarusClient:
        credentials = ClientCredentials(self.origin.client_id, self.origin.client_secret)
        return ClarusClient(TENANT, credentials, base_url=self.base_url, session=self.session, **options)

    async def settled(self) -> None:
        """Wait until the origin has applied all that ever came to it."""
        while self.origin.applying:
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def before_origin(peer: Peer) -> AsyncIterator[Entrance]:
    """Start the origin, and the peer in front of it."""
    async with contextlib.AsyncExitStack() as stack:
        origin = await stack.enter_async_context(SecondServer(ORIGIN))
        process = await stack.enter_async_context(peer.process(urlsplit(origin.url).port))
        if peer.forward:
            jar = aiohttp.DummyCookieJar()
            session = await stack.enter_async_context(aiohttp.ClientSession(proxy=process.url, cookie_jar=jar))
            yield Entrance(origin, process, origin.url, session)
        else:
            yield Entrance(origin, process, process.url, None)


def was_refused(attempt: AttemptEvent) -> bool:
    return attempt.status in {429, 503}


def first_wall(attempts: Iterable[AttemptEvent]) -> float | None:
    """Return how many were refused in the second after the first refusal, by how many were answered before it."""
    ended = sorted((attempt.started_at + attempt.duration, was_refused(attempt)) for attempt in attempts)
    first = next((at for at, refused in ended if refused), None)
    if first is None:
        return None
    return sum(refused and at < first + 1.0 for at, refused in ended) / max(1, sum(at < first for at, _ in ended))


def in_words(pace: PaceState) -> str:
    """Return what is believed of the limit: the source, the kind, and all of it that is known."""
    known = {"/s": pace.rate, " at once": pace.burst, " s window": pace.window}
    words = [f"{pace.source}", *([] if pace.kind is None else [f"{pace.kind}"])]
    return " ".join(words + [f"{value:.4g}{what}" for what, value in known.items() if value is not None])


def judge(row: Row, stored: Iterable[Record]) -> Row:
    """Count what is wrong with what was told of a run, given what the origin has stored."""
    ids: defaultdict[str, list[int]] = defaultdict(list)
    for record in stored:
        ids[record.attributes["external_system_reference1"]].append(record.id)
    return dataclasses.replace(
        row,
        failed=sum(not told.ok and not told.names(ids[told.key]) for told in row.told),
        untold=row.records - len({told.key for told in row.told}),
        lost=sum(told.ok and told.id not in ids[told.key] for told in row.told),
        twice=sum(len(those) > 1 for those in ids.values()),
        untrue=sum(_untrue(told, ids[told.key]) for told in row.told),
        errors=tuple(text for text, _ in Counter(told.error for told in row.told if told.error).most_common()),
    )


def _untrue(told: Told, ids: list[int]) -> bool:
    return len(ids) > 1 if told.ok else told.status == "failed" and bool(ids)
