"""External entities: what a store calls its products, carriers, shipping rates and warehouses (CLARUS_API.md §5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import attrs

from clarus_async.pydantic_schema import PydanticRecord
from clarus_async.resources.records import AN_ID, ChangesRecord, CheckedRecord, NewRecord, UnsetType
from clarus_async.resources.spec import Envelope, Listing, NaturalKey, Nested, ResourceSpec
from clarus_async.unset import UNSET
from clarus_async.validation import (
    checked,
    checked_by,
    checked_field,
    hidden,
    number_problem,
    numbers_problem,
    shown,
    text_problem,
    texts_problem,
)

ENTITY_TYPES: Final = ("carrier", "product", "shipping_rate", "warehouse")
"""The types the vendor names (CLARUS_API.md §5); others are accepted, too."""


@checked
@attrs.frozen(kw_only=True, repr=False)
class NewExternalEntity(NewRecord):
    """An external entity to create; attributes that are ``None`` are left out (CLARUS_API.md §5).

    Args:
        entity_type: such as ``product``; see ``ENTITY_TYPES``.
        code: what the store calls it, such as a SKU.
        external_system_reference1: the store's own id of it.
        description: shown to people.
        integration_id: the Clarus id of the store's integration.
        external_system_reference2: a further reference.
        external_system_reference3: a further reference.

    Raises:
        InvalidInputError: an attribute has the wrong type or is empty; every one is named.
    """

    noun: ClassVar[str] = "an external entity"

    entity_type: str = attrs.field(metadata=checked_by(text_problem))
    code: str = attrs.field(metadata=checked_by(text_problem))
    external_system_reference1: str = attrs.field(metadata=checked_by(text_problem))
    description: str | None = checked_field(text_problem, default=None)
    integration_id: int | None = checked_field(number_problem, default=None)
    external_system_reference2: str | None = checked_field(text_problem, default=None)
    external_system_reference3: str | None = checked_field(text_problem, default=None)

    @property
    def key(self) -> str:
        """What tells this record from others: its reference, within its integration and type."""
        integration = "" if self.integration_id is None else self.integration_id
        return f"{integration}/{self.entity_type}/{self.external_system_reference1}"


@checked
@attrs.frozen(kw_only=True, repr=False)
class ExternalEntityChanges(ChangesRecord):
    """Changes to an external entity: ``UNSET`` leaves an attribute as it is, ``None`` clears an optional one.

    Source: CLARUS_API.md §5.

    Raises:
        InvalidInputError: nothing is given, or an attribute has the wrong type or is empty.
    """

    entity_type: str | UnsetType = checked_field(text_problem, default=UNSET)
    code: str | UnsetType = checked_field(text_problem, default=UNSET)
    external_system_reference1: str | UnsetType = checked_field(text_problem, default=UNSET)
    description: str | None | UnsetType = checked_field(text_problem, default=UNSET, nullable=True)
    integration_id: int | None | UnsetType = checked_field(number_problem, default=UNSET, nullable=True)
    external_system_reference2: str | None | UnsetType = checked_field(text_problem, default=UNSET, nullable=True)
    external_system_reference3: str | None | UnsetType = checked_field(text_problem, default=UNSET, nullable=True)


@attrs.frozen(kw_only=True, repr=False)
class ExternalEntity(PydanticRecord):
    """An external entity as REST answers it (CLARUS_API.md §5).

    An attribute that is not as expected is ``None``; its value is in ``extra``, as it came.

    Args:
        id: the Clarus id; store it.
        extra: attributes that this version does not know, as they came.
    """

    __repr__ = shown

    id: int
    entity_type: str | None = None
    code: str | None = None
    external_system_reference1: str | None = None
    description: str | None = None
    integration_id: int | None = attrs.field(default=None, metadata=AN_ID)
    external_system_reference2: str | None = None
    external_system_reference3: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=hidden, hash=False)


@attrs.frozen(kw_only=True, repr=False)
class ExternalEntityRow(PydanticRecord):
    """An external entity as the list returns it (CLARUS_API.md §5).

    A field that is not as expected is ``None``; its value is in ``extra``, as it came.

    Args:
        id: the Clarus id.
        integration_id: the Clarus id of the integration that it belongs to.
        integration_name: the name of that integration.
        extra: fields that this version does not know, as they came.
    """

    __repr__ = shown

    id: int
    code: str | None = None
    description: str | None = None
    entity_type: str | None = None
    external_system_reference1: str | None = None
    integration_id: int | None = attrs.field(default=None, metadata=AN_ID)
    integration_name: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=hidden, hash=False)


@checked
@attrs.frozen(kw_only=True, repr=False)
class ExternalEntityFilter(CheckedRecord):
    """Which external entities to list; a value means equal, a list means any of its values (CLARUS_API.md §5).

    Args:
        entity_type: such as ``product``.
        code: the exact code, or several.
        code_contains: a part of the code, whatever its case.
        description_contains: a part of the description, whatever its case.
        external_system_reference1: the store's own id, or several.
        integration_id: the Clarus id of an integration, or several.
        integration_name: the exact name of an integration, or several.

    Raises:
        InvalidInputError: a value has the wrong type or is empty.
    """

    entity_type: str | Sequence[str] | None = checked_field(texts_problem, default=None)
    code: str | Sequence[str] | None = checked_field(texts_problem, default=None)
    code_contains: str | None = checked_field(text_problem, default=None)
    description_contains: str | None = checked_field(text_problem, default=None)
    external_system_reference1: str | Sequence[str] | None = checked_field(texts_problem, default=None)
    integration_id: int | Sequence[int] | None = checked_field(numbers_problem, default=None)
    integration_name: str | Sequence[str] | None = checked_field(texts_problem, default=None)


EXTERNAL_ENTITIES: Final = ResourceSpec(
    name="external_entities",
    path="/api/external_entities",
    new=NewExternalEntity,
    changes=ExternalEntityChanges,
    record=ExternalEntity,
    envelope=Envelope.BARE,
    listing=Listing(
        root="external_entities",
        filter_type="ExternalEntityFilterType",
        row=ExternalEntityRow,
        filter=ExternalEntityFilter,
        selection="id code description entity_type external_system_reference1 integration { id name }",
        nested={"integration_id": Nested("integration", "id"), "integration_name": Nested("integration", "name")},
        created_filter="created_at",
    ),
    keys=(NaturalKey(field="external_system_reference1", called="reference", scope=("integration_id", "entity_type")),),
)
"""External entities (CLARUS_API.md §5)."""
