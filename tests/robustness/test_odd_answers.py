"""Answers of servers that nobody here wrote: what is odd about one record, one page or one query concerns no other."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarus_async import (
    AccessToken,
    Applied,
    ClarusClient,
    ClarusError,
    GraphQLError,
    NewIntegration,
    OutcomeStatus,
    RateLimitedError,
    RetryPolicy,
    Timeouts,
)
from tests.support.builders import shops
from tests.support.strategies import quick
from tests.support.stub_server import Reply, StubServer, reply
from tests.support.virtual import now, virtual
from tests.support.virtual_world import inline_journal  # noqa: F401  a fixture

CREATED, ADOPTED, FAILED, CONFLICT = (
    OutcomeStatus.CREATED, OutcomeStatus.ADOPTED, OutcomeStatus.FAILED, OutcomeStatus.CONFLICT,
)  # fmt: skip
REFERENCE = "external_system_reference1"


def introspected(*, references: bool = True) -> Reply:
    """A schema with the reference, or without."""
    reference = [{"name": REFERENCE, "type": {"name": "S"}}] if references else []
    operators = [{"name": name, "type": {"name": "String"}} for name in ("eq", "in")]
    every = {"name": "all", "type": {"name": "C"}, "args": [{"name": "filter", "type": {"name": "F"}}]}
    types = [
        {"name": "Q", "fields": [{"name": "integrations", "type": {"name": "I"}}]},
        {"name": "I", "fields": [every]},
        {"name": "C", "fields": [{"name": "edges", "type": {"name": "E"}}]},
        {"name": "E", "fields": [{"name": "node", "type": {"name": "N"}}]},
        {"name": "N", "fields": reference},
        {"name": "F", "inputFields": reference},
        {"name": "S", "inputFields": operators},
    ]
    return reply({"data": {"__schema": {"queryType": {"name": "Q"}, "types": types}}})


def exactly(value: str) -> str:
    return value


class Catalog(StubServer):
    """A list of rows, filtered and in pages; what is created is added to it.

    Args:
        rows: what is there, as the list shows it.
        refuse: answers a list query instead, given its variables.
        alike: what values have in common that are equal to the server.
        spoil: changes a page before it goes out, given its variables.
    """

    def __init__(
        self,
        *rows: dict[str, Any],
        refuse: Callable[[dict[str, Any]], Reply | None] = lambda variables: None,
        alike: Callable[[str], str] = exactly,
        spoil: Callable[[dict[str, Any], dict[str, Any]], None] = lambda document, variables: None,
    ) -> None:
        super().__init__(self._answered)
        self.rows = list(rows)
        self.introspections: list[Reply] = []
        self.queries: list[dict[str, Any]] = []
        self.made: list[str] = []
        self._refuse = refuse
        self._alike = alike
        self._spoil = spoil

    def _answered(self, asked: Any) -> Reply | None:
        if asked.path != "/graphql":
            attributes = orjson.loads(asked.body)["data"]["attributes"]
            self.made.append(attributes.get(REFERENCE) or attributes["name"])
            number = 1000 + len(self.made)
            self.rows.append(row(number, attributes["name"], attributes.get(REFERENCE)))
            return reply({"data": {"id": number, "attributes": attributes}})
        document = orjson.loads(asked.body)
        if "__schema" in document["query"]:
            return self.introspections.pop(0) if self.introspections else introspected()
        self.queries.append(document["variables"])
        return self._refuse(document["variables"]) or self._page(document["variables"])

    def _page(self, variables: dict[str, Any]) -> Reply:
        def wanted(node: dict[str, Any]) -> bool:
            for field, operators in variables.get("filter", {}).items():
                values = {self._alike(value) for value in operators.get("in", [operators.get("eq")])}
                has = node.get("_" + field, node.get(field))
                if has is None or self._alike(has) not in values:
                    return False
            return True

        found = [node for node in self.rows if wanted(node)]
        start = int(variables.get("after", 0))
        rows = found[start : start + variables["first"]]
        edges: list[Any] = [
            {"cursor": str(start + i + 1), "node": {name: node[name] for name in node if name[0] != "_"}}
            for i, node in enumerate(rows)
        ]
        end = start + len(rows)
        info = {"hasNextPage": end < len(found), "endCursor": str(end)}
        document = {"data": {"integrations": {"all": {"edges": edges, "pageInfo": info}}}}
        self._spoil(document["data"]["integrations"]["all"], variables)
        return reply(document)


class Losing(Catalog):
    """Makes what it is asked for, and its answer is lost; ``spoilt`` is what the list shows otherwise of the row."""

    def __init__(self, *rows: dict[str, Any], spoilt: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(*rows, **options)
        self._spoilt = spoilt or {}

    def _answered(self, asked: Any) -> Reply | None:
        answer = super()._answered(asked)
        if asked.path == "/graphql":
            return answer
        self.rows[-1] |= self._spoilt
        return None


def row(number: int, name: str, reference: str | None = None, **more: Any) -> dict[str, Any]:
    """A row; a name that begins with an underscore is what the server searches by, whatever it shows."""
    return {"id": str(number), "name": name, REFERENCE: reference, "created_at": "2026-01-10T12:00:00Z"} | more


def there(count: int) -> list[dict[str, Any]]:
    return [row(n + 1, f"Shop {n}", f"ref-{n}") for n in range(count)]


def client_of(server: StubServer, **options: Any) -> ClarusClient:
    options.setdefault("retry", RetryPolicy(base=0.001, cap=0.01))
    return ClarusClient("acme", AccessToken("token"), base_url=server.url, **options)


async def outcomes(clarus: ClarusClient, records: list[NewIntegration], **options: Any) -> dict[str, Any]:
    return {outcome.key: outcome async for outcome in clarus.integrations.provision(records, **options)}


class TestOneOddRow:
    """Sixty records are there, and what the list tells of one of them is odd."""

    @pytest.mark.parametrize(
        "odd",
        [
            {"created_at": None},
            {"created_at": "2026-01-10T12:00:00"},
            {"created_at": "2026-01-10"},
            {"created_at": "Sat, 10 Jan 2026 12:00:00 GMT"},
            {"created_at": "2026-01-10t12:00:00z"},
            {"created_at": 1768046400},
            {"enabled": 1},
            {"enabled": "true"},
            {"name": None},
            {"id": 8},
            {"status": {"name": "active"}},
        ],
        ids=str,
    )
    @virtual
    async def test_what_has_its_id_and_its_key_is_adopted_like_any_other(self, odd):
        rows = there(60)
        rows[7] |= odd
        async with Catalog(*rows) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(60))
            assert {outcome.status for outcome in known.values()} == {ADOPTED}
            assert known["ref-7"].id == 8
            assert now() < 1.0
            assert len(server.queries) == 2

    @pytest.mark.parametrize(
        "odd",
        [
            {"id": None, "_id": 8},
            {"id": "gid://x/8"},
            {"id": 2**63},
            {REFERENCE: None, f"_{REFERENCE}": "ref-7"},
            {REFERENCE: 7, f"_{REFERENCE}": "ref-7"},
        ],
        ids=str,
    )
    @virtual
    async def test_what_can_not_be_told_apart_costs_only_its_own_record_and_no_time(self, odd):
        rows = there(60)
        rows[7] |= odd
        async with Catalog(*rows) as server, client_of(server) as clarus:
            known = await outcomes(clarus, [*shops(60), NewIntegration(name="New", integration_type="shopify")])
            failed = known.pop("ref-7")
            assert failed.status is FAILED
            assert "can't be read" in failed.error.message
            assert failed.error.applied is Applied.NO
            assert known.pop("New").status is CREATED
            assert {outcome.status for outcome in known.values()} == {ADOPTED}
            assert len(known) == 59
            assert now() < 1.0
            assert server.made == ["New"]
            # Fifty keys are halved until the one is alone.
            assert len(server.queries) <= 3 + 2 * 6

    @pytest.mark.parametrize("spoilt", [None, {}, {"node": None}, {"cursor": "8"}, 7], ids=str)
    @virtual
    async def test_an_edge_that_is_none_costs_only_its_own_record(self, spoilt):
        def spoil(page, variables):
            page["edges"] = [
                spoilt if edge["node"][REFERENCE] == "ref-7" else edge for edge in page["edges"]
            ]  # fmt: skip

        async with Catalog(*there(60), spoil=spoil) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(60))
            assert [key for key, outcome in known.items() if outcome.status is not ADOPTED] == ["ref-7"]
            assert server.made == []
            assert now() < 1.0

    @virtual
    async def test_a_field_that_must_not_be_null_and_is_costs_only_its_own_record(self):
        def refuse(variables):
            values = variables["filter"][REFERENCE]
            if "ref-7" not in values.get("in", [values.get("eq")]):
                return None
            path = ["integrations", "all", "edges", 0, "node", "created_at"]
            return reply({"data": None, "errors": [{"message": "Cannot return null for non-nullable", "path": path}]})

        async with Catalog(*there(60), refuse=refuse) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(60))
            assert [key for key, outcome in known.items() if outcome.status is not ADOPTED] == ["ref-7"]
            assert "non-nullable" in known["ref-7"].error.message
            assert now() < 1.0

    @virtual
    async def test_what_is_in_doubt_is_not_sent_again_while_its_row_can_not_be_read(self):
        async with Losing(spoilt={"id": None}) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(2))
            assert {outcome.status for outcome in known.values()} == {OutcomeStatus.UNRESOLVED}
            assert sorted(server.made) == ["ref-0", "ref-1"]

    @virtual
    async def test_what_does_not_tell_when_it_was_created_is_named_and_not_adopted(self):
        async with Losing(spoilt={"created_at": None}) as server, client_of(server) as clarus:
            with pytest.raises(ClarusError) as caught:
                await clarus.integrations.create(shops(1)[0])
            assert caught.value.found == (1001,)
            assert server.made == ["ref-0"]

    @virtual
    async def test_a_run_tells_it_from_what_was_there_before(self):
        async with Losing(spoilt={"created_at": None}) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(2))
            assert {outcome.status for outcome in known.values()} == {ADOPTED}
            assert sorted(server.made) == ["ref-0", "ref-1"]

    @pytest.mark.usefixtures("inline_journal")
    @virtual
    async def test_a_review_says_what_it_can_not_tell(self, tmp_path):
        async with Losing() as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(2), journal=tmp_path / "run.db")
            assert {outcome.status for outcome in known.values()} == {ADOPTED}
            server.rows[0]["id"] = None
            reviewed = {outcome.key: outcome async for outcome in clarus.integrations.review(tmp_path / "run.db")}
            odd = reviewed.pop(server.made[0])
            assert (odd.status, odd.id) == (OutcomeStatus.UNRESOLVED, 1001)
            assert "can't be read" in odd.error.message
            assert [outcome.status for outcome in reviewed.values()] == [ADOPTED]
            server.rows[0]["id"] = "1001"
            reviewed = {outcome.key: outcome async for outcome in clarus.integrations.review(tmp_path / "run.db")}
            assert {outcome.status for outcome in reviewed.values()} == {ADOPTED}


ROWS = {
    "absent": None,
    "there": {},
    "no time": {"created_at": None},
    "odd time": {"created_at": [1]},
    "odd name": {"name": {"first": "x"}},
    "no id": {"id": None},
    "odd id": {"id": [8]},
    "no reference": {REFERENCE: None},
}


class TestAnyRows:
    @given(st.lists(st.sampled_from([*ROWS]), min_size=1, max_size=12))
    @settings(quick, max_examples=25)
    def test_each_record_ends_as_its_own_row_would_have_it(self, kinds):
        rows = []
        for n, kind in enumerate(kinds):
            if (odd := ROWS[kind]) is not None:
                rows.append(row(n + 1, f"Shop {n}", f"ref-{n}", **{f"_{REFERENCE}": f"ref-{n}"}) | odd)

        @virtual
        async def check():
            async with Catalog(*rows) as server, client_of(server) as clarus:
                known = await outcomes(clarus, shops(len(kinds)))
                for n, kind in enumerate(kinds):
                    expected = {"absent": CREATED, "no id": FAILED, "odd id": FAILED, "no reference": FAILED}
                    assert known[f"ref-{n}"].status is expected.get(kind, ADOPTED), kind
                assert sorted(server.made) == sorted(f"ref-{n}" for n, kind in enumerate(kinds) if kind == "absent")
                assert now() < 1.0

        check()


class TestWithoutPageInfo:
    @staticmethod
    def without(page, variables):
        del page["pageInfo"]

    @virtual
    async def test_nothing_is_taken_for_absent_that_is_not_proved_to_be(self):
        async with Catalog(spoil=self.without) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(3))
            assert {outcome.status for outcome in known.values()} == {FAILED}
            assert server.made == []

    @virtual
    async def test_a_look_up_reads_on_until_there_is_no_row(self):
        async with Catalog(*there(3), spoil=self.without) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(4))
            assert [known[f"ref-{n}"].status for n in range(4)] == [ADOPTED, ADOPTED, ADOPTED, CREATED]
            assert [query.get("after") for query in server.queries] == [None, "3"]

    @virtual
    async def test_a_look_up_whose_rows_have_no_cursor_proves_nothing(self):
        def spoil(page, variables):
            del page["pageInfo"]
            for edge in page["edges"]:
                del edge["cursor"]

        async with Catalog(*there(3), spoil=spoil) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(4))
            assert {outcome.status for outcome in known.values()} == {FAILED}
            assert server.made == []


COSTS_TOO_MUCH = {
    "shopify": lambda n: {"message": f"Query cost is {n}", "extensions": {"code": "MAX_COST_EXCEEDED"}},
    "github": lambda n: {
        "type": "EXCESSIVE_PAGINATION",
        "message": f"Requesting {n} records exceeds the `first` limit",
    },
    "graphql-ruby": lambda n: {"message": f"Field 'all' has complexity of {n}, which exceeds max complexity of 20"},
    "in words": lambda n: {"message": "first must be at most 20"},
}


def costly(most: int, error: Callable[[int], dict[str, Any]], status: int = 200) -> Callable[[dict[str, Any]], Any]:
    def refuse(variables: dict[str, Any]) -> Reply | None:
        return reply({"errors": [error(variables["first"])]}, status) if variables["first"] > most else None

    return refuse


class TestWhatCostsTooMuch:
    @pytest.mark.parametrize("status", [200, 400])
    @pytest.mark.parametrize("kind", COSTS_TOO_MUCH)
    @virtual
    async def test_pages_shrink_at_once_and_stay_small(self, kind, status):
        refuse = costly(20, COSTS_TOO_MUCH[kind], status)
        async with Catalog(*there(60), refuse=refuse) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(61))
            assert [outcome.status for outcome in known.values()].count(ADOPTED) == 60
            assert known["ref-60"].status is CREATED
            sizes = [query["first"] for query in server.queries]
            assert sizes.count(100) <= 2
            assert set(sizes) == {100, 50, 25, 12}
            server.queries.clear()
            assert len([found async for found in clarus.integrations.list()]) == 61
            assert {query["first"] for query in server.queries} == {12}
            assert now() < 1.0

    @virtual
    async def test_a_page_size_that_was_given_shrinks_too(self):
        refuse = costly(3, COSTS_TOO_MUCH["in words"])
        async with Catalog(*there(7), refuse=refuse) as server, client_of(server) as clarus:
            assert len([found async for found in clarus.integrations.list(page_size=1000)]) == 7
            assert [query["first"] for query in server.queries][:10] == [1000, 500, 250, 125, 62, 31, 15, 7, 3, 3]
            assert len([found async for found in clarus.integrations.list(page_size=2)]) == 7

    @virtual
    async def test_what_is_refused_at_its_smallest_is_the_servers_error_and_ends_a_run(self):
        refuse = costly(0, COSTS_TOO_MUCH["shopify"])
        async with Catalog(*there(7), refuse=refuse) as server, client_of(server) as clarus:
            with pytest.raises(GraphQLError, match="MAX_COST_EXCEEDED"):
                await clarus.integrations.find(name="Shop 1")
            assert [query["first"] for query in server.queries] == [100, 50, 25, 12, 6, 3, 1]
            with pytest.raises(GraphQLError, match="MAX_COST_EXCEEDED"):
                await outcomes(clarus, shops(3))
            assert now() < 1.0

    @virtual
    async def test_a_query_of_many_keys_is_cut_where_that_is_what_costs(self):
        def refuse(variables):
            keys = variables["filter"][REFERENCE].get("in", ())
            return reply({"errors": [{"message": "too many values: the maximum is 20"}]}) if len(keys) > 20 else None

        async with Catalog(*there(120), refuse=refuse) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(120))
            assert {outcome.status for outcome in known.values()} == {ADOPTED}
            sizes = [len(query["filter"][REFERENCE].get("in", "1")) for query in server.queries]
            assert all(size <= 50 for size in sizes)
            assert sizes[-1] <= 13
            assert now() < 1.0

    @virtual
    async def test_what_is_refused_for_now_does_not_shrink(self):
        answers = [reply({"errors": [{"message": "too complex for now", "extensions": {"code": "THROTTLED"}}]})]

        def refuse(variables):
            return answers.pop() if answers else None

        async with Catalog(*there(3), refuse=refuse) as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(3))
            assert {outcome.status for outcome in known.values()} == {ADOPTED}
            assert [query["first"] for query in server.queries] == [100, 100]


REFUSED = {
    "apollo": (200, {"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}),
    "apollo, 400": (400, {"message": "PersistedQueryNotSupported"}),
    "yoga": (200, {"message": "PersistedQueryOnly"}),
    "in words": (200, {"message": "Only trusted documents are allowed"}),
    "forbidden": (200, {"message": "no", "extensions": {"code": "FORBIDDEN"}, "path": ["integrations"]}),
    "not valid": (200, {"message": "Cannot query field 'enabled' on type 'Integration'."}),
}


class TestWhatIsRefusedForGood:
    @pytest.mark.parametrize("existing", ["adopt", "ignore"])
    @pytest.mark.parametrize("kind", REFUSED)
    @virtual
    async def test_a_run_is_ended_at_once_with_the_servers_reason(self, kind, existing):
        status, error = REFUSED[kind]

        refused = reply({"errors": [error]}, status)
        async with Losing(refuse=lambda variables: refused) as server, client_of(server) as clarus:
            server.introspections = [refused]
            with pytest.raises(ClarusError, match=error["message"][:15]):
                await outcomes(clarus, shops(300), existing=existing, concurrency=2)
            assert now() < 10.0
            assert len(server.queries) <= 6

    @virtual
    async def test_what_refuses_a_create_ends_no_run(self):
        # The same words, of one record.
        class Refusing(Catalog):
            def _answered(self, asked):
                if asked.path == "/graphql":
                    return super()._answered(asked)
                return reply({"errors": [{"code": 7, "symbol": "bad", "details": "its name is too complex"}]}, 422)

        async with Refusing() as server, client_of(server) as clarus:
            known = await outcomes(clarus, shops(5))
            assert {outcome.status for outcome in known.values()} == {FAILED}
            assert len(known) == 5


MUTATION = "mutation($id: ID!) { createShop(id: $id) { id } }"


class TestMutations:
    @pytest.mark.parametrize(
        ("answer", "applied"),
        [
            ({"errors": [{"message": "Syntax Error: Unexpected Name"}]}, Applied.NO),
            ({"errors": [{"message": "x", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}, Applied.NO),
            ({"errors": [{"message": "x", "extensions": {"code": "BAD_USER_INPUT"}}]}, Applied.NO),
            ({"errors": [{"message": "x", "extensions": {"code": "BAD_USER_INPUT"}}], "data": None}, Applied.MAYBE),
            ({"errors": [{"message": "x", "path": ["createShop"]}], "data": None}, Applied.MAYBE),
            ({"errors": [{"message": "Internal server error"}]}, Applied.MAYBE),
        ],
    )
    @virtual
    async def test_an_error_says_whether_something_was_executed(self, answer, applied):
        async with StubServer(lambda asked: reply(answer)) as server, client_of(server) as clarus:
            with pytest.raises(GraphQLError) as caught:
                await clarus.graphql(MUTATION, {"id": "1"})
            assert caught.value.applied is applied
            assert len(server.asked) == 1

    @virtual
    async def test_a_refusal_by_status_executes_nothing(self):
        headers = ("Content-Type: application/graphql-response+json",)
        body = orjson.dumps({"errors": [{"message": "Syntax Error"}]})
        async with StubServer(lambda asked: Reply(400, body, headers)) as server, client_of(server) as clarus:
            with pytest.raises(ClarusError, match="Syntax Error") as caught:
                await clarus.graphql(MUTATION, {"id": "1"})
            assert caught.value.applied is Applied.NO


def without_case(value: str) -> str:
    return value.casefold()


def as_a_collation(value: str) -> str:
    """As MySQL's utf8mb4_0900_ai_ci compares, and a trim before."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", value).casefold())
    return "".join(c for c in plain if unicodedata.category(c) != "Mn").strip()


def both(one: str, other: str) -> list[NewIntegration]:
    return [
        NewIntegration(name=name, integration_type="x", external_system_reference1=name)
        for name in (one, other, "else")
    ]


PAIRS = [
    ("SHOP-1", "shop-1"),
    ("shop-1 ", "shop-1"),
    ("caf\u00e9", "cafe\u0301"),
    ("caf\u00e9", "cafe"),
    ("\ufb01sch", "fisch"),
    ("stra\u00dfe", "STRASSE"),
]


class TestKeysThatTheServerTakesForEqual:
    @pytest.mark.parametrize(("one", "other"), PAIRS)
    @virtual
    async def test_each_is_asked_alone_and_none_is_stored_twice_nor_taken_for_the_other(self, one, other):
        server = Catalog(row(1, one, one), alike=as_a_collation)
        async with server, client_of(server) as clarus:
            known = await outcomes(clarus, both(one, other))
            assert (known[one].status, known[one].id) == (ADOPTED, 1)
            assert known[other].status is CONFLICT
            assert known[other].others == (1,)
            assert "takes the reference of another record for equal" in known[other].error.message
            assert server.made == ["else"]
            for query in server.queries:
                assert not {one, other} <= set(query["filter"][REFERENCE].get("in", ()))

    @pytest.mark.parametrize(("one", "other"), PAIRS)
    @virtual
    async def test_a_server_that_tells_them_apart_gets_both(self, one, other):
        async with Catalog() as server, client_of(server) as clarus:
            known = await outcomes(clarus, both(one, other))
            assert {outcome.status for outcome in known.values()} == {CREATED}
            assert sorted(server.made) == sorted([one, other, "else"])
            known = await outcomes(clarus, both(one, other))
            assert {outcome.status for outcome in known.values()} == {ADOPTED}

    @virtual
    async def test_the_same_by_name(self):
        server = Catalog(row(1, "SHOP"), alike=without_case)
        server.introspections = [introspected(references=False)]
        async with server, client_of(server) as clarus:
            known = await outcomes(clarus, [NewIntegration(name=n, integration_type="x") for n in ("shop", "SHOP")])
            assert {outcome.status for outcome in known.values()} == {CONFLICT}
            assert server.made == []

    @virtual
    async def test_a_name_that_is_alone_is_found_in_another_case(self):
        async with Catalog(row(1, "SHOP"), alike=without_case) as server, client_of(server) as clarus:
            known = await outcomes(clarus, [NewIntegration(name="shop", integration_type="x")])
            assert (known["shop"].status, known["shop"].id) == (ADOPTED, 1)

    @virtual
    async def test_where_both_are_there_each_has_its_own(self):
        server = Catalog(row(1, "SHOP-1", "SHOP-1"), row(2, "shop-1", "shop-1"), alike=without_case)
        async with server, client_of(server) as clarus:
            known = await outcomes(clarus, both("SHOP-1", "shop-1"))
            assert (known["SHOP-1"].id, known["shop-1"].id) == (1, 2)

    @virtual
    async def test_what_is_equal_in_no_known_way_is_no_other_records_either(self):
        def numbered(value):
            return value.translate(str.maketrans("-_", "  "))

        server = Catalog(row(1, "shop_1", "shop_1"), alike=numbered)
        async with server, client_of(server) as clarus:
            known = await outcomes(clarus, both("shop-1", "other"))
            assert (known["shop-1"].status, known["shop-1"].others) == (CONFLICT, (1,))
            assert sorted(server.made) == ["else", "other"]

    @virtual
    async def test_a_create_in_doubt_does_not_adopt_what_is_only_equal_to_the_server(self):
        class Losing(Catalog):
            def _answered(self, asked):
                if asked.path == "/graphql":
                    return super()._answered(asked)
                self.rows = [row(1, "shop-1", "shop-1", created_at="2126-01-10T12:00:00Z")]
                return None

        async with Losing(alike=without_case) as server, client_of(server) as clarus:
            with pytest.raises(ClarusError) as caught:
                await clarus.integrations.create(both("SHOP-1", "x")[0])
            assert caught.value.found == (1,)


class TestWhatIsKeptOfASchema:
    @pytest.mark.parametrize(
        "first",
        [
            Reply(200, introspected().body[:-40]),
            Reply(500),
            Reply(503),
            reply({"data": {}}),
            reply({"errors": [{"message": "Something went wrong"}]}),
            Reply(200, b"<html>try later"),
        ],
        ids=["cut", "500", "503", "no schema", "went wrong", "html"],
    )
    @virtual
    async def test_a_run_waits_for_a_definite_answer(self, first):
        server = Catalog(*there(3))
        async with server, client_of(server) as clarus:
            server.introspections = [first] * 5
            known = await outcomes(clarus, shops(3))
            assert {outcome.matched_by for outcome in known.values()} == {"reference"}
            assert not server.introspections

    @pytest.mark.parametrize(
        "first",
        [
            introspected(references=False),
            reply({"data": {"__schema": None}}),
            reply({"errors": [{"message": "introspection is disabled"}]}),
            reply({"errors": [{"message": "no", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}, 400),
        ],
    )
    @virtual
    async def test_a_definite_no_is_kept(self, first):
        server = Catalog(*there(3))
        async with server, client_of(server) as clarus:
            server.introspections = [first]
            for _ in range(2):
                known = await outcomes(clarus, shops(3))
                assert {outcome.matched_by for outcome in known.values()} == {"name"}
            assert not server.introspections

    @virtual
    async def test_a_create_in_doubt_is_looked_up_by_what_is_certain(self):
        server = Losing(
            row(1, "Shop 0", "other", created_at="2126-01-10T12:00:00Z"), spoilt={"created_at": "2126-01-10T12:00:00Z"}
        )
        async with server, client_of(server) as clarus:
            server.introspections = [Reply(200, b"{")] * 3
            with pytest.raises(ClarusError) as caught:
                await clarus.integrations.create(shops(1)[0])
            # By its name, the other one would be in question, too.
            assert caught.value.found == (1001,)


class TestAPausedTenant:
    """It was told to come back after longer than a call's deadline."""

    def paused(self, seconds):
        class Paused(Catalog):
            def _answered(self, asked):
                if asked.path == "/api/integrations/1":
                    return reply({}, 429, f"Retry-After: {seconds}")
                return super()._answered(asked)

        return Paused(*there(2))

    @pytest.mark.parametrize("existing", ["adopt", "ignore"])
    @pytest.mark.parametrize("journal", [False, True])
    @pytest.mark.usefixtures("inline_journal")
    @virtual
    async def test_a_run_with_references_waits(self, existing, journal, tmp_path):
        async with self.paused(200) as server, client_of(server) as clarus:
            with pytest.raises(RateLimitedError):
                await clarus.integrations.delete(1)
            began = now()
            options = {"journal": tmp_path / "run.db"} if journal else {}
            known = await outcomes(clarus, shops(2), existing=existing, **options)
            assert {outcome.status for outcome in known.values()} == {ADOPTED if existing == "adopt" else CREATED}
            assert 199 <= now() - began < 210

    @virtual
    async def test_a_single_call_says_so_at_once(self):
        async with self.paused(200) as server, client_of(server) as clarus:
            with pytest.raises(RateLimitedError):
                await clarus.integrations.delete(1)
            began = now()
            with pytest.raises(RateLimitedError):
                await clarus.integrations.find(reference="ref-1")
            assert now() == began

    @virtual
    async def test_a_pause_longer_than_max_wait_ends_the_run(self):
        async with self.paused(400) as server, client_of(server) as clarus:
            with pytest.raises(RateLimitedError):
                await clarus.integrations.delete(1)
            with pytest.raises(RateLimitedError):
                await outcomes(clarus, shops(2))

    @virtual
    async def test_runs_that_wait_for_one_answer_have_no_deadline_either(self):
        async with self.paused(200) as server, client_of(server, timeouts=Timeouts(deadline=60.0)) as clarus:
            with pytest.raises(RateLimitedError):
                await clarus.integrations.delete(1)
            several = await asyncio.gather(*(outcomes(clarus, shops(2)) for _ in range(3)))
            assert all(len(known) == 2 for known in several)
            assert sum("__schema" in asked.body.decode() for asked in server.asked) == 1
