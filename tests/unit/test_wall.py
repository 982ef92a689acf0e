"""Walls, and the windows that they betray."""

import itertools

import pytest

from clarus_async.policy.wall import Wall


def probes(wall, until):
    """Probe whenever one is due, each answered after 20 ms, until the wall falls; return when each was refused."""
    at = []
    while wall.due < until:
        now = wall.due
        at.append(now)
        wall.refused(now, now + 0.02)
    return at


def turned(wall, since, turn, admitted=600):
    """Spend a window's quota, meet its wall a second later, and probe until the turn; return the refusals and the rate.

    Args:
        wall: the tenant's.
        since: when the window began.
        turn: when the next begins.
        admitted: requests, with the one that finds out of the turn.
    """
    wall.watch(since, anew=False)
    for _ in range(admitted - (wall.window == 0.0)):
        wall.admitted += 1
    wall.meet(since + 11.0, since + 12.0)
    refused = probes(wall, turn)
    wall.admitted += 1
    return refused, wall.opened(wall.due)


def test_a_wall_is_up_from_its_meeting_to_its_opening():
    wall = Wall()
    seen = [wall.up]
    wall.meet(1.0, 2.0)
    seen += [wall.up, wall.due]
    wall.opened(2.0)

    assert [*seen, wall.up] == [False, True, 2.0, False]


def test_the_steps_grow_with_the_wall():
    wall = Wall()
    wall.meet(0.0, 0.1)
    at = probes(wall, 300.0)
    steps = [after - before for before, after in itertools.pairwise(at)]

    assert steps[0] == pytest.approx(0.02 + 0.06)
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(steps))
    assert 3.0 in [round(step, 1) for step in steps]
    assert steps[-1] > 10.0


def test_probes_keep_a_distance_however_short_the_wall():
    wall = Wall()
    wall.meet(0.0, 0.0)
    wall.refused(0.0, 0.001)

    assert wall.due == pytest.approx(0.021)


def test_a_short_wall_betrays_nothing():
    wall = Wall()
    wall.watch(0.0, anew=False)
    wall.meet(1.0, 1.5)

    assert (wall.opened(1.5), wall.window) == (None, 0.0)


def test_what_was_admitted_from_opening_to_opening_is_the_quota():
    wall = Wall()
    rates = [turned(wall, 60.0 * n, 60.0 * (n + 1))[1] for n in range(3)]

    assert rates == pytest.approx([10.0, 10.0, 10.0], rel=0.1)
    assert wall.window == pytest.approx(60.0, rel=0.1)


def test_what_was_admitted_before_a_pause_of_traffic_does_not_count():
    wall = Wall()
    wall.watch(0.0, anew=False)
    for _ in range(100):
        wall.admitted += 1
    wall.watch(50.0, anew=True)
    for _ in range(31):
        wall.admitted += 1
    wall.meet(55.0, 60.0)

    assert wall.opened(60.0) == 3.0


@pytest.mark.parametrize(("admitted", "rate"), [(0, None), (20, None), (21, 2.0)])
def test_a_handful_tells_of_no_quota(admitted, rate):
    wall = Wall()
    wall.watch(0.0, anew=False)
    for _ in range(admitted):
        wall.admitted += 1
    wall.meet(5.0, 10.0)

    assert wall.opened(10.0) == rate
    assert wall.window == 10.0


def test_what_a_wall_tells_is_of_the_window_before_it():
    wall = Wall()
    turned(wall, 0.0, 60.0)
    opened = wall._opened
    wall.meet(opened + 1.0, opened + 5.0)

    assert wall.opened(opened + 5.0) is None


def test_a_wall_that_nothing_was_sent_before_betrays_no_rate():
    wall = Wall()
    wall.meet(1.0, 6.0)

    assert wall.opened(6.0) is None


def test_once_two_openings_have_shown_the_window_a_probe_is_placed_at_its_turn():
    wall = Wall()
    refused = [len(turned(wall, 60.0 * n, 60.0 * (n + 1))[0]) for n in range(4)]

    assert refused[2] < refused[0]
    assert refused[3] <= refused[2]


def test_the_probe_at_the_turn_is_refused_if_the_window_is_longer():
    wall = Wall()
    for n in range(2):
        turned(wall, 60.0 * n, 60.0 * (n + 1))
    wall.watch(120.0, anew=False)
    wall.meet(131.0, 132.0)
    at = probes(wall, 250.0)

    assert len(at) > 10
    assert at == sorted(at)


def test_a_short_wall_in_a_long_window_betrays_that_one():
    wall = Wall()
    turned(wall, 0.0, 60.0)
    for _ in range(500):
        wall.admitted += 1
    opened = wall._opened
    wall.meet(opened + 59.0, opened + 59.5)

    assert wall.opened(opened + 59.5) == pytest.approx(500 / 59.5)
