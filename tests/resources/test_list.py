"""``list``: the documented query, its filters as variables, and its pages."""

from datetime import UTC, datetime, timedelta, timezone

import attrs
import pytest

from clarus_async import GraphQLError, IntegrationFilter, IntegrationRow, InvalidInputError, ResponseError
from tests.support.vendor import GRAPHQL, HEADERS, connection, node, only, sent, times

VENDOR_QUERY = (
    "query($filter: IntegrationFilterType, $first: Int, $after: String) { integrations { all(filter: $filter, "
    "first: $first, after: $after) { edges { cursor node { id name integration_provider integration_type status "
    "enabled created_at } } pageInfo { hasNextPage endCursor } } } }"
)
ROW = IntegrationRow(
    id=1,
    name="Shopify Store",
    provider="shopify",
    integration_type="ecommerce",
    status="active",
    is_active=True,
    created_at=datetime(2026, 1, 10, 12, tzinfo=UTC),
)


def more(cursor):
    return {"hasNextPage": True, "endCursor": cursor}


END = {"hasNextPage": False, "endCursor": "z"}


async def rows(listing):
    return [row async for row in listing]


async def test_it_sends_the_documented_query_and_headers(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection())
    await rows(clarus.integrations.list())

    request = only(mocked, "POST", GRAPHQL)
    assert request.headers == HEADERS
    assert set(request.json) == {"query", "variables"}
    assert " ".join(request.json["query"].split()) == VENDOR_QUERY
    assert request.json["variables"] == {"first": 100}


@pytest.mark.parametrize(
    ("wanted", "variable"),
    [
        ({"name": "A"}, {"name": {"eq": "A"}}),
        ({"name": ["A", "B"]}, {"name": {"in": ["A", "B"]}}),
        ({"name": ("A",)}, {"name": {"in": ["A"]}}),
        ({"name_contains": "sho"}, {"name": {"ilike": "sho"}}),
        ({"name": "A", "name_contains": "sho"}, {"name": {"eq": "A", "ilike": "sho"}}),
        ({"provider": "shopify"}, {"integration_provider": {"eq": "shopify"}}),
        ({"provider": ["dhl", "dpd"]}, {"integration_provider": {"in": ["dhl", "dpd"]}}),
        ({"integration_type": "erp"}, {"integration_type": {"eq": "erp"}}),
        ({"status": "active"}, {"status": {"eq": "active"}}),
        ({"is_active": True}, {"enabled": {"eq": True}}),
        ({"is_active": False}, {"enabled": {"eq": False}}),
        (
            {"provider": "shopify", "is_active": True},
            {"integration_provider": {"eq": "shopify"}, "enabled": {"eq": True}},
        ),
    ],
)
async def test_a_filter_travels_as_a_variable(mocked, clarus, wanted, variable):
    mocked.post(GRAPHQL, payload=connection())
    await rows(clarus.integrations.list(IntegrationFilter(**wanted)))

    assert only(mocked, "POST", GRAPHQL).json["variables"] == {"filter": variable, "first": 100}


async def test_a_value_that_looks_like_graphql_stays_a_value(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection())
    await rows(clarus.integrations.list(IntegrationFilter(name='"}) { secrets } #')))

    request = only(mocked, "POST", GRAPHQL).json
    assert " ".join(request["query"].split()) == VENDOR_QUERY
    assert request["variables"]["filter"] == {"name": {"eq": '"}) { secrets } #'}}


async def test_the_page_size_is_asked_for(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection())
    await rows(clarus.integrations.list(page_size=7))

    assert only(mocked, "POST", GRAPHQL).json["variables"] == {"first": 7}


@pytest.mark.parametrize("page_size", [0, -1, 1001, True, 1.5, "10", None])
async def test_a_page_size_out_of_range_is_refused_before_it_is_sent(mocked, clarus, page_size):
    with pytest.raises(InvalidInputError, match="page_size"):
        clarus.integrations.list(page_size=page_size)
    assert times(mocked) == 0


async def test_anything_but_a_filter_is_refused_before_it_is_sent(mocked, clarus):
    with pytest.raises(InvalidInputError, match="IntegrationFilter"):
        clarus.integrations.list({"name": "A"})
    assert times(mocked) == 0


async def test_the_vendors_sample_row_is_read_in_the_vocabulary_of_rest(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node()))

    assert await rows(clarus.integrations.list()) == [ROW]


async def test_an_integer_id_is_read_too(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(id=1)))

    assert await rows(clarus.integrations.list()) == [ROW]


async def test_missing_and_null_fields_are_none(mocked, clarus):
    short = {"id": "1", "name": "A", "created_at": "2026-01-10T12:00:00Z"}
    nulls = dict.fromkeys(["integration_provider", "integration_type", "status", "enabled"])
    mocked.post(GRAPHQL, payload=connection(short, short | nulls))

    one, other = await rows(clarus.integrations.list())
    assert one == other == IntegrationRow(id=1, name="A", created_at=ROW.created_at)


async def test_fields_that_are_new_to_us_are_kept(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(colour="red")))

    [row] = await rows(clarus.integrations.list())
    assert row.extra == {"colour": "red"}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-10T12:00:00Z", datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("2026-01-10T12:00:00.123456Z", datetime(2026, 1, 10, 12, microsecond=123456, tzinfo=UTC)),
        ("2026-01-10T12:00:00.123Z", datetime(2026, 1, 10, 12, microsecond=123000, tzinfo=UTC)),
        ("2026-01-10T13:00:00+01:00", datetime(2026, 1, 10, 13, tzinfo=timezone(timedelta(hours=1)))),
    ],
)
async def test_times_keep_their_timezone(mocked, clarus, text, moment):
    mocked.post(GRAPHQL, payload=connection(node(created_at=text)))

    [row] = await rows(clarus.integrations.list())
    assert (row.created_at, row.created_at.utcoffset()) == (moment, moment.utcoffset())


async def test_an_answer_without_page_info_is_one_page(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(), node(id="2")))

    assert [row.id for row in await rows(clarus.integrations.list())] == [1, 2]
    assert times(mocked) == 1


async def test_pages_are_walked_by_the_end_cursor(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(id="1"), page_info=more("a"), cursors=True))
    mocked.post(GRAPHQL, payload=connection(node(id="2"), page_info=more("b")))
    mocked.post(GRAPHQL, payload=connection(node(id="3"), page_info=END))

    found = await rows(clarus.integrations.list(IntegrationFilter(status="active"), page_size=1))
    assert [row.id for row in found] == [1, 2, 3]
    assert [request.json["variables"] for request in sent(mocked, "POST", GRAPHQL)] == [
        {"first": 1, "filter": {"status": {"eq": "active"}}},
        {"first": 1, "filter": {"status": {"eq": "active"}}, "after": "a"},
        {"first": 1, "filter": {"status": {"eq": "active"}}, "after": "b"},
    ]


async def test_pages_come_one_by_one(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(id="1"), node(id="2"), page_info=more("a")))
    mocked.post(GRAPHQL, payload=connection(page_info=more("b")))
    mocked.post(GRAPHQL, payload=connection(node(id="3"), page_info=END))

    pages = [[row.id for row in page] async for page in clarus.integrations.list().pages()]
    assert pages == [[1, 2], [], [3]]


async def test_a_page_is_not_asked_for_before_it_is_needed(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(id="1"), node(id="2"), page_info=more("a")), repeat=True)
    listing = clarus.integrations.list()
    assert times(mocked) == 0

    assert [(await anext(listing)).id, (await anext(listing)).id] == [1, 2]
    assert times(mocked) == 1


async def test_a_page_info_without_an_end_cursor_is_fine_at_the_end(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(), page_info={"hasNextPage": False}))

    assert await rows(clarus.integrations.list()) == [ROW]


async def test_a_cursor_that_loops_is_an_error(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(), page_info=more("a")))
    mocked.post(GRAPHQL, payload=connection(node(), page_info=more("b")))
    mocked.post(GRAPHQL, payload=connection(node(), page_info=more("a")))

    with pytest.raises(ResponseError) as caught:
        await rows(clarus.integrations.list())
    assert caught.value.pointer == "/data/integrations/all/pageInfo/endCursor"
    assert times(mocked) == 3


@pytest.mark.parametrize("data", [None, {}, {"integrations": None}, {"integrations": {"all": None}}])
async def test_errors_with_or_without_data_are_an_error(mocked, clarus, data):
    mocked.post(GRAPHQL, payload={"data": data, "errors": [{"message": "no"}]})

    with pytest.raises(GraphQLError, match="no"):
        await rows(clarus.integrations.list())


async def test_rows_beside_errors_are_not_handed_out(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node()) | {"errors": [{"message": "half of it is missing"}]})

    with pytest.raises(GraphQLError):
        await anext(clarus.integrations.list())


ALL = "/data/integrations/all"


@pytest.mark.parametrize(
    ("answer", "pointer", "expected"),
    [
        ([], "", "an object"),
        ({}, "/data", "an object"),
        ({"data": None}, "/data", "an object"),
        ({"data": None, "errors": []}, "/data", "an object"),
        ({"data": {}}, "/data/integrations", "an object"),
        ({"data": {"integrations": {"all": []}}}, ALL, "an object"),
        ({"data": {"integrations": {"all": {}}}}, f"{ALL}/edges", "an array"),
        ({"data": {"integrations": {"all": {"edges": [None]}}}}, f"{ALL}/edges/0", "an object"),
        ({"data": {"integrations": {"all": {"edges": [{}]}}}}, f"{ALL}/edges/0/node", "an object"),
        (
            connection(node(id="x")),
            f"{ALL}/edges/0/node/id",
            "an integer id, or one as a string of digits",
        ),
        (connection(node(), page_info=[]), f"{ALL}/pageInfo/hasNextPage", "true or false"),
        (connection(node(), page_info={}), f"{ALL}/pageInfo/hasNextPage", "true or false"),
        (connection(node(), page_info={"hasNextPage": None}), f"{ALL}/pageInfo/hasNextPage", "true or false"),
        (connection(node(), page_info={"hasNextPage": "false"}), f"{ALL}/pageInfo/hasNextPage", "true or false"),
        (connection(node(), page_info={"hasNextPage": True}), f"{ALL}/pageInfo/endCursor", "a cursor"),
        (connection(node(), page_info={"hasNextPage": True, "endCursor": ""}), f"{ALL}/pageInfo/endCursor", "a cursor"),
    ],
)
async def test_an_answer_that_cannot_be_read_says_where(mocked, clarus, answer, pointer, expected):
    mocked.post(GRAPHQL, payload=answer)

    with pytest.raises(ResponseError) as caught:
        await rows(clarus.integrations.list())
    assert (caught.value.pointer, caught.value.expected) == (pointer, expected)
    assert times(mocked) == 1


@pytest.mark.parametrize("odd", [None, {}, {"name": "x"}, node(id=None), node(id="gid://x/1"), node(id=2**63)])
async def test_a_row_that_can_not_be_told_from_others_is_left_out_and_said_so(mocked, clarus, odd, caplog):
    mocked.post(GRAPHQL, payload=connection(node(name="canary"), odd, node(id="2")))

    assert [row.id for row in await rows(clarus.integrations.list())] == [1, 2]
    [record] = [record for record in caplog.records if record.name == "clarus_async" and record.levelname == "WARNING"]
    assert f"1, the first at {ALL}/edges/1/node" in record.getMessage()
    assert "canary" not in record.getMessage()


async def test_an_edge_that_is_null_is_left_out_too(mocked, clarus):
    answer = connection(node())
    answer["data"]["integrations"]["all"]["edges"].append(None)
    mocked.post(GRAPHQL, payload=answer)

    assert [row.id for row in await rows(clarus.integrations.list())] == [1]


@pytest.mark.parametrize("read", [lambda c: rows(c.integrations.list()), lambda c: c.integrations.find(name="A")])
async def test_rows_of_which_none_can_be_read_are_not_none(mocked, clarus, read):
    mocked.post(GRAPHQL, payload=connection(node(id=None), None))

    with pytest.raises(ResponseError):
        await read(clarus)


@pytest.mark.parametrize(
    ("field", "ours", "value"),
    [
        ("name", "name", None),
        ("name", "name", 7),
        ("enabled", "is_active", 1),
        ("enabled", "is_active", "true"),
        ("integration_provider", "provider", 3),
        ("status", "status", {"name": "active"}),
        ("created_at", "created_at", None),
        ("created_at", "created_at", "yesterday"),
        ("created_at", "created_at", "2026-01-10T12:00:00"),
        ("created_at", "created_at", "2026-01-10"),
        ("created_at", "created_at", 1768046400),
    ],
)
async def test_an_odd_field_is_none_and_kept_as_it_came(mocked, clarus, field, ours, value):
    mocked.post(GRAPHQL, payload=connection(node(), node(id="2", **{field: value})))

    first, second = await rows(clarus.integrations.list())
    assert first == ROW
    assert second == attrs.evolve(ROW, id=2, **{ours: None}, extra={} if value is None else {field: value})


async def test_a_full_page_that_does_not_say_that_it_is_the_last_is_not_taken_for_the_list(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(), node(id="2")))

    with pytest.raises(ResponseError, match="does not say whether it ends there"):
        await rows(clarus.integrations.list(page_size=2))


async def test_a_full_page_is_read_on_by_the_cursor_of_its_last_row(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(), node(id="2"), cursors=True))
    mocked.post(GRAPHQL, payload=connection(node(id="3")))

    assert [row.id for row in await rows(clarus.integrations.list(page_size=2))] == [1, 2, 3]
    assert [request.json["variables"] for request in sent(mocked, "POST", GRAPHQL)] == [
        {"first": 2},
        {"first": 2, "after": "c1"},
    ]


async def test_a_full_page_is_read_on_though_its_end_cursor_is_null(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(), page_info=more(None), cursors=True))
    mocked.post(GRAPHQL, payload=connection(node(id="3"), page_info=END))

    assert [row.id for row in await rows(clarus.integrations.list(page_size=1))] == [1, 3]


async def test_a_list_without_ends_that_repeats_itself_ends_in_an_error(mocked, clarus):
    mocked.post(GRAPHQL, payload=connection(node(), cursors=True), repeat=True)

    with pytest.raises(ResponseError, match="repeats a cursor"):
        await rows(clarus.integrations.list(page_size=1))
    assert times(mocked) == 2
