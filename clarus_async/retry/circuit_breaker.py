"""The circuit breaker of a run: while a server fails, one record at a time probes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clarus_async.config import RetryPolicy
from clarus_async.retry.backoff import backoff

FAILURES_TO_OPEN: Final = 10
"""Failures in a row that are taken for an outage: more than a handful of bad records in a row is likely to be."""


class CircuitBreaker:
    """Opens after several sends in a row that got no clear answer, and closes at the first that does.

    The policy's base and cap are those of the wait between two probes; ``random`` draws from 0 to 1.
    """

    __slots__ = ("_failures", "_policy", "_probes", "_random")

    def __init__(self, policy: RetryPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._failures = 0
        self._probes = 0

    @property
    def is_open(self) -> bool:
        """Whether only one record at a time may be sent."""
        return self._failures >= FAILURES_TO_OPEN

    def next_wait(self) -> float:
        """Draw the seconds to wait before the next probe, longer each time; 0 while the breaker is closed."""
        if not self.is_open:
            return 0.0
        # Probes are counted, not failures: all that was under way when an outage began fails at once.
        self._probes += 1
        return backoff(self._policy, self._probes, self._random)

    def record(self, *, success: bool) -> None:
        """Note how a send ended: with a clear answer of the server, whatever it said, or without one."""
        if success:
            self._failures = self._probes = 0
        else:
            self._failures += 1
