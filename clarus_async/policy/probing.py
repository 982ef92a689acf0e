"""When to stop sending records side by side: a server in trouble is probed with one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clarus_async.config import RetryPolicy
from clarus_async.policy.retry import backoff

STREAK: Final = 10
"""Failures in a row, and nothing in between that went well, that are taken for an outage."""


class Probing:
    """Counts the sends in a row of which nothing good is known.

    Args:
        policy: base and cap of the wait between two probes.
        random: draws from 0 to 1.
    """

    __slots__ = ("_policy", "_random", "_streak")

    def __init__(self, policy: RetryPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._streak = 0

    @property
    def needed(self) -> bool:
        """Whether one record at a time is to be sent."""
        return self._streak >= STREAK

    def wait(self) -> float:
        """Return the seconds to wait before the next probe; 0 where none is needed."""
        return backoff(self._policy, self._streak - STREAK + 1, self._random) if self.needed else 0.0

    def ended(self, *, well: bool) -> None:
        """Note how a send ended.

        Args:
            well: the server answered it, whatever it said.
        """
        self._streak = 0 if well else self._streak + 1
