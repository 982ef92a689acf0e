"""The queue: where calls wait until they may go out, for their tenant's pace and for a connection.

No more requests are on the wire than the pool has connections, no tenant sends faster than its pace, and none keeps
others out: the connection limiter serves its queues round-robin, a queue that tenants share serves those round-robin,
and within a tenant it is first come first served. A call gets its turn and its connection at once, so it goes out when
its turn is.

A waiter that is cancelled takes nothing with it: what was handed to one that is gone goes to the next. Nobody polls: a
queue has one timer, for the first in line.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Final, TypeAlias

from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.measured import Sent
from clarus_async.ratelimit.pacer import Pacer
from clarus_async.ratelimit.unavailable import Unavailable

# Seconds, for which nobody waits who did not decide to.
_LONG_PAUSE: Final = 5.0
# A loop may run a timer a shade early, and its clock may stand still until the next.
_SHADE: Final = 0.0005

_Waiter: TypeAlias = asyncio.Future[Sent | None]


class TenantLine:
    """Who waits in the name of one tenant: those that had a turn already keep their place before the others."""

    __slots__ = ("_again", "_first", "live")

    def __init__(self) -> None:
        self._again: deque[_Waiter] = deque()
        self._first: deque[_Waiter] = deque()
        self.live: int = 0

    def join(self, waiter: _Waiter, *, again: bool) -> None:
        """Stand in line.

        Args:
            waiter: who.
            again: it had a turn already.
        """
        (self._again if again else self._first).append(waiter)
        self.live += 1

    def head(self) -> _Waiter | None:
        """Return whose turn it is next."""
        for waiters in (self._again, self._first):
            while waiters:
                if not waiters[0].done():
                    return waiters[0]
                waiters.popleft()  # it gave up, or was cancelled: that costs its tenant no turn
        return None

    def pop(self) -> None:
        """Take the head off."""
        (self._again or self._first).popleft()

    def dismiss(self) -> None:
        """Send everybody away."""
        for waiter in (*self._again, *self._first):
            _dismiss(waiter)


class PacedQueue:
    """One pace, and who waits for it.

    Args:
        connections: the client's limiter.
        pace: of a tenant, or of all.
    """

    def __init__(self, connections: ConnectionLimiter, pace: Pacer) -> None:
        self.pace = pace
        self._connections = connections
        self.lines: OrderedDict[str, TenantLine] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._unavailable: defaultdict[str, Unavailable] = defaultdict(Unavailable)

    def idle(self, now: float) -> float:
        """Return the seconds for which nobody has waited, sent or been held back, at ``now``; 0 where somebody does."""
        return 0.0 if self.lines else self.pace.idle(now)

    @property
    def ready(self) -> int:
        """How many wait, and could have a connection."""
        return min(self._connections.free, sum(line.live for line in self.lines.values()))

    def wait(self, tenant: str, now: float) -> float:
        """Seconds until whoever comes now may go, as far as is known.

        Args:
            tenant: in whose name.
            now: seconds on the loop's clock.
        """
        rate = self.pace.rate
        line = self.lines.get(tenant)
        # Tenants take turns, so that whoever comes last in a short line does not wait for a long one.
        ahead = 0 if line is None else sum(min(line.live, other.live) for other in self.lines.values())
        return self.pace.slot(now) + (0.0 if rate is None else ahead / rate)

    def waiting(self, tenant: str) -> int:
        """How many wait.

        Args:
            tenant: of which.
        """
        line = self.lines.get(tenant)
        return 0 if line is None else line.live

    def answered(self, sent: Sent, now: float, told: Told | None = None, *, path: str = "") -> None:
        """Note an answer that is neither 429 nor 503.

        Args:
            sent: the request that it answers.
            now: seconds on the loop's clock.
            told: what it says of the rate limit.
            path: the request's, without its ids: one that is down says nothing of the others.
        """
        sent.heard = True
        self._unavailable[path].admitted(sent, now)
        self.pace.answered(sent, now, told)

    def refused(self, sent: Sent, now: float, retry_after: float | None, told: Told | None = None) -> None:
        """Note a rate limiter's refusal: a 429, or a 503 that is one's.

        Args:
            sent: the request that was refused.
            now: seconds on the loop's clock.
            retry_after: seconds, where the server said.
            told: what it says of the rate limit.
        """
        sent.heard = True
        self._pause(lambda: self.pace.refused(sent, now, retry_after, told), now)

    def _pause(self, note: Callable[[], None], now: float) -> None:
        before = self.pace.pause(now)
        note()
        if self.pace.pause(now) > before + _LONG_PAUSE:
            # Whoever waits already may not want to wait for that long.
            self._dismiss()

    def unavailable(
        self, sent: Sent, now: float, retry_after: float | None, told: Told | None = None, *, path: str = ""
    ) -> bool:
        """Note a 503, and say whether it is a rate limiter's.

        Args:
            sent: the request that was answered so.
            now: seconds on the loop's clock.
            retry_after: seconds, where the server said.
            told: what it says of the rate limit.
            path: the request's, without its ids.
        """
        unavailable = self._unavailable[path]
        if unavailable.limits(sent, now):
            self.refused(sent, now, retry_after, told)
            if unavailable.slows_in_vain(self.pace.rate, now):
                self.pace.forget()
            return True
        self.pace.lost(sent)
        if retry_after is not None and unavailable.alone(sent):
            # It is down for everybody.
            self._pause(lambda: self.pace.hold(retry_after, now), now)
        return False

    def release(self, sent: Sent) -> None:
        """Give the connection back; a request that was not heard of by now brought no answer, or never went out.

        Args:
            sent: the request.
        """
        if not sent.heard:
            self.pace.lost(sent)
        if self.lines:
            self._connections.wait_for_slot(self)
        self._connections.release()

    def give_back(self, sent: Sent) -> None:
        """Give a turn and its connection back: the request does not go out now, and another may in its place.

        Args:
            sent: the request.
        """
        sent.heard = True
        self.pace.unsent(sent)
        self.release(sent)

    def news(self) -> None:
        """See what others were told, where the pace is shared."""
        if self.pace.pause(asyncio.get_running_loop().time()) > _LONG_PAUSE:
            self._dismiss()
        else:
            self.look()

    def look(self) -> None:
        """See whether the first of the line may go, now that something is new."""
        self._connections.wait_for_slot(self)
        self._connections.hand_out()

    def join(self, tenant: str, waiter: _Waiter, *, again: bool) -> TenantLine:
        """Stand in line, and return the line; who no longer waits has it count one less.

        Args:
            tenant: in whose name.
            waiter: is told of the turn.
            again: it has had a turn, and keeps its place before those that have not.
        """
        line = self.lines.get(tenant)
        if line is None:
            line = self.lines[tenant] = TenantLine()
        line.join(waiter, again=again)
        self.look()
        return line

    def serve(self, now: float) -> bool:
        """Hand a turn to the first of the line, and say whether that was done and others wait behind.

        Args:
            now: seconds on the loop's clock.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self.lines:
            tenant, line = next(iter(self.lines.items()))
            waiter = line.head()
            if waiter is None:
                del self.lines[tenant]
                continue
            wait = self.pace.ask(now)
            if wait is None:
                return False
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(max(wait, _SHADE), self.look)
                return False
            line.pop()
            self._connections.hand(waiter, self.pace.send(now))
            if line.head() is None:
                del self.lines[tenant]
            else:
                self.lines.move_to_end(tenant)
            return bool(self.lines)
        return False

    def close(self) -> None:
        """Send everybody away who waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._dismiss()

    def _dismiss(self) -> None:
        lines, self.lines = self.lines, OrderedDict()
        for line in lines.values():
            line.dismiss()


class ConnectionLimiter:
    """Bounds how many requests are on the wire, over all queues of a client.

    Args:
        width: how many, at the most.
    """

    def __init__(self, width: int) -> None:
        self._free = width
        self._busy = 0
        self._ready: OrderedDict[PacedQueue, None] = OrderedDict()
        self._closed = False
        self._drained: asyncio.Future[None] | None = None

    @property
    def busy(self) -> int:
        """How many connections are in use."""
        return self._busy

    @property
    def free(self) -> int:
        """How many connections are not in use."""
        return self._free

    def full(self, queue: PacedQueue, now: float) -> bool:
        """Whether those who wait in a queue wait for a connection, not for the pace.

        Args:
            queue: which.
            now: seconds on the loop's clock.
        """
        return queue in self._ready and queue.pace.ask(now) == 0.0

    def acquire_now(self, queue: PacedQueue, now: float) -> Sent | None:
        """Take a turn and a connection if nobody waits before.

        Args:
            queue: in which.
            now: seconds on the loop's clock.
        """
        if self._closed or self._free == 0 or self._ready or queue.lines or queue.pace.ask(now) != 0.0:
            return None
        self._free -= 1
        self._busy += 1
        return queue.pace.send(now)

    async def acquire(
        self, queue: PacedQueue, tenant: str, patience: float | None, *, again: bool = False
    ) -> Sent | None:
        """Wait for a turn and a connection; ``None`` where neither came in time, and where to look whether to wait on.

        Who gets one gives both back by :meth:`PacedQueue.release`, having told what came of the request.

        Args:
            queue: in which.
            tenant: in whose name.
            patience: seconds to wait at the most, if that has an end.
            again: whether it had a turn and keeps its place, as a request that was refused.
        """
        if self._closed:
            return None
        loop = asyncio.get_running_loop()
        waiter: _Waiter = loop.create_future()
        line = queue.join(tenant, waiter, again=again)
        timer = None if patience is None else loop.call_later(patience, _dismiss, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (sent := waiter.result()) is not None:
                # The turn came and the cancellation with it: hand it on.
                queue.give_back(sent)
            raise
        finally:
            line.live -= 1
            if timer is not None:
                timer.cancel()

    def release(self) -> None:
        """Take a connection back."""
        self._free += 1
        self._busy -= 1
        if self._ready:
            self.hand_out()
        if self._drained is not None and self._busy == 0 and not self._drained.done():
            self._drained.set_result(None)

    def wait_for_slot(self, queue: PacedQueue) -> None:
        """Let a queue take part, as the first of its line may be allowed to go.

        Args:
            queue: which.
        """
        if not self._closed:
            self._ready.setdefault(queue)

    def hand(self, waiter: _Waiter, sent: Sent) -> None:
        """Give a connection to who has a turn.

        Args:
            waiter: who.
            sent: the turn.
        """
        self._free -= 1
        self._busy += 1
        waiter.set_result(sent)

    def hand_out(self) -> None:
        """Give free connections to those whose turn it is."""
        now = asyncio.get_running_loop().time()
        while self._free and self._ready:
            queue, _ = self._ready.popitem(last=False)
            if queue.serve(now):
                self._ready[queue] = None

    def close(self) -> None:
        """Give out no more connections."""
        self._closed = True
        self._ready.clear()

    async def drain(self, patience: float) -> None:
        """Wait until no connection is in use.

        Args:
            patience: seconds to wait at the most.
        """
        if self._busy == 0:
            return
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._drained], timeout=patience)


def _dismiss(waiter: _Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)
