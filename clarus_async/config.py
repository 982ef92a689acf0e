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
import os
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import attrs

from clarus_async.credentials import (
    AccessToken,
    ClientCredentials,
    Credentials,
    RefreshToken,
    bearer_problem,
    scopes_problem,
    vschar_problem,
)
from clarus_async.errors import ConfigurationError
from clarus_async.pydantic_schema import PydanticRecord
from clarus_async.validation import checked, refuse, shown

__all__ = ["DEFAULT_BASE_URL", "PacingPolicy", "RetryPolicy", "Timeouts"]

DEFAULT_BASE_URL: Final = "https://clarus-api.com"
"""Where the vendor's API is (CLARUS_API.md §2: the token URL's origin)."""

# One DNS label, RFC 1123: a subdomain goes into a header, and nothing else must get in with it.
_SUBDOMAIN: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A name, or an address in brackets with nothing beside it; urllib lets more through than yarl, which sends.
_AUTHORITY: Final = r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(:\d*)?"
_MOST_AT_ONCE: Final = 1_000_000
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
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_AT_ONCE:
        return f"must be an integer from 1 to {_MOST_AT_ONCE:,}"
    return None if known else "goes with rate only"


@checked
@attrs.frozen(kw_only=True, repr=False)
class Timeouts(PydanticRecord):
    """How long to wait, in seconds.

    Args:
        connect: for a connection, TLS included.
        attempt: for one request and its whole answer.
        settle: how long after we gave an attempt up the server may still apply it; at least ``attempt``.
        deadline: for a whole call, waits and retries included.

    Raises:
        InvalidInputError: a value is no finite number above 0, or ``settle`` is under ``attempt``.
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
    """When a request goes out again: full jitter over an exponential backoff.

    Args:
        max_attempts: requests in all that a call may cost; a 429, a rate limiter's 503 and a 401 cost none. 1 turns
            retries off, and raises a 429 at once, for use under an engine that retries itself.
        base: seconds; the first backoff is drawn from 0 to this.
        cap: seconds; no backoff is drawn from more than this.

    Raises:
        InvalidInputError: ``max_attempts`` is no integer from 1 to 100, or a time is no finite number above 0.
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
    """How a rate limit is kept to, which is found by itself where nothing is given here (CLARUS_API.md §2).

    Args:
        rate: requests a second, where you know the quota; it is never exceeded, whatever the server says of itself.
        burst: requests that may go out at once, with ``rate`` only; those of a tenth of a second if left out.
        start: requests a second to begin with, where the rate has to be found.
        max_wait: seconds; a longer wait raises ``RateLimitedError`` at once, with when to come back. A run takes in no
            more records then.
        scope: ``"tenant"``: each tenant has a quota of its own; ``"client"``: all tenants of the client share one.

    Raises:
        InvalidInputError: a rate or ``max_wait`` is no finite number above 0, ``burst`` is no integer from 1 to
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
    """Say why a value can't name a tenant, or ``None``."""
    if isinstance(value, str) and re.fullmatch(_SUBDOMAIN, value):
        return None
    return "subdomain: must be one DNS label, 1 to 63 of a-z 0-9 -, neither first nor last a -"


def base_url_problem(value: object, *, allow_http: bool = False) -> str | None:
    """Say why a value can't be a base URL, or ``None``.

    Args:
        value: the base URL as given.
        allow_http: let plain ``http`` through to hosts that are not loopback.
    """
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


class Environment(NamedTuple):
    """The client's settings as ``CLARUS_*`` environment variables give them."""

    subdomain: str
    credentials: Credentials
    base_url: str


def read_environment(
    overrides: Mapping[str, Any], environ: Mapping[str, str] | None = None, *, allow_http: bool = False
) -> Environment:
    """Read the settings that are not overridden, and name all that is missing or bad at once.

    Args:
        overrides: ``subdomain``, ``credentials`` and ``base_url`` where the caller gave them.
        environ: the variables; those of the process by default.
        allow_http: as for the client.

    Raises:
        ConfigurationError: variables are missing or bad; the message names each.
    """
    result = _read(overrides, os.environ if environ is None else environ, allow_http=allow_http)
    # What was read may hold secrets, and error trackers ship the variables of the frame that raises.
    del overrides, environ
    if isinstance(result, Environment):
        return result
    raise ConfigurationError("; ".join(result))


def _read(overrides: Mapping[str, Any], environ: Mapping[str, str], *, allow_http: bool) -> Environment | list[str]:
    values = {name: text for name in _VARIABLES if (text := environ.get(name, "").strip())}
    problems: list[str] = []

    subdomain = overrides.get("subdomain", values.get("CLARUS_SUBDOMAIN"))
    if subdomain is None:
        problems.append("CLARUS_SUBDOMAIN is missing")
    elif problem := subdomain_problem(subdomain):
        problems.append(f"CLARUS_SUBDOMAIN: {problem}")

    base_url = overrides.get("base_url", values.get("CLARUS_BASE_URL", DEFAULT_BASE_URL))
    if problem := base_url_problem(base_url, allow_http=allow_http):
        problems.append(f"CLARUS_BASE_URL: {problem}")

    credentials = overrides.get("credentials")
    if credentials is None:
        credentials = _credentials_from(values, problems)
    if problems or credentials is None:
        return problems
    return Environment(subdomain=str(subdomain), credentials=credentials, base_url=base_url)


_VARIABLES = (
    "CLARUS_SUBDOMAIN", "CLARUS_CLIENT_ID", "CLARUS_CLIENT_SECRET", "CLARUS_SCOPES",
    "CLARUS_ACCESS_TOKEN", "CLARUS_REFRESH_TOKEN", "CLARUS_BASE_URL",
)  # fmt: skip


def _credentials_from(values: Mapping[str, str], problems: list[str]) -> Credentials | None:
    access_token = values.get("CLARUS_ACCESS_TOKEN")
    if access_token is not None:
        if problem := bearer_problem(access_token):
            problems.append(f"CLARUS_ACCESS_TOKEN: {problem}")
            return None
        return AccessToken(access_token)
    pair = ("CLARUS_CLIENT_ID", "CLARUS_CLIENT_SECRET")
    missing = [name for name in pair if name not in values]
    problems += [f"{name} is missing (or give CLARUS_ACCESS_TOKEN)" for name in missing]
    scopes = tuple(values.get("CLARUS_SCOPES", "").replace(",", " ").split())
    bad = {name: vschar_problem(values[name]) for name in (*pair, "CLARUS_REFRESH_TOKEN") if name in values}
    bad["CLARUS_SCOPES"] = scopes_problem(scopes)
    problems += [f"{name}: {problem}" for name, problem in bad.items() if problem]
    if missing or any(bad.values()):
        return None
    client_id, client_secret = (values[name] for name in pair)
    if (refresh_token := values.get("CLARUS_REFRESH_TOKEN")) is not None:
        return RefreshToken(client_id, client_secret, refresh_token)
    return ClientCredentials(client_id, client_secret, scopes)
