"""Retry-After says the same in seconds and as a date; what is too strange for it is among the targets of tests.fuzz."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarus_async.wire.headers import retry_after
from tests.support.strategies import quick

now = st.datetimes(
    min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)  # noqa: DTZ001
)  # fmt: skip


@given(st.floats(0, 1e9), now)
@quick
def test_retry_after_in_seconds_is_what_was_said(seconds, moment):
    assert retry_after(f"{seconds:.3f}", None, moment) == pytest.approx(seconds, abs=1e-3)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
@quick
def test_retry_after_as_a_date_does_not_depend_on_our_clock(seconds, skew):
    served = datetime(2026, 1, 10, 12, tzinfo=UTC)
    value, date = (format_datetime(moment, usegmt=True) for moment in (served + timedelta(seconds=seconds), served))

    assert retry_after(value, date, served + timedelta(seconds=skew)) == max(0, seconds)
