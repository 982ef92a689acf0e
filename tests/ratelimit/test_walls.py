"""Walls, when to look whether one still stands, and the windows that they betray."""

import itertools

import pytest

from clarus_async.ratelimit.walls import Walls


def walls_of(*spans, refused_before=0.01, retry_after=0.0):
    """Walls from one moment to another, each opened by the look after one that was refused a little before."""
    walls = Walls()
    for shut, opened in spans:
        walls.meet(shut, 0.01)
        walls.refused = opened - refused_before
        walls.fall(opened, retry_after)
    return walls


def looks(walls, until, *, first=None, margin=0.0):
    """When it is looked while all looks are refused."""
    at, times = walls.shut, []
    while at < until:
        at = walls.next_look(at, first, margin)
        times.append(at)
    return times


def test_the_first_look_is_a_slot_after_the_refusal():
    walls = Walls()
    walls.meet(10.0, 0.25)

    assert walls.first_look(10.02) == 10.25
    assert walls.first_look(11.0) == 11.0


def test_looks_become_rarer():
    walls = Walls()
    walls.meet(10.0, 0.02)
    times = looks(walls, 70.0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]

    assert len(times) <= 25
    assert min(gaps) >= 0.0199
    assert max(gaps[:3]) < 0.3 < max(gaps[-3:])
    # Nothing comes more than half of its length too late.
    assert all(gap <= 0.6 * (at - 10.0) + 0.1 for gap, at in zip(gaps, times, strict=False))


def test_windows_of_whole_seconds_are_guessed_first():
    walls = Walls()
    walls.meet(3.0, 0.02)
    times = looks(walls, 40.0, margin=0.005)

    # They began with the first request, at 0.
    for window in (5.0, 10.0, 20.0, 30.0):
        assert min(abs(at - window) for at in times) <= 0.15 * window
    assert any(at == pytest.approx(10.005) for at in times)


def test_a_second_from_the_refusal_is_looked_at_and_from_the_first_that_counted():
    walls = Walls()
    walls.meet(10.0, 0.02)

    assert walls.next_look(10.9, 9.95, 0.005) == pytest.approx(11.005)
    assert walls.next_look(10.8, 9.95, 0.005) == pytest.approx(10.955)


def test_a_short_wall_betrays_no_window():
    assert walls_of((10.0, 11.1)).windows() == {}


def test_a_long_wall_betrays_one():
    walls = walls_of((10.0, 20.0), (30.0, 40.0))

    assert min(walls.windows()) == pytest.approx(20.0)


def test_whole_seconds_are_likelier():
    walls = walls_of((3.0, 10.3), (15.0, 20.6), refused_before=0.8)

    windows = walls.windows()

    assert windows[10.0] < min(unlikely for window, unlikely in windows.items() if window != int(window))


def test_a_wall_whose_end_was_told_is_long_from_two_seconds_on():
    assert walls_of((10.0, 11.0), retry_after=1.0).windows() == {}
    assert walls_of((10.0, 12.0), retry_after=2.0).windows() == {}
    assert walls_of((10.0, 13.0), retry_after=3.0).windows() != {}


def test_a_wall_of_less_than_a_second_is_that_of_none():
    walls = Walls()
    walls.opened = 9.0
    walls.meet(9.2, 0.01)
    walls.fall(9.9, 3.0)

    assert walls.windows() == {}


def test_where_the_first_of_all_was_refused_a_window_is_no_longer_than_the_wall():
    assert walls_of((0.0, 5.5), refused_before=5.5).windows() == {5.5: 0.6, **dict.fromkeys((3.0, 4.0, 5.0), 0.6 - 0.2)}


def window_of(*walls):
    """The window that walls betray which were met, still stood and were open at these moments; no whole seconds."""
    betrayed = Walls()
    for shut, refused, opened in walls:
        betrayed.meet(shut, 0.01)
        betrayed.refused = refused
        betrayed.fall(opened, 0.0)
    return next(window for window in betrayed.windows() if window != int(window))


# It is 10 s long, and long before it turned it was looked at last.
LATE = [(5.0, 9.0, 10.1), (15.0, 16.9, 20.1)]


def test_walls_that_agree_narrow_a_window():
    assert abs(window_of(*LATE, (25.0, 29.9, 30.1)) - 10.0) < 0.6 < abs(window_of(*LATE) - 10.0)


def test_a_wall_that_contradicts_the_last_is_of_another_window():
    assert min(walls_of((5.0, 10.0), (15.0, 20.0), (22.0, 25.0)).windows()) == pytest.approx(5.0, abs=0.1)


def test_short_walls_betray_nothing():
    assert walls_of((3.0, 3.3), (6.0, 6.2)).windows() == {}


def test_what_outlasts_the_windows_that_are_known_is_looked_at_all_the_same():
    walls = walls_of((5.0, 10.0), (12.0, 20.0))
    walls.meet(22.0, 0.02)
    times = looks(walls, 300.0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]

    assert len(times) < 100
    # It should have turned after 18 s at the latest.
    assert all(gap <= 0.6 * (at - 22.0) for gap, at in zip(gaps, times, strict=False) if at > 40.0)


def test_few_walls_are_kept():
    walls = walls_of(*((10.0 * n + 5.0, 10.0 * n + 10.0) for n in range(20)))

    assert len(walls.long) <= 4
