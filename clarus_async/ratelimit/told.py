"""What the server tells of its quota, and the rate that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from clarus_async.ratelimit.headers import Told

# A reset of up to three seconds may be one: rounded up, and told against a Date that is rounded down, or kept for a
# second, as servers do.
_ROUNDED: Final = 3.0
_SECOND: Final = 1.0
_SURE: Final = 2
# Part of the quota that was used in a window: of one that was hardly used, its beginning may not have been seen.
_USED: Final = 0.5
# The server counts what arrives, and arrivals are less even than sends.
_SAFE: Final = 1.01


class PaceSource(StrEnum):
    """Where a rate comes from."""

    NONE = "none"  # nothing has limited the tenant so far
    GIVEN = "given"  # by PacingPolicy(rate=…)
    TOLD = "told"  # by the server's headers
    LEARNED = "learned"  # from refusals


class ToldQuota:
    """A tenant's quota, as its answers tell it.

    Where they tell no window, it is guessed from the moments at which the quota is restored: the smallest distance
    between two of them. Until there are two, what is left of the first is an upper bound of the rate only, so no more
    goes out than is left.
    """

    __slots__ = (
        "_count", "_guessed", "_left", "_left_until", "_limit", "_longest", "_restored", "_turns", "_until", "_used",
        "window",
    )  # fmt: skip

    def __init__(self) -> None:
        self.window: float = 0.0
        self._limit = 0
        self._guessed = False
        self._turns = 0  # how often it was as long as it is taken for
        self._left: int | None = None
        self._left_until = 0.0
        self._restored = 0.0  # the moment of the window that is on
        # Of as long as a window is taken for: the longest that was ahead, how many answers told so, the most of the
        # quota that was used, and until when.
        self._longest, self._count, self._used, self._until = 0.0, 0, 0, 0.0

    def forget(self) -> None:
        """Believe nothing of what was told."""
        self.window, self._limit, self._left, self._turns = 0.0, 0, None, 0

    def dump(self) -> list[float]:
        """Return the window and the limit that are kept."""
        return [self.window, self._limit]

    def load(self, kept: Sequence[float]) -> None:
        """Keep what another kept.

        Args:
            kept: from :meth:`dump`.
        """
        self.window, self._limit = float(kept[0]), int(kept[1])

    def apart(self, uneven: float) -> float:
        """Seconds by which two requests are to be further apart, so that no more arrive in a window than are sent.

        Args:
            uneven: seconds by which requests may come closer to each other than they were sent.
        """
        return uneven / self._limit if self._limit else 0.0

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

    def hear(self, told: Told, now: float, under_way: int = 0) -> float | None:
        """Take what an answer tells; return the rate that keeps it, or ``None`` where it tells none.

        Args:
            told: what it tells.
            now: seconds on the same clock.
            under_way: how many requests have no answer yet; answers come in another order than requests by so many.
        """
        limit, left, reset = told.limit, told.remaining, told.reset
        restored = now + (_SECOND if reset is None else reset)
        turned = (
            left is not None
            and self._left is not None
            and limit is not None
            and left > self._left + min(1 + under_way, max(1, limit) // 2)
            # Where a window slides, a burst that leaves it gives back a part only.
            and left >= min(limit // 2, limit - 2 * (1 + under_way))
        )
        self._left, self._left_until = left, restored
        if limit is None:
            return None
        if told.window is not None:
            self.window, self._guessed = told.window, False
        elif reset is None:
            return None
        elif limit != self._limit or not self.window:
            self.window, self._guessed = _ahead(reset), True
            self._restored = restored
            self._watch(now)
        elif self._guessed:
            self._correct(reset, now, turned=turned)
        self._limit = limit
        return limit / (self.window * _SAFE)

    def _correct(self, reset: float, now: float, *, turned: bool) -> None:
        """Correct a guess by one more answer."""
        ahead, restored = _ahead(reset), now + reset
        if turned:
            # All of a window is ahead where it has just turned.
            window = max(_SECOND, min(ahead, max(_SECOND, round(restored - self._restored))))
            self._restored = restored
            # A pause, and a Date that is late, make one seem longer now and then.
            if window <= self.window or self._turns < _SURE:
                self._turns = self._turns + 1 if window == self.window else 0
                self.window = window
        # No more is ahead than was told in all of a window that was made use of: a Date that is very late is told once.
        self._longest, self._count = max(self._longest, ahead), self._count + 1
        if self._left is not None:
            self._used = max(self._used, self._limit - self._left)
        if now >= self._until:
            if self._count >= _USED * self._limit:
                # A window that slides tells how soon the next request is let in again: it is as long as it takes us to
                # use what it says is used.
                using = (self._used + 1) * self.window * _SAFE * _SAFE / self._limit
                self.window = min(self.window, max(self._longest, using))
            self._watch(now)

    def _watch(self, now: float) -> None:
        """Begin to look, for as long as a window is taken for, at what is told of it."""
        self._longest, self._count, self._used, self._until = 0.0, 0, 0, now + self.window


def _ahead(reset: float) -> float:
    """Return the seconds that a reset may be meant to be away."""
    return _SECOND if reset <= _ROUNDED else reset
