"""One create whose outcome is in doubt: looked up, waited for, sent again, and settled later where time runs out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from clarus_async import (
    AccessToken,
    Applied,
    ClarusClient,
    ClarusError,
    ConnectionFailedError,
    Integration,
    IntegrationChanges,
    InvalidInputError,
    NewExternalEntity,
    NewIntegration,
    OutcomeUnknownError,
    RetryPolicy,
    ServerError,
    Timeouts,
    ValidationError,
)
from clarus_async.reconcile.lookup import state_of
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.stub_server import StubServer, reply
from tests.support.virtual import now, settle, virtual

START = datetime(2026, 1, 10, 12, tzinfo=UTC)
LONG_AGO = START - timedelta(hours=1)
SECRET = "canary-3f9c"
SHOP = NewIntegration(
    name="Shop",
    integration_type="shopify",
    provider="shopify",
    is_active=True,
    configuration={"api_key": SECRET},
    external_system_reference1="ref-1",
    string1="x",
)
SAME = NewIntegration(name="Shop", integration_type="shopify")
SKU = {"entity_type": "product", "code": "SKU-1", "external_system_reference1": "p-1", "integration_id": 1}


class VirtualWall(datetime):
    """The wall clock of a virtual loop."""

    @classmethod
    def now(cls, tz=None):
        return START + timedelta(seconds=asyncio.get_running_loop().time())


@pytest.fixture(autouse=True)
def wall(monkeypatch):
    for module in ("reconcile.reconciler", "reconcile.single", "calls.caller", "simulator.clock"):
        monkeypatch.setattr(f"clarus_async.{module}.datetime", VirtualWall)


def client_of(server, *, attempt=30.0, settle=60.0, deadline=120.0, **options):
    timeouts = Timeouts(attempt=attempt, settle=settle, deadline=deadline)
    credentials = server.credentials if isinstance(server, Simulator) else AccessToken("token-1")
    return ClarusClient("acme", credentials, base_url=server.url, timeouts=timeouts, **options)


def sends(sim):
    return [entry for entry in sim.requests if entry.endpoint is Endpoint.CREATE]


@contextlib.asynccontextmanager
async def with_entities(old=0):
    """A simulator and a client, and so many records that have the key of ``SKU`` already."""
    async with Simulator() as sim, client_of(sim) as clarus:
        sim.preload("acme", [{"name": "North", "integration_type": "shopify"}])
        sim.preload("acme", [SKU] * old, resource="external_entities", created_at=LONG_AGO)
        yield sim, clarus.external_entities


def filters(sim):
    bodies = [json.loads(entry.body) for entry in sim.requests if entry.endpoint is Endpoint.GRAPHQL]
    return [body["variables"]["filter"] for body in bodies if "filter" in body.get("variables", {})]


def names_of(clarus):
    return state_of(clarus._caller, clarus.integrations.spec).creates


async def failing(call, kind=ClarusError):
    with pytest.raises(kind) as raised:
        await call
    return raised.value


@virtual
class TestFound:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(FaultKind.RESET_AFTER),
            Fault(FaultKind.ERROR_AFTER),
            Fault(FaultKind.TRUNCATED),
            Fault(FaultKind.NOT_JSON),
            Fault(FaultKind.STALL_AFTER, delay=1000.0),
        ],
        ids=lambda fault: fault.kind.value,
    )
    async def test_what_was_sent_is_returned_with_the_id_of_what_was_found(self, fault):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, fault)
            shop = await clarus.integrations.create(SHOP)
            [stored] = sim.created("acme")
            assert shop == Integration(
                id=stored.id,
                name="Shop",
                integration_type="shopify",
                provider="shopify",
                is_active=True,
                configuration={"api_key": SECRET},
                external_system_reference1="ref-1",
                string1="x",
            )
            assert len(sends(sim)) == 1

    async def test_one_that_comes_late_is_waited_for(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.LATE_APPLY, delay=30.0))
            shop = await clarus.integrations.create(SHOP)
            assert [stored.id for stored in sim.created("acme")] == [shop.id]
            assert now() == pytest.approx(60.0, abs=0.1)

    async def test_a_look_that_fails_is_made_again(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            sim.script(Endpoint.GRAPHQL, *[FaultKind.GRAPHQL_ERRORS] * 3)
            shop = await clarus.integrations.create(SAME)
            assert [stored.id for stored in sim.created("acme")] == [shop.id]


@virtual
class TestAbsent:
    async def test_it_is_sent_again_when_it_has_settled_with_the_same_key(self):
        async with Simulator() as sim, client_of(sim, deadline=300.0) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
            shop = await clarus.integrations.create(SHOP)
            first, second = sends(sim)
            assert second.at - first.at == pytest.approx(60.0, abs=0.1)
            assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
            assert first.body == second.body
            assert [stored.id for stored in sim.created("acme")] == [shop.id]
            # Once more when the second has settled, too.
            assert now() == pytest.approx(120.0, abs=0.1)

    async def test_the_last_look_comes_before_the_deadline(self):
        async with Simulator() as sim, client_of(sim, deadline=100.0) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
            shop = await clarus.integrations.create(SHOP)
            assert [stored.id for stored in sim.created("acme")] == [shop.id]
            assert now() == pytest.approx(99.0, abs=0.1)

    async def test_a_stale_list_proves_nothing(self):
        """It is as it was ten seconds ago, and that is how the look after `settle` still finds it."""
        async with Simulator() as sim, client_of(sim) as clarus:
            await clarus.ping()
            sim.set_faults([Fault(FaultKind.STALE_LIST, endpoint=Endpoint.GRAPHQL, delay=10.0)])
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            shop = await clarus.integrations.create(SHOP)
            assert [stored.id for stored in sim.created("acme")] == [shop.id]

    async def test_several_are_named_and_nobody_picks(self):
        async with Simulator() as sim, client_of(sim, deadline=300.0) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.LATE_APPLY, delay=70.0))
            error = await failing(clarus.integrations.create(SHOP), OutcomeUnknownError)
            assert set(error.found) == {stored.id for stored in sim.created("acme")}
            assert len(error.found) == 2
            assert error.applied is Applied.YES
            assert "a person" in error.settled_by
            assert "2 records answer for it: ids 1, 2" in str(error).replace("ids 2, 1", "ids 1, 2")

    async def test_what_is_proved_to_be_absent_says_so_when_its_sends_are_used_up(self):
        retry = RetryPolicy(max_attempts=2)
        async with Simulator() as sim, client_of(sim, deadline=1000.0, retry=retry) as clarus:
            sim.script(Endpoint.CREATE, *[FaultKind.RESET_BEFORE] * 2)
            error = await failing(clarus.integrations.create(SHOP), ConnectionFailedError)
            assert (error.applied, error.retryable, error.attempts) == (Applied.NO, True, 2)
            assert "a lookup found no record" in str(error)
            assert len(sends(sim)) == 2

    async def test_the_answer_is_the_error_where_there_was_one(self):
        retry = RetryPolicy(max_attempts=2)
        async with Simulator() as sim, client_of(sim, deadline=1000.0, retry=retry) as clarus:
            sim.script(Endpoint.CREATE, *[FaultKind.ERROR_BEFORE] * 2)
            error = await failing(clarus.integrations.create(SHOP), ServerError)
            assert (error.status, error.applied) == (500, Applied.NO)

    async def test_a_refusal_of_the_second_send_is_raised_once_it_is_proved_that_the_first_made_nothing(self):
        async with Simulator() as sim, client_of(sim, deadline=300.0) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE, FaultKind.JSON_API_ERROR)
            error = await failing(clarus.integrations.create(SHOP), ValidationError)
            assert error.applied is Applied.NO
            assert len(sends(sim)) == 2


@virtual
class TestRaise:
    async def test_nothing_is_looked_up(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            error = await failing(clarus.integrations.create(SHOP, on_unknown="raise"), OutcomeUnknownError)
            assert sim.count(Endpoint.GRAPHQL) == 0
            assert (error.key, error.pending.first_sent_at) == ("ref-1", START)
            assert error.settles_at == START + timedelta(seconds=60)

    async def test_anything_else_is_refused(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            with pytest.raises(InvalidInputError, match="on_unknown"):
                await clarus.integrations.create(SHOP, on_unknown="ignore")
            assert sim.count() == 0


@virtual
class TestDeadline:
    async def test_what_can_not_be_settled_by_then_is_raised_at_once(self):
        async with Simulator() as sim, client_of(sim, deadline=10.0) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
            error = await failing(clarus.integrations.create(SHOP), OutcomeUnknownError)
            assert now() < 1.0
            assert (error.key, error.found, error.applied) == ("ref-1", (), Applied.MAYBE)
            assert error.pending.first_sent_at == START
            assert error.settles_at == START + timedelta(seconds=60)
            assert (error.attempts, error.method, error.path) == (1, "POST", "/api/integrations")
            assert "resolve(error)" in str(error)
            assert len(sends(sim)) == 1

    async def test_nothing_is_sent_with_less_than_a_second_left(self):
        async with Simulator(latency=0.5) as sim, client_of(sim, deadline=61.4) as clarus:
            await clarus.ping()
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
            began = now()
            error = await failing(clarus.integrations.create(SAME), OutcomeUnknownError)
            assert now() - began == pytest.approx(60.5, abs=0.1)
            assert "no time left to send it again" in str(error)
            assert len(sends(sim)) == 1

    async def test_with_more_it_is_sent(self):
        async with Simulator(latency=0.1) as sim, client_of(sim, deadline=61.4) as clarus:
            await clarus.ping()
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
            shop = await clarus.integrations.create(SAME)
            assert [stored.id for stored in sim.created("acme")] == [shop.id]

    async def test_a_list_that_does_not_answer_leaves_it_in_doubt_until_then(self):
        async with Simulator() as sim, client_of(sim, deadline=20.0) as clarus:
            await clarus.ping()
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            sim.set_faults([Fault(FaultKind.STALL_BEFORE, endpoint=Endpoint.GRAPHQL, delay=1000.0)])
            error = await failing(clarus.integrations.create(SAME), OutcomeUnknownError)
            assert now() == pytest.approx(20.0, abs=0.1)
            assert "looking it up failed" in str(error)


@virtual
class TestNamesakes:
    async def test_one_that_was_there_before_is_never_adopted(self):
        async with Simulator() as sim, client_of(sim, deadline=300.0) as clarus:
            [old] = sim.preload("acme", [{"name": "Shop", "integration_type": "shopify"}], created_at=LONG_AGO)
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
            shop = await clarus.integrations.create(SAME)
            assert [stored.id for stored in sim.created("acme")] == [old.id, shop.id]

    async def test_the_one_that_came_is_told_from_those_that_were_there(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.preload("acme", [{"name": "Shop", "integration_type": "shopify"}] * 3, created_at=LONG_AGO)
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            shop = await clarus.integrations.create(SAME)
            assert [stored.id for stored in sim.created("acme")] == [1, 2, 3, shop.id]
            assert now() < 1.0

    async def test_creates_of_one_name_at_once_each_have_their_own(self):
        async with Simulator() as sim, client_of(sim, deadline=300.0) as clarus:
            sim.script(Endpoint.CREATE, None, None, FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE)
            shops = await asyncio.gather(*(clarus.integrations.create(SAME) for _ in range(3)))
            assert len({shop.id for shop in shops}) == len(sim.created("acme")) == 3

    async def test_two_in_doubt_at_once_are_never_taken_for_each_other(self):
        async with Simulator() as sim, client_of(sim, deadline=300.0) as clarus:
            await clarus.ping()
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER, FaultKind.RESET_AFTER)
            errors = await asyncio.gather(*(clarus.integrations.create(SAME) for _ in range(2)), return_exceptions=True)
            assert [type(error) for error in errors] == [OutcomeUnknownError] * 2
            assert [set(error.found) for error in errors] == [{1, 2}] * 2
            assert len(sends(sim)) == 2

    @pytest.mark.parametrize("came", [0, 1])
    async def test_nor_where_only_one_of_them_came(self, came):
        async with Simulator() as sim, client_of(sim, deadline=300.0) as clarus:
            await clarus.ping()
            faults = [FaultKind.RESET_BEFORE, FaultKind.RESET_BEFORE]
            faults[came] = FaultKind.RESET_AFTER
            sim.script(Endpoint.CREATE, *faults)
            calls = [asyncio.create_task(clarus.integrations.create(SAME)) for _ in range(2)]
            await asyncio.wait(calls)
            # Whichever of the two says that it is its own: the other one's it may be.
            assert [type(call.exception()) for call in calls] == [OutcomeUnknownError] * 2

    async def test_what_another_client_made_meanwhile_is_not_distinguished_by_name_and_said_so(self):
        async with Simulator() as sim, client_of(sim) as clarus, client_of(sim) as other:
            await clarus.ping()
            await other.integrations.create(SAME)
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            error = await failing(clarus.integrations.create(SAME), OutcomeUnknownError)
            assert set(error.found) == {1, 2}
            assert "sent once" in str(error)


def stub(*, dated, rows):
    """A server that loses every create, has these rows, and tells the time or not."""

    def answer(asked):
        told = [f"Date: {format_datetime(VirtualWall.now(), usegmt=True)}"] if dated else []
        if asked.path != "/graphql":
            return None
        nodes = [{"node": {"id": str(number), "name": "Shop", "created_at": at.isoformat()}} for number, at in rows()]
        every = {"edges": nodes, "pageInfo": {"hasNextPage": False, "endCursor": None}}
        return reply({"data": {"integrations": {"all": every}}}, 200, *told)

    return StubServer(answer)


@virtual
class TestWithoutADate:
    async def test_with_one_it_is_adopted(self):
        async with stub(dated=True, rows=lambda: [(7, VirtualWall.now())]) as server, client_of(server) as clarus:
            assert (await clarus.integrations.create(SAME)).id == 7
            assert now() < 1.0

    async def test_what_is_found_may_have_been_there_before_and_is_never_adopted(self):
        async with stub(dated=False, rows=lambda: [(7, VirtualWall.now())]) as server, client_of(server) as clarus:
            error = await failing(clarus.integrations.create(SAME), OutcomeUnknownError)
            assert error.found == (7,)
            assert server.count("/api/integrations") == 1

    async def test_that_nothing_is_there_is_proof_all_the_same(self):
        retry = RetryPolicy(max_attempts=1)
        async with stub(dated=False, rows=list) as server, client_of(server, retry=retry) as clarus:
            error = await failing(clarus.integrations.create(SAME), ConnectionFailedError)
            assert error.applied is Applied.NO


class TestClosing:
    @virtual
    async def test_it_ends_the_wait_and_says_what_is_known(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
            task = asyncio.create_task(clarus.integrations.create(SHOP))
            await asyncio.sleep(10.0)
            await clarus.close()
            error = await failing(task, OutcomeUnknownError)
            assert now() == pytest.approx(10.0, abs=0.1)
            assert (error.key, error.found, error.settles_at) == ("ref-1", (), START + timedelta(seconds=60))


@virtual
class TestCancelling:
    @pytest.mark.parametrize("at", [0.5, 1.25, 30.0, 61.6, 63.0, 100.0])
    async def test_in_any_phase_it_is_at_once_and_leaves_nothing(self, at):
        async with Simulator(latency=1.0) as sim, client_of(sim, deadline=300.0) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
            task = asyncio.create_task(clarus.integrations.create(SHOP))
            await asyncio.sleep(at)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert now() == at
            await settle()
            assert clarus._caller.core.connections.busy == 0
            assert names_of(clarus).under_way == 0

    async def test_what_it_may_have_made_is_not_adopted_for_another_of_its_name(self):
        async with Simulator() as sim, client_of(sim, deadline=300.0) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=1000.0), FaultKind.RESET_BEFORE)
            task = asyncio.create_task(clarus.integrations.create(SAME))
            await asyncio.sleep(1.0)
            task.cancel()
            await asyncio.wait([task])
            # What the first one made is no proof of what became of the second.
            ended = (await asyncio.gather(clarus.integrations.create(SAME), return_exceptions=True))[0]
            assert isinstance(ended, OutcomeUnknownError)


@virtual
class TestResolve:
    async def unsettled(self, sim, *faults, new=SHOP):
        """What a create with little time raises; it travels as a pickle."""
        async with client_of(sim, deadline=10.0) as clarus:
            await clarus.ping()
            sim.script(Endpoint.CREATE, *faults)
            error = await failing(clarus.integrations.create(new, on_unknown="raise"), OutcomeUnknownError)
            return pickle.loads(pickle.dumps(error))

    @pytest.mark.parametrize("searchable", [True, False])
    @pytest.mark.parametrize("after", [0.0, 30.0, 1000.0])
    async def test_what_is_there_is_returned_as_the_list_tells_it(self, after, searchable):
        async with Simulator(searchable_references=searchable) as sim:
            error = await self.unsettled(sim, FaultKind.RESET_AFTER)
            await asyncio.sleep(after)
            async with client_of(sim) as clarus:
                shop = await clarus.integrations.resolve(error)
            [stored] = sim.created("acme")
            assert (shop.id, shop.name, shop.is_active, shop.provider) == (stored.id, "Shop", True, "shopify")
            assert len(sends(sim)) == 1

    @pytest.mark.parametrize(("after", "until"), [(0.0, 60.0), (30.0, 61.0), (1000.0, 1000.0)])
    async def test_what_is_not_is_none_once_it_has_settled(self, after, until):
        async with Simulator() as sim:
            error = await self.unsettled(sim, FaultKind.RESET_BEFORE)
            await asyncio.sleep(after)
            async with client_of(sim) as clarus:
                assert await clarus.integrations.resolve(error) is None
            # A Date has whole seconds, so it may be one later.
            assert now() == pytest.approx(until, abs=0.1)

    async def test_the_client_that_raised_settles_it_too(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            error = await failing(clarus.integrations.create(SHOP, on_unknown="raise"), OutcomeUnknownError)
            shop = await clarus.integrations.resolve(error)
            assert [stored.id for stored in sim.created("acme")] == [shop.id]

    async def test_a_clock_that_was_set_back_makes_nobody_wait_for_longer_than_settle(self):
        async with Simulator() as sim:
            error = await self.unsettled(sim, FaultKind.RESET_BEFORE)
            settles = error.pending.settles
            error.pending.settles = settles._replace(wall=settles.wall + timedelta(days=1))
            async with client_of(sim) as clarus:
                assert await clarus.integrations.resolve(error) is None
            assert now() == pytest.approx(60.0, abs=0.1)

    async def test_what_can_not_be_settled_yet_can_be_tried_again(self):
        async with Simulator() as sim:
            error = await self.unsettled(sim, FaultKind.RESET_BEFORE)
            async with client_of(sim, deadline=5.0) as clarus:
                again = await failing(clarus.integrations.resolve(error), OutcomeUnknownError)
                assert (again.key, again.settles_at) == (error.key, error.settles_at)
                assert again.pending.first_sent_at == error.pending.first_sent_at
                await asyncio.sleep(60.0)
                assert await clarus.integrations.resolve(again) is None

    async def test_a_list_that_can_not_be_read_settles_nothing(self):
        async with Simulator() as sim, client_of(sim, deadline=20.0, retry=RetryPolicy(base=0.01)) as clarus:
            error = await self.unsettled(sim, FaultKind.RESET_AFTER)
            sim.set_faults([Fault(FaultKind.ERROR_BEFORE, endpoint=Endpoint.GRAPHQL)])
            again = await failing(clarus.integrations.resolve(error), OutcomeUnknownError)
            assert "looking it up failed" in str(again)
            assert again.applied is Applied.MAYBE

    async def test_several_are_named(self):
        async with Simulator() as sim, client_of(sim, deadline=300.0) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.LATE_APPLY, delay=70.0))
            error = await failing(clarus.integrations.create(SHOP), OutcomeUnknownError)
            again = await failing(clarus.integrations.resolve(error), OutcomeUnknownError)
            assert set(again.found) == set(error.found) == {1, 2}

    async def test_once_a_person_has_deleted_one_the_other_is_it(self):
        async with Simulator() as sim, client_of(sim, deadline=300.0) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.LATE_APPLY, delay=70.0))
            error = await failing(clarus.integrations.create(SHOP), OutcomeUnknownError)
            first, second = error.found
            await clarus.integrations.delete(first)
            async with client_of(sim) as another:
                assert (await another.integrations.resolve(error)).id == second

    async def test_one_that_was_there_before_is_not_it(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.preload("acme", [{"name": "Shop", "integration_type": "shopify"}], created_at=LONG_AGO)
            error = await self.unsettled(sim, FaultKind.RESET_BEFORE)
            assert await clarus.integrations.resolve(error) is None

    async def test_where_no_clock_tells_it_stays_open(self):
        async with stub(dated=False, rows=lambda: [(7, VirtualWall.now())]) as server, client_of(server) as clarus:
            error = await failing(clarus.integrations.create(SAME, on_unknown="raise"), OutcomeUnknownError)
            again = await failing(clarus.integrations.resolve(error), OutcomeUnknownError)
            assert again.found == (7,)

    async def test_the_error_of_another_call_is_refused(self):
        async with Simulator() as sim, client_of(sim, retry=RetryPolicy(max_attempts=1)) as clarus:
            [stored] = sim.preload("acme", [{"name": "Shop", "integration_type": "shopify"}])
            sim.script(Endpoint.UPDATE, FaultKind.RESET_AFTER)
            error = await failing(clarus.integrations.update(stored.id, IntegrationChanges(string1="x")))
            assert isinstance(error, OutcomeUnknownError)
            with pytest.raises(InvalidInputError, match="takes the error of a create"):
                await clarus.integrations.resolve(error)

    @pytest.mark.parametrize("error", [None, "lost", ConnectionFailedError("no connection")], ids=repr)
    async def test_anything_else_is_refused(self, error):
        async with Simulator() as sim, client_of(sim) as clarus:
            with pytest.raises(InvalidInputError, match="OutcomeUnknownError"):
                await clarus.integrations.resolve(error)
            assert sim.count() == 0

    async def test_cancelled_it_leaves_nothing(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            error = await self.unsettled(sim, FaultKind.RESET_BEFORE)
            task = asyncio.create_task(clarus.integrations.resolve(error))
            await asyncio.sleep(10.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert names_of(clarus).under_way == 0


@virtual
class TestRowsThatDoNotShowWhenTheyWereCreated:
    """A search by the time of creation tells what came after the send."""

    @pytest.mark.parametrize("old", [0, 2])
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(FaultKind.RESET_AFTER),
            Fault(FaultKind.ERROR_AFTER),
            Fault(FaultKind.ERROR_AFTER, status=503),
            Fault(FaultKind.LATE_APPLY, delay=30.0),
        ],
        ids=["reset", "500", "503", "late"],
    )
    async def test_what_our_send_made_is_returned(self, fault, old):
        async with with_entities(old) as (sim, entities):
            sim.script(Endpoint.CREATE, fault)
            made = await entities.create(NewExternalEntity(**SKU, description="A shirt"))
            *_, stored = sim.external_entities("acme")
            assert (made.id, made.code, made.description) == (stored.id, "SKU-1", "A shirt")
            assert (len(sends(sim)), len(sim.external_entities("acme"))) == (1, old + 1)

    async def test_it_is_asked_for_what_is_no_older_than_the_send(self):
        async with with_entities() as (sim, entities):
            await asyncio.sleep(90.5)
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            await entities.create(NewExternalEntity(**SKU))
            key = {name: {"eq": SKU[name]} for name in ("integration_id", "entity_type", "external_system_reference1")}
            assert filters(sim) == [key, key | {"created_at": {"from": "2026-01-10T12:01:30+00:00"}}]

    async def test_where_nothing_is_found_no_time_is_asked_for_and_it_is_sent_again(self):
        async with with_entities() as (sim, entities):
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
            made = await entities.create(NewExternalEntity(**SKU))
            assert [stored.id for stored in sim.external_entities("acme")] == [made.id]
            assert (len(sends(sim)), any("created_at" in one for one in filters(sim))) == (2, False)

    async def test_what_was_there_before_is_not_adopted_and_leaves_it_in_doubt(self):
        async with with_entities(1) as (sim, entities):
            sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
            error = await failing(entities.create(NewExternalEntity(**SKU)), OutcomeUnknownError)
            assert (error.applied, len(sends(sim)), len(sim.external_entities("acme"))) == (Applied.MAYBE, 1, 1)

    async def test_creates_of_one_key_at_once_are_never_taken_for_each_other(self):
        async with with_entities() as (sim, entities):
            sim.script(Endpoint.CREATE, *[FaultKind.RESET_AFTER] * 2)
            calls = [entities.create(NewExternalEntity(**SKU)) for _ in range(2)]
            errors = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(error, OutcomeUnknownError) for error in errors)
            assert len(sends(sim)) == 2

    async def test_a_server_without_that_filter_leaves_it_in_doubt_and_names_what_may_be_it(self):
        refused = {"errors": [{"message": "InputObject 'F' doesn't accept argument 'created_at'"}]}
        nodes = [{"node": {"id": "7", **SKU, "integration": {"id": "1", "name": "North"}}}]
        found = {"data": {"external_entities": {"all": {"edges": nodes, "pageInfo": {"hasNextPage": False}}}}}

        def answer(asked):
            if asked.path != "/graphql":
                return None
            told = f"Date: {format_datetime(VirtualWall.now(), usegmt=True)}"
            return reply(refused if b"created_at" in asked.body else found, 200, told)

        async with StubServer(answer) as server, client_of(server) as clarus:
            error = await failing(clarus.external_entities.create(NewExternalEntity(**SKU)), OutcomeUnknownError)
            assert error.found == (7,)

    async def test_it_can_be_resolved_later(self):
        async with with_entities(1) as (sim, entities):
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            error = await failing(entities.create(NewExternalEntity(**SKU), on_unknown="raise"), OutcomeUnknownError)
            async with client_of(sim) as another:
                found = await another.external_entities.resolve(pickle.loads(pickle.dumps(error)))
            assert found.id == sim.external_entities("acme")[-1].id


@virtual
async def test_no_error_shows_a_secret():
    async with Simulator() as sim, client_of(sim, deadline=10.0) as clarus:
        await clarus.ping()
        sim.script(Endpoint.CREATE, FaultKind.RESET_BEFORE)
        error = await failing(clarus.integrations.create(SHOP), OutcomeUnknownError)
        again = await failing(clarus.integrations.resolve(error), OutcomeUnknownError)
    for each in (error, again):
        shown = f"{each} {each!r} {vars(each)} {each.__cause__!r}".encode() + pickle.dumps(each)
        assert SECRET.encode() not in shown
