"""A mutation is never repeated after an unknown outcome, so it must never pass for a query."""

import graphql
import pytest

from clarus_async.wire.graphql import only_reads


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
