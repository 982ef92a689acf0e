"""GraphQL documents and what answers them (CLARUS_API.md §1)."""

from datetime import UTC, datetime

import graphql
import orjson
import pytest

from clarus_async.errors import ErrorDetail
from clarus_async.resources.integrations import INTEGRATIONS, IntegrationFilter, IntegrationRow
from clarus_async.wire.graphql import (
    INTROSPECTION,
    PING,
    Page,
    filter_variable,
    list_document,
    only_reads,
    read_answer,
    read_page,
    request_body,
    searches_by,
)
from clarus_async.wire.reading import Unreadable

NODE = {
    "id": "1",
    "name": "Shopify Store",
    "integration_provider": "shopify",
    "integration_type": "ecommerce",
    "status": "active",
    "enabled": True,
    "created_at": "2026-01-10T12:00:00Z",
}
ROW = IntegrationRow(
    id=1,
    name="Shopify Store",
    provider="shopify",
    integration_type="ecommerce",
    status="active",
    is_active=True,
    created_at=datetime(2026, 1, 10, 12, tzinfo=UTC),
)


LIST = list_document(INTEGRATIONS.listing)
LIST_WITH_REFERENCE = list_document(INTEGRATIONS.listing, optional=True)


def words(document):
    return " ".join(document.split())


def test_the_list_query_is_the_vendors():
    assert words(LIST) == words("""
        query($filter: IntegrationFilterType, $first: Int, $after: String) {
          integrations { all(filter: $filter, first: $first, after: $after) {
            edges { cursor node { id name integration_provider integration_type status enabled created_at } }
            pageInfo { hasNextPage endCursor } } } }""")


def test_the_reference_is_asked_for_only_where_the_schema_has_it():
    assert "external_system_reference1" not in LIST
    assert "created_at external_system_reference1 }" in LIST_WITH_REFERENCE


@pytest.mark.parametrize(
    "document",
    [LIST, LIST_WITH_REFERENCE, PING, INTROSPECTION],
)
def test_our_own_documents_only_read(document):
    assert len(graphql.parse(document).definitions) >= 1
    assert only_reads(document)


def test_values_travel_as_variables():
    assert orjson.loads(request_body("query", {"a": 'x"}'})) == {"query": "query", "variables": {"a": 'x"}'}}


@pytest.mark.parametrize(
    ("wanted", "operators"),
    [
        ({}, {}),
        ({"name": "x"}, {"name": {"eq": "x"}}),
        ({"name": ["x", "y"]}, {"name": {"in": ["x", "y"]}}),
        ({"name": ("x",)}, {"name": {"in": ["x"]}}),
        ({"name_contains": "x"}, {"name": {"ilike": "x"}}),
        ({"name": "x", "name_contains": "y"}, {"name": {"eq": "x", "ilike": "y"}}),
        ({"provider": "shopify"}, {"integration_provider": {"eq": "shopify"}}),
        ({"integration_type": "erp"}, {"integration_type": {"eq": "erp"}}),
        ({"status": ["active"]}, {"status": {"in": ["active"]}}),
        ({"is_active": True}, {"enabled": {"eq": True}}),
        ({"is_active": False}, {"enabled": {"eq": False}}),
    ],
)
def test_a_filter_speaks_the_servers_operators(wanted, operators):
    assert filter_variable(INTEGRATIONS.listing, IntegrationFilter(**wanted)) == operators


# Answers.


def answer(document):
    return read_answer(orjson.dumps(document))


def test_data_is_an_answer():
    read = answer({"data": {"a": 1}})

    assert (read.data, read.errors) == ({"a": 1}, ())


@pytest.mark.parametrize("errors", [None, [], {}])
def test_no_errors_are_no_failure(errors):
    assert answer({"data": {}, "errors": errors}).errors == ()


@pytest.mark.parametrize("data", [None, {"a": 1}])
def test_errors_are_a_failure_whatever_data_is_there(data):
    read = answer({"data": data, "errors": [{"message": "denied"}]})

    assert (read.data, read.errors) == (data, (ErrorDetail(details="denied"),))


@pytest.mark.parametrize("errors", ["denied", 1, True, {"a": "b"}, [None]])
def test_errors_that_can_not_be_read_are_a_failure_all_the_same(errors):
    assert len(answer({"data": {}, "errors": errors}).errors) == 1


@pytest.mark.parametrize("data", [[], "x", 1])
def test_data_beside_errors_that_is_no_object_is_none(data):
    assert answer({"data": data, "errors": [{"message": "denied"}]}).data is None


@pytest.mark.parametrize(
    ("body", "pointer", "expected"),
    [
        (b"", "", "JSON"),
        (b"<html>", "", "JSON"),
        (b"[]", "", "an object"),
        (b"{}", "/data", "an object"),
        (b'{"data": null}', "/data", "an object"),
        (b'{"data": []}', "/data", "an object"),
    ],
)
def test_what_can_not_be_read_is_named_with_its_place(body, pointer, expected):
    assert read_answer(body) == Unreadable(pointer, expected)


def test_an_answer_does_not_show_its_data():
    assert "canary" not in repr(answer({"data": {"a": "canary"}}))


# Pages.


def page(*edges, **connection):
    return read_page(INTEGRATIONS.listing, {"integrations": {"all": {"edges": list(edges)} | connection}})


def test_the_vendors_sample_has_no_next_page_and_does_not_say_so():
    assert page({"node": NODE}) == Page([ROW], None, last=None)


def test_an_empty_page():
    assert page() == Page([], None, last=None)


@pytest.mark.parametrize(
    ("info", "last"),
    [
        (None, None),
        ({"hasNextPage": False}, True),
        ({"hasNextPage": False, "endCursor": "a"}, True),
        ({"hasNextPage": True, "endCursor": "a"}, False),
    ],
)
def test_only_a_page_that_says_so_is_proved_to_be_the_last(info, last):
    assert page(pageInfo=info).last is last


def test_a_page_says_where_the_next_one_begins():
    assert page({"node": NODE, "cursor": "a"}, pageInfo={"hasNextPage": True, "endCursor": "a"}).end_cursor == "a"


@pytest.mark.parametrize("info", [{"hasNextPage": False}, {"hasNextPage": False, "endCursor": "a"}])
def test_a_last_page_has_no_cursor(info):
    assert page({"node": NODE, "cursor": "a"}, pageInfo=info).end_cursor is None


@pytest.mark.parametrize("info", [None, {"hasNextPage": True}, {"hasNextPage": True, "endCursor": None}])
def test_where_nothing_says_so_the_next_page_begins_after_the_last_edge(info):
    assert page({"node": NODE, "cursor": "a"}, {"node": NODE, "cursor": "b"}, pageInfo=info).end_cursor == "b"


@pytest.mark.parametrize(
    "edge", [None, 1, {}, {"node": NODE}, {"node": NODE, "cursor": 7}, {"node": None, "cursor": ""}]
)
def test_an_edge_without_a_cursor_says_nothing_of_what_follows(edge):
    assert page({"node": NODE, "cursor": "a"}, edge).end_cursor is None


@pytest.mark.parametrize("info", [{}, [], "x", True, {"endCursor": "a"}, {"hasNextPage": None}, {"hasNextPage": 1}])
def test_a_page_that_does_not_say_whether_it_is_the_last_is_unreadable(info):
    assert page(pageInfo=info) == Unreadable("/data/integrations/all/pageInfo/hasNextPage", "true or false")


@pytest.mark.parametrize("cursor", [None, "", 1, ["a"]])
def test_a_page_that_has_a_next_and_no_cursor_is_unreadable(cursor):
    assert page(pageInfo={"hasNextPage": True, "endCursor": cursor}) == Unreadable(
        "/data/integrations/all/pageInfo/endCursor", "a cursor"
    )


@pytest.mark.parametrize(
    ("data", "pointer", "expected"),
    [
        ({}, "/data/integrations", "an object"),
        ({"integrations": None}, "/data/integrations", "an object"),
        ({"integrations": {}}, "/data/integrations/all", "an object"),
        ({"integrations": {"all": []}}, "/data/integrations/all", "an object"),
        ({"integrations": {"all": {}}}, "/data/integrations/all/edges", "an array"),
        ({"integrations": {"all": {"edges": {}}}}, "/data/integrations/all/edges", "an array"),
        ({"integrations": {"all": {"nodes": [NODE]}}}, "/data/integrations/all/edges", "an array"),
    ],
)
def test_a_page_that_can_not_be_read_is_named_with_its_place(data, pointer, expected):
    assert read_page(INTEGRATIONS.listing, data) == Unreadable(pointer, expected)


@pytest.mark.parametrize(
    ("edge", "pointer", "expected"),
    [
        (None, "", "an object"),
        ([], "", "an object"),
        ({}, "/node", "an object"),
        ({"node": None}, "/node", "an object"),
        ({"node": {"name": "x"}}, "/node/id", "to be there"),
        ({"node": NODE | {"id": "gid://x/1"}}, "/node/id", "an integer id, or one as a string of digits"),
    ],
)
def test_a_row_that_can_not_be_told_from_others_takes_none_of_them_away(edge, pointer, expected):
    read = page({"node": NODE}, edge, {"node": NODE}, pageInfo={"hasNextPage": False})

    assert read.rows == [ROW, ROW]
    assert read.unreadable == [Unreadable(f"/data/integrations/all/edges/1{pointer}", expected)]


# What a tenant's schema can do.

SCHEMA = """
type Query { integrations: IntegrationQueries! }
type IntegrationQueries { all(first: Int, filter: IntegrationFilterType): Connection! }
type Connection { edges: [Edge!]! }
type Edge { cursor: String node: Row! }
type Row { id: ID! name: String %s }
input IntegrationFilterType { name: StringInputType %s }
input StringInputType { ilike: String %s }
"""
REFERENCE = "external_system_reference1"


def searches_by_reference(data):
    return searches_by(INTEGRATIONS.listing, REFERENCE, data)


def introspected(field=f"{REFERENCE}: String", wanted=f"{REFERENCE}: StringInputType", operators="eq: String in: [ID]"):
    schema = graphql.build_schema(SCHEMA % (field, wanted, operators))
    return graphql.graphql_sync(schema, INTROSPECTION).data


def test_a_schema_with_the_reference_as_field_and_filter_searches_by_it():
    assert searches_by_reference(introspected()) is True


def test_what_wraps_a_type_does_not_hide_it():
    assert searches_by(
        INTEGRATIONS.listing, REFERENCE, introspected(f"{REFERENCE}: [[String!]!]!", f"{REFERENCE}: StringInputType!")
    )


@pytest.mark.parametrize(
    "lacking",
    [
        {"field": ""},
        {"wanted": ""},
        {"operators": "in: [String]"},
        {"operators": "eq: String"},
        {"wanted": f"{REFERENCE}: String"},
    ],
)
def test_a_schema_that_lacks_any_part_of_it_does_not(lacking):
    assert searches_by_reference(introspected(**lacking)) is False


def test_a_schema_that_is_not_told_at_all_means_no():
    assert searches_by_reference({"__schema": None}) is False


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"__schema": {}},
        {"__schema": {"types": None, "queryType": {"name": "Query"}}},
        {"__schema": {"types": {"a": 1}, "queryType": {"name": "Query"}}},
        {"__schema": {"types": [{"name": []}], "queryType": {"name": "Query"}}},
        {"__schema": {"types": [], "queryType": None}},
        {"__schema": {"types": [], "queryType": {"name": "Query"}}},
        {"__schema": {"types": [{"name": "Query", "fields": None}], "queryType": {"name": "Query"}}},
        {
            "__schema": {
                "types": [{"name": "Query", "fields": [{"name": "integrations", "type": {"name": None}}]}],
                "queryType": {"name": "Query"},
            }
        },
    ],
)
def test_a_schema_that_is_not_whole_means_nothing(data):
    assert searches_by_reference(data) == Unreadable("/data/__schema", "a whole schema")


@pytest.mark.parametrize("lost", ["Query", "IntegrationQueries", "Connection", "Edge", "Row", "IntegrationFilterType"])
def test_a_schema_that_lacks_what_it_refers_to_means_nothing(lost):
    data = introspected()
    data["__schema"]["types"] = [t for t in data["__schema"]["types"] if t["name"] != lost]

    assert isinstance(searches_by_reference(data), Unreadable)


# A mutation is never repeated after an unknown outcome, so it must never pass for a query.


@pytest.mark.parametrize(
    "document",
    [
        "{ a }",
        "query { a }",
        "query Named($a: Input = {b: {c: 1}}) { a(b: {c: $a}) }",
        "query { a } query { b }",
        "query A { ...F } fragment F on T { a }",
        "{ mutation }",
        "{ mutation: a subscription: b }",
        "{ a(text: \"mutation { b }\") }",
        '{ a(text: """mutation { b }""") }',
        "# mutation { a }\n{ a }",
        "{ a(text: \"}\") } ",
        '{ a(text: "\\"} mutation { b }") }',
        '{ a(text: "\\\\") }',
        '{ a(text: """\\"""} mutation {""") }',
        '{ a(text: "") b(text: """""") }',
        '{ a(text: "#") }',
        "query mutations { a }",
        "query ($mutation_: Int) { a }",
        "",
        "# nothing",
    ],
)  # fmt: skip
def test_a_document_of_queries_only_reads(document):
    assert only_reads(document)


@pytest.mark.parametrize(
    "document",
    [
        "mutation { a }",
        "mutation{a}",
        "mutation Named($a: Int) { a }",
        "mutation @d { a }",
        ",mutation{a}",
        "\ufeffmutation { a }",
        "subscription { a }",
        "query { a } mutation { b }",
        "query { a } subscription { b }",
        "query{a}mutation{b}",
        "fragment F on T { a } mutation { b }",
        "# a comment\nmutation { a }",
        "# \"\nmutation { a }",
        "# { \nmutation { a }",
        "# \"\"\"\nmutation { a } # \"\"\"",
        '{ a(text: "{") } mutation { b }',
        '{ a(text: "\\"") } mutation { b }',
        '{ a(text: "\\\\") } mutation { b(text: "") }',
        '{ a(text: "") } mutation { b(text: "") }',
        '{ a(text: "#") } mutation { b }',
        '{ a(text: """{""") } mutation { b }',
        '{ a(text: """ " """) } mutation { b }',
        '{ a(text: """\\""" """) } mutation { b(text: """ """) }',
        '{ a(text: """""") } mutation { b(text: """""") }',
        '{ a(text: """#""") } mutation { b }',
    ],
)  # fmt: skip
def test_a_document_that_writes_is_known(document):
    assert any(
        definition.operation is not graphql.OperationType.QUERY
        for definition in graphql.parse(document).definitions
        if isinstance(definition, graphql.OperationDefinitionNode)
    )
    assert not only_reads(document)


@pytest.mark.parametrize(
    "document",
    [
        "{ a",
        "{ a } }",
        "} { a }",
        "{ a } } mutation { b } {",
        '{ a(text: ") } mutation { b }',
        '{ a(text: "x\ny") } mutation { b }',
        '"',
        '"""',
        '{ a(text: """x\\\\""") } mutation { b }',
        "{ a } fragment mutation on T { a }",
    ],
)
def test_what_can_not_be_told_counts_as_writing(document):
    assert not only_reads(document)


@pytest.mark.parametrize("document", ["#\rmutation { a }", "{ a } # b\rmutation { c }", "# {\rmutation { a }\r# }"])
def test_a_mutation_after_a_comment_that_ends_with_a_carriage_return_is_known(document):
    assert any(d.operation is graphql.OperationType.MUTATION for d in graphql.parse(document).definitions)
    assert not only_reads(document)


def test_a_long_document_is_judged_in_no_time():
    assert not only_reads('"""' + '\\"""' * 20_000 + "mutation { a }")
