"""``ping``: the check that the vendor recommends (CLARUS_API.md §4)."""

import pytest

from clarus_async import AuthenticationError, ConnectionFailedError, GraphQLError, PermissionDeniedError, ResponseError
from tests.support.vendor import GRAPHQL, HEADERS, only, times


async def test_it_sends_the_vendors_query(mocked, clarus):
    mocked.post(GRAPHQL, payload={"data": {"sites": {"all": {"edges": []}}}})

    assert await clarus.ping() is None
    request = only(mocked, "POST", GRAPHQL)
    assert request.headers == HEADERS
    assert request.json == {
        "query": "query($first: Int) { sites { all(first: $first) { edges { node { id code name } } } } }",
        "variables": {"first": 1},
    }


async def test_a_refused_token_is_an_authentication_error(mocked, clarus):
    mocked.post(GRAPHQL, status=401, payload={"error": "expired"})

    with pytest.raises(AuthenticationError):
        await clarus.ping()


async def test_a_tenant_that_is_not_ours_is_a_permission_error(mocked, clarus):
    mocked.post(GRAPHQL, status=403, payload={"errors": [{"code": 1, "symbol": "nope", "details": "Not yours"}]})

    with pytest.raises(PermissionDeniedError, match="nope: Not yours"):
        await clarus.ping()


async def test_no_connection_is_a_connection_error(mocked, clarus):
    # Nothing is registered: aioresponses answers as a closed port would, with the base class of aiohttp's errors.
    with pytest.raises(ConnectionFailedError):
        await clarus.ping()
    assert times(mocked) == 4


async def test_a_page_of_html_is_no_answer(mocked, clarus):
    mocked.post(GRAPHQL, body=b"<html><title>Welcome to the hotel</title></html>")

    with pytest.raises(ResponseError) as caught:
        await clarus.ping()
    assert caught.value.expected == "JSON"


async def test_errors_are_an_error(mocked, clarus):
    mocked.post(GRAPHQL, payload={"data": {"sites": None}, "errors": [{"message": "Field 'sites' is gone"}]})

    with pytest.raises(GraphQLError, match="Field 'sites' is gone"):
        await clarus.ping()
