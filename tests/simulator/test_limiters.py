"""Limiters against sequences computed by hand from their sources; time is an argument."""

import random

import pytest

from clarus_async.simulator.limiters import (
    AllOf,
    Connections,
    FirstRequestWindow,
    FixedWindow,
    Gcra,
    HAProxyRate,
    NginxLimitReq,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
    Verdict,
)
from tests.support.limiters import Bursty

# A clock may begin anywhere; all of these are multiples of a minute.
origins = pytest.mark.parametrize("origin", [0.0, 60.0, 1e9 - 40.0, 1.7e9 - 20.0])


def admitted(limiter, *times):
    return [limiter.take(at).admitted for at in times]


@origins
def test_nginx_counts_what_flowed_out_in_whole_milliseconds(origin):
    limiter = NginxLimitReq(10, burst=2)

    # The first leaves no excess, so burst + 1 go at once.
    assert admitted(limiter, *[origin + 0.0002] * 4) == [True, True, True, False]
    # 2000 - 10000 * 50 / 1000 + 1000 = 2500 > 2000, and 2000 at 100 ms.
    assert admitted(limiter, origin + 0.0502, origin + 0.1002, origin + 0.1992, origin + 0.2002) == [
        False, True, False, True,
    ]  # fmt: skip


def test_nginx_cuts_a_rate_a_minute_to_thousandths_and_what_flowed_out_to_whole_ones():
    # 100r/m is 1666: 1666 * 600 / 1000 = 999, 1666 * 601 / 1000 = 1001.
    assert admitted(NginxLimitReq(100 / 60, burst=0), 0.0002, 0.6002) == [True, False]
    assert admitted(NginxLimitReq(100 / 60, burst=0), 0.0002, 0.6012) == [True, True]


@pytest.mark.parametrize(
    ("delay", "delays"),
    [
        (None, [0.0, 0.0, 0.0, 0.0, 0.0]),
        (0, [0.0, 0.1, 0.2, 0.3, 0.4]),
        (2, [0.0, 0.0, 0.0, 0.1, 0.2]),
    ],
    ids=["nodelay", "delay", "delay=2"],
)
def test_nginx_holds_what_is_over_its_delay(delay, delays):
    limiter = NginxLimitReq(10, burst=4, delay=delay)
    verdicts = [limiter.take(5.0) for _ in range(6)]

    assert [verdict.admitted for verdict in verdicts] == [True] * 5 + [False]
    assert [verdict.delay for verdict in verdicts[:5]] == delays


def test_nginx_without_a_burst_admits_one_by_one():
    limiter = NginxLimitReq(100, burst=0)

    assert admitted(limiter, 0.0002, 0.0092, 0.0102, 0.0202, 0.0292) == [True, False, True, True, False]


def test_connections_are_counted_until_they_are_answered():
    limiter = Connections(2)

    assert admitted(limiter, 0.0, 0.0, 1.0) == [True, True, False]
    limiter.leave(2.0)
    assert admitted(limiter, 2.0, 2.0) == [True, False]


@origins
def test_haproxy_counts_refused_requests_and_the_part_of_the_last_period_that_still_counts(origin):
    limiter = HAProxyRate(10, window=10.0)

    assert admitted(limiter, *[origin] * 12) == [True] * 10 + [False] * 2
    # 12 * 10000 / 10000 + 1 = 13.
    assert not limiter.take(origin + 10.0).admitted
    # 12 * 5000 / 10000 + 2 = 8, so three more are admitted at once: 9 and 10; the third counts as 11.
    assert limiter.take(origin + 15.0) == Verdict(True, 2, 5.0, 0.0)
    assert admitted(limiter, *[origin + 15.0] * 3) == [True, True, False]
    # Two periods without any request: a new one begins with the next.
    assert limiter.take(origin + 45.0) == Verdict(True, 9, 10.0, 0.0)


def test_haproxy_never_admits_a_client_that_keeps_on_at_more_than_its_rate():
    limiter = HAProxyRate(10, window=1.0)

    verdicts = admitted(limiter, *(at / 20 for at in range(200)))

    assert verdicts[:10] == [True] * 10
    assert not any(verdicts[20:])


@origins
def test_a_first_request_opens_a_window_and_the_next_one_after_it_another(origin):
    limiter = FirstRequestWindow(2, window=10.0)

    assert admitted(limiter, *(origin + at for at in (7.0, 16.9, 16.9, 17.0, 26.9, 26.9, 40.0))) == [
        True, True, False, True, True, False, True,
    ]  # fmt: skip
    assert limiter.take(origin + 42.0) == Verdict(True, 0, 8.0, 8.0)


def test_who_exceeds_a_window_that_blocks_is_refused_for_so_long_whatever_is_sent():
    limiter = FirstRequestWindow(2, window=1.0, block=5.0)

    assert admitted(limiter, 0.0, 0.5) == [True, True]
    assert limiter.take(0.9) == Verdict(False, 0, 5.0, 5.0)
    # What is sent meanwhile does not prolong it.
    assert admitted(limiter, 1.5, 5.8) == [False, False]
    assert limiter.take(5.9) == Verdict(True, 1, 1.0, 0.0)


def test_a_burst_is_for_what_the_steady_window_refuses():
    limiter = Bursty(2, 1.0, burst=3, burst_window=10.0)

    assert admitted(limiter, *[0.0] * 6) == [True] * 5 + [False]
    assert admitted(limiter, *[1.0] * 3) == [True, True, False]
    assert admitted(limiter, *[10.0] * 6) == [True] * 5 + [False]


@origins
def test_a_sliding_counter_weighs_the_last_window(origin):
    # Cloudflare's example: 42 in the last minute, 18 in this one by its 15th second: 42 * 45 / 60 + 18 = 49.5.
    limiter = SlidingCounter(50, window=60.0)
    begin = origin // 60 * 60

    assert all(admitted(limiter, *[begin + 30.0] * 42, *[begin + 70.0] * 10, *[begin + 75.0] * 8))
    assert limiter.take(begin + 75.0) == Verdict(True, 0, 45.0, pytest.approx(60 * (1 - 31 / 42) - 15, abs=1e-3))
    assert not limiter.take(begin + 75.0).admitted


def test_a_sliding_counter_forgets_what_was_before_the_last_window():
    limiter = SlidingCounter(2, window=1.0)

    assert admitted(limiter, 0.9, 0.9, 2.0, 2.0, 2.0) == [True, True, True, True, False]


@origins
def test_the_generic_cell_rate_algorithm_as_redis_cell_tests_it(origin):
    # Seconds, remaining, reset, retry_after; redis-cell's RateLimiter test, limit 5 at one a second.
    cases = [
        (0.0, 4, 1.0, None),
        (0.0, 3, 2.0, None),
        (0.0, 2, 3.0, None),
        (0.0, 1, 4.0, None),
        (0.0, 0, 5.0, None),
        (0.0, 0, 5.0, 1.0),
        (3.0, 2, 3.0, None),
        (3.1, 1, 3.9, None),
        (4.0, 1, 4.0, None),
        (8.0, 4, 1.0, None),
        (9.5, 4, 1.0, None),
    ]
    limiter = Gcra(1.0, 5)

    for at, remaining, reset, retry_after in cases:
        verdict = limiter.take(origin + at)
        assert verdict.admitted is (retry_after is None)
        assert (verdict.remaining, verdict.reset) == (remaining, pytest.approx(reset, abs=1e-5))
        if retry_after is not None:
            assert verdict.retry_after == pytest.approx(retry_after, abs=1e-5)


def test_a_bucket_and_the_generic_cell_rate_algorithm_are_one():
    draw = random.Random(1)
    bucket, cells, now = TokenBucket(10.0, 4), Gcra(10.0, 4), 1e5
    for _ in range(2000):
        now += draw.expovariate(15.0)
        one, other = bucket.take(now), cells.take(now)
        assert (one.admitted, one.remaining) == (other.admitted, other.remaining)
        assert one.reset == pytest.approx(other.reset, abs=1e-6)
        assert one.retry_after == pytest.approx(other.retry_after, abs=1e-6)


def test_what_one_of_two_refuses_counts_in_neither():
    second, minute = FixedWindow(2, 1.0), FixedWindow(3, 60.0)
    limiter = AllOf([second, minute])

    assert admitted(limiter, 0.0, 0.0, 0.0) == [True, True, False]
    # The refused one did not count against the minute, and the last of the minute's is tighter than the second's.
    assert limiter.take(1.0) == Verdict(True, 0, 59.0, 59.0)
    assert limiter.take(1.5) == Verdict(False, 0, 58.5, 58.5)


LIMITERS = {
    "fixed": lambda: FixedWindow(7, 0.3),
    "first-request": lambda: FirstRequestWindow(7, 0.3),
    "block": lambda: FirstRequestWindow(7, 0.3, block=0.7),
    "bursty": lambda: Bursty(7, 0.3, 5, 1.7),
    "log": lambda: SlidingLog(7, 0.3),
    "counter": lambda: SlidingCounter(7, 0.3),
    "bucket": lambda: TokenBucket(20.0, 3),
    "gcra": lambda: Gcra(20.0, 3),
    "nginx": lambda: NginxLimitReq(20, 3),
    "nginx-burst0": lambda: NginxLimitReq(20, 0),
    "two-levels": lambda: AllOf([FixedWindow(3, 0.1), SlidingLog(11, 1.0)]),
}


@origins
@pytest.mark.parametrize("name", LIMITERS)
def test_who_waits_as_long_as_told_is_admitted_and_nobody_sooner(name, origin):
    limiter, now, refused = LIMITERS[name](), origin + 0.1, 0
    for _ in range(200):
        wait = limiter.wait(now)
        verdict = limiter.take(now)
        assert verdict.admitted is (wait == 0)
        if verdict.admitted:
            continue
        refused += 1
        assert verdict.retry_after == limiter.wait(now)
        # nginx's clock has whole milliseconds.
        assert not limiter.take(now + verdict.retry_after - 0.0015).admitted
        now += verdict.retry_after + 0.0002
        assert limiter.take(now).admitted

    assert refused


@origins
def test_haproxy_admits_who_waits_as_long_as_told(origin):
    draw = random.Random(2)
    limiter, now, refused = HAProxyRate(20, 1.0), origin, 0
    for _ in range(500):
        now += draw.expovariate(30.0)
        verdict = limiter.take(now)
        if not verdict.admitted:
            refused += 1
            assert limiter.wait(now + verdict.retry_after - 0.0015) > 0
            now += verdict.retry_after + 0.0002
            assert limiter.take(now).admitted

    assert refused
