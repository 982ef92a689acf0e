"""What a 503 says of the rate limit: whether a limiter sent it, or a server that can't answer.

Several limiters answer 503 unless told otherwise (nginx's ``limit_req`` and ``limit_conn``), and so does a gateway
whose origin is slow or down. A limiter's comes at once, while others are admitted. A gateway's comes when it has waited
for the origin, or while nobody is admitted. Of the record that was sent, neither proves anything.
"""

from __future__ import annotations

from typing import Final

from clarus_async.policy.measured import RoundTrip, Sent

# Seconds. Others were admitted a moment ago, so the server is up.
_LATELY: Final = 1.0
# Seconds. A limiter that was met goes on refusing until its window turns: most are a minute at the longest.
_LONGEST_WINDOW: Final = 60.0
# Usual round trips. A limiter does not wait for the origin, so its answer is no later than one that does.
_AT_ONCE: Final = 2.0


class Unavailable:
    """Tells a limiter's 503 from a server's, for one tenant and path. Times are seconds on the event loop's clock."""

    __slots__ = ("_admitted_at", "_limited", "_round_trip")

    def __init__(self) -> None:
        self._round_trip = RoundTrip()
        self._admitted_at: float | None = None
        self._limited = False

    def admitted(self, sent: Sent, now: float) -> None:
        """Note an answer that no limiter gave.

        Args:
            sent: the request that it answers.
            now: when it came.
        """
        self._round_trip.add(now - sent.at)
        self._admitted_at = now

    def limits(self, sent: Sent, now: float) -> bool:
        """Whether a 503 is a limiter's.

        Args:
            sent: the request that it answers.
            now: when it came.
        """
        at = self._admitted_at
        lately = at is not None and now - at <= (_LONGEST_WINDOW if self._limited else _LATELY)
        self._limited = lately and now - sent.at <= _AT_ONCE * self._round_trip.seconds + self._round_trip.margin
        return self._limited

    def alone(self, sent: Sent) -> bool:
        """Whether nobody else was admitted since a request was sent.

        Args:
            sent: which.
        """
        return self._admitted_at is None or self._admitted_at < sent.at
