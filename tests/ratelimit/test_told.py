"""What the server tells of its quota."""

import pytest

from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.told import Quota


def hear(quota, limit, window, reset=None, *, guess=True, now=1.0):
    return quota.hear(Told(limit, window, None, reset), now, guess=guess)


def test_a_quota_is_a_rate_a_shade_below():
    assert hear(Quota(), 600, 60.0) == (pytest.approx(10.0 / 1.01), 60.0)


def test_a_quota_is_news_once():
    quota = Quota()

    assert [hear(quota, 600, 60.0) is None for _ in range(2)] == [False, True]
    assert hear(quota, 600, 30.0) is not None
    assert hear(quota, 300, 30.0) is not None


@pytest.mark.parametrize("told", [(None, None, None), (None, None, 60.0), (600, None, None)])
def test_what_is_no_quota_is_no_rate(told):
    assert hear(Quota(), *told) is None


@pytest.mark.parametrize(("reset", "window"), [(0.0, 1.0), (1.0, 1.0), (3.0, 1.0), (3.5, 3.5), (60.0, 60.0)])
def test_a_reset_may_be_guessed_to_be_the_window(reset, window):
    assert hear(Quota(), 600, None, reset) == (pytest.approx(600 / window / 1.01), window)
    assert hear(Quota(), 600, None, reset, guess=False) is None


def test_only_a_longer_reset_is_a_better_guess():
    quota = Quota()
    heard = [hear(quota, 600, None, reset) for reset in (30.0, 20.0, 30.0, 60.0)]

    assert heard == [(pytest.approx(20.0 / 1.01), 30.0), None, None, (pytest.approx(10.0 / 1.01), 60.0)]


def test_another_limit_is_a_guess_anew():
    quota = Quota()
    hear(quota, 600, None, 60.0)

    assert hear(quota, 300, None, 30.0) == (pytest.approx(10.0 / 1.01), 30.0)


@pytest.mark.parametrize(("reset", "until"), [(5.0, 6.0), (None, 2.0)])
def test_no_more_are_under_way_than_are_left_until_the_reset(reset, until):
    quota = Quota()
    quota.hear(Told(None, None, 7, reset), 1.0, guess=True)

    assert quota.wait(1.0, 6) == 0.0
    assert [quota.wait(now, 7) for now in (1.0, until - 0.1, until)] == pytest.approx([until - 1.0, 0.1, 0.0])


def test_where_none_are_left_one_at_a_time_finds_out():
    quota = Quota()
    quota.hear(Told(None, None, 0, 5.0), 1.0, guess=True)

    assert [quota.wait(2.0, under_way) for under_way in (0, 1, 2)] == [0.0, 4.0, 4.0]


def test_what_is_left_is_what_the_last_answer_told():
    quota = Quota()
    quota.hear(Told(None, None, 0, 5.0), 1.0, guess=True)
    quota.hear(Told(None, None, None, None), 2.0, guess=True)

    assert quota.wait(2.0, 9) == 0.0


def test_nothing_is_known_to_be_left_at_first():
    assert Quota().wait(0.0, 10_000) == 0.0


def test_a_rate_is_cut_to_the_quota_and_to_what_arrives_unevenly():
    quota = Quota()
    unknown = quota.allowed(100.0, 0.5)
    hear(quota, 50, 1.0)

    assert unknown == 100.0
    assert quota.allowed(100.0, 0.0) == pytest.approx(50 / 1.01)
    assert quota.allowed(100.0, 0.24) == pytest.approx(40.0)
    assert quota.allowed(10.0, 0.24) == 10.0


@pytest.mark.parametrize(
    ("limit", "remaining", "seconds"),
    [(50, 0, 1.5), (50, 1, 1.5), (50, 2, 0.0), (600, 12, 1.5), (600, 13, 0.0), (None, 0, 0.0), (50, None, 0.0)],
)
def test_a_quota_in_full_use_is_a_reason_to_grow_no_further(limit, remaining, seconds):
    assert Quota().calm(Told(limit, None, remaining, 1.0)) == seconds


def test_the_longer_the_window_the_longer():
    quota = Quota()
    hear(quota, 600, None, 60.0)

    assert quota.calm(Told(600, None, 0, 60.0)) == 90.0
