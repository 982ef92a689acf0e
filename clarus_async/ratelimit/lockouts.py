"""Lockouts: when to probe whether one is over, and the windows that their lengths reveal."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

# Seconds. A shorter lockout was a bucket's, or that of a window of a second, which is always considered.
_LONG: Final = 1.2
# Seconds of Retry-After above which a lockout is long: whole seconds are too coarse to reveal a shorter window.
_LONG_RETRY_AFTER: Final = 2.0
# Without a guess, the next probe comes after this part of what the lockout has lasted: each probe that is too early
# costs a refusal, and each that is too late costs as much time. Short lockouts are cheap, so probes are rarer there.
_GROWS: Final = 0.6
_GROWS_LATER: Final = 0.35
# Seconds between two probes at the least, and the part of what the lockout has lasted.
_SOONEST: Final = 0.02
_APART: Final = 0.08
# Seconds. Where no window is known yet, the usual ones are guessed. Those of a second have a guess of their own.
_USUAL_WINDOWS: Final = (2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0)
# Where a window is known to lie in a range, it is probed at these parts of it.
_PARTS: Final = (0.25, 0.5, 0.75, 1.0)
_KEPT: Final = 4  # lockouts: older ones may be of a limit that has changed since
_MOST_WHOLES: Final = 3  # windows of whole seconds that are considered, of those in a range
# How unlikely a window is, in the unit of a hypothesis's loss: after one lockout and after two that agree; one of whole
# seconds is likelier by this.
_UNLIKELY_ONCE: Final = 0.6
_UNLIKELY: Final = 0.4
_WHOLE_LIKELIER: Final = 0.2


class Lockout(NamedTuple):
    """A lockout that is over."""

    cycle: float  # seconds from the last reopening to this one
    shortest: float  # seconds from the last reopening to the last refusal: a window that began and ended is longer
    longest: float  # seconds from the last refusal before that to this reopening: no window is longer


class Lockouts:
    """The lockouts of one tenant. Times are seconds on a monotonic clock at which requests were sent."""

    __slots__ = ("_gap", "_last_refused_before", "began", "first_sent", "last_refused", "long", "reopened")

    def __init__(self) -> None:
        self.first_sent: float = 0.0  # the first request of all
        self.began: float = 0.0  # the first request that was refused in this one
        self.last_refused: float = 0.0
        self.reopened: float = 0.0  # the request that ended the last one
        self.long: list[Lockout] = []
        self._gap = 0.0
        self._last_refused_before: float | None = None  # before the last reopening

    def begin(self, at: float, gap: float) -> None:
        """Begin one with the first request that was refused; slots are so many seconds apart."""
        self.began = self.last_refused = at
        self._gap = gap

    def end(self, at: float, retry_after: float) -> None:
        """End it with a request that was admitted; ``retry_after`` is 0 where the server said nothing."""
        lasted = at - self.began
        if retry_after > _LONG_RETRY_AFTER or (lasted > _LONG and not retry_after):
            before = self.reopened if self._last_refused_before is None else self._last_refused_before
            self.long.append(Lockout(at - self.reopened, self.last_refused - self.reopened, at - before))
            del self.long[:-_KEPT]
        self._last_refused_before = self.last_refused
        self.reopened = at

    def first_probe(self, now: float) -> float:
        """Return when to probe first: one slot later, as a bucket has one then."""
        return max(now, self.began + self._gap)

    def next_probe(self, now: float, first: float | None, margin: float) -> float:
        """Return when to probe again after a probe was refused.

        ``first`` is when the first request was sent of those that were admitted in the second before the lockout;
        ``margin`` is seconds by which a window may end later at the server.
        """
        lasted = now - self.began
        due = now + max(self._gap, lasted * (_GROWS if lasted < 1.0 else _GROWS_LATER), _SOONEST)
        guesses = [self.began + 1.0]
        if first is not None:
            guesses.append(first + 1.0)
        known = False
        for lockout in self.long[-2:]:
            shortest, longest = lockout.shortest, lockout.longest
            if self.reopened + longest + margin > now:
                known = True
                guesses += [self.reopened + shortest + (longest - shortest) * part for part in _PARTS]
                guesses += [self.reopened + seconds for seconds in _whole_seconds(shortest, longest)]
        if not self.long:
            guesses += [self.first_sent + seconds for seconds in _USUAL_WINDOWS]
        after = now + max(self._gap, 0.0 if known else _APART * lasted, _SOONEST)
        soon = min((guess + margin for guess in guesses if guess + margin > after), default=math.inf)
        return soon if soon < (math.inf if known else due + 0.1 * lasted) else due

    def windows(self) -> dict[float, float]:
        """Return the windows that the long lockouts allow, in seconds, and how unlikely each is."""
        windows: dict[float, float] = {}
        shortest, longest, unlikely = 0.0, math.inf, _UNLIKELY
        for number, lockout in enumerate(self.long):
            if number > 1 and max(shortest, lockout.shortest) < min(longest, lockout.longest):
                shortest, longest = max(shortest, lockout.shortest), min(longest, lockout.longest)
            else:
                # The first window began when the first request came, or before.
                shortest, longest = lockout.shortest, lockout.longest
                unlikely = _UNLIKELY if number else _UNLIKELY_ONCE
        if self.long:
            # Where the first request of all was refused, only its end is known.
            window = (shortest + min(longest, 2.0 * shortest)) / 2.0 if shortest > 0.0 else longest
            if window > 1.0:
                windows[window] = unlikely
            for seconds in _whole_seconds(shortest, longest)[-_MOST_WHOLES:]:
                windows[float(seconds)] = unlikely - _WHOLE_LIKELIER
        return windows


def _whole_seconds(shortest: float, longest: float) -> list[int]:
    """Return the whole seconds in a range, apart from a second."""
    return [seconds for seconds in range(math.ceil(shortest), math.floor(longest) + 1) if seconds > 1]
