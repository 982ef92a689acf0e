"""Walls: everything is refused until something turns, and one request at a time looks whether it has."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

# Seconds. A shorter wall was a bucket's, or that of a window of a second.
_LONG: Final = 1.2
# Looks come at growing distances, by these parts of what the wall has lasted: each costs a refusal, and what it comes
# too late is lost. Long windows are mostly whole seconds, so these are guessed first.
_GROWS: Final = 0.6
_GROWS_LATER: Final = 0.35
_SOONEST: Final = 0.02
_APART: Final = 0.08
_WINDOWS: Final = (2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0)
_KEPT: Final = 4
_PARTS: Final = (0.25, 0.5, 0.75, 1.0)
_MOST_WHOLES: Final = 3


class Wall(NamedTuple):
    """A wall that fell.

    Args:
        cycle: seconds since the last opening.
        shortest: seconds from that to the last refusal: a window that turned twice is longer.
        longest: seconds from the last refusal before that to this opening: such a window is no longer.
    """

    cycle: float
    shortest: float
    longest: float


class Walls:
    """The walls of one tenant, and the windows that they betray. Times are seconds on a monotonic clock."""

    __slots__ = ("_before", "_gap", "began", "long", "opened", "refused", "shut")

    def __init__(self) -> None:
        self.began: float = 0.0  # when the first request went out
        self.opened: float = 0.0  # when the request was sent that found the last wall open
        self.shut: float = 0.0  # when the first was sent that was refused since
        self.refused: float = 0.0  # when the last was
        self.long: list[Wall] = []
        self._gap = 0.0
        self._before: float | None = None  # when the last one was sent that was refused before the last opening

    def meet(self, at: float, gap: float) -> None:
        """Begin a wall.

        Args:
            at: when the first request was sent that was refused.
            gap: seconds between two slots.
        """
        self.shut = self.refused = at
        self._gap = gap

    def fall(self, at: float, retry_after: float) -> None:
        """End it.

        Args:
            at: when the request was sent that was admitted.
            retry_after: seconds, if the server said so of this wall; whole seconds say little of short ones.
        """
        lasted = at - self.shut
        if retry_after > 2.0 or (lasted > _LONG and not retry_after):
            before = self.opened if self._before is None else self._before
            self.long.append(Wall(at - self.opened, self.refused - self.opened, at - before))
            del self.long[:-_KEPT]
        self._before = self.refused
        self.opened = at

    def first_look(self, now: float) -> float:
        """When to look first: in a bucket, the next slot is open.

        Args:
            now: what time it is.
        """
        return max(now, self.shut + self._gap)

    def next_look(self, now: float, first: float | None, margin: float) -> float:
        """When to look again, after a look that was refused.

        Args:
            now: what time it is.
            first: when the first request was sent of those that were admitted in the second before the wall.
            margin: seconds by which a window may turn later at the server.
        """
        lasted = now - self.shut
        due = now + max(self._gap, lasted * (_GROWS if lasted < 1.0 else _GROWS_LATER), _SOONEST)
        guesses = [self.shut + 1.0]
        if first is not None:
            guesses.append(first + 1.0)
        known = False
        for wall in self.long[-2:]:
            if self.opened + wall.longest + margin > now:
                known = True
                guesses += [self.opened + wall.shortest + (wall.longest - wall.shortest) * part for part in _PARTS]
                guesses += [self.opened + seconds for seconds in _wholes(wall.shortest, wall.longest)]
        if not self.long:
            guesses += [self.began + seconds for seconds in _WINDOWS]
        after = now + max(self._gap, 0.0 if known else _APART * lasted, _SOONEST)
        soon = min((guess + margin for guess in guesses if guess + margin > after), default=math.inf)
        return soon if soon < (math.inf if known else due + 0.1 * lasted) else due

    def windows(self) -> dict[float, float]:
        """Return the windows that the long walls allow, in seconds, and how unlikely each is."""
        windows: dict[float, float] = {}
        shortest, longest, prior = 0.0, math.inf, 0.4
        for number, wall in enumerate(self.long):
            if number > 1 and max(shortest, wall.shortest) < min(longest, wall.longest):
                shortest, longest = max(shortest, wall.shortest), min(longest, wall.longest)
            else:
                # The first window began when the first request came, or before.
                shortest, longest, prior = wall.shortest, wall.longest, 0.4 if number else 0.6
        if self.long:
            # Where the first request of all was refused, only its end is known.
            window = (shortest + min(longest, 2.0 * shortest)) / 2.0 if shortest > 0.0 else longest
            if window > 1.0:
                windows[window] = prior
            for seconds in _wholes(shortest, longest)[-_MOST_WHOLES:]:
                windows[float(seconds)] = prior - 0.2
        return windows


def _wholes(shortest: float, longest: float) -> list[int]:
    return [seconds for seconds in range(math.ceil(shortest), math.floor(longest) + 1) if seconds > 1]
