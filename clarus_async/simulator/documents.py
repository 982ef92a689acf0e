"""REST bodies: what a request may say and what an answer says (CLARUS_API.md §1, §3). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import orjson

JSON: Final = "application/json; charset=utf-8"

REFERENCES: Final = ("external_system_reference1", "external_system_reference2", "external_system_reference3")
STRINGS: Final = ("string1", "string2", "string3", "string4", "string5")

# The vendor's table of attributes (CLARUS_API.md §1): what each must be.
_TYPES: Final[Mapping[str, tuple[type, str]]] = {
    "name": (str, "a string"),
    "integration_type": (str, "a string"),
    "provider": (str, "a string or null"),
    "is_active": (bool, "a boolean or null"),
    "account_id": (int, "an integer or null"),
    "warehouse_id": (int, "an integer or null"),
    "configuration": (dict, "an object"),
    **dict.fromkeys((*REFERENCES, *STRINGS), (str, "a string or null")),
}
_REQUIRED: Final = ("name", "integration_type")
_CREATABLE: Final = frozenset(_TYPES)
_PATCHABLE: Final = frozenset({"name", "is_active", "configuration", *STRINGS})

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
    """What the server says.

    Attributes:
        status: The HTTP status.
        body: Empty if there is none.
        content_type: Of the body.
        headers: Beside ``Content-Type``, ``Date`` and ``X-Request-Id``.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict)


class RefusedError(Exception):
    """A request that is not applied.

    Args:
        answer: What it is told.
    """

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


def read_create(body: bytes) -> dict[str, Any]:
    """Return the attributes of a create request.

    Raises:
        RefusedError: 400 if there is no envelope to read, 422 for what is in it.
    """
    attributes = _attributes(body)
    found = [
        problem("blank", f"{name}_blank", f"{name} can't be blank", name)
        for name in _REQUIRED
        if attributes.get(name) is None
    ]
    found += [trouble for name, value in attributes.items() for trouble in _check(name, value, _CREATABLE)]
    return _accepted(attributes, found)


def read_update(body: bytes) -> dict[str, Any]:
    """Return the attributes of a PATCH; ``None`` clears one.

    Raises:
        RefusedError: 400 if there is no envelope to read, 422 for what is in it.
    """
    attributes = _attributes(body)
    found = []
    if "name" in attributes and attributes["name"] is None:
        found.append(problem("blank", "name_blank", "name can't be blank", "name"))
    found += [trouble for name, value in attributes.items() for trouble in _check(name, value, _PATCHABLE)]
    return _accepted(attributes, found)


def check_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as a create would store them.

    Raises:
        RefusedError: A create with them would be refused.
    """
    return read_create(orjson.dumps({"data": {"type": "integrations", "attributes": dict(attributes)}}))


def already_exists(attribute: str, attributes: Mapping[str, Any]) -> Answer:
    """Return a 422 for a value that must be unique; its context repeats what was sent, secrets included."""
    trouble = problem(
        "exists",
        f"{attribute}_exists",
        f"{attribute} {attributes[attribute]!r} has already been taken",
        attribute,
        {"attributes": attributes},
    )
    return problems(422, trouble)


def render(record_id: int, attributes: Mapping[str, Any]) -> Answer:
    """Return a record as create and update answer it: the vendor's sample, which has no ``integration_type``."""
    shown: dict[str, Any] = {
        "name": attributes["name"],
        "is_active": attributes.get("is_active", True),
        "account_id": attributes.get("account_id"),
        "warehouse_id": attributes.get("warehouse_id"),
        "configuration": attributes.get("configuration") or {},
    }
    for name in (*REFERENCES, *STRINGS):
        shown[name] = attributes.get(name)
    return json_answer({"data": {"id": record_id, "type": "integrations", "attributes": shown}})


def render_sync(record_id: int) -> Answer:
    """Return what synchronize answers (CLARUS_API.md §1)."""
    return json_answer({"data": {"id": record_id, "type": "integrations", "attributes": {}}})


def _attributes(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RefusedError(_malformed("the body is not JSON")) from None
    match document:
        case {"data": {"type": "integrations", "attributes": dict(attributes)}}:
            return attributes
    raise RefusedError(_malformed('the body is not {"data": {"type": "integrations", "attributes": {…}}}'))


def _malformed(text: str) -> Answer:
    return problems(400, problem("malformed", "malformed_body", text))


def _accepted(attributes: dict[str, Any], found: list[dict[str, object]]) -> dict[str, Any]:
    if found:
        raise RefusedError(problems(422, *found))
    return attributes


def _check(name: str, value: object, allowed: frozenset[str]) -> list[dict[str, object]]:
    if name not in _TYPES:
        return [problem("unknown", "attribute_unknown", f"{name} is not an attribute", name)]
    if name not in allowed:
        return [problem("not_permitted", "attribute_not_permitted", f"{name} can't be changed", name)]
    if value is None:
        return []
    kind, wording = _TYPES[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return [problem("invalid", f"{name}_invalid", f"{name} must be {wording}", name, {"value": value})]
    if isinstance(value, str) and not value.strip():
        # "Empty strings cause validation noise" (CLARUS_API.md §4).
        return [problem("blank", f"{name}_blank", f"{name} can't be blank", name)]
    return []
