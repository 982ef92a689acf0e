"""The GraphQL side (CLARUS_API.md §1, §5): the documented schema over one tenant's records.

Needs graphql-core, which the ``simulator`` extra brings.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

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

from clarus_async.simulator.resources import RESOURCES, Field, SimulatedResource
from clarus_async.simulator.state import INDEXED, StoredRecord, Tenant

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

input IdInputType {
  eq: ID
  gt: ID
  gteq: ID
  lt: ID
  lteq: ID
  in: [ID!]
  filled: Boolean
}

input DatetimeInputType {
  eq: ISO8601DateTime
  from: ISO8601DateTime
  to: ISO8601DateTime
  between: [ISO8601DateTime!]
}

enum EntityType { carrier product shipping_rate warehouse }

input EntityTypeInputType {
  eq: EntityType
  in: [EntityType!]
}

type PageInfo {
  hasNextPage: Boolean!
  endCursor: String
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
"""

# `first`, `after`, `pageInfo` and `cursor` are documented on one list, so inferred on the others.
_RESOURCE_SDL: Final = """
input {filter} {{
  {filters}
}}

type {node} {{
  {fields}
}}

type {node}Edge {{
  cursor: String!
  node: {node}!
}}

type {node}Connection {{
  edges: [{node}Edge!]!
  pageInfo: PageInfo!
}}

type {node}List {{
  all(filter: {filter}, first: Int, after: String): {node}Connection!
}}
"""

_SITES: Final = ({"id": "1", "code": "MAIN", "name": "Main warehouse"},)

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda value, wanted: bool(value == wanted),
    "ilike": lambda value, part: value is not None and part.lower() in value.lower(),
    "like": lambda value, part: value is not None and part in value,
    "in": lambda value, wanted: value in wanted,
    "between": lambda value, ends: value is not None and ends[0] <= value <= ends[1],
    "from": lambda value, first: value is not None and first <= value,
    "to": lambda value, last: value is not None and value <= last,
    "gt": lambda value, bound: value is not None and value > bound,
    "gteq": lambda value, bound: value is not None and value >= bound,
    "lt": lambda value, bound: value is not None and value < bound,
    "lteq": lambda value, bound: value is not None and value <= bound,
    "filled": lambda value, wanted: (value is not None) == wanted,
}


@attrs.frozen(kw_only=True)
class _Context:
    tenant: Tenant
    as_of: datetime | None
    max_page_size: int


def _an_id(text: str) -> int:
    # No record has an id like that.
    return int(text) if text.isascii() and text.isdecimal() else -1


def _a_time(text: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise GraphQLError("A datetime is ISO 8601 with a timezone")
    return time


# What is written of a value is compared as the value.
_VALUES: Final[Mapping[str, Callable[[Any], Any]]] = {"IdInputType": _an_id, "DatetimeInputType": _a_time}


class GraphQLApi:
    """Answers GraphQL requests.

    Tenants differ in what introspection shows (CLARUS_API.md §1): with ``searchable_references``, the schema has what
    only some tenants' have.
    """

    def __init__(self, *, searchable_references: bool, max_page_size: int) -> None:
        self._schema, self._root = _build((*RESOURCES.values(),), searchable_references=searchable_references)
        self._max_page_size = max_page_size

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
        document = _read(self._schema, query)
        if isinstance(document, list):
            return {"errors": [error.formatted for error in document]}
        result = execute_sync(
            self._schema,
            document,
            root_value=self._root,
            context_value=_Context(tenant=tenant, as_of=as_of, max_page_size=self._max_page_size),
            variable_values=variables,
            operation_name=operation,
        )
        return dict(result.formatted)


# More documents than a client has; what a test generates on top need not stay parsed.
@functools.lru_cache(256)
def _read(schema: GraphQLSchema, query: str) -> DocumentNode | list[GraphQLError]:
    try:
        document = parse(query)
    except GraphQLError as error:
        return [error]
    return validate(schema, document) or document


def _failure(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message}]}


# Shared by all simulators: a client sends the same documents to each.
@functools.cache
def _build(
    resources: tuple[SimulatedResource, ...], *, searchable_references: bool
) -> tuple[GraphQLSchema, dict[str, dict[str, Callable[..., dict[str, Any]]]]]:
    fields_of = {
        resource.name: {
            field: described
            for field, described in resource.fields.items()
            if searchable_references or not described.optional
        }
        for resource in resources
    }
    parts = [_SDL, *(_describe(resource, fields_of[resource.name]) for resource in resources)]
    lists = [f"  {resource.name}: {resource.node}List!" for resource in resources]
    parts += ["type Query {", *lists, "  sites: Sites!", "}"]
    schema = build_schema("\n".join(parts))
    root: dict[str, dict[str, Callable[..., dict[str, Any]]]] = {"sites": {"all": _list_sites}}
    for resource in resources:
        node = cast("GraphQLObjectType", schema.type_map[resource.node])
        for name, field in fields_of[resource.name].items():
            if field.type is not None:
                node.fields[name].resolve = _resolver(field.read)
        root[resource.name] = {"all": functools.partial(_list, resource, fields_of[resource.name])}
    return schema, root


def _describe(resource: SimulatedResource, fields: Mapping[str, Field]) -> str:
    of_node = [f"{name}: {field.type}" for name, field in fields.items() if field.type is not None]
    filters = [f"{name}: {field.filter}" for name, field in fields.items() if field.filter is not None]
    return _RESOURCE_SDL.format(
        node=resource.node,
        filter=resource.filter,
        fields="\n  ".join(["id: ID!", *of_node]),
        filters="\n  ".join(filters),
    )


def _resolver(read: Callable[[StoredRecord, Tenant], Any]) -> Callable[[Any, GraphQLResolveInfo[Any]], Any]:
    def resolve(record: StoredRecord, info: GraphQLResolveInfo[Any]) -> Any:  # noqa: ANN401 - whatever the field has
        value = read(record, info.context.tenant)
        # Whole seconds and Z, as in the vendor's sample.
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value

    return resolve


def _list(
    resource: SimulatedResource,
    fields: Mapping[str, Field],
    info: GraphQLResolveInfo[Any],
    filter: dict[str, dict[str, Any]] | None = None,  # noqa: A002 - the schema's name for it
    first: int | None = None,
    after: str | None = None,
) -> dict[str, Any]:
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
    tests = [_condition(fields[field], operator, wanted) for field, operator, wanted in conditions]
    rows, more = context.tenant.ledger(resource.name).page(
        _page_size(first, context.max_page_size),
        after=_position(after),
        matches=lambda record: all(test(read(record, context.tenant), wanted) for read, test, wanted in tests),
        equal=equal,
        as_of=context.as_of,
    )
    return _connection(rows, more=more)


def _condition(
    field: Field,
    operator: str,
    wanted: Any,  # noqa: ANN401 - whatever the operator takes
) -> tuple[Callable[[StoredRecord, Tenant], Any], Callable[[Any, Any], bool], Any]:
    convert = _VALUES.get(field.filter or "")
    if convert is not None and operator != "filled":
        wanted = [convert(each) for each in wanted] if isinstance(wanted, list) else convert(wanted)
    return field.read, _OPERATORS[operator], wanted


def _list_sites(info: GraphQLResolveInfo[Any], first: int | None = None, after: str | None = None) -> dict[str, Any]:
    size, position = _page_size(first, info.context.max_page_size), _position(after)
    rows = [site for site in _SITES if int(site["id"]) > position]
    return _connection(rows[:size], more=len(rows) > size)


def _connection(rows: Sequence[StoredRecord] | Sequence[dict[str, str]], *, more: bool) -> dict[str, Any]:
    edges = [{"cursor": _cursor(row), "node": row} for row in rows]
    return {"edges": edges, "pageInfo": {"hasNextPage": more, "endCursor": edges[-1]["cursor"] if edges else None}}


def _page_size(first: int | None, largest: int) -> int:
    if first is None:
        return largest
    if first < 0:
        raise GraphQLError("first must be 0 or more")
    return min(first, largest)


def _cursor(row: StoredRecord | dict[str, str]) -> str:
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
