"""Which kind of limit explains what was seen."""

import math

import pytest

from clarus_async.simulator.limiters import FixedWindow, TokenBucket
from tests.zoo.candidate.beliefs import LimitKind, weigh
from tests.zoo.candidate.evidence import Evidence
from tests.zoo.candidate.walls import Wall, Walls


def weighed(evidence, walls=None, **more):
    evidence.count()
    given = {
        "now": 1e4, "uneven": 0.0, "openings": [], "fastest": 100.0, "failed": 0.0, "strikes": 0, "knows_when": False,
    }  # fmt: skip
    return weigh(evidence, walls or Walls(), **(given | more))


def find(beliefs, kind):
    return next(belief for belief in beliefs if belief.kind is kind)


def paced(limiter, rates, since=1000.0):
    """What a limiter says of who goes at one rate after another, for so many seconds each."""
    evidence, at = Evidence(), since
    for rate, seconds in rates:
        for _ in range(round(rate * seconds)):
            evidence.add(at, 1, admitted=limiter.take(at).admitted)
            at += 1.0 / rate
    return evidence


def all_admitted_but(refused, *, under_way=lambda n: 1, gap=0.02, count=200):
    evidence = Evidence()
    for n in range(count):
        evidence.add(n * gap, under_way(n), admitted=n not in refused)
    return evidence


def test_the_likeliest_comes_first():
    losses = [belief.loss for belief in weighed(all_admitted_but({50, 120}))]

    assert losses == sorted(losses)


def test_a_bucket_is_a_bucket():
    evidence = paced(TokenBucket(50.0, 20), [(80.0, 1.0), (45.0, 1.0), (60.0, 0.5), (45.0, 2.0), (60.0, 1.2)])

    assert weighed(evidence)[0].kind is LimitKind.BUCKET


def test_a_window_is_none_of_a_bucket():
    # Much at the end of one second and at the beginning of the next.
    evidence = paced(FixedWindow(50, 1.0), [(100.0, 0.1), (20.0, 0.5), (150.0, 0.6), (20.0, 0.5), (150.0, 0.6)], 999.7)
    beliefs = weighed(evidence)

    assert min(find(beliefs, kind).loss for kind in (LimitKind.WINDOW, LimitKind.LOG)) < 2.0
    assert beliefs[0].kind in {LimitKind.WINDOW, LimitKind.LOG, LimitKind.COUNTER}
    assert beliefs[0].window == 1.0


def test_what_is_under_way_is_believed_to_be_limited_where_more_was_refused_only():
    evidence = all_admitted_but({50, 51, 120, 170}, under_way=lambda n: 9 if n in {50, 51, 120, 170} else 1 + n % 8)
    belief = find(weighed(evidence), LimitKind.CONNECTIONS)

    assert (belief.low, belief.high) == (8.0, 8.0)
    assert belief.loss < find(weighed(evidence), LimitKind.BUCKET).loss


@pytest.mark.parametrize("why", [{"strikes": 5}, {"knows_when": True}])
def test_it_is_less_likely_where_fewer_were_refused_or_refusals_say_when_to_come_back(why):
    evidence = all_admitted_but({50}, under_way=lambda n: 9 if n == 50 else 8)
    alike, unlike = (find(weighed(evidence, **more), LimitKind.CONNECTIONS).loss for more in ({}, why))

    assert unlike > alike + 4.0


def test_one_connection_is_no_limit_of_what_is_under_way():
    kinds = {belief.kind for belief in weighed(all_admitted_but({50}))}

    assert LimitKind.CONNECTIONS not in kinds


def test_that_none_of_them_explains_it_stands_beside_all_of_them():
    unknown = find(weighed(all_admitted_but({100}), now=4.0, failed=60.0), LimitKind.UNKNOWN)

    assert unknown.low == pytest.approx(0.98 * 199 / 4.0)
    assert unknown.high == pytest.approx(0.95 * 60.0)


def test_what_is_averaged_begins_with_the_last_opening_that_is_long_ago():
    unknown = find(weighed(all_admitted_but({100}), now=4.0, openings=[0.5, 2.0, 3.9]), LimitKind.UNKNOWN)

    assert unknown.high == pytest.approx(174 / 3.5, rel=0.02)


def test_a_long_wall_makes_its_window_a_belief():
    walls = Walls()
    walls.long = [Wall(6.0, 10.2, 9.8, 10.2)]
    windows = {belief.window for belief in weighed(all_admitted_but({100}), walls)}

    assert windows == {0.0, 1.0, 10.0}


def test_walls_of_one_length_make_a_block_a_belief():
    walls = Walls()
    walls.long = [Wall(5.0, 8.0, 5.0, 8.0), Wall(5.0, 15.0, 6.0, 15.0)]
    blocks = [belief for belief in weighed(all_admitted_but({100}), walls) if belief.kind is LimitKind.BLOCK]

    assert len(blocks) == 2
    assert len([belief for belief in weighed(all_admitted_but({100})) if belief.kind is LimitKind.BLOCK]) == 1


def test_what_drips_after_a_wall_may_be_a_bucket_since_then():
    walls = Walls()
    walls.long = [Wall(1.0, 2.0, 1.8, 2.0)]
    walls.opened = 2.0
    buckets = [
        sum(belief.kind is LimitKind.BUCKET for belief in weighed(all_admitted_but(refused), walls))
        for refused in ({50}, {50, 150})
    ]

    assert buckets == [1, 2]


def test_no_belief_allows_more_than_it_allows_at_the_most():
    evidence = paced(TokenBucket(50.0, 20), [(80.0, 2.0), (45.0, 1.0), (60.0, 2.0)])

    assert all(0.0 <= belief.low <= belief.high <= math.inf for belief in weighed(evidence))
