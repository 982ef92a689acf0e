"""Whose a 503 is: a rate limiter's, or a server's that can't answer."""

from __future__ import annotations

import pytest

from clarus_async.ratelimit.pace import Sent
from clarus_async.ratelimit.unavailable import UnavailableClassifier

CLOCKS = pytest.mark.parametrize("clock", [0.0, 1e6])


def sent(at):
    return Sent(at, None)


def busy(clock, *, until=1.0, round_trip=0.1):
    """What is known after answers that came every 50 ms."""
    classifier = UnavailableClassifier()
    at = clock
    while at + round_trip < clock + until:
        classifier.admitted(sent(at), at + round_trip)
        at += 0.05
    return classifier


@CLOCKS
def test_one_that_comes_at_once_while_others_are_admitted_is_a_limiters(clock):
    assert busy(clock).is_limiters(sent(clock + 1.0), clock + 1.001)


@CLOCKS
def test_after_many_answers_of_which_few_are_measured_it_is_judged_alike(clock):
    assert busy(clock, until=20.0).is_limiters(sent(clock + 20.0), clock + 20.001)
    assert not busy(clock, until=20.0).is_limiters(sent(clock + 20.0), clock + 22.0)


@CLOCKS
def test_one_that_comes_after_a_timeout_is_a_gateways(clock):
    assert not busy(clock).is_limiters(sent(clock + 1.0), clock + 3.0)


@CLOCKS
def test_one_that_comes_where_nobody_was_admitted_proves_nothing(clock):
    assert not UnavailableClassifier().is_limiters(sent(clock), clock + 0.001)
    assert not busy(clock).is_limiters(sent(clock + 10.0), clock + 10.001)


@CLOCKS
def test_a_limiter_that_was_hit_goes_on_refusing_until_its_window_ends(clock):
    classifier = busy(clock)
    assert classifier.is_limiters(sent(clock + 1.0), clock + 1.01)
    for later in (5.0, 20.0, 59.0):
        assert classifier.is_limiters(sent(clock + later), clock + later + 0.01)


@CLOCKS
def test_what_refuses_for_longer_than_a_minute_is_an_outage(clock):
    classifier = busy(clock)
    assert classifier.is_limiters(sent(clock + 1.0), clock + 1.01)
    assert not classifier.is_limiters(sent(clock + 62.0), clock + 62.01)
    assert not classifier.is_limiters(sent(clock + 63.0), clock + 63.01)


@CLOCKS
def test_alone_is_who_was_sent_after_the_last_that_was_admitted(clock):
    classifier = UnavailableClassifier()
    assert classifier.nobody_admitted_since(sent(clock))
    classifier.admitted(sent(clock), clock + 1.0)
    assert not classifier.nobody_admitted_since(sent(clock + 0.5))
    assert classifier.nobody_admitted_since(sent(clock + 1.5))


@CLOCKS
def test_a_pace_that_falls_and_falls_and_is_refused_as_before_meets_no_limiter(clock):
    classifier = busy(clock)
    assert not classifier.refutes_limiter(None, clock + 1.0)
    for step, rate in enumerate((100.0, 60.0, 20.0)):
        at = clock + 1.0 + step / 10
        assert classifier.is_limiters(sent(at), at + 0.01)
        assert not classifier.refutes_limiter(rate, at + 0.01)
    assert classifier.is_limiters(sent(clock + 1.4), clock + 1.41)
    assert classifier.refutes_limiter(2.0, clock + 1.41)
    assert not classifier.is_limiters(sent(clock + 1.5), clock + 1.51)
    # It is looked at anew after a while.
    classifier.admitted(sent(clock + 70.0), clock + 70.1)
    assert classifier.is_limiters(sent(clock + 70.2), clock + 70.21)


@CLOCKS
def test_a_few_refusals_are_what_is_left_of_a_faster_pace(clock):
    classifier = busy(clock)
    assert classifier.is_limiters(sent(clock + 1.0), clock + 1.01)
    assert not classifier.refutes_limiter(100.0, clock + 1.01)
    assert classifier.is_limiters(sent(clock + 1.1), clock + 1.11)
    assert not classifier.refutes_limiter(2.0, clock + 1.11)
