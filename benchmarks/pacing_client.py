"""What the scenarios do with the client: jobs of creates, through the public way, and what they came to."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from benchmarks.pacing_server import TENANT, Address, Refusal
from clarus_async import ClarusClient, ClientCredentials, NewIntegration, Timeouts
from clarus_async.events import AttemptEvent, Event, Observer

WIDTH = 64

# A call may wait for as long as the whole job takes; how long that is, is what is measured.
_TIMEOUTS = Timeouts(deadline=3600.0)


class Job(NamedTuple):
    """What a job of creates came to, as the client tells it.

    Args:
        created: records that are there.
        lost: records that are not.
        attempts: requests that went out.
        seconds: from the first call to the last success.
        errors: why records were lost: how often each error was raised.
    """

    created: int
    lost: int
    attempts: int
    seconds: float
    errors: Counter[str]

    @property
    def share(self) -> float:
        """Which part of the requests was refused, by the client's account."""
        return (self.attempts - self.created - self.lost) / max(1, self.attempts)

    def goodput(self, rate: float) -> float:
        """Return which part of a quota was made use of.

        The first create needs no time, so it is not counted; a burst that the quota allows can bring it above 1.

        Args:
            rate: the quota's requests a second.
        """
        return (self.created - 1) / rate / self.seconds if self.created > 1 else 0.0


def client_of(server: Address, tenant: str = TENANT, observer: Observer | None = None) -> ClarusClient:
    """Make a client with its defaults.

    Args:
        server: whom it asks.
        tenant: for whom.
        observer: is told what happens.
    """
    credentials = ClientCredentials(server.client_id, server.client_secret)
    return ClarusClient(tenant, credentials, base_url=server.url, timeouts=_TIMEOUTS, observer=observer)


def records(number: int | None = None, until: float = math.inf) -> Iterator[NewIntegration]:
    """Make records that differ, as realistic as the vendor's example.

    Args:
        number: how many; ``None``: without end.
        until: when to stop, on the monotonic clock.
    """
    for index in count() if number is None else range(number):
        if time.monotonic() >= until:
            return
        yield NewIntegration(
            name=f"Shop {index}",
            integration_type="shopify",
            configuration={"api_key": "your-api-key", "shop_domain": "mystore.myshopify.com"},
            external_system_reference1=f"shop-{index}",
        )


async def create_all(client: ClarusClient, specs: Iterable[NewIntegration], width: int = WIDTH) -> Job:
    """Create records in one run.

    Args:
        client: with what.
        specs: which.
        width: how many at once.
    """
    errors: Counter[str] = Counter()
    started = last = time.monotonic()
    async with client.integrations.provision(specs, concurrency=width) as run:
        async for outcome in run:
            if outcome.status.ok:
                last = time.monotonic()
            else:
                errors[outcome.error.type if outcome.error else outcome.status] += 1
        report = run.report
    lost = errors.total()
    return Job(report.total - lost, lost, report.attempts, last - started, errors)


class Sends:
    """An observer that notes when each create was sent, and when its answer had come."""

    def __init__(self) -> None:
        self._sent: list[float] = []
        self._came: dict[str, float] = {}

    def on_event(self, event: Event) -> None:
        """Note an attempt.

        Args:
            event: what happened.
        """
        if isinstance(event, AttemptEvent) and event.operation == "create":
            self._sent.append(event.started_at)
            if event.request_id is not None:
                self._came[event.request_id] = event.started_at + event.duration

    def too_early(self, told: Sequence[Refusal]) -> int:
        """Count the sends after a 429 had come and before the Retry-After that it brought had passed.

        What was on the wire when the 429 came is no fault of anybody's and not counted.

        Args:
            told: the server's 429s.
        """
        closed = [
            (self._came[one.request_id], one.at + one.retry_after) for one in told if one.request_id in self._came
        ]
        return sum(any(came < sent < until for came, until in closed) for sent in self._sent)
