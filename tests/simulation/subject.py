"""What the records of a world are: a world has those of one resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from clarus_async import (
    ExternalEntity,
    ExternalEntityChanges,
    Integration,
    IntegrationChanges,
    NewExternalEntity,
    NewIntegration,
)
from clarus_async.simulator import StoredRecord


@attrs.frozen(kw_only=True)
class Subject:
    """A resource, as worlds have it."""

    record: type  # the class of what a create returns
    new: type  # the class of what it is given
    # Of a record, by its name, its reference or ``None``, its marker, and the id of an integration
    attributes: Callable[[str, str | None, str, int], dict[str, Any]]
    changes: Callable[[str], Any]  # an update, by its marker
    name: str  # the attribute that is the name by which a record is found
    found: str  # what ``find`` calls that

    def name_of(self, record: StoredRecord) -> str:
        """Return the name of what the server stored."""
        name: str = record.attributes[self.name]
        return name


def _integration(name: str, reference: str | None, marker: str, _whose: int) -> dict[str, Any]:
    attributes = {"name": name, "integration_type": "shopify", "external_system_reference2": marker}
    return attributes if reference is None else attributes | {"external_system_reference1": reference}


def _external_entity(name: str, reference: str | None, marker: str, whose: int) -> dict[str, Any]:
    attributes = {
        "entity_type": "product",
        "code": reference or marker,
        "external_system_reference1": name,
        "external_system_reference2": marker,
    }
    # Some have an integration; those of one name are one key.
    return attributes if len(name) % 2 else attributes | {"integration_id": whose}


SUBJECTS: Final[Mapping[str, Subject]] = {
    "integrations": Subject(
        record=Integration,
        new=NewIntegration,
        attributes=_integration,
        changes=lambda marker: IntegrationChanges(string2=marker),
        name="name",
        found="name",
    ),
    "external_entities": Subject(
        record=ExternalEntity,
        new=NewExternalEntity,
        attributes=_external_entity,
        changes=lambda marker: ExternalEntityChanges(description=marker),
        name="external_system_reference1",
        found="reference",
    ),
}
