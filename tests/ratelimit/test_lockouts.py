"""Lockouts, when to probe whether one still stands, and the windows that they reveal."""

import itertools

import pytest

from clarus_async.ratelimit.lockouts import Lockouts


def lockouts_of(*spans, refused_before=0.01, retry_after=0.0):
    """Lockouts from one moment to another, each ended by the probe after one that was refused a little before."""
    lockouts = Lockouts()
    for shut, opened in spans:
        lockouts.begin(shut, 0.01)
        lockouts.last_refused = opened - refused_before
        lockouts.end(opened, retry_after)
    return lockouts


def probes(lockouts, until, *, first=None, margin=0.0):
    """When it is probed while all probes are refused."""
    at, times = lockouts.began, []
    while at < until:
        at = lockouts.next_probe(at, first, margin)
        times.append(at)
    return times


def test_the_first_probe_is_a_slot_after_the_refusal():
    lockouts = Lockouts()
    lockouts.begin(10.0, 0.25)

    assert lockouts.first_probe(10.02) == 10.25
    assert lockouts.first_probe(11.0) == 11.0


def test_probes_become_rarer():
    lockouts = Lockouts()
    lockouts.begin(10.0, 0.02)
    times = probes(lockouts, 70.0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]

    assert len(times) <= 25
    assert min(gaps) >= 0.0199
    assert max(gaps[:3]) < 0.3 < max(gaps[-3:])
    # Nothing comes more than half of its length too late.
    assert all(gap <= 0.6 * (at - 10.0) + 0.1 for gap, at in zip(gaps, times, strict=False))


def test_windows_of_whole_seconds_are_guessed_first():
    lockouts = Lockouts()
    lockouts.begin(3.0, 0.02)
    times = probes(lockouts, 40.0, margin=0.005)

    # They began with the first request, at 0.
    for window in (5.0, 10.0, 20.0, 30.0):
        assert min(abs(at - window) for at in times) <= 0.15 * window
    assert any(at == pytest.approx(10.005) for at in times)


def test_a_second_from_the_refusal_is_probed_and_from_the_first_that_counted():
    lockouts = Lockouts()
    lockouts.begin(10.0, 0.02)

    assert lockouts.next_probe(10.9, 9.95, 0.005) == pytest.approx(11.005)
    assert lockouts.next_probe(10.8, 9.95, 0.005) == pytest.approx(10.955)


def test_a_short_lockout_reveals_no_window():
    assert lockouts_of((10.0, 11.1)).windows() == {}


def test_a_long_lockout_reveals_one():
    lockouts = lockouts_of((10.0, 20.0), (30.0, 40.0))

    assert min(lockouts.windows()) == pytest.approx(20.0)


def test_whole_seconds_are_likelier():
    lockouts = lockouts_of((3.0, 10.3), (15.0, 20.6), refused_before=0.8)

    windows = lockouts.windows()

    assert windows[10.0] < min(unlikely for window, unlikely in windows.items() if window != int(window))


def test_a_lockout_whose_end_was_announced_is_long_from_two_seconds_on():
    assert lockouts_of((10.0, 11.0), retry_after=1.0).windows() == {}
    assert lockouts_of((10.0, 12.0), retry_after=2.0).windows() == {}
    assert lockouts_of((10.0, 13.0), retry_after=3.0).windows() != {}


def test_a_lockout_of_less_than_a_second_is_that_of_none():
    lockouts = Lockouts()
    lockouts.reopened = 9.0
    lockouts.begin(9.2, 0.01)
    lockouts.end(9.9, 3.0)

    assert lockouts.windows() == {}


def test_where_the_first_of_all_was_refused_a_window_is_no_longer_than_the_lockout():
    assert lockouts_of((0.0, 5.5), refused_before=5.5).windows() == {
        5.5: 0.6,
        **dict.fromkeys((3.0, 4.0, 5.0), 0.6 - 0.2),
    }


def window_of(*lockouts):
    """The window that lockouts reveal which were met, still stood and were open at these moments; no whole seconds."""
    revealed = Lockouts()
    for shut, refused, opened in lockouts:
        revealed.begin(shut, 0.01)
        revealed.last_refused = refused
        revealed.end(opened, 0.0)
    return next(window for window in revealed.windows() if window != int(window))


# It is 10 s long, and long before it ended it was probed last.
LATE = [(5.0, 9.0, 10.1), (15.0, 16.9, 20.1)]


def test_lockouts_that_agree_narrow_a_window():
    assert abs(window_of(*LATE, (25.0, 29.9, 30.1)) - 10.0) < 0.6 < abs(window_of(*LATE) - 10.0)


def test_a_lockout_that_contradicts_the_last_is_of_another_window():
    assert min(lockouts_of((5.0, 10.0), (15.0, 20.0), (22.0, 25.0)).windows()) == pytest.approx(5.0, abs=0.1)


def test_short_lockouts_reveal_nothing():
    assert lockouts_of((3.0, 3.3), (6.0, 6.2)).windows() == {}


def test_what_outlasts_the_windows_that_are_known_is_probed_all_the_same():
    lockouts = lockouts_of((5.0, 10.0), (12.0, 20.0))
    lockouts.begin(22.0, 0.02)
    times = probes(lockouts, 300.0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]

    assert len(times) < 100
    # It should have ended after 18 s at the latest.
    assert all(gap <= 0.6 * (at - 22.0) for gap, at in zip(gaps, times, strict=False) if at > 40.0)


def test_few_lockouts_are_kept():
    lockouts = lockouts_of(*((10.0 * n + 5.0, 10.0 * n + 10.0) for n in range(20)))

    assert len(lockouts.long) <= 4
