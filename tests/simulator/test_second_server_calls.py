"""What the client promises, against two servers that share no code: the server's own ledger says the same each time."""

from __future__ import annotations

import asyncio

import pytest

from clarus_async import (
    ApiError,
    Applied,
    ConfigurationError,
    ExternalEntity,
    ExternalEntityChanges,
    ExternalEntityFilter,
    GraphQLError,
    IntegrationChanges,
    IntegrationFilter,
    NewExternalEntity,
    NewIntegration,
    NotFoundError,
    OutcomeUnknownError,
    ValidationError,
)
from tests.support.both_servers import (  # noqa: F401  two are fixtures
    add,
    clarus_fixture,
    on_every_server,
    serve,
    server_fixture,
    shop,
)
from tests.support.builders import client_of

EVERYTHING = {
    "name": 'Ünïcode "quoted" \\ 🛒 \u2028 {$x}',
    "integration_type": "erp",
    "provider": "brightpearl",
    "is_active": False,
    "account_id": 2**31,
    "warehouse_id": 0,
    "configuration": {"api_key": "k-1234567", "deep": {"list": [1, 2.5, None, True, {"x": ""}]}, "é": "ü"},
    "external_system_reference1": "ref/1",
    "external_system_reference2": "ref 2",
    "external_system_reference3": "réf&3",
    "string1": "one",
    "string2": "two\ttabs\nlines",
    "string3": "null",
    "string4": "0",
    "string5": "five",
}
# No server shows these in its answer for certain (CLARUS_API.md §1).
UNSHOWN = {"integration_type", "provider"}


class TestCreate:
    async def test_every_attribute_arrives_and_comes_back(self, server, clarus):
        made = await clarus.integrations.create(NewIntegration(**EVERYTHING))

        assert server.stored() == {made.id: EVERYTHING}
        assert {name: getattr(made, name) for name in EVERYTHING.keys() - UNSHOWN} == {
            name: value for name, value in EVERYTHING.items() if name not in UNSHOWN
        }
        assert made.integration_type in {None, "erp"}
        assert made.provider in {None, "brightpearl"}

    async def test_what_is_left_out_is_not_sent(self, server, clarus):
        made = await clarus.integrations.create(NewIntegration(name="Shop", integration_type="shopify"))

        stored = server.stored()[made.id]
        assert {name: value for name, value in stored.items() if name != "is_active"} == {
            "name": "Shop",
            "integration_type": "shopify",
        }
        assert (made.name, made.string1, made.account_id, made.configuration or {}) == ("Shop", None, None, {})

    async def test_a_large_configuration_arrives_whole(self, server, clarus):
        large = {f"key {number}": "x" * 1000 for number in range(300)}
        made = await clarus.integrations.create(shop(configuration=large))
        assert made.configuration == large
        assert server.stored()[made.id]["configuration"] == large

    async def test_many_at_once_are_as_many_records(self, server):
        async with client_of(server, max_connections=8) as clarus:
            made = await asyncio.gather(*(clarus.integrations.create(shop(f"Shop {n}")) for n in range(100)))

        assert {each.id: each.name for each in made} == {i: each["name"] for i, each in server.stored().items()}
        assert len({each.id for each in made}) == len(server.created()) == server.creates() == 100
        assert server.tokens() == 1


class TestUpdate:
    async def test_null_clears_and_what_is_left_out_stays(self, server, clarus):
        made = await clarus.integrations.create(NewIntegration(**EVERYTHING))
        changes = IntegrationChanges(name="New", is_active=True, string1=None, string3="three", configuration={"a": 1})
        changed = await clarus.integrations.update(made.id, changes)

        stored = server.stored()[made.id]
        kept = {k: v for k, v in EVERYTHING.items() if k not in {"name", "is_active", "string1", "string3"}}
        # Whether it merges or replaces is not documented.
        assert stored["configuration"] in ({"a": 1}, EVERYTHING["configuration"] | {"a": 1})
        expected = {**kept, "name": "New", "is_active": True, "string1": None, "string3": "three"}
        assert {**stored, "configuration": None} == {**expected, "configuration": None}
        assert changed.id == made.id
        assert {name: getattr(changed, name) for name in stored.keys() - UNSHOWN} == {
            name: value for name, value in stored.items() if name not in UNSHOWN
        }

    async def test_is_active_can_be_cleared(self, server, clarus):
        (made,) = await add(clarus, shop(is_active=True))
        assert (await clarus.integrations.update(made.id, IntegrationChanges(is_active=None))).is_active is None
        assert server.stored()[made.id]["is_active"] is None
        (row,) = await clarus.integrations.find(name="Shop")
        assert not row.is_active


class TestDeleteAndSynchronize:
    async def test_what_is_deleted_is_gone(self, server, clarus):
        kept, gone = await add(clarus, shop("kept"), shop("gone"))
        assert await clarus.integrations.delete(gone.id) is None

        assert server.stored().keys() == {kept.id}
        assert server.created().keys() == {kept.id, gone.id}
        assert [row.id async for row in clarus.integrations.list()] == [kept.id]

    async def test_each_synchronization_happens_once(self, server, clarus):
        first, second = await add(clarus, shop("a", is_active=True), shop("b", is_active=True))
        for made in (first, second, first):
            assert await clarus.integrations.synchronize(made.id) is None
        assert sorted(server.synchronized()) == [first.id, first.id, second.id]

    @pytest.mark.parametrize("call", ["update", "delete", "synchronize"])
    async def test_what_is_not_there_is_not_found(self, server, clarus, call):
        (gone,) = await add(clarus, shop())
        await clarus.integrations.delete(gone.id)
        arguments = [IntegrationChanges(name="x")] if call == "update" else []
        for missing in (gone.id, 987_654):
            with pytest.raises(NotFoundError) as caught:
                await getattr(clarus.integrations, call)(missing, *arguments)
            assert (caught.value.applied, caught.value.status, caught.value.attempts) == (Applied.NO, 404, 1)
            assert caught.value.errors[0].symbol
            assert caught.value.errors[0].details
            assert caught.value.request_id
        assert (server.stored(), server.synchronized()) == ({}, [])


SHOPS = (
    {"name": "Alpha", "is_active": True},
    {"name": "alphabet", "provider": "xero", "integration_type": "accounting", "is_active": True},
    {"name": "Beta", "provider": "xero", "integration_type": "accounting", "is_active": False},
    {"name": "GAMMA alpha", "provider": "dhl", "integration_type": "carrier", "is_active": True},
    {"name": 'q"{}$ü\\', "integration_type": "custom", "provider": "custom", "is_active": False},
)
QUERY = """query Named($filter: IntegrationFilterType, $first: Int) {
  integrations { all(filter: $filter, first: $first) { edges { node { ...Row } } pageInfo { hasNextPage } } } }
fragment Row on Integration { id title: name }"""


class TestList:
    @pytest.fixture(autouse=True)
    async def shops(self, clarus):
        await add(clarus, *(shop(**each) for each in SHOPS))

    @pytest.mark.parametrize(
        ("wanted", "names"),
        [
            (None, "Alpha alphabet Beta GAMMA Q"),
            ({"name": "Alpha"}, "Alpha"),
            ({"name": "ALPHA"}, ""),
            ({"name": 'q"{}$ü\\'}, "Q"),
            ({"name": ["Beta", "Alpha", "none"]}, "Alpha Beta"),
            ({"name_contains": "ALPHA"}, "Alpha alphabet GAMMA"),
            ({"name_contains": "Ü\\"}, "Q"),
            ({"name": ["Alpha", "Beta"], "name_contains": "bet"}, "Beta"),
            ({"provider": "xero"}, "alphabet Beta"),
            ({"provider": ["dhl", "custom"]}, "GAMMA Q"),
            ({"integration_type": "ecommerce"}, "Alpha"),
            ({"integration_type": ["carrier", "accounting"]}, "alphabet Beta GAMMA"),
            ({"status": "inactive"}, "Beta Q"),
            ({"status": ["active", "broken"]}, "Alpha alphabet GAMMA"),
            ({"is_active": True}, "Alpha alphabet GAMMA"),
            ({"is_active": False}, "Beta Q"),
            ({"is_active": True, "provider": "xero", "name_contains": "a"}, "alphabet"),
        ],
        ids=str,
    )
    async def test_filters_of_the_client(self, server, clarus, wanted, names):
        found = [row async for row in clarus.integrations.list(wanted and IntegrationFilter(**wanted))]
        assert {_short(row.name) for row in found} == set(names.split())
        assert len(found) == len(names.split())
        for row in found:
            stored = server.stored()[row.id]
            assert (row.name, row.provider, row.integration_type, row.is_active) == (
                stored["name"],
                stored["provider"],
                stored["integration_type"],
                stored["is_active"],
            )
            assert row.status == ("active" if stored["is_active"] else "inactive")
            assert row.created_at.utcoffset() is not None

    @pytest.mark.parametrize(
        ("wanted", "names"),
        [
            ({"name": {"like": "alpha"}}, "alphabet GAMMA"),
            ({"name": {"ilike": "alpha", "like": "A"}}, "Alpha GAMMA"),
            ({"name": {"between": ["Alpha", "Beta"]}}, "Alpha Beta"),
            ({"status": {"ilike": "INACT"}}, "Beta Q"),
            ({"integration_provider": {"between": ["d", "e"]}}, "GAMMA"),
            ({"enabled": {"eq": True}, "name": {"in": ["Alpha", "Beta"]}}, "Alpha"),
            ({"name": None, "enabled": {"eq": None}}, "Alpha alphabet Beta GAMMA Q"),
            ({"name": {"in": []}}, ""),
        ],
        ids=str,
    )
    async def test_every_operator_of_the_schema(self, clarus, wanted, names):
        data = await clarus.graphql(QUERY, {"filter": wanted, "first": 50})
        nodes = [edge["node"] for edge in data["integrations"]["all"]["edges"]]
        assert sorted(_short(node["title"]) for node in nodes) == sorted(names.split())

    async def test_find_has_every_record_of_a_name(self, server, clarus):
        (double,) = await add(clarus, shop("Beta", provider="dhl", integration_type="carrier"))
        found = await clarus.integrations.find(name="Beta")
        expected = {i for i, each in server.stored().items() if each["name"] == "Beta"}
        assert {row.id for row in found} == expected
        assert len(found) == len(expected) == 2
        assert [row.id for row in await clarus.integrations.find(name="Beta", provider="dhl")] == [double.id]
        assert await clarus.integrations.find(name="beta") == []


def _short(name):
    return {"GAMMA alpha": "GAMMA", 'q"{}$ü\\': "Q"}.get(name, name)


class TestPages:
    async def test_every_record_comes_once_whatever_the_page_size(self, server, clarus):
        await asyncio.gather(*(clarus.integrations.create(shop(f"Shop {n}", string1="x")) for n in range(103)))
        for size in (10, 103, 1000):
            pages = [page async for page in clarus.integrations.list(page_size=size).pages()]
            rows = [row for page in pages for row in page]
            assert {row.id: row.name for row in rows} == {i: each["name"] for i, each in server.stored().items()}
            assert len(rows) == 103
            assert all(0 < len(page) <= size for page in pages)
        wanted = IntegrationFilter(name_contains="shop 1")
        assert len([row async for row in clarus.integrations.list(wanted, page_size=4)]) == 14

    async def test_what_is_deleted_under_a_cursor_hides_nothing(self, server, clarus):
        await add(clarus, *(shop(f"Shop {n}") for n in range(9)))
        seen = []
        async for page in clarus.integrations.list(page_size=2).pages():
            seen += page
            await clarus.integrations.delete(page[-1].id)
        assert len({row.id for row in seen}) == len(seen) == 9
        assert len(server.stored()) == 4

    async def test_an_empty_list_ends(self, clarus):
        assert [page async for page in clarus.integrations.list().pages() if page] == []


class TestReferences:
    @pytest.mark.parametrize("references", [True, False])
    @on_every_server
    async def test_they_are_searched_where_the_schema_can(self, which, references):
        async with serve(which, references=references) as server, client_of(server) as clarus:
            await add(clarus, *(shop("same", external_system_reference1=f"r{n}") for n in range(3)))
            if references:
                (row,) = await clarus.integrations.find(reference="r1")
                assert server.stored()[row.id]["external_system_reference1"] == row.external_system_reference1 == "r1"
            else:
                with pytest.raises(ConfigurationError, match="reference"):
                    await clarus.integrations.find(reference="r1")


class TestGraphQL:
    async def test_the_connectivity_check(self, server, clarus):
        assert await clarus.ping() is None
        assert server.tokens() == 1

    async def test_a_document_of_one_s_own(self, server, clarus):
        made, _ = await add(clarus, shop("a"), shop("b"))
        document = """
          query A($wanted: IntegrationFilterType, $detail: Boolean = false, $no: Boolean!) {
            __typename
            mine: integrations { all(filter: $wanted, first: 1) { # a comment
              ...Whole pageInfo @skip(if: $no) { endCursor } } }
            literal: integrations { all(filter: {name: {in: ["b"], eq: "b"}}, first: 5) { edges { node { name } } } }
          }
          fragment Whole on IntegrationConnection {
            edges { node { id ... on Integration { name } status @include(if: $detail) } } }
        """
        data = await clarus.graphql(document, {"wanted": {"name": {"eq": "a"}}, "no": True})
        assert data == {
            "__typename": "Query",
            "mine": {"all": {"edges": [{"node": {"id": str(made.id), "name": "a"}}]}},
            "literal": {"all": {"edges": [{"node": {"name": "b"}}]}},
        }

    @pytest.mark.parametrize(
        ("document", "variables"),
        [
            ("{ nothing }", {}),
            ("{ integrations { all { edges { node { colour } } } } }", {}),
            ("{ integrations ", {}),
            ("query($first: Int) { sites { all(first: $first) { edges { node { id } } } } }", {"first": "many"}),
            ("query($first: Int) { sites { all { edges { node { id } } } } }", {"first": 1}),
            ("{ sites { all(first: $first) { edges { node { id } } } } }", {}),
            ("{ integrations }", {}),
            ("{ integrations { all(after: \"nonsense\") { edges { cursor } } } }", {}),
            ("{ ...Missing }", {}),
        ],
        ids=str,
    )  # fmt: skip
    async def test_errors_are_raised_whatever_else_is_answered(self, clarus, document, variables):
        with pytest.raises(GraphQLError) as caught:
            await clarus.graphql(document, variables)
        assert caught.value.errors[0].details
        assert caught.value.attempts == 1

    async def test_there_are_no_mutations(self, server, clarus):
        with pytest.raises((GraphQLError, OutcomeUnknownError)):
            await clarus.graphql("mutation { createIntegration { id } }")
        assert server.created() == {}


class TestTenants:
    async def test_they_see_nothing_of_each_other(self, server, clarus):
        globex = clarus.for_subdomain("globex")
        (ours,) = await add(clarus, shop("same"))
        (theirs,) = await add(globex, shop("same"))

        assert (server.stored().keys(), server.stored("globex").keys()) == ({ours.id}, {theirs.id})
        assert [row.id async for row in globex.integrations.list()] == [theirs.id]
        for call in (globex.integrations.delete, globex.integrations.synchronize):
            with pytest.raises(NotFoundError):
                await call(ours.id)
        with pytest.raises(NotFoundError):
            await globex.integrations.update(ours.id, IntegrationChanges(name="stolen"))
        assert server.stored()[ours.id]["name"] == "same"
        assert server.tokens() == 1

    async def test_an_unknown_one_is_refused(self, server, clarus):
        stranger = clarus.for_subdomain("initech")
        for call in (stranger.ping(), stranger.integrations.create(shop())):
            with pytest.raises(ApiError) as caught:
                await call
            assert (caught.value.status, caught.value.applied) == (server.unknown_tenant, Applied.NO)
            assert caught.value.errors[0].symbol
        await clarus.ping()


# External entities (CLARUS_API.md §5).


@pytest.fixture(name="whose")
async def whose_fixture(clarus):
    """The id of an integration."""
    (made,) = await add(clarus, shop())
    return made.id


def sku(n, whose=None, **attributes):
    given = {"entity_type": "product", "code": f"SKU-{n}", "external_system_reference1": f"p/{n}"}
    return NewExternalEntity(**given | {"integration_id": whose} | attributes)


ENTITY = {
    "entity_type": "shipping_rate",
    "code": 'Ünïcode "quoted" {$x}',
    "external_system_reference1": "ref/1",
    "external_system_reference2": "ref 2",
    "external_system_reference3": "réf&3",
    "description": "null",
}


class TestEntities:
    async def test_every_attribute_arrives_and_comes_back(self, server, clarus, whose):
        made = await clarus.external_entities.create(NewExternalEntity(**ENTITY, integration_id=whose))

        assert server.entities() == {made.id: ENTITY | {"integration_id": whose}}
        extra = made.extra
        assert made == ExternalEntity(id=made.id, **ENTITY, integration_id=whose, extra=extra)

    async def test_what_is_left_out_is_not_sent(self, server, clarus):
        made = await clarus.external_entities.create(sku(1))

        assert server.entities() == {
            made.id: {"entity_type": "product", "code": "SKU-1", "external_system_reference1": "p/1"}
        }

    async def test_null_clears_and_what_is_left_out_stays(self, server, clarus, whose):
        made = await clarus.external_entities.create(sku(1, whose, description="x", external_system_reference2="y"))
        changes = ExternalEntityChanges(code="SKU-2", description=None, integration_id=None)
        changed = await clarus.external_entities.update(made.id, changes)

        assert (changed.id, changed.code, changed.description, changed.integration_id) == (made.id, "SKU-2", None, None)
        assert changed.external_system_reference2 == "y"
        stored = server.entities()[made.id]
        assert (stored["code"], stored["description"], stored["integration_id"]) == ("SKU-2", None, None)

    async def test_many_at_once_are_listed_and_found(self, server, clarus, whose):
        await asyncio.gather(*(clarus.external_entities.create(sku(n, whose)) for n in range(60)))
        await clarus.external_entities.create(sku(7))
        wanted = ExternalEntityFilter(integration_id=whose, entity_type=["product", "carrier"])
        rows = [row async for row in clarus.external_entities.list(wanted, page_size=9)]

        assert {row.code for row in rows} == {f"SKU-{n}" for n in range(60)}
        assert {(row.integration_id, row.integration_name) for row in rows} == {(whose, "Shop")}
        assert len(await clarus.external_entities.find(reference="p/7")) == 2
        (row,) = await clarus.external_entities.find(reference="p/7", integration_id=whose, entity_type="product")
        assert (row.code, row.integration_id) == ("SKU-7", whose)
        several = ExternalEntityFilter(external_system_reference1=["p/1", "p/2", "p/99"], integration_id=[whose, 999])
        assert {row.code async for row in clarus.external_entities.list(several)} == {"SKU-1", "SKU-2"}
        part = ExternalEntityFilter(code_contains="sku-5", integration_name="Shop")
        assert len([row async for row in clarus.external_entities.list(part)]) == 11

    async def test_a_lost_answer_is_looked_up(self, server, clarus, whose):
        server.lose("after", "after")
        made = [await clarus.external_entities.create(sku(n, whose)) for n in range(2)]
        assert list(server.entities()) == [one.id for one in made]

    async def test_what_can_not_be_stored_is_refused(self, server, clarus):
        for wrong in ({"entity_type": "teapot"}, {"whose": 999}):
            with pytest.raises(ValidationError):
                await clarus.external_entities.create(sku(1, **wrong))
        with pytest.raises(NotFoundError):
            await clarus.external_entities.update(999, ExternalEntityChanges(code="x"))
        assert server.entities() == {}

    async def test_a_tenant_has_its_own(self, server, clarus):
        made = await clarus.external_entities.create(sku(1))
        async with client_of(server) as another:
            globex = another.for_subdomain("globex")
            assert [row async for row in globex.external_entities.list()] == []
            with pytest.raises(NotFoundError):
                await globex.external_entities.update(made.id, ExternalEntityChanges(code="x"))
