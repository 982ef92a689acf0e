"""The resources that the simulator has, one entry each (CLARUS_API.md §1 and §5).

REST routes and documents, the GraphQL schema and what is stored are made from this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import attrs

from clarus_async.simulator.faults import Endpoint
from clarus_async.simulator.state import StoredRecord, Tenant


class Attribute(NamedTuple):
    """What REST takes."""

    kind: type
    required: bool = False  # by create
    patchable: bool = True
    nullable: bool = True  # null clears it
    shown: bool = True  # create and update answer it
    default: Any = None  # what is answered where nothing was given
    one_of: tuple[str, ...] | None = None
    refers_to: str | None = None  # the resource whose id it is


class Field(NamedTuple):
    """What GraphQL has: a field of the node, an input of the filter, or both."""

    read: Callable[[StoredRecord, Tenant], Any]
    type: str | None = None  # of the node's field
    filter: str | None = None  # the filter's input type
    optional: bool = False  # only some tenants' schemas have it


@attrs.frozen(kw_only=True, eq=False)
class SimulatedResource:
    """One resource."""

    name: str  # in paths and as the JSON:API type
    noun: str
    attributes: Mapping[str, Attribute]  # what create takes
    operations: frozenset[Endpoint]  # what can be done to a record
    wrapped: bool  # a record is answered in `data`, else bare
    node: str  # its GraphQL type
    filter: str  # the input type of its filter
    fields: Mapping[str, Field]  # every node has an `id`, too
    unique_within: tuple[str, ...] = ()  # what else has to be equal for a taken reference to be refused


def given(name: str, default: Any = None) -> Callable[[StoredRecord, Tenant], Any]:  # noqa: ANN401 - whatever JSON has
    """Read an attribute as create and PATCH gave it."""
    return lambda record, _tenant: record.attributes.get(name, default)


def _created_at(record: StoredRecord, _tenant: Tenant) -> datetime:
    return record.created_at


_REFERENCES: Final = ("external_system_reference1", "external_system_reference2", "external_system_reference3")
_STRINGS: Final = ("string1", "string2", "string3", "string4", "string5")

# Integrations (§1).

# Which documented provider belongs to which documented category: the names' own meaning.
_PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "ecommerce": ("shopify", "woocommerce", "magento", "bigcommerce"),
    "carrier": ("dhl", "dpd", "fedex", "ups", "royal_mail"),
    "marketplace": ("amazon", "ebay"),
    "erp": ("brightpearl",),
    "accounting": ("xero", "quickbooks"),
    "custom": (),
}
_CATEGORY_OF: Final = {provider: category for category, providers in _PROVIDERS.items() for provider in providers}


def _enabled(record: StoredRecord, _tenant: Tenant) -> bool | None:
    """What GraphQL calls ``is_active``; a record is active unless create said otherwise."""
    active: bool | None = record.attributes.get("is_active", True)
    return active


def _provider(record: StoredRecord, _tenant: Tenant) -> str | None:
    """What a list reports as provider: create's ``provider``, else an ``integration_type`` that is no category."""
    provider: str | None = record.attributes.get("provider")
    given: str = record.attributes["integration_type"]
    return provider if provider is not None or given in _PROVIDERS else given


def _category(record: StoredRecord, tenant: Tenant) -> str:
    """The category that a list reports, whatever create was given."""
    given: str = record.attributes["integration_type"]
    return given if given in _PROVIDERS else _CATEGORY_OF.get(_provider(record, tenant) or "", "custom")


INTEGRATIONS: Final = SimulatedResource(
    name="integrations",
    noun="integration",
    attributes={
        "name": Attribute(str, required=True, nullable=False),
        "integration_type": Attribute(str, required=True, nullable=False, patchable=False, shown=False),
        "provider": Attribute(str, patchable=False, shown=False),
        "is_active": Attribute(bool, default=True),
        "account_id": Attribute(int, patchable=False),
        "warehouse_id": Attribute(int, patchable=False),
        "configuration": Attribute(dict, nullable=False, default={}),
        **{name: Attribute(str, patchable=False) for name in _REFERENCES},
        **{name: Attribute(str) for name in _STRINGS},
    },
    operations=frozenset({Endpoint.UPDATE, Endpoint.DELETE, Endpoint.SYNCHRONIZE}),
    wrapped=True,
    node="Integration",
    filter="IntegrationFilterType",
    fields={
        "name": Field(given("name"), "String!", "StringInputType"),
        "integration_provider": Field(_provider, "String", "StringInputType"),
        "integration_type": Field(_category, "String", "StringInputType"),
        "status": Field(
            lambda record, tenant: "active" if _enabled(record, tenant) else "inactive", "String", "StringInputType"
        ),
        "enabled": Field(_enabled, "Boolean", "BooleanInputType"),
        "created_at": Field(_created_at, "ISO8601DateTime!"),
        # Tenants differ in what introspection shows.
        "external_system_reference1": Field(
            given("external_system_reference1"), "String", "StringInputType", optional=True
        ),
    },
)

# External entities (§5).


def _integration(record: StoredRecord, tenant: Tenant) -> StoredRecord | None:
    integration_id = record.attributes.get("integration_id")
    return None if integration_id is None else tenant.ledger(INTEGRATIONS.name).get(integration_id)


def _integration_name(record: StoredRecord, tenant: Tenant) -> str | None:
    integration = _integration(record, tenant)
    return None if integration is None else integration.name


EXTERNAL_ENTITIES: Final = SimulatedResource(
    name="external_entities",
    noun="external entity",
    attributes={
        "entity_type": Attribute(
            str, required=True, nullable=False, one_of=("carrier", "product", "shipping_rate", "warehouse")
        ),
        "code": Attribute(str, required=True, nullable=False),
        "external_system_reference1": Attribute(str, required=True, nullable=False),
        "external_system_reference2": Attribute(str),
        "external_system_reference3": Attribute(str),
        "description": Attribute(str),
        "integration_id": Attribute(int, refers_to="integrations"),
    },
    operations=frozenset({Endpoint.UPDATE}),
    wrapped=False,
    node="ExternalEntity",
    filter="ExternalEntityFilterType",
    fields={
        "code": Field(given("code"), "String!", "StringInputType"),
        "description": Field(given("description"), "String", "StringInputType"),
        "entity_type": Field(given("entity_type"), "EntityType!", "EntityTypeInputType"),
        "external_system_reference1": Field(given("external_system_reference1"), "String", "StringInputType"),
        "integration": Field(_integration, "Integration"),
        "integration_id": Field(given("integration_id"), filter="IdInputType"),
        "integration_name": Field(_integration_name, filter="StringInputType"),
        "created_at": Field(_created_at, filter="DatetimeInputType"),
    },
    unique_within=("integration_id", "entity_type"),
)

RESOURCES: Final = {resource.name: resource for resource in (INTEGRATIONS, EXTERNAL_ENTITIES)}
