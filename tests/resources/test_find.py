"""``find``: exact values only, and by reference only where the tenant's schema can."""

import pytest

from clarus_async import ConfigurationError, GraphQLError, InvalidInputError, ResponseError, ServerError
from tests.support.vendor import GRAPHQL, connection, node, only, sent, times


def named(name, of=None):
    return {"name": name, "ofType": of}


def schema(*, as_field=True, as_filter=True, operators=("eq", "in")):
    """What introspection answers; the types are wrapped as a server may wrap them."""
    fields = [("id", "ID"), ("name", "String")] + [("external_system_reference1", "String")] * as_field
    filters = [("name", "StringInputType")] + [("external_system_reference1", "StringInputType")] * as_filter
    types = [
        {"name": "Root", "fields": [{"name": "integrations", "type": named(None, named("Area")), "args": []}]},
        {
            "name": "Area",
            "fields": [
                {
                    "name": "all",
                    "type": named(None, named("Connection")),
                    "args": [{"name": "filter", "type": named("IntegrationFilterType")}],
                }
            ],
        },
        {
            "name": "Connection",
            "fields": [{"name": "edges", "args": [], "type": named(None, named(None, named(None, named("Edge"))))}],
        },
        {"name": "Edge", "fields": [{"name": "node", "args": [], "type": named("Integration")}]},
        {"name": "Integration", "fields": [{"name": n, "args": [], "type": named(t)} for n, t in fields]},
        {"name": "IntegrationFilterType", "inputFields": [{"name": n, "type": named(t)} for n, t in filters]},
        {"name": "StringInputType", "inputFields": [{"name": n, "type": named("String")} for n in operators]},
    ]
    whole = [{"fields": None, "inputFields": None} | kind for kind in types]
    return {"data": {"__schema": {"queryType": {"name": "Root"}, "types": whole}}}


@pytest.mark.parametrize(
    ("wanted", "variable"),
    [
        ({"name": "A"}, {"name": {"eq": "A"}}),
        ({"provider": "shopify"}, {"integration_provider": {"eq": "shopify"}}),
        ({"name": "A", "provider": "dhl"}, {"name": {"eq": "A"}, "integration_provider": {"eq": "dhl"}}),
    ],
)
async def test_it_asks_for_equal_values(mocked, clarus, wanted, variable):
    mocked.post(GRAPHQL, payload=connection(node(), node(id="2")))

    assert [row.id for row in await clarus.integrations.find(**wanted)] == [1, 2]
    request = only(mocked, "POST", GRAPHQL).json
    assert request["variables"] == {"filter": variable, "first": 100}
    assert "external_system_reference1" not in request["query"]


async def test_it_reads_all_pages(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(), page_info={"hasNextPage": True, "endCursor": "a"}))
    mocked.post(GRAPHQL, payload=connection(node(id="2"), page_info={"hasNextPage": False, "endCursor": None}))

    assert [row.id for row in await clarus.integrations.find(name="A")] == [1, 2]


async def test_nothing_found_is_an_empty_list(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection())

    assert await clarus.integrations.find(name="A") == []


async def test_it_asks_the_schema_before_it_searches_by_reference(mocked, clarus):
    mocked.post(GRAPHQL, payload=schema())
    mocked.post(GRAPHQL, payload=connection(node(external_system_reference1="r1")))

    [row] = await clarus.integrations.find(reference="r1")
    assert row.external_system_reference1 == "r1"
    asked, searched = [request.json for request in sent(mocked, "POST", GRAPHQL)]
    assert "__schema" in asked["query"]
    assert searched["variables"] == {"filter": {"external_system_reference1": {"eq": "r1"}}, "first": 100}
    assert "created_at external_system_reference1 }" in searched["query"]


async def test_it_asks_the_schema_once_per_client(mocked, clarus):
    mocked.post(GRAPHQL, payload=schema())
    mocked.post(GRAPHQL, payload=connection(), repeat=True)
    await clarus.integrations.find(reference="r1")
    await clarus.integrations.find(reference="r2")

    assert times(mocked) == 3


async def test_it_asks_the_schema_of_each_tenant(mocked, clarus):
    mocked.post(GRAPHQL, payload=schema())
    mocked.post(GRAPHQL, payload=connection())
    await clarus.integrations.find(reference="r1")
    mocked.post(GRAPHQL, payload=schema(as_filter=False))

    with pytest.raises(ConfigurationError):
        await clarus.for_subdomain("other").integrations.find(reference="r1")


@pytest.mark.parametrize(
    "answer",
    [
        schema(as_field=False),
        schema(as_filter=False),
        schema(operators=("eq",)),
        schema(operators=("in",)),
        {"data": {"__schema": None}},
        {"errors": [{"message": "introspection is disabled"}]},
        {"errors": [{"message": "not allowed", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]},
        {"errors": [{"message": "Query has complexity of 5000, which exceeds max complexity of 200"}]},
    ],
)
async def test_a_schema_that_cannot_be_searched_by_reference_is_said_so(mocked, clarus, answer):
    mocked.post(GRAPHQL, payload=answer)

    with pytest.raises(ConfigurationError, match="find by name"):
        await clarus.integrations.find(reference="r1")
    assert times(mocked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"data": {}},
        {"data": {"__schema": {"queryType": {"name": "Query"}, "types": []}}},
        ["nothing of the kind"],
        {"errors": [{"message": "Something went wrong"}]},
        {"errors": [{"message": "slow down", "extensions": {"code": "THROTTLED"}}], "data": None},
    ],
)
async def test_only_a_definite_answer_of_the_schema_is_kept(mocked, clarus, answer):
    mocked.post(GRAPHQL, payload=answer)
    mocked.post(GRAPHQL, payload=schema())
    mocked.post(GRAPHQL, payload=connection())

    with pytest.raises((ResponseError, GraphQLError)):
        await clarus.integrations.find(reference="r1")
    assert await clarus.integrations.find(reference="r1") == []
    assert times(mocked) == 3


async def test_a_schema_that_is_definite_is_asked_for_once(mocked, clarus):
    mocked.post(GRAPHQL, payload={"data": {"__schema": None}})
    for _ in range(3):
        assert not await clarus.integrations.searches_references()
    assert times(mocked) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 405, 422])
async def test_a_schema_that_is_refused_cannot_be_searched(mocked, clarus, status):
    mocked.post(GRAPHQL, status=status)

    with pytest.raises(ConfigurationError, match="find by name"):
        await clarus.integrations.find(reference="r1")


async def test_a_schema_that_could_not_be_had_is_asked_for_again(mocked, clarus):
    for _ in range(4):
        mocked.post(GRAPHQL, status=500)
    with pytest.raises(ServerError):
        await clarus.integrations.find(reference="r1")

    mocked.post(GRAPHQL, payload=schema())
    mocked.post(GRAPHQL, payload=connection())
    assert await clarus.integrations.find(reference="r1") == []


@pytest.mark.parametrize("wanted", [{}, {"name": ""}, {"name": " "}, {"name": 7}, {"reference": ""}, {"provider": []}])
async def test_nothing_to_look_for_is_refused_before_it_is_sent(mocked, clarus, wanted):
    with pytest.raises(InvalidInputError, match="find: "):
        await clarus.integrations.find(**wanted)
    assert times(mocked) == 0
