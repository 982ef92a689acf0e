"""How many may be under way, and when more are tried."""

import math

from clarus_async.ratelimit.cap import Cap


def kept(cap, now, *, under_way, each=0.01, at_most=10_000):
    """Have requests admitted until more are tried; return how many there were."""
    before = cap.most
    for count in range(1, at_most):
        cap.admitted(now + count * each, now + count * each, under_way)
        if cap.most > before:
            return count
    return at_most


def test_at_first_there_is_none():
    cap = Cap()
    cap.refused()

    assert cap.most == math.inf


def test_a_quarter_more_is_tried_when_three_times_as_many_were_admitted():
    cap = Cap()
    cap.keep(20.0, 1000.0)

    assert kept(cap, 1000.0, under_way=20) == 60
    assert cap.most == 25.0


def test_more_are_tried_only_where_as_many_were_used():
    cap = Cap()
    cap.keep(20.0, 1000.0)

    assert kept(cap, 1000.0, under_way=10, at_most=500) == 500


def test_what_was_sent_before_it_tells_nothing():
    cap = Cap()
    cap.keep(4.0, 1000.0)
    for _ in range(100):
        cap.admitted(999.9, 1001.0, 4)

    assert cap.most == 4.0


def test_after_a_try_that_was_refused_the_next_is_later_and_smaller():
    cap = Cap()
    cap.keep(32.0, 1000.0)
    kept(cap, 1000.0, under_way=32)
    cap.refused()
    cap.keep(32.0, 1001.0)

    assert kept(cap, 1001.0, under_way=32) >= 800
    assert cap.most == 34.0


def test_a_refusal_without_a_try_is_no_failed_one():
    cap = Cap()
    cap.keep(8.0, 1000.0)
    cap.refused()
    cap.keep(8.0, 1001.0)

    assert kept(cap, 1001.0, under_way=8) == 24
