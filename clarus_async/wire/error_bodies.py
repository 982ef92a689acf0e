"""The bodies of error responses, in every common form (CLARUS_API.md §3 documents two, and leaves the rest open).

These are read: the vendor's two forms, JSON:API's and GraphQL's errors, problem details (RFC 9457), OAuth's errors
(RFC 6749), the challenge of an empty 401 or 403 (RFC 6750), what Spring, FastAPI, Django REST framework, ASP.NET,
Laravel, Google's and Apigee's gateways write, and the title of an HTML page; of anything else, the beginning. Nothing
here raises: a body that can't be read gives an error with fewer details.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, quote_plus

import orjson

from clarus_async.errors import ErrorDetail
from clarus_async.wire.reading import Unreadable, parse

# A person reads an error: enough to act on, and no more than fits a log line.
_MOST_ENTRIES: Final = 20
_MOST_TEXT: Final = 500
_MOST_DEPTH: Final = 16
# A gateway wraps its origin's error, which may wrap another one.
_MOST_WRAPPINGS: Final = 3
# A parsed body takes many times its size; only the beginning of a longer one is read, as text.
_MOST_BODY: Final = 256 * 2**10
_MOST_PROSE: Final = 4096
_TITLES: Final = (r"(?i)<title[^>]*>([^<]{1,200})", r"(?i)<h1[^>]*>([^<]{1,200})")
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_TEXTS: Final = (
    "details", "detail", "message", "error_description", "errorMessage", "error_message", "description", "msg",
    "reason", "faultstring", "Message",
)  # fmt: skip
_CODES: Final = ("code", "errorCode", "error_code", "errorcode", "status")
_SYMBOLS: Final = ("symbol", "title", "type")
_SOURCES: Final = ("source", "path", "pointer", "loc", "field", "property", "param")
_LISTS: Final = ("errors", "invalid-params", "invalid_params", "violations")
_SECRETIVE: Final = r"(?i)token|secret|passw|api_?key|authorization|credential"


def read_error_body(body: bytes, secrets: Iterable[str] = (), challenge: str | None = None) -> tuple[ErrorDetail, ...]:
    """Read the body of an error response, with secrets scrubbed from it.

    Args:
        body: JSON, a proxy's HTML, or nothing.
        secrets: strings to scrub, in case the server echoes them.
        challenge: the response's WWW-Authenticate, which counts where the body tells nothing.
    """
    hidden = forms_of(secrets)
    document = _document(body) if len(body) <= _MOST_BODY else Unreadable("", "an error")
    if isinstance(document, Unreadable):
        details = _prose(body, hidden)
    else:
        # Before anything is cut or folded: the remains of a secret could not be found afterwards.
        details = _read(_scrubbed(document, hidden, 0), hidden, _MOST_WRAPPINGS)
    return details or _challenged(challenge, hidden)


def _document(body: bytes) -> Any | Unreadable:  # noqa: ANN401
    document = parse(body)
    if isinstance(document, Unreadable) and body.strip():
        # JSON should be UTF-8 (RFC 8259, section 8.1), but some servers write it otherwise.
        return parse(_text(body).encode("utf-8", "replace"))
    return document


def _text(body: bytes) -> str:
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body.removeprefix(mark).decode(encoding, "replace")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        # A body that was cut within a character is UTF-8, too.
        cut = len(body) - error.start < 4 and error.reason == "unexpected end of data"
        text = body[: error.start].decode() if cut else body.decode("latin-1")
    # UTF-16 without a byte order mark, of Western text.
    return text.replace("\0", "")


def _read(document: object, hidden: list[str], wrappings: int) -> tuple[ErrorDetail, ...]:
    if isinstance(document, list) and document and all(isinstance(item, dict) for item in document):
        return _entries(document, hidden, wrappings)
    if not isinstance(document, dict):
        return (ErrorDetail(details=_short(document if isinstance(document, list) else _json(document))),)
    listed: tuple[ErrorDetail, ...] = ()
    for name in _LISTS:
        listed = listed or _several(document.get(name), hidden, wrappings)
        if any(detail != ErrorDetail() for detail in listed):
            return listed
    return (
        _one(document.get("error"), document, hidden, wrappings)
        or _one(document.get("fault"), document, hidden, wrappings)
        or _general(document, hidden, wrappings)
        or _by_field(document)
        or _unknown(document)
        or listed
    )


def _several(errors: object, hidden: list[str], wrappings: int) -> tuple[ErrorDetail, ...]:
    """Read errors in a list, or by field."""
    if isinstance(errors, list):
        return _entries(errors, hidden, wrappings)
    if isinstance(errors, dict):
        return _fields(errors)
    return () if errors is None else (ErrorDetail(details=_short(errors)),)


def _entries(errors: Sequence[object], hidden: list[str], wrappings: int) -> tuple[ErrorDetail, ...]:
    return tuple(_entry(error, hidden, wrappings) for error in errors[:_MOST_ENTRIES])


def _fields(errors: Mapping[str, object]) -> tuple[ErrorDetail, ...]:
    return tuple(
        ErrorDetail(source=None if field == "non_field_errors" else _short(field), details=_short(text))
        for field, text in [*errors.items()][:_MOST_ENTRIES]
    )


def _one(error: object, document: Mapping[str, object], hidden: list[str], wrappings: int) -> tuple[ErrorDetail, ...]:
    """Read an error that has a member of its own: a text, perhaps with more beside it, or an object."""
    if error is None:
        return ()
    if isinstance(error, dict):
        return _read(error, hidden, wrappings - 1) if wrappings else (ErrorDetail(details=_short(error)),)
    if isinstance(error, list) and error and all(isinstance(item, dict) for item in error):
        return _entries(error, hidden, wrappings)
    # 401: {"error": "<string>"}; RFC 6749, section 5.2 adds a description, and Spring a message.
    description = _best_text(document)
    if isinstance(description, str) and isinstance(error, str):
        return (ErrorDetail(symbol=_short(error), details=_text_or_nested(description, hidden, wrappings)),)
    return (ErrorDetail(details=_text_or_nested(error, hidden, wrappings)),)


def _general(document: Mapping[str, object], hidden: list[str], wrappings: int) -> tuple[ErrorDetail, ...]:
    """Read an object that is the error itself, such as a problem's title and detail (RFC 9457)."""
    text = _best_text(document)
    if isinstance(text, list) and text and all(isinstance(item, dict) for item in text):
        return _entries(text, hidden, wrappings)
    if isinstance(text, dict) and wrappings:
        return _read(text, hidden, wrappings - 1)
    if text is None and document.get("title") is None:
        return ()
    entry = _entry(document, hidden, wrappings)
    # The status of a problem repeats the response's; its instance says what it is about.
    source = entry.source or _source(document.get("instance"))
    code = entry.code if _first(document, *_CODES[:-1]) is not None else None
    return (ErrorDetail(code=code, symbol=entry.symbol, details=entry.details, source=source),)


def _by_field(document: Mapping[str, object]) -> tuple[ErrorDetail, ...]:
    """Read an object that holds only lists of texts, one for each field."""
    lists = [value for value in document.values() if isinstance(value, list) and value]
    if len(lists) < len(document) or not all(isinstance(text, str) for value in lists for text in value):
        return ()
    return _fields({field: "; ".join(texts) for field, texts in document.items() if isinstance(texts, list)})


def _unknown(document: Mapping[str, object]) -> tuple[ErrorDetail, ...]:
    shown = {
        name: "***" if re.search(_SECRETIVE, name) else value
        for name, value in document.items()
        if not _is_empty(value)
    }
    return (ErrorDetail(details=_short(shown)),) if shown else ()


def _is_empty(value: object) -> bool:
    if isinstance(value, dict | list):
        return all(map(_is_empty, value.values() if isinstance(value, dict) else value))
    return value is None


def _entry(error: object, hidden: list[str], wrappings: int) -> ErrorDetail:
    if not isinstance(error, dict):
        return ErrorDetail(details=_short(error))
    extensions = error.get("extensions")
    code = _first(error, *_CODES)
    if code is None:
        code = _first(extensions, "code")
    context = error.get("context", extensions)
    symbols = [text for text in map(error.get, _SYMBOLS) if text is not None and not _is_reference(text)]
    # A field's name stands for what it is about only where a reason stands beside it (RFC 9457, section 3).
    source = error.get("name") if "reason" in error else None
    return ErrorDetail(
        code=code if isinstance(code, int) and not isinstance(code, bool) else _short(code),
        symbol=_short(next(iter(symbols), None)),
        details=_text_or_nested(_best_text(error), hidden, wrappings),
        source=_source(_first(error, *_SOURCES) or source),
        context=context if isinstance(context, dict) else None,
    )


def _best_text(error: Mapping[str, object]) -> object:
    """Return the text of an error object; a nested object only where there is nothing better."""
    texts = [text for text in map(error.get, _TEXTS) if text is not None]
    return next((text for text in texts if isinstance(text, str) and text.strip()), next(iter(texts), None))


def _is_reference(value: object) -> bool:
    """Whether a type is the URI of its documentation, or the default one (RFC 9457, section 3.1.1)."""
    return isinstance(value, str) and (value == "about:blank" or "://" in value)


def _text_or_nested(value: object, hidden: list[str], wrappings: int) -> str | None:
    """Return a text; where it is JSON itself, the error in that."""
    if wrappings and isinstance(value, str) and value[:1] in {"{", "["}:
        inner = parse(value.encode("utf-8", "replace"))
        if isinstance(inner, dict | list):
            details = _read(_scrubbed(inner, hidden, 0), hidden, wrappings - 1)
            return _short("; ".join(map(str, details)))
    return _short(value)


def _challenged(challenge: str | None, hidden: list[str]) -> tuple[ErrorDetail, ...]:
    """Read the error of a challenge (RFC 6750, section 3)."""
    text = _without((challenge or "")[:_MOST_PROSE], hidden)
    parameters = {
        name.lower(): _without(re.sub(r"\\(.)", r"\1", quoted), hidden) or plain
        for name, quoted, plain in re.findall(r'\b(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', text)
    }
    error, description = parameters.get("error"), parameters.get("error_description")
    return (ErrorDetail(symbol=_short(error), details=_short(description)),) if error or description else ()


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
    import html  # noqa: PLC0415  its table of names is long, and proxies' pages are rare

    # A secret that is cut in two is not found: the end, where one may be, is dropped.
    longest = max(map(len, hidden), default=0)
    window = _MOST_PROSE + 4 * longest
    # HTML has many ways to write a character, so secrets are looked for in the unescaped text, too.
    text = _without(html.unescape(_without(_text(body[:window]), hidden)), hidden)
    text = text[: min(_MOST_PROSE, len(text) - longest if len(body) > window else len(text))]
    for pattern in _TITLES:
        if (title := re.search(pattern, text)) and (shown := _short(title[1])):
            return (ErrorDetail(details=f"an HTML page: {shown}"),)
    if re.match(r"error(_description)?=", text):
        # GitHub's token endpoint writes a form where JSON was not asked for.
        form = dict(parse_qsl(text))
        return _one(form.get("error"), form, hidden, 0) or _general(form, hidden, 0)
    return (ErrorDetail(details=_short(text)),) if text.strip() else ()


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _short(value: object) -> str | None:
    """Cut a value to the length of a line, and drop control characters, which a terminal would obey."""
    if value is None:
        return None
    if isinstance(value, dict | list):
        value = _json(value)
    text = "".join(c if c.isprintable() else " " for c in str(value)[: 4 * _MOST_TEXT])
    text = " ".join(text.split())
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


def forms_of(secrets: Iterable[str]) -> list[str]:
    """List every form in which a secret may be echoed, the longest first, so that none is scrubbed only in part."""
    forms = {form for secret in secrets if secret for write in _WRITERS for form in [write(secret)]}
    return sorted(forms, key=len, reverse=True)


# As it is; in JSON, with and without escapes for what is not ASCII; form-encoded; and its UTF-8 read as Latin-1.
_WRITERS: Final[tuple[Callable[[str], str], ...]] = (
    str,
    lambda secret: orjson.dumps(secret).decode()[1:-1],
    lambda secret: json.dumps(secret)[1:-1],
    quote_plus,
    lambda secret: secret.encode("utf-8", "replace").decode("latin-1"),
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
    """List the values in plain data, however deep, as the strings a server would echo."""
    if isinstance(configuration, Mapping):
        return [text for item in configuration.values() for text in secrets_in(item)]
    if isinstance(configuration, list):
        return [text for item in configuration for text in secrets_in(item)]
    # "true" and "1" are not secrets; scrubbing them would spoil every text that contains them.
    if configuration is None or isinstance(configuration, bool) or len(str(configuration)) < 4:
        return []
    return [str(configuration)]
