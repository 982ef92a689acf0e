"""The GraphQL of the second server: a schema of its own, which graphql-core executes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from graphql import DocumentNode, GraphQLError, build_schema, execute_sync, parse, validate

_SCHEMA = """
type Query { integrations: Integrations! external_entities: ExternalEntities! sites: Sites! }
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
scalar ISO8601DateTime
scalar EntityTypeEnum
"""


class RefusedError(Exception):
    """The document can't be answered; the text is the error's message."""


class Schema:
    """What can be asked; with or without the reference among the fields and filters."""

    def __init__(self, *, references: bool, introspection: bool) -> None:
        reference = "external_system_reference1: "
        self._schema = build_schema(_SCHEMA % {
            "reference_field": reference + "String" if references else "",
            "reference_filter": reference + "StringInputType" if references else "",
        })  # fmt: skip
        self._introspection = introspection
        self._checked = functools.lru_cache(self._check)

    def execute(self, text: str, variables: Mapping[str, Any], root: Mapping[str, Any], name: str | None) -> Any:
        """Answer a document from ``root``: mappings, lists, and functions where a field takes arguments."""
        result = execute_sync(self._schema, self._checked(text), root, None, dict(variables), name)
        if result.errors:
            raise RefusedError(result.errors[0].message)
        return result.data

    def _check(self, text: str) -> DocumentNode:
        try:
            document = parse(text)
        except GraphQLError as error:
            raise RefusedError(error.message) from None
        if not self._introspection and "__schema" in text:
            raise RefusedError("Field '__schema' doesn't exist on type 'Query'")
        if errors := validate(self._schema, document):
            raise RefusedError(errors[0].message)
        return document
