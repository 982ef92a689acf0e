"""How a quota is chosen and told; time is an argument."""

from datetime import UTC, datetime
from typing import get_args

import pytest

from clarus_async.ratelimit.headers import RateLimitHeaders, read_rate_limit
from clarus_async.simulator import Quota
from clarus_async.simulator.limiters import Verdict
from clarus_async.simulator.quota import QuotaHeaders, Quotas, headers, limiter
from clarus_async.simulator.service import Admission


@pytest.mark.parametrize(
    ("quota", "times", "admitted"),
    [
        ({"limit": 2, "kind": "fixed"}, [8.0, 9.0, 9.5, 10.0, 10.1, 10.2], "110110"),
        ({"limit": 2, "kind": "sliding"}, [8.0, 9.0, 10.0, 17.9, 18.0, 18.5, 19.0], "1100101"),
        ({"limit": 10, "kind": "bucket", "burst": 3}, [0.0, 0.0, 0.0, 0.0, 0.9, 1.0, 1.0], "1110010"),
        ({"limit": 2, "kind": "bucket"}, [0.0, 0.0, 0.0], "110"),
        ({"limit": 2, "kind": "gcra"}, [0.0, 0.0, 0.0], "110"),
        ({"limit": 1000, "kind": "nginx"}, [0.0, 0.0, 0.0101], "101"),
        ({"limit": 1000, "kind": "nginx", "burst": 0}, [0.0, 0.0, 0.0101], "101"),
        ({"limit": 1, "kind": "first-request", "block": 50.0}, [0.0, 0.5, 50.4, 50.5], "1001"),
        ({"limit": 2, "kind": "fixed", "also": Quota(limit=3, window=60.0, kind="fixed")}, [0, 0, 0, 10, 10], "11010"),
    ],
    ids=str,
)
def test_each_kind_counts_by_its_limiter(quota, times, admitted):
    counter = limiter(Quota(window=10.0, **quota))

    assert "".join(str(int(counter.take(at).admitted)) for at in times) == admitted


@pytest.mark.parametrize(
    ("quota", "verdicts"),
    [
        (
            Quota(limit=2, window=10.0, kind="fixed"),
            {4.0: Verdict(True, 1, 6.0, 0.0), 5.0: Verdict(True, 0, 5.0, 5.0), 6.0: Verdict(False, 0, 4.0, 4.0)},
        ),
        (Quota(limit=1, window=10.0), {4.0: Verdict(True, 0, 10.0, 10.0), 5.0: Verdict(False, 0, 9.0, 9.0)}),
        (
            Quota(limit=2, window=10.0, kind="bucket"),
            {0.0: Verdict(True, 1, 5.0, 0.0), 0.1: Verdict(True, 0, 9.9, 4.9), 1.0: Verdict(False, 0, 9.0, 4.0)},
        ),
    ],
    ids=["window", "log", "bucket"],
)
def test_a_limiter_says_when_one_more_comes_and_when_all_do(quota, verdicts):
    counter = limiter(quota)

    for at, verdict in verdicts.items():
        assert counter.take(at) == pytest.approx(verdict)


SPENT = Verdict(False, 0, 2.5, 1.2)
LEFT = Verdict(True, 7, 2.5, 0.0)
X_RATE_LIMIT = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "{}", "X-RateLimit-Reset": "1003"}


@pytest.mark.parametrize(
    ("style", "told"),
    [
        ("retry-after", {}),
        ("x-ratelimit", X_RATE_LIMIT),
        ("x-ratelimit-ms", X_RATE_LIMIT | {"X-RateLimit-Reset": "1002500"}),
        ("x-ratelimit-seconds", X_RATE_LIMIT | {"X-RateLimit-Reset": "3"}),
        ("ietf", {"RateLimit-Policy": '"default";q=10;w=60', "RateLimit": '"default";r={};t=3'}),
        (
            "draft-6",
            {
                "RateLimit-Policy": "10;w=60",
                "RateLimit-Limit": "10",
                "RateLimit-Remaining": "{}",
                "RateLimit-Reset": "3",
            },
        ),
        ("draft-7", {"RateLimit-Policy": "10;w=60", "RateLimit": "limit=10, remaining={}, reset=3"}),
        (
            "draft-8",
            {
                "RateLimit-Policy": '"default"; q=10; w=60; pk=:NmIxZjI5YjM3OTBk:',
                "RateLimit": '"default"; r={}; t=3',
            },
        ),
    ],
)
def test_each_header_style(style, told):
    quota = Quota(limit=10, window=60.0, headers=style)

    assert headers(quota, LEFT, 1000.0) == {name: value.format(7) for name, value in told.items()}
    refused = {name: value.format(0) for name, value in told.items()} | {"Retry-After": "2"}
    assert headers(quota, SPENT, 1000.0) == refused


def test_where_nothing_is_told_there_is_no_header():
    assert headers(Quota(limit=10), SPENT, 1000.0) == {}


@pytest.mark.parametrize("style", [style for style in get_args(QuotaHeaders) if style not in {"none", "retry-after"}])
def test_the_client_reads_what_is_told(style):
    told = headers(Quota(limit=10, window=60.0, headers=style), LEFT, 1.8e9)
    read = read_rate_limit(told, None, datetime.fromtimestamp(1.8e9, UTC))

    reset = 2.5 if style == "x-ratelimit-ms" else 3.0
    assert read == RateLimitHeaders(10, None if style.startswith("x-") else 60.0, 7, reset)


def test_retry_after_is_never_zero():
    told = headers(Quota(limit=1, headers="retry-after"), Verdict(False, 0, 0.0, 0.0), 0.0)

    assert told == {"Retry-After": "1"}


def test_what_was_admitted_leaves_and_what_was_refused_never_came():
    quotas = Quotas()
    quotas.set(Quota(limit=1, kind="connections"))
    first, second = quotas.take("a", 0.0), quotas.take("a", 0.0)
    assert (first.verdict.admitted, second.verdict.admitted) == (True, False)

    Admission(None, {}, second).leave(1.0)
    assert not quotas.take("a", 1.0).verdict.admitted
    Admission(None, {}, first).leave(2.0)
    assert [quotas.take("a", 2.0).verdict.admitted for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("scope", "admitted"), [("tenant", [True, False, True]), ("account", [True, False, False])])
def test_a_quota_is_each_tenant_s_or_the_account_s(scope, admitted):
    quotas = Quotas()
    quotas.set(Quota(limit=1, scope=scope))

    assert [quotas.take(name, 0.0).verdict.admitted for name in ("a", "a", "b")] == admitted


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
