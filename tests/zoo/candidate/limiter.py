"""A rate limiter that weighs hypotheses of what limits it; a candidate for the product's own.

It knows when requests were sent, and which were admitted and refused (:mod:`evidence`). Each kind of limiter that there
is explains that more or less well, and allows a range of rates (:mod:`beliefs`). What follows is in four rules:

1. *Slow start.* Until the first refusal no more is under way than an eighth of what was answered, and a handful.
2. *Optimism.* Of the beliefs that stand after a refusal the one that lets out most is tried: if it is wrong, the next
   refusal comes at once and costs one request, where a pace that is too slow is never refuted.
3. *Constant paces.* A pace within the range of a belief is kept until twice as many were admitted as it takes to tell
   it from the last that was sure; then the next above is tried. What a refusal costs decides how much is risked.
4. *Walls.* Where all is refused, one request at a time looks whether it still is (:mod:`walls`).

Retry-After is a floor. A rate that is given, or a quota that the server tells, is kept as it is, and a refusal under it
costs its Retry-After; two within a window contradict a quota that is told.

Time is an argument, in seconds on a monotonic clock that may begin anywhere. A request that goes out is a
:class:`Sent`, and is heard of again exactly once: ``answered``, ``refused`` or ``lost``.
"""

from __future__ import annotations

import math
from typing import Final

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.measured import RoundTrip
from clarus_async.ratelimit.told import PaceSource
from tests.zoo.candidate.beliefs import Belief, LimitKind, weigh
from tests.zoo.candidate.evidence import Evidence
from tests.zoo.candidate.limit import Limit
from tests.zoo.candidate.told import Quota
from tests.zoo.candidate.walls import Walls

_LONGEST_FLOOR: Final = 3600.0
_SECOND: Final = 1.0
# Slow start: two under way and one more for each two answers up to sixteen; beyond, an eighth of what was answered, so
# that a wall costs no more than that. One more for each second of silence: a slow answer must not stop all.
_FEW: Final = 2.0
_SOON: Final = 16.0
_EIGHTH: Final = 0.125
_HALF: Final = 0.5
# Event loops are late; what they missed is made up for, as far as it can't be taken for a burst.
_TIMER: Final = 0.005
_LATE: Final = 0.01
_LATEST: Final = 0.1
# Requests a second, where no more is known: nobody limits to fewer than a few a minute.
_SLOWEST: Final = 0.2
_UNKNOWN_RATE: Final = 10.0
_BEYOND: Final = 4.0
_FAR_BEYOND: Final = 16.0
_AT_ONCE: Final = 4.0
# A range as narrow is not worth a refusal, nor is one whose part is as small.
_NARROW: Final = 1.03
_WIDE: Final = 1.3
_LEAST_PART: Final = 0.1
_WORTH: Final = 5.0
# A pace is proved by twice as many admissions as it takes to tell it from the one below.
_PROOF: Final = 2.0
# A calm pace is tried above when 60 requests and four seconds have passed, so that a refusal is one in a hundred; where
# it costs a wall, forty times as long.
_CALM_REQUESTS: Final = 60.0
_CALM_SECONDS: Final = 4.0
_CALM_WALLS: Final = 40.0
_CALM_LONGEST: Final = 30.0
_PLENTY: Final = 20
_FIRST_STEP: Final = 0.04
_LARGEST_STEP: Final = 12.0
_SHORTEST_STEP: Final = 0.5
_WINDOWS: Final = 1.2
_USED: Final = 0.7
# How much worse a belief may explain the evidence and still stand; less where it costs much to be wrong.
_STANDS: Final = 0.5
_OPTIMISM: Final = 1.5
_MUCH: Final = 50.0
_DEAR: Final = 20.0
# Below a pace that failed.
_BELOW: Final = 0.98
_EACH_FAILURE: Final = 0.02
# The evidence contradicts itself: the limit is another now.
_CONTRADICTION: Final = 9.0
_EACH_CONTACT: Final = 1.0
_CONTACTS: Final = 4
_OPENINGS: Final = 20


class Sent:
    """A request that went out in a tenant's name.

    Args:
        at: when.
        under_way: how many were, with it.
        probe: whether it looks alone whether something is admitted again.
    """

    __slots__ = ("at", "probe", "under_way")

    def __init__(self, at: float, under_way: int, *, probe: bool) -> None:
        self.at = at
        self.under_way = under_way
        self.probe = probe


class Limiter:
    """The rate limiter of one tenant, or of all where they share a quota.

    Args:
        policy: what the caller knows.
    """

    def __init__(self, policy: PacingPolicy) -> None:
        self._given = policy.rate
        self._burst = policy.burst
        self._given_late = _LATEST
        if policy.rate is not None and policy.burst is not None:
            self._given_late = (policy.burst - 1) / policy.rate + min(_TIMER, 1.0 / policy.rate)
        self._start = policy.start
        self._trip = RoundTrip()
        self._out: set[Sent] = set()
        self._floor = self._last = -_LONGEST_FLOOR
        self._first: float | None = None
        self._begin()

    def _begin(self) -> None:
        """Know nothing but what is given."""
        self.source = PaceSource.NONE if self._given is None else PaceSource.GIVEN
        self.belief: Belief | None = None
        self._evidence = Evidence()
        self._walls = Walls()
        self._quota = Quota()
        self._told_refused = -_LONGEST_FLOOR
        self._pace = math.inf if self._given is None else self._given
        if self._given is None and self._start is not None:
            self._pace = self._start
        self._next = -_LONGEST_FLOOR
        self._late = self._given_late if self._given is not None else _LATE
        self._room = _FEW if self._pace == math.inf else math.inf
        self._cap = math.inf
        self._answers = 0
        # While something is shut: one request at a time looks whether it still is.
        self._looks = False
        self._look: Sent | None = None
        self._due = 0.0
        # Since the last refusal.
        self._cut_at = -_LONGEST_FLOOR  # what was sent before teaches nothing new
        self._unproved = False  # nothing that was sent since has been admitted
        self._retry_after = 0.0
        self._lost = 0.0  # seconds that it cost
        self._since = 0  # admitted
        self._openings: list[float] = []
        self._begin_steps()

    def _begin_steps(self) -> None:
        self._low, self._high = 0.0, math.inf
        self._testing = self._sure = False
        self._calm = 0
        self._stepped_at, self._step = -_LONGEST_FLOOR, 0
        self._step_needs, self._step_lasts = _CALM_REQUESTS, _CALM_SECONDS
        self._failed = self._fastest = 0.0
        self._failures = 0
        self._ceiling = math.inf
        self._cap_tested = False
        self._cap_failures = self._strikes = self._contacts = 0

    # --- what is asked

    @property
    def rate(self) -> float | None:
        """Requests a second that are believed to be right now; ``None`` where nothing limits them."""
        return None if self._pace == math.inf or self.source is PaceSource.NONE else self._pace

    @property
    def limit(self) -> Limit | None:
        """What limits, as far as is known or believed; ``None`` where nothing does."""
        if self.source is PaceSource.GIVEN:
            return Limit(LimitKind.BUCKET, burst=self._burst)
        if self.source is PaceSource.TOLD:
            return Limit(LimitKind.WINDOW, window=self._quota.window)
        belief = self.belief
        if belief is None:
            return None
        if belief.kind is LimitKind.CONNECTIONS:
            return Limit(belief.kind, burst=int(self._cap))
        return Limit(
            belief.kind,
            burst=max(1, round(belief.depth)) if belief.kind is LimitKind.BUCKET else None,
            window=belief.window or None,
            certainty=min(1.0, self._low / self._high),
        )

    def idle(self, now: float) -> float:
        """Seconds for which nothing was sent that might have been; 0 while a request is under way.

        Args:
            now: seconds on the clock.
        """
        if self._out:
            return 0.0
        return max(0.0, now - max(self._last, self._floor, self._due if self._looks else self._next))

    def pause(self, now: float) -> float:
        """Seconds for which the server takes nothing, as far as is known.

        Args:
            now: seconds on the clock.
        """
        until = max(self._floor, self._due) if self._looks and self._look is None else self._floor
        return max(0.0, until - now)

    def slot(self, now: float) -> float:
        """Seconds until the next may go out, as far as is known.

        Args:
            now: seconds on the clock.
        """
        return self.pause(now) if self._looks else max(self.pause(now), self._next - now)

    def ask(self, now: float) -> float | None:
        """Say how long a request has to wait: 0 if it may go out now, ``None`` if an answer has to come first.

        Args:
            now: seconds on the clock.
        """
        if now < self._floor:
            return self._floor - now
        if self._looks:
            return None if self._look is not None else max(0.0, self._due - now)
        out = len(self._out)
        if out >= self._room:
            if self.belief is not None or out >= self._cap:
                return None
            return max(0.0, self._last + _SECOND - now)
        wait = self._next - now
        if self.source is PaceSource.TOLD:
            wait = max(wait, self._quota.wait(now, out))
        return max(0.0, wait)

    def send(self, now: float) -> Sent:
        """Note that a request goes out, after :meth:`ask` let it.

        Args:
            now: seconds on the clock.
        """
        if self._first is None:
            self._first = self._walls.began = self._walls.opened = now
        self._last = now
        sent = Sent(now, len(self._out) + 1, probe=self._looks)
        if self._looks:
            self._look = sent
        elif self._pace < math.inf:
            self._next = max(self._next, now - self._late) + 1.0 / self._pace
        self._out.add(sent)
        return sent

    def lost(self, sent: Sent) -> None:
        """Note that a request brought no answer, or never went out.

        Args:
            sent: the request.
        """
        self._out.discard(sent)
        if sent is self._look:
            self._look = None

    def unsent(self, sent: Sent) -> None:
        """Note that a request does not go out after all: another may in its place.

        Args:
            sent: the request.
        """
        if sent in self._out and not sent.probe and sent.at > self._cut_at and self._pace < math.inf:
            self._next -= 1.0 / self._pace
        self.lost(sent)

    def answered(self, sent: Sent, now: float, told: Told | None = None) -> None:
        """Note an answer that is no 429.

        Args:
            sent: the request that it answers.
            now: seconds on the clock.
            told: what it says of the rate limit.
        """
        self._out.discard(sent)
        at = sent.at
        self._trip.add(now - at)
        if self._given is not None:
            return
        self._evidence.add(at, sent.under_way, admitted=True)
        if told is not None:
            self._heed(told, now)
        self._answers += 1
        if self.belief is None:
            self._grow()
        elif at > self._cut_at:
            self._admitted(sent, now)
        elif sent is self._look:
            self._look = None

    def _grow(self) -> None:
        """Open the slow start, as an answer came."""
        answers = self._answers
        if self._start is not None:
            self._step += 1
            if self._step >= self._pace:
                # It was made use of for a second.
                self._step = 0
                self._pace *= 2.0
        elif self.source is PaceSource.NONE:
            self._room = max(min(_SOON, _FEW + _HALF * answers), _EIGHTH * answers)

    def _admitted(self, sent: Sent, now: float) -> None:
        """Learn from one that was sent since the last refusal."""
        if self._looks:
            self._look = None
            self._opened(sent.at, now)
            return
        if self._unproved:
            self._unproved = False
            self._since = 0
        self._since += 1
        self._room = min(self._cap, _FEW + _HALF * self._since)
        if sent.at >= self._stepped_at:
            self._step += 1
            if self._step >= self._step_needs and now - self._stepped_at >= self._step_lasts:
                self._proved(now)

    def refused(self, sent: Sent, now: float, retry_after: float | None, told: Told | None = None) -> None:
        """Note a 429.

        Args:
            sent: the request that was refused.
            now: seconds on the clock.
            retry_after: seconds, where the server said; kept up to an hour.
            told: what it says of the rate limit.
        """
        self.lost(sent)
        if retry_after is not None:
            self._retry_after = min(retry_after, _LONGEST_FLOOR)
            self.hold(retry_after, now)
        if self._given is not None:
            return
        at = sent.at
        if told is not None:
            self._heed(told, now)
        # Those that came before it may have been sent a little later.
        self._evidence.add(at + self._trip.unevenness, sent.under_way, admitted=False)
        if self.source is PaceSource.TOLD and not self._contradicted(at, now):
            return
        if at > self._cut_at:
            if self._cap_tested:
                self._cap_failures, self._cap_tested = self._cap_failures + 1, False
            elif sent.under_way <= self._cap < math.inf:
                self._strikes += 1
        walls = self._walls
        walls.refused = max(walls.refused, at)
        if self._looks:
            if sent.probe:
                first = self._evidence.first(walls.shut - _SECOND)
                self._due = max(walls.next_look(now, first, self._trip.margin), self._floor)
        elif at > self._cut_at:
            self._contact(sent, now)

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for a while, as a server asks that can't answer.

        Args:
            seconds: how long; kept up to an hour.
            now: seconds on the clock.
        """
        self._floor = max(self._floor, now + min(seconds, _LONGEST_FLOOR))

    def forget(self) -> None:
        """Begin to look for a limit anew: what was taken for one is none."""
        if self._given is None:
            self._begin()

    # --- what the server tells

    def _heed(self, told: Told, now: float) -> None:
        rate = self._quota.hear(told, now)
        if rate is None or (self.belief is not None and self.source is not PaceSource.TOLD):
            return
        if self.source is not PaceSource.TOLD:
            self.source = PaceSource.TOLD
            self._room = math.inf
            # What went out already counts, and this one.
            self._next = max(now, self._walls.began + (self._answers + 1 + len(self._out)) / rate)
        if rate != self._pace:
            # What went out before knew nothing of it.
            self._pace, self._told_refused = rate, -_LONGEST_FLOOR
            self._cut_at = now
        self._next = min(self._next, now + self._quota.window)

    def _contradicted(self, at: float, now: float) -> bool:
        """Whether a refusal shows that the quota which was told is not the one that is kept."""
        before, self._told_refused = self._told_refused, now
        if at <= self._cut_at or at <= before or now - before > max(self._quota.window, 2.0 * _SECOND):
            return False
        self._quota.forget()
        return True

    # --- what is learned

    def _contact(self, sent: Sent, now: float) -> None:
        walls = self._walls
        again = self._unproved
        believed = self.belief
        if not again:
            walls.shut = walls.refused = sent.at
        self._cut_at = now
        self._contacts += 1
        self.source = PaceSource.LEARNED
        if believed is not None and not again and self._pace < math.inf:
            self._fail()
        if self._sure and not again and self._since >= 2 and not self._retry_after:
            # A bucket drips: the next slot is open.
            self._unproved = True
            self._lost = 0.0
            self._learn(now, now)
            self._room = min(self._cap, _FEW + _HALF * self._since)
            self._next = max(self._next, now + 0.5 / self._pace)
            return
        second = self._second()
        walls.meet(walls.shut, 1.0 / (self._pace if self._pace < math.inf else max(_UNKNOWN_RATE, second)))
        if believed is None:
            self.belief = Belief(LimitKind.UNKNOWN, 0.0, 0.0, math.inf)
        window = believed.window if believed is not None and believed.kind in _WINDOWED else 0.0
        self._looks = True
        self._due = max(self._floor, walls.first_look(now, window))

    def _fail(self) -> None:
        """Note a pace at which a request was refused."""
        self._failures += 1
        self._failed = self._pace
        self._fastest = max(self._fastest, self._pace)
        step = max(1, self._step)
        if step < 3:
            share = 1.0 + 3.0 / (step * 3.0**self._failures) if self._failures < 3 else 1.0
            share -= 0.03 * max(0, min(10, self._failures - 2))
        else:
            share = _BELOW + 1.0 / step - _EACH_FAILURE * min(10, self._failures - 1)
        self._ceiling = min(self._ceiling, self._pace * share)

    def _second(self) -> int:
        """How many were admitted in the second before the last contact."""
        shut = self._walls.shut
        return self._evidence.admitted(shut - _SECOND, shut)

    def _opened(self, at: float, now: float) -> None:
        self._looks = False
        self._lost = at - self._walls.shut
        self._walls.fall(at, self._retry_after)
        self._openings.append(at)
        del self._openings[:-_OPENINGS]
        self._learn(now, at, opened=True)
        self._since = 1
        self._unproved = False
        self._room = min(self._cap, _FEW + _HALF)

    def _learn(self, now: float, upto: float, *, opened: bool = False) -> None:
        evidence = self._evidence
        contacts = evidence.count()
        beliefs = self._weigh(upto)
        known = min(belief.loss for belief in beliefs if belief.kind is not LimitKind.UNKNOWN)
        depth = 0.0 if self.belief is None else self.belief.depth
        if contacts > _CONTACTS and known > _CONTRADICTION + _EACH_CONTACT * contacts and evidence.forget(depth):
            evidence.count()
            beliefs = self._weigh(upto)
        cost = (self._retry_after or self._lost) * self._second()
        stands = beliefs[0].loss + _STANDS + _OPTIMISM / (1.0 + cost / _MUCH)
        standing = [belief for belief in beliefs if belief.loss <= stands]
        belief = max(standing, key=self._promise)
        low, high = belief.low, belief.high
        if (self._contacts <= 2 or self._answers < _PLENTY) and belief.kind is not LimitKind.CONNECTIONS:
            others = [other for other in standing if other.kind not in (LimitKind.CONNECTIONS, belief.kind)]
            high = max([high, *(o.high if o.high < math.inf else self._limit(o.low) for o in others)])
        self._sure = belief.kind is LimitKind.BUCKET and (len(standing) == 1 or self._contacts > 1)
        self.belief = belief
        self._calm = 0
        if high > self._ceiling:
            high = self._ceiling
            low = min(low, high)
        self._low, self._high = low, high
        if belief.kind is LimitKind.CONNECTIONS:
            self._cap = belief.low
            self._room = min(self._room, self._cap)
            self._low, self._high, self._testing = 0.0, math.inf, False
            self._go(math.inf, now, needs=3.0 * self._cap, lasts=8.0 * self._cap_failures)
            self._next = now
            return
        self._cap = math.inf
        self._aim(now)
        if opened:
            self._next = max(now, upto + 1.0 / self._pace)

    def _weigh(self, upto: float) -> list[Belief]:
        # What has no answer yet may be with a limiter that holds it, and counted.
        shut = self._walls.shut
        pending = [(sent.at, sent.under_way) for sent in self._out if sent.at <= shut]
        return weigh(
            self._evidence.supposing(pending),
            self._walls,
            now=upto,
            uneven=self._trip.unevenness,
            openings=self._openings,
            fastest=self._fastest,
            failed=self._failed,
            strikes=self._strikes,
            knows_when=self._retry_after > 0.0,
        )

    def _promise(self, belief: Belief) -> float:
        """Requests a second that a belief lets out."""
        if belief.kind is LimitKind.CONNECTIONS:
            return belief.low / max(1e-3, self._trip.seconds)
        if belief.kind in _RANGES:
            return self._between(belief.low, belief.high)
        return belief.low

    def _limit(self, low: float) -> float:
        """What to take for the highest, where nothing was refused that tells."""
        if self._contacts > 1 and low > 0.0:
            return _BEYOND * low
        walls = self._walls
        peak = self._second() / max(0.05, min(_SECOND, walls.shut - walls.began))
        return max(_FAR_BEYOND * low, _UNKNOWN_RATE, peak)

    def _between(self, low: float, high: float) -> float:
        if high == math.inf:
            high = self._limit(low)
        if low == 0.0:
            return high / 2.0
        # The more a refusal costs, and the less there is to be found, the less is risked.
        cost = (self._retry_after or self._lost) * low
        part = 0.5 * min(1.0, _WORTH * (high - low) / max(cost, 1e-9))
        if high > _WIDE * low:
            return low * min(_AT_ONCE, float((high / low) ** part))
        if high > _NARROW * low and part > _LEAST_PART:
            return low + (high - low) * part
        return low

    def _aim(self, now: float) -> None:
        """Go on at a pace within what is believed, and test it where it is above what is sure."""
        low = self._low
        rate = max(_SLOWEST, self._between(low, self._high))
        self._testing = rate > low
        if self._testing:
            needs, lasts = self._to_prove(rate), _WINDOWS * self._window
        else:
            needs, lasts = _CALM_REQUESTS, _CALM_SECONDS
            if not self._sure:
                lasts = max(lasts, min(_CALM_WALLS * self._lost, _CALM_LONGEST))
        self._go(rate, now, needs=needs, lasts=lasts)

    @property
    def _window(self) -> float:
        return 0.0 if self.belief is None else self.belief.window

    def _to_prove(self, rate: float) -> float:
        return _PROOF / (1.0 - self._low / rate)

    def _go(self, rate: float, now: float, *, needs: float, lasts: float) -> None:
        self._pace = rate
        self._next = max(now, min(self._next, now + 1.0 / rate))
        self._stepped_at, self._step = now, 0
        self._step_needs, self._step_lasts = needs, lasts

    def _proved(self, now: float) -> None:
        """Go on above a pace that has held."""
        if self._pace == math.inf:
            if len(self._out) >= self._cap - 1:
                self._cap += max(1, self._cap // 4)
                self._cap_tested = True
            self._go(math.inf, now, needs=3.0 * self._cap, lasts=0.0)
            return
        if self._step < _USED * self._pace * (now - self._stepped_at - self._trip.seconds):
            # Nobody tried.
            self._stepped_at, self._step = now, 0
            return
        self._low = max(self._low, self._pace)
        self._ceiling = max(self._ceiling, self._pace)
        self._failures = 0
        if self._testing and not self._calm and self._high > 1.01 * self._pace:
            if (self._retry_after or self._lost) * self._low > _DEAR:
                self._aim(now)
            else:
                rate = min(self._high, 2.0 * self._pace)
                self._go(rate, now, needs=self._to_prove(rate), lasts=_WINDOWS * self._window)
            return
        # Higher and higher: a quota may have grown.
        rate = self._low * (1.0 + _FIRST_STEP * min(2.0**self._calm, _LARGEST_STEP))
        self._calm += 1
        self._high = max(self._high, rate)
        self._ceiling = max(self._ceiling, rate)
        self._testing = True
        self._go(rate, now, needs=self._to_prove(rate), lasts=max(_SHORTEST_STEP, _WINDOWS * self._window))


_WINDOWED: Final = frozenset({LimitKind.WINDOW, LimitKind.LOG})
_RANGES: Final = frozenset({LimitKind.BUCKET, LimitKind.BLOCK, LimitKind.UNKNOWN})
