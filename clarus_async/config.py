"""Settings: timeouts, retries, pacing, and the variables of the environment.

# Settings

| setting | default | meaning |
|---|---|---|
| `Timeouts(connect)` | 5 s | for a connection, TLS included |
| `Timeouts(attempt)` | 30 s | for one request and its whole answer |
| `Timeouts(settle)` | 60 s | how long the server may still apply a request that we gave up |
| `Timeouts(deadline)` | 120 s | for a whole call, waits and retries included |
| `RetryPolicy(max_attempts)` | 4 | requests that a call may cost; 1 turns retries off |
| `RetryPolicy(base, cap)` | 0.05 s, 20 s | exponential backoff with full jitter |
| `PacingPolicy(rate, burst)` | learned | requests a second, and at once after a pause, if you know the quota |
| `PacingPolicy(start)` | learned | requests a second to start with, where the rate is learned |
| `PacingPolicy(max_wait)` | 300 s | a longer wait raises `RateLimitedError` at once, and ends the input of a run |
| `PacingPolicy(scope)` | `"tenant"` | `"client"` if all tenants share one quota |
| `max_connections` | 64 | requests in flight at a time |
| `session` | its own | your `aiohttp.ClientSession`, for proxies, CAs and mutual TLS |
| `observer` | `None` | an object with `on_event(event)`; see `clarus_async.events` |

A session of your own must have `cookie_jar=aiohttp.DummyCookieJar()`. The client does not close it.

```python
from clarus_async import ClarusClient, ClientCredentials, PacingPolicy, RetryPolicy, Timeouts

clarus = ClarusClient(
    "acme",
    ClientCredentials("id", "secret"),
    timeouts=Timeouts(attempt=10.0, deadline=30.0),
    retry=RetryPolicy(max_attempts=6),
    pacing=PacingPolicy(max_wait=5.0),
)
```

# The environment

`ClarusClient.from_env()` reads `CLARUS_SUBDOMAIN`, `CLARUS_BASE_URL` and the credentials: `CLARUS_CLIENT_ID` and
`CLARUS_CLIENT_SECRET`, with `CLARUS_REFRESH_TOKEN` and `CLARUS_SCOPES` if there are any; or `CLARUS_ACCESS_TOKEN`
alone. What is missing or malformed is named in one error, all of it at once.
"""

from __future__ import annotations

import math
import re
from typing import Final, Literal
from urllib.parse import urlsplit

import attrs

from clarus_async.pydantic_schema import PydanticRecord
from clarus_async.validation import checked, refuse, shown

__all__ = ["DEFAULT_BASE_URL", "PacingPolicy", "RetryPolicy", "Timeouts"]

DEFAULT_BASE_URL: Final = "https://clarus-api.com"
"""The origin of the vendor's API (CLARUS_API.md §2)."""

# One DNS label (RFC 1123): a subdomain goes into a header, which nothing else must get into.
_SUBDOMAIN: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A name, or an address in brackets with nothing beside it; urllib accepts more than yarl, which makes the request.
_AUTHORITY: Final = r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(:\d*)?"
_LARGEST_BURST: Final = 1_000_000  # far above what any machine sends at once; a larger one is a mistake
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _seconds_problem(value: object) -> str | None:
    return _number_problem(value, "seconds")


def _rate_problem(value: object) -> str | None:
    return None if value is None else _number_problem(value, "requests a second")


def _number_problem(value: object, unit: str) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"must be a number of {unit}, not {type(value).__name__}"
    try:
        ok = value > 0 and math.isfinite(value)
    except OverflowError:
        ok = False
    return None if ok else f"must be a finite number of {unit} above 0"


def _burst_problem(value: object, *, known: bool) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_BURST:
        return f"must be an integer from 1 to {_LARGEST_BURST:,}"
    return None if known else "goes with rate only"


@checked
@attrs.frozen(kw_only=True, repr=False)
class Timeouts(PydanticRecord):
    """How long to wait, in seconds.

    Args:
        connect: for a connection, TLS included.
        attempt: for one request and its whole answer.
        settle: how long after an attempt was given up the server may still apply it; at least ``attempt``.
        deadline: for a whole call, waits and retries included.

    Raises:
        InvalidInputError: a value is not a finite number above 0, or ``settle`` is below ``attempt``.
    """

    __repr__ = shown

    connect: float = 5.0
    attempt: float = 30.0
    settle: float = 60.0
    deadline: float = 120.0

    def __attrs_post_init__(self) -> None:
        refuse("Timeouts", [(a.name, _seconds_problem(getattr(self, a.name))) for a in attrs.fields(Timeouts)])
        if self.settle < self.attempt:
            refuse("Timeouts", [("settle", "must be at least as long as attempt")])


@checked
@attrs.frozen(kw_only=True, repr=False)
class RetryPolicy(PydanticRecord):
    """When a request is sent again: exponential backoff with full jitter.

    Args:
        max_attempts: attempts that a call may make; a 429, a 503 of a rate limiter and a 401 do not count.
            1 turns retries off, and raises a 429 at once, for use under an engine that retries by itself.
        base: seconds; the first backoff is drawn from 0 to this, and the range doubles with each.
        cap: seconds; the range of a backoff is no larger than this.

    Raises:
        InvalidInputError: ``max_attempts`` is not an integer from 1 to 100, or a time is not a finite number above 0.
    """

    __repr__ = shown

    max_attempts: int = 4
    base: float = 0.05
    cap: float = 20.0

    def __attrs_post_init__(self) -> None:
        attempts = self.max_attempts
        ok = isinstance(attempts, int) and not isinstance(attempts, bool) and 1 <= attempts <= 100
        refuse("RetryPolicy", [
            ("max_attempts", None if ok else "must be an integer from 1 to 100"),
            ("base", _seconds_problem(self.base)),
            ("cap", _seconds_problem(self.cap)),
        ])  # fmt: skip


@checked
@attrs.frozen(kw_only=True, repr=False)
class PacingPolicy(PydanticRecord):
    """How the rate limit is kept; by default it is learned (CLARUS_API.md §2).

    Args:
        rate: requests a second, if you know the quota; it is never exceeded, whatever the server says.
        burst: requests that may be sent at once, with ``rate`` only; by default, those of a tenth of a second.
        start: requests a second to begin with, while the rate is being learned.
        max_wait: seconds; a longer wait raises ``RateLimitedError`` at once, which says when to come back. A run then
            takes no more records.
        scope: ``"tenant"``: each tenant has a quota of its own; ``"client"``: all tenants of the client share one.

    Raises:
        InvalidInputError: a rate or ``max_wait`` is not a finite number above 0, ``burst`` is not an integer from 1 to
            1,000,000 or comes without ``rate``, ``start`` comes with ``rate``, or ``scope`` is neither.
    """

    __repr__ = shown

    rate: float | None = None
    burst: int | None = None
    start: float | None = None
    max_wait: float = 300.0
    scope: Literal["tenant", "client"] = "tenant"

    def __attrs_post_init__(self) -> None:
        known = self.rate is not None
        refuse("PacingPolicy", [
            ("rate", _rate_problem(self.rate)),
            ("burst", _burst_problem(self.burst, known=known)),
            ("start", "goes without rate only" if known and self.start is not None else _rate_problem(self.start)),
            ("max_wait", _seconds_problem(self.max_wait)),
            ("scope", None if self.scope in ("tenant", "client") else 'must be "tenant" or "client"'),
        ])  # fmt: skip


def subdomain_problem(value: object) -> str | None:
    """Return why a value can't be a subdomain, or ``None``."""
    if isinstance(value, str) and re.fullmatch(_SUBDOMAIN, value):
        return None
    return "subdomain: must be one DNS label, 1 to 63 of a-z 0-9 -, neither first nor last a -"


def base_url_problem(value: object, *, allow_http: bool = False) -> str | None:
    """Return why a value can't be a base URL, or ``None``; plain ``http`` is for loopback unless it is allowed."""
    if not isinstance(value, str) or not value.isascii() or re.search(r"[\x00-\x20\\]", value):
        return "base_url: must be an absolute https URL of ASCII characters without spaces"
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError:
        return "base_url: is not a URL (host or port is malformed)"
    if not re.fullmatch(_AUTHORITY, url.netloc.rpartition("@")[2]):
        return "base_url: is not a URL (host or port is malformed)"
    if url.scheme not in {"http", "https"} or not host:
        return "base_url: must be an absolute https URL, such as https://clarus-api.com"
    if "@" in url.netloc:
        return "base_url: must hold no user name or password"
    if "?" in value or "#" in value:
        return "base_url: must hold no query and no fragment"
    if url.scheme == "http" and not (allow_http or host in _LOOPBACK):
        return "base_url: plain http would send the token unprotected; use https, or pass allow_http=True"
    return None
