"""The bodies of REST requests and answers (CLARUS_API.md §1, §3, §5). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import orjson

from clarus_async.simulator.resources import Attribute, SimulatedResource

JSON: Final = "application/json; charset=utf-8"

# What each type of an attribute is called in an error.
_WORDINGS: Final[Mapping[type, str]] = {str: "a string", bool: "a boolean", int: "an integer", dict: "an object"}

# The vendor documents that `code` is an integer and shows one symbol; these are the simulator's own.
_CODES: Final = {
    "blank": 101,
    "invalid": 102,
    "unknown": 103,
    "not_permitted": 104,
    "exists": 105,
    "malformed": 106,
    "not_found": 107,
    "subdomain": 108,
    "forbidden": 109,
    "rate_limited": 110,
    "too_large": 111,
    "media_type": 112,
}


@attrs.frozen(kw_only=True)
class Answer:
    """An answer; its headers come beside ``Content-Type``, ``Date`` and ``X-Request-Id``."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict)


class RefusedError(Exception):
    """A request that is not applied; ``answer`` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def json_answer(document: object, status: int = 200) -> Answer:
    """Return ``document`` as an answer."""
    return Answer(status=status, body=orjson.dumps(document))


def page(status: int, title: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a proxy's own page, as nginx makes it."""
    heading = f"{status} {title}"
    html = (
        f"<html>\r\n<head><title>{heading}</title></head>\r\n<body>\r\n"
        f"<center><h1>{heading}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status=status, body=html.encode(), content_type="text/html", headers=headers or {})


def unauthorized(text: str) -> Answer:
    """Return a 401 as documented (CLARUS_API.md §3)."""
    return json_answer({"error": text}, 401)


def problem(
    kind: str, symbol: str, details: str, source: str | None = None, context: object = None
) -> dict[str, object]:
    """Return one documented error object (CLARUS_API.md §3); ``kind`` chooses the ``code``."""
    return {"code": _CODES[kind], "symbol": symbol, "details": details, "source": source, "context": context}


def problems(status: int, *listed: Mapping[str, object]) -> Answer:
    """Return documented error objects as an answer (CLARUS_API.md §3)."""
    return json_answer({"errors": listed}, status)


def not_found(what: str) -> Answer:
    """Return a 404 as documented (CLARUS_API.md §3)."""
    return problems(404, problem("not_found", "not_found", f"{what} does not exist"))


def read_attributes(resource: SimulatedResource, body: bytes, *, patch: bool = False) -> dict[str, Any]:
    """Return the attributes of a create request or of a PATCH, where ``None`` clears one, or raise ``RefusedError``."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RefusedError(_malformed("the body is not JSON")) from None
    match document:
        case {"data": {"type": resource.name, "attributes": dict(attributes)}}:
            pass
        case _:
            form = f'{{"data": {{"type": "{resource.name}", "attributes": {{…}}}}}}'
            raise RefusedError(_malformed(f"the body is not {form}"))
    absent = "" if patch else None
    found = [
        _blank(name)
        for name, attribute in resource.attributes.items()
        if attribute.required and (attribute.patchable or not patch) and attributes.get(name, absent) is None
    ]
    for name, value in attributes.items():
        attribute = resource.attributes.get(name)
        if patch and attribute is not None and not attribute.patchable:
            found.append(problem("not_permitted", "attribute_not_permitted", f"{name} can't be changed", name))
        else:
            found += _check(name, attribute, value)
    if found:
        raise RefusedError(problems(422, *found))
    return attributes


def refers_to_nothing(attribute: str, value: int) -> Answer:
    """Return a 422 for an id of another resource that does not exist."""
    return problems(422, _about(attribute, "invalid", f"{attribute} does not exist", {"value": value}))


def already_exists(attribute: str, attributes: Mapping[str, Any]) -> Answer:
    """Return a 422 for a value that must be unique; its context repeats what was sent, secrets included."""
    details = f"{attribute} {attributes[attribute]!r} has already been taken"
    return problems(422, _about(attribute, "exists", details, {"attributes": attributes}))


def render(resource: SimulatedResource, record_id: int, attributes: Mapping[str, Any]) -> Answer:
    """Return a record as create and update answer it; the vendor's samples leave out some attributes."""
    shown = {}
    for name, attribute in resource.attributes.items():
        if attribute.shown:
            value = attributes.get(name, attribute.default)
            shown[name] = attribute.default if value is None and not attribute.nullable else value
    if not resource.wrapped:
        return json_answer({"id": record_id, **shown})
    return json_answer({"data": {"id": record_id, "type": resource.name, "attributes": shown}})


def _malformed(text: str) -> Answer:
    return problems(400, problem("malformed", "malformed_body", text))


def _about(name: str, kind: str, details: str, context: object = None) -> dict[str, object]:
    return problem(kind, f"{name}_{kind}", details, name, context)


def _blank(name: str) -> dict[str, object]:
    return _about(name, "blank", f"{name} can't be blank")


def _check(name: str, attribute: Attribute | None, value: object) -> list[dict[str, object]]:
    if attribute is None:
        return [problem("unknown", "attribute_unknown", f"{name} is not an attribute", name)]
    if value is None:
        return []
    if not isinstance(value, attribute.kind) or (attribute.kind is int and isinstance(value, bool)):
        wording = _WORDINGS[attribute.kind] + (" or null" if attribute.nullable else "")
    elif isinstance(value, str) and not value.strip():
        # "Empty strings cause validation noise" (CLARUS_API.md §4).
        return [_blank(name)]
    elif attribute.one_of is not None and value not in attribute.one_of:
        wording = f"one of {', '.join(attribute.one_of)}"
    else:
        return []
    return [_about(name, "invalid", f"{name} must be {wording}", {"value": value})]
