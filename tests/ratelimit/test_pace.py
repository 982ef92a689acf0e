"""How long answers take."""

import pytest

from clarus_async.ratelimit.pace import RoundTrip


def test_the_round_trip_is_smoothed():
    trip = RoundTrip()
    for _ in range(100):
        trip.add(0.05)
    for _ in range(100):
        trip.add(0.07)

    assert trip.seconds == pytest.approx(0.07, rel=0.01)
    assert trip.jitter < 0.001


def test_answers_that_vary_have_jitter():
    trip = RoundTrip()
    for n in range(200):
        trip.add(0.05 + 0.01 * (n % 2))

    assert trip.jitter == pytest.approx(0.01, rel=0.1)
    assert trip.margin == pytest.approx(trip.jitter + 0.002)


def test_an_outlier_counts_as_twice_a_round_trip():
    trip = RoundTrip()
    for _ in range(100):
        trip.add(0.05)
    trip.add(60.0)

    assert trip.seconds < 0.06
    assert trip.jitter < 0.02


def test_a_round_trip_that_stays_longer_is_learned_all_the_same():
    trip = RoundTrip()
    trip.add(0.05)
    for _ in range(100):
        trip.add(2.0)

    assert trip.seconds == pytest.approx(2.0, rel=0.05)
