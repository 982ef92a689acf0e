"""When a tenant may send: keep to what is known of its rate limit, and find out what is not.

The vendor throttles an account, and documents neither figure nor header (clarus-api.md §2). Whoever sends on into a
limit turns calls into refusals, and whoever stays far below it wastes the quota. In the order of what it is worth:

1. *Retry-After is a floor.* Nothing goes out before it. One that is longer than a blip is followed by one probe.
2. *A rate that the caller gives* is kept exactly, whatever the server says of itself.
3. *A quota that the server tells* is kept as quota by window, evenly: ``remaining`` by ``reset`` would be a rush at
   the beginning of a window and a crawl at its end. Where only a reset is told, the longest seen is the window.
4. *Else it is learned*, by refusals, of which each shall teach as much as it can:

   - The quick start (:class:`QuickStart`) opens as answers come back, so that the first refusal is one of few.
   - At that refusal, what was admitted in the second before it is the limit, for a window of a second and for a
     bucket alike. For the second after it, no more than that are admitted or under way at any time. If all that was
     under way with it is admitted, it was no limit.
   - From then on a :class:`Cubic` runs around the limit, anchored on the rate that was admitted. Only one cut an
     epoch: what had been sent before the last cut teaches nothing new. The cut is small, since a refusal every few
     hundred answers says that the rate was nearly right.
   - Two refusals with no answer between them, or six in a row, are a :class:`Wall`. If it was long, what was admitted
     from opening to opening is the quota, and the time between them the window.

Time is an argument, in seconds on a monotonic clock. A request that goes out is a :class:`Sent`, and is heard of
again exactly once: :meth:`Pace.answered`, :meth:`Pace.refused` or :meth:`Pace.lost`.
"""

from __future__ import annotations

from typing import Final

from clarus_async.config import PacingPolicy
from clarus_async.policy.first import FirstRefusal
from clarus_async.policy.growth import LEAST_ADMITTED, LEAST_CUT, Cubic, QuickStart, back_in, cut
from clarus_async.policy.slots import Slots
from clarus_async.policy.wall import BLIP, Wall
from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.measured import Admitted, RoundTrip, Sent
from clarus_async.ratelimit.told import PaceSource, Quota

_LONGEST_FLOOR: Final = 3600.0
_SECOND: Final = 1.0
_REFUSALS_OF_A_WALL: Final = 6
_PLENTY: Final = 300
_FEW: Final = 25
_AT_ONCE: Final = 0.05
_TRIED_SOON: Final = 1.0
_SLOW: Final = 0.7


class Pace:
    """The pace of one tenant, or of all where they share a quota.

    Args:
        policy: what the caller knows.
    """

    def __init__(self, policy: PacingPolicy) -> None:
        self.source = PaceSource.NONE if policy.rate is None else PaceSource.GIVEN
        self._given = policy.rate
        self._quick = QuickStart(policy.start)
        self._curve: Cubic | None = None
        if policy.rate is not None:
            self._curve = Cubic(policy.rate, 1.0, back_in(policy.rate, 0.0, 0.0))
        self._wall = Wall()
        self._slots = Slots(policy.burst)
        self._floor = 0.0  # nothing before this
        self._last = -_LONGEST_FLOOR  # when the last request went out
        self._out: set[Sent] = set()
        self._probe: Sent | None = None
        self._admitted = Admitted()
        self._proved = 0  # the most that was admitted within a second
        self._open = False  # so much was, that nothing is held back before a refusal
        self._in_a_row = 0  # refusals
        self._round_trip = RoundTrip()
        # The epoch since the last cut.
        self._cut_at = -1.0
        self._resumed_at = self._strict_until = 0.0
        self._answers = 0
        self._unproved = False  # no request that was sent since the cut has been admitted
        self._first = FirstRefusal()
        # What the server said.
        self._retry_after = 0.0
        self._quota = Quota()

    @property
    def rate(self) -> float | None:
        """Requests a second that are believed to be right now; ``None`` where nothing limits them."""
        return None if self._curve is None else self._allowed(self._curve.rate())

    @property
    def under_way(self) -> int:
        """How many requests have not been heard of again."""
        return len(self._out)

    def idle(self, now: float) -> float:
        """Seconds for which nothing was sent that might have been; 0 while a request is under way.

        Args:
            now: seconds on the clock.
        """
        return 0.0 if self._out else max(0.0, now - max(self._last, self._floor, self._slots.next, self._wall.due))

    def pause(self, now: float) -> float:
        """Seconds for which the server takes nothing, as far as is known.

        Args:
            now: seconds on the clock.
        """
        until = max(self._floor, self._wall.due) if self._probe is None else self._floor
        return max(0.0, until - now)

    def slot(self, now: float) -> float:
        """Seconds until the next may go out, as far as is known.

        Args:
            now: seconds on the clock.
        """
        return self.pause(now) if self._wall.up else max(self.pause(now), self._slots.next - now)

    def ask(self, now: float) -> float | None:
        """Say how long a request has to wait: 0 if it may go out now, ``None`` if an answer has to come first.

        Args:
            now: seconds on the clock.
        """
        if now < self._floor:
            return self._floor - now
        if self._open:
            return 0.0
        if self._wall.up:
            due = self._wall.due if self._given is None else max(self._wall.due, self._slots.next)
            return None if self._probe is not None else max(0.0, due - now)
        out = len(self._out)
        curve = self._curve
        if curve is None:
            if (wait := self._quota.wait(now, out)) > 0:
                return wait
            # What was admitted within a second before may be again.
            if out < self._proved and self._admitted.since(now - _SECOND) + out < self._proved:
                return 0.0
            return self._quick.wait(now, out, self._proved)
        # A limit that was learned may be a request too low; one that is known is none too high.
        limit = self._allowed(max(curve.peak, curve.rate()) + 1.0)
        if (wait := self._slots.wait(now, limit, self._round_trip.margin)) > 0:
            return wait
        if now < self._strict_until:
            admitted = self._admitted.since(now - _SECOND)
            if admitted + out >= curve.peak:
                return min(self._free(now, now), self._strict_until) - now
        return 0.0

    def send(self, now: float) -> Sent:
        """Note that a request goes out, after :meth:`ask` let it.

        Args:
            now: seconds on the clock.
        """
        wall = self._wall
        if now - self._last > _SECOND:
            wall.watch(now, anew=now - max(self._last, self._slots.next, self._floor, wall.due) > _SECOND)
        self._last = now
        rate = None
        if self._curve is None:
            if not self._open:
                self._quick.sent(now)
        elif not wall.up or self._given is not None:
            rate = self._allowed(self._curve.sent(now))
            self._slots.take(now, rate, strict=now < self._strict_until)
        sent = Sent(now, rate, probe=wall.up)
        if sent.probe:
            self._probe = sent
        self._out.add(sent)
        return sent

    def lost(self, sent: Sent) -> None:
        """Note that a request brought no answer, or never went out.

        Args:
            sent: the request.
        """
        self._out.discard(sent)
        if sent is self._probe:
            self._probe = None

    def unsent(self, sent: Sent) -> None:
        """Note that a request does not go out after all: another may in its place.

        Args:
            sent: the request.
        """
        self.lost(sent)
        if sent.rate is not None and sent.at > self._cut_at:
            self._slots.give_back(sent.at, sent.rate)

    def answered(self, sent: Sent, now: float, told: Told | None = None) -> None:
        """Note an answer that is no 429.

        Args:
            sent: the request that it answers.
            now: seconds on the clock.
            told: what it says of the rate limit.
        """
        self.lost(sent)
        self._in_a_row = 0
        self._answers += 1
        self._wall.admitted += 1
        self._admitted.add(sent.at)
        if not self._open:
            self._learn(sent, now)
        if told is not None:
            self._heed(told, now)

    def refused(self, sent: Sent, now: float, retry_after: float | None, told: Told | None = None) -> None:
        """Note a 429.

        Args:
            sent: the request that was refused.
            now: seconds on the clock.
            retry_after: seconds, where the server said; kept up to an hour.
            told: what it says of the rate limit.
        """
        self.lost(sent)
        self._in_a_row += 1
        if retry_after is not None:
            self._retry_after = min(retry_after, _LONGEST_FLOOR)
            self.hold(retry_after, now)
        if told is not None:
            self._heed(told, now)
        if self._wall.up:
            if sent.probe:
                self._wall.refused(sent.at, now)
            return
        admitted = self._admitted.since(sent.at - _SECOND)
        if self._curve is None:
            if sent.at <= self._cut_at or self._first.pardoned(sent.at, now, retry_after, self._answers):
                self._answers = 0
                return
            if retry_after is None or retry_after <= BLIP:
                self._first_refusal(sent, now, admitted)
            self._cut_at = now
        elif sent.at <= self._cut_at:
            self._first.another()
            if self._in_a_row >= _REFUSALS_OF_A_WALL:
                self._meet_wall(now, self._curve)
        elif self._unproved:
            self._meet_wall(now, self._curve)
        else:
            self._cut(sent, now, admitted, self._curve)
        if retry_after is not None and retry_after > BLIP:
            self._open = False
            self._wall.meet(now, self._floor)

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for a while, as a server asks that can't answer.

        Args:
            seconds: how long; kept up to an hour.
            now: seconds on the clock.
        """
        self._floor = max(self._floor, now + min(seconds, _LONGEST_FLOOR))
        self._slots.next = max(self._slots.next, self._floor)

    def forget(self) -> None:
        """Begin to look for a limit anew: what was taken for one is none."""
        if self._given is None:
            self._go_on()

    def _learn(self, sent: Sent, now: float) -> None:
        self._round_trip.add(now - sent.at)
        if self._curve is None:
            self._proved = max(self._proved, self._admitted.since(sent.at - _SECOND))
            self._open = self._proved >= _PLENTY and not self._wall.up
        elif self._first.counts(sent.at):
            self._curve.peak += 1.0
        elif self._first.refuted(sent.at, self._cut_at) and self._heard_all() and self._retry_after <= BLIP:
            self._go_on()
        if sent.at > self._cut_at:
            self._unproved = False
        if sent.probe and self._wall.up:
            self._opened(sent.at, now)

    def _first_refusal(self, sent: Sent, now: float, admitted: int) -> None:
        self._first.meet(sent.at)
        limit = max(LEAST_ADMITTED, admitted, self._proved / 2.0) / (_SECOND + self._round_trip.unevenness)
        # This limit was counted, so it is tried again later than one that was approached. But a few at once may have
        # been the depth of a bucket that fills faster.
        few = admitted < _FEW and sent.at - self._admitted.first(sent.at - _SECOND, sent.at) < _AT_ONCE
        later = 2.0 * back_in(limit, self._retry_after, self._wall.window)
        self._begin_epoch(limit, LEAST_CUT, now, seconds=_TRIED_SOON if few else later)
        self._strict_until = max(now, self._floor) + _SECOND
        free = self._free(sent.at, now)
        if self._floor < now and free - now > 2.0 * self._round_trip.seconds:
            # That second began with the job, so all of it was spent at once, and nothing is free before it is over.
            self._wall.meet(now, free)
        else:
            self._slots.next = max(self._slots.next, free)

    def _heard_all(self) -> bool:
        return all(other.at > self._cut_at for other in self._out)

    def _go_on(self) -> None:
        """Go on with the quick start: what was met was no limit."""
        self._curve = None
        self._wall.fall()
        self._first.forget()
        self._cut_at, self._strict_until = -1.0, 0.0
        self.source = PaceSource.NONE

    def _cut(self, sent: Sent, now: float, admitted: float, curve: Cubic) -> None:
        rate = curve.peak if sent.rate is None else sent.rate
        used = sent.at - self._resumed_at
        if self._retry_after and used < _SECOND:
            # A second with a silence in it holds less than its quota, and one across the turn of a window holds more.
            admitted = max(admitted, rate)
        average = self._answers / used if used >= _SECOND and (self._retry_after or rate < _SLOW) else None
        limit, part = cut(rate, curve.peak, admitted, self._answers, average)
        self._first.forget()
        self._begin_epoch(limit, part, now)
        self._unproved = True

    def _meet_wall(self, now: float, curve: Cubic) -> None:
        slot = min(_SECOND, 1.0 / self._allowed(curve.rate()))
        self._unproved = False
        self._first.forget()
        self._wall.meet(now, max(now + slot, self._free(now, now)))

    def _opened(self, sent_at: float, now: float) -> None:
        limit = self._wall.opened(sent_at)
        if limit is not None:
            self._begin_epoch(limit, 1.0, now)
        elif self._curve is not None:
            slot = 1.0 / self._allowed(self._curve.rate())
            self._slots.next = max(self._slots.next if self._given else 0.0, now + slot / 2)

    def _begin_epoch(self, limit: float, part: float, now: float, *, seconds: float | None = None) -> None:
        self._open = False
        if seconds is None:
            seconds = back_in(limit, self._retry_after, self._wall.window)
        self._curve = Cubic(limit, part, seconds)
        self._cut_at = now
        self._resumed_at = max(now, self._floor)
        if self._given is None:
            self._slots.anew(self._resumed_at, limit * part)
        self._answers = 0
        if self.source is PaceSource.NONE:
            self.source = PaceSource.LEARNED

    def _free(self, at: float, now: float) -> float:
        """When the first that was admitted in the second before a moment no longer counts."""
        return self._admitted.first(at - _SECOND, now) + _SECOND + self._round_trip.margin

    def _allowed(self, rate: float) -> float:
        if self._given is not None:
            return min(rate, self._given)
        return self._quota.allowed(rate, self._round_trip.unevenness)

    def _heed(self, told: Told, now: float) -> None:
        if self._given is not None:
            return
        self._open = False
        # What was learned is worth more than a guess.
        if (heard := self._quota.hear(told, now, guess=self._curve is None or self._cut_at < 0)) is not None:
            rate, window = heard
            if self._curve is None:
                # What went out already counts.
                sent = [*(earlier.at for earlier in self._out), self._admitted.first(now - _SECOND, now)]
                used = len(self._out) + self._admitted.since(now - _SECOND)
                self._slots.next = min(now + window, min(sent) + used / rate)
            self._slots.next = max(now, self._slots.next)
            self._curve = Cubic(rate, 1.0, back_in(rate, self._retry_after, self._wall.window))
            self.source = PaceSource.TOLD
        if self._curve is not None and (calm := self._quota.calm(told)):
            self._curve.hold(calm)
