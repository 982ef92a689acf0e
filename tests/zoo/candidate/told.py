"""What the server tells of its quota, and the rate that keeps it."""

from __future__ import annotations

from typing import Final

from clarus_async.ratelimit.headers import Told

# A reset of up to three seconds may be one: rounded up, and told against a Date that is rounded down, or kept for a
# second, as servers do.
_ROUNDED: Final = 3.0
_SECOND: Final = 1.0
# The server counts what arrives, and arrivals are less even than sends.
_SAFE: Final = 1.01


class Quota:
    """A tenant's quota, as its answers tell it.

    Where they tell no window, it is guessed from the moments at which the quota is restored: the smallest distance
    between two of them. Until there are two, what is left of the first is an upper bound of the rate only, so no more
    goes out than is left.
    """

    __slots__ = ("_guessed", "_left", "_left_until", "_limit", "_restored", "window")

    def __init__(self) -> None:
        self.window = 0.0
        self._limit = 0
        self._guessed = False
        self._left: int | None = None
        self._left_until = 0.0
        self._restored = 0.0  # the moment of the window that is on

    def forget(self) -> None:
        """Believe nothing of what was told."""
        self.window, self._limit, self._left = 0.0, 0, None

    def wait(self, now: float, under_way: int) -> float:
        """Seconds until one more may go: no more may be under way than are left, as an answer has told lately.

        Args:
            now: seconds on a monotonic clock.
            under_way: how many requests have no answer yet.
        """
        left = self._left
        # A window of a second turns sooner than its whole seconds tell.
        if left is None or self.window <= _ROUNDED or under_way < max(1, left) or now >= self._left_until:
            return 0.0
        return self._left_until - now

    def hear(self, told: Told, now: float) -> float | None:
        """Take what an answer tells; return the rate that keeps it, or ``None`` where it tells none.

        Args:
            told: what it tells.
            now: seconds on the same clock.
        """
        limit, left, reset = told.limit, told.remaining, told.reset
        restored = now + (_SECOND if reset is None else reset)
        turned = left is not None and self._left is not None and left > self._left + max(1, limit or 0) // 2
        self._left, self._left_until = left, restored
        if limit is None:
            return None
        if told.window is not None:
            self.window, self._guessed = told.window, False
        elif reset is None:
            return None
        elif limit != self._limit or not self.window:
            self.window, self._guessed = (_SECOND if reset <= _ROUNDED else reset), True
            self._restored = restored
        elif turned and self._guessed:
            # All of a window is ahead where it has just turned.
            ahead = _SECOND if reset <= _ROUNDED else reset
            self.window = max(_SECOND, min(ahead, max(_SECOND, round(restored - self._restored))))
            self._restored = restored
        self._limit = limit
        return limit / (self.window * _SAFE)
