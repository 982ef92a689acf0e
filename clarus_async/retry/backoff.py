"""Backoff with full jitter, and the budget that keeps retries from feeding an outage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clarus_async.config import RetryPolicy

_MINUTE: Final = 60.0
_RESERVE: Final = 10.0
# At 1,000 calls a minute and total failure, the first minute sends the reserve, at most 10 for its time and a part for
# each call: together a tenth of the calls. A larger reserve leaves less for the rest.
_A_MINUTE: Final = 100.0
_FOR_TIME: Final = 10.0
_CALLS: Final = 1000.0

MOST_LIMITED: Final = 10
"""How many of a call's requests may be answered by a rate limiter's 503 and cost no attempt. What is answered so every
time has met something else, and each one of a create costs ``settle``."""


def backoff(policy: RetryPolicy, retry: int, random: Callable[[], float]) -> float:
    """Draw the seconds to wait before a retry: full jitter, so that callers who failed together part.

    Args:
        policy: base and cap.
        retry: 1 for the first.
        random: draws from 0 to 1.
    """
    # An exponent that large is far past any cap, and a larger one overflows.
    return random() * min(policy.cap, policy.base * 2.0 ** min(retry - 1, 60))


class RetryBudget:
    """A tenant's allowance of retries: a reserve that calls and time refill, up to a tenth of the calls.

    First attempts never ask it. A quiet client finds the reserve full, so it always has all its retries; a busy one
    whose calls all fail sends 1.1 times its calls, and no more.

    Args:
        now: seconds on a monotonic clock.
    """

    __slots__ = ("_capacity", "_left", "_seen")

    def __init__(self, now: float) -> None:
        self._capacity = _RESERVE
        self._left = _RESERVE
        self._seen = now

    @property
    def left(self) -> float:
        """The retries that were left when it was last asked."""
        return self._left

    def full(self, now: float) -> bool:
        """Whether it is as it was in the beginning.

        Args:
            now: seconds on the same clock.
        """
        # Time alone refills the reserve in a minute.
        return self._left >= self._capacity or now - self._seen >= _MINUTE

    def called(self, most: int = 0) -> None:
        """Count a first attempt.

        Args:
            most: retries that this call may need; the reserve holds at least these.
        """
        if most > self._capacity:
            self._left += most - self._capacity
            self._capacity = float(most)
        share = max(0.0, _A_MINUTE - _FOR_TIME - self._capacity) / _CALLS
        self._left = min(self._capacity, self._left + share)

    def take(self, now: float) -> bool:
        """Take one retry, if there is one.

        Args:
            now: seconds on the same clock.
        """
        a_second = min(_FOR_TIME, _A_MINUTE - self._capacity) / _MINUTE
        self._left = min(self._capacity, self._left + (now - self._seen) * a_second)
        self._seen = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
