"""The quota that a server advertises in its headers, and the rate that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clarus_async.ratelimit.headers import RateLimitHeaders

# Seconds. A reset of up to three may belong to a window of one: servers round it up, compute it against a Date that is
# rounded down, or cache the header for a second.
_ROUNDED: Final = 3.0
_SECOND: Final = 1.0
# After a guessed window was confirmed as often, a longer one is a late answer and not a longer window.
_CONFIRMED: Final = 2
# Part of the quota that has to be used in a window before its length is judged: where little was sent, the beginning of
# the window may not have been seen.
_USED: Final = 0.5
# The server counts arrivals, which are less even than what is sent: the rate stays 1 % below the quota.
_SAFE: Final = 1.01


class AdvertisedQuota:
    """A tenant's quota, as the headers of its answers state it. Times are seconds on a monotonic clock.

    Where they state no window, it is guessed from the moments at which the quota is restored: the smallest distance
    between two of them. Until there are two, the time to the first is an upper bound of the window, and thereby of the
    rate, so no more goes out than is left.
    """

    __slots__ = (
        "_confirmations", "_count", "_guessed", "_limit", "_longest", "_remaining", "_remaining_until", "_restored",
        "_until", "_used", "window",
    )  # fmt: skip

    def __init__(self) -> None:
        self.window: float = 0.0
        self._limit = 0
        self._guessed = False
        self._confirmations = 0  # how often a new window was as long as the guess
        self._remaining: int | None = None
        self._remaining_until = 0.0
        self._restored = 0.0  # when the current window ends
        # Over one window: the longest reset, how many answers there were, the most of the quota that was used, until
        # when they are watched.
        self._longest, self._count, self._used, self._until = 0.0, 0, 0, 0.0

    def forget(self) -> None:
        """Believe nothing of what was advertised."""
        self.window, self._limit, self._remaining, self._confirmations = 0.0, 0, None, 0

    def dump(self) -> list[float]:
        """Return the window and the limit that are kept."""
        return [self.window, self._limit]

    def load(self, kept: Sequence[float]) -> None:
        """Go on with what ``dump`` returned elsewhere."""
        self.window, self._limit = float(kept[0]), int(kept[1])

    def gap(self, jitter: float) -> float:
        """Return seconds to add between two requests, so that no more arrive in a window than are sent in one."""
        return jitter / self._limit if self._limit else 0.0

    def wait(self, now: float, in_flight: int) -> float:
        """Return seconds until one more may go: no more may be in flight than the last answer said are left."""
        left = self._remaining
        # A window of a second ends sooner than its whole seconds say.
        if left is None or self.window <= _ROUNDED or in_flight < max(1, left) or now >= self._remaining_until:
            return 0.0
        return self._remaining_until - now

    def read(self, headers: RateLimitHeaders, now: float, in_flight: int = 0) -> float | None:
        """Read an answer's headers; return the rate that keeps the quota, or ``None`` where they state none.

        Answers overtake each other by as many as are ``in_flight``, which have none yet.
        """
        limit, left, reset = headers.limit, headers.remaining, headers.reset
        restored = now + (_SECOND if reset is None else reset)
        new_window = (
            left is not None
            and self._remaining is not None
            and limit is not None
            and left > self._remaining + min(1 + in_flight, max(1, limit) // 2)
            # Where a window slides, a burst that leaves it gives back a part only.
            and left >= min(limit // 2, limit - 2 * (1 + in_flight))
        )
        self._remaining, self._remaining_until = left, restored
        if limit is None:
            return None
        if headers.window is not None:
            self.window, self._guessed = headers.window, False
        elif reset is None:
            return None
        elif limit != self._limit or not self.window:
            self.window, self._guessed = _ahead(reset), True
            self._restored = restored
            self._watch(now)
        elif self._guessed:
            self._correct(reset, now, new_window=new_window)
        self._limit = limit
        return limit / (self.window * _SAFE)

    def _correct(self, reset: float, now: float, *, new_window: bool) -> None:
        """Correct a guess by one more answer."""
        ahead, restored = _ahead(reset), now + reset
        if new_window:
            # All of it is ahead where it has just begun.
            window = max(_SECOND, min(ahead, max(_SECOND, round(restored - self._restored))))
            self._restored = restored
            # A pause, or a late Date, makes one seem longer now and then.
            if window <= self.window or self._confirmations < _CONFIRMED:
                self._confirmations = self._confirmations + 1 if window == self.window else 0
                self.window = window
        # The window is no longer than the longest reset in one of which much was used. A Date that is very late is seen
        # once, and so is gone with the next.
        self._longest, self._count = max(self._longest, ahead), self._count + 1
        if self._remaining is not None:
            self._used = max(self._used, self._limit - self._remaining)
        if now >= self._until:
            if self._count >= _USED * self._limit:
                # A window that slides states how soon the next request is admitted again: it is as long as it takes us
                # to use what it says is used.
                using = (self._used + 1) * self.window * _SAFE * _SAFE / self._limit
                self.window = min(self.window, max(self._longest, using))
            self._watch(now)

    def _watch(self, now: float) -> None:
        """Watch the resets of one window, beginning now."""
        self._longest, self._count, self._used, self._until = 0.0, 0, 0, now + self.window


def _ahead(reset: float) -> float:
    """Return the seconds that a reset may really be away."""
    return _SECOND if reset <= _ROUNDED else reset
