"""Which rate is tried next, or how many in flight, and when it is proved."""

import itertools
import math

import pytest

from clarus_async.ratelimit.search import NO_HITS, ConcurrencySearch, HitSummary, RateSearch, between, highest

ROUND_TRIP = 0.02
OFTEN = HitSummary(10, 100.0, 0.1, announced=False)
ONCE = OFTEN._replace(number=1)


def went(low, high, known=OFTEN, now=1000.0):
    search = RateSearch()
    search.start(low, high, known, now)
    return search


def kept(search, now, *, part=1.0, at_most=10_000):
    """Have requests admitted at the rate until another follows; return how many there were, and when."""
    for count in range(1, at_most):
        now += 1.0 / (part * search.rate)
        if search.admitted(now, ROUND_TRIP):
            return count, now
    return at_most, now


def test_in_a_range_the_next_rate_is_its_geometric_middle():
    assert went(40.0, 90.0).rate == pytest.approx(60.0)


def test_it_is_never_more_than_four_times_what_is_sure():
    assert went(10.0, 1e6).rate == pytest.approx(40.0)


def test_a_narrow_range_is_not_worth_a_refusal():
    assert went(50.0, 51.0).rate == 50.0


def test_where_nothing_is_sure_half_of_the_most_is_tried():
    assert between(0.0, 30.0, OFTEN) == 15.0


def test_a_range_that_is_open_above_ends_at_a_multiple_of_what_is_sure_or_at_what_was_seen():
    assert highest(50.0, OFTEN) == 200.0
    assert highest(50.0, ONCE) == 800.0
    assert highest(0.0, ONCE) == 100.0
    assert highest(0.0, NO_HITS) > 0.0


def test_the_nearer_it_is_to_what_is_sure_the_longer_a_rate_takes_to_be_proved():
    far, _ = kept(went(40.0, 90.0), 1000.0)
    near, _ = kept(went(40.0, 44.0), 1000.0)

    assert far == 6
    assert near > 5 * far


def test_it_lasts_a_window_at_the_least():
    _, now = kept(went(40.0, 90.0, OFTEN._replace(window=5.0)), 1000.0)

    assert now >= 1006.0


def test_a_rate_that_nobody_used_is_not_proved():
    assert kept(went(50.0, 50.0), 1000.0, part=0.5, at_most=400)[0] == 400


def test_what_held_is_sure_and_what_is_above_it_is_tried():
    search = went(40.0, 90.0)
    kept(search, 1000.0)

    assert search.low == pytest.approx(60.0)
    assert 60.0 < search.rate <= 90.0


@pytest.mark.parametrize("known", [OFTEN._replace(announced=True), OFTEN._replace(cost=10.0)])
def test_where_a_refusal_is_dear_each_try_halves_the_range(known):
    search = went(40.0, 90.0, known)
    kept(search, 1000.0)

    assert search.rate == pytest.approx(math.sqrt(60.0 * 90.0))


def test_at_its_top_it_is_steady_and_then_goes_higher_and_higher():
    search = went(50.0, 50.0)
    rates, now = [search.rate], 1000.0
    for _ in range(4):
        count, now = kept(search, now)
        rates.append(search.rate)
        assert count >= (60 if len(rates) == 2 else 5)

    assert [round(later / one, 2) for one, later in itertools.pairwise(rates)] == [1.04, 1.08, 1.16, 1.32]


def test_the_fewer_hits_there_were_the_sooner_and_the_larger_is_the_first_step():
    search = went(50.0, 50.0, ONCE)
    count, _ = kept(search, 1000.0)

    assert count < 100 < kept(went(50.0, 50.0), 1000.0)[0]
    assert search.rate == pytest.approx(1.16 * 50.0)


@pytest.mark.parametrize(("known", "least"), [(OFTEN, 4.0), (OFTEN._replace(cost=0.5), 20.0),
                                              (OFTEN._replace(cost=5.0), 30.0),
                                              (OFTEN._replace(cost=5.0, bucket=True), 4.0),
                                              (OFTEN._replace(cost=5.0, blocks=True), 60.0)])  # fmt: skip
def test_what_a_refusal_costs_says_how_long_it_is_calm(known, least):
    _, now = kept(went(50.0, 50.0, known), 1000.0)

    assert now - 1000.0 == pytest.approx(least, abs=0.1)


def test_a_bucket_that_was_met_often_is_tried_from_below_only():
    assert went(50.0, 60.0, OFTEN._replace(bucket=True)).rate == 50.0
    assert went(50.0, 60.0, ONCE._replace(bucket=True)).rate > 50.0


def test_a_rate_that_failed_is_not_tried_again_soon():
    search = went(50.0, 60.0)
    for _ in range(40):
        search.admitted(1000.0, ROUND_TRIP)
    failed = search.rate
    search.refused(0.0)
    search.start(50.0, 60.0, OFTEN, 1001.0)

    assert (search.refused_rate, search.fastest) == (failed, failed)
    assert search.high < 1.02 * failed
    assert search.rate < failed


def test_one_that_failed_at_once_may_have_met_what_was_left_of_a_faster_one():
    search = went(50.0, 60.0)
    search.refused(0.0)
    search.start(50.0, 60.0, OFTEN, 1001.0)

    assert search.high == 60.0


def test_it_counts_for_less_each_time():
    search = went(50.0, 60.0)
    highs = []
    for _ in range(12):
        search.refused(0.0)
        search.start(50.0, 60.0, OFTEN, 1001.0)
        highs.append(search.high)

    assert highs == sorted(highs, reverse=True)
    assert highs[-1] < 50.0


@pytest.mark.parametrize(("bucket", "grown"), [(False, True), (True, False)])
def test_a_rate_a_third_above_the_limit_is_another_limit_unless_a_bucket_is_deep(bucket, grown):
    search, now = went(50.0, 50.0, OFTEN._replace(bucket=bucket)), 1000.0
    seen = []
    for _ in range(4):
        _, now = kept(search, now)
        seen.append(search.grown)

    assert seen == [False, False, False, grown]


def test_where_something_else_is_limited_there_is_no_rate():
    search = went(50.0, 60.0)
    search.stop()

    assert (search.rate, search.low, search.high) == (math.inf, 0.0, math.inf)
    search.refused(0.0)
    assert search.refused_rate == 0.0


def refused(search, hits):
    """Have requests refused at these moments and rates, with a little admitted before each."""
    for at, rate in hits:
        search.rate = rate
        search.refused(at)


def falling(*, seconds, rarer=1.0):
    """Six hits, each at a rate that is a tenth lower, and after so many times as long as the last."""
    at = 1000.0
    for n in range(6):
        yield at, 100.0 * 0.9**n
        at += seconds * (1.0 if n < 3 else rarer)


def test_where_others_bring_the_refusals_a_rate_that_fell_goes_back_to_where_it_was():
    search = went(50.0, 60.0)
    refused(search, falling(seconds=2.0))
    low, high = search.before_decline()
    search.start(low, high, OFTEN, 1012.0)

    assert high == pytest.approx(100.0 * (1.0 + 0.9 + 0.81) / 3.0)
    assert low < search.rate < high
    assert search.before_decline() is None


@pytest.mark.parametrize(
    "hits",
    [
        list(falling(seconds=2.0))[:5],
        list(falling(seconds=2.0, rarer=2.0)),
        list(falling(seconds=0.5)),
        [(1000.0 + 2.0 * n, 100.0) for n in range(6)],
    ],
    ids=["few", "rarer", "soon", "constant"],
)
def test_it_does_not_where_it_fell_for_a_reason_or_did_not_fall(hits):
    search = went(50.0, 60.0)
    refused(search, hits)

    assert search.before_decline() is None


def test_a_rate_is_not_proved_before_its_first_answers_can_have_come():
    search, now = went(400.0, 900.0), 1000.0
    for _ in range(20):
        now += 1.0 / search.rate
        assert not search.admitted(now, 0.05)


def test_where_the_server_says_when_to_come_back_a_bucket_is_tried_above_as_rarely_as_a_window():
    longer, shorter = (
        kept(went(50.0, 50.0, OFTEN._replace(bucket=True, cost=1.0, announced=announced)), 1000.0)[1]
        for announced in (True, False)
    )

    assert longer > shorter + 20.0


# How many may be in flight.


def kept_within(search, now, *, in_flight, each=0.01, at_most=10_000):
    """Have requests admitted until more are tried; return how many there were."""
    before = search.cap
    for count in range(1, at_most):
        search.admitted(now + count * each, now + count * each, in_flight)
        if search.cap > before:
            return count
    return at_most


def test_at_first_there_is_none():
    search = ConcurrencySearch()
    search.refused()

    assert search.cap == math.inf


def test_a_quarter_more_is_tried_when_three_times_as_many_were_admitted():
    search = ConcurrencySearch()
    search.start(20.0, 1000.0)

    assert kept_within(search, 1000.0, in_flight=20) == 60
    assert search.cap == 25.0


def test_more_are_tried_only_where_as_many_were_used():
    search = ConcurrencySearch()
    search.start(20.0, 1000.0)

    assert kept_within(search, 1000.0, in_flight=10, at_most=500) == 500


def test_what_was_sent_before_it_tells_nothing():
    search = ConcurrencySearch()
    search.start(4.0, 1000.0)
    for _ in range(100):
        search.admitted(999.9, 1001.0, 4)

    assert search.cap == 4.0


def test_after_a_try_that_was_refused_the_next_is_later_and_smaller():
    search = ConcurrencySearch()
    search.start(32.0, 1000.0)
    kept_within(search, 1000.0, in_flight=32)
    search.refused()
    search.start(32.0, 1001.0)

    assert kept_within(search, 1001.0, in_flight=32) >= 800
    assert search.cap == 34.0


def test_a_refusal_without_a_try_is_no_failed_one():
    search = ConcurrencySearch()
    search.start(8.0, 1000.0)
    search.refused()
    search.start(8.0, 1001.0)

    assert kept_within(search, 1001.0, in_flight=8) == 24
