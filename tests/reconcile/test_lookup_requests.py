"""A create whose answer is lost: what is asked of the list, and what of its answer counts."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from clarus_async import (
    AccessToken,
    ClarusClient,
    NewIntegration,
    OutcomeUnknownError,
    Timeouts,
)
from tests.resources.test_find import schema
from tests.support.vendor import COLLECTION, FAST, GRAPHQL, SHOP, connection, node, sent

LAST = {"hasNextPage": False, "endCursor": None}
REFERENCED = NewIntegration(name="A", integration_type="x", external_system_reference1="r1")


@pytest.fixture
async def clarus():
    timeouts = Timeouts(connect=0.01, attempt=0.01, settle=0.01, deadline=2.0)
    async with ClarusClient("acme", AccessToken("token-1"), retry=FAST, timeouts=timeouts) as client:
        yield client


def date():
    return {"Date": format_datetime(datetime.now(UTC), usegmt=True)}


def lost(mocked):
    mocked.post(COLLECTION, status=500, headers=date())


def fresh(**fields):
    return node(created_at=datetime.now(UTC).isoformat(), **fields)


async def test_it_asks_for_the_exact_name(mocked, clarus):
    lost(mocked)
    mocked.post(GRAPHQL, payload=connection(fresh(id="9"), page_info=LAST))

    assert (await clarus.integrations.create(SHOP)).id == 9
    [look] = sent(mocked, "POST", GRAPHQL)
    assert look.json["variables"] == {"filter": {"name": {"eq": "Shopify Store"}}, "first": 100}
    assert "external_system_reference1" not in look.json["query"]


async def test_it_asks_for_the_reference_where_the_schema_can(mocked, clarus):
    lost(mocked)
    mocked.post(GRAPHQL, payload=schema())
    mocked.post(GRAPHQL, payload=connection(fresh(id="9", external_system_reference1="r1"), page_info=LAST))

    assert (await clarus.integrations.create(REFERENCED)).id == 9
    _, look = sent(mocked, "POST", GRAPHQL)
    assert look.json["variables"] == {"filter": {"external_system_reference1": {"eq": "r1"}}, "first": 100}
    assert "external_system_reference1" in look.json["query"]


async def test_it_reads_the_list_to_its_end(mocked, clarus):
    lost(mocked)
    mocked.post(GRAPHQL, payload=connection(page_info={"hasNextPage": True, "endCursor": "a"}))
    mocked.post(GRAPHQL, payload=connection(fresh(id="9"), page_info=LAST))

    assert (await clarus.integrations.create(SHOP)).id == 9
    assert [look.json["variables"].get("after") for look in sent(mocked, "POST", GRAPHQL)] == [None, "a"]


async def test_what_is_returned_is_what_was_sent_and_what_the_list_says(mocked, clarus):
    lost(mocked)
    mocked.post(GRAPHQL, payload=connection(fresh(id="9", enabled=False), page_info=LAST))

    shop = await clarus.integrations.create(
        NewIntegration(name="Shopify Store", integration_type="shopify", string1="x", configuration={"api_key": "k"})
    )
    assert (shop.id, shop.is_active, shop.integration_type) == (9, False, "shopify")
    assert (shop.string1, shop.configuration) == ("x", {"api_key": "k"})


@pytest.mark.parametrize(
    "answer",
    [
        {"data": {"integrations": {"all": {"edges": []}}}},
        connection(page_info=LAST) | {"errors": [{"message": "half of it"}]},
        {"data": None},
        {"data": {"integrations": {"all": {"edges": [{"node": None}], "pageInfo": LAST}}}},
    ],
    ids=["no pageInfo", "errors beside data", "no data", "no row"],
)
async def test_an_answer_that_is_not_whole_is_no_proof_that_it_is_absent(mocked, clarus, answer):
    lost(mocked)
    mocked.post(GRAPHQL, payload=answer, repeat=True)

    with pytest.raises(OutcomeUnknownError, match="looking it up failed"):
        await clarus.integrations.create(SHOP)
    assert len(sent(mocked, "POST", COLLECTION)) == 1
