"""A document with a mutation never passes for a query, whatever its strings and comments try.

graphql-core says what a document is; ``only_reads`` must never take one that writes for one that reads.
"""

from __future__ import annotations

import graphql
from hypothesis import given
from hypothesis import strategies as st

from clarus_async.wire.graphql import only_reads
from tests.support.strategies import thorough

# What a string or a comment may hold to fool whoever looks for braces, quotes and words.
BAIT = st.sampled_from([
    "{", "}", "mutation", "mutation {", "query", "#", "'", ",", "fragment", "...", " ", "a", "\\\\", '\\"', "(", "é",
])  # fmt: skip
baits = st.lists(BAIT, max_size=5).map("".join)
strings = baits.map('"{}"'.format)
# In a block string a backslash escapes three quotes and nothing else.
blocks = st.lists(BAIT | st.sampled_from(['\\"""', "\n", '" ', "\r"]), max_size=5).map(
    lambda parts: '"""' + "".join(parts) + ' """'
)
comments = st.builds(
    lambda parts, end: "#" + "".join(parts) + end,
    st.lists(BAIT | st.sampled_from(['"', '"""', '""']), max_size=5),
    st.sampled_from(["\n", "\r", "\r\n"]),
)
ignored = st.lists(st.sampled_from([" ", "\n", "\r", ",", "\t", "\ufeff"]) | comments, max_size=3).map("".join)
gaps = st.sampled_from([" ", "\n", ","]) | comments

values = st.recursive(
    strings | blocks | st.sampled_from(["1", "1.5e3", "true", "null", "mutation", "$v", "A"]),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda vs: "[" + " ".join(vs) + "]")
        | st.tuples(st.sampled_from(["a", "mutation"]), inner).map(lambda pair: "{" + pair[0] + ":" + pair[1] + "}")
    ),
    max_leaves=4,
)
names = st.sampled_from(["a", "mutation", "query", "subscription", "mutation_", "fragment", "b1"])


def field(name, value, gap):
    return name + gap + ("" if value is None else f"(a:{gap}{value})")


fields = st.builds(field, names, st.none() | values, ignored)
selections = st.recursive(
    fields,
    lambda inner: (
        st.builds(lambda f, s, g: f + g + "{" + g + s + "}", fields, inner, ignored)
        | st.builds(lambda one, gap, two: one + gap + two, inner, gaps, inner)
    ),
    max_leaves=4,
).map("{{{}}}".format)

# Names that are no keyword: an operation or a fragment called mutation may count as writing.
plain_names = st.sampled_from(["", "a", "mutation_", "Mutation", "mutations"])
# A value that is called mutation may count as writing, too, where no brace is around it.
defaults = values.filter(lambda value: "$v" not in value and "mutation" not in value)
variables = st.sampled_from(["", "($v: Int)", "($v: In = {mutation: 1})", '($v: S = "} mutation {")']) | defaults.map(
    lambda value: f"($v: T = {value})"
)
operations = st.builds(
    lambda kind, gap, name, given_, body: kind + gap + name + given_ + body,
    st.sampled_from(["query", "mutation", "subscription"]),
    gaps,
    plain_names,
    variables,
    selections,
)
reading_operations = st.builds(
    lambda gap, name, given_, body: "query" + gap + name + given_ + body, gaps, plain_names, variables, selections
)
fragments = selections.map(lambda body: "fragment F on T " + body)


def documents(*definitions):
    parts = st.lists(st.tuples(st.one_of(*definitions), ignored), min_size=1, max_size=3)
    return st.builds(lambda first, rest: first + "".join(map("".join, rest)), ignored, parts)


def writes(document):
    return any(
        isinstance(definition, graphql.OperationDefinitionNode)
        and definition.operation is not graphql.OperationType.QUERY
        for definition in graphql.parse(document).definitions
    )


@given(documents(operations, fragments, selections))
@thorough
def test_a_document_that_writes_is_never_taken_for_one_that_reads(document):
    assert not (writes(document) and only_reads(document))


@given(documents(reading_operations, fragments, selections))
@thorough
def test_a_document_of_queries_is_known_as_one(document):
    assert not writes(document)
    assert only_reads(document)
