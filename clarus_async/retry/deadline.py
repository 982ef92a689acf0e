"""One deadline for a whole call, which bounds its attempts and its waits."""

from __future__ import annotations

from typing import Final, NamedTuple

LEAST_USEFUL: Final = 0.05
"""Seconds: about a round trip. An attempt with less time than this is likely to end in doubt, so it is not made."""


class Deadline(NamedTuple):
    """The moment by which a call has its result, in seconds on a monotonic clock."""

    at: float

    def left(self, now: float) -> float:
        """Return the seconds that are left, never below 0."""
        return max(0.0, self.at - now)

    def attempt(self, now: float, most: float) -> float:
        """Return the seconds that an attempt may take, at most ``most``."""
        return min(most, max(0.0, self.at - now))

    def allows(self, now: float, sleep: float) -> bool:
        """Whether an attempt after a sleep would still have time for a response."""
        return now + sleep + LEAST_USEFUL <= self.at
