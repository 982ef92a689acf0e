"""A token's phases, and the limit on refreshes that 401s may ask for."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from clarus_async.policy.token import HeldToken, Phase, RefreshLimit, life
from tests.strategies import quick, thorough

ORDER = [Phase.FRESH, Phase.STALE, Phase.EXPIRED]
lives = st.floats(0.001, 86_400)


@given(st.none() | st.floats())
@thorough
def test_a_life_is_above_0_and_at_most_a_day(expires_in):
    assert 0 < life(expires_in) <= 86_400


@given(since=st.floats(0, 1e6), seconds=lives, moments=st.lists(st.floats(0, 2), min_size=2, max_size=20))
@thorough
def test_a_token_goes_from_fresh_to_stale_to_expired_and_never_back(since, seconds, moments):
    token = HeldToken("t", since, seconds)
    phases = [ORDER.index(token.phase(since + moment * seconds)) for moment in sorted(moments)]

    assert phases == sorted(phases)


@given(seconds=lives, part=st.floats(0, 2))
@thorough
def test_a_phase_is_what_the_contract_says(seconds, part):
    stale_from = max(0.9 * seconds, seconds - 60)
    now = part * seconds
    phase = HeldToken("t", 0.0, seconds).phase(now)

    if math.isclose(now, stale_from) or math.isclose(now, seconds):
        return
    assert phase is (Phase.EXPIRED if now > seconds else Phase.STALE if now > stale_from else Phase.FRESH)


@given(steps=st.lists(st.integers(0, 90), max_size=80))
@thorough
def test_no_more_than_three_refreshes_in_any_minute(steps):
    limit = RefreshLimit()
    taken = []
    now = 0
    for step in steps:
        now += step
        if limit.wait(now) == 0:
            limit.take(now)
            taken.append(now)

    for start in taken:
        assert sum(start <= at < start + 60 for at in taken) <= 3


@given(steps=st.lists(st.integers(0, 30), max_size=60))
@quick
def test_whoever_waits_as_long_as_was_said_may_refresh(steps):
    limit = RefreshLimit()
    now = 0
    for step in steps:
        now += step
        wait = limit.wait(now)
        assert 0 <= wait <= 60
        now += int(wait)
        assert limit.wait(now) == 0
        limit.take(now)
