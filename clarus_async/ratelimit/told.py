"""What the server tells of its quota, and the rate that keeps it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from clarus_async.ratelimit.headers import Told

# A reset of up to three seconds may be one: rounded up, and told against a Date that is rounded down, or kept for a
# second, as servers do.
_ROUNDED: Final = 3.0
_SECOND: Final = 1.0
# The server counts what arrives, and arrivals are less even than sends.
_SAFE: Final = 1.01
_LITTLE: Final = 0.02
_HOLD_WINDOWS: Final = 1.5


class PaceSource(StrEnum):
    """Where a rate comes from."""

    NONE = "none"  # nothing has limited the tenant so far
    GIVEN = "given"  # by PacingPolicy(rate=…)
    TOLD = "told"  # by the server's headers
    LEARNED = "learned"  # from refusals


class Quota:
    """A tenant's quota, as its answers tell it."""

    __slots__ = ("_exact", "_guess", "_left", "_left_until")

    def __init__(self) -> None:
        self._left: int | None = None
        self._left_until = 0.0
        self._exact: tuple[int, float] | None = None
        self._guess = (0, 0.0)

    def wait(self, now: float, under_way: int) -> float:
        """Seconds until one more may go: no more may be under way than are left, as an answer has told lately.

        Args:
            now: seconds on a monotonic clock.
            under_way: how many requests have no answer yet.
        """
        if self._left is None or now >= self._left_until or under_way < max(1, self._left):
            return 0.0
        return self._left_until - now

    def hear(self, told: Told, now: float, *, guess: bool) -> tuple[float, float] | None:
        """Take what an answer tells; return a rate to begin to keep, and its window, where it tells of another one.

        Args:
            told: what it tells.
            now: seconds on the same clock.
            guess: take the longest reset for the window where none is told.
        """
        self._left = told.remaining
        self._left_until = now + (_SECOND if told.reset is None else told.reset)
        if told.limit is None:
            return None
        if told.window is not None:
            if (told.limit, told.window) == self._exact:
                return None
            self._exact = (told.limit, told.window)
            return told.limit / told.window / _SAFE, told.window
        if guess and told.reset is not None:
            window = _SECOND if told.reset <= _ROUNDED else told.reset
            limit, longest = self._guess
            if told.limit != limit or window > longest:
                self._guess = (told.limit, window)
                return told.limit / window / _SAFE, window
        return None

    def allowed(self, rate: float, unevenness: float) -> float:
        """Cut a rate to the quota.

        Args:
            rate: requests a second.
            unevenness: seconds by which requests may arrive closer to each other than they were sent.
        """
        if self._exact is None:
            return rate
        limit, window = self._exact
        return min(rate, limit / (window * _SAFE + unevenness))

    def calm(self, told: Told) -> float:
        """Seconds for which a rate should not grow, since the quota is in full use; 0 where it is not.

        Args:
            told: what the last answer tells.
        """
        if told.remaining is None or told.limit is None or told.remaining > max(1.0, _LITTLE * told.limit):
            return 0.0
        return _HOLD_WINDOWS * max(_SECOND, self._guess[1])
