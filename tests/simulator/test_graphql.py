"""The list and what goes with it over GraphQL, as CLARUS_API.md has it."""

import asyncio
from datetime import UTC, datetime

import pytest
from graphql import get_introspection_query

from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator, schema
from tests.simulator.test_lifecycle import Api

# As the vendor shows it.
LIST = """
query($filter: IntegrationFilterType, $first: Int, $after: String) {
  integrations { all(filter: $filter, first: $first, after: $after) {
    edges { cursor node { id name integration_provider integration_type status enabled created_at } }
    pageInfo { hasNextPage endCursor } } } }
"""
PING = "query($first: Int) { sites { all(first: $first) { edges { node { id code name } } } } }"


@pytest.fixture
async def simulator():
    async with Simulator(max_page_size=4) as simulator:
        yield simulator


def shop(name, **attributes):
    return {"name": name, "integration_type": "shopify", **attributes}


async def listed(api, **variables):
    answer = await api.graphql(LIST, **variables)
    assert "errors" not in answer
    return answer["data"]["integrations"]["all"]


async def names(api, **conditions):
    page = await listed(api, filter=conditions)
    return [edge["node"]["name"] for edge in page["edges"]]


async def test_a_record_is_listed_in_the_list_s_own_words(simulator, api):
    simulator.preload("acme", [shop("Shopify Store")], created_at=datetime(2026, 1, 10, 12, 0, 0, 9, tzinfo=UTC))
    page = await listed(api)

    assert page["edges"][0]["node"] == {
        "id": "1",
        "name": "Shopify Store",
        "integration_provider": "shopify",
        "integration_type": "ecommerce",
        "status": "active",
        "enabled": True,
        "created_at": "2026-01-10T12:00:00Z",
    }
    assert page["pageInfo"] == {"hasNextPage": False, "endCursor": page["edges"][0]["cursor"]}


@pytest.mark.parametrize("first", [None, 4, 5, 1_000_000])
async def test_a_page_is_never_larger_than_the_largest(simulator, api, first):
    simulator.preload("acme", [shop(f"n{number}") for number in range(9)])

    assert len((await listed(api, first=first))["edges"]) == 4


async def test_an_empty_page_has_no_cursor(api):
    assert await listed(api) == {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}
    assert (await listed(api, first=0))["edges"] == []


@pytest.mark.parametrize("searchable", [False, True])
async def test_introspection_tells_whether_they_can(searchable):
    async with Simulator(searchable_references=searchable) as simulator, Api(simulator) as api:
        answer = await api.graphql(get_introspection_query())
        types = {entry["name"]: entry for entry in answer["data"]["__schema"]["types"]}
        filters = {field["name"] for field in types["IntegrationFilterType"]["inputFields"]}
        fields = {field["name"] for field in types["Integration"]["fields"]}

    assert ("external_system_reference1" in filters, "external_system_reference1" in fields) == (
        searchable,
        searchable,
    )
    assert {"name", "integration_provider", "integration_type", "status", "enabled"} <= filters


async def test_the_vendor_s_connectivity_check(api):
    answer = await api.graphql(PING, first=1)

    assert answer["data"]["sites"]["all"]["edges"] == [{"node": {"id": "1", "code": "MAIN", "name": "Main warehouse"}}]


@pytest.mark.parametrize(
    ("query", "variables", "message"),
    [
        ("{ integrations {", {}, "Syntax Error"),
        ("{ nothing }", {}, "Cannot query field 'nothing'"),
        ("mutation { anything }", {}, "mutation"),
        (LIST, {"first": "many"}, "Int cannot represent"),
        (LIST, {"first": -1}, "first must be 0 or more"),
        (LIST, {"after": "bogus"}, "after is not a cursor"),
        (LIST, {"after": "é"}, "after is not a cursor"),
        (LIST, {"filter": {"name": {"between": ["a"]}}}, "between takes two values"),
    ],
)
async def test_a_bad_query_is_a_200_with_errors(api, query, variables, message):
    answer = await api.call("POST", "/graphql", {"query": query, "variables": variables})

    assert answer.status == 200
    assert message in answer.json["errors"][0]["message"]
    assert answer.json.get("data") is None


@pytest.mark.parametrize("document", [[], {}, {"query": 7}, {"query": LIST, "variables": []}])
async def test_a_body_without_a_query_is_a_200_with_errors(api, document):
    answer = await api.call("POST", "/graphql", document)

    assert answer.status == 200
    assert answer.json["errors"]


async def test_a_body_that_is_no_json_is_a_200_with_errors(api):
    await api.login()
    sent = {
        "Authorization": f"Bearer {api.token}",
        "X-Clarus-Subdomain": "acme",
        "Content-Type": "application/json",
    }
    answer = await api.send("POST", "/graphql", data=b"{", headers=sent)

    assert (answer.status, answer.json) == (200, {"errors": [{"message": "The body is not JSON"}]})


async def test_generated_queries_do_not_pile_up(simulator, api):
    for number in range(300):
        answer = await api.graphql(f"{{ sites {{ all {{ edges {{ node {{ n{number}: id }} }} }} }} }}")
        assert answer["data"]["sites"]["all"]["edges"] == [{"node": {f"n{number}": "1"}}]
    assert schema._read.cache_info().currsize <= 256


async def test_partial_data_comes_with_errors(simulator, api):
    simulator.preload("acme", [shop(f"n{number}") for number in range(4)])
    simulator.script(Endpoint.GRAPHQL, FaultKind.GRAPHQL_ERRORS)
    answer = await api.call("POST", "/graphql", {"query": LIST})

    assert answer.status == 200
    assert answer.json["errors"][0]["message"]
    assert [edge["node"]["name"] for edge in answer.json["data"]["integrations"]["all"]["edges"]] == ["n0", "n1"]


async def test_a_lagging_list_shows_what_was(simulator, api):
    simulator.preload("acme", [shop("old")])
    await api.create("new")
    await api.update(1, name="renamed")
    simulator.script(Endpoint.GRAPHQL, Fault(FaultKind.STALE_LIST, delay=60.0))
    assert await names(api) == ["old"]
    assert simulator.requests[-1].fault is FaultKind.STALE_LIST
    assert await names(api) == ["renamed", "new"]


async def test_a_lagging_list_catches_up(simulator, api):
    await api.create("new")
    await asyncio.sleep(0.02)
    simulator.script(Endpoint.GRAPHQL, Fault(FaultKind.STALE_LIST, delay=0.02))

    assert await names(api, name={"eq": "new"}) == ["new"]
