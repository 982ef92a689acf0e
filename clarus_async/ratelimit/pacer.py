"""What decides when a tenant may send, as the queue sees it, and the terms in which it answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from clarus_async.ratelimit.headers import RateLimitHeaders

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
    """A limit, as far as it is known or believed.

    Args:
        kind: what it is of.
        burst: requests that may go out at once: what a bucket holds, or how many may be in flight; ``None`` where that
            is not known.
        window: seconds; ``None`` where there is none.
        certainty: 0 to 1: the lowest rate that the evidence allows, by the highest; 1 for one that is given or told.
    """

    kind: LimitKind
    burst: int | None = None
    window: float | None = None
    certainty: float = 1.0


class Sent:
    """A request that went out in a tenant's name."""

    __slots__ = ("at", "in_flight", "probe", "reported")

    # Positional: keywords double the cost, and one is made for each request.
    def __init__(self, at: float, in_flight: int, probe: bool = False) -> None:
        self.at: float = at
        self.in_flight: int = in_flight  # requests, with this one
        self.probe: bool = probe  # it went out alone, to find out whether a lockout is over
        self.reported: bool = False  # the pacer was told what came of it


class Pacer(Protocol):
    """Decides when a tenant may send: an ``AdaptiveRateLimiter``, or a ``SharedPace`` of several processes.

    Times are seconds on one monotonic clock. For each request that :meth:`send` notes, exactly one of ``answered``,
    ``refused``, ``lost`` and ``unsent`` follows.
    """

    @property
    def source(self) -> PaceSource:
        """Where the rate comes from."""

    @property
    def rate(self) -> float | None:
        """Requests a second that are believed to be right now; ``None`` where nothing limits them."""

    @property
    def limit(self) -> Limit | None:
        """What limits, as far as is known or believed; ``None`` where nothing does."""

    def idle(self, now: float) -> float:
        """Return for how many seconds nothing was sent that might have been; 0 while a request is in flight."""

    def pause(self, now: float) -> float:
        """Return for how many seconds the server accepts nothing, as far as is known."""

    def next_slot(self, now: float) -> float:
        """Return in how many seconds the next request may go out, as far as is known."""

    def ask(self, now: float) -> float | None:
        """Return how many seconds a request has to wait: 0 to go now, ``None`` until something else has come."""

    def send(self, now: float) -> Sent:
        """Note that a request goes out, after :meth:`ask` allowed it."""

    def answered(self, sent: Sent, now: float, headers: RateLimitHeaders | None = None) -> None:
        """Note an answer that is not a refusal."""

    def refused(
        self, sent: Sent, now: float, retry_after: float | None, headers: RateLimitHeaders | None = None
    ) -> None:
        """Note a refusal; a ``retry_after`` in seconds is kept up to an hour."""

    def lost(self, sent: Sent) -> None:
        """Note that a request brought no answer. A request that was reported already is ignored."""

    def unsent(self, sent: Sent) -> None:
        """Note that a request does not go out after all, so another may in its place."""

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for so many seconds, up to an hour, as a server asks that is down."""

    def forget(self) -> None:
        """Begin the search for a limit again: what was taken for one is none."""


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
