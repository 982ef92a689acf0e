"""An outage is probed with one record at a time, ever more slowly."""

from __future__ import annotations

import pytest

from clarus_async.config import RetryPolicy
from clarus_async.retry.circuit_breaker import FAILURES_TO_OPEN, CircuitBreaker

POLICY = RetryPolicy(base=1.0, cap=8.0)


def after(failures, random=lambda: 1.0):
    breaker = CircuitBreaker(POLICY, random)
    for _ in range(failures):
        breaker.record(success=False)
    return breaker


@pytest.mark.parametrize(
    ("failures", "is_open"),
    [(0, False), (FAILURES_TO_OPEN - 1, False), (FAILURES_TO_OPEN, True), (FAILURES_TO_OPEN + 5, True)],
)
def test_it_begins_after_a_streak(failures, is_open):
    assert after(failures).is_open is is_open


def test_one_that_went_well_ends_it():
    breaker = after(FAILURES_TO_OPEN + 3)
    breaker.record(success=True)
    assert not breaker.is_open


def test_a_streak_is_in_a_row():
    breaker = after(FAILURES_TO_OPEN - 1)
    breaker.record(success=True)
    breaker.record(success=False)
    assert not breaker.is_open


def test_no_wait_where_none_is_needed():
    assert after(FAILURES_TO_OPEN - 1).next_wait() == 0.0


def test_the_wait_grows_from_probe_to_probe_to_its_cap():
    breaker = after(FAILURES_TO_OPEN)
    assert [breaker.next_wait() for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_what_was_under_way_when_an_outage_began_makes_no_wait_longer():
    assert after(FAILURES_TO_OPEN + 54).next_wait() == 1.0


def test_the_next_outage_begins_with_the_shortest_wait():
    breaker = after(FAILURES_TO_OPEN)
    breaker.next_wait()
    breaker.record(success=True)
    for _ in range(FAILURES_TO_OPEN):
        breaker.record(success=False)
    assert breaker.next_wait() == 1.0


def test_the_wait_is_drawn():
    assert after(FAILURES_TO_OPEN, lambda: 0.25).next_wait() == 0.25
