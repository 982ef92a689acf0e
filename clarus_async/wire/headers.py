"""Headers of responses (RFC 9110)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# RFC 9110 allows whole seconds only, but some servers send fractions.
_SECONDS: Final = r"(?a)\d{1,18}(\.\d{0,18})?"


def http_date(value: str | None) -> datetime | None:
    """Read an HTTP-date (RFC 9110, section 5.6.7); ``None`` if it is not one."""
    if value is None or len(value) > 64:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def retry_after(value: str | None, date: str | None, now: datetime) -> float | None:
    """Read Retry-After (RFC 9110, section 10.2.3) as seconds from the response; ``None`` if it can't be read.

    A Retry-After that is an HTTP-date is on the server's clock, so it is measured against the same response's ``date``,
    or against our clock's ``now`` where there is none.
    """
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(_SECONDS, text):
        return float(text)
    until = http_date(text)
    if until is None:
        return None
    seconds = (until - (http_date(date) or now)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def request_id(value: str | None, secrets: Iterable[str] = ()) -> str | None:
    """Read X-Request-Id, cut to fit a log line; one that holds a secret is dropped. It is not documented (§3)."""
    if not value or any(secret and secret in value for secret in secrets):
        return None
    return "".join(c for c in value[:128] if c.isprintable()) or None
