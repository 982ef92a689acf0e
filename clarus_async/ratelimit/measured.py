"""Requests that went out, and what is measured of them as they come back."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Final

_KEPT: Final = 5.0
_SMOOTH: Final = 0.1
_TIMER: Final = 0.002
_DEVIATIONS: Final = 2.0
_OUTLIER: Final = 2.0
_MOST_UNEVEN: Final = 0.02


class Sent:
    """A request that went out in a tenant's name.

    Args:
        at: when.
        rate: requests a second, at the time.
        probe: whether it is the one that looks whether a wall has fallen.
    """

    __slots__ = ("at", "probe", "rate")

    def __init__(self, at: float, rate: float | None, *, probe: bool) -> None:
        self.at = at
        self.rate = rate
        self.probe = probe


class Admitted:
    """When the requests had been sent that were admitted, for the last seconds."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at: list[float] = []

    def add(self, at: float) -> None:
        """Note one.

        Args:
            at: when it was sent; answers may come out of order.
        """
        sent = self._at
        if sent and at < sent[-1]:
            insort(sent, at)
            return
        sent.append(at)
        if sent[len(sent) // 2] < at - _KEPT:
            del sent[: bisect_right(sent, at - _KEPT)]

    def since(self, at: float) -> int:
        """How many were sent after a moment.

        Args:
            at: the moment, at most a few seconds before the last of them.
        """
        return len(self._at) - bisect_right(self._at, at)

    def first(self, since: float, default: float) -> float:
        """When the first after a moment was sent.

        Args:
            since: the moment.
            default: what to return where there is none.
        """
        index = bisect_right(self._at, since)
        return self._at[index] if index < len(self._at) else default


class RoundTrip:
    """How long answers take, and how much that varies (RFC 6298)."""

    __slots__ = ("_deviation", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._deviation = 0.0

    def add(self, seconds: float) -> None:
        """Note one.

        Args:
            seconds: from the request to its answer.
        """
        if self.seconds == 0.0:
            self.seconds = seconds
        # One that took very long says nothing of the others.
        seconds = min(seconds, _OUTLIER * self.seconds + _TIMER)
        self._deviation += _SMOOTH * (abs(seconds - self.seconds) - self._deviation)
        self.seconds += _SMOOTH * (seconds - self.seconds)

    @property
    def unevenness(self) -> float:
        """Seconds by which requests may arrive closer to each other than they were sent."""
        # Where that is much, it costs less to be refused now and then.
        return min(_DEVIATIONS * self._deviation, _MOST_UNEVEN)

    @property
    def margin(self) -> float:
        """Seconds to wait longer than a window, so that it is over at the server, too."""
        return _TIMER + self.unevenness
