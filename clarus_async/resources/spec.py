"""The declaration of a resource, which everything reads that creates, lists, journals or shows its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

import attrs

from clarus_async.resources.records import ChangesRecord, CheckedRecord, NewRecord

New = TypeVar("New", bound=NewRecord)
Changes = TypeVar("Changes", bound=ChangesRecord)
Record = TypeVar("Record")
Row = TypeVar("Row")
Filter = TypeVar("Filter", bound=CheckedRecord)


class Envelope(StrEnum):
    """How the server answers a create and an update. Requests are wrapped everywhere (CLARUS_API.md §1 and §5)."""

    WRAPPED = "wrapped"  # {"data": {"id", "type", "attributes"}}
    BARE = "bare"  # the record itself


class NaturalKey(NamedTuple):
    """An attribute by which a record can be found again.

    Args:
        field: an attribute of a new record and of a row.
        called: what an outcome's ``matched_by`` says.
        scope: further attributes that must be equal for two records to be the same.
        searchable: whether every tenant's list can be searched by it; else the tenant's schema is asked.
    """

    field: str
    called: str
    scope: tuple[str, ...] = ()
    searchable: bool = True


class Nested(NamedTuple):
    """Where a row has an attribute that is a field of a nested node.

    Args:
        node: the field that holds the nested node.
        field: the field of the nested node.
    """

    node: str
    field: str


# Compared by identity, and so hashable: there is one of each.
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Listing(Generic[Row, Filter]):
    """How a resource is listed over GraphQL.

    Args:
        root: the field of the query type.
        filter_type: the input type of its filter.
        row: the class of a row.
        filter: the class of a filter.
        selection: the fields of a node that are asked for, as GraphQL writes them.
        optional: further fields, asked for only where the tenant's schema has them.
        renamed: attributes of a row and of a filter that have another name in the list.
        nested: attributes of a row that are fields of a nested node; filters have them under their own names.
        categories: attributes that the list maps to a fixed set of values: what was sent and what is listed are
            compared only where both are in the set.
        created_filter: the filter by the time of creation, where rows do not show that time as ``created_at``.
    """

    root: str
    filter_type: str
    row: type[Row]
    filter: type[Filter]
    selection: str
    optional: tuple[str, ...] = ()
    renamed: Mapping[str, str] = attrs.field(factory=dict)
    nested: Mapping[str, Nested] = attrs.field(factory=dict)
    categories: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    created_filter: str | None = None

    def named(self, attribute: str) -> str:
        """Return the name of an attribute in the list and in its filter."""
        return self.renamed.get(attribute, attribute)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResourceSpec(Generic[New, Changes, Record, Row, Filter]):
    """A resource of the API.

    Args:
        name: of the resource, as in ``client.integrations``; also its JSON:API type.
        path: of the collection.
        new: the class of a record to create.
        changes: the class of changes to a record.
        record: the class of the answer to a create and to an update.
        envelope: the form of these answers.
        listing: how records are listed.
        keys: by which a record is found again, the surest first. Every record has the last one.
        secret: attributes whose values are scrubbed from errors.
    """

    name: str
    path: str
    new: type[New]
    changes: type[Changes]
    record: type[Record]
    envelope: Envelope
    listing: Listing[Row, Filter]
    keys: tuple[NaturalKey, ...]
    secret: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        """One record, with its article, as messages have it."""
        return self.new.noun

    @property
    def member(self) -> str:
        """The path of one record, as a template."""
        return self.path + "/{id}"


AnySpec = ResourceSpec[Any, Any, Any, Any, Any]
AnyListing = Listing[Any, Any]
