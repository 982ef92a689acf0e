"""Requests that went out, and what is measured of them as they come back."""

from __future__ import annotations

from typing import Final

_SMOOTH: Final = 0.1
_TIMER: Final = 0.002
_DEVIATIONS: Final = 2.0
# Of the first round trip (RFC 6298 takes a half): of one, nobody knows how much they vary.
_AT_FIRST: Final = 0.125
_MOST_UNEVEN: Final = 0.02

# Answers are looked at one by one at first, and each sixteenth of many: this is done for every request.
PLENTY: Final = 200
EACH: Final = 16


class Sent:
    """A request that went out in a tenant's name.

    Args:
        at: when.
        under_way: how many were, with it.
        probe: whether it looks alone whether something is admitted again.
    """

    __slots__ = ("at", "heard", "probe", "under_way")

    # Positional, for a keyword takes as long as all the rest, and this is made for each request.
    def __init__(self, at: float, under_way: int, probe: bool = False) -> None:
        self.at: float = at
        self.under_way: int = under_way
        self.probe: bool = probe
        self.heard: bool = False  # what came of it was told to the pace


class RoundTrip:
    """How long answers take, and how much that varies (RFC 6298)."""

    __slots__ = ("_deviation", "seconds")

    def __init__(self) -> None:
        self.seconds: float = 0.0
        self._deviation = 0.0

    def add(self, seconds: float) -> None:
        """Note one.

        Args:
            seconds: from the request to its answer.
        """
        if self.seconds == 0.0:
            self.seconds, self._deviation = seconds, _AT_FIRST * seconds
        off = seconds - self.seconds
        # One that took very long says nothing of the others.
        if off > self.seconds + _TIMER:  # noqa: PLR1730  twice as fast as min(), and this is done for each request
            off = self.seconds + _TIMER
        self.seconds += _SMOOTH * off
        self._deviation += _SMOOTH * ((off if off > 0.0 else -off) - self._deviation)

    @property
    def unevenness(self) -> float:
        """Seconds by which requests may arrive closer to each other than they were sent."""
        # Where that is much, it costs less to be refused now and then.
        return min(_DEVIATIONS * self._deviation, _MOST_UNEVEN)

    @property
    def margin(self) -> float:
        """Seconds to wait longer than a window, so that it is over at the server, too."""
        return _TIMER + self.unevenness
