"""One deadline for a whole call."""

import pytest

from clarus_async.retry.deadline import LEAST_USEFUL, Deadline

DEADLINE = Deadline(100.0)


@pytest.mark.parametrize(("now", "left"), [(0.0, 100.0), (99.0, 1.0), (100.0, 0.0), (101.0, 0.0)])
def test_what_is_left_is_never_below_0(now, left):
    assert DEADLINE.left(now) == left


@pytest.mark.parametrize(("now", "seconds"), [(0.0, 30.0), (70.0, 30.0), (80.0, 20.0), (100.0, 0.0), (200.0, 0.0)])
def test_an_attempt_takes_no_longer_than_what_is_left(now, seconds):
    assert DEADLINE.attempt(now, 30.0) == seconds


def test_a_sleep_that_leaves_time_for_an_answer_is_allowed():
    assert DEADLINE.allows(90.0, 9.0)


def test_a_sleep_that_just_leaves_the_least_useful_time_is_allowed():
    assert Deadline(10.0 + LEAST_USEFUL).allows(5.0, 5.0)


@pytest.mark.parametrize(("now", "sleep"), [(90.0, 10.0), (90.0, 9.96), (90.0, 1e9), (100.0, 0.0), (200.0, 0.0)])
def test_a_sleep_that_can_not_pay_off_is_refused(now, sleep):
    assert not DEADLINE.allows(now, sleep)
