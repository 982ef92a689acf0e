"""A token's life, and how often a 401 may ask for another."""

import math

import pytest

from clarus_async.auth.token import DEFAULT_LIFE, HeldToken, TokenRefusals, life


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


def test_a_held_token_does_not_show():
    assert "canary" not in repr(HeldToken("canary", 0.0, 1.0))


@pytest.mark.parametrize(
    ("seconds", "fresh"),
    [(0.5, 0.25), (1.0, 0.5), (2.0, 1.0), (3.0, 2.0), (10.0, 9.0), (100.0, 90.0), (3600.0, 3540.0)],
)
def test_the_last_tenth_of_a_life_is_stale_at_least_a_second_and_at_most_a_minute(seconds, fresh):
    token = HeldToken("t", 1_000.0, seconds)
    assert (token.fresh_until, token.expires_at) == (1_000.0 + fresh, 1_000.0 + seconds)


def held(since=0.0, seconds=3600.0):
    return HeldToken("t", since, seconds)


class TestRefusals:
    """When the next token is asked for, after one that was refused."""

    def test_the_first_is_followed_at_once(self):
        refusals = TokenRefusals()
        refusals.refused(held(), 0.1, lambda: 1.0)
        assert refusals.wait(0.1) == 0.0

    def test_where_none_is_accepted_the_next_comes_ever_later(self):
        refusals = TokenRefusals()
        now, waits = 0.0, []
        for _ in range(13):
            refusals.refused(held(now), now, lambda: 1.0)
            waits.append(refusals.wait(now))
            now += waits[-1]
        assert waits == pytest.approx([0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0, 20.0])
        assert refusals.hopeless(now, now)
        assert not refusals.hopeless(now, now + 1.0)

    def test_one_that_was_used_for_a_while_is_followed_at_once(self):
        refusals = TokenRefusals()
        for login in range(20):
            refusals.accepted = True
            refusals.refused(held(5.0 * login), 5.0 * login + 4.9, lambda: 1.0)
            assert refusals.wait(5.0 * login + 4.9) == 0.0

    @pytest.mark.parametrize("seconds", [1.0, 2.0])
    def test_one_that_dies_in_its_last_second_is_followed_at_once(self, seconds):
        refusals = TokenRefusals()
        for number in range(20):
            refusals.accepted = True
            refusals.refused(held(number * seconds, seconds), number * seconds + seconds - 0.9, lambda: 1.0)
            assert refusals.wait(number * seconds + seconds - 0.9) == 0.0

    def test_two_that_end_each_others_tokens_take_turns_of_a_second_at_most(self):
        refusals = TokenRefusals()
        now, waits = 0.0, []
        for _ in range(10):
            refusals.accepted = True
            refusals.refused(held(now), now + 0.01, lambda: 1.0)
            waits.append(refusals.wait(now + 0.01))
            now += 0.01 + waits[-1]
        assert waits == pytest.approx([0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0])

    def test_it_is_hopeless_when_several_were_refused_for_long_and_none_was_accepted(self):
        refusals = TokenRefusals()
        for now in (0.0, 10.0, 20.0, 30.0):
            refusals.refused(held(now), now, lambda: 1.0)
        assert not refusals.hopeless(500.0, 20.0)  # a slow token endpoint
        refusals.refused(held(40.0), 40.0, lambda: 1.0)
        assert refusals.hopeless(40.0, 20.0)
        refusals.accepted = True
        assert not refusals.hopeless(41.0, 20.0)
        refusals.refused(held(42.0), 42.0, lambda: 1.0)
        assert not refusals.hopeless(90.0, 20.0)

    def test_what_was_refused_long_ago_counts_no_more(self):
        refusals = TokenRefusals()
        for now in (0.0, 1.0, 2.0, 3.0, 500.0):
            refusals.refused(held(now), now, lambda: 1.0)
        assert not refusals.hopeless(500.0, 20.0)

    @pytest.mark.parametrize("clock", [0.0, 1e6])
    def test_the_clock_may_begin_anywhere(self, clock):
        refusals = TokenRefusals()
        assert refusals.wait(clock) == 0.0
        assert not refusals.hopeless(clock, 0.0)
        for number in range(5):
            refusals.refused(held(clock + number), clock + number, lambda: 0.0)
            assert refusals.wait(clock + number) == 0.0
        assert refusals.hopeless(clock + 4.0, 4.0)
        assert not refusals.hopeless(clock + 4.0, 5.0)
