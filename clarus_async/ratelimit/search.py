"""The search for a limit within what the evidence allows: which rate, or how many in flight, is tried next.

Whoever changes the rate while measuring measures the change. So a rate is constant until it is *proved*, by having been
admitted for long enough, or refused. In the range that is believed, the next one is the geometric mean. At the top of
the range the rate is *steady*; now and then a step above it is tried, as a quota may have grown.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

_LONG_AGO: Final = -3600.0
# Requests a second. Nobody limits to fewer than a few a minute; where nothing is known, ten are tried.
_SLOWEST: Final = 0.2
_UNKNOWN_RATE: Final = 10.0
# Where a range is open above, the limit may be so many times the proved rate: more after the first hit.
_BEYOND: Final = 4.0
_FAR_BEYOND: Final = 16.0
# A rate is never more than so many times the proved one, lest a wrong hypothesis flood the server; and a range of 3 %
# is not worth a refusal.
_AT_ONCE: Final = 4.0
_NARROW: Final = 1.03
_NOTHING_LEFT: Final = 1.01
# A bucket's range after many hits: its upper part was tried, and what is left of it is noise.
_WIDE: Final = 1.3
# A rate is proved by twice as many admissions as tell it from the one below (m of them tell a rate to one part in m),
# over a little more than a window, of which it used most.
_PROOF: Final = 2.0
_WINDOWS: Final = 1.2
_USED: Final = 0.7
# A steady rate is kept for 60 requests and four seconds, so that about one in a hundred is refused. Where a hit costs a
# lockout: for forty times its length, but half a minute at the most, as quotas do grow. A block costs all of its
# length, so it is risked more rarely.
_STEADY_REQUESTS: Final = 60.0
_STEADY_SECONDS: Final = 4.0
_STEADY_LOCKOUTS: Final = 40.0
_STEADY_LONGEST: Final = 30.0
_STEADY_BLOCKS: Final = 12.0
# Steps up begin with 4 %, and double up to 48 %. Each lasts half a second at the least, and where a window may be what
# limits, longer than the likeliest, which is a second.
_FIRST_STEP: Final = 0.04
_LARGEST_STEP: Final = 12.0
_SHORTEST_STEP: Final = 0.5
_LIKELIEST: Final = 1.2
# After three of them the rate is a third above what was the limit: the limit is another now.
_GROWN: Final = 3
# Hits after which a limit is known well.
_WELL: Final = 3
# Requests that a lockout costs above which the range is searched step by step.
EXPENSIVE: Final = 20.0
# The ceiling goes 2 % below a rate that was refused, and 2 % lower with each further refusal, by a fifth at the most. A
# rate that was refused within three requests may have met what was left of a faster one, so at first the ceiling goes
# above it, and then comes down by 3 % each time.
_BELOW: Final = 0.98
_EACH_FAILURE: Final = 0.02
_AT_FIRST: Final = 3
_EACH_EARLY_FAILURE: Final = 0.03
_MOST_FAILURES: Final = 10
# Where the last three of six refusals came at a rate an eighth below that of the first three, and as soon one after the
# other, it is not the rate that causes them. Within three seconds the search may not have ended yet.
_DECLINE: Final = 6
_DECLINE_SECONDS: Final = 3.0
_DECLINED_TO: Final = 0.87
_RARER: Final = 1.3
_A_LITTLE_LESS: Final = 0.9
# Round trips for which a rate is tried at the least: until the first answer, nothing is known of it.
_ROUND_TRIPS: Final = 1.5

# A higher cap on what is in flight is tried when three times as many were admitted, and later by eight seconds for each
# refusal of such a try. It is a quarter higher; once that was refused, a sixteenth.
_CAP_TIMES: Final = 3.0
_CAP_EACH_FAILURE: Final = 8.0
_CAP_MORE: Final = 4.0
_CAP_LESS: Final = 16.0


class HitSummary(NamedTuple):
    """What the hits on a limit taught, and cost."""

    number: int
    peak: float  # requests a second that were admitted right before the last one
    cost: float  # seconds that the last one cost
    announced: bool  # the server says when to come back, so the next costs as much
    bucket: bool = False  # the limit is a bucket's, which has its next slot soon
    blocks: bool = False  # a refusal is followed by a block
    window: float = 0.0  # seconds that a rate is tried for at the least: less may be what was left of a window


NO_HITS: Final = HitSummary(0, 0.0, 0.0, announced=False)


def highest(low: float, hits: HitSummary) -> float:
    """Return the rate to take for the highest that is possible where no refusal bounds it; ``low`` is proved."""
    if hits.number > 1 and low > 0.0:
        return _BEYOND * low
    return max(_FAR_BEYOND * low, _UNKNOWN_RATE, hits.peak)


def between(low: float, high: float, hits: HitSummary) -> float:
    """Return the rate to try between a proved one and the highest that is possible."""
    if high == math.inf:
        high = highest(low, hits)
    if low == 0.0:
        return high / 2.0
    return min(_AT_ONCE * low, math.sqrt(low * high)) if high > _NARROW * low else low


class RateSearch:
    """The search for the highest rate. Times are seconds on a monotonic clock, rates are requests a second."""

    __slots__ = (
        "_ceiling", "_count", "_failures", "_hits", "_lasts", "_needs", "_refusals", "_steps", "_trying", "began",
        "fastest", "grown", "high", "low", "rate", "refused_rate",
    )  # fmt: skip

    def __init__(self) -> None:
        self.rate: float = math.inf
        self.began: float = _LONG_AGO  # when this rate did
        # The range that is believed.
        self.low: float = 0.0
        self.high: float = math.inf
        self.refused_rate: float = 0.0  # the last at which a request was refused
        self.fastest: float = 0.0  # of these
        self.grown: bool = False  # this rate is well above what was the limit
        self._refusals: list[tuple[float, float]] = []  # the last ones: when, and at which rate
        self._hits = NO_HITS
        self._ceiling = math.inf
        self._failures = 0  # refusals since a rate was proved
        self._trying = False  # this rate is above the proved one
        self._steps = 0  # up, since the last hit
        self._count = 0  # admitted at this rate
        self._needs, self._lasts = _STEADY_REQUESTS, _STEADY_SECONDS

    def refused(self, at: float) -> None:
        """Note that a request sent at this rate was refused."""
        if self.rate == math.inf:
            return
        self._refusals.append((at, self.rate))
        del self._refusals[:-_DECLINE]
        self._failures += 1
        self.refused_rate = self.rate
        self.fastest = max(self.fastest, self.rate)
        count, failures = max(1, self._count), self._failures
        if count < _AT_FIRST:
            share = 1.0 + _AT_FIRST / (count * float(_AT_FIRST) ** failures) if failures < _AT_FIRST else 1.0
            share -= _EACH_EARLY_FAILURE * max(0, min(_MOST_FAILURES, failures - 2))
        else:
            share = _BELOW + 1.0 / count - _EACH_FAILURE * min(_MOST_FAILURES, failures - 1)
        self._ceiling = min(self._ceiling, self.rate * share)

    def before_decline(self) -> tuple[float, float] | None:
        """Return the range that the rate fell from in vain: refusals are no rarer, so others use the same quota."""
        if len(self._refusals) < _DECLINE:
            return None
        half = _DECLINE // 2
        times, rates = zip(*self._refusals, strict=True)
        before, since = sum(rates[:half]) / half, sum(rates[half:]) / half
        began, middle, ended = times[0], times[half], times[-1]
        if (
            since > _DECLINED_TO * before
            or ended - began < _DECLINE_SECONDS
            or ended - middle > _RARER * (middle - began)
        ):
            return None
        self._refusals.clear()
        self._ceiling, self._failures = math.inf, 0
        return _A_LITTLE_LESS * before, before

    def stop(self) -> None:
        """Keep no rate: something else is limited."""
        self.rate, self.low, self.high, self._trying = math.inf, 0.0, math.inf, False

    def start(self, low: float, high: float, hits: HitSummary, now: float) -> None:
        """Search between a proved rate and the highest that is possible."""
        self._hits, self._steps, self.grown = hits, 0, False
        self.high = min(high, self._ceiling)
        self.low = min(low, self.high)
        self._choose(now)

    def _choose(self, now: float) -> None:
        """Try a rate above the proved one; where there is none, be steady."""
        low, high, hits = self.low, self.high, self._hits
        if hits.bucket and hits.number > 2 * _WELL and high < _WIDE * low:
            high = low
        rate = max(_SLOWEST, between(low, high, hits))
        self._trying = rate > low
        if self._trying:
            self._try(rate, now, _WINDOWS * hits.window)
            return
        few = min(1.0, hits.number / _WELL)
        lasts = few * _STEADY_SECONDS
        if hits.blocks:
            lasts = max(lasts, _STEADY_BLOCKS * hits.cost)
        elif hits.announced or not hits.bucket:
            lasts = max(lasts, min(few * _STEADY_LOCKOUTS * hits.cost, _STEADY_LONGEST))
        self._begin(rate, now, few * _STEADY_REQUESTS, lasts)

    def _try(self, rate: float, now: float, lasts: float) -> None:
        self._begin(rate, now, _PROOF / (1.0 - self.low / rate), lasts)

    def _begin(self, rate: float, now: float, needs: float, lasts: float) -> None:
        self.rate, self.began, self._count = rate, now, 0
        self._needs, self._lasts = needs, lasts

    def admitted(self, now: float, round_trip: float) -> bool:
        """Note that a request sent at this rate was admitted; return whether the rate is another now."""
        self._count += 1
        if self._count < self._needs or now - self.began < max(self._lasts, _ROUND_TRIPS * round_trip):
            return False
        if self._count < _USED * self.rate * (now - self.began - round_trip):
            # There was not enough to send.
            self.began, self._count = now, 0
            return False
        self._prove(now)
        return True

    def _prove(self, now: float) -> None:
        """Go on above a rate that is proved."""
        hits, rate = self._hits, self.rate
        self.low = max(self.low, rate)
        self._ceiling = max(self._ceiling, rate)
        self._failures = 0
        if self._trying and not self._steps and self.high > _NOTHING_LEFT * rate:
            if hits.announced or hits.cost * self.low > EXPENSIVE:
                self._choose(now)
            else:
                self._try(min(self.high, 2.0 * rate), now, _WINDOWS * hits.window)
            return
        # Each step is larger than the last. The fewer hits there were, the further off the limit may be.
        doubled = self._steps + (0 if hits.blocks else max(0, _WELL - hits.number))
        rate = self.low * (1.0 + _FIRST_STEP * min(2.0**doubled, _LARGEST_STEP))
        self._steps += 1
        # A bucket may just be deep.
        self.grown = self._steps > _GROWN and not hits.bucket
        self.high = max(self.high, rate)
        self._ceiling = max(self._ceiling, rate)
        self._trying = True
        self._try(rate, now, max(_SHORTEST_STEP if hits.bucket else _LIKELIEST, _WINDOWS * hits.window))


class ConcurrencySearch:
    """The search for the most requests that may be in flight. Times are seconds on a monotonic clock."""

    __slots__ = ("_began", "_count", "_failures", "_lasts", "_trying", "cap")

    def __init__(self) -> None:
        self.cap: float = math.inf
        self._trying = False
        self._failures = 0
        self._began, self._lasts = _LONG_AGO, 0.0
        self._count = 0

    def start(self, cap: float, now: float) -> None:
        """Keep to a cap, and search above it."""
        self.cap, self._began, self._count = cap, now, 0
        self._lasts = _CAP_EACH_FAILURE * self._failures

    def refused(self) -> None:
        """Note that a request was refused: if a higher cap was tried, that was too high."""
        if self._trying:
            self._failures, self._trying = self._failures + 1, False

    def admitted(self, sent_at: float, now: float, in_flight: int) -> None:
        """Note that a request was admitted; try a higher cap where it is time. ``in_flight`` are without this one."""
        if sent_at < self._began:
            return
        self._count += 1
        if self._count < _CAP_TIMES * self.cap or now - self._began < self._lasts:
            return
        # Only where as many were used.
        if in_flight >= self.cap - 1.0:
            self.cap += max(1.0, self.cap // (_CAP_LESS if self._failures else _CAP_MORE))
            self._trying = True
        self._began, self._lasts, self._count = now, 0.0, 0
