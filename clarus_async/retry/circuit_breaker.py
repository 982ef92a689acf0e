"""When to stop sending records side by side: a server in trouble is probed with one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clarus_async.config import RetryPolicy
from clarus_async.retry.backoff import backoff

STREAK: Final = 10
"""Failures in a row, and nothing in between that went well, that are taken for an outage."""


class CircuitBreaker:
    """Counts the sends in a row of which nothing good is known.

    Args:
        policy: base and cap of the wait between two probes.
        random: draws from 0 to 1.
    """

    __slots__ = ("_policy", "_probes", "_random", "_streak")

    def __init__(self, policy: RetryPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._streak = 0
        self._probes = 0

    @property
    def needed(self) -> bool:
        """Whether one record at a time is to be sent."""
        return self._streak >= STREAK

    def next_wait(self) -> float:
        """Draw the seconds to wait before the next probe, longer from each to the next; 0 where none is needed."""
        if not self.needed:
            return 0.0
        # Failures are not what is counted: all that was under way when an outage began fails at once.
        self._probes += 1
        return backoff(self._policy, self._probes, self._random)

    def ended(self, *, well: bool) -> None:
        """Note how a send ended.

        Args:
            well: the server answered it, whatever it said.
        """
        if well:
            self._streak = self._probes = 0
        else:
            self._streak += 1
