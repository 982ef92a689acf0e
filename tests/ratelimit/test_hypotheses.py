"""Which kind of limit explains what was seen."""

import math

import pytest

from clarus_async.ratelimit.evidence import Evidence
from clarus_async.ratelimit.hypotheses import weigh
from clarus_async.ratelimit.lockouts import Lockout, Lockouts
from clarus_async.ratelimit.pace import LimitKind
from clarus_async.simulator.limiters import FixedWindow, SlidingLog, TokenBucket
from tests.support.noting import note


def weighed(evidence, lockouts=None, **more):
    given = {
        "now": 1e4, "jitter": 0.0, "reopened": [], "fastest": 100.0, "believed": (), "refused_rate": 0.0,
        "hits": evidence.count(), "announced": False, "round_trip": 60.0,
    }  # fmt: skip
    return weigh(evidence, lockouts or Lockouts(), **(given | more))


def find(hypotheses, kind):
    return next(hypothesis for hypothesis in hypotheses if hypothesis.kind is kind)


def paced(limiter, rates, since=1000.0):
    """What a limiter says of who goes at one rate after another, for so many seconds each."""
    evidence, at = Evidence(), since
    for rate, seconds in rates:
        for _ in range(round(rate * seconds)):
            note(evidence, at, 1, admitted=limiter.take(at).admitted)
            at += 1.0 / rate
    return evidence


def all_admitted_but(refused, *, in_flight=lambda n: 1, gap=0.02, count=200):
    evidence = Evidence()
    for n in range(count):
        note(evidence, n * gap, in_flight(n), admitted=n not in refused)
    return evidence


def test_the_likeliest_comes_first():
    losses = [hypothesis.loss for hypothesis in weighed(all_admitted_but({50, 120}))]

    assert losses == sorted(losses)


def test_a_bucket_is_a_bucket():
    evidence = paced(TokenBucket(50.0, 20), [(80.0, 1.0), (45.0, 1.0), (60.0, 0.5), (45.0, 2.0), (60.0, 1.2)])

    assert weighed(evidence)[0].kind is LimitKind.BUCKET


def test_a_window_is_none_of_a_bucket():
    # Much at the end of one second and at the beginning of the next.
    evidence = paced(FixedWindow(50, 1.0), [(100.0, 0.1), (20.0, 0.5), (150.0, 0.6), (20.0, 0.5), (150.0, 0.6)], 999.7)
    hypotheses = weighed(evidence)

    assert min(find(hypotheses, kind).loss for kind in (LimitKind.WINDOW, LimitKind.LOG)) < 2.0
    assert hypotheses[0].kind in {LimitKind.WINDOW, LimitKind.LOG}
    assert hypotheses[0].window == 1.0


def test_what_is_in_flight_is_believed_to_be_limited_where_more_was_refused_only():
    evidence = all_admitted_but({50, 51, 120, 170}, in_flight=lambda n: 9 if n in {50, 51, 120, 170} else 1 + n % 8)
    hypothesis = weighed(evidence)[0]

    assert hypothesis.kind is LimitKind.CONNECTIONS
    assert (hypothesis.low, hypothesis.high) == (8.0, 8.0)


def test_it_is_less_likely_where_refusals_say_when_to_come_back():
    evidence = all_admitted_but({50}, in_flight=lambda n: 9 if n == 50 else 8)
    silent, told = (
        find(weighed(evidence, announced=announced), LimitKind.CONNECTIONS).loss for announced in (False, True)
    )

    assert told > silent + 4.0


def test_one_hit_says_little_of_what_is_in_flight():
    evidence = all_admitted_but({50}, in_flight=lambda n: 9 if n == 50 else 8)
    one, several = (find(weighed(evidence, hits=hits), LimitKind.CONNECTIONS).loss for hits in (1, 3))

    assert one > several


def test_one_connection_is_no_limit_of_what_is_in_flight():
    kinds = {hypothesis.kind for hypothesis in weighed(all_admitted_but({50}))}

    assert LimitKind.CONNECTIONS not in kinds


def test_that_none_of_them_explains_it_stands_beside_all_of_them():
    unknown = find(weighed(all_admitted_but({100}), now=4.0, refused_rate=60.0), LimitKind.UNKNOWN)

    assert unknown.low == pytest.approx(0.98 * 199 / 4.0)
    assert unknown.high == pytest.approx(0.95 * 60.0)


def test_what_is_averaged_begins_with_the_last_reopening_that_is_long_ago():
    unknown = find(weighed(all_admitted_but({100}), now=4.0, reopened=[0.5, 2.0, 3.9]), LimitKind.UNKNOWN)

    assert unknown.high == pytest.approx(174 / 3.5, rel=0.02)


def test_a_long_lockout_makes_its_window_a_hypothesis():
    lockouts = Lockouts()
    lockouts.long = [Lockout(10.2, 9.8, 10.2)]
    windows = {hypothesis.window for hypothesis in weighed(all_admitted_but({100}), lockouts)}

    assert windows == {0.0, 1.0, 10.0}


def test_no_hypothesis_allows_more_than_it_allows_at_the_most():
    evidence = paced(TokenBucket(50.0, 20), [(80.0, 2.0), (45.0, 1.0), (60.0, 2.0)])

    assert all(0.0 <= hypothesis.low <= hypothesis.high <= math.inf for hypothesis in weighed(evidence))


def test_what_explained_far_less_than_another_is_not_looked_at_again(monkeypatch):
    evidence = paced(FixedWindow(50, 1.0), [(80.0, 8.0)], 1000.4)
    before = {hypothesis.kind for hypothesis in weighed(evidence)}
    monkeypatch.delattr(Evidence, "bucket")
    after = {hypothesis.kind for hypothesis in weighed(evidence)}

    assert {LimitKind.WINDOW, LimitKind.BUCKET} <= before
    assert LimitKind.BUCKET not in after
    assert LimitKind.WINDOW in after


def test_what_explains_as_much_is_looked_at_again():
    evidence = paced(SlidingLog(50, 1.0), [(80.0, 8.0)], 1000.4)
    first, again = weighed(evidence), weighed(evidence)

    assert first[0] == again[0]
    assert {LimitKind.LOG, LimitKind.WINDOW} <= {hypothesis.kind for hypothesis in again}


def test_that_none_of_them_explains_it_is_never_ruled_out():
    evidence = paced(TokenBucket(50.0, 50), [(80.0, 8.0)])
    weighed(evidence)

    assert LimitKind.UNKNOWN in {hypothesis.kind for hypothesis in weighed(evidence)}


def test_a_bucket_of_one_request_is_slower_where_arrivals_are_uneven():
    evidence = all_admitted_but({50, 120})
    even, uneven = (find(weighed(evidence, fastest=60.0, jitter=seconds), LimitKind.BUCKET) for seconds in (0.0, 0.01))

    assert uneven.low < even.low
