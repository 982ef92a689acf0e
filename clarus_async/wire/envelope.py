"""The JSON:API envelope (clarus-api.md §1), and the bare objects of its neighbours (§5)."""

from __future__ import annotations

from typing import Any, Final

from clarus_async.records import Integration, IntegrationChanges, NewIntegration
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
        integration_id: JSON:API wants the id in the body, too (its section "Updating Resources").
        changes: what is ``UNSET`` is left out, what is ``None`` is sent as ``null``.
    """
    return encode({"data": {"id": integration_id, "type": "integrations", "attributes": unstructure(changes)}})


def read_integration(body: bytes) -> Integration | Unreadable:
    """Read what create and update answer, wrapped in ``data`` or bare.

    Args:
        body: as it came.
    """
    document = parse_object(body)
    if isinstance(document, Unreadable):
        return document
    if "data" not in document:
        return read_record(document, Integration, "")
    resource = document["data"]
    if not isinstance(resource, dict):
        return Unreadable("/data", "an object")
    attributes = resource.get("attributes")
    if not isinstance(attributes, dict):
        return Unreadable("/data/attributes", "an object")
    # What stands beside the attributes is kept, too, and the id is the resource's.
    flat: dict[str, Any] = attributes | {
        name: value
        for name, value in resource.items()
        if name == "id" or (name not in attributes and name not in _ENVELOPE)
    }
    record = read_record(flat, Integration, "/data/attributes")
    if isinstance(record, Unreadable):
        name = record.pointer.rpartition("/")[2]
        if (name == "id" and not (name in attributes and name not in resource)) or (
            name in resource and name not in attributes
        ):
            return record._replace(pointer=f"/data/{name}")
    return record
