"""A pace in its terms: where it comes from, what limits it, and the requests that are sent at it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

# The weight of a new round trip in the mean. RFC 6298 has 1/8; a client sends more often than TCP measures.
_SMOOTH: Final = 0.1
# The first deviation, as a part of the first round trip. RFC 6298 has a half: one answer does not show how much they
# vary, and too wide a margin costs throughput until it has shrunk.
_FIRST_DEVIATION: Final = 0.125
_TIMER: Final = 0.002  # seconds by which a timer of the event loop or a clock is usually off
_DEVIATIONS: Final = 2.0  # cover about 95 % of the answers
# Seconds. Where arrivals are less even than this, an occasional refusal costs less than the margin.
_MOST_JITTER: Final = 0.02

# Of the first answers each is measured, and then one in sixteen: measuring is done for every request.
MEASURED_FIRST: Final = 200
MEASURED_EACH: Final = 16


class PaceSource(StrEnum):
    """Where a rate comes from."""

    NONE = "none"  # nothing has limited the tenant so far
    GIVEN = "given"  # by PacingPolicy(rate=…)
    TOLD = "told"  # by the server's headers
    LEARNED = "learned"  # from refusals


class LimitKind(StrEnum):
    """What a limit is of."""

    BUCKET = "bucket"  # a rate, and a burst: a token bucket, GCRA, nginx limit_req
    WINDOW = "window"  # a quota per fixed window
    LOG = "log"  # a quota in any stretch of a window's length
    CONNECTIONS = "connections"  # requests in flight
    BLOCK = "block"  # a quota, and once it is exceeded everything is refused for a while
    UNKNOWN = "unknown"  # none of these explains what was refused


class Limit(NamedTuple):
    """A limit, as far as it is known or believed."""

    kind: LimitKind
    burst: int | None = None  # requests that may go out at once: what a bucket holds, or how many may be in flight
    window: float | None = None  # seconds; None where there is none
    # From 0 to 1: the lowest rate that the evidence allows, by the highest; 1 for one that is given or told, and for a
    # cap on what is in flight, which is known exactly once it was met.
    certainty: float = 1.0


class Sent:
    """A request that went out in a tenant's name."""

    __slots__ = ("at", "in_flight", "probe", "reported")

    # Positional: keywords double the cost, and one is made for each request.
    def __init__(self, at: float, in_flight: int, probe: bool = False) -> None:
        self.at: float = at
        self.in_flight: int = in_flight  # requests, with this one
        self.probe: bool = probe  # it went out alone, to find out whether a lockout is over
        self.reported: bool = False  # what came of it was noted


class RoundTrip:
    """The smoothed round trip and its deviation (RFC 6298)."""

    __slots__ = ("_deviation", "seconds")

    def __init__(self) -> None:
        self.seconds: float = 0.0
        self._deviation = 0.0

    def add(self, seconds: float) -> None:
        """Add the seconds from a request to its answer."""
        if self.seconds == 0.0:
            self.seconds, self._deviation = seconds, _FIRST_DEVIATION * seconds
        off = seconds - self.seconds
        # An answer that took very long says nothing of the others.
        if off > self.seconds + _TIMER:  # noqa: PLR1730  twice as fast as min(), and this is done for each request
            off = self.seconds + _TIMER
        self.seconds += _SMOOTH * off
        self._deviation += _SMOOTH * ((off if off > 0.0 else -off) - self._deviation)

    @property
    def jitter(self) -> float:
        """Seconds by which requests may arrive closer together than they were sent."""
        return min(_DEVIATIONS * self._deviation, _MOST_JITTER)

    @property
    def margin(self) -> float:
        """Seconds to wait beyond the end of a window, so that it is over at the server as well."""
        return _TIMER + self.jitter
