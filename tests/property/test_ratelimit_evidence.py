"""Whatever was admitted and refused, condensing it keeps every count, and moves little."""

from __future__ import annotations

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from clarus_async.ratelimit.evidence import Evidence, Run, _on_a_line
from tests.support.noting import note
from tests.support.strategies import quick

thorough = settings(quick, max_examples=100)

signs = st.booleans()
in_flight = st.integers(1, 40)
gaps = st.sampled_from([1e-4, 1e-3, 0.004, 0.01, 0.05]) | st.floats(1e-5, 0.05)


@st.composite
def blocks(draw, *, most):
    """Requests that were sent one after another: when, how many were in flight, and whether they were admitted."""
    events, at = [], draw(st.sampled_from([0.0, 1000.0]))
    for _ in range(draw(st.integers(3, most))):
        gap, admitted, others = draw(gaps), draw(signs), draw(in_flight)
        sways = draw(st.sampled_from([0.0, 0.0, 0.4, 0.95]))
        for n in range(draw(st.integers(1, 120))):
            events.append((at + gap * sways * (n * 0.618 % 1.0), others, admitted))
            at += gap
    return events


def known(events):
    evidence = Evidence()
    for at, others, admitted in events:
        note(evidence, at, others, admitted=admitted)
    return evidence


def exact(events, since, until):
    return sum(admitted and since <= at < until for at, _, admitted in events)


def moments(events):
    """When something was sent, and moments between."""
    times = sorted({at for at, _, _ in events})
    return times + [(one + other) / 2.0 for one, other in itertools.pairwise(times)] + [times[0] - 1.0, times[-1] + 1.0]


@thorough
@given(blocks(most=10))
def test_condensing_keeps_every_count(events):
    evidence = known(events)
    for _ in range(3):
        evidence.condense()

        assert evidence.admitted(-math.inf, math.inf) == sum(admitted for _, _, admitted in events)
        assert evidence.refusals == sum(not admitted for _, _, admitted in events)
        assert len(evidence._runs) < 400


@thorough
@given(blocks(most=10))
def test_condensing_keeps_the_order_and_what_was_sent_before_each_run(events):
    evidence = known(events)
    evidence.condense()
    runs = evidence._runs

    assert all(began <= ended for began, ended, *_ in runs)
    assert all(one.ended <= other.began for one, other in itertools.pairwise(runs))
    for began, *_ in runs:
        assert evidence.admitted(-math.inf, began) == exact(events, -math.inf, began)


@thorough
@given(st.lists(st.floats(0.0, 0.1), min_size=1, max_size=15), st.sampled_from([0.75, 1.5, 3.0]), in_flight, st.data())
def test_a_line_is_no_further_off_than_it_says(steps, off, others, data):
    times = [10.0, *itertools.accumulate(steps, initial=10.0 + data.draw(st.floats(1e-6, 0.1)))]
    events = [(at, others, True) for at in times]
    line = _on_a_line([Run(at, at, 1, float(others)) for at in times], off)
    if line is None:
        return
    evidence = Evidence([line])

    # The nth was sent when the line says n, give or take so many: a count up to a moment is as far off.
    assert line[2:] == (len(times), float(others), True)
    for until in moments(events):
        assert abs(evidence.admitted(-math.inf, until) - exact(events, -math.inf, until)) <= math.ceil(off)


@thorough
@given(st.lists(st.tuples(st.integers(1, 90), gaps, signs, in_flight), min_size=3, max_size=8), st.data())
def test_counts_of_even_requests_are_off_by_two_at_the_most_or_by_some_milliseconds(paces, data):
    events, at = [], 0.0
    for many, gap, admitted, others in paces:
        for _ in range(many):
            events.append((at, others, admitted))
            at += gap
    evidence = known(events)
    evidence.condense()
    times = moments(events)

    # Each end lies on one line, which is less than one request off, or among those that were sent within 4 ms.
    for _ in range(20):
        since, until = sorted((data.draw(st.sampled_from(times)), data.draw(st.sampled_from(times))))
        least, most = exact(events, since + 0.004, until - 0.004), exact(events, since - 0.004, until + 0.004)
        assert least - 2 <= evidence.admitted(since, until) <= most + 2


@thorough
@given(blocks(most=4), st.randoms(use_true_random=False))
def test_the_order_in_which_answers_come_changes_no_count_of_more_than_some_milliseconds(events, dice):
    shuffled = events[:200]
    dice.shuffle(shuffled)
    evidence = known(shuffled)

    assert evidence.refusals == sum(not admitted for _, _, admitted in shuffled)
    for at in moments(shuffled):
        count = evidence.admitted(-math.inf, at)
        assert exact(shuffled, -math.inf, at - 0.004) <= count <= exact(shuffled, -math.inf, at + 0.004)
