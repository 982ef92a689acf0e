"""How fast to go where nobody says: a quick start until the first refusal, then a cubic around the limit that was met.

Both run on a clock that counts only the time in which the rate was made use of. So a pause of traffic banks no
permission, and a rate that nobody tried does not count as one that was proved.
"""

from __future__ import annotations

import math
from typing import Final

from clarus_async.policy.wall import BLIP

LEAST_ADMITTED: Final = 0.5
"""Requests a second, where none was admitted."""

LEAST_CUT: Final = 0.985
"""The part of a limit to go on with, at the most."""

# Quick start. Forty requests a second, and 70 a second more for each second that this is made use of, until that
# is 150; then twice as many every 0.35 s.
_START: Final = 40.0
_GROWS: Final = 1.75
_GENTLY_UNTIL: Final = 3.75
_DOUBLES_IN: Final = 0.35
# Three under way until the limit is known to be above some 50 a second: then the window opens with the fourth power.
_FEW: Final = 2.0
_OPENS_AT: Final = 50.0
_BLIND: Final = 5
_BLIND_FOR: Final = 1.0

_LATE: Final = 0.005
_SLOTS: Final = 2.0
_MOST_DOUBLINGS: Final = 40.0

# Past the limit: a tenth (at 50 a second; relatively less where it is high), twice that every 0.4 of the way back.
_GENTLE: Final = 0.1
_GENTLE_AT: Final = 50.0
_DOUBLES_PART: Final = 0.4

# Back at the limit in as long as 60 requests take, within bounds.
_BACK_IN_REQUESTS: Final = 60.0
_SOONEST: Final = 4.2
_LATEST: Final = 30.0
_RETRY_AFTERS: Final = 30.0
_OF_A_WINDOW: Final = 0.8

_CUT_REQUESTS: Final = 2.0
_LARGEST_CUT: Final = 0.8
_NEAR: Final = 1.1


class UsedClock:
    """Counts the seconds in which a rate was made use of."""

    __slots__ = ("_last", "time")

    def __init__(self) -> None:
        self.time = 0.0
        self._last: float | None = None

    def sent(self, now: float, rate: float) -> None:
        """Note that a request goes out.

        Args:
            now: seconds on a monotonic clock.
            rate: requests a second that were allowed; whoever sends after more than two of its slots made a pause.
        """
        if self._last is not None:
            self.time += min(now - self._last, _SLOTS / rate)
        self._last = now


class QuickStart:
    """How much may go out before anything was refused.

    What is under way when a limit is met comes back as that many refusals. So the window opens as answers come back.
    Where round trips are long, so small a window would keep a client slow. There a rate that grows gently does less
    harm: it goes past the limit by what it grew in one round trip. Whichever allows more counts, but nothing goes out
    blindly: until ten answers have come back, five may be under way, and one more for each second of silence.

    Args:
        start: requests a second to begin with, where the caller knows better; there is no window then.
    """

    __slots__ = ("_clock", "_last", "_next", "_start")

    def __init__(self, start: float | None) -> None:
        self._start = start
        self._clock = UsedClock()
        self._last = self._next = 0.0

    def wait(self, now: float, under_way: int, proved: int) -> float:
        """Seconds until one more may go.

        Args:
            now: seconds on a monotonic clock.
            under_way: how many requests have no answer yet.
            proved: the most that was ever admitted within a second.
        """
        if self._start is None:
            if under_way < _FEW + (proved / _OPENS_AT) ** 4:
                return 0.0
            if under_way >= max(_BLIND, proved - _BLIND):
                # Not for as long as a slow answer takes.
                return max(0.0, self._last + _BLIND_FOR - now)
        return max(0.0, self._next - now)

    def sent(self, now: float) -> None:
        """Note that a request goes out.

        Args:
            now: seconds on the same clock.
        """
        rate = self.rate()
        self._last = now
        self._clock.sent(now, rate)
        self._next = max(self._next, now - _LATE) + 1.0 / rate

    def use(self, seconds: float) -> None:
        """Set how long it was made use of, where others count that.

        Args:
            seconds: by all who send at this rate together.
        """
        self._clock.time = seconds

    def rate(self) -> float:
        """Requests a second, as far as time alone decides."""
        start = _START if self._start is None else self._start
        grown = 1.0 + _GROWS * self._clock.time
        if grown < _GENTLY_UNTIL:
            return start * grown
        doublings = (self._clock.time - (_GENTLY_UNTIL - 1.0) / _GROWS) / _DOUBLES_IN
        return start * _GENTLY_UNTIL * math.exp2(min(_MOST_DOUBLINGS, doublings))


class Cubic:
    """A rate around a limit: back to it on a cubic, a while on it, then past it ever faster (as in RFC 9438).

    Args:
        peak: requests a second at the limit.
        part: of the peak, to begin with.
        seconds: until it is back at the peak.
    """

    __slots__ = ("_clock", "_gentle", "part", "peak", "seconds")

    def __init__(self, peak: float, part: float, seconds: float) -> None:
        self.peak = peak
        self.part = part
        self.seconds = seconds
        self._clock = UsedClock()
        self._gentle = _GENTLE * min(2.0, max(0.5, math.sqrt(_GENTLE_AT / peak)))

    def use(self, seconds: float) -> None:
        """Set how long it was made use of, where others count that.

        Args:
            seconds: by all who send at this rate together.
        """
        self._clock.time = seconds

    def rate(self) -> float:
        """Requests a second."""
        x = self._clock.time / self.seconds - 1.0
        if x < 0:
            return self.peak * (1.0 + (1.0 - self.part) * x * x * x)
        return self.peak * (1.0 + self._gentle * (math.exp2(min(_MOST_DOUBLINGS, x / _DOUBLES_PART)) - 1.0))

    def sent(self, now: float) -> float:
        """Note that a request goes out, and return the rate at which it does.

        Args:
            now: seconds on a monotonic clock.
        """
        rate = self.rate()
        self._clock.sent(now, rate)
        return rate

    def hold(self, seconds: float) -> None:
        """Grow no further for a while: the server says that the limit is in full use.

        Args:
            seconds: how long.
        """
        calm = max(0.0, self.seconds - seconds)
        if self._clock.time > calm:
            self.peak = max(self.peak, self.rate())
            self._clock.time = calm


def back_in(limit: float, retry_after: float, window: float) -> float:
    """Seconds until a rate that was cut should be back at the limit.

    Processes that share a quota end up with equal shares, as the greater rate meets more of the refusals. For that,
    these seconds must not shrink with the rate, or the fast would get faster. And many small cuts are fairer than few
    large ones: a share varies by half a cut, and differences fade at refusals times cut.

    Args:
        limit: requests a second.
        retry_after: seconds of silence that the last refusal cost. The more that is, the more rarely it is risked.
        window: seconds of the server's window, where a long one was seen; most of one has to pass.
    """
    seconds = min(_LATEST, max(_SOONEST, _BACK_IN_REQUESTS / limit))
    if retry_after <= BLIP:
        seconds = max(seconds, _RETRY_AFTERS * retry_after)
    return max(seconds, _OF_A_WINDOW * window)


def cut(rate: float, peak: float, admitted: float, answers: int, average: float | None) -> tuple[float, float]:
    """Where a refusal puts the limit, and the part of it to go on with.

    Args:
        rate: requests a second, at which the refused request was sent.
        peak: the limit until now.
        admitted: how many of the second before it were.
        answers: how many came since the last cut. The more that is, the more nearly right the rate was.
        average: requests a second that were admitted since then, where that is worth more than one second is.
    """
    limit = admitted + 1.0
    if rate > peak:
        if rate < _NEAR * peak:
            # The last limit held for a while, this rate did not: the limit lies between them.
            rate = (rate + peak) / 2.0
    elif average is not None:
        limit = min(limit, average)
    # Never by more than half at once: where there is little traffic, little is admitted.
    limit = min(rate, max(limit, rate / 2.0))
    return limit, min(LEAST_CUT, max(_LARGEST_CUT, 1.0 - _CUT_REQUESTS / max(1, answers)))
