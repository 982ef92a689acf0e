"""What error bodies say: the vendor's two shapes, JSON:API's, GraphQL's, and anything else (clarus-api.md §3).

Nothing here raises: a body that can't be read is an error with fewer details.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote_plus

import orjson

from clarus_async.errors import ErrorDetail
from clarus_async.wire.reading import Unreadable, parse

# An error is read by a person: enough of it to act on, and no more than a log line takes.
_MOST_ENTRIES: Final = 20
_MOST_TEXT: Final = 500
_MOST_DEPTH: Final = 16
# Parsed, a body takes many times its size; what is longer is read as text, from its beginning.
_MOST_BODY: Final = 256 * 2**10
_MOST_PROSE: Final = 4096
_TITLE: Final = r"(?i)<title[^>]*>([^<]{1,200})"


def read_faults(body: bytes, secrets: Iterable[str] = ()) -> tuple[ErrorDetail, ...]:
    """Read an error answer's body, without what was sent in confidence.

    Args:
        body: as it came; JSON, a proxy's HTML, or nothing.
        secrets: strings that must not show, should the server echo them.
    """
    hidden = _hidden(secrets)
    document = parse(body) if len(body) <= _MOST_BODY else Unreadable("", "an error")
    if isinstance(document, Unreadable):
        return _prose(body, hidden)
    # Before anything is cut or folded: what is left of a secret would not be found any more.
    document = _scrubbed(document, hidden, 0)
    if not isinstance(document, dict):
        return (ErrorDetail(details=_short(orjson.dumps(document).decode())),)
    errors = document.get("errors")
    if isinstance(errors, list):
        return tuple(_entry(error) for error in errors[:_MOST_ENTRIES])
    if isinstance(errors, dict):
        return tuple(
            ErrorDetail(source=_short(field), details=_short(text)) for field, text in [*errors.items()][:_MOST_ENTRIES]
        )
    if errors is not None:
        return (ErrorDetail(details=_short(errors)),)
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
    code = _first(error, "code", "status")
    if code is None:
        code = _first(extensions, "code")
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


def _prose(body: bytes, hidden: list[str]) -> tuple[ErrorDetail, ...]:
    import html  # noqa: PLC0415  its table of names is long, and a proxy's page is rare

    # A secret that the cut goes through is not found in what is left of it: that end is dropped.
    longest = max(map(len, hidden), default=0)
    window = _MOST_PROSE + 4 * longest
    # HTML has many ways to write a character; what it means is what a secret is looked for in.
    text = _without(html.unescape(_without(body[:window].decode("utf-8", "replace"), hidden)), hidden)
    text = text[: min(_MOST_PROSE, len(text) - longest if len(body) > window else len(text))]
    if title := re.search(_TITLE, text):
        return (ErrorDetail(details=f"an HTML page: {_short(title[1])}"),)
    return (ErrorDetail(details=_short(text)),) if text.strip() else ()


def _short(value: object) -> str | None:
    """Cut a value to what a line takes, and leave out what a terminal would obey."""
    if value is None:
        return None
    if isinstance(value, dict | list):
        value = orjson.dumps(value).decode()
    text = "".join(c if c.isprintable() else " " for c in str(value)[: 4 * _MOST_TEXT])
    text = " ".join(text.split())
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


def _hidden(secrets: Iterable[str]) -> list[str]:
    """List every form in which a secret may be echoed, the longest first: one that begins with another goes whole."""
    forms = {form for secret in secrets if secret for write in _WRITERS for form in [write(secret)]}
    return sorted(forms, key=len, reverse=True)


# As it is; in JSON, with and without escapes for what is not ASCII; in a form.
_WRITERS: Final[tuple[Callable[[str], str], ...]] = (
    str,
    lambda secret: orjson.dumps(secret).decode()[1:-1],
    lambda secret: json.dumps(secret)[1:-1],
    quote_plus,
)


def _without(text: str, hidden: list[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, "***")
    return text


def _scrubbed(value: Any, hidden: list[str], depth: int) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return _without(value, hidden)
    if isinstance(value, dict | list):
        if depth == _MOST_DEPTH:
            return "…"
        if isinstance(value, list):
            return [_scrubbed(item, hidden, depth + 1) for item in value]
        return {_without(key, hidden): _scrubbed(item, hidden, depth + 1) for key, item in value.items()}
    if value is None or isinstance(value, bool):
        return value
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
