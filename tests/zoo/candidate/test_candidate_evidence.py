"""How well a limiter of each kind explains what was admitted and refused."""

import math

import pytest

from clarus_async.simulator.limiters import (
    FirstRequestWindow,
    FixedWindow,
    HAProxyRate,
    NginxLimitReq,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
)
from tests.zoo.candidate.evidence import Evidence, loss

# A client that does not sway: requests arrive as they were sent.
EVEN = 0.0


def even(rate, seconds, since=1000.0):
    return [since + n / rate for n in range(round(rate * seconds))]


def seen(limiter, times, *, under_way=1):
    """What a limiter says of requests that are sent at these times."""
    evidence = Evidence()
    for at in times:
        evidence.add(at, under_way, admitted=limiter.take(at).admitted)
    evidence.count()
    return evidence


def tried(limiter, rate, times, since=1000.0):
    """What a limiter says of one who goes above a rate until refused, and then below it for a while, so many times."""
    evidence, at = Evidence(), since
    for _ in range(times):
        admitted = True
        while admitted:
            admitted = limiter.take(at).admitted
            evidence.add(at, 1, admitted=admitted)
            at += 1.0 / (1.3 * rate)
        for _ in range(max(5, round(0.5 * rate))):
            at += 1.0 / (0.9 * rate)
            evidence.add(at, 1, admitted=limiter.take(at).admitted)
    evidence.count()
    return evidence


def given(text, *, since=0.0, gap=0.1, under_way=1):
    """Evidence as a picture: ``+`` was admitted, ``-`` was refused."""
    evidence = Evidence()
    for n, sign in enumerate(text):
        evidence.add(since + n * gap, under_way, admitted=sign == "+")
    return evidence


# What is known.


def test_refusals_in_a_row_are_one_contact():
    evidence = given("++--+-+---")

    assert (evidence.count(), evidence.contacts, evidence.refusals) == (2, 2, 6)


def test_what_was_admitted_is_counted_from_one_moment_to_another():
    evidence = given("++-++")

    assert evidence.admitted(0.0, 1.0) == 4
    assert evidence.admitted(0.1, 0.3) == 1
    assert evidence.began == 0.0
    assert evidence.first(0.05) == pytest.approx(0.1)
    assert evidence.first(0.4) is None


def test_answers_may_come_in_another_order_than_requests_were_sent():
    evidence = Evidence()
    for at in (1.0, 3.0, 2.0, 0.5):
        evidence.add(at, 1, admitted=at != 2.0)

    assert evidence.began == 0.5
    assert evidence.openings() == [(2.0, 3.0)]


def test_what_has_no_answer_yet_may_be_supposed_to_be_admitted():
    evidence = given("++-+")

    assert evidence.supposing([]) is evidence
    assert evidence.supposing([(0.15, 3)]).admitted(0.0, 1.0) == 4
    assert evidence.admitted(0.0, 1.0) == 3


def test_what_was_before_a_moment_is_left_out():
    part = given("++-+-+").since(0.25)

    assert part.began == pytest.approx(0.3)
    assert part.count() == 1


def test_the_older_half_is_forgotten_where_enough_is_left():
    evidence = given(("+" * 19 + "-") * 6)

    assert evidence.forget(0.0)
    assert 2 <= evidence.count() <= 4
    assert evidence.admitted(0.0, 100.0) < 100


@pytest.mark.parametrize("little", ["+" * 100 + "-+", "+-" * 10 + "+"])
def test_where_little_is_left_nothing_is_forgotten(little):
    evidence = given(little, gap=0.001)
    before = evidence.admitted(0.0, 10.0)

    assert not evidence.forget(5.0)
    assert evidence.admitted(0.0, 10.0) == before


def test_after_so_much_time_only_the_last_minute_and_a_half_is_kept():
    evidence = given("+" * 5_000, gap=0.1)

    assert len(evidence._events) < 2_000
    assert evidence.began >= 500.0 - 3 * 90.0


def test_what_is_older_is_merged_and_still_counts():
    evidence = given(("+" * 49 + "-") * 100, gap=0.0005)

    assert len(evidence._events) < 2_000
    assert evidence.admitted(0.0, 100.0) == 4_900
    assert evidence.refusals == 100


def test_what_does_not_fit_is_forgotten():
    evidence = given(("+" * 9 + "-") * 500, gap=0.01)

    assert len(evidence._events) < 2_000
    assert evidence.began > 20.0
    assert evidence.refusals < 300


# A bucket.


@pytest.mark.parametrize(("rate", "depth"), [(5.0, 3), (5.0, 20), (50.0, 15), (50.0, 50), (50.0, 200), (400.0, 120)])
def test_a_bucket_explains_a_bucket(rate, depth):
    found = tried(TokenBucket(rate, depth), rate, 4).bucket(EVEN, 1.3 * rate)

    assert found.loss < 1.0
    assert 0.98 * found.low <= rate <= 1.02 * found.high
    assert found.depth == pytest.approx(depth, rel=0.1, abs=3.0)


def test_its_rate_is_known_after_a_few_refusals():
    found = tried(NginxLimitReq(50, 5), 50.0, 3).bucket(EVEN, 65.0)

    assert 0.9 * 50.0 <= found.low <= 50.5
    assert 49.5 <= found.high <= 1.2 * 50.0


def test_one_refusal_leaves_a_bucket_open():
    evidence = given("+" * 30 + "-", gap=0.02)
    found = evidence.bucket(EVEN, 50.0)

    assert found.loss < 1.0
    assert found.high > 2.0 * max(found.low, 1.0)


def test_a_bucket_does_not_explain_a_refusal_after_a_long_rest():
    evidence = given("++++-+++-", gap=0.1)
    evidence.add(60.0, 1, admitted=False)
    evidence.count()

    assert evidence.bucket(EVEN, 10.0).loss > 3.0


# Windows.


@pytest.mark.parametrize("window", [1.0, 5.0])
def test_a_log_explains_a_log(window):
    evidence = seen(SlidingLog(round(50 * window), window), even(80.0, 4 * window))
    found = evidence.log(window, EVEN)

    assert found.loss < 1.0
    assert found.low <= 50.0 * 1.02
    assert found.high >= 50.0 * 0.97


@pytest.mark.parametrize("window", [1.0, 5.0])
def test_windows_that_turn_together_explain_themselves(window):
    evidence = seen(FixedWindow(round(50 * window), window), even(80.0, 4 * window, since=1000.4))
    turns = [1000.0 + part / 10.0 for part in range(10)]
    found = evidence.fixed(window, turns, EVEN)

    assert found.loss < 1.0
    assert found.low == pytest.approx(50.0, rel=0.05)


def test_a_counter_explains_a_counter():
    evidence = seen(SlidingCounter(50, 1.0), even(80.0, 6.0, since=1000.4))
    found = evidence.counter(1.0, [1000.0], EVEN, refused=False)

    assert found.loss < 1.0
    assert found.low == pytest.approx(50.0, rel=0.1)


def test_what_is_refused_counts_where_it_does():
    evidence = seen(HAProxyRate(50, 1.0), even(60.0, 6.0, since=1000.4))
    turn = [1000.0 + part / 20.0 for part in range(20)]

    assert evidence.counter(1.0, turn, EVEN, refused=True).loss < evidence.counter(1.0, turn, EVEN, refused=False).loss


def test_of_a_block_the_first_refusal_counts_only():
    evidence = seen(FirstRequestWindow(50, 1.0, 3.0), even(80.0, 9.0))

    assert evidence.log(1.0, EVEN, block=True).loss < 1.0
    assert evidence.log(1.0, EVEN).loss > 5.0


@pytest.mark.parametrize("kind", ["log", "fixed", "counter", "bucket"])
def test_evidence_that_ends_with_a_refusal_is_explained_too(kind):
    evidence = seen(SlidingLog(20, 1.0), even(40.0, 0.6))
    found = {
        "log": lambda: evidence.log(1.0, EVEN),
        "fixed": lambda: evidence.fixed(1.0, [999.9], EVEN),
        "counter": lambda: evidence.counter(1.0, [999.9], EVEN, refused=False),
        "bucket": lambda: evidence.bucket(EVEN, 40.0),
    }[kind]()

    assert found.loss < 2.0
    assert 0.0 <= found.low <= found.high


# What is under way.


def under_way(*pairs, gap=0.05):
    """Evidence of how many were under way with what was admitted, or refused."""
    evidence = Evidence()
    for n, (many, admitted) in enumerate(pairs):
        evidence.add(n * gap, many, admitted=admitted)
    evidence.count()
    return evidence


def test_a_limit_of_what_is_under_way_is_the_least_that_was_refused():
    evidence = under_way(*[(8, True)] * 20, (9, False), (8, True), (12, False), *[(8, True)] * 20, (9, False))
    found = evidence.connections(EVEN)

    assert (found.loss, found.high) == (0.0, 9.0)


def test_refusals_of_few_are_not_explained_by_what_is_under_way():
    evidence = under_way(*[(60, True)] * 20, (3, False), *[(60, True)] * 20, (5, False), *[(60, True)] * 5)

    assert evidence.connections(EVEN).loss > 10.0


def test_one_that_arrived_after_those_that_were_sent_after_it_met_them():
    evidence = Evidence()
    for at, many, admitted in ((0.0, 7, True), (1.0, 9, True), (1.001, 8, False), (2.0, 8, True)):
        evidence.add(at, many, admitted=admitted)

    assert evidence.connections(0.002).high == 9
    assert evidence.connections(0.0).high == 8


def test_where_nothing_was_refused_no_limit_is_known():
    assert under_way((5, True), (6, True)).connections(EVEN).high == math.inf


def test_evidence_that_ends_with_a_refusal_has_a_limit_of_what_is_under_way():
    assert under_way((5, True), (6, False)).connections(EVEN).high == 6


# What is not explained.


@pytest.mark.parametrize(
    ("rows", "least", "most"),
    [
        ([], 0.0, 0.0),
        ([10.0, 10.0], 0.0, 0.0),
        ([9.6], 0.0, 0.0),
        ([8.0], 1.0, 4.0),
        # One that is further off is an accident, and costs no more than three times the noise.
        ([0.0], 4.0, 9.0),
        ([-1e9], 9.0, 9.0),
        ([-math.inf] * 3, 27.0, 27.0),
    ],
)
def test_refusals_that_came_too_early_are_not_explained(rows, least, most):
    assert least <= loss(rows, 10.0, 1.0) <= most


def test_the_highest_that_was_admitted_may_be_noise_itself():
    assert loss([9.0] * 50, 10.0, 1.0) == 1.0
