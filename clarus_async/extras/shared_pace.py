"""The part of a shared pace that one process has: slots that it leased, and what it learns for all.

Nothing here knows where the rest is kept. What is to be asked is a :class:`Wanted`, what is answered a :class:`Lease`.
The rate is learned as :class:`~clarus_async.policy.pacing.Pace` learns one: a quick start, and a cubic around the limit
from the first refusal on. The counts it rests on are those of all processes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from clarus_async.config import PacingPolicy
from clarus_async.policy.growth import LEAST_ADMITTED, LEAST_CUT, Cubic, QuickStart, back_in, cut
from clarus_async.policy.measured import RoundTrip, Sent
from clarus_async.policy.pacing import Pace
from clarus_async.policy.quota import PaceSource, Quota
from clarus_async.wire.ratelimit import Told

_HORIZON: Final = 0.1  # seconds for which slots are leased beforehand
_STALE: Final = 0.05  # a slot that passed unused for longer is another second's
_SOON: Final = 0.001
_LONGEST_PAUSE: Final = 3600.0
_KNOCK: Final = 0.05
_LONGEST_KNOCK: Final = 3.0


class Wanted(NamedTuple):
    """What is asked for, and reported.

    Args:
        epoch: the one that the rest was decided in; a stale one is granted nothing.
        slots: how many requests are to go out.
        spacing: seconds between two.
        most: how many may go within ``span``.
        span: seconds; a second, and what clocks differ by.
        horizon: seconds for which slots are leased.
        pause: seconds for which nobody may send.
        admitted: requests that were, since the last report.
        refused: the same of those that were not.
        met: one of these is the first of its epoch.
        curve: begins a new epoch, where the last is still this one.
    """

    epoch: int
    slots: int
    spacing: float
    most: int
    span: float
    horizon: float
    pause: float
    admitted: int
    refused: int
    met: bool
    curve: str


class Lease(NamedTuple):
    """What is answered.

    Args:
        epoch: the one that counts.
        curve: its rate.
        used: seconds for which that was made use of, by all.
        second: how many slots of the last second were given away.
        answers: how many were admitted in this epoch.
        row: refusals in a row.
        processes: how many ask.
        pause: seconds for which nobody may send.
        wait: seconds until it is worth while to ask again.
        slots: seconds from then until each that was leased.
    """

    epoch: int
    curve: str
    used: float
    second: int
    answers: int
    row: int
    processes: int
    pause: float
    wait: float
    slots: Sequence[float]


class _Leased(Sent):
    """A request that went out in a slot.

    Args:
        at: when.
        rate: requests a second, at the time.
        epoch: the one that the slot was leased in.
    """

    __slots__ = ("epoch",)

    def __init__(self, at: float, rate: float, epoch: int) -> None:
        super().__init__(at, rate, probe=False)
        self.epoch = epoch


class SharedPace:
    """The pace of a tenant in one of the processes that share it.

    Args:
        policy: what the caller knows.
        begin: have somebody ask for what is :meth:`wanted`.
    """

    def __init__(self, policy: PacingPolicy, begin: Callable[[SharedPace], None]) -> None:
        self._policy = policy
        self._begin = begin
        self.source = PaceSource.NONE if policy.rate is None else PaceSource.GIVEN
        self._wake: Callable[[], None] = lambda: None
        self._waiting: Callable[[], int] = lambda: 0
        self._local: Pace | None = None
        self._slots: deque[float] = deque()
        self._epoch = 0
        self._curve: Cubic | None = None
        self._quick = QuickStart(policy.start)
        self._quota = Quota()
        self._processes = 1
        self._paused_until = 0.0
        self._next = 0.0
        self._last = 0.0
        self._out: set[Sent] = set()
        self._round_trip = RoundTrip()
        self._serving = False
        self._news: asyncio.Event = asyncio.Event()
        # What is to be reported.
        self._asked = False
        self._pause = 0.0
        self._admitted = self._refused = 0
        self._met = False
        self._retry_after = 0.0
        self._cut: _Leased | None = None
        self._heard: tuple[float, float] | None = None
        self._second = self._answers = self._row = 0
        self._counted = False  # since the cut, what that rests on

    def attach(self, wake: Callable[[], None], waiting: Callable[[], int]) -> None:
        """Learn whom to tell of news.

        Args:
            wake: looks again whether the next may go.
            waiting: how many wait.
        """
        self._wake, self._waiting = wake, waiting

    # --- what a turnstile asks

    @property
    def rate(self) -> float | None:
        """Requests a second, of all processes; ``None`` where nothing limits them."""
        if self._local is not None:
            return self._local.rate
        return None if self.source is PaceSource.NONE else self._believed()

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
            sent = _Leased(now, self._believed(), self._epoch)
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
            self._heed(told, now)
        if self._row:
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
        self._refused += 1
        if retry_after is not None:
            self._retry_after = min(retry_after, _LONGEST_PAUSE)
            self._stop(now, self._retry_after)
        if told is not None:
            self._heed(told, now)
        # What went out before the last cut teaches nothing new, nor does what was under way with what led to it.
        if isinstance(sent, _Leased) and sent.epoch == self._epoch and self._cut is None:
            self._met = True
            if self._row:
                # Nothing was admitted since the last: a wall, at which somebody knocks now and then.
                self._stop(now, min(_LONGEST_KNOCK, _KNOCK * 2.0 ** min(self._row, 10)))
            if self._policy.rate is None:
                self._cut, self._counted = sent, False
        self._report()

    def _stop(self, now: float, seconds: float) -> None:
        self._pause = max(self._pause, seconds)
        self._paused_until = max(self._paused_until, now + seconds)
        self._slots.clear()

    def _heed(self, told: Told, now: float) -> None:
        if self._policy.rate is None:
            guess = self.source is PaceSource.NONE
            if (heard := self._quota.hear(told, now, guess=guess)) is not None:
                self._heard, self._counted = heard, True
                self._report()

    def _believed(self) -> float:
        if self._policy.rate is not None:
            return self._policy.rate
        if self._curve is None:
            return self._quick.rate()
        return self._quota.allowed(self._curve.rate(), 0.0)

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
        """Wait until there is something to ask or to report, or for as long as nothing can come of it.

        Args:
            seconds: how long at the most.
        """
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def wanted(self) -> Wanted | None:
        """Return what to ask for; ``None`` where there is nothing."""
        waiting = self._waiting() if not self._slots else 0
        slots = max(waiting, 1) if self._asked and not self._slots else 0
        reports = self._pause or self._refused or self._cut or self._heard or (self._admitted and self._row)
        if not slots and not reports and self._local is None:
            return None
        rate = self._believed()
        # Each process gets its part of what the horizon holds.
        slots = min(slots, max(1, int(rate * _HORIZON / self._processes)))
        limit = rate if self._curve is None else max(self._curve.peak, rate) + 1.0
        burst = 0 if self._policy.burst is None else self._policy.burst - 1
        wanted = Wanted(
            epoch=self._epoch,
            slots=slots,
            spacing=1.0 / rate,
            most=max(1, round(limit) if self._policy.rate else int(limit) + 1) + burst,
            span=1.0 + self._round_trip.margin,
            horizon=_HORIZON,
            pause=self._pause,
            admitted=self._admitted,
            refused=self._refused,
            met=self._met,
            curve=self._next_curve() if self._counted else "",
        )
        self._pause, self._admitted, self._refused, self._met = 0.0, 0, 0, False
        return wanted

    def leased(self, lease: Lease, then: float, now: float) -> float:
        """Take what was answered, and return the seconds to wait before asking again.

        Args:
            lease: the answer.
            then: when it was given.
            now: seconds on the event loop's clock.
        """
        self._local = None
        self._processes = lease.processes
        self._paused_until = max(self._paused_until if self._pause else 0.0, then + lease.pause)
        self._second, self._answers, self._row = lease.second, lease.answers, lease.row
        if lease.epoch != self._epoch:
            self._begin_epoch(lease)
        self._counted = self._cut is not None or self._heard is not None
        (self._quick if self._curve is None else self._curve).use(lease.used)
        self._slots += [then + slot for slot in lease.slots]
        if self._slots:
            self._asked = False
            self._wake()
            return 0.0
        if lease.epoch == self._epoch and not self._counted:
            self._next = then + lease.wait
            return max(_SOON, lease.pause, lease.wait)
        return 0.0

    def alone(self, now: float) -> None:
        """Keep to a part of the last rate, as nobody can be asked.

        Args:
            now: seconds on the event loop's clock.
        """
        if self._local is None:
            rate = self.rate
            part = None if rate is None else rate / self._processes
            self._local = Pace(PacingPolicy(rate=part, start=None if part else self._policy.start))
            self._slots.clear()
        self._wake()

    # --- what is learned

    def _begin_epoch(self, lease: Lease) -> None:
        self._epoch = lease.epoch
        self._cut = self._heard = None
        self._slots.clear()
        source, _, numbers = lease.curve.partition(" ")
        if self._policy.rate is None and source:
            peak, part, seconds = map(float, numbers.split())
            self._curve = Cubic(peak, part, seconds)
            self.source = PaceSource(source)

    def _next_curve(self) -> str:
        """Decide what rate follows a refusal, or what the server tells, from the counts of all."""
        if self._heard is not None:
            rate, window = self._heard
            return f"{PaceSource.TOLD.value} {rate!r} 1.0 {back_in(rate, 0.0, window)!r}"
        sent = self._cut
        if sent is None:
            return ""
        admitted = self._second
        if self._curve is None:
            limit = max(LEAST_ADMITTED, float(admitted))
            part, seconds = LEAST_CUT, 2.0 * back_in(limit, self._retry_after, 0.0)
        else:
            rate = self._curve.peak if sent.rate is None else sent.rate
            limit, part = cut(rate, self._curve.peak, admitted, self._answers, None)
            seconds = back_in(limit, self._retry_after, 0.0)
        source = self.source if self.source is PaceSource.TOLD else PaceSource.LEARNED
        return f"{source.value} {limit!r} {part!r} {seconds!r}"
