"""Integrations: their records and their spec (CLARUS_API.md §1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

import attrs

from clarus_async.pydantic_schema import PydanticRecord
from clarus_async.resources.records import ChangesRecord, CheckedRecord, NewRecord, UnsetType
from clarus_async.resources.spec import Envelope, Listing, NaturalKey, ResourceSpec
from clarus_async.unset import UNSET
from clarus_async.validation import (
    checked,
    checked_by,
    checked_field,
    flag_problem,
    hidden,
    number_problem,
    object_problem,
    shown,
    text_problem,
    texts_problem,
)

INTEGRATION_TYPES: Final = ("ecommerce", "carrier", "marketplace", "erp", "accounting", "custom")
"""The categories the vendor names (CLARUS_API.md §1); others are accepted, too."""

PROVIDERS: Final = (
    "shopify", "woocommerce", "magento", "bigcommerce", "amazon", "ebay", "brightpearl", "xero",
    "quickbooks", "dhl", "dpd", "fedex", "ups", "royal_mail", "custom",
)  # fmt: skip
"""The providers the vendor names (CLARUS_API.md §1); others are accepted, too."""


@checked
@attrs.frozen(kw_only=True, repr=False)
class ShopifyConfiguration(CheckedRecord):
    """The configuration of a Shopify integration, as the vendor's example shows it (CLARUS_API.md §1).

    Args:
        api_key: the shop's API key.
        shop_domain: such as ``mystore.myshopify.com``.

    Raises:
        InvalidInputError: one of them is not a string, or empty.
    """

    api_key: str = attrs.field(metadata=checked_by(text_problem), repr=lambda _: "***")
    shop_domain: str = attrs.field(metadata=checked_by(text_problem), repr=lambda _: "***")


@checked
@attrs.frozen(kw_only=True, repr=False)
class NewIntegration(NewRecord):
    """An integration to create; attributes that are ``None`` are left out (CLARUS_API.md §1 and §4).

    Args:
        name: shown to people.
        integration_type: such as ``shopify``, or a category such as ``ecommerce``; see ``INTEGRATION_TYPES``.
        provider: such as ``shopify``; see ``PROVIDERS``.
        is_active: whether it is enabled.
        account_id: default account of imported orders.
        warehouse_id: default warehouse of imported orders.
        configuration: a mapping, or any attrs instance; a ``repr`` masks its values.
        external_system_reference1: your own primary id (CLARUS_API.md §4).
        external_system_reference2: a further reference.
        external_system_reference3: a further reference.
        string1: free text, as are ``string2`` to ``string5``.

    Raises:
        InvalidInputError: an attribute has the wrong type or is empty; every one is named.
    """

    noun: ClassVar[str] = "an integration"

    name: str = attrs.field(metadata=checked_by(text_problem))
    integration_type: str = attrs.field(metadata=checked_by(text_problem))
    provider: str | None = checked_field(text_problem, default=None)
    is_active: bool | None = checked_field(flag_problem, default=None)
    account_id: int | None = checked_field(number_problem, default=None)
    warehouse_id: int | None = checked_field(number_problem, default=None)
    configuration: Mapping[str, Any] | Any = checked_field(object_problem, default=None)
    external_system_reference1: str | None = checked_field(text_problem, default=None)
    external_system_reference2: str | None = checked_field(text_problem, default=None)
    external_system_reference3: str | None = checked_field(text_problem, default=None)
    string1: str | None = checked_field(text_problem, default=None)
    string2: str | None = checked_field(text_problem, default=None)
    string3: str | None = checked_field(text_problem, default=None)
    string4: str | None = checked_field(text_problem, default=None)
    string5: str | None = checked_field(text_problem, default=None)

    @property
    def key(self) -> str:
        """What tells this record from others: its own primary id, else its name."""
        return self.external_system_reference1 or self.name


@checked
@attrs.frozen(kw_only=True, repr=False)
class IntegrationChanges(ChangesRecord):
    """Changes to an integration: ``UNSET`` leaves an attribute as it is, ``None`` clears it (CLARUS_API.md §1).

    Args:
        name: the new name.
        is_active: whether it is enabled.
        configuration: a mapping, or any attrs instance. Whether it merges or replaces is not documented.
        string1: free text, as are ``string2`` to ``string5``.

    Raises:
        InvalidInputError: nothing is given, or an attribute has the wrong type or is empty.
    """

    name: str | UnsetType = checked_field(text_problem, default=UNSET)
    is_active: bool | None | UnsetType = checked_field(flag_problem, default=UNSET, nullable=True)
    configuration: Mapping[str, Any] | Any | UnsetType = checked_field(object_problem, default=UNSET)
    string1: str | None | UnsetType = checked_field(text_problem, default=UNSET, nullable=True)
    string2: str | None | UnsetType = checked_field(text_problem, default=UNSET, nullable=True)
    string3: str | None | UnsetType = checked_field(text_problem, default=UNSET, nullable=True)
    string4: str | None | UnsetType = checked_field(text_problem, default=UNSET, nullable=True)
    string5: str | None | UnsetType = checked_field(text_problem, default=UNSET, nullable=True)


@attrs.frozen(kw_only=True, repr=False)
class Integration(PydanticRecord):
    """An integration as REST answers it (CLARUS_API.md §1).

    An attribute that is not as expected is ``None``; its value is in ``extra``, as it came.

    Args:
        id: the Clarus id; store it.
        name: ``None`` only if the answer to an update does not have it.
        extra: attributes that this version does not know, as they came.
    """

    __repr__ = shown

    id: int
    name: str | None = None
    integration_type: str | None = None
    provider: str | None = None
    is_active: bool | None = None
    account_id: int | None = None
    warehouse_id: int | None = None
    configuration: Mapping[str, Any] | None = attrs.field(default=None, repr=hidden, hash=False)
    external_system_reference1: str | None = None
    external_system_reference2: str | None = None
    external_system_reference3: str | None = None
    string1: str | None = None
    string2: str | None = None
    string3: str | None = None
    string4: str | None = None
    string5: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=hidden, hash=False)


@attrs.frozen(kw_only=True, repr=False)
class IntegrationRow(PydanticRecord):
    """An integration as the list returns it, with the attribute names of REST (CLARUS_API.md §1).

    A field that is not as expected is ``None``; its value is in ``extra``, as it came and under the server's name.

    Args:
        id: the Clarus id.
        status: such as ``active``.
        created_at: with a timezone; ``None`` without one, as such times can't be compared.
        external_system_reference1: ``None`` unless the tenant's schema has it.
        extra: fields that this version does not know, as they came.
    """

    __repr__ = shown

    id: int
    name: str | None = None
    provider: str | None = None
    integration_type: str | None = None
    status: str | None = None
    is_active: bool | None = None
    created_at: datetime | None = None
    external_system_reference1: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=hidden, hash=False)


@checked
@attrs.frozen(kw_only=True, repr=False)
class IntegrationFilter(CheckedRecord):
    """Which integrations to list; a value means equal, a list means any of its values (CLARUS_API.md §1).

    Args:
        name: the exact name, or several.
        name_contains: a part of the name, whatever its case.
        provider: such as ``shopify``.
        integration_type: such as ``ecommerce``; the list may report another one than ``create`` was given.
        status: such as ``active``.
        is_active: whether it is enabled.

    Raises:
        InvalidInputError: a value has the wrong type or is empty.
    """

    name: str | Sequence[str] | None = checked_field(texts_problem, default=None)
    name_contains: str | None = checked_field(text_problem, default=None)
    provider: str | Sequence[str] | None = checked_field(texts_problem, default=None)
    integration_type: str | Sequence[str] | None = checked_field(texts_problem, default=None)
    status: str | Sequence[str] | None = checked_field(texts_problem, default=None)
    is_active: bool | None = checked_field(flag_problem, default=None)


INTEGRATIONS: Final = ResourceSpec(
    name="integrations",
    path="/api/integrations",
    new=NewIntegration,
    changes=IntegrationChanges,
    record=Integration,
    envelope=Envelope.WRAPPED,
    listing=Listing(
        root="integrations",
        filter_type="IntegrationFilterType",
        row=IntegrationRow,
        filter=IntegrationFilter,
        selection="id name integration_provider integration_type status enabled created_at",
        optional=("external_system_reference1",),
        renamed={"provider": "integration_provider", "is_active": "enabled"},
        categories={"integration_type": INTEGRATION_TYPES},
    ),
    keys=(
        NaturalKey(field="external_system_reference1", called="reference", searchable=False),
        NaturalKey(field="name", called="name"),
    ),
    secret=("configuration",),
)
"""Integrations (CLARUS_API.md §1)."""
