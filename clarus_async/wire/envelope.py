"""What REST takes and answers: the JSON:API envelope (CLARUS_API.md §1), and bare objects (§5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import attrs

from clarus_async.resources.spec import AnySpec, Changes, Envelope, New, Record, ResourceSpec
from clarus_async.validation import UNSET, attributes_of
from clarus_async.wire.reading import Unreadable, encode, parse_object, read_record, unstructure

_ENVELOPE: Final = ("type", "attributes")


def create_body(spec: AnySpec, new: object) -> bytes:
    """Write what the ``POST`` of a collection takes; what is ``None`` is left out."""
    return encode({"data": {"type": spec.name, "attributes": unstructure(new)}})


def changes_body(spec: AnySpec, record_id: int, changes: object) -> bytes:
    """Write what the ``PATCH`` of a record takes; what is ``UNSET`` is left out, what is ``None`` is sent as ``null``.

    JSON:API wants the id in the body, too, and as a string (its sections "Updating Resources" and "Identification").
    """
    return encode({"data": {"id": str(int(record_id)), "type": spec.name, "attributes": unstructure(changes)}})


def read_created(
    spec: ResourceSpec[New, Any, Record, Any, Any], body: bytes, sent: New | None = None
) -> Record | Unreadable:
    """Read what a create answers, wrapped in ``data`` or bare; only the id has to be there.

    Args:
        spec: of what.
        body: as it came.
        sent: what was sent. An answer that does not even name the record is completed by that.
    """
    told = _told(spec, body)
    if isinstance(told, Unreadable):
        return told
    record = read_record(told.attributes, spec.record, told.base)
    if isinstance(record, Unreadable):
        return record._replace(pointer=f"{told.base}/id")
    return record if sent is None else _completed(spec, record, sent, told.attributes)


def read_changed(
    spec: ResourceSpec[Any, Changes, Record, Any, Any], body: bytes, record_id: int, changes: Changes
) -> Record:
    """Read what an update answers; whatever that is, it was done.

    A PATCH may be answered 204, or by as little as the id (CLARUS_API.md §5).

    Args:
        spec: of what.
        body: as it came.
        record_id: whose.
        changes: what was sent. An answer that does not even name the record is completed by that.
    """
    told = _told(spec, body)
    attributes = {} if isinstance(told, Unreadable) else told.attributes
    record = read_record(attributes, spec.record, "")
    if isinstance(record, Unreadable):
        record = read_record(attributes | {"id": record_id}, spec.record, "")
    assert not isinstance(record, Unreadable)  # noqa: S101  its id can be read
    return _completed(spec, record, changes, attributes)


class _Told(NamedTuple):
    """What an answer tells of a record.

    Args:
        attributes: with the id among them.
        base: where the id stands.
    """

    attributes: dict[str, Any]
    base: str = ""


def _told(spec: AnySpec, body: bytes) -> _Told | Unreadable:
    document = parse_object(body)
    if isinstance(document, Unreadable):
        return document
    # Either form is accepted of any resource; a bare record may have an attribute called data.
    if "data" not in document or ("id" in document and spec.envelope is Envelope.BARE):
        return _Told(document)
    resource = document["data"]
    if not isinstance(resource, dict):
        return Unreadable("/data", "an object")
    attributes = resource.get("attributes")
    if not isinstance(attributes, dict):
        attributes = {}
    # What stands beside the attributes is kept, too, and the id is the resource's.
    flat = attributes | {
        name: value
        for name, value in resource.items()
        if name == "id" or (name not in attributes and name not in _ENVELOPE)
    }
    return _Told(flat, "/data/attributes" if "id" in attributes and "id" not in resource else "/data")


def _completed(spec: AnySpec, record: Record, sent: object, told: Mapping[str, Any]) -> Record:
    name = spec.keys[-1].field
    if getattr(record, name) is not None:
        return record
    answered = attributes_of(spec.record)
    values = {
        attribute: getattr(sent, attribute)
        for attribute in attributes_of(type(sent))
        if attribute in answered and (attribute == name or attribute not in told)
    }
    completed: Record = attrs.evolve(record, **{name: value for name, value in values.items() if value is not UNSET})  # type: ignore[misc]
    return completed
