"""The queue: where calls wait for their tenant's pace and for a connection.

No more requests are on the wire than the pool has connections, no tenant sends faster than its pace, and none keeps
others out: the connection limiter serves its queues round-robin, a queue that tenants share serves these round-robin,
and within a tenant it is first come, first served. A call gets its slot and its connection at once, so it goes out when
its slot comes.

A waiter that is cancelled takes nothing with it: what was granted to one that is gone goes to the next. Nobody polls: a
queue has one timer, for the first in line.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from clarus_async.ratelimit.headers import RateLimitHeaders
from clarus_async.ratelimit.limiter import AdaptiveRateLimiter
from clarus_async.ratelimit.pace import Sent
from clarus_async.ratelimit.unavailable import UnavailableClassifier

if TYPE_CHECKING:
    from clarus_async.ratelimit.shared_pace import SharedPace  # few clients share one

# Seconds. A longer pause wakes those that wait already, so that each decides whether to wait on.
_LONG_PAUSE: Final = 5.0
# Seconds. A loop may run a timer up to its clock's resolution too early, and its clock may stand still until the next.
_TIMER_RESOLUTION: Final = 0.0005

_Waiter: TypeAlias = asyncio.Future[Sent | None]


class Traffic(NamedTuple):
    """What went out in the name of a queue's tenants so far.

    Args:
        requests: how many were sent.
        refused: how many of those a rate limiter refused.
        unclear: how many brought no answer, or one that does not tell what the server did.
        paused: seconds in which nothing was to be sent.
    """

    requests: int
    refused: int
    unclear: int
    paused: float

    def since(self, before: Traffic) -> Traffic:
        """Return what went out since then; where the tenant was forgotten meanwhile, it is counted anew."""
        requests, refused, unclear, paused = (max(0, now - then) for now, then in zip(self, before, strict=True))
        return Traffic(int(requests), int(refused), int(unclear), paused)


class TenantQueue:
    """Who waits in the name of one tenant: two queues, of which the one with priority is served first."""

    __slots__ = ("_normal", "_priority", "waiting")

    def __init__(self) -> None:
        self._priority: deque[_Waiter] = deque()
        self._normal: deque[_Waiter] = deque()
        self.waiting: int = 0

    def append(self, waiter: _Waiter, *, priority: bool) -> None:
        """Append a waiter; whoever did counts ``waiting`` down when its wait has ended."""
        (self._priority if priority else self._normal).append(waiter)
        self.waiting += 1

    def head(self) -> _Waiter | None:
        """Return who is next."""
        for waiters in (self._priority, self._normal):
            while waiters:
                if not waiters[0].done():
                    return waiters[0]
                waiters.popleft()  # it gave up, or was cancelled: that costs its tenant no slot
        return None

    def popleft(self) -> None:
        """Remove the head."""
        (self._priority or self._normal).popleft()

    def wake_all(self) -> None:
        """Wake everybody, with nothing."""
        for waiter in (*self._priority, *self._normal):
            _wake(waiter)


class RequestQueue:
    """One pace, of a tenant or of all, and who waits for it. Times are seconds on the event loop's clock.

    Where processes share a pace, it is this one's part.
    """

    def __init__(self, connections: ConnectionLimiter, pace: AdaptiveRateLimiter | SharedPace) -> None:
        self.pace = pace
        self._connections = connections
        self.tenants: OrderedDict[str, TenantQueue] = OrderedDict()  # those in whose name somebody waits, next first
        self.requests: int = 0
        self.unclear: int = 0
        self._refused = 0
        self._paused = 0.0  # seconds, of which some are to come
        self._paused_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._unavailable: defaultdict[str, UnavailableClassifier] = defaultdict(UnavailableClassifier)
        self.down_until: float = 0.0
        """Until when the server said with its last 503 that it is down."""

    def idle(self, now: float) -> float:
        """Return for how many seconds nobody has waited, sent or been held back."""
        return 0.0 if self.tenants else self.pace.idle(now)

    @property
    def ready(self) -> int:
        """How many wait, and could have a connection."""
        return min(self._connections.free, sum(queue.waiting for queue in self.tenants.values()))

    def traffic(self, now: float) -> Traffic:
        """Return what went out so far."""
        self._note_pause(now)
        paused = self._paused - max(0.0, self._paused_until - now)
        return Traffic(self.requests, self._refused, self.unclear, paused)

    def _note_pause(self, now: float) -> None:
        until = now + self.pace.pause(now)
        if until > self._paused_until:
            self._paused += until - max(now, self._paused_until)
            self._paused_until = until

    def wait(self, tenant: str, now: float) -> float:
        """Return in how many seconds whoever comes now may go, as far as is known."""
        rate = self.pace.rate
        own = self.tenants.get(tenant)
        # Tenants are served round-robin, so whoever comes last in a short queue does not wait for a long one.
        ahead = 0 if own is None else sum(min(own.waiting, other.waiting) for other in self.tenants.values())
        return self.pace.next_slot(now) + (0.0 if rate is None else ahead / rate)

    def waiting(self, tenant: str) -> int:
        """Return how many wait in a tenant's name."""
        queue = self.tenants.get(tenant)
        return 0 if queue is None else queue.waiting

    def limits(self, tenant: str) -> bool:
        """Whether a rate keeps who waits in a tenant's name, and not that no connection is free."""
        return self.pace.rate is not None and self._connections.free > 0 and self.waiting(tenant) > 0

    def answered(self, sent: Sent, now: float, headers: RateLimitHeaders | None = None, *, path: str = "") -> None:
        """Note an answer that is neither 429 nor 503; ``path`` is the request's, without its ids."""
        sent.reported = True
        self._unavailable[path].admitted(sent, now)
        self.pace.answered(sent, now, headers)

    def refused(
        self, sent: Sent, now: float, retry_after: float | None, headers: RateLimitHeaders | None = None
    ) -> None:
        """Note a rate limiter's refusal: a 429, or a 503 that is one's."""
        sent.reported = True
        self._refused += 1
        self._pause(lambda: self.pace.refused(sent, now, retry_after, headers), now)

    def _pause(self, note: Callable[[], None], now: float) -> None:
        before = self.pace.pause(now)
        note()
        self._note_pause(now)
        if self.pace.pause(now) > before + _LONG_PAUSE:
            self._wake_all()

    def unavailable(
        self,
        sent: Sent,
        now: float,
        retry_after: float | None,
        headers: RateLimitHeaders | None = None,
        *,
        path: str = "",
    ) -> bool:
        """Note a 503, and return whether it is a rate limiter's. One path that is down says nothing of the others."""
        classifier = self._unavailable[path]
        if classifier.is_limiters(sent, now):
            self.refused(sent, now, retry_after, headers)
            if classifier.refutes_limiter(self.pace.rate, now):
                self.pace.forget()
            return True
        self.pace.lost(sent)
        if retry_after is not None and classifier.nobody_admitted_since(sent):
            # It is down for everybody.
            self.down_until = now + retry_after
            self._pause(lambda: self.pace.hold(retry_after, now), now)
        return False

    def release(self, sent: Sent) -> None:
        """Give the connection back. A request that was not reported by now brought no answer."""
        if not sent.reported:
            self.pace.lost(sent)
        if self.tenants:
            self._connections.add_ready(self)
        self._connections.release()

    def release_unsent(self, sent: Sent) -> None:
        """Give a slot and its connection back: the request does not go out now, and another may in its place."""
        sent.reported = True
        self.pace.unsent(sent)
        self.release(sent)

    def pace_changed(self) -> None:
        """Go on by what other processes learned, where the pace is shared."""
        now = asyncio.get_running_loop().time()
        self._note_pause(now)
        if self.pace.pause(now) > _LONG_PAUSE:
            self._wake_all()
        else:
            self.serve_soon()

    def serve_soon(self) -> None:
        """Have the first in line go if it may now."""
        self._connections.add_ready(self)
        self._connections.serve()

    def append(self, tenant: str, waiter: _Waiter, *, priority: bool) -> TenantQueue:
        """Append a waiter, and return its tenant's queue."""
        queue = self.tenants.get(tenant)
        if queue is None:
            queue = self.tenants[tenant] = TenantQueue()
        queue.append(waiter, priority=priority)
        self.serve_soon()
        return queue

    def serve_next(self, now: float) -> bool:
        """Let the first in line go if it may; return whether it did and others wait behind it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self.tenants:
            tenant, queue = next(iter(self.tenants.items()))
            waiter = queue.head()
            if waiter is None:
                del self.tenants[tenant]
                continue
            wait = self.pace.ask(now)
            if wait is None:
                return False
            if wait > 0:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(max(wait, _TIMER_RESOLUTION), self.serve_soon)
                return False
            queue.popleft()
            self._connections.grant(waiter, self.pace.send(now))
            if queue.head() is None:
                del self.tenants[tenant]
            else:
                self.tenants.move_to_end(tenant)
            return bool(self.tenants)
        return False

    def close(self) -> None:
        """Wake everybody who waits, with nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake_all()

    def _wake_all(self) -> None:
        queues, self.tenants = self.tenants, OrderedDict()
        for queue in queues.values():
            queue.wake_all()


class ConnectionLimiter:
    """Bounds how many requests are on the wire, over all queues of a client."""

    def __init__(self, width: int) -> None:
        self.free: int = width
        """How many connections are not in use."""
        self.busy: int = 0
        """How many connections are in use."""
        self._ready: OrderedDict[RequestQueue, None] = OrderedDict()  # queues whose first may go, next first
        self._closed = False
        self._drained: asyncio.Future[None] | None = None

    def is_bottleneck(self, queue: RequestQueue, now: float) -> bool:
        """Return whether those in a queue wait for a connection, not for the pace."""
        return queue in self._ready and queue.pace.ask(now) == 0.0

    def try_acquire(self, queue: RequestQueue, now: float) -> Sent | None:
        """Take a slot and a connection if nobody waits before."""
        if self._closed or self.free == 0 or self._ready or queue.tenants or queue.pace.ask(now) != 0.0:
            return None
        self.free -= 1
        self.busy += 1
        return queue.pace.send(now)

    async def acquire(
        self, queue: RequestQueue, tenant: str, timeout: float | None, *, priority: bool = False
    ) -> Sent | None:
        """Wait for a slot and a connection, to be given back by ``RequestQueue.release``.

        What has priority goes before the rest of its tenant, as it ends what was begun: a retry, or a lookup of a
        create in doubt.

        Returns:
            ``None`` where the timeout, in seconds, has passed; also where a long pause has begun or the client closed,
            and the caller is to decide whether to wait on.
        """
        if self._closed:
            return None
        loop = asyncio.get_running_loop()
        waiter: _Waiter = loop.create_future()
        tenants = queue.append(tenant, waiter, priority=priority)
        timer = None if timeout is None else loop.call_later(timeout, _wake, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (sent := waiter.result()) is not None:
                # The slot came and the cancellation with it: hand it on.
                queue.release_unsent(sent)
            raise
        finally:
            tenants.waiting -= 1
            if timer is not None:
                timer.cancel()

    def release(self) -> None:
        """Take a connection back."""
        self.free += 1
        self.busy -= 1
        if self._ready:
            self.serve()
        if self._drained is not None and self.busy == 0 and not self._drained.done():
            self._drained.set_result(None)

    def add_ready(self, queue: RequestQueue) -> None:
        """Let a queue take part, as its first may be allowed to go."""
        if not self._closed:
            self._ready.setdefault(queue)

    def grant(self, waiter: _Waiter, sent: Sent) -> None:
        """Give a connection to a waiter who has a slot."""
        self.free -= 1
        self.busy += 1
        waiter.set_result(sent)

    def serve(self) -> None:
        """Give free connections to those who may go."""
        now = asyncio.get_running_loop().time()
        while self.free and self._ready:
            queue, _ = self._ready.popitem(last=False)
            if queue.serve_next(now):
                self._ready[queue] = None

    def close(self) -> None:
        """Give out no more connections."""
        self._closed = True
        self._ready.clear()

    async def drain(self, timeout: float) -> None:
        """Wait until no connection is in use, for so many seconds at the most."""
        if self.busy == 0:
            return
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._drained], timeout=timeout)


def _wake(waiter: _Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)
