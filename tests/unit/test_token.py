"""A token's life, and how often a 401 may ask for another."""

import math

import pytest

from clarus_async.policy.token import DEFAULT_LIFE, REFRESHES_A_MINUTE, HeldToken, Phase, RefreshLimit, life


@pytest.mark.parametrize("expires_in", [None, 0.0, -1.0, -math.inf, math.nan])
def test_a_life_that_nobody_said_or_that_is_absurd_is_300_seconds(expires_in):
    assert life(expires_in) == DEFAULT_LIFE == 300.0


@pytest.mark.parametrize("expires_in", [60.0, 3600.0, 86_400.0])
def test_a_life_that_was_said_is_kept(expires_in):
    assert life(expires_in) == expires_in


@pytest.mark.parametrize("expires_in", [86_401.0, 1e300, math.inf])
def test_a_life_is_at_most_a_day(expires_in):
    assert life(expires_in) == 86_400.0


@pytest.mark.parametrize("expires_in", [5e-324, 0.001, 0.1])
def test_a_life_shorter_than_a_request_is_absurd(expires_in):
    assert life(expires_in) >= 1.0


@pytest.mark.parametrize(
    ("seconds", "now", "phase"),
    [
        (100.0, 0.0, Phase.FRESH),
        (100.0, 89.0, Phase.FRESH),
        (100.0, 90.0, Phase.STALE),
        (100.0, 99.0, Phase.STALE),
        (100.0, 100.0, Phase.EXPIRED),
        (100.0, 1e9, Phase.EXPIRED),
        (3600.0, 3539.0, Phase.FRESH),
        (3600.0, 3540.0, Phase.STALE),
        (3600.0, 3600.0, Phase.EXPIRED),
    ],
)
def test_a_token_is_stale_in_the_last_tenth_of_its_life_and_at_most_a_minute(seconds, now, phase):
    assert HeldToken("t", 0.0, seconds).phase(now) is phase


def test_a_life_is_counted_from_when_the_token_was_asked_for():
    assert HeldToken("t", 1_000.0, 100.0).phase(1_089.0) is Phase.FRESH
    assert HeldToken("t", 1_000.0, 100.0).phase(1_100.0) is Phase.EXPIRED


def test_a_held_token_does_not_show():
    assert "canary" not in repr(HeldToken("canary", 0.0, 1.0))


def test_three_refreshes_a_minute():
    assert REFRESHES_A_MINUTE == 3


def test_the_first_three_refreshes_wait_for_nothing():
    limit = RefreshLimit()
    waits = []
    for now in (0.0, 0.0, 1.0):
        waits.append(limit.wait(now))
        limit.take(now)

    assert waits == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("now", "wait"), [(2.0, 58.0), (59.0, 1.0), (60.0, 0.0), (1e9, 0.0)])
def test_the_fourth_waits_until_the_first_is_a_minute_old(now, wait):
    limit = RefreshLimit()
    for taken in (0.0, 1.0, 2.0):
        limit.take(taken)

    assert limit.wait(now) == wait


def test_each_refresh_makes_way_for_one():
    limit = RefreshLimit()
    for taken in (0.0, 1.0, 2.0, 60.0):
        limit.take(taken)

    assert limit.wait(60.0) == 1.0
