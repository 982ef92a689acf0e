"""GraphQL documents and their answers; values are sent as variables only (CLARUS_API.md §1 and §5)."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple

from clarus_async.errors import ErrorDetail
from clarus_async.resources.spec import AnyListing, Filter, Listing, Row
from clarus_async.validation import attributes_of
from clarus_async.wire.error_bodies import read_error_body
from clarus_async.wire.reading import Unreadable, encode, parse_object, read_record, reader
from clarus_async.wire.refusals import not_executed

# `first`, `after`, `pageInfo` and `cursor` are documented on one list, and inferred on the others.
_LIST = """query($filter: {filter_type}, $first: Int, $after: String) {{
  {root} {{ all(filter: $filter, first: $first, after: $after) {{
    edges {{ cursor node {{ {selection} }} }}
    pageInfo {{ hasNextPage endCursor }} }} }} }}"""

PING: Final = "query($first: Int) { sites { all(first: $first) { edges { node { id code name } } } } }"
"""The connectivity check that the vendor recommends (CLARUS_API.md §4)."""

INTROSPECTION: Final = """query { __schema { queryType { name } types { name
  fields { name type { ...T } args { name type { ...T } } } inputFields { name type { ...T } } } } }
fragment T on __Type { name ofType { name ofType { name ofType { name ofType { name } } } } }"""
""""More fields and filters available via GraphQL introspection" (CLARUS_API.md §1)."""


class Page(NamedTuple, Generic[Row]):
    """One page of a list: the edges and the pageInfo of a connection."""

    rows: Sequence[Row]  # the nodes that have an id
    end_cursor: str | None  # of the next page; None if there is none, or it is not known
    last: bool | None = True  # whether it is the last page; None if the answer has no pageInfo
    unreadable: Sequence[Unreadable] = ()  # why a node has no readable id, for each such node


@functools.cache
def list_document(listing: AnyListing, *, optional: bool = False) -> str:
    """Return the list query, which may ask for the optional fields, too."""
    selection = " ".join((listing.selection, *listing.optional)) if optional else listing.selection
    return _LIST.format(filter_type=listing.filter_type, root=listing.root, selection=selection)


def request_body(document: str, variables: Mapping[str, Any]) -> bytes:
    """Write the body of ``POST /graphql``."""
    return encode({"query": document, "variables": variables})


def filter_variable(listing: Listing[Any, Filter], wanted: Filter) -> dict[str, Any]:
    """Turn a filter into the operators of its input type (CLARUS_API.md §1 and §5).

    A value means ``eq``, several mean ``in``; a part of a text, in an attribute called ``…_contains``, means ``ilike``.
    """
    operators: dict[str, dict[str, Any]] = {}
    for attribute in attributes_of(type(wanted)):
        value = getattr(wanted, attribute)
        if value is None:
            continue
        if attribute.endswith("_contains"):
            attribute, operator = attribute.removesuffix("_contains"), "ilike"  # noqa: PLW2901
        elif isinstance(value, list | tuple):
            operator, value = "in", list(value)
        else:
            operator = "eq"
        operators.setdefault(listing.named(attribute), {})[operator] = value
    return operators


class GraphQLAnswer(NamedTuple):
    """The answer to a GraphQL request."""

    data: Mapping[str, Any] | None  # partial where there are errors
    errors: tuple[ErrorDetail, ...]
    executed: bool = True  # something of the document may have been executed

    def __repr__(self) -> str:
        # The data may hold secrets.
        return object.__repr__(self)


def read_answer(body: bytes) -> GraphQLAnswer | Unreadable:
    """Read a GraphQL answer; ``errors`` beside ``data`` is a failure all the same (CLARUS_API.md §3)."""
    document = parse_object(body)
    if isinstance(document, Unreadable):
        return document
    data, errors = document.get("data"), document.get("errors")
    if errors:
        details = read_error_body(body) or (ErrorDetail(),)
        return GraphQLAnswer(
            data if isinstance(data, dict) else None, details, executed=not not_executed(document, details)
        )
    if not isinstance(data, dict):
        return Unreadable("/data", "an object")
    return GraphQLAnswer(data, ())


def read_page(listing: Listing[Row, Any], data: Mapping[str, Any]) -> Page[Row] | Unreadable:
    """Read one page of a list out of the answer's ``data``; the vendor's sample has neither cursor nor pageInfo."""
    connection: Any = data
    pointer = "/data"
    for name in (listing.root, "all"):
        connection = connection.get(name)
        pointer += f"/{name}"
        if not isinstance(connection, dict):
            return Unreadable(pointer, "an object")
    edges = connection.get("edges")
    if not isinstance(edges, list):
        return Unreadable(f"{pointer}/edges", "an array")
    rows: list[Row] = []
    unreadable: list[Unreadable] = []
    read = reader(listing)
    for i, edge in enumerate(edges):
        try:
            rows.append(read(edge["node"]))
        except Exception:  # noqa: BLE001  whatever it is, it says less than what was expected
            unreadable.append(_unreadable(listing, edge, f"{pointer}/edges/{i}"))
    end = _end(connection, edges, f"{pointer}/pageInfo")
    if isinstance(end, Unreadable):
        return end
    return Page(rows, *end, unreadable or ())


def _unreadable(listing: AnyListing, edge: object, pointer: str) -> Unreadable:
    """Say why an edge has no readable row."""
    if not isinstance(edge, dict):
        return Unreadable(pointer, "an object")
    row = read_record(edge.get("node"), listing, f"{pointer}/node")
    assert isinstance(row, Unreadable)  # noqa: S101  it could not be read a moment ago
    return row


def _end(
    connection: Mapping[str, Any], edges: Sequence[object], pointer: str
) -> tuple[str | None, bool | None] | Unreadable:
    """Return the cursor of the next page, and whether this is the last one."""
    # The cursor of the last edge is the endCursor (Relay's Cursor Connections, section 5.1).
    last = edges[-1] if edges else None
    cursor = last.get("cursor") if isinstance(last, dict) else None
    known = cursor if isinstance(cursor, str) and cursor else None
    info = connection.get("pageInfo")
    if info is None:
        return known, None
    if not isinstance(info, dict) or not isinstance(info.get("hasNextPage"), bool):
        return Unreadable(f"{pointer}/hasNextPage", "true or false")
    if not info["hasNextPage"]:
        return None, True
    cursor = info.get("endCursor")
    if cursor is None:
        cursor = known
    return (cursor, False) if isinstance(cursor, str) and cursor else Unreadable(f"{pointer}/endCursor", "a cursor")


def searches_by(listing: AnyListing, field: str, data: Mapping[str, Any]) -> bool | Unreadable:
    """Whether a schema has a field of a row, and a filter by it with ``eq`` and ``in``.

    Where ``__schema`` is null in the answer to ``INTROSPECTION``, introspection is switched off, which is a definite
    answer; a schema that lacks types that it refers to is not.
    """
    if "__schema" in data and data["__schema"] is None:
        return False
    try:
        schema = data["__schema"]
        types = {t["name"]: t for t in schema["types"]}
        root = types[schema["queryType"]["name"]]
        every = _member(types[_type_of(_member(root, "fields", listing.root))], "fields", "all")
        edge = types[_type_of(_member(types[_type_of(every)], "fields", "edges"))]
        node = types[_type_of(_member(edge, "fields", "node"))]
        _member(node, "fields", field)
        wanted = types[_type_of(_member(every, "args", "filter"))]
        operators = types[_type_of(_member(wanted, "inputFields", field))]
        _member(operators, "inputFields", "eq")
        _member(operators, "inputFields", "in")
    except StopIteration:
        return False
    except (KeyError, TypeError, AttributeError):
        return Unreadable("/data/__schema", "a whole schema")
    return True


def _member(owner: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    members = owner[kind]
    if members is None and kind == "inputFields":
        # A scalar has no input fields.
        raise StopIteration
    return next(member for member in members if member["name"] == name)


def _type_of(member: Mapping[str, Any]) -> str:
    kind = member["type"]
    while kind["name"] is None:
        kind = kind["ofType"]
    return str(kind["name"])


_LEXEMES: Final = r'(?s)"""(?:\\"""|.)*?"""|"(?:\\.|[^"\\\n\r])*"|#[^\n\r]*|[{}"]|[A-Za-z_]\w*'


@functools.lru_cache(maxsize=64)
def only_reads(document: str) -> bool:
    """Whether a document certainly holds queries only."""
    depth = 0
    for match in re.finditer(_LEXEMES, document):
        lexeme = match[0]
        if lexeme == "{":
            depth += 1
        elif lexeme == "}":
            depth -= 1
        # After an unbalanced quote or brace, nothing is certain.
        if depth < 0 or lexeme == '"' or (depth == 0 and lexeme in {"mutation", "subscription"}):
            return False
    return depth == 0
