"""The JSON:API envelope (CLARUS_API.md §1), and the bare objects of its neighbours (§5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import attrs

from clarus_async.resources.integrations import Integration, IntegrationChanges, NewIntegration
from clarus_async.validation import UNSET
from clarus_async.wire.reading import Unreadable, encode, parse_object, read_record, unstructure

_ENVELOPE: Final = ("type", "attributes")


def create_body(new: NewIntegration) -> bytes:
    """Write what ``POST /api/integrations`` takes.

    Args:
        new: the record; what is ``None`` is left out.
    """
    return encode({"data": {"type": "integrations", "attributes": unstructure(new)}})


def changes_body(integration_id: int, changes: IntegrationChanges) -> bytes:
    """Write what ``PATCH /api/integrations/{id}`` takes.

    Args:
        integration_id: JSON:API wants the id in the body, too, and as a string (its sections "Updating Resources" and
            "Identification").
        changes: what is ``UNSET`` is left out, what is ``None`` is sent as ``null``.
    """
    return encode(
        {"data": {"id": str(int(integration_id)), "type": "integrations", "attributes": unstructure(changes)}}
    )


def read_integration(body: bytes, sent: NewIntegration | None = None) -> Integration | Unreadable:
    """Read what create answers, wrapped in ``data`` or bare; only the id has to be there.

    Args:
        body: as it came.
        sent: what was sent. An answer that does not even name the record is completed by that.
    """
    told = _told(body)
    if isinstance(told, Unreadable):
        return told
    record = read_record(told.attributes, Integration, told.base)
    if isinstance(record, Unreadable):
        return record._replace(pointer=f"{told.base}/id")
    return record if sent is None else _as_sent(record, sent, told.attributes)


def read_changed(body: bytes, integration_id: int, changes: IntegrationChanges) -> Integration:
    """Read what update answers; whatever that is, it was done.

    A PATCH may be answered 204, or by as little as the id (CLARUS_API.md §5).

    Args:
        body: as it came.
        integration_id: whose.
        changes: what was sent. An answer that does not even name the record is completed by that.
    """
    told = _told(body)
    attributes = {} if isinstance(told, Unreadable) else told.attributes
    record = read_record(attributes, Integration, "")
    if isinstance(record, Unreadable):
        record = read_record(attributes | {"id": integration_id}, Integration, "")
    assert isinstance(record, Integration)  # noqa: S101  its id can be read
    return _as_sent(record, changes, attributes)


class _Told(NamedTuple):
    """What an answer tells of a record.

    Args:
        attributes: with the id among them.
        base: where the id stands.
    """

    attributes: dict[str, Any]
    base: str = ""


def _told(body: bytes) -> _Told | Unreadable:
    document = parse_object(body)
    if isinstance(document, Unreadable):
        return document
    if "data" not in document:
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


_ANSWERED: Final = frozenset(a.name for a in attrs.fields(Integration))


def _as_sent(record: Integration, sent: NewIntegration | IntegrationChanges, told: Mapping[str, Any]) -> Integration:
    if record.name is not None:
        return record
    values = {
        a.name: getattr(sent, a.name)
        for a in attrs.fields(type(sent))
        if a.name in _ANSWERED and (a.name == "name" or a.name not in told)
    }
    return attrs.evolve(record, **{name: value for name, value in values.items() if value is not UNSET})
