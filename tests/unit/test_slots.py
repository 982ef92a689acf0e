"""Evenly spaced slots, and what is made up for."""

import itertools

import pytest

from clarus_async.policy.slots import Slots

HOUR = 3600.0


def go(slots, now, rate, *, limit=None, margin=0.0, strict=False, most=1_000):
    """Take the slots that may be taken at one moment; return how many."""
    taken = 0
    while taken < most and slots.wait(now, rate if limit is None else limit, margin) == 0.0:
        slots.take(now, rate, strict=strict)
        taken += 1
    return taken


def prompt(slots, since, until, rate, *, strict=False, **options):
    """Take each slot as soon as it may be taken; return when."""
    times, now = [], since
    while now < until:
        times += [now] * go(slots, now, rate, strict=strict, most=1, **options)
        # A wait that the clock can't show is one all the same.
        now += max(slots.wait(now, options.get("limit", rate), options.get("margin", 0.0)), 1e-9)
    return times


def most_within_a_second(times):
    most = since = 0
    for until, at in enumerate(times):
        while times[since] + 1.0 <= at:
            since += 1
        most = max(most, until - since + 1)
    return most


def test_the_first_goes_at_once():
    assert Slots(None).wait(0.0, 10.0, 0.0) == 0.0


@pytest.mark.parametrize("burst", [None, 1])
@pytest.mark.parametrize("rate", [0.1, 1.0, 10.0, 50.0])
def test_whoever_is_prompt_has_a_slot_every_so_often(rate, burst):
    slots = Slots(burst)
    times = prompt(slots, 0.0, 100.0, rate)
    # At first, a timer's lateness or a tenth of a second's worth goes at once.
    steps = [after - before for before, after in itertools.pairwise(times[int(0.1 * rate) + 2 :])]

    assert steps == pytest.approx([1.0 / rate] * len(steps), abs=0.01)


@pytest.mark.parametrize(("every", "part"), [(0.01, 0.99), (0.03, 0.99), (0.07, 0.96), (0.09, 0.94)])
def test_what_was_late_is_made_up_for(every, part):
    slots, now, taken = Slots(None), 0.0, 0
    while now < 10.0:
        taken += go(slots, now, 50.0, limit=51.0)
        now += every

    assert taken >= part * 500


def test_what_was_later_than_a_tenth_of_a_second_is_lost():
    slots, now, taken = Slots(None), 0.0, 0
    while now < 10.0:
        taken += go(slots, now, 50.0, limit=1e6)
        now += 0.2

    assert 50 * 5 <= taken <= 50 * 6


@pytest.mark.parametrize("rate", [0.5, 1.0, 10.0, 50.0, 1_000.0])
def test_after_an_idle_hour_a_tenth_of_a_second_s_worth_goes_at_once(rate):
    slots = Slots(None)
    go(slots, 0.0, rate)

    assert max(1, 0.1 * rate) <= go(slots, HOUR, rate) <= 0.1 * rate + 1


@pytest.mark.parametrize("rate", [0.5, 7.5, 10.0, 49.1, 150.0])
@pytest.mark.parametrize("lateness", [0.0, 0.01, 0.09, 0.3])
def test_no_second_holds_more_than_the_limit(rate, lateness):
    slots, now, times = Slots(None), HOUR, []
    while now < HOUR + 20.0:
        wait = slots.wait(now, rate, 0.0)
        if wait == 0.0:
            slots.take(now, rate, strict=False)
            times.append(now)
        else:
            now += wait + lateness

    assert most_within_a_second(times) <= -(-rate // 1)


def test_a_margin_makes_that_second_longer():
    slots = Slots(None)
    for n in range(10):
        slots.take(n * 0.01, 100.0, strict=False)

    assert slots.wait(0.5, 10.0, 0.0) == pytest.approx(0.5)
    assert slots.wait(0.5, 10.0, 0.2) == pytest.approx(0.7)
    assert slots.wait(1.0, 10.0, 0.0) == 0.0
    assert slots.wait(1.0, 11.0, 0.2) == 0.0


@pytest.mark.parametrize(("limit", "wait"), [(9.0, 0.61), (9.1, 0.6), (10.0, 0.6), (10.1, 0.0)])
def test_a_limit_that_is_no_whole_number_is_rounded_up(limit, wait):
    slots = Slots(None)
    for n in range(10):
        slots.take(n * 0.01, 100.0, strict=False)

    assert slots.wait(0.4, limit, 0.0) == pytest.approx(wait)


def test_a_lower_limit_counts_what_went_before_it():
    slots = Slots(None)
    prompt(slots, 0.0, 1.0, 50.0)

    assert slots.wait(slots.next, 10.0, 0.0) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("rate", [10.0, 100.0, 1_000.0])
def test_strictly_no_more_is_made_up_for_than_a_timer_s_lateness(rate):
    slots = Slots(None)
    go(slots, 0.0, rate, strict=True)

    assert go(slots, HOUR, rate, strict=True) <= 0.005 * rate + 1


@pytest.mark.parametrize("burst", [1, 2, 20, 1_000])
def test_a_burst_goes_at_once_after_a_pause_and_is_restored_with_time(burst):
    slots = Slots(burst)
    at_once = [go(slots, now, 10.0, most=2_000) for now in (100.0, 100.05, 100.15, HOUR)]

    assert at_once == [burst, 0, 1, burst]


@pytest.mark.parametrize("rate", [1_000.0, 10_000.0])
def test_a_burst_is_meant_but_for_a_slot(rate):
    slots = Slots(1)
    go(slots, 0.0, rate)

    assert go(slots, HOUR, rate) <= 2


@pytest.mark.parametrize("rate", [0.5, 10.0, 150.0])
@pytest.mark.parametrize("burst", [1, 5, 20])
def test_with_a_burst_a_second_holds_that_many_more(rate, burst):
    slots = Slots(burst)
    times = [*prompt(slots, 0.0, 5.0, rate), *prompt(slots, HOUR, HOUR + 20.0, rate)]

    assert most_within_a_second(times) <= -(-rate // 1) + burst - 1
    assert len(times) >= 0.97 * 25 * rate


def test_anew_begins_a_slot_after_now_and_gives_half_of_it_back():
    slots = Slots(None)
    slots.take(5.0, 0.1, strict=False)
    slots.anew(5.0, 10.0)

    assert slots.next == pytest.approx(5.05)


def test_anew_never_begins_sooner_than_half_a_slot():
    slots = Slots(None)
    slots.anew(5.0, 10.0)

    assert slots.wait(5.0, 10.0, 0.0) == pytest.approx(0.05)


def test_what_is_more_than_a_second_old_is_forgotten():
    slots = Slots(1_000_000)

    assert go(slots, 1e6, 1.0, most=20_000) == 20_000
    assert len(slots._sent) == 20_000
    slots.wait(1e6 + 2.0, 1.0, 0.0)
    assert len(slots._sent) == 0


@pytest.mark.parametrize("clock", [0.0, 1e6])
def test_a_slot_that_is_given_back_is_the_next_ones(clock):
    slots = Slots(burst=1)
    slots.take(clock, 0.5, strict=False)
    assert slots.wait(clock + 2.0, 1.0, 0.0) == 0.0
    slots.take(clock + 2.0, 0.5, strict=False)
    slots.give_back(clock + 2.0, 0.5)
    assert slots.wait(clock + 2.02, 1.0, 0.0) == 0.0
    slots.take(clock + 2.02, 0.5, strict=False)
    assert slots.wait(clock + 2.02, 1.0, 0.0) == pytest.approx(2.0, abs=0.03)


def test_what_was_taken_long_ago_is_not_given_back():
    slots = Slots(burst=1)
    slots.take(1.0, 0.5, strict=False)
    before = slots.next
    slots.give_back(0.5, 0.5)
    assert slots.next == before
