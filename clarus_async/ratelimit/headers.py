"""Rate limit headers: draft-ietf-httpapi-ratelimit-headers, old and new, and X-RateLimit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from multidict import istr

from clarus_async.wire.headers import http_date, retry_after

_MAX_TEXT = 1024
_MAX_COUNT = 1e9
_HOUR = 3600.0
# About ten years: no quota lasts as long, and no server's clock is as early.
_MAX_DELTA = 3.2e8
# As seconds this were the year 5138; as milliseconds, 1973.
_MIN_MILLISECONDS = 1e11

# A multidict folds a plain string's case at every lookup, an istr's once; a dict takes it for the string that it is.
_STATE, _POLICY = istr("RateLimit"), istr("RateLimit-Policy")
_TRIPLES = tuple(
    (istr(f"{prefix}-Limit"), istr(f"{prefix}-Remaining"), istr(f"{prefix}-Reset"))
    for prefix in ("RateLimit", "X-RateLimit", "X-Rate-Limit")
)
_NAMES = (_STATE, _POLICY, *(name for triple in _TRIPLES for name in triple))

# "[0-9]", as "\d" knows more digits. Nothing here backtracks: every repetition ends where only one thing can follow.
# Compiled when they are first needed: most programs import far more than they use.
_WHOLE: Final = r"[0-9]+"
_NUMBER: Final = r"-?[0-9]+(?:\.[0-9]*)?"
# A String or a Token (RFC 9651, sections 3.3.3 and 3.3.4).
_NAME: Final = r'"((?:[^"\\]|\\.)*+)"|([A-Za-z*][^\s"(),;=]*+)'
# What follows a comma or a semicolon, up to the next that no String holds.
_PIECE: Final = r'(?s)([,;])((?:"(?:[^"\\]|\\.)*+"?|[^",;])*+)'


class RateLimitHeaders(NamedTuple):
    """What an answer's headers say of the rate limit; ``None`` for what they leave open, and no window without a limit.

    A window that is longer than an hour is treated as an hour (the limit stays as it is), and the server's Retry-After
    decides after that.
    """

    limit: int | None  # requests per window, 1 to 10**9
    window: float | None  # seconds, at most 3600
    remaining: int | None  # requests left, 0 to 10**9
    reset: float | None  # seconds from the answer until the quota is restored, 0 to 3600


class _Item(NamedTuple):
    """An item of a structured list (RFC 9651, section 3.1): its text, and those of its parameters."""

    head: str
    name: str | None  # without quotes: servers quote it in one header and not in the other
    params: dict[str, str]

    def counts_requests(self) -> bool:
        return self.params.get("qu", "requests").strip('"') == "requests"


class _Quota(NamedTuple):
    name: str | None
    limit: int | None
    window: int | None


_NOTHING = RateLimitHeaders(None, None, None, None)
_UNKNOWN = _Quota(None, None, None)


def read_rate_limit(headers: Mapping[str, str], date: str | None, now: datetime) -> RateLimitHeaders | None:
    """Read an answer's rate limit headers; ``None`` where they say nothing usable.

    The current draft is preferred to its earlier forms, and those to the X- headers, which only fill what is open.
    What is malformed is left out by itself; what is out of range is clamped.

    A reset that is a point in time is on the server's clock, so it is measured against the answer's ``date``, and comes
    out up to a second late: Date has whole seconds. Without a Date, our clock's ``now`` has to do.
    """
    # Most answers end here.
    if headers.keys().isdisjoint(_NAMES):
        return None
    found = _NOTHING
    for other in _families(headers, date, now):
        # Together: a limit of one family with the window of another were a rate that nobody advertised.
        rate = other if found.limit is None else found
        found = RateLimitHeaders(
            rate.limit,
            rate.window,
            other.remaining if found.remaining is None else found.remaining,
            other.reset if found.reset is None else found.reset,
        )
        if None not in {found.limit, found.remaining, found.reset}:
            break
    return None if found == _NOTHING else found


def _families(headers: Mapping[str, str], date: str | None, now: datetime) -> Iterator[RateLimitHeaders]:
    policies = _items(_lines(headers, _POLICY))
    states = _items(_lines(headers, _STATE))
    # What is left of a quota of bytes is no number of requests.
    foreign = {policy.name for policy in policies if not policy.counts_requests()}
    policies = [policy for policy in policies if policy.counts_requests()]
    yield _named(policies, [state for state in states if state.name is not None and state.name not in foreign])
    # Until draft 07, RateLimit was a dictionary, and a policy was its quota: "100;w=60".
    pairs = dict(state.head.partition("=")[::2] for state in states)
    limit = _count(pairs.get("limit"))
    quota = _in_force(limit, policies) if limit else _UNKNOWN
    yield _fields(quota, _count(pairs.get("remaining")), _until(pairs.get("reset"), date, now))
    for limit_name, remaining_name, reset_name in _TRIPLES:
        # The first tells the quota in force, and those after it are policies.
        limits = _items(_lines(headers, limit_name))
        quota = _in_force(_count(limits[0].head) if limits else None, limits + policies)
        yield _fields(quota, _count(_line(headers, remaining_name)), _until(_line(headers, reset_name), date, now))


def _fields(quota: _Quota, remaining: int | None, reset: float | None) -> RateLimitHeaders:
    return RateLimitHeaders(
        quota.limit,
        None if quota.window is None else min(float(quota.window), _HOUR),
        remaining,
        None if reset is None else min(max(0.0, float(reset)), _HOUR),
    )


def _named(policies: list[_Item], states: list[_Item]) -> RateLimitHeaders:
    best = _slowest([_quota(policy, policy.params.get("q")) for policy in policies if policy.name is not None])
    same = [state for state in states if state.name == best.name] or (states if len(states) == 1 else [])
    params = same[0].params if same else {}
    return _fields(best, _count(params.get("r")), _count(params.get("t")))


def _in_force(limit: int | None, policies: list[_Item]) -> _Quota:
    """Find the quota in force, and its window, where policies have no names."""
    quotas = [_quota(policy, policy.head) for policy in policies]
    if not limit:
        return _slowest(quotas)
    windows = [quota for quota in quotas if quota.limit is not None and quota.window is not None]
    same = [quota for quota in windows if quota.limit == limit]
    return _slowest(same or (windows if len(windows) == 1 else []))._replace(limit=limit)


def _quota(policy: _Item, limit: str | None) -> _Quota:
    return _Quota(policy.name, _count(limit) or None, _count(policy.params.get("w")) or None)


def _slowest(quotas: list[_Quota]) -> _Quota:
    """Find the quota with the lowest rate: whoever keeps that one keeps them all, but for bursts."""
    rated = [((quota.window or 0) / quota.limit, quota) for quota in quotas if quota.limit is not None]
    return max(rated, key=lambda pair: pair[0])[1] if rated else _UNKNOWN


def _line(headers: Mapping[str, str], name: str) -> str | None:
    text = headers.get(name)
    return text if text is not None and len(text) <= _MAX_TEXT else None


def _lines(headers: Mapping[str, str], name: str) -> str:
    getall = getattr(headers, "getall", None)
    text = ", ".join(getall(name, ())) if getall else headers.get(name, "")
    return text if len(text) <= _MAX_TEXT else ""


def _items(text: str) -> list[_Item]:
    items: list[_Item] = []
    for separator, piece in re.findall(_PIECE, f",{text}" if text else ""):
        if separator == ",":
            head = piece.strip()
            match = re.fullmatch(_NAME, head)
            items.append(_Item(head, match and (match[1] or match[2] or ""), {}))
        else:
            key, _, value = piece.strip().partition("=")
            items[-1].params[key] = value
    return [item for item in items if item.head]


def _count(text: str | None) -> int | None:
    # Not "strip": it takes more for a space than float() does.
    if text is None or not re.fullmatch(_WHOLE, text := text.strip(" \t")):
        return None
    # By way of a float: an int of very many digits is slow, or refused.
    return int(min(max(float(text), 0.0), _MAX_COUNT))


def _until(text: str | None, date: str | None, now: datetime) -> float | None:
    """Read a reset: seconds from the answer, a Unix time in seconds or milliseconds, or an HTTP-date."""
    if text is None or not re.fullmatch(_NUMBER, text.strip(" \t")):
        return retry_after(text, date, now)
    seconds = float(text)
    if seconds <= _MAX_DELTA:
        return seconds
    return (seconds if seconds < _MIN_MILLISECONDS else seconds / 1000) - (http_date(date) or now).timestamp()
