"""Bodies of REST requests and answers: the JSON:API envelope (CLARUS_API.md §1), and bare objects (§5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import attrs

from clarus_async.resources.spec import AnySpec, Changes, Envelope, New, Record, ResourceSpec
from clarus_async.unset import UNSET
from clarus_async.validation import attributes_of
from clarus_async.wire.reading import Unreadable, encode, parse_object, read_record, unstructure


def create_body(spec: AnySpec, new: object) -> bytes:
    """Write the body of a create; attributes that are ``None`` are left out."""
    return encode({"data": {"type": spec.name, "attributes": unstructure(new)}})


def changes_body(spec: AnySpec, record_id: int, changes: object) -> bytes:
    """Write the body of an update; attributes that are ``UNSET`` are left out, ``None`` is sent as ``null``.

    JSON:API wants the id in the body, too, and as a string (its sections "Updating Resources" and "Identification").
    """
    return encode({"data": {"id": str(int(record_id)), "type": spec.name, "attributes": unstructure(changes)}})


def read_created(
    spec: ResourceSpec[New, Any, Record, Any, Any], body: bytes, sent: New | None = None
) -> Record | Unreadable:
    """Read the answer to a create, wrapped in ``data`` or bare; only the id must be there.

    What was sent completes an answer that does not even name the record.
    """
    answer = _parse(spec, body)
    if isinstance(answer, Unreadable):
        return answer
    record = read_record(answer.attributes, spec.record, answer.base)
    if isinstance(record, Unreadable):
        return record._replace(pointer=f"{answer.base}/id")
    return record if sent is None else _completed(spec, record, sent, answer.attributes)


def read_changed(
    spec: ResourceSpec[Any, Changes, Record, Any, Any], body: bytes, record_id: int, changes: Changes
) -> Record:
    """Read the answer to an update; whatever it holds, the update was done.

    A PATCH may be answered 204, or by as little as the id (CLARUS_API.md §5): then what was sent completes the answer.
    """
    answer = _parse(spec, body)
    attributes = {} if isinstance(answer, Unreadable) else answer.attributes
    record = read_record(attributes, spec.record, "")
    if isinstance(record, Unreadable):
        record = read_record(attributes | {"id": record_id}, spec.record, "")
    assert not isinstance(record, Unreadable)  # noqa: S101  its id can be read
    return _completed(spec, record, changes, attributes)


class _Answer(NamedTuple):
    """The attributes of a record in an answer, its id among them, and the place of the id."""

    attributes: dict[str, Any]
    base: str = ""


def _parse(spec: AnySpec, body: bytes) -> _Answer | Unreadable:
    document = parse_object(body)
    if isinstance(document, Unreadable):
        return document
    # Either form is accepted of any resource; a bare record may have an attribute called data.
    if "data" not in document or ("id" in document and spec.envelope is Envelope.BARE):
        return _Answer(document)
    resource = document["data"]
    if not isinstance(resource, dict):
        return Unreadable("/data", "an object")
    attributes = resource.pop("attributes", None)
    if not isinstance(attributes, dict):
        attributes = {}
    # Members beside the attributes are kept, too; the id is that of the resource object.
    resource.pop("type", None)
    flat = resource | attributes
    if "id" in resource:
        flat["id"] = resource["id"]
        return _Answer(flat, "/data")
    return _Answer(flat, "/data/attributes" if "id" in attributes else "/data")


def _completed(spec: AnySpec, record: Record, sent: object, answer: Mapping[str, Any]) -> Record:
    name = spec.keys[-1].field
    if getattr(record, name) is not None:
        return record
    answered = attributes_of(spec.record)
    values = {
        attribute: getattr(sent, attribute)
        for attribute in attributes_of(type(sent))
        if attribute in answered and (attribute == name or attribute not in answer)
    }
    completed: Record = attrs.evolve(record, **{name: value for name, value in values.items() if value is not UNSET})  # type: ignore[misc]
    return completed
