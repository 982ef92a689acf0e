"""Backoff and the retry budget."""

import pytest

from clarus_async.config import RetryPolicy
from clarus_async.retry.backoff import backoff
from clarus_async.retry.budget import RetryBudget

POLICY = RetryPolicy(base=0.5, cap=5.0)


@pytest.mark.parametrize(("retry", "most"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0), (6, 5.0), (10_000, 5.0)])
def test_the_longest_backoff_doubles_up_to_the_cap(retry, most):
    assert backoff(POLICY, retry, lambda: 1.0) == most


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (1.0, 1.0)])
def test_the_jitter_is_full(drawn, seconds):
    assert backoff(POLICY, 2, lambda: drawn) == seconds


def test_a_base_over_the_cap_is_cut_to_it():
    assert backoff(RetryPolicy(base=60.0, cap=1.0), 1, lambda: 1.0) == 1.0


def spend(budget, now):
    """Take all there is."""
    taken = 0
    while budget.take(now):
        taken += 1
    return taken


def test_a_new_budget_holds_ten_retries():
    assert spend(RetryBudget(0.0), 0.0) == 10


def test_a_minute_refills_it():
    budget = RetryBudget(100.0)
    spend(budget, 100.0)

    assert spend(budget, 160.0) == 10


def test_it_is_full_again_a_minute_after_one_was_taken():
    budget = RetryBudget(0.0)
    new = budget.full(0.0)
    budget.take(0.0)

    assert (new, budget.full(59.9), budget.full(60.0)) == (True, False, True)


def test_it_never_holds_more_than_its_reserve():
    budget = RetryBudget(0.0)

    assert spend(budget, 1e9) == 10


def test_calls_refill_it():
    budget = RetryBudget(0.0)
    spend(budget, 0.0)
    for _ in range(100):
        budget.count_call()

    assert spend(budget, 0.0) == 8


def test_first_attempts_are_never_refused_and_cost_nothing():
    budget = RetryBudget(0.0)
    for _ in range(1_000):
        budget.count_call(3)

    assert spend(budget, 0.0) == 10


def test_the_reserve_holds_what_one_call_may_need():
    budget = RetryBudget(0.0)
    budget.count_call(20)

    assert spend(budget, 0.0) == 20


def test_a_call_that_needs_less_takes_nothing_away():
    budget = RetryBudget(0.0)
    budget.count_call(20)
    budget.count_call(1)

    assert spend(budget, 0.0) == 20


def test_the_largest_reserve_leaves_no_part_for_calls():
    budget = RetryBudget(0.0)
    budget.count_call(99)
    spend(budget, 0.0)
    for _ in range(1_000):
        budget.count_call(99)

    assert spend(budget, 0.0) == 0


def test_the_largest_policy_keeps_to_a_tenth_of_the_calls():
    budget = RetryBudget(0.0)
    retries = 0
    for n in range(1_000):
        budget.count_call(99)
        retries += spend(budget, n * 0.06)

    assert retries <= 100
