"""The retry policy in tenacity's terms: what is retried, after how long, and why it stops."""

from __future__ import annotations

import asyncio

import pytest
from tenacity import RetryCallState

from clarus_async.config import RetryPolicy
from clarus_async.retry.budget import RetryBudget
from clarus_async.retry.deadline import Deadline
from clarus_async.retry.effect import NextAction
from clarus_async.retry.policy import retry_if_action, retrying, stop_after_counted_attempts

RETRY, PACE, REFRESH, RAISE = (
    NextAction.RETRY,
    NextAction.RETRY_WHEN_PERMITTED,
    NextAction.REFRESH_TOKEN,
    NextAction.RAISE,
)


class Call:
    """A call whose attempts count as the real one's do."""

    def __init__(self, *actions, deadline=100.0, retry_after=0.0):
        self.actions = list(actions)
        self.counted_attempts = 0
        self.deadline = Deadline(deadline)
        self.retry_after = retry_after
        self.stop_reason = None
        self.budget_exhausted = False

    def attempt(self):
        action = self.actions.pop(0)
        self.counted_attempts += action in {RETRY, RAISE}
        return action


async def attempts_of(call, max_attempts=4, budget=None, tokens_refused=lambda: None):
    """Make a call's attempts, and return their actions and the waits between them."""
    made, waits = [], []

    async def sleep(seconds):
        waits.append(seconds)

    async for attempt in retrying(
        call,
        RetryPolicy(max_attempts=max_attempts, base=1.0, cap=8.0),
        budget=budget or RetryBudget(0.0),
        tokens_refused=tokens_refused,
        clock=lambda: 0.0,
        random=lambda: 1.0,
        sleep=sleep,
    ):
        made.append(call.attempt())
        attempt.retry_state.set_result(made[-1])
    return made, waits


def spend(budget):
    """Take all the retries there are."""
    return sum(budget.take(0.0) for _ in range(100))


@pytest.mark.parametrize("last", [NextAction.DONE, RAISE, NextAction.IN_DOUBT])
async def test_what_is_no_retry_ends_it(last):
    call = Call(RETRY, last, RETRY)
    assert await attempts_of(call) == ([RETRY, last], [1.0])
    assert call.stop_reason is None


async def test_the_backoff_grows_with_each_attempt_that_counts_and_comes_after_retry_after():
    call = Call(RETRY, PACE, RETRY, RETRY, RAISE, retry_after=5.0)
    assert await attempts_of(call) == ([RETRY, PACE, RETRY, RETRY, RAISE], [6.0, 0.0, 7.0, 9.0])


async def test_it_stops_when_the_attempts_are_used_up():
    call = Call(*[RETRY] * 9)
    assert len((await attempts_of(call))[0]) == 4
    assert call.stop_reason == "out of attempts"


@pytest.mark.parametrize("action", [RETRY, PACE])
async def test_a_single_attempt_turns_off_retries_and_waiting_for_the_pace(action):
    call = Call(action, action)
    assert await attempts_of(call, max_attempts=1) == ([action], [])
    assert call.stop_reason == "retries are off"


async def test_neither_the_pace_nor_a_new_token_costs_an_attempt_or_a_retry_of_the_budget():
    budget = RetryBudget(0.0)
    call = Call(*[PACE, REFRESH] * 20, NextAction.DONE)
    assert len((await attempts_of(call, budget=budget))[0]) == 41
    assert spend(budget) == 10


async def test_it_stops_when_no_other_token_would_be_accepted():
    call = Call(REFRESH, REFRESH, REFRESH)
    reasons = [None, "refused"]
    assert (await attempts_of(call, tokens_refused=lambda: reasons.pop(0)))[0] == [REFRESH, REFRESH]
    assert call.stop_reason == "refused"


async def test_it_stops_before_an_attempt_that_would_be_past_the_deadline():
    call = Call(RETRY, RETRY, deadline=1.0)
    assert await attempts_of(call) == ([RETRY], [])
    assert call.stop_reason == "another attempt in 1 s would be past the deadline"


async def test_it_stops_when_the_budget_is_empty_and_says_so():
    budget = RetryBudget(0.0)
    for _ in range(9):
        budget.take(0.0)
    call = Call(RETRY, RETRY, RETRY)
    assert (await attempts_of(call, budget=budget))[0] == [RETRY, RETRY]
    assert (call.stop_reason, call.budget_exhausted) == ("the tenant's retry budget is empty", True)


async def test_what_stops_for_another_reason_takes_nothing_from_the_budget():
    budget = RetryBudget(0.0)
    await attempts_of(Call(RETRY, deadline=1.0), budget=budget)
    await attempts_of(Call(RETRY), max_attempts=1, budget=budget)
    assert spend(budget) == 10


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ValueError()])
def test_what_was_raised_is_never_retried(error):
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})
    state.set_exception((type(error), error, None))
    assert not retry_if_action()(state)
    assert not stop_after_counted_attempts(Call(), RetryPolicy(max_attempts=1))(state)
