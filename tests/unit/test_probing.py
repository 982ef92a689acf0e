"""An outage is probed with one record at a time, ever more slowly."""

from __future__ import annotations

import pytest

from clarus_async.config import RetryPolicy
from clarus_async.retry.circuit_breaker import STREAK, CircuitBreaker

POLICY = RetryPolicy(base=1.0, cap=8.0)


def after(failures, random=lambda: 1.0):
    probing = CircuitBreaker(POLICY, random)
    for _ in range(failures):
        probing.ended(well=False)
    return probing


@pytest.mark.parametrize(("failures", "needed"), [(0, False), (STREAK - 1, False), (STREAK, True), (STREAK + 5, True)])
def test_it_begins_after_a_streak(failures, needed):
    assert after(failures).needed is needed


def test_one_that_went_well_ends_it():
    probing = after(STREAK + 3)
    probing.ended(well=True)
    assert not probing.needed


def test_a_streak_is_in_a_row():
    probing = after(STREAK - 1)
    probing.ended(well=True)
    probing.ended(well=False)
    assert not probing.needed


def test_no_wait_where_none_is_needed():
    assert after(STREAK - 1).next_wait() == 0.0


def test_the_wait_grows_from_probe_to_probe_to_its_cap():
    probing = after(STREAK)
    assert [probing.next_wait() for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_what_was_under_way_when_an_outage_began_makes_no_wait_longer():
    assert after(STREAK + 54).next_wait() == 1.0


def test_the_next_outage_begins_with_the_shortest_wait():
    probing = after(STREAK)
    probing.next_wait()
    probing.ended(well=True)
    for _ in range(STREAK):
        probing.ended(well=False)
    assert probing.next_wait() == 1.0


def test_the_wait_is_drawn():
    assert after(STREAK, lambda: 0.25).next_wait() == 0.25
