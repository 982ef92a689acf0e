"""What error bodies say: the vendor's two shapes, JSON:API's, GraphQL's, and anything else (clarus-api.md §3).

Nothing here raises: a body that can't be read is an error with fewer details.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from clarus_async.errors import ErrorDetail
from clarus_async.wire.reading import parse

# An error is read by a person: enough of it to act on, and no more than a log line takes.
_MOST_ENTRIES = 20
_MOST_TEXT = 500
_TITLE = re.compile(r"<title[^>]*>([^<]{1,200})", re.IGNORECASE)


def read_faults(body: bytes) -> tuple[ErrorDetail, ...]:
    """Read an error answer's body.

    Args:
        body: as it came; JSON, a proxy's HTML, or nothing.
    """
    document = parse(body)
    if not isinstance(document, dict):
        return _prose(body)
    errors = document.get("errors")
    if isinstance(errors, list):
        return tuple(_entry(error) for error in errors[:_MOST_ENTRIES])
    if isinstance(errors, dict):
        return tuple(
            ErrorDetail(source=_short(field), details=_short(text)) for field, text in [*errors.items()][:_MOST_ENTRIES]
        )
    if (error := document.get("error")) is not None:
        # 401: {"error": "<string>"}; RFC 6749, section 5.2 adds a description.
        description = document.get("error_description")
        if isinstance(description, str):
            return (ErrorDetail(symbol=_short(error), details=_short(description)),)
        return (ErrorDetail(details=_short(error)),)
    return ()


def _entry(error: object) -> ErrorDetail:
    if not isinstance(error, dict):
        return ErrorDetail(details=_short(error))
    extensions = error.get("extensions")
    code = _first(error, "code", "status") or _first(extensions, "code")
    context = error.get("context", extensions)
    return ErrorDetail(
        code=code if isinstance(code, int) and not isinstance(code, bool) else _short(code),
        symbol=_short(_first(error, "symbol", "title")),
        details=_short(_first(error, "details", "detail", "message")),
        source=_source(_first(error, "source", "path")),
        context=context if isinstance(context, dict) else None,
    )


def _first(mapping: object, *names: str) -> object:
    if not isinstance(mapping, dict):
        return None
    return next((mapping[name] for name in names if mapping.get(name) is not None), None)


def _source(value: object) -> str | None:
    if isinstance(value, dict):
        return _short(_first(value, "pointer", "parameter", "header"))
    if isinstance(value, list):
        return _short("/".join(map(str, value)))
    return _short(value)


def _prose(body: bytes) -> tuple[ErrorDetail, ...]:
    text = body[:4096].decode("utf-8", "replace")
    if title := _TITLE.search(text):
        return (ErrorDetail(details=f"an HTML page: {_short(title[1])}"),)
    text = text.strip()
    return (ErrorDetail(details=_short(text)),) if text else ()


def _short(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value)
    text = " ".join(text[: 4 * _MOST_TEXT].split())
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


def scrub(details: Iterable[ErrorDetail], secrets: Iterable[str]) -> tuple[ErrorDetail, ...]:
    """Replace what was sent in confidence wherever the server's text echoes it.

    Args:
        details: as they were read.
        secrets: the strings that must not show; short ones are kept out, too.
    """
    # Longest first: a secret that begins with another must go whole.
    hidden = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    if not hidden:
        return tuple(details)
    return tuple(
        ErrorDetail(
            code=_scrubbed(detail.code, hidden),
            symbol=_scrubbed(detail.symbol, hidden),
            details=_scrubbed(detail.details, hidden),
            source=_scrubbed(detail.source, hidden),
            context=_scrubbed(detail.context, hidden),
        )
        for detail in details
    )


def _scrubbed(value: Any, hidden: list[str]) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, "***")
        return value
    if isinstance(value, dict):
        return {_scrubbed(key, hidden): _scrubbed(item, hidden) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item, hidden) for item in value]
    return "***" if str(value) in hidden else value


def secrets_in(configuration: object) -> list[str]:
    """List the values of a configuration, however deep, as the strings a server would echo.

    Args:
        configuration: plain data.
    """
    if isinstance(configuration, Mapping):
        return [text for item in configuration.values() for text in secrets_in(item)]
    if isinstance(configuration, list):
        return [text for item in configuration for text in secrets_in(item)]
    # "true" and "1" are no secrets, and would turn every text they stand in to stars.
    if configuration is None or isinstance(configuration, bool) or len(str(configuration)) < 4:
        return []
    return [str(configuration)]
