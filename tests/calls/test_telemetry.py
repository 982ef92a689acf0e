"""What an observer and the log are told of calls, and that neither can break them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re

import attrs
import pytest

from clarus_async import (
    AccessToken,
    Applied,
    AttemptEvent,
    CallEvent,
    ClarusClient,
    ClarusError,
    ClientCredentials,
    ConfigurationError,
    IntegrationChanges,
    NewIntegration,
    PacingPolicy,
    RetryPolicy,
    TokenEvent,
    WaitReason,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.builders import client_of
from tests.support.recorder import Recorder
from tests.support.stub_server import StubServer, bearer, reply
from tests.support.virtual import now, virtual

SHOP = NewIntegration(name="Shop", integration_type="shopify")


@contextlib.asynccontextmanager
async def watched(observer=None, *, latency=0.0, **options):
    """A simulator, a client of it, and what that tells its observer."""
    notes = Recorder() if observer is None else observer
    async with (
        Simulator(tenants=("acme", "globex"), latency=latency) as sim,
        client_of(sim, observer=notes, **options) as clarus,
    ):
        yield sim, clarus, notes


def lines(caplog, level=logging.INFO):
    """What our loggers said at this level and above."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.partition(".")[0] == "clarus_async" and record.levelno >= level
    ]


@pytest.fixture(autouse=True)
def everything(caplog):
    caplog.set_level(logging.DEBUG)


class TestCalls:
    """Each is one event, with one of each attempt; and one line at INFO where it was retried or failed."""

    @virtual
    async def test_one_that_went_well(self, caplog):
        async with watched(latency=1.0) as (sim, clarus, notes):
            await clarus.ping()
            notes.events.clear()
            await clarus.integrations.create(SHOP)
            [attempt, call] = notes.events
            assert attempt == AttemptEvent(
                call_id=2,
                operation="create",
                number=1,
                started_at=2.0,
                duration=1.0,
                status=200,
                failure=None,
                proves="done",
                request_id=sim.requests[-1].request_id,
            )
            assert call == CallEvent(
                call_id=2,
                operation="create",
                method="POST",
                path="/api/integrations",
                started_at=2.0,
                duration=1.0,
                attempts=1,
                status=200,
                applied=None,
                error=None,
            )
        assert lines(caplog) == []

    @virtual
    async def test_one_that_was_retried(self, caplog):
        async with watched() as (sim, clarus, notes):
            await clarus.ping()
            notes.events.clear()
            sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502, FaultKind.RESET_BEFORE)
            await clarus.ping()
            assert [(each.number, each.status, each.failure, each.proves) for each in notes.attempts] == [
                (1, 502, None, "unknown"),
                (2, None, "the connection was lost before a response came", "unknown"),
                (3, 200, None, "done"),
            ]
            [call] = notes.calls
            assert (call.attempts, call.status, call.error) == (3, 200, None)
            assert [reason for reason, _ in notes.waits] == [WaitReason.BACKOFF] * 2
        [line] = lines(caplog)
        assert re.fullmatch(
            r"ping for acme: ok, status 200, applied yes, attempts 3, \d+\.\d{3} s, request id req-\d+", line
        )

    @virtual
    async def test_one_that_failed(self, caplog):
        async with watched() as (_, clarus, notes):
            with pytest.raises(ClarusError):
                await clarus.for_subdomain("globex").integrations.delete(404)
            [call] = notes.calls
            assert (call.error, call.status, call.applied, call.attempts) == ("NotFoundError", 404, Applied.NO, 1)
            assert call.path == "/api/integrations/{id}"
        [line] = lines(caplog)
        assert re.fullmatch(
            r"delete for globex: NotFoundError, status 404, applied no, attempts 1, \d+\.\d{3} s, request id req-\d+",
            line,
        )

    @virtual
    async def test_one_whose_outcome_is_unknown(self, caplog):
        async with watched() as (sim, clarus, notes):
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            with pytest.raises(ClarusError):
                await clarus.integrations.create(SHOP, on_unknown="raise")
            [call] = notes.calls
            assert (call.error, call.status, call.applied) == ("OutcomeUnknownError", None, Applied.MAYBE)
        [line] = lines(caplog)
        assert "OutcomeUnknownError, status None, applied maybe" in line

    @virtual
    async def test_one_that_was_cancelled(self, caplog):
        async with watched() as (sim, clarus, notes):
            await clarus.ping()
            notes.events.clear()
            sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=20.0))
            task = asyncio.ensure_future(clarus.integrations.create(SHOP))
            await asyncio.sleep(3.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            [call] = notes.calls
            assert (call.error, call.status, call.applied) == ("CancelledError", None, Applied.MAYBE)
            assert (call.duration, call.attempts) == (3.0, 1)
            [attempt] = notes.attempts
            assert (attempt.number, attempt.duration, attempt.status, attempt.proves) == (1, 3.0, None, "unknown")
            assert attempt.failure == "it was given up before a response came"
            assert notes.events == [attempt, call]
        [line] = lines(caplog)
        assert "CancelledError, status None, applied maybe" in line

    @virtual
    async def test_one_that_was_cancelled_before_anything_was_sent(self):
        async with watched() as (sim, clarus, notes):
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=20.0))
            task = asyncio.ensure_future(clarus.integrations.create(SHOP))
            await asyncio.sleep(3.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            [call] = notes.calls
            assert (call.error, call.applied, call.attempts) == ("CancelledError", Applied.NO, 0)
            assert notes.attempts == []

    @virtual
    async def test_one_that_never_got_out(self):
        async with watched() as (_, clarus, notes):
            await clarus.close()
            with pytest.raises(ConfigurationError):
                await clarus.ping()
            [call] = notes.calls
            assert (call.error, call.attempts, call.status) == ("ConfigurationError", 0, None)

    @virtual
    async def test_each_has_its_number(self):
        async with watched() as (_, clarus, notes):
            await asyncio.gather(*(view.ping() for view in [clarus, clarus.for_subdomain("globex")] for _ in range(5)))
            assert sorted(call.call_id for call in notes.calls) == list(range(1, 11))
            assert {event.call_id for event in notes.attempts} == set(range(1, 11))

    @pytest.mark.parametrize(
        ("operation", "path"),
        [
            ("create", "/api/integrations"),
            ("update", "/api/integrations/{id}"),
            ("delete", "/api/integrations/{id}"),
            ("synchronize", "/api/integrations/{id}/synchronize"),
            ("list", "/graphql"),
            ("graphql", "/graphql"),
            ("ping", "/graphql"),
        ],
    )
    @virtual
    async def test_a_path_has_no_id_in_it(self, operation, path):
        async with watched() as (sim, clarus, notes):
            [stored] = sim.preload("acme", [{"name": "Shop", "integration_type": "shopify"}])
            calls = {
                "create": lambda: clarus.integrations.create(SHOP),
                "update": lambda: clarus.integrations.update(stored.id, IntegrationChanges(is_active=False)),
                "delete": lambda: clarus.integrations.delete(stored.id),
                "synchronize": lambda: clarus.integrations.synchronize(stored.id),
                "list": lambda: anext(clarus.integrations.list()),
                "graphql": lambda: clarus.graphql("query { sites { all { edges { node { id } } } } }"),
                "ping": clarus.ping,
            }
            await calls[operation]()
            [call] = notes.calls
            assert (call.operation, call.path) == (operation, path)


class TestWaits:
    @virtual
    async def test_for_a_token(self):
        async with watched() as (_, clarus, notes):
            await clarus.ping()
            assert notes.waits == [(WaitReason.TOKEN, None)]
            await clarus.ping()
            assert notes.waits == [(WaitReason.TOKEN, None)]

    @virtual
    async def test_a_stale_token_is_not_waited_for(self):
        notes = Recorder()
        async with Simulator(token_lifetime=600.0) as sim, client_of(sim, observer=notes) as clarus:
            await clarus.ping()
            await asyncio.sleep(550.0)
            notes.events.clear()
            await clarus.ping()
            assert notes.waits == []
            await asyncio.sleep(1.0)

    @virtual
    async def test_for_the_pace(self):
        async with watched() as (sim, clarus, notes):
            await clarus.ping()
            notes.events.clear()
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=9))
            await clarus.integrations.create(SHOP)
            assert notes.waits == [(WaitReason.PACE, pytest.approx(9.0))]

    @virtual
    async def test_for_a_connection(self):
        async with watched(latency=1.0, max_connections=1) as (_, clarus, notes):
            await clarus.ping()
            notes.events.clear()
            await asyncio.gather(clarus.ping(), clarus.ping())
            assert notes.waits == [(WaitReason.CONNECTION, None)]

    @virtual
    async def test_for_a_backoff(self):
        async with watched(retry=RetryPolicy(base=8.0, cap=8.0)) as (sim, clarus, notes):
            await clarus.ping()
            notes.events.clear()
            sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502)
            began = now()
            await clarus.ping()
            [(reason, seconds)] = notes.waits
            assert reason is WaitReason.BACKOFF
            assert seconds == pytest.approx(now() - began, abs=1e-3)


class TestPace:
    @virtual
    async def test_an_attempt_says_what_it_is_believed_to_be(self):
        for pacing, rate in ((PacingPolicy(), None), (PacingPolicy(rate=5.0), 5.0)):
            async with watched(pacing=pacing) as (_, clarus, notes):
                await clarus.ping()
                assert [attempt.pace for attempt in notes.attempts] == [rate] == [clarus.pace.rate]


class TestTenants:
    class Sorted(Recorder):
        def __init__(self):
            super().__init__()
            self.views = []

        def for_tenant(self, subdomain, base_url):
            notes = Recorder()
            self.views.append((subdomain, base_url, notes))
            return notes

    @virtual
    async def test_each_view_has_an_observer_of_its_own(self):
        notes = self.Sorted()
        async with Simulator(tenants=("acme", "globex")) as sim, client_of(sim, observer=notes) as clarus:
            await clarus.ping()
            await clarus.for_subdomain("globex").integrations.create(SHOP)
            views = [
                (subdomain, base_url, [call.operation for call in view.calls])
                for subdomain, base_url, view in notes.views
            ]
            assert views == [("acme", sim.url, ["ping"]), ("globex", sim.url, ["create"])]
            assert [view.waits for _, _, view in notes.views] == [[(WaitReason.TOKEN, None)], []]
        # A token is no tenant's.
        assert [type(event) for event in notes.events] == [TokenEvent]

    @virtual
    async def test_one_that_raises_breaks_no_call_and_is_logged(self, caplog):
        class Broken(Recorder):
            def for_tenant(self, subdomain, base_url):
                raise RuntimeError("broken")

        notes = Broken()
        async with Simulator() as sim, client_of(sim, observer=notes) as clarus:
            await clarus.ping()
        assert "the observer raised on a tenant" in caplog.text
        assert len(notes.calls) == 1


class TestTokens:
    @virtual
    async def test_one_that_came(self):
        notes = Recorder()
        async with Simulator(token_lifetime=600.0, latency=2.0) as sim, client_of(sim, observer=notes) as clarus:
            await clarus.ping()
            assert notes.of(TokenEvent) == [TokenEvent(duration=2.0, expires_in=600.0, failure=None)]

    @virtual
    async def test_one_that_did_not(self):
        notes = Recorder()
        async with Simulator() as sim:
            credentials = ClientCredentials(sim.client_id, "wrong")
            async with ClarusClient("acme", credentials, base_url=sim.url, observer=notes) as clarus:
                with pytest.raises(ClarusError):
                    await clarus.ping()
        [event] = notes.of(TokenEvent)
        assert (event.expires_in, event.failure) == (None, "AuthenticationError")


class TestAnObserverThatRaises:
    class Broken:
        def __init__(self, error):
            self.error = error
            self.told = 0

        def on_event(self, event):
            self.told += 1
            raise self.error

    @pytest.mark.parametrize("error", [RuntimeError("broken"), AssertionError(), asyncio.CancelledError()], ids=repr)
    def test_breaks_no_call_and_is_logged(self, error, caplog):
        @virtual
        async def check():
            broken = self.Broken(error)
            async with Simulator() as sim, client_of(sim, observer=broken) as clarus:
                sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502)
                sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=1))
                await clarus.ping()
                await clarus.integrations.create(SHOP)
                with pytest.raises(ClarusError):
                    await clarus.integrations.delete(404)
                assert clarus._caller.core.connections.busy == 0
            assert broken.told > 8

        check()
        # Once for each kind of event.
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(said) == len(set(said)) == 4
        assert any("the observer raised on a CallEvent" in line for line in said)

    @virtual
    async def test_breaks_no_run(self):
        async with Simulator() as sim, client_of(sim, observer=self.Broken(RuntimeError())) as clarus:
            run = clarus.integrations.provision(
                NewIntegration(name=f"Shop {n}", integration_type="shopify") for n in range(20)
            )
            assert len([outcome async for outcome in run]) == 20

    @pytest.mark.parametrize("thing", [object(), lambda event: None, "observer"], ids=["object", "function", "str"])
    def test_what_is_no_observer_is_refused(self, thing):
        with pytest.raises(ConfigurationError, match="on_event"):
            ClarusClient("acme", AccessToken("t"), observer=thing)

    def test_one_that_would_have_to_be_awaited_is_refused(self):
        class Async:
            async def on_event(self, event):
                pass

        with pytest.raises(ConfigurationError, match="must not be async"):
            ClarusClient("acme", AccessToken("t"), observer=Async())


class TestEvents:
    @virtual
    async def test_they_are_frozen_and_name_no_tenant(self):
        notes = Recorder()
        async with StubServer(lambda asked: reply({"data": {}})) as server:
            credentials = AccessToken("t")
            async with ClarusClient("acmecorp", credentials, base_url=server.url, observer=notes) as clarus:
                await clarus.ping()
        for event in notes.events:
            assert "acmecorp" not in repr(event)
            with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
                event.operation = "x"

    @virtual
    async def test_without_an_observer_nothing_is_made(self, caplog):
        with caplog.at_level(logging.WARNING, "clarus_async"):
            async with Simulator() as sim, client_of(sim) as clarus:
                await clarus.ping()
        assert lines(caplog, logging.DEBUG) == []


class TestLog:
    @virtual
    async def test_a_create_that_looked_before_it_went_again_says_one_line_of_its_own(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=3))
            await clarus.integrations.create(SHOP)
        assert [line.partition(" ")[0] for line in lines(caplog)] == ["create"]

    @virtual
    async def test_records_that_go_well_say_nothing(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            specs = (NewIntegration(name=f"Shop {n}", integration_type="shopify") for n in range(200))
            assert len([outcome async for outcome in clarus.integrations.provision(specs)]) == 200
        assert lines(caplog) == []

    @virtual
    async def test_each_attempt_and_each_call_has_a_line(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            await clarus.ping()
        attempt, call = lines(caplog, logging.DEBUG)
        assert attempt.startswith("attempt 1 of ping: 200 after ")
        assert call.startswith("ping for acme: ok")

    @virtual
    async def test_a_request_id_can_not_write_lines_of_its_own(self, caplog):
        def answer(asked):
            return reply({"error": "x"}, 404, "X-Request-Id: r-1\tforged \x1b[31mline")

        async with (
            StubServer(answer, lambda asked: bearer("t")) as server,
            ClarusClient("acme", Simulator().credentials, base_url=server.url) as clarus,
        ):
            with pytest.raises(ClarusError) as raised:
                await clarus.integrations.delete(1)
        assert "\x1b" not in str(raised.value)
        assert not any("\x1b" in line or "\t" in line for line in lines(caplog))

    def test_we_configure_nothing(self):
        logger = logging.getLogger("clarus_async")
        assert logger.handlers == [] or all(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
        assert logger.propagate

    @virtual
    async def test_a_filter_that_raises_is_not_ours_to_catch_but_loses_no_slot(self):
        class Raising(logging.Filter):
            def filter(self, record):
                raise RuntimeError("the log is broken")

        logger = logging.getLogger("clarus_async")
        filter_ = Raising()
        async with Simulator() as sim, client_of(sim) as clarus:
            logger.addFilter(filter_)
            try:
                with pytest.raises(RuntimeError):
                    await clarus.ping()
            finally:
                logger.removeFilter(filter_)
            assert clarus._caller.core.connections.busy == 0
            await clarus.ping()
