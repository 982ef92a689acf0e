"""A token's phases, and when the next one is asked for."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from clarus_async.auth.token import HeldToken, TokenRefusals
from tests.support.strategies import quick, thorough


@given(seconds=st.floats(0.001, 86_400))
@thorough
def test_a_token_is_stale_from_when_the_contract_says(seconds):
    # The last tenth, at least a second and at most a minute; of a life under two seconds, the second half.
    stale_from = max(min(0.9 * seconds, seconds - min(1.0, seconds / 2)), seconds - 60)
    token = HeldToken("t", 0.0, seconds)
    assert math.isclose(token.fresh_until, stale_from)
    assert token.expires_at == seconds


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 200), st.floats(0, 1)), max_size=60))
@thorough
def test_the_next_token_is_asked_for_within_twenty_seconds_or_one_where_some_are_accepted(events):
    refusals = TokenRefusals()
    now = 0.0
    for accepted, lived, drawn in events:
        refusals.accepted = refusals.accepted or accepted
        was_accepted = refusals.accepted
        token = HeldToken("t", now, 3600.0)
        now += lived
        refusals.refused(token, now, lambda drawn=drawn: drawn)

        assert 0 <= refusals.wait(now) <= (1.0 if was_accepted else 20.0)
        assert not refusals.hopeless(now, now + 1.0)


@given(st.integers(1, 200), st.floats(0, 1e6))
@quick
def test_a_server_that_accepts_no_token_is_not_stormed(tokens, clock):
    refusals = TokenRefusals()
    now = clock
    for _ in range(tokens):
        refusals.refused(HeldToken("t", now, 3600.0), now, lambda: 0.5)
        now += refusals.wait(now)

    assert now - clock >= 10.0 * max(0, tokens - 11)
