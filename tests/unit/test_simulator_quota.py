"""Three ways to count, four ways to tell; time is an argument."""

import pytest

from clarus_async.simulator import Quota
from clarus_async.simulator.quota import Quotas, Verdict, headers, limiter


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


@pytest.mark.parametrize("kind", ["sliding", "bucket"])
def test_refused_requests_do_not_count(kind):
    quota = Quota(limit=1, window=10.0, kind=kind)

    assert admitted(quota, 0.0, *(float(at) for at in range(1, 10)), 10.0) == [True, *[False] * 9, True]


@pytest.mark.parametrize("kind", ["fixed", "sliding", "bucket"])
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
    ],
)
def test_each_header_style(style, left, spent):
    quota = Quota(limit=10, window=60.0, headers=style)

    assert headers(quota, LEFT, 1000.0) == left
    assert headers(quota, SPENT, 1000.0) == spent


def test_retry_after_is_never_zero():
    told = headers(Quota(limit=1, headers="retry-after"), Verdict(False, 0, 0.0, 0.0), 0.0)

    assert told == {"Retry-After": "1"}


def test_tenants_do_not_share_a_quota():
    quotas = Quotas()
    quotas.set(Quota(limit=1))

    assert [quotas.take(name, 0.0)[1].admitted for name in ("a", "a", "b")] == [True, False, True]


def test_an_account_shares_one():
    quotas = Quotas()
    quotas.set(Quota(limit=1, scope="account"))

    assert [quotas.take(name, 0.0)[1].admitted for name in ("a", "b")] == [True, False]


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

    assert quotas.take("a", 0.0)[1].admitted


def test_an_account_quota_for_one_tenant_is_refused():
    with pytest.raises(ValueError, match="account's quota can't be given to tenant 'a' alone"):
        Quotas().set(Quota(limit=1, scope="account"), "a")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"limit": 0}, "limit must be 1 or more"),
        ({"window": 0.0}, "window must be seconds, more than 0"),
        ({"window": float("nan")}, "window must be seconds, more than 0"),
        ({"kind": "leaky"}, "kind must be one of fixed, sliding, bucket"),
        ({"headers": "all"}, "headers must be one of none, retry-after, x-ratelimit, ietf"),
        ({"scope": "world"}, "scope must be one of tenant, account"),
        ({"burst": 5}, "burst is for a bucket"),
        ({"kind": "bucket", "burst": 0}, "burst must be 1 or more"),
    ],
)
def test_a_bad_value_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        Quota(**({"limit": 1} | wrong))
