"""Constant paces, one after the other: which is tried next, and when it is proved.

Who changes the pace while measuring measures the change. So a pace is constant until it is proved, or a request is
refused. Within a range that is believed the next is the geometric middle; at its top it is calm, and then looks higher
now and then.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

_LONG_AGO: Final = -3600.0
# Requests a second. Nobody limits to fewer than a few a minute; where nothing is known, ten are tried.
_SLOWEST: Final = 0.2
_UNKNOWN_RATE: Final = 10.0
# Where a range is open above, the limit may be so many times the rate that is sure: more after the first contact.
_BEYOND: Final = 4.0
_FAR_BEYOND: Final = 16.0
# A pace is never more than so many times the one that was sure, nor is a range as narrow worth a refusal.
_AT_ONCE: Final = 4.0
_NARROW: Final = 1.03
_NOTHING_LEFT: Final = 1.01
# Range of a bucket that was met often: its upper part was tried, and noise is what is left of it.
_WIDE: Final = 1.3
# A pace is proved by twice as many admissions as it takes to tell it from the one below (m of them tell a rate to one
# part in m), over a little more than a window, of which it used most.
_PROOF: Final = 2.0
_WINDOWS: Final = 1.2
_USED: Final = 0.7
# A calm pace is kept for 60 requests and four seconds, so that a refusal is about one in a hundred; where that costs a
# wall, for forty times the wall, but half a minute at the most: quotas do grow. A block costs all of its length, so it
# is risked more rarely.
_CALM_REQUESTS: Final = 60.0
_CALM_SECONDS: Final = 4.0
_CALM_WALLS: Final = 40.0
_CALM_LONGEST: Final = 30.0
_CALM_BLOCKS: Final = 12.0
# Steps up begin with 4 %, and double up to 48 %. Each lasts half a second at the least, and where a window may be what
# limits, longer than the likeliest, which is a second.
_FIRST_STEP: Final = 0.04
_LARGEST_STEP: Final = 12.0
_SHORTEST_STEP: Final = 0.5
_LIKELIEST: Final = 1.2
# After three of them a pace is a third above what was the limit: that is another now.
_GROWN: Final = 3
# Contacts after which a limit is known well.
_WELL: Final = 3
# Requests that a wall costs, above which it is gone about step by step.
DEAR: Final = 20.0
# The ceiling goes 2 % below a pace that failed, and 2 % more with each failure after that. One that failed at once may
# have met what was left of a faster one, so at first it goes above that.
_BELOW: Final = 0.98
_EACH_FAILURE: Final = 0.02
_AT_FIRST: Final = 3
# Where the last three of six refusals came at a pace that was an eighth lower than that of the first three, and as
# soon one after the other, it is not the pace that brings them. In less than some seconds a limit is still looked for.
_FELL: Final = 6
_FELL_FOR: Final = 3.0
_FELL_TO: Final = 0.87
_RARER: Final = 1.3
_A_LITTLE_LESS: Final = 0.9
# Round trips for which a pace is tried at the least: what goes out before the first answers keeps to none.
_ROUND_TRIPS: Final = 1.5


class Learned(NamedTuple):
    """What contacts with the limit told, and cost.

    Args:
        contacts: how many there were.
        peak: requests a second that were admitted right before the last one.
        lost: seconds that it cost.
        told: whether the server says when to come back: then the next costs as much.
        drips: it is a bucket's, and the next slot is open.
        blocks: a refusal is followed by a block.
        window: seconds that a pace has to hold at the least: less is what was left of a window.
    """

    contacts: int
    peak: float
    lost: float
    told: bool
    drips: bool = False
    blocks: bool = False
    window: float = 0.0


NOTHING: Final = Learned(0, 0.0, 0.0, told=False)


def most(low: float, known: Learned) -> float:
    """Return what to take for the highest, in requests a second, where nothing was refused that tells.

    Args:
        low: the least that is sure.
        known: what is known.
    """
    if known.contacts > 1 and low > 0.0:
        return _BEYOND * low
    return max(_FAR_BEYOND * low, _UNKNOWN_RATE, known.peak)


def middle(low: float, high: float, known: Learned) -> float:
    """Return the pace to try in a range, in requests a second.

    Args:
        low: the least that is sure.
        high: the most that may be.
        known: what is known.
    """
    if high == math.inf:
        high = most(low, known)
    if low == 0.0:
        return high / 2.0
    return min(_AT_ONCE * low, math.sqrt(low * high)) if high > _NARROW * low else low


class Steps:
    """The paces that are tried. Times are seconds on a monotonic clock, rates are requests a second."""

    __slots__ = (
        "_calm", "_ceiling", "_contacts", "_count", "_failures", "_known", "_lasts", "_needs", "_testing", "at",
        "failed", "fastest", "grown", "high", "low", "pace",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pace: float = math.inf
        # The range that is believed.
        self.low: float = 0.0
        self.high: float = math.inf
        self.at: float = _LONG_AGO  # when this pace began
        # The last pace at which a request was refused, and the fastest such.
        self.failed: float = 0.0
        self.fastest: float = 0.0
        self._contacts: list[tuple[float, float]] = []  # when the last ones were, and at which paces
        self.grown: bool = False  # this pace is well above what was the limit
        self._known = NOTHING
        self._ceiling = math.inf
        self._failures = 0
        self._testing = False
        self._calm = 0  # steps up since the last contact
        self._count = 0  # admitted since it began
        self._needs, self._lasts = _CALM_REQUESTS, _CALM_SECONDS

    def fail(self, at: float) -> None:
        """Note that a request was refused at this pace.

        Args:
            at: when it was sent.
        """
        if self.pace == math.inf:
            return
        self._contacts.append((at, self.pace))
        del self._contacts[:-_FELL]
        self._failures += 1
        self.failed = self.pace
        self.fastest = max(self.fastest, self.pace)
        count, failures = max(1, self._count), self._failures
        if count < _AT_FIRST:
            share = 1.0 + _AT_FIRST / (count * float(_AT_FIRST) ** failures) if failures < _AT_FIRST else 1.0
            share -= 0.03 * max(0, min(10, failures - 2))
        else:
            share = _BELOW + 1.0 / count - _EACH_FAILURE * min(10, failures - 1)
        self._ceiling = min(self._ceiling, self.pace * share)

    def in_vain(self) -> tuple[float, float] | None:
        """Return the range from which the pace fell, where refusals are no rarer since: others use the same quota."""
        if len(self._contacts) < _FELL:
            return None
        half = _FELL // 2
        moments, paces = zip(*self._contacts, strict=True)
        before, since = sum(paces[:half]) / half, sum(paces[half:]) / half
        began, middle, ended = moments[0], moments[half], moments[-1]
        if since > _FELL_TO * before or ended - began < _FELL_FOR or ended - middle > _RARER * (middle - began):
            return None
        self._contacts.clear()
        self._ceiling, self._failures = math.inf, 0
        return _A_LITTLE_LESS * before, before

    def free(self) -> None:
        """Keep to no pace: something else is what is limited."""
        self.pace, self.low, self.high, self._testing = math.inf, 0.0, math.inf, False

    def go(self, low: float, high: float, known: Learned, now: float) -> None:
        """Go on within a range.

        Args:
            low: the least that is sure.
            high: the most that may be.
            known: what is known since the last contact.
            now: what time it is.
        """
        self._known, self._calm, self.grown = known, 0, False
        self.high = min(high, self._ceiling)
        self.low = min(low, self.high)
        self._aim(now)

    def _aim(self, now: float) -> None:
        """Try what is above what is sure; where that is nothing, be calm."""
        low, high, known = self.low, self.high, self._known
        if known.drips and known.contacts > 2 * _WELL and high < _WIDE * low:
            high = low
        pace = max(_SLOWEST, middle(low, high, known))
        self._testing = pace > low
        if self._testing:
            self._try(pace, now, _WINDOWS * known.window)
            return
        few = min(1.0, known.contacts / _WELL)
        lasts = few * _CALM_SECONDS
        if known.blocks:
            lasts = max(lasts, _CALM_BLOCKS * known.lost)
        elif known.told or not known.drips:
            lasts = max(lasts, min(few * _CALM_WALLS * known.lost, _CALM_LONGEST))
        self._begin(pace, now, few * _CALM_REQUESTS, lasts)

    def _try(self, pace: float, now: float, lasts: float) -> None:
        self._begin(pace, now, _PROOF / (1.0 - self.low / pace), lasts)

    def _begin(self, pace: float, now: float, needs: float, lasts: float) -> None:
        self.pace, self.at, self._count = pace, now, 0
        self._needs, self._lasts = needs, lasts

    def admitted(self, now: float, round_trip: float) -> bool:
        """Note that one was admitted which was sent at this pace; return whether another follows.

        Args:
            now: what time it is.
            round_trip: seconds of one.
        """
        self._count += 1
        if self._count < self._needs or now - self.at < max(self._lasts, _ROUND_TRIPS * round_trip):
            return False
        if self._count < _USED * self.pace * (now - self.at - round_trip):
            # Nobody tried.
            self.at, self._count = now, 0
            return False
        self._prove(now)
        return True

    def _prove(self, now: float) -> None:
        """Go on above a pace that has held."""
        known, pace = self._known, self.pace
        self.low = max(self.low, pace)
        self._ceiling = max(self._ceiling, pace)
        self._failures = 0
        if self._testing and not self._calm and self.high > _NOTHING_LEFT * pace:
            if known.told or known.lost * self.low > DEAR:
                self._aim(now)
            else:
                self._try(min(self.high, 2.0 * pace), now, _WINDOWS * known.window)
            return
        # Higher and higher, as a quota may have grown. The fewer contacts there were, the further off the limit may be.
        doubled = self._calm + (0 if known.blocks else max(0, _WELL - known.contacts))
        pace = self.low * (1.0 + _FIRST_STEP * min(2.0**doubled, _LARGEST_STEP))
        self._calm += 1
        # A bucket may just be deep.
        self.grown = self._calm > _GROWN and not known.drips
        self.high = max(self.high, pace)
        self._ceiling = max(self._ceiling, pace)
        self._testing = True
        self._try(pace, now, max(_SHORTEST_STEP if known.drips else _LIKELIEST, _WINDOWS * known.window))
