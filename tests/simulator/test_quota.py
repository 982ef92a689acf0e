"""How a quota is chosen and told; time is an argument."""

from datetime import UTC, datetime
from typing import get_args

import pytest

from clarus_async.ratelimit.headers import RateLimitHeaders, read_rate_limit
from clarus_async.simulator import Quota
from clarus_async.simulator.limiters import Verdict
from clarus_async.simulator.quota import QuotaHeaders, Quotas, headers, limiter


def admitted(quota, *times):
    counter = limiter(quota)
    return [counter.take(at).admitted for at in times]


def test_a_fixed_window_starts_afresh_at_each_multiple_of_its_length():
    quota = Quota(limit=2, window=10.0, kind="fixed")

    assert admitted(quota, 8.0, 9.0, 9.5, 10.0, 10.1, 10.2) == [True, True, False, True, True, False]


def test_a_fixed_window_tells_when_it_ends():
    counter = limiter(Quota(limit=2, window=10.0, kind="fixed"))

    assert counter.take(4.0) == Verdict(True, 1, 6.0, 0.0)
    assert counter.take(5.0) == Verdict(True, 0, 5.0, 5.0)
    assert counter.take(6.0) == Verdict(False, 0, 4.0, 4.0)


def test_a_sliding_window_holds_for_any_stretch():
    quota = Quota(limit=2, window=10.0, kind="sliding")

    assert admitted(quota, 8.0, 9.0, 10.0, 17.9, 18.0, 18.5, 19.0) == [
        True, True, False, False, True, False, True,
    ]  # fmt: skip


def test_a_sliding_window_tells_when_its_oldest_request_leaves():
    counter = limiter(Quota(limit=1, window=10.0))

    assert counter.take(4.0) == Verdict(True, 0, 10.0, 10.0)
    assert counter.take(5.0) == Verdict(False, 0, 9.0, 9.0)


def test_a_bucket_admits_its_depth_at_once_and_its_rate_after():
    quota = Quota(limit=10, window=10.0, kind="bucket", burst=3)

    assert admitted(quota, 0.0, 0.0, 0.0, 0.0, 0.9, 1.0, 1.0) == [
        True, True, True, False, False, True, False,
    ]  # fmt: skip


def test_a_bucket_is_as_deep_as_its_limit_unless_told():
    assert admitted(Quota(limit=2, window=10.0, kind="bucket"), 0.0, 0.0, 0.0) == [True, True, False]


def test_a_bucket_tells_when_one_more_comes_and_when_it_is_full():
    counter = limiter(Quota(limit=2, window=10.0, kind="bucket"))

    assert counter.take(0.0) == Verdict(True, 1, 5.0, 0.0)
    assert counter.take(0.0) == Verdict(True, 0, 10.0, 5.0)
    assert counter.take(1.0) == Verdict(False, 0, 9.0, 4.0)


@pytest.mark.parametrize("kind", ["sliding", "bucket", "gcra", "nginx"])
def test_refused_requests_do_not_count(kind):
    quota = Quota(limit=1, window=10.0, kind=kind)

    assert admitted(quota, 0.0, *(float(at) for at in range(1, 10)), 10.0) == [True, *[False] * 9, True]


@pytest.mark.parametrize("kind", ["fixed", "first-request", "sliding", "sliding-counter", "bucket", "gcra"])
def test_who_waits_as_long_as_told_is_admitted(kind):
    counter = limiter(Quota(limit=7, window=0.3, kind=kind))
    now, refused = 1000.1, 0
    for _ in range(200):
        verdict = counter.take(now)
        if not verdict.admitted:
            refused += 1
            now += verdict.retry_after + 1e-6
            assert counter.take(now).admitted

    assert refused


SPENT = Verdict(False, 0, 2.5, 1.2)
LEFT = Verdict(True, 7, 2.5, 0.0)
POLICY = '"default"; q=10; w=60; pk=:NmIxZjI5YjM3OTBk:'


@pytest.mark.parametrize(
    ("style", "left", "spent"),
    [
        ("none", {}, {}),
        ("retry-after", {}, {"Retry-After": "2"}),
        (
            "x-ratelimit",
            {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "1003"},
            {
                "X-RateLimit-Limit": "10",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "1003",
                "Retry-After": "2",
            },
        ),
        (
            "ietf",
            {"RateLimit-Policy": '"default";q=10;w=60', "RateLimit": '"default";r=7;t=3'},
            {
                "RateLimit-Policy": '"default";q=10;w=60',
                "RateLimit": '"default";r=0;t=3',
                "Retry-After": "2",
            },
        ),
        (
            "draft-6",
            {
                "RateLimit-Policy": "10;w=60",
                "RateLimit-Limit": "10",
                "RateLimit-Remaining": "7",
                "RateLimit-Reset": "3",
            },
            {
                "RateLimit-Policy": "10;w=60",
                "RateLimit-Limit": "10",
                "RateLimit-Remaining": "0",
                "RateLimit-Reset": "3",
                "Retry-After": "2",
            },
        ),
        (
            "draft-7",
            {"RateLimit-Policy": "10;w=60", "RateLimit": "limit=10, remaining=7, reset=3"},
            {"RateLimit-Policy": "10;w=60", "RateLimit": "limit=10, remaining=0, reset=3", "Retry-After": "2"},
        ),
        (
            "draft-8",
            {"RateLimit-Policy": POLICY, "RateLimit": '"default"; r=7; t=3'},
            {"RateLimit-Policy": POLICY, "RateLimit": '"default"; r=0; t=3', "Retry-After": "2"},
        ),
    ],
)
def test_each_header_style(style, left, spent):
    quota = Quota(limit=10, window=60.0, headers=style)

    assert headers(quota, LEFT, 1000.0) == left
    assert headers(quota, SPENT, 1000.0) == spent


@pytest.mark.parametrize(
    ("style", "reset"), [("x-ratelimit", "1003"), ("x-ratelimit-ms", "1002500"), ("x-ratelimit-seconds", "3")]
)
def test_a_reset_is_told_in_each_form(style, reset):
    assert headers(Quota(limit=10, headers=style), LEFT, 1000.0)["X-RateLimit-Reset"] == reset


@pytest.mark.parametrize("style", [style for style in get_args(QuotaHeaders) if style not in {"none", "retry-after"}])
def test_the_client_reads_what_is_told(style):
    told = headers(Quota(limit=10, window=60.0, headers=style), LEFT, 1.8e9)
    read = read_rate_limit(told, None, datetime.fromtimestamp(1.8e9, UTC))

    reset = 2.5 if style == "x-ratelimit-ms" else 3.0
    assert read == RateLimitHeaders(10, None if style.startswith("x-") else 60.0, 7, reset)


def test_retry_after_is_never_zero():
    told = headers(Quota(limit=1, headers="retry-after"), Verdict(False, 0, 0.0, 0.0), 0.0)

    assert told == {"Retry-After": "1"}


@pytest.mark.parametrize("burst", [None, 0])
def test_an_nginx_has_no_burst_unless_told(burst):
    assert admitted(Quota(limit=100, kind="nginx", burst=burst), 0.0, 0.0, 0.0101) == [True, False, True]


def test_a_quota_may_hold_a_second_one():
    quota = Quota(limit=2, kind="fixed", also=Quota(limit=3, window=60.0, kind="fixed"))

    assert admitted(quota, 0.0, 0.0, 0.0, 1.0, 1.0) == [True, True, False, True, False]


def test_a_quota_that_blocks_refuses_for_so_long():
    quota = Quota(limit=1, kind="first-request", block=5.0)

    assert admitted(quota, 0.0, 0.5, 5.4, 5.5) == [True, False, False, True]


def test_what_was_admitted_leaves_and_what_was_refused_never_came():
    quotas = Quotas()
    quotas.set(Quota(limit=1, kind="connections"))
    first, second = quotas.take("a", 0.0), quotas.take("a", 0.0)
    assert (first.verdict.admitted, second.verdict.admitted) == (True, False)

    second.leave(1.0)
    assert not quotas.take("a", 1.0).verdict.admitted
    first.leave(2.0)
    assert [quotas.take("a", 2.0).verdict.admitted for _ in range(2)] == [True, False]


def test_tenants_do_not_share_a_quota():
    quotas = Quotas()
    quotas.set(Quota(limit=1))

    assert [quotas.take(name, 0.0).verdict.admitted for name in ("a", "a", "b")] == [True, False, True]


def test_an_account_shares_one():
    quotas = Quotas()
    quotas.set(Quota(limit=1, scope="account"))

    assert [quotas.take(name, 0.0).verdict.admitted for name in ("a", "b")] == [True, False]


def test_one_tenant_may_have_its_own():
    quotas = Quotas()
    quotas.set(Quota(limit=1))
    quotas.set(None, "free")

    assert quotas.take("free", 0.0) is None
    assert quotas.take("a", 0.0) is not None


def test_a_new_quota_starts_counting_afresh():
    quotas = Quotas()
    quotas.set(Quota(limit=1))
    quotas.take("a", 0.0)
    quotas.set(Quota(limit=1))

    assert quotas.take("a", 0.0).verdict.admitted


def test_an_account_quota_for_one_tenant_is_refused():
    with pytest.raises(ValueError, match="account's quota can't be given to tenant 'a' alone"):
        Quotas().set(Quota(limit=1, scope="account"), "a")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"limit": 0}, "limit must be 1 or more"),
        ({"window": 0.0}, "window must be seconds, more than 0"),
        ({"window": float("nan")}, "window must be seconds, more than 0"),
        (
            {"kind": "leaky"},
            "kind must be one of fixed, first-request, sliding, sliding-counter, haproxy, bucket, gcra",
        ),
        ({"headers": "all"}, "headers must be one of none, retry-after, x-ratelimit, "),
        ({"scope": "world"}, "scope must be one of tenant, account"),
        ({"status": 500}, "status must be 429 or 503"),
        ({"burst": 5}, "burst is for bucket, gcra, nginx"),
        ({"kind": "nginx", "burst": -1}, "burst must be 0 or more"),
        ({"kind": "nginx", "delay": -1}, "delay must be 0 or more"),
        ({"kind": "nginx", "window": 61.0}, "an nginx admits 1 a minute or more"),
        ({"kind": "bucket", "delay": 1}, "delay is for nginx"),
        ({"kind": "fixed", "block": 1.0}, "block is for first-request"),
        ({"kind": "first-request", "block": float("inf")}, "block must be seconds, 0 or more"),
        ({"kind": "bucket", "burst": 0}, "burst must be 1 or more"),
    ],
)
def test_a_bad_value_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        Quota(**({"limit": 1} | wrong))
