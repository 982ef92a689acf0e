"""One closed-loop client in a world, as discrete events."""

from __future__ import annotations

import copy
import heapq
import math
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

from clarus_async.simulator.limiters import Connections, Unlimited
from clarus_async.wire.headers import retry_after as read_retry_after
from clarus_async.wire.ratelimit import Told, read_rate_limit
from tests.zoo.worlds import World

WIDTH: Final = 64
# A pacer that takes as many times as long as the quota does has failed.
_HOPELESS: Final = 20.0
# Seconds. A clock at 1.7e9 tells a quarter of a microsecond.
_TICK: Final = 1e-6

_TIMER, _ARRIVAL, _ANSWER, _REFUSAL, _LEAVE, _OTHER, _CHANGE = range(7)


class Pacer(Protocol):
    """What a client asks before it sends. Times are seconds on its clock."""

    def ask(self, now: float, /) -> float | None:
        """Seconds to wait; ``None``: until something is heard of."""

    def send(self, now: float, /) -> Any:
        """Note that a request goes out."""

    def answered(self, sent: Any, now: float, told: Told | None, /) -> None:
        """Note an answer that is no 429."""

    def refused(self, sent: Any, now: float, retry_after: float | None, told: Told | None, /) -> None:
        """Note a 429."""


class Unpaced:
    """Sends as fast as answers come back."""

    rate = None

    def ask(self, _now: float) -> float | None:
        """Nothing has to wait."""
        return 0.0

    def send(self, _now: float) -> Any:
        """Nothing is noted."""

    def answered(self, _sent: Any, _now: float, _told: Told | None) -> None:
        """Nothing is learned."""

    def refused(self, _sent: Any, _now: float, _retry_after: float | None, _told: Told | None) -> None:
        """Nothing is learned."""


class Clairvoyant:
    """Knows the limiter and how it counts what was sent, but not how long the next request takes, nor what others send.

    Args:
        world: it is not used up.
    """

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

    def answered(self, _sent: Any, _now: float, _told: Told | None) -> None:
        """Nothing is learned."""
        self._out -= 1

    def refused(self, _sent: Any, _now: float, _retry_after: float | None, _told: Told | None) -> None:
        """Nothing is learned."""
        self._out -= 1


class Result(NamedTuple):
    """How a job went. Times are seconds since its start.

    Args:
        seconds: until the last admitted request's answer.
        sent: requests.
        admitted: of them.
        refused: of them.
        contact: requests under way when the first refusal came, with that one.
        early: requests that went out before a Retry-After that was known had passed.
        others: requests of others that were admitted.
        goodput: admitted, by what the quota held for them.
        done: whether the job came to its end.
    """

    seconds: float
    sent: int
    admitted: int
    refused: int
    contact: int
    early: int
    others: int
    goodput: float
    done: bool


class Line(NamedTuple):
    """What happened: seconds since the start, ``"sent"``, ``"admitted"``, ``"refused"``, … and the state after it."""

    at: float
    event: str
    under_way: int
    rate: float | None


def run(world: World, pacer: Pacer, trace: list[Line] | None = None) -> Result:
    """Run a world's job.

    Args:
        world: used up by it.
        pacer: is asked before each request.
        trace: collects what happens, if it is given.
    """
    start, skew = world.start, world.unix - world.start
    ask, send, answered, refused = pacer.ask, pacer.send, pacer.answered, pacer.refused
    take, leave = world.limiter.take, world.limiter.leave
    half, spread, draw = world.rtt / 2 * (1 - world.jitter), world.rtt * world.jitter, world.draw.random
    tell, service, serial = world.tell, world.service, world.serial
    push, pop = heapq.heappush, heapq.heappop
    stray = math.inf if world.stray is None else start + world.stray
    unlimited = isinstance(world.limiter, Unlimited)

    todo, idle, out = world.jobs, WIDTH, 0
    sent_count = admitted_count = refused_count = contact = early = others = number = 0
    floor = -math.inf
    timer = math.inf
    last = busy = now = start
    until = start + 60.0 + _HOPELESS * _ideal(world)
    heap: list[tuple[float, int, int, Any, Any, Any]] = [(start, 0, _TIMER, None, None, None)]
    if world.change is not None:
        heap.append((start + world.change[0], 1, _CHANGE, None, None, None))
    if world.others is not None:
        heap.append((start + next(world.others), 2, _OTHER, None, None, None))
    heapq.heapify(heap)
    number = 3

    while admitted_count < world.jobs and heap:
        now, _, event, sent, told, after = pop(heap)
        if now > until:
            break
        if event == _ARRIVAL:
            verdict = take(now + skew)
            admitted = verdict.admitted
            strayed = admitted and now >= stray
            if strayed:
                stray, admitted = math.inf, False
                leave(now + skew)
            told = after = None
            if strayed:
                after = 1.0
            elif tell is not None:
                headers = tell(verdict, now + skew)
                if headers:
                    clock = datetime.fromtimestamp(now + skew, UTC)
                    told = read_rate_limit(headers, headers.get("Date"), clock)
                    after = read_retry_after(headers.get("Retry-After"), headers.get("Date"), clock)
            at = now + half + spread * draw()
            number += 1
            if admitted:
                if service is not None:
                    working = service()
                    at += working
                    push(heap, (now + working, number, _LEAVE, None, None, None))
                    number += 1
                elif serial:
                    busy = max(busy, now) + serial
                    at += busy - now
                at += verdict.delay
                push(heap, (at, number, _ANSWER, sent, told, after))
            else:
                push(heap, (at, number, _REFUSAL, sent, told, after))
            continue
        if event == _ANSWER:
            idle += 1
            out -= 1
            admitted_count += 1
            last = now
            answered(sent, now, told)
            if trace is not None:
                trace.append(Line(now - start, "admitted", out, pacer.rate))  # type: ignore[attr-defined]
        elif event == _REFUSAL:
            if not refused_count:
                contact = out
            idle += 1
            out -= 1
            todo += 1
            refused_count += 1
            if after is not None and now + after > floor:
                floor = now + after
            refused(sent, now, after, told)
            if trace is not None:
                trace.append(Line(now - start, "refused", out, pacer.rate))  # type: ignore[attr-defined]
        elif event == _TIMER:
            if now >= timer:
                timer = math.inf
        elif event == _LEAVE:
            leave(now + skew)
            continue
        elif event == _OTHER:
            others += take(now + skew).admitted
            assert world.others is not None
            number += 1
            push(heap, (start + next(world.others), number, _OTHER, None, None, None))
            continue
        else:
            assert world.change is not None
            world.change[1]()
            if trace is not None:
                trace.append(Line(now - start, "changed", out, None))
            continue
        while idle and todo:
            wait = ask(now)
            if wait is None:
                break
            if wait > 0.0:
                at = now + wait
                # The least that moves a clock that began long ago.
                if at <= now:
                    at = now + _TICK
                if at < timer:
                    timer = at
                    number += 1
                    push(heap, (at, number, _TIMER, None, None, None))
                break
            idle -= 1
            todo -= 1
            out += 1
            sent_count += 1
            if now < floor - _TICK:
                early += 1
            number += 1
            push(heap, (now + half + spread * draw(), number, _ARRIVAL, send(now), None, None))
            if trace is not None:
                trace.append(Line(now - start, "sent", out, pacer.rate))  # type: ignore[attr-defined]

    done = admitted_count >= world.jobs
    seconds = (last if done else max(now, until)) - start
    if unlimited:
        goodput = 0.0
    else:
        # A stray 429 costs its second, and that only.
        counted = seconds - (1.0 if world.stray is not None and stray == math.inf else 0.0)
        goodput = (admitted_count - 1) / max(1e-9, world.admissible(counted) - others)
    return Result(
        seconds, sent_count, admitted_count, refused_count, contact, early, others, goodput, done
    )  # fmt: skip


def _ideal(world: World) -> float:
    """Seconds that the job takes at the quota, at the most."""
    return world.jobs / min(rate for _, rate in world.quotas)
