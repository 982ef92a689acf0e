"""Closed-loop clients in a world, as discrete events: the same for the same seed."""

from __future__ import annotations

import copy
import heapq
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from clarus_async.ratelimit.headers import RateLimitHeaders, read_rate_limit
from clarus_async.simulator.limiters import Connections
from clarus_async.wire.headers import retry_after as read_retry_after
from tests.zoo.worlds import World

WIDTH: Final = 64
# A pacer that takes as many times as long as the quota does has failed.
_HOPELESS: Final = 20.0
_NO_CLOCK: Final = datetime.fromtimestamp(0, UTC)
_STRAY_COSTS: Final = 1.0
# Seconds. A clock at 1.7e9 tells a quarter of a microsecond.
_TICK: Final = 1e-6

_TIMER, _ARRIVAL, _ANSWER, _REFUSAL, _LEAVE, _OTHER, _CHANGE = range(7)


class Pacer(Protocol):
    """What a client asks before it sends. Times are seconds on its clock."""

    def ask(self, now: float, /) -> float | None:
        """Seconds to wait; ``None``: until something is heard of."""

    def send(self, now: float, /) -> Any:
        """Note that a request goes out."""

    def answered(self, sent: Any, now: float, told: RateLimitHeaders | None, /) -> None:
        """Note an answer that is no 429."""

    def refused(self, sent: Any, now: float, retry_after: float | None, told: RateLimitHeaders | None, /) -> None:
        """Note a 429."""


class Unpaced:
    """Sends as fast as answers come back."""

    rate = None

    def ask(self, _now: float) -> float | None:
        """Nothing has to wait."""
        return 0.0

    def send(self, _now: float) -> Any:
        """Nothing is noted."""

    def answered(self, _sent: Any, _now: float, _told: RateLimitHeaders | None) -> None:
        """Nothing is learned."""

    def refused(self, _sent: Any, _now: float, _retry_after: float | None, _told: RateLimitHeaders | None) -> None:
        """Nothing is learned."""


class Clairvoyant:
    """Knows the limiter and how it counts, but not how long the next request takes, nor what others send."""

    rate = None

    def __init__(self, world: World) -> None:
        self._real, self._shadow = world.limiter, copy.deepcopy(world.limiter)
        self._changing = [name for name in ("rate", "depth", "limit") if world.change and hasattr(self._real, name)]
        self._connections = world.limiter.limit if isinstance(world.limiter, Connections) else math.inf
        # The earliest that a request arrives, on the server's clock.
        self._ahead = world.rtt / 2 * (1 - world.jitter) + world.unix - world.start
        self._out = 0

    def ask(self, now: float) -> float | None:
        """Wait until the limiter would admit it."""
        if self._out >= self._connections:
            return None
        for name in self._changing:
            setattr(self._shadow, name, getattr(self._real, name))
        wait = 0.0 if self._connections < math.inf else self._shadow.wait(now + self._ahead)
        # The millisecond that a clock in whole ones leaves out.
        return wait + 0.001 if wait > 0 else 0.0

    def send(self, now: float) -> Any:
        """Count it as the limiter will."""
        self._out += 1
        if self._connections == math.inf:
            self._shadow.take(now + self._ahead)

    def answered(self, _sent: Any, _now: float, _told: RateLimitHeaders | None) -> None:
        """Nothing is learned."""
        self._out -= 1

    def refused(self, _sent: Any, _now: float, _retry_after: float | None, _told: RateLimitHeaders | None) -> None:
        """Nothing is learned."""
        self._out -= 1


class Constant:
    """Sends at one pace, requests a second, whatever is answered, but not before a Retry-After."""

    def __init__(self, pace: float) -> None:
        self.rate: float | None = pace
        self._apart = 1.0 / pace
        self._next = self._floor = -math.inf

    def ask(self, now: float) -> float | None:
        """Wait for the next slot."""
        return max(0.0, self._next - now, self._floor - now)

    def send(self, now: float) -> Any:
        """Take a slot."""
        self._next = max(self._next, now) + self._apart

    def answered(self, _sent: Any, _now: float, _told: RateLimitHeaders | None) -> None:
        """Nothing is learned."""

    def refused(self, _sent: Any, now: float, retry_after: float | None, _told: RateLimitHeaders | None) -> None:
        """Wait as long as it says."""
        self._floor = max(self._floor, now + (retry_after or 0.0))


class Client:
    """A job of so many creates, so many at a time, behind one pacer. Times are seconds since the start."""

    __slots__ = (
        "admitted", "answered", "ask", "contact", "early", "floor", "idle", "out", "pacer", "refused", "rejected",
        "send", "sent", "timer", "todo",
    )  # fmt: skip

    def __init__(self, pacer: Pacer, jobs: int, width: int = WIDTH) -> None:
        self.pacer, self.todo, self.idle = pacer, jobs, width
        self.ask, self.send, self.answered, self.rejected = pacer.ask, pacer.send, pacer.answered, pacer.refused
        self.sent = self.out = 0
        self.admitted: list[float] = []
        self.refused: list[float] = []
        self.contact = 0  # requests under way when the first refusal came, with that one
        self.early = 0  # requests that went out before a Retry-After that was known had passed
        self.floor = -math.inf
        self.timer = math.inf


class Result(NamedTuple):
    """How a job went. Times are seconds since its start."""

    seconds: float  # until the last admitted request's answer
    sent: int  # requests
    admitted: int  # of them
    refused: int  # of them
    contact: int  # requests under way when the first refusal came, with that one
    early: int  # requests that went out before a Retry-After that was known had passed
    goodput: float  # admitted, by what the quota held for them
    done: bool  # whether the job came to its end


class Line(NamedTuple):
    """What happened: seconds since the start, ``"sent"``, ``"admitted"``, ``"refused"``, … and the state after it."""

    at: float
    event: str
    under_way: int
    rate: float | None


def run(world: World, pacer: Pacer, trace: list[Line] | None = None) -> Result:
    """Run a world's job with one client."""
    client = Client(pacer, world.jobs)
    until = 60.0 + _HOPELESS * world.jobs / min(rate for _, rate in world.quotas)
    ended = play(world, [client], until=until, trace=trace)
    admitted = len(client.admitted)
    done = admitted == world.jobs
    seconds = client.admitted[-1] if done else until
    # A stray 429 costs its second, and that only.
    counted = seconds - (_STRAY_COSTS if ended.strayed else 0.0)
    goodput = (admitted - 1) / max(1e-9, world.admissible(counted) - ended.others)
    return Result(
        seconds, client.sent, admitted, len(client.refused), client.contact, client.early, goodput, done
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _read(headers: tuple[tuple[str, str], ...]) -> tuple[RateLimitHeaders | None, float | None]:
    """Read what headers tell of the quota, and of when to come back; a moment is told with a Date always."""
    told = dict(headers)
    date = told.get("Date")
    return read_rate_limit(told, date, _NO_CLOCK), read_retry_after(told.get("Retry-After"), date, _NO_CLOCK)


class Ended(NamedTuple):
    """How it ended."""

    seconds: float  # since the start
    others: int  # requests of others that were admitted
    strayed: bool  # whether a request was refused that no limiter refused


def play(world: World, clients: Sequence[Client], *, until: float = math.inf, trace: list[Line] | None = None) -> Ended:
    """Run the jobs of clients that share a world's limiter."""
    start, skew = world.start, world.unix - world.start
    take, leave = world.limiter.take, world.limiter.leave
    half, spread, draw = world.rtt / 2 * (1 - world.jitter), world.rtt * world.jitter, world.draw.random
    tell, service, serial = world.tell, world.service, world.serial
    push, pop = heapq.heappush, heapq.heappop
    stray = math.inf if world.stray is None else start + world.stray
    end = start + until

    left = sum(client.todo for client in clients)
    others = 0
    busy = now = start
    heap: list[tuple[float, int, int, Any, Any, Any, Any]] = [
        (start, number, _TIMER, client, None, None, None) for number, client in enumerate(clients)
    ]
    number = len(clients)
    if world.change is not None:
        number += 1
        heap.append((start + world.change[0], number, _CHANGE, None, None, None, None))
    if world.others is not None:
        number += 1
        heap.append((start + next(world.others), number, _OTHER, None, None, None, None))
    heapq.heapify(heap)

    while left and heap:
        now, _, event, client, sent, told, after = pop(heap)
        if now > end:
            now = end
            break
        if event == _ARRIVAL:
            verdict = take(now + skew)
            admitted = verdict.admitted
            if admitted and now >= stray:
                stray, admitted, after = math.inf, False, _STRAY_COSTS
                leave(now + skew)
            elif tell is not None:
                headers = tell(verdict, now + skew)
                if headers:
                    told, after = _read(tuple(headers.items()))
            at = now + half + spread * draw() + verdict.delay
            number += 2
            if not admitted:
                push(heap, (at, number, _REFUSAL, client, sent, told, after))
                continue
            if service is not None:
                working = service()
                at += working
                push(heap, (now + working, number - 1, _LEAVE, None, None, None, None))
            elif serial:
                busy = max(busy, now) + serial
                at += busy - now
            push(heap, (at, number, _ANSWER, client, sent, told, None))
            continue
        if event == _ANSWER:
            client.idle += 1
            client.out -= 1
            left -= 1
            client.admitted.append(now - start)
            client.answered(sent, now, told)
            if trace is not None:
                trace.append(Line(now - start, "admitted", client.out, getattr(client.pacer, "rate", None)))
        elif event == _REFUSAL:
            if not client.refused:
                client.contact = client.out
            client.idle += 1
            client.out -= 1
            client.todo += 1
            client.refused.append(now - start)
            if after is not None and now + after > client.floor:
                client.floor = now + after
            client.rejected(sent, now, after, told)
            if trace is not None:
                trace.append(Line(now - start, "refused", client.out, getattr(client.pacer, "rate", None)))
        elif event == _TIMER:
            if now >= client.timer:
                client.timer = math.inf
        elif event == _LEAVE:
            leave(now + skew)
            continue
        elif event == _OTHER:
            others += take(now + skew).admitted
            assert world.others is not None
            number += 1
            push(heap, (start + next(world.others), number, _OTHER, None, None, None, None))
            continue
        else:
            assert world.change is not None
            world.change[1]()
            if trace is not None:
                trace.append(Line(now - start, "changed", 0, None))
            continue
        while client.idle and client.todo:
            wait = client.ask(now)
            if wait is None:
                break
            if wait > 0.0:
                at = now + wait
                # The least that moves a clock that began long ago.
                if at <= now:
                    at = now + _TICK
                if at < client.timer:
                    client.timer = at
                    number += 1
                    push(heap, (at, number, _TIMER, client, None, None, None))
                break
            client.idle -= 1
            client.todo -= 1
            client.out += 1
            client.sent += 1
            if now < client.floor - _TICK:
                client.early += 1
            number += 1
            push(heap, (now + half + spread * draw(), number, _ARRIVAL, client, client.send(now), None, None))
            if trace is not None:
                trace.append(Line(now - start, "sent", client.out, getattr(client.pacer, "rate", None)))
    return Ended(now - start, others, world.stray is not None and stray == math.inf)
