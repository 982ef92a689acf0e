"""``client.external_entities``: what goes out, and what is made of what comes back (CLARUS_API.md §5)."""

import pytest

from clarus_async import (
    ExternalEntity,
    ExternalEntityChanges,
    ExternalEntityFilter,
    ExternalEntityRow,
    IntegrationChanges,
    InvalidInputError,
    NewExternalEntity,
    NewIntegration,
    ValidationError,
)
from tests.support.vendor import BASE, GRAPHQL, HEADERS, SHOP, VENDOR_ERRORS, only, sent, times

COLLECTION = f"{BASE}/api/external_entities"
SKU = {"entity_type": "product", "code": "SKU-1", "external_system_reference1": "p-1", "integration_id": 7}
NODE = {
    "id": "5",
    "code": "SKU-1",
    "description": None,
    "entity_type": "product",
    "external_system_reference1": "p-1",
    "integration": {"id": "7", "name": "Shop"},
}
ROW = ExternalEntityRow(id=5, **SKU, integration_name="Shop")


def connection(*nodes, **page_info):
    every = {"edges": [{"cursor": f"c{node['id']}", "node": node} for node in nodes]}
    return {"data": {"external_entities": {"all": every | ({"pageInfo": page_info} if page_info else {})}}}


async def test_create_sends_the_envelope_and_reads_the_bare_record(mocked, clarus):
    mocked.post(COLLECTION, payload={"id": 5, **SKU, "description": None})
    made = await clarus.external_entities.create(NewExternalEntity(**SKU))

    request = only(mocked, "POST", COLLECTION)
    assert request.json == {"data": {"type": "external_entities", "attributes": SKU}}
    assert request.headers.items() >= HEADERS.items()
    assert request.headers["Idempotency-Key"]
    assert made == ExternalEntity(id=5, **SKU)


async def test_what_is_refused_is_raised(mocked, clarus):
    mocked.post(COLLECTION, status=422, payload=VENDOR_ERRORS)

    with pytest.raises(ValidationError, match="POST /api/external_entities"):
        await clarus.external_entities.create(NewExternalEntity(**SKU))


async def test_update_sends_a_part(mocked, clarus):
    url = f"{COLLECTION}/5"
    mocked.patch(url, payload={"id": 5, **SKU, "description": "A shirt"})
    changed = await clarus.external_entities.update(5, ExternalEntityChanges(description="A shirt"))

    assert only(mocked, "PATCH", url).json == {
        "data": {"id": "5", "type": "external_entities", "attributes": {"description": "A shirt"}}
    }
    assert changed == ExternalEntity(id=5, **SKU, description="A shirt")


async def test_the_list_is_walked_to_its_end(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(NODE, hasNextPage=True, endCursor="c5"))
    mocked.post(GRAPHQL, payload=connection(NODE | {"id": "6"}, hasNextPage=False))
    wanted = ExternalEntityFilter(entity_type="product", integration_id=7)
    rows = [row async for row in clarus.external_entities.list(wanted, page_size=1)]

    assert [row.id for row in rows] == [5, 6]
    assert rows[0] == ROW
    first, second = (request.json["variables"] for request in sent(mocked, "POST", GRAPHQL))
    assert first == {"first": 1, "filter": {"entity_type": {"eq": "product"}, "integration_id": {"eq": 7}}}
    assert second == first | {"after": "c5"}


@pytest.mark.parametrize(
    ("wanted", "operators"),
    [
        ({"reference": "p-1"}, {"external_system_reference1": {"eq": "p-1"}}),
        ({"code": "SKU-1"}, {"code": {"eq": "SKU-1"}}),
        (
            {"reference": "p-1", "entity_type": "product", "integration_id": 7},
            {
                "external_system_reference1": {"eq": "p-1"},
                "entity_type": {"eq": "product"},
                "integration_id": {"eq": 7},
            },
        ),
    ],
)
async def test_find_asks_for_what_is_equal_and_for_no_schema(mocked, clarus, wanted, operators):
    mocked.post(GRAPHQL, payload=connection(NODE))

    assert await clarus.external_entities.find(**wanted) == [ROW]
    assert only(mocked, "POST", GRAPHQL).json["variables"]["filter"] == operators


@pytest.mark.parametrize("wanted", [{}, {"code": ""}, {"integration_id": "7"}, {"reference": 1}])
async def test_nothing_to_look_for_is_refused_before_it_is_sent(mocked, clarus, wanted):
    with pytest.raises(InvalidInputError, match="find: "):
        await clarus.external_entities.find(**wanted)
    assert times(mocked) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda entities: entities.create(SHOP),
        lambda entities: entities.update(5, IntegrationChanges(name="x")),
        lambda entities: entities.update(-1, ExternalEntityChanges(code="x")),
        lambda entities: entities.create(SKU),
    ],
)
async def test_another_resources_records_are_refused(mocked, clarus, call):
    with pytest.raises(InvalidInputError):
        await call(clarus.external_entities)
    assert times(mocked) == 0


async def test_a_filter_of_another_resource_is_refused(clarus):
    with pytest.raises(InvalidInputError, match="list: takes ExternalEntityFilter, not NewIntegration"):
        clarus.external_entities.list(NewIntegration(name="x", integration_type="y"))
