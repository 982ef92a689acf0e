"""What a resource is: a declaration, which everything that creates, lists, journals and shows its records reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, TypeVar

import attrs

New = TypeVar("New")
Changes = TypeVar("Changes")
Record = TypeVar("Record")
Row = TypeVar("Row")
Filter = TypeVar("Filter")


class Envelope(StrEnum):
    """How the server answers a create and an update. Requests are wrapped everywhere (CLARUS_API.md §1 and §5)."""

    WRAPPED = "wrapped"  # {"data": {"id", "type", "attributes"}}
    BARE = "bare"  # the record itself


@attrs.frozen(kw_only=True)
class NaturalKey:
    """An attribute by which a record can be found again.

    Args:
        field: an attribute of a new record and of a row.
        called: what an outcome's ``matched_by`` says.
        scope: attributes within which its values are told apart; all have to be equal.
        searchable: the list can always be searched by it; else only where the tenant's schema says so.
    """

    field: str
    called: str
    scope: tuple[str, ...] = ()
    searchable: bool = True


@attrs.frozen(kw_only=True)
class Listing(Generic[Row, Filter]):
    """How a resource is listed over GraphQL.

    Args:
        root: the field of the query type.
        filter_type: the input type of its filter.
        row: the class of a row.
        filter: the class of a filter.
        selection: the fields of a node that are asked for, as GraphQL writes them.
        optional: further fields, asked for only where the tenant's schema has them.
        renamed: attributes of a row and of a filter that the server calls otherwise in its lists.
        categories: attributes that the list shows as one of these, whatever create was given: only two of them can be
            compared.
    """

    root: str
    filter_type: str
    row: type[Row]
    filter: type[Filter]
    selection: str
    optional: tuple[str, ...] = ()
    renamed: Mapping[str, str] = attrs.field(factory=dict)
    categories: Mapping[str, Sequence[str]] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ResourceSpec(Generic[New, Changes, Record, Row, Filter]):
    """A resource of the API.

    Args:
        name: of the resource, as in ``client.integrations``; also its JSON:API type.
        noun: one record, with its article, as messages have it.
        path: of the collection.
        new: what is sent to create a record.
        changes: what is sent to change one.
        record: what answers both.
        envelope: how they are answered.
        listing: how records are listed.
        keys: by which a record is found again, the surest first.
        secret: attributes whose values never show.
    """

    name: str
    noun: str
    path: str
    new: type[New]
    changes: type[Changes]
    record: type[Record]
    envelope: Envelope
    listing: Listing[Row, Filter]
    keys: tuple[NaturalKey, ...]
    secret: tuple[str, ...] = ()


AnySpec = ResourceSpec[Any, Any, Any, Any, Any]
