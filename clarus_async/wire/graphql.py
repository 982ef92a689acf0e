"""GraphQL documents and what answers them; values travel as variables only (clarus-api.md §1)."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import attrs

from clarus_async.errors import ErrorDetail
from clarus_async.records import IntegrationFilter, IntegrationRow
from clarus_async.wire.faults import read_faults
from clarus_async.wire.reading import Unreadable, encode, parse_object, read_record, read_records

REFERENCE: Final = "external_system_reference1"

_LIST = """query($filter: IntegrationFilterType, $first: Int, $after: String) {
  integrations { all(filter: $filter, first: $first, after: $after) {
    edges { cursor node { id name integration_provider integration_type status enabled created_at%s } }
    pageInfo { hasNextPage endCursor } } } }"""

PING: Final = "query($first: Int) { sites { all(first: $first) { edges { node { id code name } } } } }"
"""The connectivity check that the vendor recommends (clarus-api.md §4)."""

INTROSPECTION: Final = """query { __schema { queryType { name } types { name
  fields { name type { ...T } args { name type { ...T } } } inputFields { name type { ...T } } } } }
fragment T on __Type { name ofType { name ofType { name ofType { name ofType { name } } } } }"""
""""More fields and filters available via GraphQL introspection" (clarus-api.md §1)."""


class Page(NamedTuple):
    """One page of a list: a connection's edges and pageInfo.

    Args:
        rows: the edges' nodes.
        end_cursor: where the next page begins; ``None`` where there is none.
        last: the answer says that there is no further page. One without pageInfo does not.
    """

    rows: Sequence[IntegrationRow]
    end_cursor: str | None
    last: bool = True


@functools.cache
def list_document(*, with_reference: bool = False) -> str:
    """Return the list query.

    Args:
        with_reference: ask for the first reference, where the tenant's schema has it.
    """
    return _LIST % (" " + REFERENCE if with_reference else "")


def request_body(document: str, variables: Mapping[str, Any]) -> bytes:
    """Write what ``POST /graphql`` takes.

    Args:
        document: the query.
        variables: its variables.
    """
    return encode({"query": document, "variables": variables})


def filter_variable(wanted: IntegrationFilter) -> dict[str, Any]:
    """Turn a filter into the operators of ``IntegrationFilterType`` (clarus-api.md §1).

    Args:
        wanted: a value means ``eq``, several mean ``in``.
    """
    operators: dict[str, dict[str, Any]] = {}
    named = (
        ("name", wanted.name),
        ("integration_provider", wanted.provider),
        ("integration_type", wanted.integration_type),
        ("status", wanted.status),
        ("enabled", wanted.is_active),
    )
    for name, value in named:
        if isinstance(value, str | bool):
            operators[name] = {"eq": value}
        elif value is not None:
            operators[name] = {"in": list(value)}
    if wanted.name_contains is not None:
        operators.setdefault("name", {})["ilike"] = wanted.name_contains
    return operators


# No repr: it holds what must not show.
@attrs.frozen(eq=False, repr=False)
class GraphQLAnswer:
    """The answer to a GraphQL request: ``data``, and ``errors`` where something failed."""

    data: Mapping[str, Any] | None
    errors: tuple[ErrorDetail, ...]


def read_answer(body: bytes) -> GraphQLAnswer | Unreadable:
    """Read a GraphQL answer; ``errors`` beside ``data`` is a failure all the same (clarus-api.md §3).

    Args:
        body: as it came.
    """
    document = parse_object(body)
    if isinstance(document, Unreadable):
        return document
    data, errors = document.get("data"), document.get("errors")
    if errors:
        return GraphQLAnswer(data if isinstance(data, dict) else None, read_faults(body) or (ErrorDetail(),))
    if not isinstance(data, dict):
        return Unreadable("/data", "an object")
    return GraphQLAnswer(data, ())


def read_page(data: Mapping[str, Any]) -> Page | Unreadable:
    """Read one page of integrations out of ``data``; the vendor's sample has neither cursor nor pageInfo.

    Args:
        data: the answer's ``data``.
    """
    connection: Any = data
    pointer = "/data"
    for name in ("integrations", "all"):
        connection = connection.get(name)
        pointer += f"/{name}"
        if not isinstance(connection, dict):
            return Unreadable(pointer, "an object")
    edges = connection.get("edges")
    if not isinstance(edges, list):
        return Unreadable(f"{pointer}/edges", "an array")
    rows = read_records([edge.get("node") if isinstance(edge, dict) else None for edge in edges], IntegrationRow)
    if rows is None:
        return _unreadable_row(edges, f"{pointer}/edges")
    end_cursor = _end_cursor(connection, f"{pointer}/pageInfo")
    if isinstance(end_cursor, Unreadable):
        return end_cursor
    return Page(rows, end_cursor, last=end_cursor is None and connection.get("pageInfo") is not None)


def _unreadable_row(edges: Sequence[object], pointer: str) -> Unreadable:
    for i, edge in enumerate(edges):
        if not isinstance(edge, dict):
            return Unreadable(f"{pointer}/{i}", "an object")
        row = read_record(edge.get("node"), IntegrationRow, f"{pointer}/{i}/node")
        if isinstance(row, Unreadable):
            return row
    raise AssertionError("rows that can and can't be read")  # pragma: no cover


def _end_cursor(connection: Mapping[str, Any], pointer: str) -> str | Unreadable | None:
    info = connection.get("pageInfo")
    if info is None:
        return None
    if not isinstance(info, dict) or not isinstance(info.get("hasNextPage"), bool):
        return Unreadable(f"{pointer}/hasNextPage", "true or false")
    if not info["hasNextPage"]:
        return None
    cursor = info.get("endCursor")
    return cursor if isinstance(cursor, str) and cursor else Unreadable(f"{pointer}/endCursor", "a cursor")


def searches_by_reference(data: Mapping[str, Any]) -> bool:
    """Whether the schema has the first reference as a field of a row and as a filter with ``eq`` and ``in``.

    Args:
        data: what the introspection query answered. Anything unexpected in it means no.
    """
    try:
        schema = data["__schema"]
        types = {t["name"]: t for t in schema["types"]}
        root = types[schema["queryType"]["name"]]
        every = _member(types[_type_of(_member(root, "fields", "integrations"))], "fields", "all")
        edge = types[_type_of(_member(types[_type_of(every)], "fields", "edges"))]
        node = types[_type_of(_member(edge, "fields", "node"))]
        _member(node, "fields", REFERENCE)
        wanted = types[_type_of(_member(every, "args", "filter"))]
        operators = types[_type_of(_member(wanted, "inputFields", REFERENCE))]
        _member(operators, "inputFields", "eq")
        _member(operators, "inputFields", "in")
    except (KeyError, TypeError, AttributeError, StopIteration):
        return False
    return True


def _member(owner: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    return next(member for member in owner[kind] if member["name"] == name)


def _type_of(member: Mapping[str, Any]) -> str:
    kind = member["type"]
    while kind["name"] is None:
        kind = kind["ofType"]
    return str(kind["name"])


_LEXEMES: Final = r'(?s)"""(?:\\"""|.)*?"""|"(?:\\.|[^"\\\n\r])*"|#[^\n\r]*|[{}"]|[A-Za-z_]\w*'


@functools.lru_cache(maxsize=64)
def only_reads(document: str) -> bool:
    """Whether a document holds queries only; one that can't be told counts as writing.

    Args:
        document: GraphQL text.
    """
    depth = 0
    for match in re.finditer(_LEXEMES, document):
        lexeme = match[0]
        if lexeme == "{":
            depth += 1
        elif lexeme == "}":
            depth -= 1
        # A quote that opens nothing, and a brace that closes nothing, hide what follows them.
        if depth < 0 or lexeme == '"' or (depth == 0 and lexeme in {"mutation", "subscription"}):
            return False
    return depth == 0
