"""One deadline for a whole call, from which attempt timeouts and sleeps are cut."""

from __future__ import annotations

from typing import Final, NamedTuple

LEAST_USEFUL: Final = 0.05
"""Seconds. An attempt that has less than this is not worth its doubt."""


class Deadline(NamedTuple):
    """The moment by which a call has its answer.

    Args:
        at: seconds on a monotonic clock.
    """

    at: float

    def left(self, now: float) -> float:
        """Seconds that are left, never below 0.

        Args:
            now: seconds on the same clock.
        """
        return max(0.0, self.at - now)

    def attempt(self, now: float, most: float) -> float:
        """Seconds that an attempt may take.

        Args:
            now: seconds on the same clock.
            most: the attempt timeout.
        """
        return min(most, max(0.0, self.at - now))

    def allows(self, now: float, sleep: float) -> bool:
        """Whether a sleep can pay off: an attempt after it still has time for an answer.

        Args:
            now: seconds on the same clock.
            sleep: seconds.
        """
        return now + sleep + LEAST_USEFUL <= self.at
