"""What code of the caller's raises is told as what it is, with its place and no value, and at once."""

from __future__ import annotations

import re
from collections.abc import Mapping

import aiohttp
import attrs
import pytest

from clarus_async import (
    AccessToken,
    Applied,
    AuthenticationError,
    ClarusClient,
    ConfigurationError,
    IntegrationChanges,
    InvalidInputError,
    NewIntegration,
    OutcomeUnknownError,
    RefreshToken,
    Timeouts,
)
from clarus_async.simulator import Simulator
from tests.support.stub_server import StubServer, bearer, created, reply

SECRET = "canary-value"
SHOP = NewIntegration(name="Shop", integration_type="shopify")
MISTAKES = [AssertionError, AttributeError, KeyError, RecursionError, TypeError]
EMPTY = {"data": {"integrations": {"all": {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}}}}
BEFORE = "a middleware, connector, resolver, trace or mock of aiohttp raised before the request was sent: "
AFTER = "a middleware, trace or mock of aiohttp raised after the request was sent: "

CALLS = {
    "ping": lambda clarus: clarus.ping(),
    "create": lambda clarus: clarus.integrations.create(SHOP),
    "update": lambda clarus: clarus.integrations.update(1, IntegrationChanges(string1="x")),
    "delete": lambda clarus: clarus.integrations.delete(1),
    "synchronize": lambda clarus: clarus.integrations.synchronize(1),
}
each_call = pytest.mark.parametrize("call", CALLS)


@pytest.fixture
async def server():
    async with StubServer(lambda asked: created() if asked.path == "/api/integrations" else reply(EMPTY)) as stub:
        yield stub


def client(server, credentials=None, **options):
    options.setdefault("timeouts", Timeouts(attempt=1.0, settle=1.0, deadline=4.0))
    return ClarusClient("acme", credentials or AccessToken("t"), base_url=server.url, **options)


def theirs(**options):
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), **options)


def told(error, what, name="raises"):
    """Whether an error tells of what was raised, and where, and of nothing else that it knows."""
    assert re.search(rf"{re.escape(what)} at {re.escape(__file__)}:\d+ in {name}", str(error))
    assert SECRET not in f"{error!s}{error!r}"
    assert error.__cause__ is error.__context__ is None
    return True


class TestMiddlewares:
    @each_call
    @pytest.mark.parametrize("mistake", MISTAKES)
    async def test_before_the_request(self, server, call, mistake):
        async def raises(request, handler):
            raise mistake(SECRET)

        async with theirs(middlewares=(raises,)) as session, client(server, session=session) as clarus:
            with pytest.raises(ConfigurationError) as caught:
                await CALLS[call](clarus)
        error = caught.value
        assert told(error, BEFORE + mistake.__name__)
        assert (error.applied, error.retryable, error.attempts, server.asked) == (Applied.NO, False, 1, [])

    @each_call
    async def test_after_the_answer(self, server, call):
        async def raises(request, handler):
            await handler(request)
            raise KeyError(SECRET)

        async with theirs(middlewares=(raises,)) as session, client(server, session=session) as clarus:
            with pytest.raises(ConfigurationError if call == "ping" else OutcomeUnknownError) as caught:
                await CALLS[call](clarus)
        error = caught.value
        assert told(error, AFTER + "KeyError")
        assert error.applied is (Applied.NO if call == "ping" else Applied.MAYBE)
        assert error.attempts == 1

    async def test_one_that_raises_for_a_create_alone_has_it_looked_up(self):
        async def raises(request, handler):
            response = await handler(request)
            if request.url.path == "/api/integrations":
                raise KeyError(SECRET)
            return response

        async with (
            Simulator() as simulator,
            theirs(middlewares=(raises,)) as session,
            client(simulator, simulator.credentials, session=session) as clarus,
        ):
            shop = await clarus.integrations.create(SHOP)
            assert [record.id for record in simulator.created("acme")] == [shop.id]


class TestTraces:
    @pytest.mark.parametrize(
        ("signal", "when"),
        [("on_request_start", BEFORE), ("on_request_end", AFTER), ("on_response_chunk_received", AFTER)],
    )
    async def test_one_that_raises(self, server, signal, when):
        async def raises(*_):
            raise AttributeError(SECRET)

        trace = aiohttp.TraceConfig()
        getattr(trace, signal).append(raises)
        async with theirs(trace_configs=[trace]) as session, client(server, session=session) as clarus:
            with pytest.raises(ConfigurationError) as caught:
                await clarus.ping()
        assert told(caught.value, when + "AttributeError")
        assert caught.value.attempts == 1


class TestStubs:
    async def test_a_session_that_can_not_send(self, server, monkeypatch):
        async def request(*args, **options):
            return raises(options)

        def raises(options):
            return options[SECRET]

        monkeypatch.setattr(aiohttp.ClientSession, "_request", request)
        for session in (None, theirs()):
            async with client(server, session=session) as clarus:
                with pytest.raises(ConfigurationError) as caught:
                    await clarus.integrations.create(SHOP)
            assert told(caught.value, BEFORE + "KeyError")
        await session.close()


class TestTokens:
    @pytest.mark.parametrize("mistake", MISTAKES)
    async def test_a_source_that_is_wrong(self, server, mistake):
        class Source:
            async def fetch(self):
                raises()

        def raises():
            raise mistake(SECRET)

        source = Source()
        async with client(server, source) as clarus:
            with pytest.raises(AuthenticationError) as caught:
                await clarus.ping()
        assert told(caught.value, f"Source.fetch raised {mistake.__name__}")
        assert not caught.value.retryable

    async def test_a_source_that_may_work_the_next_time(self, server):
        class Source:
            async def fetch(self):
                raise OSError(SECRET)

        async with client(server, Source()) as clarus:
            with pytest.raises(AuthenticationError) as caught:
                await clarus.ping()
        assert told(caught.value, "Source.fetch raised OSError", "fetch")
        assert caught.value.retryable

    async def test_an_on_rotate_that_raises(self, server, caplog):
        def raises(token):
            raise KeyError(token)

        server._token = lambda asked: bearer("t1", refresh_token=SECRET)
        async with client(server, RefreshToken("id", "secret", "r1", raises)) as clarus:
            await clarus.ping()
        assert re.search(rf"on_rotate raised KeyError at {re.escape(__file__)}:\d+ in raises: ", caplog.text)
        assert SECRET not in caplog.text


class TestGuards:
    @pytest.mark.parametrize("asked", [1, 2], ids=["before the request", "before its body"])
    async def test_one_that_raises_lets_nothing_out(self, server, asked):
        left = [True] * (asked - 1)

        def raises():
            return left.pop()

        async with client(server) as clarus:
            with pytest.raises(ConfigurationError) as caught:
                await clarus.guarded(raises).integrations.create(SHOP)
        assert told(caught.value, "may_send raised before the request was sent: IndexError")
        assert (caught.value.applied, server.asked) == (Applied.NO, [])


class Unreadable(Mapping):
    def __init__(self, raises):
        self._raises = raises

    def __len__(self):
        return 1

    def __iter__(self):
        if self._raises == "__iter__":
            raise KeyError(SECRET)
        return iter(["a"])

    def __getitem__(self, key):
        raise KeyError(SECRET)


@attrs.define
class Settings:
    a: int = 1

    def __getattribute__(self, name):
        if name == "a":
            raise AttributeError(SECRET)
        return super().__getattribute__(name)


class TestInput:
    @pytest.mark.parametrize("name", ["__iter__", "__getitem__"])
    def test_a_configuration_that_can_not_be_read(self, name):
        with pytest.raises(InvalidInputError) as caught:
            NewIntegration(name="Shop", integration_type="shopify", configuration=Unreadable(name))
        assert told(caught.value, "configuration: can't be read: it raised KeyError", name)

    def test_a_class_whose_attributes_raise(self):
        with pytest.raises(InvalidInputError) as caught:
            IntegrationChanges(configuration=Settings())
        assert told(caught.value, "configuration: can't be read: it raised AttributeError", "__getattribute__")

    async def test_variables_that_can_not_be_read(self, server):
        async with client(server) as clarus:
            with pytest.raises(InvalidInputError) as caught:
                await clarus.graphql("query { x }", Unreadable("__iter__"))
        assert told(caught.value, "variables: can't be read: it raised KeyError", "__iter__")
