"""What the server advertises of its quota."""

from collections import deque

import pytest

from clarus_async.ratelimit.advertised import AdvertisedQuota
from clarus_async.ratelimit.headers import RateLimitHeaders


def read(quota, limit=None, window=None, reset=None, *, left=None, now=1.0):
    return quota.read(RateLimitHeaders(limit, window, left, reset), now)


def rate(limit, window):
    """A shade below, as arrivals are less even than sends."""
    return pytest.approx(limit / window, rel=0.02)


def test_a_quota_is_a_rate_a_shade_below():
    stated = read(AdvertisedQuota(), 600, 60.0)

    assert stated == rate(600, 60.0)
    assert stated < 10.0


@pytest.mark.parametrize(("limit", "window"), [(600, 30.0), (300, 60.0)])
def test_another_quota_is_another_rate(limit, window):
    quota = AdvertisedQuota()
    read(quota, 600, 60.0)

    assert read(quota, limit, window) == rate(limit, window)


@pytest.mark.parametrize("stated", [(None, None, None), (None, None, 60.0), (600, None, None)])
def test_what_is_no_quota_is_no_rate(stated):
    assert read(AdvertisedQuota(), *stated) is None


@pytest.mark.parametrize(("reset", "window"), [(0.0, 1.0), (1.0, 1.0), (3.0, 1.0), (3.5, 3.5), (60.0, 60.0)])
def test_a_reset_may_be_guessed_to_be_the_window(reset, window):
    quota = AdvertisedQuota()

    assert read(quota, 600, None, reset) == rate(600, window)
    assert quota.window == window


def test_the_distance_between_two_moments_of_reset_is_a_better_guess():
    quota = AdvertisedQuota()
    assert read(quota, 600, None, 50.0, left=10, now=10.0) == rate(600, 50.0)
    # While the window lasts, nothing is new.
    assert read(quota, 600, None, 20.0, left=5, now=40.0) == rate(600, 50.0)
    # It ended at 60, so the next ends at 90.
    assert read(quota, 600, None, 30.0, left=599, now=60.0) == rate(600, 30.0)


def test_a_second_that_ends_is_a_second():
    quota = AdvertisedQuota()
    read(quota, 50, None, 10.0, left=3, now=0.0)

    assert read(quota, 50, None, 2.0, left=49, now=10.0) == rate(50, 1.0)


def test_a_window_that_was_as_long_several_times_becomes_no_longer_only_shorter():
    quota = AdvertisedQuota()
    read(quota, 50, None, 10.0, left=3, now=0.0)
    for ended in (10.0, 20.0, 30.0):
        assert read(quota, 50, None, 10.0, left=49, now=ended) == rate(50, 10.0)
        read(quota, 50, None, 5.0, left=3, now=ended + 5.0)

    # A pause, and a reset that is stated too late.
    assert read(quota, 50, None, 14.0, left=49, now=44.0) == rate(50, 10.0)
    read(quota, 50, None, 5.0, left=3, now=53.0)
    assert read(quota, 50, None, 5.0, left=49, now=58.0) == rate(50, 5.0)


def answers(quota, resets, *, since=1.0, apart=0.036, left=50):
    """Read so many evenly sent requests, none of which shows that a window ended; return the last rate."""
    return [read(quota, 100, None, reset, left=left, now=since + apart * n) for n, reset in enumerate(resets)][-1]


@pytest.mark.parametrize("left", [50, None])
def test_a_window_that_a_late_date_made_long_is_as_long_as_what_is_stated_from_then_on(left):
    quota = AdvertisedQuota()

    assert answers(quota, [3.6] * 20, left=left) == rate(100, 3.6)
    assert answers(quota, [1.4] * 240, since=1.72, left=left) == rate(100, 1.0)


def test_it_is_kept_where_it_was_hardly_made_use_of():
    quota = AdvertisedQuota()
    answers(quota, [60.0] * 3)

    assert answers(quota, [20.0] * 10, since=30.0, apart=15.0) == rate(100, 60.0)


def test_it_is_kept_where_it_counts_down():
    quota = AdvertisedQuota()

    assert answers(quota, [10.0 - n % 100 / 10.0 for n in range(250)], apart=0.1) == rate(100, 10.0)


def test_a_window_that_slides_is_as_long_as_what_is_used_takes():
    """It tells when the next request is let in again, which is soon, and not when all are."""
    quota, now, sent = AdvertisedQuota(), 100.0, deque()
    rate = read(quota, 128, None, 4.8, left=127, now=now)
    while now < 130.0:
        now += 1.0 / rate
        while sent and sent[0] <= now - 3.0:
            sent.popleft()
        sent.append(now)
        assert len(sent) <= 128
        rate = read(quota, 128, None, max(0.0, sent[0] + 3.0 - now), left=128 - len(sent), now=now)

    assert quota.window == pytest.approx(3.0, rel=0.04)


def test_a_burst_that_leaves_a_window_that_slides_does_not_turn_it():
    quota = AdvertisedQuota()
    read(quota, 146, None, 5.0, left=140, now=0.0)
    for n in range(20):
        read(quota, 146, None, 1.0, left=20 - n, now=5.0 + 0.01 * n)
    read(quota, 146, None, 1.0, left=15, now=5.5)

    assert quota.window == 5.0


def test_requests_are_so_far_apart_that_no_more_arrive_in_a_window_than_are_sent():
    quota = AdvertisedQuota()
    unknown = quota.gap(0.01)
    read(quota, 50, 1.0, 1.0)

    assert unknown == 0.0
    assert 50 * (1.0 / 50 + quota.gap(0.01)) == pytest.approx(1.0 + 0.01)


def test_a_window_that_is_stated_is_not_guessed_again():
    quota = AdvertisedQuota()
    read(quota, 50, 10.0, 10.0, left=3, now=0.0)

    assert read(quota, 50, None, 5.0, left=49, now=10.0) == rate(50, 10.0)


def test_another_limit_is_a_guess_anew():
    quota = AdvertisedQuota()
    read(quota, 600, None, 60.0)

    assert read(quota, 300, None, 30.0) == rate(300, 30.0)


def test_no_more_are_in_flight_than_are_left_until_the_reset():
    quota = AdvertisedQuota()
    read(quota, 50, 10.0, 5.0, left=7)

    assert quota.wait(1.0, 6) == 0.0
    assert [quota.wait(now, 7) for now in (1.0, 5.9, 6.0)] == pytest.approx([5.0, 0.1, 0.0])


def test_what_is_left_is_what_the_last_answer_stated():
    quota = AdvertisedQuota()
    read(quota, 50, 10.0, 5.0, left=1)
    read(quota)

    assert quota.wait(2.0, 9) == 0.0


def test_a_window_of_a_second_ends_sooner_than_it_states():
    quota = AdvertisedQuota()
    read(quota, 50, 1.0, 1.0, left=0)

    assert quota.wait(1.0, 9) == 0.0


def test_nothing_is_known_to_be_left_at_first():
    assert AdvertisedQuota().wait(0.0, 10_000) == 0.0


def test_what_was_advertised_is_forgotten():
    quota = AdvertisedQuota()
    read(quota, 50, 10.0, 5.0, left=0)
    quota.forget()

    assert quota.window == 0.0
    assert quota.wait(1.0, 9) == 0.0


@pytest.mark.parametrize("limit", [1, 10**9])
@pytest.mark.parametrize("window", [None, 1.0, 3600.0])
@pytest.mark.parametrize("left", [0, 10**9])
@pytest.mark.parametrize("reset", [0.0, 3600.0])
def test_whatever_is_stated_a_rate_is_above_zero_and_a_wait_has_an_end(limit, window, left, reset):
    quota = AdvertisedQuota()
    for now in (0.0, 0.0, 1e9):
        assert 0.0 < read(quota, limit, window, reset, left=left, now=now) < 1.1e9
        assert 0.0 <= quota.wait(now, 64) <= 3600.0
