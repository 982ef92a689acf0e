"""What answer headers say (RFC 9110)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# RFC 9110 has whole seconds only; servers send fractions all the same.
_SECONDS: Final = r"(?a)\d{1,18}(\.\d{0,18})?"


def http_date(value: str | None) -> datetime | None:
    """Read an HTTP-date (RFC 9110, section 5.6.7), or ``None`` where it is none.

    Args:
        value: the header's text.
    """
    if value is None or len(value) > 64:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def retry_after(value: str | None, date: str | None, now: datetime) -> float | None:
    """Read Retry-After (RFC 9110, section 10.2.3) as seconds from the answer, or ``None`` where it says nothing.

    Args:
        value: Retry-After: seconds, with a fraction or without, or an HTTP-date.
        date: the same answer's Date. A Retry-After date is the server's clock's, so it is measured against that.
        now: our clock, for an answer without Date.
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
    """Read X-Request-Id (not documented, read if it is there: CLARUS_API.md §3), cut to what a log line takes.

    Args:
        value: the header's text.
        secrets: strings that must not show; a text that holds one is not read.
    """
    if not value or any(secret and secret in value for secret in secrets):
        return None
    return "".join(c for c in value[:128] if c.isprintable()) or None
