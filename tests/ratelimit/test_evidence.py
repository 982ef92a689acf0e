"""How well a limiter of each kind explains what was admitted and refused."""

import math
import random

import pytest

from clarus_async.ratelimit.evidence import Evidence, Run, _on_a_line, loss
from clarus_async.simulator.limiters import (
    FirstRequestWindow,
    FixedWindow,
    NginxLimitReq,
    SlidingLog,
    TokenBucket,
)
from tests.support.noting import note

# A client that does not sway: requests arrive as they were sent.
EVEN = 0.0
# A round trip in which nothing that was admitted has come back.
LONG = 60.0


def even(rate, seconds, since=1000.0):
    return [since + n / rate for n in range(round(rate * seconds))]


def seen(limiter, times, *, in_flight=1):
    """What a limiter says of requests that are sent at these times."""
    evidence = Evidence()
    for at in times:
        note(evidence, at, in_flight, admitted=limiter.take(at).admitted)
    evidence.count()
    return evidence


def tried(limiter, rate, times, since=1000.0):
    """What a limiter says of one who goes above a rate until refused, and then below it for a while, so many times."""
    evidence, at = Evidence(), since
    for _ in range(times):
        admitted = True
        while admitted:
            admitted = limiter.take(at).admitted
            note(evidence, at, 1, admitted=admitted)
            at += 1.0 / (1.3 * rate)
        for _ in range(max(5, round(0.5 * rate))):
            at += 1.0 / (0.9 * rate)
            note(evidence, at, 1, admitted=limiter.take(at).admitted)
    evidence.count()
    return evidence


def given(text, *, since=0.0, gap=0.1, in_flight=1):
    """Evidence as a picture: ``+`` was admitted, ``-`` was refused."""
    evidence = Evidence()
    for n, sign in enumerate(text):
        note(evidence, since + n * gap, in_flight, admitted=sign == "+")
    return evidence


# What is known.


def test_refusals_in_a_row_are_one_hit():
    evidence = given("++--+-+---")

    assert (evidence.count(), evidence.reopened, evidence.refusals) == (2, 2, 6)


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
        note(evidence, at, 1, admitted=at != 2.0)

    assert evidence.began == 0.5
    assert evidence.reopenings() == [(2.0, 3.0)]


def test_what_has_no_answer_yet_may_be_supposed_to_be_admitted():
    evidence = given("++-+")

    assert evidence.supposing([]) is evidence
    assert evidence.supposing([(0.15, 3)]).admitted(0.0, 1.0) == 4
    assert evidence.admitted(0.0, 1.0) == 3


def test_what_was_before_a_moment_is_left_out():
    part = given("++-+-+").since(0.25)

    assert part.began == pytest.approx(0.3)
    assert part.count() == 1


def test_after_so_much_time_only_the_last_minutes_are_kept():
    evidence = given("+" * 5_000, gap=0.1)

    assert len(evidence._runs) < 2_000
    assert evidence.began >= 500.0 - 2 * 180.0


def test_what_is_older_is_merged_and_still_counts():
    evidence = given(("+" * 49 + "-") * 60, gap=0.0005)

    assert len(evidence._runs) < 2_000
    assert evidence.admitted(0.0, 100.0) == 2_940
    assert evidence.refusals == 60


def test_what_does_not_fit_is_forgotten():
    evidence = given(("+" * 9 + "-") * 500, gap=0.01)

    assert len(evidence._runs) < 2_000
    assert evidence.began > 20.0
    assert evidence.refusals < 300


def test_where_nothing_is_known_nothing_was_admitted():
    assert Evidence().admitted(0.0, 1.0) == 0


def test_a_loss_by_what_is_forgotten_is_forgotten_with_it():
    evidence = given("+" * 300, gap=1.0)
    evidence.losses["bucket"] = 20.0
    evidence.condense()

    assert evidence.began > 100.0
    assert evidence.losses == {}


def test_losses_are_known_while_nothing_is_forgotten():
    evidence = given("+" * 300, gap=0.01)
    evidence.losses["bucket"] = 20.0
    evidence.condense()

    assert len(evidence._runs) < 300
    assert evidence.losses == evidence.supposing([(1.0, 1)]).losses == {"bucket": 20.0}


def test_of_those_that_were_sent_at_one_moment_the_admitted_came_first():
    evidence = Evidence()
    evidence.add(0.0, 1)
    evidence.refused(1.0, 3)
    for _ in range(2):
        evidence.add(1.0, 2)
    evidence.refused(1.0, 4)

    assert [run.admitted for run in evidence._runs] == [True, True, True, False, False]
    assert evidence.reopenings() == []


def test_what_has_no_answer_yet_came_before_what_was_refused_at_its_moment():
    evidence = given("+-", gap=1.0)

    assert evidence.supposing([(1.0, 2)]).reopenings() == []
    assert evidence.supposing([(1.1, 2)]).reopenings() == [(1.0, 1.1)]


def test_what_lies_on_a_line_with_as_many_in_flight_is_one_run():
    evidence = given("+" * 1_000, gap=0.01, in_flight=8)
    evidence.condense()
    merged = [run for run in evidence._runs if run.size > 1]

    assert len(evidence._runs) < 300
    assert {run.in_flight for run in merged} == {8.0}
    # The newest keep their pattern.
    assert all(run.size == 1 for run in evidence._runs[-100:])


def test_between_the_first_and_the_last_of_a_run_they_are_evenly_spaced():
    evidence = Evidence([Run(0.0, 9.0, 10, 1)])

    assert [evidence.admitted(0.0, until) for until in (0.0, 0.5, 1.0, 4.5, 8.9, 9.0, 9.1)] == [0, 1, 1, 5, 9, 9, 10]
    assert evidence.admitted(4.5, 9.5) == 5


@pytest.mark.parametrize(
    ("runs", "merged"),
    [
        ([(0.0, 4.0, 5, 8.0), (5.0, 9.0, 5, 8.0)], (0.0, 9.0, 10, 8.0)),
        # All at first, and one later; one at first, and all later.
        ([(0.0, 0.1, 50, 8.0), (10.0, 10.0, 1, 8.0)], None),
        ([(0.0, 0.0, 1, 8.0), (9.9, 10.0, 50, 8.0)], None),
        # As many together.
        ([(1.0, 1.0, 1, 2.0), (1.0, 1.0, 1, 2.0)], (1.0, 1.0, 2, 2.0)),
        # Refused, and admitted.
        ([(0.0, 4.0, 5, 8.0), (5.0, 9.0, 5, 8.0, False)], None),
        # Far more in flight.
        ([(0.0, 4.0, 5, 8.0), (5.0, 9.0, 5, 16.0)], None),
        ([(0.0, 4.0, 5, 8.0, False), (5.0, 9.0, 5, 7.0, False)], (0.0, 9.0, 10, 7.0, False)),
    ],
)
def test_runs_are_merged_where_they_lie_on_a_line(runs, merged):
    assert _on_a_line([Run(*run) for run in runs], 0.75) == (None if merged is None else pytest.approx(Run(*merged)))


def test_of_refused_ones_in_a_run_the_fewest_in_flight_are_kept():
    evidence = Evidence()
    for n in range(400):
        note(evidence, n * 0.01, 40 + n % 3, admitted=n >= 100)
    evidence.condense()

    assert min(run.in_flight for run in evidence._runs if not run.admitted) == 40
    assert evidence.refusals == 100


def test_answers_that_come_late_are_counted_where_they_were_sent():
    evidence = given("+" * 200, gap=0.01)
    evidence.condense()
    evidence.add(1.905, 1)

    assert evidence.admitted(1.9, 1.91) == 2


def test_answers_that_come_very_late_change_no_other_count():
    evidence = given("+" * 9_000, gap=0.01)
    evidence.condense()
    before = evidence.admitted(0.0, 45.1)

    assert evidence.supposing([(45.0, 1)]).admitted(0.0, 45.1) == pytest.approx(before, abs=3)


def test_refusals_in_a_run_change_no_count_of_what_was_admitted():
    evidence = Evidence([Run(0.0, 0.0, 1, 1), Run(1.0, 2.0, 5, 1, admitted=False)])

    assert [evidence.admitted(0.0, until) for until in (1.0, 1.5, 2.0, 2.5)] == [1, 1, 1, 1]


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


def test_a_bucket_is_found_where_a_lockout_and_a_long_pace_leave_a_narrow_range():
    """All rates beside it are as far off, so a loss alone does not tell where to look."""
    limiter, evidence = TokenBucket(101.7, 26), Evidence()

    def send(at, rate, seconds):
        """Send at a rate until refused, or for so long; return when that ended."""
        for moment in even(rate, seconds, at):
            admitted = limiter.take(moment).admitted
            note(evidence, moment, 1, admitted=admitted)
            if not admitted:
                break
        return moment

    at = send(1000.0, 10_000.0, 1.0)
    at = send(at + 1.0, 107.7, 1.2)
    send(at, 431.0, 1.0)
    evidence.count()
    fit = evidence.bucket(EVEN, 431.0)
    assert fit.loss < 1.0
    assert fit.low <= 101.7 <= fit.high < 110.0


def test_a_lockout_between_refusals_does_not_hide_a_fast_bucket():
    """On average little was admitted, for the lockout was long."""
    limiter, evidence = TokenBucket(173.0, 6), Evidence()
    for at in (*(1000.0 + 0.002 * n for n in range(16)), 1002.1):
        note(evidence, at, 1, admitted=limiter.take(at).admitted)
    evidence.count()
    fit = evidence.bucket(EVEN, 0.0)
    assert fit.loss < 1.0
    assert fit.low <= 173.0 <= fit.high


def test_one_refusal_leaves_a_bucket_open():
    evidence = given("+" * 30 + "-", gap=0.02)
    found = evidence.bucket(EVEN, 50.0)

    assert found.loss < 1.0
    assert found.high > 2.0 * max(found.low, 1.0)


def locked_out(limiter, rates, *, lockout, since=1000.0):
    """What a limiter says of one who goes at one rate after another until refused, and then rests for a while."""
    evidence, at = Evidence(), since
    for rate in rates:
        admitted = True
        while admitted:
            admitted = limiter.take(at).admitted
            note(evidence, at, 1, admitted=admitted)
            at += 1.0 / rate
        at += lockout
    evidence.count()
    return evidence


def above(rate, times):
    dice = random.Random(1)
    return [rate * dice.uniform(1.03, 1.3) for _ in range(times)]


def test_a_rate_that_is_known_narrowly_is_found_again_where_no_grid_has_it():
    # Nearly a minute, between whose hits is always a second in which nothing was sent.
    evidence = locked_out(TokenBucket(339.0, 200), above(339.0, 12), lockout=1.0)
    found = evidence.bucket(0.005, 450.0, (336.0, 342.0))

    assert found.loss < 1.0
    assert found.low <= 339.0 <= found.high
    assert found.high < 1.05 * found.low
    assert found.depth == pytest.approx(200, rel=0.1)


def test_a_rate_that_was_believed_wrongly_is_found_all_the_same():
    evidence = tried(NginxLimitReq(50, 5), 50.0, 3)
    found = evidence.bucket(EVEN, 65.0, (10.0, 11.0))

    assert found.loss < 1.0
    assert 0.98 * found.low <= 50.0 <= 1.02 * found.high


def test_a_bucket_does_not_explain_a_refusal_after_a_long_rest():
    evidence = given("++++-+++-", gap=0.1)
    evidence.refused(60.0, 1)
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
def test_windows_that_are_fixed_explain_themselves(window):
    evidence = seen(FixedWindow(round(50 * window), window), even(80.0, 4 * window, since=1000.4))
    found = evidence.fixed(window, (999.9, 1000.2), EVEN)

    assert found.loss < 1.0
    assert found.low == pytest.approx(50.0, rel=0.05)


@pytest.mark.parametrize(
    "boundary", [(1000.0, 1000.0), (999.9, 1000.2), (1000.0, 1001.0), (1000.35, 1001.35), (7.5, 8.5)]
)
@pytest.mark.parametrize("shift", [0.0, 0.13, 0.5, 0.77])
def test_a_window_is_found_wherever_it_began(boundary, shift):
    limiter = FixedWindow(50, 1.0)
    # The same requests, on a clock on which the window begins at another part of the second.
    evidence = Evidence()
    for at in even(80.0, 5.0, since=1000.4):
        note(evidence, at + shift, 1, admitted=limiter.take(at).admitted)
    evidence.count()
    found = evidence.fixed(1.0, (boundary[0] + shift, boundary[1] + shift), EVEN)

    assert found.loss < 1.0
    assert found.low == pytest.approx(50.0, rel=0.05)


def test_windows_that_began_at_another_moment_explain_less():
    evidence = seen(FixedWindow(50, 1.0), even(80.0, 5.0, since=1000.4))

    assert evidence.fixed(1.0, (1000.3, 1000.4), EVEN).loss > 5.0


@pytest.mark.parametrize(("later", "explained"), [(0.0005, True), (0.004, True), (0.1, False)])
def test_a_refusal_just_after_a_boundary_counts_before_it(later, explained):
    evidence = Evidence()
    for window in range(4):
        for n in range(20):
            evidence.add(1000.2 + window + n / 40, 1)
        # Nothing was sent in between, so that it is the first in its window.
        evidence.refused(1001.0 + window + later, 1)
    evidence.count()

    assert (evidence.fixed(1.0, (1000.0, 1000.0), 0.005).loss < 1.0) is explained


def test_of_a_block_the_first_refusal_counts_only():
    evidence = seen(FirstRequestWindow(50, 1.0, 3.0), even(80.0, 9.0))

    assert evidence.log(1.0, EVEN, block=True).loss < 1.0
    assert evidence.log(1.0, EVEN).loss > 5.0


@pytest.mark.parametrize("kind", ["log", "fixed", "bucket"])
def test_evidence_that_ends_with_a_refusal_is_explained_too(kind):
    evidence = seen(SlidingLog(20, 1.0), even(40.0, 0.6))
    found = {
        "log": lambda: evidence.log(1.0, EVEN),
        "fixed": lambda: evidence.fixed(1.0, (999.9, 999.9), EVEN),
        "bucket": lambda: evidence.bucket(EVEN, 40.0),
    }[kind]()

    assert found.loss < 2.0
    assert 0.0 <= found.low <= found.high


# What is in flight.


def in_flight(*pairs, gap=0.05):
    """Evidence of how many were in flight with what was admitted, or refused."""
    evidence = Evidence()
    for n, (many, admitted) in enumerate(pairs):
        note(evidence, n * gap, many, admitted=admitted)
    evidence.count()
    return evidence


def test_a_limit_of_what_is_in_flight_is_the_least_that_was_refused():
    evidence = in_flight(*[(8, True)] * 20, (9, False), (8, True), (12, False), *[(8, True)] * 20, (9, False))
    found = evidence.connections(LONG)

    assert (found.loss, found.high) == (0.0, 9.0)


def test_refusals_of_few_are_not_explained_by_what_is_in_flight():
    evidence = in_flight(*[(60, True)] * 20, (3, False), *[(60, True)] * 20, (5, False), *[(60, True)] * 5)

    assert evidence.connections(LONG).loss > 10.0


def test_what_is_in_flight_is_not_believed_to_be_limited_where_many_more_were_admitted():
    kept = in_flight(*[(8, True)] * 20, (9, False), *[(8, True)] * 40, (9, False))
    broken = in_flight(*[(8, True)] * 20, (9, False), *[(14, True)] * 40, (9, False))

    assert kept.connections(LONG).loss < 1.0
    assert broken.connections(LONG).loss > 6.0


def test_a_second_in_which_more_were_admitted_speaks_against_it():
    kept = [*[(19, True)] * 20, *[(20, False)] * 25] * 3
    broken = [*[(30, True)] * 20, *[(20, False)] * 25]

    assert in_flight(*kept).connections(LONG).loss < 1.0
    assert in_flight(*kept, *broken).connections(LONG).loss > 3.0


def test_a_few_more_on_their_way_back_are_no_contradiction():
    evidence = in_flight(*[(60, True)] * 20, (60, False), *[(62, True)] * 3, *[(58, True)] * 20, (61, False))

    assert evidence.connections(LONG).loss < 3.0


def test_a_refusal_with_few_in_flight_speaks_against_it():
    alike = [*[(19, True)] * 20, (20, False)] * 6
    odd = [*[(19, True)] * 10, (3, False), *[(19, True)] * 10, (20, False)]

    assert in_flight(*alike).connections(LONG).loss < 1.0
    assert in_flight(*alike, *odd).connections(LONG).loss > 6.0
    # A few may have come in another order: the limit is still what most of them met.
    assert in_flight(*alike, *odd).connections(LONG).high == 20


def test_what_is_refused_when_all_that_was_admitted_is_back_is_not_for_what_is_in_flight():
    few = [*[(5, True)] * 20, *[(6, False)] * 10, (5, True)]

    assert in_flight(*few, *few).connections(LONG).loss < 1.0
    assert in_flight(*few, *few).connections(0.01).loss > 4.0
    # How long that takes is not known well at first.
    assert in_flight(*few).connections(0.01).loss < 1.0


def test_where_nothing_was_refused_no_limit_is_known():
    assert in_flight((5, True), (6, True)).connections(LONG).high == math.inf


def test_evidence_that_ends_with_a_refusal_has_a_limit_of_what_is_in_flight():
    assert in_flight((5, True), (6, False)).connections(LONG).high == 6


# What is not explained.


@pytest.mark.parametrize(
    ("levels", "least", "most"),
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
def test_refusals_that_came_too_early_are_not_explained(levels, least, most):
    assert least <= loss(levels, 10.0, 1.0) <= most


def test_the_highest_that_was_admitted_may_be_noise_itself():
    assert loss([9.0] * 50, 10.0, 1.0) == 1.0
