"""The part of a shared pace that one process has: the slots that it leased, and what it has to report.

Nothing here knows where the rest is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

from clarus_async.config import PacingPolicy
from clarus_async.extras.pace_lease import Lease, Leased, Wanted
from clarus_async.extras.shared_rate import SharedRate
from clarus_async.policy.pacing import Pace
from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.measured import RoundTrip, Sent
from clarus_async.ratelimit.told import PaceSource

_HORIZON: Final = 0.1  # seconds for which slots are leased beforehand
_BLIND: Final = 0.02  # the same while no limit is known: what is leased when one is met comes back as refusals
_STALE: Final = 0.05  # a slot that passed unused for longer is another second's
_SOON: Final = 0.001
_LONGEST_PAUSE: Final = 3600.0


class SharedPace:
    """The pace of a tenant in one of the processes that share it.

    Args:
        policy: what the caller knows.
        begin: have somebody ask for what is :meth:`wanted`.
    """

    def __init__(self, policy: PacingPolicy, begin: Callable[[SharedPace], None]) -> None:
        self._policy = policy
        self._begin = begin
        self._wake: Callable[[], None] = lambda: None
        self._waiting: Callable[[], int] = lambda: 0
        self._rate = SharedRate(policy)
        self._local: Pace | None = None  # while nobody can be asked
        self._slots: deque[float] = deque()
        self._out: set[Sent] = set()
        self._round_trip = RoundTrip()
        self._processes = 1
        self._paused_until = self._next = self._last = 0.0
        self._serving = False
        self._news = asyncio.Event()
        # What is to be asked and reported.
        self._asked = self._met = False
        self._pause = 0.0
        self._admitted = self._refused = 0

    def attach(self, wake: Callable[[], None], waiting: Callable[[], int]) -> None:
        """Learn whom to tell of news.

        Args:
            wake: looks again whether the next may go, or should.
            waiting: how many wait.
        """
        self._wake, self._waiting = wake, waiting

    # --- what the queue asks

    @property
    def source(self) -> PaceSource:
        """Where the rate comes from."""
        return self._rate.source

    @property
    def rate(self) -> float | None:
        """Requests a second, of all processes; ``None`` where nothing limits them. Alone, it is this one's part."""
        if self._local is not None:
            return self._local.rate
        return None if self.source is PaceSource.NONE else self._rate.believed

    def idle(self, now: float) -> float:
        """Seconds for which nothing was sent that might have been; 0 while a request is under way.

        Args:
            now: seconds on the event loop's clock.
        """
        return 0.0 if self._out or self._serving else max(0.0, now - max(self._last, self._paused_until))

    def pause(self, now: float) -> float:
        """Seconds for which the server takes nothing, as far as is known.

        Args:
            now: seconds on the event loop's clock.
        """
        shared = max(0.0, self._paused_until - now)
        return shared if self._local is None else max(shared, self._local.pause(now))

    def slot(self, now: float) -> float:
        """Seconds until the next may go out, as far as is known.

        Args:
            now: seconds on the event loop's clock.
        """
        if self._local is not None:
            return max(self.pause(now), self._local.slot(now))
        return max(self.pause(now), (self._slots[0] if self._slots else self._next) - now)

    def ask(self, now: float) -> float | None:
        """Say how long a request has to wait: 0 if it may go out now, ``None`` if a slot has to be leased first.

        Args:
            now: seconds on the event loop's clock.
        """
        if self._local is not None:
            wait = self._local.ask(now)
            return wait if wait is None else max(self.pause(now), wait)
        if now < self._paused_until:
            return self._paused_until - now
        while self._slots and self._slots[0] < now - _STALE:
            self._slots.popleft()
        if self._slots:
            return max(0.0, self._slots[0] - now)
        self._asked = True
        self._serve()
        return None

    def send(self, now: float) -> Sent:
        """Note that a request goes out, after :meth:`ask` let it.

        Args:
            now: seconds on the event loop's clock.
        """
        self._last = now
        if self._local is not None:
            sent = self._local.send(now)
        else:
            self._slots.popleft()
            sent = Leased(now, self._rate.believed, self._rate.epoch)
        self._out.add(sent)
        return sent

    def lost(self, sent: Sent) -> None:
        """Note that a request brought no answer, or never went out.

        Args:
            sent: the request.
        """
        self._out.discard(sent)
        if self._local is not None:
            self._local.lost(sent)

    def unsent(self, sent: Sent) -> None:
        """Note that a request does not go out after all: another may in its place.

        Args:
            sent: the request.
        """
        self._out.discard(sent)
        if self._local is not None:
            self._local.unsent(sent)
        elif isinstance(sent, Leased) and sent.epoch == self._rate.epoch:
            self._slots.appendleft(sent.at)

    def answered(self, sent: Sent, now: float, told: Told | None = None) -> None:
        """Note an answer that is no 429.

        Args:
            sent: the request that it answers.
            now: seconds on the event loop's clock.
            told: what it says of the rate limit.
        """
        self._out.discard(sent)
        if self._local is not None:
            self._local.answered(sent, now, told)
        self._round_trip.add(now - sent.at)
        self._admitted += 1
        if told is not None:
            self._rate.heed(told, now)
        if self._rate.row or self._rate.undecided:
            self._report()

    def refused(self, sent: Sent, now: float, retry_after: float | None, told: Told | None = None) -> None:
        """Note a 429.

        Args:
            sent: the request that was refused.
            now: seconds on the event loop's clock.
            retry_after: seconds, where the server said; kept up to an hour.
            told: what it says of the rate limit.
        """
        self._out.discard(sent)
        if self._local is not None:
            self._local.refused(sent, now, retry_after, told)
        pause = 0.0 if retry_after is None else min(retry_after, _LONGEST_PAUSE)
        if isinstance(sent, Leased):
            self._refused += 1
            if self._rate.met(sent, None if retry_after is None else pause):
                self._met = True
                pause = max(pause, self._rate.knock())
        if told is not None:
            self._rate.heed(told, now)
        self._hold(pause, now)
        self._report()

    def forget(self) -> None:
        """Keep to the rate: others have learned it, too, and may have met a limit."""

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for a while, as a server asks that can't answer.

        Args:
            seconds: how long; kept up to an hour.
            now: seconds on the event loop's clock.
        """
        if self._local is not None:
            self._local.hold(seconds, now)
        self._hold(min(seconds, _LONGEST_PAUSE), now)
        self._report()

    def _hold(self, pause: float, now: float) -> None:
        if pause > 0:
            self._pause = max(self._pause, pause)
            self._paused_until = max(self._paused_until, now + pause)
            self._slots.clear()

    # --- what whoever leases asks

    def _serve(self) -> None:
        if not self._serving:
            self._serving = True
            self._begin(self)

    def _report(self) -> None:
        self._news.set()
        self._serve()

    def served(self) -> None:
        """Nobody asks any more."""
        self._serving = False

    async def news(self, seconds: float) -> None:
        """Wait until there is something to report, or for as long as nothing can come of asking.

        Args:
            seconds: how long at the most.
        """
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def wanted(self) -> Wanted | None:
        """Return what to ask for and to report; ``None`` where there is nothing."""
        rate = self._rate.believed
        slots, horizon = 0, _BLIND if self.source is PaceSource.NONE else _HORIZON
        if self._asked and not self._slots:
            # Each process gets its part of what the horizon holds.
            slots = max(1, min(self._waiting(), int(rate * horizon / self._processes)))
        known = self._refused or self._pause or (self._admitted and self._rate.row) or self._rate.undecided
        if not slots and not known and self._local is None:
            return None
        wanted = Wanted(
            epoch=self._rate.epoch,
            slots=slots,
            spacing=1.0 / rate,
            most=self._rate.most,
            span=1.0 + self._round_trip.margin,
            horizon=horizon,
            pause=self._pause,
            admitted=self._admitted,
            refused=self._refused,
            met=self._met,
            curve=self._rate.next_curve(),
        )
        self._pause, self._admitted, self._refused, self._met = 0.0, 0, 0, False
        return wanted

    def leased(self, lease: Lease, then: float) -> float:
        """Take what was answered, and return the seconds to wait before asking again.

        Args:
            lease: the answer.
            then: when it was given, in seconds on the event loop's clock.
        """
        self._local = None
        self._processes = lease.processes
        self._paused_until = max(self._paused_until if self._pause else 0.0, then + lease.pause)
        if lease.epoch != self._rate.epoch:
            self._slots.clear()
        asked_in = self._rate.epoch
        self._rate.take(lease)
        self._slots += [then + slot for slot in lease.slots]
        if self._slots:
            self._asked = False
            self._wake()
            return 0.0
        if lease.pause > 0:
            self._wake()
        if lease.epoch == asked_in and not self._rate.undecided:
            self._next = then + lease.wait
            return max(_SOON, lease.pause, lease.wait)
        return 0.0

    def alone(self) -> None:
        """Keep to a part of the last rate, as nobody can be asked."""
        if self._local is None:
            rate = self.rate
            part = None if rate is None else rate / self._processes
            self._local = Pace(PacingPolicy(rate=part, start=None if part else self._policy.start))
            self._slots.clear()
        self._wake()
