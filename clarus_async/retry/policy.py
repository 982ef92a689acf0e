"""The retry policy, in tenacity's terms: which results are retried, after how long, and when to stop.

``retrying`` puts it together. What it decides about, a call, is a ``RetriedCall``; the result that tenacity is
given for each attempt is the ``clarus_async.retry.effect.NextAction`` that
``clarus_async.retry.effect.classify`` derived from it. A ``stop`` notes in the call why it stops.

The module imports tenacity, so it is imported when a first attempt has failed: a call that needs no retry pays nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import attrs
from tenacity import AsyncRetrying, RetryCallState
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from clarus_async.config import RetryPolicy
from clarus_async.retry.backoff import backoff
from clarus_async.retry.budget import RetryBudget
from clarus_async.retry.deadline import Deadline
from clarus_async.retry.effect import NextAction

Clock = Callable[[], float]
"""Returns seconds on the clock of the call's deadline."""

_RETRIED: Final = frozenset({NextAction.RETRY, NextAction.RETRY_WHEN_PERMITTED, NextAction.REFRESH_TOKEN})


class RetriedCall(Protocol):
    """A call, as far as the policy reads it; it notes in it why it stops."""

    counted_attempts: int
    deadline: Deadline
    stop_reason: str | None
    budget_exhausted: bool

    @property
    def retry_after(self) -> float:
        """Seconds that the last response asks to wait; 0 where it asks nothing."""
        ...


def retrying(
    call: RetriedCall,
    policy: RetryPolicy,
    *,
    budget: RetryBudget,
    tokens_refused: Callable[[], str | None],
    clock: Clock,
    random: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> AsyncRetrying:
    """Return the iterator over the attempts of a call.

    ``tokens_refused`` says, after a 401, why no other token would be accepted; ``None`` where one may be.
    """
    return AsyncRetrying(
        retry=retry_if_action(),
        wait=wait_backoff_and_retry_after(call, policy, random),
        # In this order: a retry is taken from the budget only where nothing else stops the call.
        stop=(
            stop_after_counted_attempts(call, policy)
            | stop_when_tokens_are_refused(call, tokens_refused)
            | stop_before_deadline(call, clock)
            | stop_when_budget_is_empty(call, budget, clock)
        ),
        sleep=sleep,
        # The result of the last attempt stands; without this, tenacity would raise an error of its own.
        retry_error_callback=lambda _: None,
    )


def _action(state: RetryCallState) -> NextAction | None:
    """Return what follows the last attempt; ``None`` where it raised, which ends the call."""
    outcome = state.outcome
    return None if outcome is None or outcome.failed else outcome.result()


class retry_if_action(retry_base):
    """Retry if the next action is a retry of any kind; never after an exception, which a cancellation is, too."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        return _action(retry_state) in _RETRIED


@attrs.frozen
class wait_backoff_and_retry_after(wait_base):
    """Wait a backoff with full jitter, after the server's Retry-After.

    Who waits for the rate limiter or for a token waits there.
    """

    _call: RetriedCall
    _policy: RetryPolicy
    _random: Callable[[], float]

    def __call__(self, retry_state: RetryCallState) -> float:
        if _action(retry_state) is not NextAction.RETRY:
            return 0.0
        # An attempt that cost none, a 503 of a rate limiter, may come before the first that does.
        retry = max(self._call.counted_attempts, 1)
        return backoff(self._policy, retry, self._random) + self._call.retry_after


@attrs.frozen
class stop_after_counted_attempts(stop_base):
    """Stop after the policy's number of attempts that count; where that is 1, do not wait for the pace either."""

    _call: RetriedCall
    _policy: RetryPolicy

    def __call__(self, retry_state: RetryCallState) -> bool:
        action = _action(retry_state)
        if self._policy.max_attempts == 1 and action in {NextAction.RETRY, NextAction.RETRY_WHEN_PERMITTED}:
            self._call.stop_reason = "retries are off"
            return True
        if action is NextAction.RETRY and self._call.counted_attempts >= self._policy.max_attempts:
            self._call.stop_reason = "out of attempts"
            return True
        return False


@attrs.frozen
class stop_when_tokens_are_refused(stop_base):
    """Stop after a 401 where no other token would be accepted either."""

    _call: RetriedCall
    _tokens_refused: Callable[[], str | None]

    def __call__(self, retry_state: RetryCallState) -> bool:
        if _action(retry_state) is not NextAction.REFRESH_TOKEN or (reason := self._tokens_refused()) is None:
            return False
        self._call.stop_reason = reason
        return True


@attrs.frozen
class stop_before_deadline(stop_base):
    """Stop where the next attempt would be made too late to get a response before the deadline."""

    _call: RetriedCall
    _clock: Clock

    def __call__(self, retry_state: RetryCallState) -> bool:
        wait = retry_state.upcoming_sleep
        if _action(retry_state) is not NextAction.RETRY or self._call.deadline.allows(self._clock(), wait):
            return False
        self._call.stop_reason = f"another attempt in {wait:.3g} s would be past the deadline"
        return True


@attrs.frozen
class stop_when_budget_is_empty(stop_base):
    """Stop where the tenant's retry budget has no retry left; else take one."""

    _call: RetriedCall
    _budget: RetryBudget
    _clock: Clock

    def __call__(self, retry_state: RetryCallState) -> bool:
        if _action(retry_state) is not NextAction.RETRY or self._budget.take(self._clock()):
            return False
        self._call.stop_reason = "the tenant's retry budget is empty"
        self._call.budget_exhausted = True
        return True
