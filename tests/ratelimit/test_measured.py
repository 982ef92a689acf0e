"""How long answers take, and what was admitted when."""

import itertools

import pytest

from clarus_async.ratelimit.measured import Admitted, RoundTrip


def test_the_round_trip_is_smoothed():
    trip = RoundTrip()
    for _ in range(100):
        trip.add(0.05)
    for _ in range(100):
        trip.add(0.07)

    assert trip.seconds == pytest.approx(0.07, rel=0.01)
    assert trip.unevenness < 0.001


def test_answers_that_vary_are_uneven():
    trip = RoundTrip()
    for n in range(200):
        trip.add(0.05 + 0.01 * (n % 2))

    assert trip.unevenness == pytest.approx(0.01, rel=0.1)
    assert trip.margin == pytest.approx(trip.unevenness + 0.002)


def test_an_outlier_counts_as_twice_a_round_trip():
    trip = RoundTrip()
    for _ in range(100):
        trip.add(0.05)
    trip.add(60.0)

    assert trip.seconds < 0.06
    assert trip.unevenness < 0.02


def test_a_round_trip_that_stays_longer_is_learned_all_the_same():
    trip = RoundTrip()
    trip.add(0.05)
    for _ in range(100):
        trip.add(2.0)

    assert trip.seconds == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("order", list(itertools.permutations((1.0, 1.2, 1.4))))
def test_what_was_admitted_is_counted_in_whatever_order_it_is_heard_of(order):
    admitted = Admitted()
    for at in order:
        admitted.add(at)

    assert [admitted.since(at) for at in (0.9, 1.0, 1.3, 1.4)] == [3, 2, 1, 0]
    assert [admitted.first(at, 9.0) for at in (0.9, 1.0, 1.4)] == [1.0, 1.2, 9.0]
