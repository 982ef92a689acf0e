"""``graphql`` and ``ping``: a document, its variables beside it, and what answers it."""

import pytest

from clarus_async import (
    Applied,
    AuthenticationError,
    ErrorDetail,
    GraphQLError,
    InvalidInputError,
    OutcomeUnknownError,
)
from tests.support.vendor import GRAPHQL, HEADERS, only, times

QUERY = "query($id: ID!) { orders(id: $id) { id } }"
MUTATION = "mutation($id: ID!) { cancelOrder(id: $id) { id } }"


async def test_it_sends_the_document_and_its_variables(mocked, clarus):
    mocked.post(GRAPHQL, payload={"data": {"orders": []}})
    await clarus.graphql(QUERY, {"id": "7", "list": (1, None)})

    request = only(mocked, "POST", GRAPHQL)
    assert request.headers == HEADERS
    assert request.json == {"query": QUERY, "variables": {"id": "7", "list": [1, None]}}


async def test_no_variables_are_sent_as_none(mocked, clarus):
    mocked.post(GRAPHQL, payload={"data": {"orders": []}})
    await clarus.graphql("{ orders { id } }")

    assert only(mocked, "POST", GRAPHQL).json == {"query": "{ orders { id } }", "variables": {}}


@pytest.mark.parametrize("data", [{}, {"orders": [{"id": "1"}]}, {"orders": None}])
async def test_it_returns_the_data_as_it_is(mocked, clarus, data):
    mocked.post(GRAPHQL, payload={"data": data, "extensions": {"cost": 1}})

    assert await clarus.graphql(QUERY, {"id": "7"}) == data


async def test_empty_errors_are_none(mocked, clarus):
    mocked.post(GRAPHQL, payload={"data": {"a": 1}, "errors": []})

    assert await clarus.graphql("{ a }") == {"a": 1}


@pytest.mark.parametrize("answer", [{"data": None}, {"data": {"a": 1}}, {}])
@pytest.mark.parametrize(("document", "applied"), [(QUERY, Applied.NO), (MUTATION, Applied.MAYBE)])
async def test_errors_are_an_error_whatever_the_data(mocked, clarus, answer, document, applied):
    errors = [
        {
            "message": "Order not found",
            "path": ["orders", 0, "id"],
            "locations": [{"line": 1, "column": 2}],
            "extensions": {"code": "NOT_FOUND", "hint": "look elsewhere"},
        },
        {"message": "And another"},
    ]
    mocked.post(GRAPHQL, payload=answer | {"errors": errors}, headers={"X-Request-Id": "req-1"})

    with pytest.raises(GraphQLError) as caught:
        await clarus.graphql(document, {"id": "x"})
    error = caught.value
    assert error.errors == (
        ErrorDetail(
            code="NOT_FOUND",
            details="Order not found",
            source="orders/0/id",
            context={"code": "NOT_FOUND", "hint": "look elsewhere"},
        ),
        ErrorDetail(details="And another"),
    )
    assert (error.applied, error.retryable, error.attempts) == (applied, False, 1)
    assert (error.method, error.path, error.request_id) == ("POST", "/graphql", "req-1")
    assert "Order not found" in str(error)
    assert "And another" in str(error)
    assert times(mocked) == 1


@pytest.mark.parametrize("errors", ["broken", {"base": "broken"}, ["broken"], [None], [7]])
async def test_errors_in_a_form_of_their_own_are_an_error_too(mocked, clarus, errors):
    mocked.post(GRAPHQL, payload={"data": {"a": 1}, "errors": errors})

    with pytest.raises(GraphQLError) as caught:
        await clarus.graphql(QUERY)
    assert len(caught.value.errors) == 1


@pytest.mark.parametrize("document", [QUERY, "{ a }", "query Q { a } # mutation", 'query { a(b: "mutation {") }'])
async def test_a_query_is_read_again(mocked, clarus, document):
    mocked.post(GRAPHQL, status=500)
    mocked.post(GRAPHQL, payload={"data": {"a": 1}})

    assert await clarus.graphql(document) == {"a": 1}


@pytest.mark.parametrize(
    "document",
    [
        MUTATION,
        "query Q { a } mutation M { b }",
    ],
)
async def test_a_mutation_is_never_sent_again_after_an_unknown_outcome(mocked, clarus, document):
    mocked.post(GRAPHQL, status=500, repeat=True)

    with pytest.raises(OutcomeUnknownError) as caught:
        await clarus.graphql(document)
    assert caught.value.applied is Applied.MAYBE
    assert times(mocked) == 1


async def test_a_mutation_whose_answer_cannot_be_read_was_applied(mocked, clarus):
    mocked.post(GRAPHQL, body=b"OK")

    with pytest.raises(OutcomeUnknownError) as caught:
        await clarus.graphql(MUTATION)
    assert caught.value.applied is Applied.YES
    assert times(mocked) == 1


@pytest.mark.parametrize("document", ["", "  ", None, 7, b"{ a }"])
async def test_a_document_that_is_none_is_refused_before_it_is_sent(mocked, clarus, document):
    with pytest.raises(InvalidInputError, match="query"):
        await clarus.graphql(document)
    assert times(mocked) == 0


@pytest.mark.parametrize(
    "variables", [[], "x", {1: 2}, {"a": object()}, {"a": {"b": float("nan")}}, {"a": b"x"}, {"a": 2**64}]
)
async def test_variables_that_json_cannot_carry_are_refused_before_they_are_sent(mocked, clarus, variables):
    with pytest.raises(InvalidInputError, match="variables"):
        await clarus.graphql(QUERY, variables)
    assert times(mocked) == 0


async def test_a_variable_that_the_server_echoes_does_not_show(mocked, clarus):
    mocked.post(GRAPHQL, payload={"errors": [{"message": 'Variable $key got "canary-secret"', "path": ["a"]}]})

    with pytest.raises(GraphQLError) as caught:
        await clarus.graphql(QUERY, {"key": {"deep": ["canary-secret"]}})
    assert "canary-secret" not in f"{caught.value} {caught.value.errors}"


async def test_a_token_that_the_server_echoes_does_not_show(mocked, clarus):
    mocked.post(GRAPHQL, payload={"errors": [{"message": "not for Bearer token-1"}]})

    with pytest.raises(GraphQLError) as caught:
        await clarus.graphql(QUERY)
    assert "token-1" not in f"{caught.value} {caught.value.errors}"


# The check that the vendor recommends (CLARUS_API.md §4).


async def test_ping_sends_the_vendors_query(mocked, clarus):
    mocked.post(GRAPHQL, payload={"data": {"sites": {"all": {"edges": []}}}})

    assert await clarus.ping() is None
    request = only(mocked, "POST", GRAPHQL)
    assert request.headers == HEADERS
    assert request.json == {
        "query": "query($first: Int) { sites { all(first: $first) { edges { node { id code name } } } } }",
        "variables": {"first": 1},
    }


async def test_ping_with_a_refused_token_is_an_authentication_error(mocked, clarus):
    mocked.post(GRAPHQL, status=401, payload={"error": "expired"})

    with pytest.raises(AuthenticationError):
        await clarus.ping()
