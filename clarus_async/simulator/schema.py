"""The GraphQL side (CLARUS_API.md §1): the documented schema over one tenant's records.

Needs graphql-core, which the ``simulator`` extra brings.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

import attrs
import orjson
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from clarus_async.simulator.state import INDEXED, StoredIntegration, Tenant

# `first`, `after`, `pageInfo` and `cursor` are documented on another list, so inferred here.
_SDL: Final = """
"An ISO 8601 datetime with a timezone"
scalar ISO8601DateTime

input StringInputType {
  "Exactly this"
  eq: String
  "Contains this, in any case"
  ilike: String
  "Contains this, in this case"
  like: String
  "One of these"
  in: [String!]
  "From the first to the second, both included"
  between: [String!]
}

input BooleanInputType {
  eq: Boolean
}

input IntegrationFilterType {
  name: StringInputType
  integration_provider: StringInputType
  integration_type: StringInputType
  status: StringInputType
  enabled: BooleanInputType
%(reference_filter)s
}

type Integration {
  id: ID!
  name: String!
  integration_provider: String
  integration_type: String
  status: String
  enabled: Boolean
  created_at: ISO8601DateTime!
%(reference_field)s
}

type PageInfo {
  hasNextPage: Boolean!
  endCursor: String
}

type IntegrationEdge {
  cursor: String!
  node: Integration!
}

type IntegrationConnection {
  edges: [IntegrationEdge!]!
  pageInfo: PageInfo!
}

type Integrations {
  all(filter: IntegrationFilterType, first: Int, after: String): IntegrationConnection!
}

type Site {
  id: ID!
  code: String!
  name: String!
}

type SiteEdge {
  cursor: String!
  node: Site!
}

type SiteConnection {
  edges: [SiteEdge!]!
  pageInfo: PageInfo!
}

type Sites {
  all(first: Int, after: String): SiteConnection!
}

type Query {
  integrations: Integrations!
  sites: Sites!
}
"""

_SITES: Final = ({"id": "1", "code": "MAIN", "name": "Main warehouse"},)
# More documents than a client has; what a test generates on top need not stay parsed.
_MAX_DOCUMENTS: Final = 256

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda value, wanted: bool(value == wanted),
    "ilike": lambda value, part: value is not None and part.lower() in value.lower(),
    "like": lambda value, part: value is not None and part in value,
    "in": lambda value, wanted: value in wanted,
    "between": lambda value, ends: value is not None and ends[0] <= value <= ends[1],
}


@attrs.frozen(kw_only=True)
class _Context:
    tenant: Tenant
    as_of: datetime | None
    max_page_size: int


class _Page(NamedTuple):
    rows: list[Any]
    more: bool


class GraphQLApi:
    """Answers GraphQL requests.

    Args:
        searchable_references: Whether the schema has ``external_system_reference1`` as a field and as a filter:
            tenants differ in what introspection shows (CLARUS_API.md §1).
        max_page_size: Records in one answer at most, whatever ``first`` asks for.
    """

    def __init__(self, *, searchable_references: bool, max_page_size: int) -> None:
        self._schema = _build(searchable_references=searchable_references)
        self._max_page_size = max_page_size
        self._documents = _documents(searchable_references=searchable_references)

    def execute(self, tenant: Tenant, body: bytes, as_of: datetime | None) -> dict[str, Any]:
        """Answer a request's body for ``tenant``, as things are or as they were at ``as_of``."""
        try:
            asked = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _failure("The body is not JSON")
        match asked:
            case {"query": str(query)}:
                variables, operation = asked.get("variables"), asked.get("operationName")
            case _:
                return _failure("No query string was present")
        if not isinstance(variables, dict | None) or not isinstance(operation, str | None):
            return _failure("variables must be an object, operationName a string")
        document = self._documents.get(query) or self._read(query)
        if isinstance(document, list):
            return {"errors": [error.formatted for error in document]}
        result = execute_sync(
            self._schema,
            document,
            root_value=tenant,
            context_value=_Context(tenant=tenant, as_of=as_of, max_page_size=self._max_page_size),
            variable_values=variables,
            operation_name=operation,
        )
        return dict(result.formatted)

    def _read(self, query: str) -> DocumentNode | list[GraphQLError]:
        try:
            parsed = parse(query)
        except GraphQLError as error:
            document: DocumentNode | list[GraphQLError] = [error]
        else:
            document = validate(self._schema, parsed) or parsed
        if len(self._documents) >= _MAX_DOCUMENTS:
            self._documents.clear()
        self._documents[query] = document
        return document


def _failure(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message}]}


@functools.cache
def _documents(*, searchable_references: bool) -> dict[str, DocumentNode | list[GraphQLError]]:  # noqa: ARG001
    """Return the documents that were read for a schema: a client sends the same ones to every simulator."""
    return {}


@functools.cache
def _build(*, searchable_references: bool) -> GraphQLSchema:
    parts = {"reference_filter": "", "reference_field": ""}
    if searchable_references:
        parts = {
            "reference_filter": "  external_system_reference1: StringInputType",
            "reference_field": "  external_system_reference1: String",
        }
    schema = build_schema(_SDL % parts)
    resolvers: dict[str, dict[str, Callable[..., Any]]] = {
        "Query": {"integrations": _itself, "sites": _itself},
        "Integrations": {"all": _list_integrations},
        "Sites": {"all": _list_sites},
        "IntegrationConnection": {"edges": lambda page, _: page.rows, "pageInfo": _itself},
        "SiteConnection": {"edges": lambda page, _: page.rows, "pageInfo": _itself},
        "PageInfo": {
            "hasNextPage": lambda page, _: page.more,
            "endCursor": lambda page, _: _cursor(page.rows[-1]) if page.rows else None,
        },
        "Integration": {"created_at": lambda row, _: _timestamp(row.created_at)},
        "IntegrationEdge": {"cursor": lambda row, _: _cursor(row), "node": _itself},
        "SiteEdge": {"cursor": lambda row, _: _cursor(row), "node": _itself},
    }
    for type_name, fields in resolvers.items():
        described = cast("GraphQLObjectType", schema.type_map[type_name])
        for field_name, resolve in fields.items():
            described.fields[field_name].resolve = resolve
    return schema


def _itself(source: object, _info: GraphQLResolveInfo[Any]) -> object:
    return source


def _list_integrations(
    _source: object,
    info: GraphQLResolveInfo[Any],
    filter: dict[str, dict[str, Any]] | None = None,  # noqa: A002 - the schema's name for it
    first: int | None = None,
    after: str | None = None,
) -> _Page:
    context: _Context = info.context
    conditions = [
        (field, operator, wanted)
        for field, operators in (filter or {}).items()
        for operator, wanted in (operators or {}).items()
        if wanted is not None
    ]
    if any(operator == "between" and len(wanted) != 2 for _, operator, wanted in conditions):
        raise GraphQLError("between takes two values")
    equal = {
        field: [wanted] if operator == "eq" else wanted
        for field, operator, wanted in conditions
        if field in INDEXED and operator in {"eq", "in"}
    }
    rows, more = context.tenant.page(
        _page_size(first, context.max_page_size),
        after=_position(after),
        matches=_all_of(conditions),
        equal=equal,
        as_of=context.as_of,
    )
    return _Page(list(rows), more)


def _all_of(conditions: list[tuple[str, str, Any]]) -> Callable[[StoredIntegration], bool]:
    tests = [(field, _OPERATORS[operator], wanted) for field, operator, wanted in conditions]
    return lambda record: all(test(getattr(record, field), wanted) for field, test, wanted in tests)


def _list_sites(
    _source: object, info: GraphQLResolveInfo[Any], first: int | None = None, after: str | None = None
) -> _Page:
    context: _Context = info.context
    size, position = _page_size(first, context.max_page_size), _position(after)
    rows = [site for site in _SITES if int(site["id"]) > position]
    return _Page(rows[:size], len(rows) > size)


def _page_size(first: int | None, largest: int) -> int:
    if first is None:
        return largest
    if first < 0:
        raise GraphQLError("first must be 0 or more")
    return min(first, largest)


def _cursor(row: StoredIntegration | dict[str, str]) -> str:
    row_id = row["id"] if isinstance(row, dict) else row.id
    return base64.urlsafe_b64encode(f"after:{row_id}".encode()).decode()


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        marker, _, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")
        if marker == "after":
            return int(row_id)
    except (binascii.Error, ValueError):
        pass
    raise GraphQLError("after is not a cursor of this list")


def _timestamp(value: datetime) -> str:
    # Whole seconds and Z, as in the vendor's sample.
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
