"""What is sent and what comes back, as frozen records (CLARUS_API.md §1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import attrs

from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.pydantic_schema import PydanticRecord
from clarus_async.resources.spec import Envelope, Listing, NaturalKey, ResourceSpec
from clarus_async.validation import (
    UNSET,
    Unset,
    checked,
    checked_field,
    flag_problem,
    hidden,
    number_problem,
    object_problem,
    problems_of,
    shown,
    text_problem,
)

INTEGRATION_TYPES: Final = ("ecommerce", "carrier", "marketplace", "erp", "accounting", "custom")
"""The categories the vendor names (CLARUS_API.md §1); unknown ones are never refused."""

PROVIDERS: Final = (
    "shopify", "woocommerce", "magento", "bigcommerce", "amazon", "ebay", "brightpearl", "xero",
    "quickbooks", "dhl", "dpd", "fedex", "ups", "royal_mail", "custom",
)  # fmt: skip
"""The providers the vendor names (CLARUS_API.md §1); unknown ones are never refused."""


_UnsetType: TypeAlias = Literal[Unset.UNSET]


@checked
@attrs.frozen(kw_only=True, repr=False)
class ShopifyConfiguration(PydanticRecord):
    """The configuration of a Shopify integration, as the vendor's example shows it (CLARUS_API.md §1).

    Args:
        api_key: the shop's API key.
        shop_domain: such as ``mystore.myshopify.com``.

    Raises:
        InvalidInputError: one of them is no string, or empty.
    """

    __repr__ = shown

    api_key: str = attrs.field(metadata={"check": text_problem}, repr=lambda _: "***")
    shop_domain: str = attrs.field(metadata={"check": text_problem}, repr=lambda _: "***")

    def __attrs_post_init__(self) -> None:
        if problems := problems_of(self):
            raise InvalidInputError.of("ShopifyConfiguration", problems)


@checked
@attrs.frozen(kw_only=True, repr=False)
class NewIntegration(PydanticRecord):
    """What ``create`` sends; an attribute that is ``None`` is left out (CLARUS_API.md §1 and §4).

    Args:
        name: what people see; not empty.
        integration_type: such as ``shopify``, or a category such as ``ecommerce``; never refused.
        provider: such as ``shopify``; never refused.
        is_active: whether it is enabled.
        account_id: default account of imported orders.
        warehouse_id: default warehouse of imported orders.
        configuration: a mapping, or any attrs instance; its values never show in a ``repr``.
        external_system_reference1: your own primary id (CLARUS_API.md §4).
        external_system_reference2: a further reference.
        external_system_reference3: a further reference.
        string1: free text, as are ``string2`` to ``string5``.

    Raises:
        InvalidInputError: an attribute has the wrong type or is empty; every one is named.
    """

    __repr__ = shown

    name: str = attrs.field(metadata={"check": text_problem})
    integration_type: str = attrs.field(metadata={"check": text_problem})
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

    def __attrs_post_init__(self) -> None:
        if problems := problems_of(self):
            raise InvalidInputError.of("NewIntegration", problems)

    @property
    def key(self) -> str:
        """What tells this record from others: its own primary id, else its name."""
        return self.external_system_reference1 or self.name

    @classmethod
    def from_mapping(cls, attributes: Mapping[str, Any]) -> NewIntegration:
        """Build a record from parsed data, such as one line of a file.

        Args:
            attributes: attribute names and values; ``None`` counts as left out.

        Raises:
            InvalidInputError: an attribute is unknown, missing, of the wrong type or empty; every one is named.
        """
        result = _new_or_problems(attributes)
        # What was given may hold secrets, and error trackers ship the variables of the frame that raises.
        del attributes
        if isinstance(result, NewIntegration):
            return result
        raise InvalidInputError.of("NewIntegration", result)


_NEW_FIELDS = {a.name: a for a in attrs.fields(NewIntegration)}


def _new_or_problems(attributes: object) -> NewIntegration | list[InputProblem]:
    if not isinstance(attributes, Mapping):
        return [InputProblem("attributes", f"must be a mapping, not {type(attributes).__name__}")]
    problems = [
        InputProblem(str(name), "is no attribute of an integration" + _nearest(str(name)))
        for name in attributes
        if name not in _NEW_FIELDS
    ]
    problems += [
        InputProblem(a.name, "is required")
        for a in _NEW_FIELDS.values()
        if a.default is attrs.NOTHING and attributes.get(a.name) is None
    ]
    known = {name: attributes[name] for name in _NEW_FIELDS if attributes.get(name) is not None}
    # Placeholders for what is missing, so that the attributes that are there are checked all the same.
    stand_ins = {name: "?" for name, a in _NEW_FIELDS.items() if a.default is attrs.NOTHING and name not in known}
    try:
        record = NewIntegration(**(known | stand_ins))
    except InvalidInputError as error:
        return [*problems, *error.problems]
    return problems or record


def _nearest(name: str) -> str:
    import difflib  # noqa: PLC0415  only a mistake pays for it

    near = difflib.get_close_matches(name, list(_NEW_FIELDS), n=1)
    return f"; did you mean {near[0]}?" if near else ""


@checked
@attrs.frozen(kw_only=True, repr=False)
class IntegrationChanges(PydanticRecord):
    """What ``update`` sends: ``UNSET`` leaves an attribute as it is, ``None`` clears it (CLARUS_API.md §1).

    Args:
        name: the new name.
        is_active: whether it is enabled.
        configuration: a mapping, or any attrs instance. Whether it merges or replaces is not documented.
        string1: free text, as are ``string2`` to ``string5``.

    Raises:
        InvalidInputError: nothing is given, or an attribute has the wrong type or is empty.
    """

    __repr__ = shown

    name: str | _UnsetType = checked_field(text_problem, default=UNSET)
    is_active: bool | None | _UnsetType = checked_field(flag_problem, default=UNSET)
    configuration: Mapping[str, Any] | Any | _UnsetType = checked_field(object_problem, default=UNSET)
    string1: str | None | _UnsetType = checked_field(text_problem, default=UNSET)
    string2: str | None | _UnsetType = checked_field(text_problem, default=UNSET)
    string3: str | None | _UnsetType = checked_field(text_problem, default=UNSET)
    string4: str | None | _UnsetType = checked_field(text_problem, default=UNSET)
    string5: str | None | _UnsetType = checked_field(text_problem, default=UNSET)

    def __attrs_post_init__(self) -> None:
        problems = problems_of(self, nullable=_CLEARABLE)
        if not problems and all(getattr(self, a.name) is UNSET for a in attrs.fields(IntegrationChanges)):
            problems = [InputProblem("changes", "at least one attribute must be given")]
        if problems:
            raise InvalidInputError.of("IntegrationChanges", problems)


# The attributes that the vendor calls nullable (CLARUS_API.md §1).
_CLEARABLE = frozenset({"is_active", "string1", "string2", "string3", "string4", "string5"})


@attrs.frozen(kw_only=True, repr=False)
class Integration(PydanticRecord):
    """An integration as REST answers it (CLARUS_API.md §1).

    An attribute that is not as expected is ``None``, and stands in ``extra`` as it came.

    Args:
        id: the Clarus id; store it.
        name: ``None`` only where the answer to an update does not say.
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
    """An integration as the list answers it, in the vocabulary of REST (CLARUS_API.md §1).

    A field that is null or not as expected is ``None``; what it was instead stands in ``extra``, as it came and under
    the server's name.

    Args:
        id: the Clarus id.
        status: such as ``active``.
        created_at: with its timezone; ``None`` where that is not told, for such a time says nothing about what came
            first.
        external_system_reference1: only where the tenant's schema has it.
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


def _texts_problem(value: object) -> str | None:
    if isinstance(value, str):
        return text_problem(value)
    if isinstance(value, list | tuple):
        if not value:
            return "must not be an empty list"
        return next((reason for item in value if (reason := text_problem(item)) is not None), None)
    return f"must be a string or a list of strings, not {type(value).__name__}"


def _own(value: object, field: str) -> tuple[Any, InputProblem | None]:  # noqa: ARG001
    return tuple(value) if isinstance(value, list) else value, None


@checked
@attrs.frozen(kw_only=True, repr=False)
class IntegrationFilter(PydanticRecord):
    """Which rows a list is to have; a value means equal, a list means any of them (CLARUS_API.md §1).

    Args:
        name: the exact name, or several.
        name_contains: a part of the name, whatever its case.
        provider: such as ``shopify``.
        integration_type: such as ``ecommerce``; the list reports it differently from what create was given.
        status: such as ``active``.
        is_active: whether it is enabled.

    Raises:
        InvalidInputError: a value has the wrong type or is empty.
    """

    __repr__ = shown

    name: str | Sequence[str] | None = checked_field(_texts_problem, default=None, copy=_own)
    name_contains: str | None = checked_field(text_problem, default=None)
    provider: str | Sequence[str] | None = checked_field(_texts_problem, default=None, copy=_own)
    integration_type: str | Sequence[str] | None = checked_field(_texts_problem, default=None, copy=_own)
    status: str | Sequence[str] | None = checked_field(_texts_problem, default=None, copy=_own)
    is_active: bool | None = checked_field(flag_problem, default=None)

    def __attrs_post_init__(self) -> None:
        if problems := problems_of(self):
            raise InvalidInputError.of("IntegrationFilter", problems)


INTEGRATIONS: Final = ResourceSpec(
    name="integrations",
    noun="an integration",
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
