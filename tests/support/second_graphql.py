"""The GraphQL of the second server: documents are checked against a schema, and executed; stdlib only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.second_parser import Operation, Parser, RefusedError, Variable

_SCHEMA = """
type Query { integrations: Integrations! external_entities: ExternalEntities! sites: Sites!
  __schema: __Schema! __type(name: String!): __Type }
type Integrations { all(filter: IntegrationFilterType, first: Int, after: String): IntegrationConnection! }
type IntegrationConnection { edges: [IntegrationEdge]! nodes: [Integration]! pageInfo: PageInfo! totalCount: Int! }
type IntegrationEdge { cursor: String! node: Integration! }
type Integration { id: ID! name: String! integration_provider: String integration_type: String status: String
  enabled: Boolean created_at: ISO8601DateTime! %(reference_field)s }
type ExternalEntities { all(filter: ExternalEntityFilterType, first: Int, after: String): ExternalEntityConnection! }
type ExternalEntityConnection { edges: [ExternalEntityEdge]! nodes: [ExternalEntity]! pageInfo: PageInfo!
  totalCount: Int! }
type ExternalEntityEdge { cursor: String! node: ExternalEntity! }
type ExternalEntity { id: ID! code: String! description: String entity_type: EntityTypeEnum!
  external_system_reference1: String integration: Integration }
type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
type Sites { all(first: Int, after: String): SiteConnection! }
type SiteConnection { edges: [SiteEdge]! pageInfo: PageInfo! }
type SiteEdge { cursor: String! node: Site! }
type Site { id: ID! code: String! name: String! }
input IntegrationFilterType { name: StringInputType integration_provider: StringInputType
  integration_type: StringInputType status: StringInputType enabled: BooleanInputType %(reference_filter)s }
input ExternalEntityFilterType { entity_type: EntityTypeInputType code: StringInputType description: StringInputType
  integration_id: IdInputType integration_name: StringInputType external_system_reference1: StringInputType
  created_at: DatetimeInputType }
input EntityTypeInputType { eq: EntityTypeEnum in: [EntityTypeEnum!] }
input IdInputType { eq: ID in: [ID!] }
input StringInputType { eq: String ilike: String like: String in: [String!] between: [String!] }
input BooleanInputType { eq: Boolean }
input DatetimeInputType { eq: ISO8601DateTime from: ISO8601DateTime to: ISO8601DateTime
  between: [ISO8601DateTime!] }
type __Schema { queryType: __Type! mutationType: __Type types: [__Type!]! }
type __Type { kind: String! name: String description: String fields(includeDeprecated: Boolean): [__Field!]
  inputFields(includeDeprecated: Boolean): [__InputValue!] ofType: __Type }
type __Field { name: String! description: String args: [__InputValue!]! type: __Type! }
type __InputValue { name: String! description: String type: __Type! defaultValue: String }
scalar String scalar Int scalar Boolean scalar ID scalar ISO8601DateTime scalar EntityTypeEnum
"""
_SCALARS: Mapping[str, tuple[type, ...]] = {
    "String": (str,),
    "Int": (int,),
    "Boolean": (bool,),
    "ID": (str, int),
    "EntityTypeEnum": (str,),
    "ISO8601DateTime": (str,),
}


class Schema:
    """What can be asked; with or without the reference among the fields and filters."""

    def __init__(self, *, references: bool, introspection: bool) -> None:
        reference = "external_system_reference1: "
        self._types = dict(Parser(_SCHEMA % {
            "reference_field": reference + "String" if references else "",
            "reference_filter": reference + "StringInputType" if references else "",
        }).types())  # fmt: skip
        self._introspection = introspection

    def execute(self, text: str, variables: Mapping[str, Any], root: Mapping[str, Any], name: str | None) -> Any:
        """Answer a document from ``root``: mappings, lists, and functions where a field takes arguments."""
        operations, fragments = Parser(text).document()
        chosen = [operation for operation in operations if name is None or operation.name == name]
        if len(chosen) != 1:
            raise RefusedError("Name one of the operations")
        operation = chosen[0]
        if operation.kind != "query":
            raise RefusedError(f"Schema is not configured for {operation.kind}s")
        used: set[str] = set()
        self._check(operation.selections, "Query", operation, fragments, used)
        if idle := operation.variables.keys() - used:
            raise RefusedError(f"Variable ${min(idle)} is declared but not used")
        values = {}
        for each, (kind, has_default, default) in operation.variables.items():
            if each in variables:
                values[each] = self._input(variables[each], kind, f"${each}")
            elif has_default:
                values[each] = default
            elif kind.endswith("!"):
                raise RefusedError(f"Variable ${each} of type {kind} was not given")
        whole = {**root, "__schema": self._describe_all, "__type": lambda name: self._describe(name)}
        return self._select(operation.selections, "Query", whole, values, fragments)

    def _check(self, selections: Any, owner: str, operation: Operation, fragments: Any, used: set[str]) -> None:
        for selection in selections:
            if selection.name is None:
                if selection.fragment is not None and selection.fragment not in fragments:
                    raise RefusedError(f"Fragment {selection.fragment} was used, but not defined")
                nested = fragments[selection.fragment] if selection.fragment else selection.selections
                self._check(nested, owner, operation, fragments, used)
                continue
            if selection.name == "__typename":
                continue
            member = self._types[owner][1].get(selection.name)
            if member is None or (selection.name == "__schema" and not self._introspection):
                raise RefusedError(f"Field '{selection.name}' doesn't exist on type '{owner}'")
            for name, value in selection.arguments.items():
                if name not in member.arguments:
                    raise RefusedError(f"Field '{selection.name}' doesn't accept argument '{name}'")
                self._uses(value, member.arguments[name], operation, used)
            for _, arguments in selection.directives:
                self._uses(arguments.get("if"), "Boolean", operation, used)
            kind = member.type.strip("[]!")
            if (self._types[kind][0] == "scalar") == bool(selection.selections):
                raise RefusedError(f"Field '{selection.name}' of type {member.type} and its selections don't fit")
            self._check(selection.selections, kind, operation, fragments, used)

    def _uses(self, value: Any, kind: str, operation: Operation, used: set[str]) -> None:
        if not isinstance(value, Variable):
            return
        if value.name not in operation.variables:
            raise RefusedError(f"Variable ${value.name} is used but not declared")
        if operation.variables[value.name][0].rstrip("!") != kind.rstrip("!"):
            raise RefusedError(f"Type mismatch on variable ${value.name} and argument of type {kind}")
        used.add(value.name)

    def _input(self, value: Any, kind: str, where: str) -> Any:
        """Check a value that was given against its type; a single one may stand for a list of it."""
        if value is None:
            if kind.endswith("!"):
                raise RefusedError(f"{where} of type {kind} must not be null")
            return None
        kind = kind.rstrip("!")
        if kind.startswith("["):
            return [self._input(item, kind[1:-1], where) for item in (value if isinstance(value, list) else [value])]
        if kind in _SCALARS:
            if not isinstance(value, _SCALARS[kind]) or (kind != "Boolean" and isinstance(value, bool)):
                raise RefusedError(f"{where} was provided an invalid value: could not coerce it to {kind}")
            return value
        members = self._types[kind][1]
        if not isinstance(value, Mapping) or value.keys() - members.keys():
            raise RefusedError(f"{where} was provided an invalid value for {kind}")
        return {name: self._input(item, members[name].type, f"{where}.{name}") for name, item in value.items()}

    def _select(self, selections: Any, owner: str, source: Any, values: Any, fragments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for selection in selections:
            wanted = [_filled(arguments["if"], values) == (name == "include")
                      for name, arguments in selection.directives if name in {"include", "skip"}]  # fmt: skip
            if not all(wanted):
                continue
            if selection.name is None:
                nested = fragments[selection.fragment] if selection.fragment else selection.selections
                _merge(answer, self._select(nested, owner, source, values, fragments))
            elif selection.name == "__typename":
                answer[selection.key] = owner
            else:
                member = self._types[owner][1][selection.name]
                given = {n: _filled(v, values) for n, v in selection.arguments.items()}
                given = {n: self._input(v, member.arguments[n], n) for n, v in given.items() if v is not ...}
                found = source[selection.name]
                found = found(**given) if callable(found) else found
                kind = member.type.strip("[]!")
                completed = self._complete(found, kind, selection.selections, values, fragments)
                _merge(answer, {selection.key: completed})
        return answer

    def _complete(self, found: Any, kind: str, selections: Any, values: Any, fragments: Any) -> Any:
        if isinstance(found, list):
            return [self._complete(item, kind, selections, values, fragments) for item in found]
        return found if found is None or not selections else self._select(selections, kind, found, values, fragments)

    def _describe_all(self) -> dict[str, Any]:
        types = [self._describe(name) for name in self._types]
        return {"queryType": self._describe("Query"), "mutationType": None, "types": types}

    def _describe(self, kind: str) -> dict[str, Any] | None:
        blank = dict.fromkeys(("name", "description", "ofType"))
        blank |= dict.fromkeys(("fields", "inputFields"), lambda **_: None)
        if kind.endswith("!"):
            return blank | {"kind": "NON_NULL", "ofType": lambda: self._describe(kind[:-1])}
        if kind.startswith("["):
            return blank | {"kind": "LIST", "ofType": lambda: self._describe(kind[1:-1])}
        if kind not in self._types:
            return None
        what, members = self._types[kind]

        def describe(**_: bool) -> list[Any]:
            return [self._argument(name, member.type) | {
                "args": [self._argument(*each) for each in member.arguments.items()]
            } for name, member in members.items() if not name.startswith("__")]  # fmt: skip

        named = {"type": "OBJECT", "input": "INPUT_OBJECT", "scalar": "SCALAR"}[what]
        lists = {"type": {"fields": describe}, "input": {"inputFields": describe}}.get(what, {})
        return blank | {"kind": named, "name": kind} | lists

    def _argument(self, name: str, kind: str) -> dict[str, Any]:
        return {"name": name, "description": None, "type": lambda: self._describe(kind), "defaultValue": None}


def _merge(answer: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Put two selections of the same fields together."""
    for key, value in more.items():
        mine = answer.setdefault(key, value)
        pairs = zip(mine, value, strict=True) if isinstance(mine, list) else [(mine, value)]
        for one, other in pairs:
            if isinstance(one, dict) and one is not other:
                _merge(one, other)


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """Put the variables into an argument; ``...`` is one that was not given."""
    if isinstance(value, Variable):
        return values.get(value.name, ...)
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    if isinstance(value, dict):
        return {name: _filled(item, values) for name, item in value.items()}
    return value
