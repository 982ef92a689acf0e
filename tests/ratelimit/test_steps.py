"""Which pace is tried next, and when it is proved."""

import itertools
import math

import pytest

from clarus_async.ratelimit.steps import NOTHING, Learned, Steps, middle, most

ROUND_TRIP = 0.02
OFTEN = Learned(10, 100.0, 0.1, told=False)
ONCE = OFTEN._replace(contacts=1)


def went(low, high, known=OFTEN, now=1000.0):
    steps = Steps()
    steps.go(low, high, known, now)
    return steps


def kept(steps, now, *, part=1.0, at_most=10_000):
    """Have requests admitted at the pace until another follows; return how many there were, and when."""
    for count in range(1, at_most):
        now += 1.0 / (part * steps.pace)
        if steps.admitted(now, ROUND_TRIP):
            return count, now
    return at_most, now


def test_in_a_range_the_next_pace_is_its_geometric_middle():
    assert went(40.0, 90.0).pace == pytest.approx(60.0)


def test_it_is_never_more_than_four_times_what_is_sure():
    assert went(10.0, 1e6).pace == pytest.approx(40.0)


def test_a_narrow_range_is_not_worth_a_refusal():
    assert went(50.0, 51.0).pace == 50.0


def test_where_nothing_is_sure_half_of_the_most_is_tried():
    assert middle(0.0, 30.0, OFTEN) == 15.0


def test_a_range_that_is_open_above_ends_at_a_multiple_of_what_is_sure_or_at_what_was_seen():
    assert most(50.0, OFTEN) == 200.0
    assert most(50.0, ONCE) == 800.0
    assert most(0.0, ONCE) == 100.0
    assert most(0.0, NOTHING) > 0.0


def test_the_nearer_it_is_to_what_is_sure_the_longer_a_pace_takes_to_be_proved():
    far, _ = kept(went(40.0, 90.0), 1000.0)
    near, _ = kept(went(40.0, 44.0), 1000.0)

    assert far == 6
    assert near > 5 * far


def test_it_lasts_a_window_at_the_least():
    _, now = kept(went(40.0, 90.0, OFTEN._replace(window=5.0)), 1000.0)

    assert now >= 1006.0


def test_a_pace_that_nobody_used_is_not_proved():
    assert kept(went(50.0, 50.0), 1000.0, part=0.5, at_most=400)[0] == 400


def test_what_held_is_sure_and_what_is_above_it_is_tried():
    steps = went(40.0, 90.0)
    kept(steps, 1000.0)

    assert steps.low == pytest.approx(60.0)
    assert 60.0 < steps.pace <= 90.0


@pytest.mark.parametrize("known", [OFTEN._replace(told=True), OFTEN._replace(lost=10.0)])
def test_where_a_refusal_is_dear_each_try_halves_the_range(known):
    steps = went(40.0, 90.0, known)
    kept(steps, 1000.0)

    assert steps.pace == pytest.approx(math.sqrt(60.0 * 90.0))


def test_at_its_top_it_is_calm_and_then_goes_higher_and_higher():
    steps = went(50.0, 50.0)
    paces, now = [steps.pace], 1000.0
    for _ in range(4):
        count, now = kept(steps, now)
        paces.append(steps.pace)
        assert count >= (60 if len(paces) == 2 else 5)

    assert [round(later / one, 2) for one, later in itertools.pairwise(paces)] == [1.04, 1.08, 1.16, 1.32]


def test_the_fewer_contacts_there_were_the_sooner_and_the_larger_is_the_first_step():
    steps = went(50.0, 50.0, ONCE)
    count, _ = kept(steps, 1000.0)

    assert count < 100 < kept(went(50.0, 50.0), 1000.0)[0]
    assert steps.pace == pytest.approx(1.16 * 50.0)


@pytest.mark.parametrize(("known", "least"), [(OFTEN, 4.0), (OFTEN._replace(lost=0.5), 20.0),
                                              (OFTEN._replace(lost=5.0), 30.0),
                                              (OFTEN._replace(lost=5.0, drips=True), 4.0),
                                              (OFTEN._replace(lost=5.0, blocks=True), 60.0)])  # fmt: skip
def test_what_a_refusal_costs_says_how_long_it_is_calm(known, least):
    _, now = kept(went(50.0, 50.0, known), 1000.0)

    assert now - 1000.0 == pytest.approx(least, abs=0.1)


def test_a_bucket_that_was_met_often_is_tried_from_below_only():
    assert went(50.0, 60.0, OFTEN._replace(drips=True)).pace == 50.0
    assert went(50.0, 60.0, ONCE._replace(drips=True)).pace > 50.0


def test_a_pace_that_failed_is_not_tried_again_soon():
    steps = went(50.0, 60.0)
    for _ in range(40):
        steps.admitted(1000.0, ROUND_TRIP)
    failed = steps.pace
    steps.fail(0.0)
    steps.go(50.0, 60.0, OFTEN, 1001.0)

    assert (steps.failed, steps.fastest) == (failed, failed)
    assert steps.high < 1.02 * failed
    assert steps.pace < failed


def test_one_that_failed_at_once_may_have_met_what_was_left_of_a_faster_one():
    steps = went(50.0, 60.0)
    steps.fail(0.0)
    steps.go(50.0, 60.0, OFTEN, 1001.0)

    assert steps.high == 60.0


def test_it_counts_for_less_each_time():
    steps = went(50.0, 60.0)
    highs = []
    for _ in range(12):
        steps.fail(0.0)
        steps.go(50.0, 60.0, OFTEN, 1001.0)
        highs.append(steps.high)

    assert highs == sorted(highs, reverse=True)
    assert highs[-1] < 50.0


@pytest.mark.parametrize(("drips", "grown"), [(False, True), (True, False)])
def test_a_pace_a_third_above_the_limit_is_another_limit_unless_a_bucket_is_deep(drips, grown):
    steps, now = went(50.0, 50.0, OFTEN._replace(drips=drips)), 1000.0
    seen = []
    for _ in range(4):
        _, now = kept(steps, now)
        seen.append(steps.grown)

    assert seen == [False, False, False, grown]


def test_where_something_else_is_limited_there_is_no_pace():
    steps = went(50.0, 60.0)
    steps.free()

    assert (steps.pace, steps.low, steps.high) == (math.inf, 0.0, math.inf)
    steps.fail(0.0)
    assert steps.failed == 0.0


def refused(steps, contacts):
    """Have requests refused at these moments and paces, with a little admitted before each."""
    for at, pace in contacts:
        steps.pace = pace
        steps.fail(at)


def falling(*, seconds, rarer=1.0):
    """Six contacts, each at a pace that is a tenth lower, and after so many times as long as the last."""
    at = 1000.0
    for n in range(6):
        yield at, 100.0 * 0.9**n
        at += seconds * (1.0 if n < 3 else rarer)


def test_where_others_bring_the_refusals_a_pace_that_fell_goes_back_to_where_it_was():
    steps = went(50.0, 60.0)
    refused(steps, falling(seconds=2.0))
    low, high = steps.in_vain()
    steps.go(low, high, OFTEN, 1012.0)

    assert high == pytest.approx(100.0 * (1.0 + 0.9 + 0.81) / 3.0)
    assert low < steps.pace < high
    assert steps.in_vain() is None


@pytest.mark.parametrize(
    "contacts",
    [
        list(falling(seconds=2.0))[:5],
        list(falling(seconds=2.0, rarer=2.0)),
        list(falling(seconds=0.5)),
        [(1000.0 + 2.0 * n, 100.0) for n in range(6)],
    ],
    ids=["few", "rarer", "soon", "constant"],
)
def test_it_does_not_where_it_fell_for_a_reason_or_did_not_fall(contacts):
    steps = went(50.0, 60.0)
    refused(steps, contacts)

    assert steps.in_vain() is None


def test_a_pace_is_not_proved_before_its_first_answers_can_have_come():
    steps, now = went(400.0, 900.0), 1000.0
    for _ in range(20):
        now += 1.0 / steps.pace
        assert not steps.admitted(now, 0.05)


def test_where_the_server_says_when_to_come_back_a_bucket_is_tried_above_as_rarely_as_a_window():
    longer, shorter = (
        kept(went(50.0, 50.0, OFTEN._replace(drips=True, lost=1.0, told=told)), 1000.0)[1] for told in (True, False)
    )

    assert longer > shorter + 20.0
