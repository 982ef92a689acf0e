"""How fast to go where nobody says."""

import pytest

from clarus_async.policy.growth import LEAST_CUT, Cubic, QuickStart, UsedClock, back_in, cut


def use(curve, seconds, since=0.0):
    """Make use of a rate; return the moment of the last request."""
    now, until = since, since + seconds
    while now < until:
        curve.sent(now)
        now += 1.0 / curve.rate()
    curve.sent(until)
    return until


def test_a_clock_counts_the_time_that_was_used():
    clock = UsedClock()
    for n in range(11):
        clock.sent(5.0 + n / 10, 10.0)

    assert clock.time == pytest.approx(1.0)


def test_of_a_pause_it_counts_two_slots():
    clock = UsedClock()
    clock.sent(5.0, 10.0)
    clock.sent(5_000.0, 10.0)

    assert clock.time == pytest.approx(0.2)


def test_the_quick_start_begins_gently_and_then_doubles():
    quick = QuickStart(None)
    rates = [quick.rate()]
    now = 0.0
    for _ in range(5):
        now = use(quick, 0.7, now)
        rates.append(quick.rate())

    assert rates[0] == 40.0
    assert rates[1] < 2.5 * rates[0]
    assert rates[5] / rates[4] == pytest.approx(4.0, rel=0.01)


def test_it_never_overflows():
    quick = QuickStart(1e-3)
    for n in range(100):
        quick.sent(n * 1e3)

    assert 1e6 < quick.rate() < 1e12


@pytest.mark.parametrize("curve", [lambda: QuickStart(None), lambda: Cubic(100.0, 0.7, 10.0)])
def test_where_others_count_the_time_it_grows_by_theirs(curve):
    alone, together = curve(), curve()
    use(alone, 3.0)
    together.use(3.0)

    assert together.rate() == pytest.approx(alone.rate(), rel=0.02)


def test_a_start_is_where_it_begins():
    quick = QuickStart(200.0)
    quick.sent(1.0)

    assert quick.rate() == 200.0
    assert quick.wait(1.0, 10_000, 0) == pytest.approx(0.0, abs=0.001)
    quick.sent(1.0)
    assert quick.wait(1.0, 10_000, 0) == pytest.approx(0.005, abs=0.001)


@pytest.mark.parametrize(("proved", "window"), [(0, 2), (50, 3), (100, 18), (200, 258)])
def test_its_window_opens_with_what_was_proved(proved, window):
    quick = QuickStart(None)
    quick.sent(1.0)

    assert quick.wait(1.0, window - 1, proved) == 0.0
    assert quick.wait(1.0, window, proved) != 0.0


@pytest.mark.parametrize(("proved", "most"), [(0, 5), (10, 5), (30, 25)])
def test_past_the_window_time_decides_up_to_a_second(proved, most):
    quick = QuickStart(None)
    quick.sent(1.0)

    assert quick.wait(1.0, most - 1, proved) == pytest.approx(1 / 40 - 0.005)


@pytest.mark.parametrize(("proved", "most"), [(0, 5), (10, 5), (30, 25)])
def test_where_too_many_are_under_way_the_next_goes_a_second_after_the_last(proved, most):
    quick = QuickStart(None)
    quick.sent(0.5)
    quick.sent(1.0)

    assert [quick.wait(now, most, proved) for now in (1.0, 1.75, 2.0, 60.0)] == [1.0, 0.25, 0.0, 0.0]


def test_a_cubic_comes_back_to_the_limit_in_time_and_goes_past_it():
    curve = Cubic(50.0, 0.8, 5.0)
    rates = [curve.rate()]
    now = 0.0
    for seconds in (4.0, 1.0, 2.0, 2.0):
        now = use(curve, seconds, now)
        rates.append(curve.rate())

    assert rates[0] == pytest.approx(40.0)
    assert 49.0 < rates[1] < rates[2] == pytest.approx(50.0, rel=0.001)
    assert rates[3] == pytest.approx(55.0, rel=0.01)
    assert rates[4] == pytest.approx(65.0, rel=0.01)


@pytest.mark.parametrize(("limit", "past"), [(1.0, 0.2), (50.0, 0.1), (1e4, 0.05)])
def test_past_it_the_greater_rate_is_the_gentler(limit, past):
    curve = Cubic(limit, 1.0, 5.0)
    use(curve, 7.0)

    assert curve.rate() == pytest.approx(limit * (1.0 + past), rel=0.01)


def test_a_cubic_never_overflows():
    curve = Cubic(1e-3, 1.0, 4.2)
    for n in range(100):
        curve.sent(n * 1e3)

    assert 1e6 < curve.rate() < 1e12


def test_a_rate_that_is_held_stays_below_its_limit():
    curve = Cubic(50.0, 0.8, 5.0)
    use(curve, 5.0)
    curve.hold(1.5)

    assert 49.0 < curve.rate() < 50.0


def test_holding_a_rate_that_grew_past_the_limit_makes_it_the_limit():
    curve = Cubic(50.0, 0.8, 5.0)
    use(curve, 7.0)
    curve.hold(1.5)

    assert curve.peak == pytest.approx(55.0, rel=0.01)
    assert curve.rate() < curve.peak


def test_holding_a_rate_that_is_not_back_yet_changes_nothing():
    curve = Cubic(50.0, 0.8, 5.0)
    use(curve, 1.0)
    before = curve.rate()
    curve.hold(1.5)

    assert (curve.rate(), curve.peak) == (before, 50.0)


@pytest.mark.parametrize(
    ("limit", "retry_after", "window", "seconds"),
    [
        (1e6, 0.0, 0.0, 4.2),
        (10.0, 0.0, 0.0, 6.0),
        (0.1, 0.0, 0.0, 30.0),
        (50.0, 1.0, 0.0, 30.0),
        (50.0, 2.0, 0.0, 60.0),
        (50.0, 60.0, 0.0, 4.2),
        (50.0, 0.0, 60.0, 48.0),
    ],
)
def test_the_time_back_to_a_limit(limit, retry_after, window, seconds):
    assert back_in(limit, retry_after, window) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("rate", "admitted", "limit"),
    [
        (50.0, 60, 50.0),  # at the limit, and that much was admitted
        (50.0, 44, 45.0),  # what was admitted, and one
        (50.0, 0, 25.0),  # never by more than half
        (50.0, 24, 25.0),
        (54.0, 60, 52.0),  # the limit lies between the last one and what was refused
        (54.0, 40, 41.0),
        (54.0, 0, 26.0),
        (56.0, 60, 56.0),  # too far above to say
        (80.0, 60, 61.0),
        (80.0, 0, 40.0),
        (40.0, 60, 40.0),
    ],
)
def test_where_a_refusal_puts_the_limit(rate, admitted, limit):
    assert cut(rate, 50.0, admitted, 100, None)[0] == pytest.approx(limit)


@pytest.mark.parametrize(
    ("rate", "average", "limit"),
    [(50.0, 45.0, 45.0), (50.0, 60.0, 50.0), (50.0, 10.0, 25.0), (40.0, 35.0, 35.0), (80.0, 45.0, 61.0)],
)
def test_below_the_limit_an_average_counts_where_there_is_one(rate, average, limit):
    assert cut(rate, 50.0, 60, 100, average)[0] == pytest.approx(limit)


@pytest.mark.parametrize(("answers", "part"), [(0, 0.8), (1, 0.8), (10, 0.8), (20, 0.9), (100, 0.98), (1_000, 0.985)])
def test_the_more_answers_the_smaller_the_cut(answers, part):
    assert cut(50.0, 50.0, 60, answers, None)[1] == pytest.approx(part)
    assert part <= LEAST_CUT


def test_nothing_admitted_halves_the_limit():
    assert cut(0.6, 1.0, 0, 0, 0.0)[0] == 0.3


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_no_refusal_raises_the_limit(rate):
    assert cut(rate, rate, 0, 5, None)[0] <= rate
