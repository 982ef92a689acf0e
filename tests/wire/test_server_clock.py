"""What an answer's Date proves of other moments."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarus_async.wire.server_clock import Dated

DATE = datetime(2026, 1, 10, 12, 0, 0, tzinfo=UTC)
WALL = datetime(2026, 1, 10, 15, 0, 0, tzinfo=UTC)  # ours is three hours ahead
TOLD = Dated(format_datetime(DATE, usegmt=True), 100.0, 104.0, WALL)


@pytest.mark.parametrize(
    ("at", "earliest", "latest"), [(100.0, -4, 1), (104.0, 0, 5), (164.0, 60, 65), (40.0, -64, -59)]
)
def test_other_moments_lie_within_what_the_round_trip_leaves_open(at, earliest, latest):
    assert TOLD.earliest(at) == DATE + timedelta(seconds=earliest)
    assert TOLD.latest(at) == DATE + timedelta(seconds=latest)


@given(
    written=st.floats(0.0, 30.0),
    waited=st.floats(0.0, 30.0),
    at=st.floats(-1000.0, 1000.0),
    offset=st.integers(-(10**4), 10**4),
)
def test_the_truth_is_always_between_them(written, waited, at, offset):
    # The server's clock is the monotonic one's plus some seconds; it wrote the Date between sending and receiving.
    server = DATE + timedelta(seconds=offset)
    wrote = (server + timedelta(seconds=written)).replace(microsecond=0)
    dated = Dated(format_datetime(wrote, usegmt=True), 0.0, written + waited, WALL)
    true = server + timedelta(seconds=at)
    shade = timedelta(microseconds=5)
    assert dated.earliest(at) <= true + shade
    assert dated.latest(at) >= true - shade


@pytest.mark.parametrize(
    ("at", "wall", "ago"),
    [
        (94.0, -10, 10),  # both agree
        (94.0, -70, 70),  # the machine slept for a minute, which only the wall clock saw
        (94.0, +3600, 10),  # the wall clock was set back since
        (None, -70, 70),  # another process
        (None, +3600, 0),
    ],
)
def test_a_moment_of_our_own_clocks_is_as_long_ago_as_either_says(at, wall, ago):
    assert TOLD.by_our_clocks(at, WALL + timedelta(seconds=wall)) == DATE - timedelta(seconds=ago)


@pytest.mark.parametrize("header", ["", "yesterday", "Sat, 99 Jan 2026 12:00:00 GMT"])
def test_a_date_that_is_none_proves_nothing(header):
    dated = TOLD._replace(header=header)
    assert dated.earliest(100.0) is dated.latest(100.0) is dated.by_our_clocks(100.0, WALL) is None


def test_a_date_of_another_day_than_ours_proves_nothing():
    for days, known in ((-2, False), (-0.5, True), (0.5, True), (2, False)):
        dated = TOLD._replace(wall=DATE + timedelta(days=days))
        assert (dated.earliest(100.0) is not None) is known
        assert (dated.latest(100.0) is not None) is known
