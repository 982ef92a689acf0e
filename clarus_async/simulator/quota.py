"""How many requests a while: three ways to count, four ways to tell. Pure: time is an argument, in seconds.

The vendor documents that throttling exists, per account, and nothing else (clarus-api.md §2): no figure, no
header, no status. So every common form is here, and a test picks the one it wants to survive.

A refused request never counts. That differs only for the sliding window and the bucket: a client that hammers
a closed door is not locked out for longer.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol, get_args

import attrs

QuotaKind = Literal["fixed", "sliding", "bucket"]
QuotaHeaders = Literal["none", "retry-after", "x-ratelimit", "ietf"]
QuotaScope = Literal["tenant", "account"]


@attrs.frozen(kw_only=True)
class Quota:
    """A limit on API requests; the token endpoint is never counted. Over it: 429, nothing applied.

    Args:
        limit: Requests per window.
        window: Seconds.
        kind: ``fixed``: windows on multiples of ``window``; ``sliding``: any stretch of ``window`` seconds;
            ``bucket``: ``limit / window`` tokens a second flow in, at most ``burst`` stay.
        headers: What answers tell. ``retry-after``: that header on a 429 (whole seconds, rounded up).
            ``x-ratelimit``: ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (Unix time, as GitHub's) on
            every answer, and Retry-After. ``ietf``: ``RateLimit-Policy`` and ``RateLimit``
            (draft-ietf-httpapi-ratelimit-headers-10) on every answer, and Retry-After.
        burst: Depth of a bucket, in requests; ``limit`` if left out.
        scope: Whether each tenant has the quota to itself, or all tenants share it.

    Raises:
        ValueError: A value is out of range.
    """

    limit: int
    window: float = 1.0
    kind: QuotaKind = "sliding"
    headers: QuotaHeaders = "none"
    burst: int | None = None
    scope: QuotaScope = "tenant"

    def __attrs_post_init__(self) -> None:
        """Refuse a quota that can't be counted."""
        problems = [
            *(["limit must be 1 or more"] if self.limit < 1 else []),
            *([] if 0 < self.window < math.inf else ["window must be seconds, more than 0"]),
            *([] if self.burst is None or self.burst >= 1 else ["burst must be 1 or more"]),
            *(["burst is for a bucket"] if self.burst is not None and self.kind != "bucket" else []),
        ]
        for name, allowed in (("kind", QuotaKind), ("headers", QuotaHeaders), ("scope", QuotaScope)):
            if getattr(self, name) not in get_args(allowed):
                problems.append(f"{name} must be one of {', '.join(get_args(allowed))}")
        if problems:
            msg = f"Quota: {'; '.join(problems)}"
            raise ValueError(msg)


class Verdict(NamedTuple):
    """What a limiter says of one request. Times are seconds from now."""

    admitted: bool
    remaining: int
    """Requests that would still be admitted now."""
    reset: float
    """Fixed: until the window ends; sliding: until the oldest counted request leaves; bucket: until it is full."""
    retry_after: float
    """Until one more would be admitted; 0 if it would be now."""


class Limiter(Protocol):
    """Counts the requests of one tenant, or of one account."""

    def take(self, now: float) -> Verdict:
        """Count a request that arrives at ``now`` if it is admitted."""


class FixedWindow:
    """``limit`` requests between two multiples of ``window``."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._index = -1
        self._used = 0

    def take(self, now: float) -> Verdict:
        """Count a request that arrives at ``now`` if it is admitted."""
        index = math.floor(now / self._quota.window)
        if index != self._index:
            self._index, self._used = index, 0
        admitted = self._used < self._quota.limit
        self._used += admitted
        remaining = self._quota.limit - self._used
        reset = (index + 1) * self._quota.window - now
        return Verdict(admitted, remaining, reset, 0.0 if remaining else reset)


class SlidingWindow:
    """``limit`` requests in any ``window`` seconds."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._admitted: deque[float] = deque()

    def take(self, now: float) -> Verdict:
        """Count a request that arrives at ``now`` if it is admitted."""
        admitted_at, window = self._admitted, self._quota.window
        while admitted_at and admitted_at[0] + window <= now:
            admitted_at.popleft()
        admitted = len(admitted_at) < self._quota.limit
        if admitted:
            admitted_at.append(now)
        remaining = self._quota.limit - len(admitted_at)
        reset = admitted_at[0] + window - now
        return Verdict(admitted, remaining, reset, 0.0 if remaining else reset)


class TokenBucket:
    """Up to ``burst`` requests at once, ``limit / window`` a second in the long run."""

    def __init__(self, quota: Quota) -> None:
        self._rate = quota.limit / quota.window
        self._depth = float(quota.limit if quota.burst is None else quota.burst)
        self._tokens = self._depth
        self._at = -math.inf

    def take(self, now: float) -> Verdict:
        """Count a request that arrives at ``now`` if it is admitted."""
        self._tokens = min(self._depth, self._tokens + (now - self._at) * self._rate)
        self._at = now
        # A client that waits exactly as long as it was told must not fail by a rounding error.
        admitted = self._tokens >= 1 - 1e-9
        if admitted:
            self._tokens = max(0.0, self._tokens - 1)
        wanting = max(0.0, 1 - self._tokens)
        return Verdict(
            admitted,
            int(self._tokens + 1e-9),
            (self._depth - self._tokens) / self._rate,
            0.0 if wanting < 1e-9 else wanting / self._rate,
        )


_LIMITERS: Mapping[QuotaKind, Callable[[Quota], Limiter]] = {
    "fixed": FixedWindow,
    "sliding": SlidingWindow,
    "bucket": TokenBucket,
}


def limiter(quota: Quota) -> Limiter:
    """Return a fresh counter for ``quota``."""
    return _LIMITERS[quota.kind](quota)


def headers(quota: Quota, verdict: Verdict, unix_time: float) -> dict[str, str]:
    """Return the headers that tell ``verdict`` on an answer sent at ``unix_time`` (seconds)."""
    told: dict[str, str] = {}
    if quota.headers == "x-ratelimit":
        told["X-RateLimit-Limit"] = str(quota.limit)
        told["X-RateLimit-Remaining"] = str(verdict.remaining)
        told["X-RateLimit-Reset"] = str(math.ceil(unix_time + verdict.reset))
    elif quota.headers == "ietf":
        told["RateLimit-Policy"] = f'"default";q={quota.limit};w={math.ceil(quota.window)}'
        told["RateLimit"] = f'"default";r={verdict.remaining};t={math.ceil(verdict.reset)}'
    if quota.headers != "none" and not verdict.admitted:
        # RFC 9110: whole seconds; 0 would ask for a retry that is refused again.
        told["Retry-After"] = str(max(1, math.ceil(verdict.retry_after)))
    return told


class Quotas:
    """The quota of every tenant, and the counters behind them.

    Raises:
        ValueError: An account's quota was given for one tenant only.
    """

    def __init__(self) -> None:
        self._shared: Quota | None = None
        self._own: dict[str, Quota | None] = {}
        self._limiters: dict[str | None, Limiter] = {}

    def set(self, quota: Quota | None, tenant: str | None = None) -> None:
        """Apply ``quota`` (``None``: no limit) to ``tenant``, or to every tenant, with fresh counters."""
        if tenant is None:
            self._shared, self._own, self._limiters = quota, {}, {}
            return
        if quota is not None and quota.scope == "account":
            msg = f"Quota: an account's quota can't be given to tenant {tenant!r} alone"
            raise ValueError(msg)
        self._own[tenant] = quota
        self._limiters.pop(tenant, None)

    def take(self, tenant: str, now: float) -> tuple[Quota, Verdict] | None:
        """Count a request of ``tenant`` at ``now``; ``None`` if nothing limits it."""
        quota = self._own.get(tenant, self._shared)
        if quota is None:
            return None
        key = None if quota.scope == "account" else tenant
        counter = self._limiters.get(key)
        if counter is None:
            counter = self._limiters[key] = limiter(quota)
        return quota, counter.take(now)
