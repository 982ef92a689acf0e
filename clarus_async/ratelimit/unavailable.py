"""What a 503 says of the rate limit: whether a limiter sent it, or a server that can't answer.

Several limiters answer 503 unless told otherwise (nginx's ``limit_req`` and ``limit_conn``), and so does a gateway
whose origin is slow or down. A limiter's comes at once, while others are admitted. A gateway's comes when it has waited
for the origin, or while nobody is admitted. Of the record that was sent, neither proves anything.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from clarus_async.ratelimit.measured import EACH, PLENTY, RoundTrip, Sent

# Seconds. Others were admitted a moment ago, so the server is up.
_LATELY: Final = 1.0
# Seconds. A limiter that was met goes on refusing until its window turns: most are a minute at the longest.
_LONGEST_WINDOW: Final = 60.0
# A limiter that refuses a tenth of what was admitted by it before is none: what is refused is a share of whatever is
# sent, as where one server of several is down. A pace that went on falling would end at nothing.
_SLOWER: Final = 10.0
# Of the last answers so many must be refusals: a few are what is left of a faster pace.
_ANSWERS: Final = 50
_REFUSALS: Final = 3
# Usual round trips. A limiter does not wait for the origin, so its answer is no later than one that does.
_AT_ONCE: Final = 2.0


class Unavailable:
    """Tells a limiter's 503 from a server's, for one tenant and path. Times are seconds on the event loop's clock."""

    __slots__ = ("_admitted_at", "_count", "_fastest", "_limited", "_none_until", "_refused", "_round_trip")

    def __init__(self) -> None:
        self._round_trip = RoundTrip()
        self._admitted_at: float | None = None
        self._limited = False
        self._count = 0  # answers
        self._refused: deque[int] = deque(maxlen=_REFUSALS)  # which of them were a limiter's 503, the last ones
        self._fastest = 0.0  # the fastest pace that a limiter's 503 has left
        self._none_until: float | None = None  # there is no limiter, as far as its 503s can tell

    def admitted(self, sent: Sent, now: float) -> None:
        """Note an answer that no limiter gave.

        Args:
            sent: the request that it answers.
            now: when it came.
        """
        self._admitted_at = now
        self._count = count = self._count + 1
        if count < PLENTY or not count % EACH:
            self._round_trip.add(now - sent.at)

    def limits(self, sent: Sent, now: float) -> bool:
        """Whether a 503 is a limiter's.

        Args:
            sent: the request that it answers.
            now: when it came.
        """
        if self._none_until is not None and now < self._none_until:
            return False
        at = self._admitted_at
        lately = at is not None and now - at <= (_LONGEST_WINDOW if self._limited else _LATELY)
        self._limited = lately and now - sent.at <= _AT_ONCE * self._round_trip.seconds + self._round_trip.margin
        self._count += 1
        if self._limited:
            self._refused.append(self._count)
        return self._limited

    def slows_in_vain(self, rate: float | None, now: float) -> bool:
        """Whether a pace falls and falls, and as many are refused as before: then there is no limiter.

        Args:
            rate: requests a second, after a limiter's 503; ``None`` where nothing limits them.
            now: when it came.
        """
        if rate is None:
            return False
        self._fastest = max(self._fastest, rate)
        refused = self._refused
        if rate > self._fastest / _SLOWER or len(refused) < _REFUSALS or refused[0] <= self._count - _ANSWERS:
            return False
        self._none_until = now + _LONGEST_WINDOW
        self._fastest = 0.0
        self._limited = False
        refused.clear()
        return True

    def alone(self, sent: Sent) -> bool:
        """Whether nobody else was admitted since a request was sent.

        Args:
            sent: which.
        """
        return self._admitted_at is None or self._admitted_at < sent.at
