"""Whether a 503 is a rate limiter's refusal, or a server's that is down.

Several limiters answer 503 unless told otherwise (nginx's ``limit_req`` and ``limit_conn``), and so does a gateway
whose origin is slow or down. A limiter's comes at once, while others are admitted. A gateway's comes when it has waited
for the origin, or while nobody is admitted. Of the record that was sent, neither proves anything.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from clarus_async.ratelimit.pace import MEASURED_EACH, MEASURED_FIRST, RoundTrip, Sent

# Seconds. Others were admitted a moment ago, so the server is up.
_LATELY: Final = 1.0
# Seconds. A limiter goes on refusing until its window ends: most are a minute at the longest.
_LONGEST_WINDOW: Final = 60.0
# Where a tenth of the rate is refused as well, there is no limiter: what is refused is a share of whatever is sent, as
# where one server of several is down. A rate that went on falling would end at nothing.
_SLOWER: Final = 10.0
# Of the last answers so many have to be refusals: a few are what is left of a faster rate.
_ANSWERS: Final = 50
_REFUSALS: Final = 3
# Usual round trips. A limiter does not wait for the origin, so its answer is no later than one that does.
_AT_ONCE: Final = 2.0


class UnavailableClassifier:
    """Tells a limiter's 503 from a server's, for one tenant and path. Times are seconds on the event loop's clock."""

    __slots__ = ("_admitted_at", "_answers", "_fastest", "_limited", "_not_before", "_refused", "_round_trip")

    def __init__(self) -> None:
        self._round_trip = RoundTrip()
        self._admitted_at: float | None = None
        self._limited = False  # the last 503 was a limiter's
        self._answers = 0
        self._refused: deque[int] = deque(maxlen=_REFUSALS)  # which answers were a limiter's 503, the last ones
        self._fastest = 0.0  # the fastest rate that a limiter's 503 has left
        self._not_before: float | None = None  # until then there is no limiter

    def admitted(self, sent: Sent, now: float) -> None:
        """Note an answer that no limiter gave."""
        self._admitted_at = now
        self._answers = answers = self._answers + 1
        if answers < MEASURED_FIRST or not answers % MEASURED_EACH:
            self._round_trip.add(now - sent.at)

    def is_limiters(self, sent: Sent, now: float) -> bool:
        """Return whether the 503 that came now is a limiter's."""
        if self._not_before is not None and now < self._not_before:
            return False
        at = self._admitted_at
        lately = at is not None and now - at <= (_LONGEST_WINDOW if self._limited else _LATELY)
        self._limited = lately and now - sent.at <= _AT_ONCE * self._round_trip.seconds + self._round_trip.margin
        self._answers += 1
        if self._limited:
            self._refused.append(self._answers)
        return self._limited

    def refutes_limiter(self, rate: float | None, now: float) -> bool:
        """Return whether the rate fell far after a limiter's 503s, and no fewer come: then they are not a limiter's."""
        if rate is None:
            return False
        self._fastest = max(self._fastest, rate)
        refused = self._refused
        if rate > self._fastest / _SLOWER or len(refused) < _REFUSALS or refused[0] <= self._answers - _ANSWERS:
            return False
        self._not_before = now + _LONGEST_WINDOW
        self._fastest = 0.0
        self._limited = False
        refused.clear()
        return True

    def nobody_admitted_since(self, sent: Sent) -> bool:
        """Return whether no request was admitted since this one was sent."""
        return self._admitted_at is None or self._admitted_at < sent.at
