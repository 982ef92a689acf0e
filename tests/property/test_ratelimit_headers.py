"""A rate limit is read back in each of the forms in which servers tell it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from clarus_async.ratelimit.headers import RateLimitHeaders, read_rate_limit
from tests.support.strategies import quick

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
counts = st.integers(1, 10**9)
windows = st.integers(1, 10**9)
labels = st.text("ab c,;=", max_size=4)
policies = st.dictionaries(labels, st.tuples(counts, windows), min_size=1, max_size=5)


@given(policies, st.integers(0, 10**9), st.integers(0, 3600), st.booleans())
@quick
def test_the_policy_of_the_lowest_rate_is_read_back(quotas, left, seconds, several_lines):
    slowest, (limit, window) = max(quotas.items(), key=lambda one: one[1][1] / one[1][0])
    policy = [f'"{name}";q={q};w={w};pk=:YQ==:' for name, (q, w) in quotas.items()]
    state = [f'"{name}";r={left if name == slowest else 1};t={seconds}' for name in quotas]
    lines = (policy, state) if several_lines else ([",".join(policy)], [", ".join(state)])
    headers = CIMultiDict()
    for name, texts in zip(("RateLimit-Policy", "RateLimit"), lines, strict=True):
        for text in texts:
            headers.add(name, text)

    assert read_rate_limit(headers, None, NOW) == RateLimitHeaders(limit, min(window, 3600), left, seconds)


@given(st.dictionaries(counts, windows, min_size=1, max_size=5), st.data())
@quick
def test_the_quota_in_force_is_read_back_in_either_earlier_form(quotas, data):
    limit = data.draw(st.sampled_from(sorted(quotas)))
    tail = ", ".join(f"{q};w={w}" for q, w in quotas.items())
    expected = RateLimitHeaders(limit, min(quotas[limit], 3600), None, None)

    assert read_rate_limit({"RateLimit-Limit": f"{limit}, {tail}"}, None, NOW) == expected
    assert read_rate_limit({"RateLimit": f"limit={limit}", "RateLimit-Policy": tail}, None, NOW) == expected
    assert read_rate_limit({"X-RateLimit-Limit": f"{limit}, {tail}"}, None, NOW) == expected


@given(st.integers(-(10**5), 10**5), st.integers(-(10**6), 10**6))
@quick
def test_a_moment_of_reset_does_not_depend_on_our_clock_or_on_how_it_is_told(seconds, skew):
    until, ours = NOW + timedelta(seconds=seconds), NOW + timedelta(seconds=skew)
    stamp = int(until.timestamp())
    date = format_datetime(NOW, usegmt=True)

    for text in (f"{stamp}", f"{stamp}.0", f"{stamp}000", format_datetime(until, usegmt=True)):
        told = read_rate_limit({"X-RateLimit-Reset": text}, date, ours)
        assert told == RateLimitHeaders(None, None, None, min(max(0, seconds), 3600))
