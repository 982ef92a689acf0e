"""Ends attempts whose time is over: one timer for all, as one for each is a tenth of what a request costs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self


class Attempt(Protocol):
    """A request that is on the wire."""

    expires: float
    """When its time is over, in seconds on the event loop's clock."""

    def expire(self) -> None:
        """End it."""


class AttemptTimer:
    """Ends each attempt when its time is over."""

    # It knows the attempts and nothing else: a client that nobody closed must still be garbage-collected, which warns
    # about it.

    def __init__(self) -> None:
        self.attempts: set[Attempt] = set()
        """Those that have not ended."""
        self.discard: Callable[[Attempt], None] = self.attempts.discard
        """Forgets an attempt, which has ended. The timer goes on: to cancel it costs more than to wake for nothing."""
        self._timer: asyncio.TimerHandle | None = None
        self._next_expiry = math.inf

    def add(self, attempt: Attempt) -> None:
        """Watch an attempt."""
        self.attempts.add(attempt)
        if attempt.expires < self._next_expiry:
            self._wake_at(attempt.expires)

    def _wake_at(self, expires: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next_expiry = expires
        self._timer = asyncio.get_running_loop().call_at(expires, self._expire)

    def _expire(self) -> None:
        """End the attempts whose time is over, and wake again for the next."""
        due, self._next_expiry = self._next_expiry, math.inf
        over = [attempt for attempt in self.attempts if attempt.expires <= due]
        self.attempts.difference_update(over)
        if self.attempts:
            self._wake_at(min(attempt.expires for attempt in self.attempts))
        for attempt in over:
            attempt.expire()

    def close(self) -> None:
        """Stop the timer, unless there are attempts left to end."""
        if self._timer is not None and not self.attempts:
            self._timer.cancel()
            self._next_expiry = math.inf


class TaskTimeout:
    """Cancels the current task when an attempt's time is over, and raises what ``asyncio.timeout_at`` raises.

    Args:
        timer: the client's.
        expires: when the time is over, in seconds on the event loop's clock.
    """

    __slots__ = ("_cancelling", "_expired", "_task", "_timer", "expires")

    def __init__(self, timer: AttemptTimer, expires: float) -> None:
        self._timer = timer
        self.expires: float = expires

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  calls are coroutines
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False
        self._timer.add(self)
        return self

    def expire(self) -> None:
        """Cancel the task."""
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.discard(self)
        # A task that somebody else has cancelled, too, is cancelled.
        if self._expired and self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error
