"""The retry budget: what keeps retries from feeding an outage."""

from __future__ import annotations

from typing import Final

_MINUTE: Final = 60.0
# Enough for a burst of failures of a client that is mostly idle: ten calls that need one retry each.
_RESERVE: Final = 10.0
# At 1,000 calls a minute that all fail, the first minute sends the reserve, at most 10 retries for the time that passes
# and a share for each call: together a tenth of the calls. A larger reserve leaves less for the rest.
_RETRIES_A_MINUTE: Final = 100.0
_RETRIES_FOR_TIME: Final = 10.0
_CALLS_A_MINUTE: Final = 1000.0

MOST_UNCOUNTED_ATTEMPTS: Final = 10
"""How many attempts of a call may cost it none: those that a rate limiter's 503 ended, or an empty retry budget. A call
that gets nothing else met something else, and for a create each of them costs ``settle`` seconds."""


class RetryBudget:
    """A tenant's allowance of retries: a reserve that calls and time refill, up to a tenth of the calls.

    First attempts are free. An idle client finds the reserve full, so it has all its retries; a busy one whose calls
    all fail sends 1.1 times its calls, and no more. Times are seconds on a monotonic clock.
    """

    __slots__ = ("_capacity", "_left", "_refilled_at")

    def __init__(self, now: float) -> None:
        self._capacity = _RESERVE
        self._left = _RESERVE
        self._refilled_at = now

    def full(self, now: float) -> bool:
        """Whether it is as good as new."""
        # Time alone refills the reserve in a minute.
        return self._left >= self._capacity or now - self._refilled_at >= _MINUTE

    def count_call(self, most_retries: int = 0) -> None:
        """Count a first attempt of a call, and make room for the retries that it may need."""
        if most_retries > self._capacity:
            self._left += most_retries - self._capacity
            self._capacity = float(most_retries)
        share = max(0.0, _RETRIES_A_MINUTE - _RETRIES_FOR_TIME - self._capacity) / _CALLS_A_MINUTE
        self._left = min(self._capacity, self._left + share)

    def take(self, now: float) -> bool:
        """Take one retry, if there is one."""
        a_second = min(_RETRIES_FOR_TIME, _RETRIES_A_MINUTE - self._capacity) / _MINUTE
        self._left = min(self._capacity, self._left + (now - self._refilled_at) * a_second)
        self._refilled_at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
