"""Quotas: how requests are limited, and the headers that show it. Pure: time is an argument, in seconds.

The vendor documents that throttling exists, per account, and nothing else (CLARUS_API.md §2): no figure, no
header, no status. So the limiters in common use are here, for a test to choose from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, get_args, get_type_hints

import attrs

from clarus_async.simulator.limiters import (
    AllOf,
    Connections,
    FirstRequestWindow,
    FixedWindow,
    Gcra,
    HAProxyRate,
    Limiter,
    NginxLimitReq,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
    Verdict,
)

QuotaKind = Literal[
    "fixed", "first-request", "sliding", "sliding-counter", "haproxy", "bucket", "gcra", "nginx", "connections"
]
QuotaHeaders = Literal[
    "none",
    "retry-after",
    "x-ratelimit",
    "x-ratelimit-ms",
    "x-ratelimit-seconds",
    "draft-6",
    "draft-7",
    "draft-8",
    "ietf",
]
QuotaScope = Literal["tenant", "account"]

_DEEP: Final = ("bucket", "gcra", "nginx")


@attrs.frozen(kw_only=True)
class Quota:
    """A limit on API requests; the token endpoint is never counted. Over it: ``status``, nothing applied.

    Args:
        limit: Requests per window; for ``connections``, those under way at a time.
        window: Seconds.
        kind: ``fixed``: windows on multiples of ``window``; ``first-request``: a window begins with the first request
            after the last one; ``sliding``: any stretch of ``window`` seconds; ``sliding-counter``: this window's
            requests and the part of the last one's that still counts; ``haproxy``: as that, and refused requests
            count; ``bucket`` and ``gcra``: ``limit / window`` a second, and up to ``burst`` at once; ``nginx``:
            ``limit_req`` with ``limit / window`` a second and ``burst`` beside; ``connections``: ``limit_conn``.
        headers: Headers of answers. ``retry-after``: that header on a refusal (whole seconds, rounded up), which all
            others include. ``x-ratelimit``: ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` (Unix time, as
            GitHub's) on every answer; ``x-ratelimit-ms`` and ``x-ratelimit-seconds``: the reset as Unix time in
            milliseconds, and in seconds from now. ``draft-6``: ``RateLimit-Policy``, ``-Limit``, ``-Remaining`` and
            ``-Reset``; ``draft-7``, ``draft-8``: ``RateLimit-Policy`` and ``RateLimit``, as express-rate-limit sends
            them; ``ietf``: those of draft-ietf-httpapi-ratelimit-headers-10.
        burst: Depth of a ``bucket`` or ``gcra``, in requests (``limit`` if left out); of ``nginx``, 0 if left out.
        delay: How many of nginx's ``burst`` go on at once, while the others wait for their slots; all if left out
            (``nodelay``).
        block: Seconds for which a ``first-request`` quota refuses everything, once it is exceeded.
        also: A second quota that has to admit each request too; a request that one of them refuses counts in
            neither. Its ``headers``, ``scope`` and ``status`` are ignored.
        scope: Whether each tenant has the quota to itself, or all tenants share it.
        status: Of a refusal: 429, or 503 as nginx's without ``limit_req_status``.

    Raises:
        ValueError: A value is out of range, or is given to a kind that has no use for it.
    """

    limit: int
    window: float = 1.0
    kind: QuotaKind = "sliding"
    headers: QuotaHeaders = "none"
    burst: int | None = None
    delay: int | None = None
    block: float = 0.0
    also: Quota | None = None
    scope: QuotaScope = "tenant"
    status: Literal[429, 503] = 429

    def __attrs_post_init__(self) -> None:
        """Refuse a quota that can't be counted."""
        nginx, least = self.kind == "nginx", 0 if self.kind == "nginx" else 1
        is_window = 0 < self.window < math.inf
        rules = [
            (self.limit < 1, "limit must be 1 or more"),
            (not is_window, "window must be seconds, more than 0"),
            (self.burst is not None and self.burst < least, f"burst must be {least} or more"),
            (self.burst is not None and self.kind not in _DEEP, f"burst is for {', '.join(_DEEP)}"),
            (self.delay is not None and self.delay < 0, "delay must be 0 or more"),
            (nginx and is_window and self.rate < 1 / 60, "an nginx admits 1 a minute or more"),
            (self.delay is not None and not nginx, "delay is for nginx"),
            (not 0 <= self.block < math.inf, "block must be seconds, 0 or more"),
            (self.block and self.kind != "first-request", "block is for first-request"),
        ]
        for name, allowed in (("kind", QuotaKind), ("headers", QuotaHeaders), ("scope", QuotaScope)):
            rules.append(
                (getattr(self, name) not in get_args(allowed), f"{name} must be one of {', '.join(get_args(allowed))}")
            )
        rules.append((self.status not in {429, 503}, "status must be 429 or 503"))
        problems = [text for broken, text in rules if broken]
        if problems:
            raise ValueError(f"Quota: {'; '.join(problems)}")

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.limit / self.window


# What attrs makes of a class does not know its name.
Quota.__init__.__annotations__.update(get_type_hints(Quota))

_LIMITERS: Final[Mapping[QuotaKind, Callable[[Quota], Limiter]]] = {
    "fixed": lambda it: FixedWindow(it.limit, it.window),
    "first-request": lambda it: FirstRequestWindow(it.limit, it.window, it.block),
    "sliding": lambda it: SlidingLog(it.limit, it.window),
    "sliding-counter": lambda it: SlidingCounter(it.limit, it.window),
    "haproxy": lambda it: HAProxyRate(it.limit, it.window),
    "bucket": lambda it: TokenBucket(it.rate, it.limit if it.burst is None else it.burst),
    "gcra": lambda it: Gcra(it.rate, it.limit if it.burst is None else it.burst),
    "nginx": lambda it: NginxLimitReq(it.rate, it.burst or 0, it.delay),
    "connections": lambda it: Connections(it.limit),
}


def limiter(quota: Quota) -> Limiter:
    """Return a fresh counter for ``quota``."""
    counter = _LIMITERS[quota.kind](quota)
    return counter if quota.also is None else AllOf([counter, limiter(quota.also)])


_X_RATE_LIMIT: Final = {"X-RateLimit-Limit": "{limit}", "X-RateLimit-Remaining": "{remaining}"}
_TOLD: Final[Mapping[QuotaHeaders, Mapping[str, str]]] = {
    "x-ratelimit": _X_RATE_LIMIT | {"X-RateLimit-Reset": "{at}"},
    "x-ratelimit-ms": _X_RATE_LIMIT | {"X-RateLimit-Reset": "{at_ms}"},
    "x-ratelimit-seconds": _X_RATE_LIMIT | {"X-RateLimit-Reset": "{reset}"},
    "draft-6": {
        "RateLimit-Policy": "{limit};w={window}",
        "RateLimit-Limit": "{limit}",
        "RateLimit-Remaining": "{remaining}",
        "RateLimit-Reset": "{reset}",
    },
    "draft-7": {
        "RateLimit-Policy": "{limit};w={window}",
        "RateLimit": "limit={limit}, remaining={remaining}, reset={reset}",
    },
    "draft-8": {
        # The partition key is a Byte Sequence (RFC 9651): base64 of part of a hash.
        "RateLimit-Policy": '"default"; q={limit}; w={window}; pk=:NmIxZjI5YjM3OTBk:',
        "RateLimit": '"default"; r={remaining}; t={reset}',
    },
    "ietf": {"RateLimit-Policy": '"default";q={limit};w={window}', "RateLimit": '"default";r={remaining};t={reset}'},
}


def headers(quota: Quota, verdict: Verdict, unix_time: float) -> dict[str, str]:
    """Return the headers that show ``verdict``, on an answer sent at ``unix_time`` (seconds)."""
    if quota.headers == "none":
        return {}
    until = unix_time + verdict.reset
    values = {
        "limit": quota.limit,
        "window": math.ceil(quota.window),
        "remaining": verdict.remaining,
        "reset": math.ceil(verdict.reset),
        "at": math.ceil(until),
        "at_ms": math.ceil(until * 1000),
    }
    shown = {name: form.format_map(values) for name, form in _TOLD.get(quota.headers, {}).items()}
    if not verdict.admitted:
        # RFC 9110: whole seconds; 0 would ask for a retry that is refused again.
        shown["Retry-After"] = str(max(1, math.ceil(verdict.retry_after)))
    return shown


class CountedRequest(NamedTuple):
    """A request that a quota counted."""

    quota: Quota
    limiter: Limiter
    verdict: Verdict


class Quotas:
    """The quota of every tenant, and the counters behind them."""

    def __init__(self) -> None:
        self._shared: Quota | None = None
        self._own: dict[str, Quota | None] = {}
        self._limiters: dict[str | None, Limiter] = {}

    def set(self, quota: Quota | None, tenant: str | None = None) -> None:
        """Apply ``quota`` to ``tenant``, or to every tenant, with fresh counters; ``None``: no limit."""
        if tenant is None:
            self._shared, self._own, self._limiters = quota, {}, {}
            return
        if quota is not None and quota.scope == "account":
            raise ValueError(f"Quota: an account's quota can't be given to tenant {tenant!r} alone")
        self._own[tenant] = quota
        self._limiters.pop(tenant, None)

    def take(self, tenant: str, now: float) -> CountedRequest | None:
        """Count a request of ``tenant`` at ``now``; ``None`` if nothing limits it."""
        quota = self._own.get(tenant, self._shared)
        if quota is None:
            return None
        key = None if quota.scope == "account" else tenant
        counter = self._limiters.get(key)
        if counter is None:
            counter = self._limiters[key] = limiter(quota)
        return CountedRequest(quota, counter, counter.take(now))
