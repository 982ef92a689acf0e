"""How many may be in flight, and when more are tried."""

import math

from clarus_async.ratelimit.search import ConcurrencySearch


def kept(search, now, *, in_flight, each=0.01, at_most=10_000):
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

    assert kept(search, 1000.0, in_flight=20) == 60
    assert search.cap == 25.0


def test_more_are_tried_only_where_as_many_were_used():
    search = ConcurrencySearch()
    search.start(20.0, 1000.0)

    assert kept(search, 1000.0, in_flight=10, at_most=500) == 500


def test_what_was_sent_before_it_tells_nothing():
    search = ConcurrencySearch()
    search.start(4.0, 1000.0)
    for _ in range(100):
        search.admitted(999.9, 1001.0, 4)

    assert search.cap == 4.0


def test_after_a_try_that_was_refused_the_next_is_later_and_smaller():
    search = ConcurrencySearch()
    search.start(32.0, 1000.0)
    kept(search, 1000.0, in_flight=32)
    search.refused()
    search.start(32.0, 1001.0)

    assert kept(search, 1001.0, in_flight=32) >= 800
    assert search.cap == 34.0


def test_a_refusal_without_a_try_is_no_failed_one():
    search = ConcurrencySearch()
    search.start(8.0, 1000.0)
    search.refused()
    search.start(8.0, 1001.0)

    assert kept(search, 1001.0, in_flight=8) == 24
