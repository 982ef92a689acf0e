"""A wall: everything is refused until a window turns, and one probe at a time finds out when."""

from __future__ import annotations

from typing import Final

BLIP: Final = 2.0
"""Seconds. What is over sooner was a second's window and the rounding of a whole second, or a moment's trouble."""

_SHORTEST: Final = 0.02
_LONGEST: Final = 3.0
_PART: Final = 0.05
_RARELY: Final = 0.125
_LONG_WINDOW: Final = 5.0
_HANDFUL: Final = 20


class Wall:
    """The walls that one tenant met, one after another, and the window that they betray.

    Each knock costs a refusal, so the steps grow with the wall: half its length, but no more than three seconds or a
    twentieth. Windows of one length turn at one distance: once two openings have shown the shortest distance there
    is, the next probe is placed where the next opening must be. What was admitted from opening to opening is the quota.
    """

    __slots__ = ("_began", "_opened", "_period", "_refused_at", "_since", "admitted", "due", "up", "window")

    def __init__(self) -> None:
        self.up = False
        self.due = 0.0
        self.window = 0.0  # seconds from opening to opening, the last time
        self._since: float | None = None
        self.admitted = 0  # since the last opening
        self._began = 0.0
        self._refused_at = 0.0
        self._opened: float | None = None
        self._period: float | None = None

    def watch(self, now: float, *, anew: bool) -> None:
        """Note that a request goes out.

        Args:
            now: seconds on a monotonic clock.
            anew: it is the first after a pause of traffic, which says nothing of a window.
        """
        if self._since is None or anew:
            self._since = now
            self.admitted = 0

    def meet(self, now: float, due: float) -> None:
        """Begin a wall.

        Args:
            now: seconds on the same clock.
            due: when to send the first probe.
        """
        self.up = True
        self._began = self._refused_at = now
        self.due = due

    def refused(self, sent_at: float, now: float) -> None:
        """Note that the probe was refused, and place the next.

        Args:
            sent_at: when it was sent.
            now: when its answer came; seconds on the same clock.
        """
        self._refused_at = sent_at
        lasted = now - self._began
        if self._opened is not None and self._period is not None and now < self._opened + self._period:
            # Rarely, in case that the window is another one now.
            self.due = min(now + max(lasted, self._period * _RARELY), self._opened + self._period)
        else:
            self.due = now + max(min(lasted / 2, _LONGEST), lasted * _PART, _SHORTEST)

    def fall(self) -> None:
        """End the wall."""
        self.up = False
        self.due = 0.0

    def opened(self, sent_at: float) -> float | None:
        """Note that the probe was admitted: the wall is down. Return the rate of its window, if it was that of one.

        A handful says more of the traffic than of a quota.

        Args:
            sent_at: when the probe had been sent.
        """
        self.fall()
        cycle = 0.0 if self._since is None else sent_at - self._since
        rate = None
        if sent_at - self._began > BLIP or (self.window > _LONG_WINDOW and cycle > self.window / 2):
            if self._opened is not None:
                # The window turned after the last refusal, so this is never too long.
                distance = self._refused_at - self._opened
                self._period = distance if self._period is None else min(distance, self._period)
            self._opened = sent_at
            self.window = cycle
            if self.admitted > _HANDFUL:
                rate = (self.admitted - 1) / cycle
        self._since = sent_at
        self.admitted = 1
        return rate
