"""A server and closed-loop clients as discrete events: a job of minutes in a second, the same for the same seed."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from clarus_async.wire.ratelimit import Told

Headers: TypeAlias = Literal["none", "retry-after", "x-ratelimit", "ietf"]

# A moment that no server's window starts at, for resets that are Unix times.
_UNIX = 1_800_000_000.25


class Server(Protocol):
    """Admits a request or refuses it, and says of its quota what headers tell."""

    limit: int
    window: float

    def take(self, now: float, /) -> bool:
        """Count a request that arrives, and say whether it is admitted."""

    def remaining(self, now: float, /) -> int:
        """How many more would be admitted now."""

    def reset(self, now: float, /) -> float:
        """Seconds until the quota is restored."""

    def retry_after(self, now: float, /) -> float:
        """Seconds until the next may be admitted, after a refusal."""


class Pacer(Protocol):
    """What a client asks before it sends: a ``Pace``, or whatever it is compared with."""

    def ask(self, now: float, /) -> float | None:
        """Seconds to wait; ``None``: until something is heard of."""

    def send(self, now: float, /) -> Any:
        """Note that a request goes out."""

    def answered(self, sent: Any, now: float, told: Told | None, /) -> None:
        """Note an answer that is no 429."""

    def refused(self, sent: Any, now: float, retry_after: float | None, told: Told | None, /) -> None:
        """Note a 429."""


class Fixed:
    """So many requests between two turns of a clock.

    Args:
        limit: requests.
        window: seconds between the turns.
        phase: seconds by which the first turn is earlier.
    """

    def __init__(self, limit: int, window: float, phase: float = 0.0) -> None:
        self.limit, self.window, self.phase = limit, window, phase
        self._index, self._used = -1, 0

    def take(self, now: float) -> bool:
        index = math.floor((now + self.phase) / self.window)
        if index != self._index:
            self._index, self._used = index, 0
        admitted = self._used < self.limit
        self._used += admitted
        return admitted

    def remaining(self, _now: float) -> int:
        return self.limit - self._used

    def reset(self, now: float) -> float:
        return self.window - (now + self.phase) % self.window

    def retry_after(self, now: float) -> float:
        return self.reset(now)


class Sliding:
    """So many requests in any stretch of so many seconds.

    Args:
        limit: requests.
        window: seconds.
    """

    def __init__(self, limit: int, window: float = 1.0) -> None:
        self.limit, self.window = limit, window
        self._at: deque[float] = deque()

    def take(self, now: float) -> bool:
        at = self._at
        while at and at[0] + self.window <= now:
            at.popleft()
        if len(at) >= self.limit:
            return False
        at.append(now)
        return True

    def remaining(self, _now: float) -> int:
        return self.limit - len(self._at)

    def reset(self, now: float) -> float:
        return self._at[0] + self.window - now

    def retry_after(self, now: float) -> float:
        return self.reset(now)


class Bucket:
    """So many requests a second flow in, and so many stay.

    Args:
        rate: requests a second.
        depth: requests that it holds; it starts full.
    """

    def __init__(self, rate: float, depth: float) -> None:
        self.rate, self.depth = rate, depth
        self.limit, self.window = int(depth), depth / rate
        self._tokens, self._at = depth, 0.0

    def take(self, now: float) -> bool:
        self._tokens = min(self.depth, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True

    def remaining(self, _now: float) -> int:
        return int(self._tokens)

    def reset(self, _now: float) -> float:
        return (self.depth - self._tokens) / self.rate

    def retry_after(self, _now: float) -> float:
        return (1 - self._tokens) / self.rate


class Unlimited:
    """Admits all."""

    limit, window = 10**9, 1.0

    def take(self, _now: float) -> bool:
        return True

    def remaining(self, _now: float) -> int:
        return self.limit

    def reset(self, _now: float) -> float:
        return self.window

    def retry_after(self, _now: float) -> float:
        return 0.0


class Client:
    """A job of so many creates, so many at a time, behind one pace.

    Args:
        pace: is asked before each request.
        jobs: creates; one that is refused is sent again.
        width: requests that may be under way at a time.
    """

    def __init__(self, pace: Pacer, jobs: int, width: int = 64) -> None:
        self.pace, self.todo, self.idle = pace, jobs, width
        self.sent = 0
        self.admitted: list[float] = []
        self.refused: list[float] = []
        self.early = 0  # sends before a Retry-After that was known had passed
        self.floor = 0.0
        self.timer: float | None = None


def run(
    clients: Sequence[Client],
    server: Server,
    latency: float,
    seed: int,
    *,
    jitter: float = 0.05,
    until: float = math.inf,
    changes: Iterable[tuple[float, Callable[[], Server]]] = (),
    headers: Headers = "none",
    service: float = 0.0,
) -> float:
    """Run the jobs and return the seconds that they took.

    Args:
        clients: who sends.
        server: who admits.
        latency: seconds of a round trip, of which half goes either way.
        seed: of the jitter.
        jitter: part of the latency by which each way differs at the most.
        until: seconds after which to stop in any case.
        changes: at how many seconds which server takes over.
        headers: what answers tell.
        service: seconds that the server needs for an answer, one after the other.
    """
    events = _Events(server, latency, seed, jitter, headers, service)
    for client in clients:
        events.begin(client)
    for at, make in changes:
        events.change(at, make)
    left = sum(client.todo for client in clients)
    while events.admitted < left and events.step(until):
        pass
    return events.now


class _Events:
    """What happens, in order of time."""

    def __init__(
        self, server: Server, latency: float, seed: int, jitter: float, headers: Headers, service: float
    ) -> None:
        self.now = self._busy = 0.0
        self.admitted = self._number = 0
        self._server, self._headers, self._service = server, headers, service
        self._half, self._jitter = latency / 2, jitter
        self._draw = random.Random(seed).random
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def begin(self, client: Client) -> None:
        self._push(self._draw() * 0.001, self._timer, client, 0.0)

    def change(self, at: float, make: Callable[[], Server]) -> None:
        self._push(at, self._change, make)

    def step(self, until: float) -> bool:
        """Let the next event happen, unless there is none until then."""
        if not self._heap:
            return False
        at, _, happen, arguments = heapq.heappop(self._heap)
        if at > until:
            return False
        self.now = at
        happen(*arguments)
        return True

    def _push(self, at: float, happen: Callable[..., None], *arguments: Any) -> None:
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, happen, arguments))

    def _way(self) -> float:
        return self._half * (1 + self._jitter * (2 * self._draw() - 1))

    def _pump(self, client: Client) -> None:
        now = self.now
        while client.idle and client.todo:
            wait = client.pace.ask(now)
            if wait is None:
                return
            if wait > 0:
                at = now + wait
                if client.timer is None or at < client.timer - 1e-12 or client.timer <= now:
                    client.timer = at
                    self._push(at, self._timer, client, at)
                return
            client.idle -= 1
            client.todo -= 1
            client.sent += 1
            client.early += now < client.floor
            self._push(now + self._way(), self._arrival, client, client.pace.send(now))

    def _timer(self, client: Client, due: float) -> None:
        if client.timer == due:
            client.timer = None
        self._pump(client)

    def _change(self, make: Callable[[], Server]) -> None:
        self._server = make()

    def _arrival(self, client: Client, sent: Any) -> None:
        now = self.now
        admitted = self._server.take(now)
        told, retry_after = _told(self._server, now, self._headers, admitted=admitted)
        delay = self._way()
        if self._service:
            self._busy = max(self._busy, now) + self._service
            delay += self._busy - now
        if admitted:
            self._push(now + delay, self._answer, client, sent, told)
        else:
            self._push(now + delay, self._refusal, client, sent, retry_after, told)

    def _answer(self, client: Client, sent: Any, told: Told | None) -> None:
        client.idle += 1
        self.admitted += 1
        client.admitted.append(self.now)
        client.pace.answered(sent, self.now, told)
        self._pump(client)

    def _refusal(self, client: Client, sent: Any, retry_after: float | None, told: Told | None) -> None:
        client.idle += 1
        client.todo += 1
        client.refused.append(self.now)
        client.floor = max(client.floor, self.now + (retry_after or 0.0))
        client.pace.refused(sent, self.now, retry_after, told)
        self._pump(client)


def _told(server: Server, now: float, headers: Headers, *, admitted: bool) -> tuple[Told | None, float | None]:
    """What an answer's headers say: of the quota, and of when to come back."""
    if headers == "none":
        return None, None
    retry_after = None if admitted else float(max(1, math.ceil(server.retry_after(now) - 1e-9)))
    if headers == "retry-after":
        return None, retry_after
    remaining, reset = server.remaining(now), server.reset(now)
    if headers == "ietf":
        return Told(server.limit, float(math.ceil(server.window)), remaining, float(math.ceil(reset))), retry_after
    unix = _UNIX + now
    return Told(server.limit, None, remaining, max(0.0, math.ceil(unix + reset) - math.floor(unix))), retry_after
