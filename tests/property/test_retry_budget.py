"""Retries never feed an outage, and a quiet client always has its own."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from clarus_async.retry.budget import RetryBudget
from clarus_async.retry.deadline import LEAST_USEFUL, Deadline
from tests.support.strategies import quick, thorough

# A minute's load is simulated call by call.
few = settings(quick, max_examples=12)

CALLS = 1_000  # a minute
draws = st.floats(0, 1, exclude_max=True)
positive = st.floats(1e-3, 1e6)


def minute(budget, start, bursts, most, delays):
    """Make a minute's calls at so many moments, all of which fail; return how many retries went out, after delays."""
    due = []
    for n in range(CALLS):
        at = start + 60.0 * (n * bursts // CALLS) / bursts
        due.append((at, 0))
    granted = 0
    queue = sorted(due)
    for wanted in range(most + 1):
        later = []
        for n, (at, _) in enumerate(queue):
            if wanted == 0:
                budget.count_call(most)
                later.append((at + delays[n % len(delays)], wanted))
            elif budget.take(at):
                granted += 1
                later.append((at + delays[n % len(delays)], wanted))
        queue = sorted(later)
    return granted


def interleaved(budget, start, bursts, most):
    """As :func:`minute`, with the retries of a call right behind it."""
    granted = 0
    for n in range(CALLS):
        at = start + 60.0 * (n * bursts // CALLS) / bursts
        budget.count_call(most)
        for _ in range(most):
            if not budget.take(at):
                break
            granted += 1
    return granted


loads = {
    "minutes": st.integers(1, 30),
    "bursts": st.sampled_from([1, 2, 10, 60, CALLS]),
    "most": st.integers(1, 9) | st.sampled_from([20, 50, 89]),
}


@given(**loads)
@few
def test_at_total_failure_no_more_than_a_tenth_of_the_calls_is_sent_again(minutes, bursts, most):
    budget = RetryBudget(0.0)
    granted = 0
    for n in range(minutes):
        granted += interleaved(budget, n * 60.0, bursts, most)
        assert CALLS * (n + 1) + granted <= 1.1 * CALLS * (n + 1)


@given(
    minutes=st.integers(1, 5),
    bursts=loads["bursts"],
    most=st.integers(1, 5),
    delays=st.lists(st.floats(0, 0.5), min_size=1, max_size=5),
)
@few
def test_nor_where_the_retries_come_when_their_time_has_come(minutes, bursts, most, delays):
    budget = RetryBudget(0.0)
    granted = 0
    for n in range(minutes):
        granted += minute(budget, n * 60.0, bursts, most, delays)
        assert granted <= 0.1 * CALLS * (n + 1)


@given(minutes=st.integers(1, 200), most=st.integers(0, 10), offset=st.floats(0, 1e6))
@quick
def test_a_client_of_a_call_a_minute_always_has_all_its_retries(minutes, most, offset):
    budget = RetryBudget(offset)
    for n in range(minutes):
        budget.count_call(most)
        assert all(budget.take(offset + n * 60.0) for _ in range(most))


@given(pause=st.floats(0, 1e6), most=st.integers(1, 99))
@quick
def test_a_client_that_was_quiet_has_all_the_retries_of_a_call(pause, most):
    budget = RetryBudget(0.0)
    budget.count_call(most)
    while budget.take(0.0):
        pass
    # Ten retries come back in a minute, fewer where the reserve is so large that more would be over a tenth.
    later = pause + 60.001 * most / min(10, 100 - max(10, most))
    budget.count_call(most)

    assert all(budget.take(later) for _ in range(most))


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.integers(0, 99) | st.just(3), st.booleans()), min_size=1, max_size=60
    )
)  # fmt: skip
@thorough
def test_a_budget_is_never_overdrawn(events):
    budget = RetryBudget(0.0)
    now = 0.0
    for step, most, calls in events:
        now += step
        if calls:
            budget.count_call(most)
        else:
            before = budget._left
            assert budget.take(now) or before < 1.0
        assert 0 <= budget._left <= 99


# One deadline, from which attempts and sleeps are cut.


@given(
    length=st.floats(0.05, 1e4),
    start=st.floats(0, 1e6),
    most=st.floats(0.001, 100),
    steps=st.lists(st.tuples(draws, st.floats(0, 1e4)), max_size=30),
)
@thorough
def test_attempts_and_sleeps_never_exceed_the_deadline(length, start, most, steps):
    deadline = Deadline(start + length)
    now = start
    for used, sleep in steps:
        now += used * deadline.attempt(now, most)
        assert now <= deadline.at + 1e-6
        if not deadline.allows(now, sleep):
            break
        now += sleep
        # What a sleep is allowed for is an attempt with some time to it.
        assert deadline.attempt(now, 1e9) >= LEAST_USEFUL - 1e-6
