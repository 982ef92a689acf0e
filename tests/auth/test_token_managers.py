"""Which views have the same token, and what is let go of when nobody can ask for it any more."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
import weakref

import pytest

from clarus_async import AccessToken, ClarusClient, ClientCredentials, ConfigurationError, RefreshToken, Token
from clarus_async.auth import token_manager as module
from tests.support.stub_server import TOKEN_PATH, StubServer, bearer, reply


class Source:
    """A token source that says how often it was asked."""

    def __init__(self, name=""):
        self.name = name
        self.asked = 0

    async def fetch(self):
        self.asked += 1
        return Token(f"{self.name}{self.asked}", 3600.0)


class Equal(Source):
    """One that is equal to all others."""

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 1


class Unhashable(Source):
    __hash__ = None

    def __eq__(self, other):
        return True


class Slotted:
    """One that can't be referred to weakly."""

    __slots__ = ("asked",)

    def __init__(self):
        self.asked = 0

    async def fetch(self):
        self.asked += 1
        return Token(f"slotted{self.asked}", 3600.0)


class FromSettings(ClientCredentials):
    """A subclass, as one that reads settings may be."""


def of_each_kind(number):
    return {
        "access": AccessToken(f"token-{number}"),
        "client": ClientCredentials(f"id-{number}", "secret"),
        "refresh": RefreshToken("id", "secret", f"refresh-{number}", on_rotate=print),
        "source": Source(),
        "slotted": Slotted(),
    }


KINDS = list(of_each_kind(0))


@pytest.fixture
def clarus():
    return ClarusClient("acme", AccessToken("t0"))


def manager_of(view):
    return view._caller._token_manager


def opcodes(function, *arguments):
    """How many opcodes a call takes, which no other process has a part in."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", KINDS)
class TestManyViews:
    def test_they_leave_nothing_behind(self, clarus, kind):
        for number in range(50):
            clarus.for_subdomain("globex", of_each_kind(-1 - number)[kind])
        gc.collect()
        tracemalloc.start()
        try:
            before, objects = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
            for number in range(2_000):
                clarus.for_subdomain(f"tenant-{number}", of_each_kind(number)[kind])
            gc.collect()
            assert len(gc.get_objects()) - objects < 50
            assert tracemalloc.get_traced_memory()[0] - before < 64 * 2**10
        finally:
            tracemalloc.stop()

    def test_the_last_takes_no_longer_than_the_first(self, clarus, kind):
        of = [of_each_kind(number)[kind] for number in range(2_000)]
        clarus.for_subdomain("globex", of_each_kind(-1)[kind])
        gc.collect()
        first = opcodes(clarus.for_subdomain, "globex", of[0])
        # Even where all are held.
        held = [clarus.for_subdomain("globex", credentials) for credentials in of[1:]]
        assert opcodes(clarus.for_subdomain, "globex", of_each_kind(2_001)[kind]) <= 1.5 * first
        assert len({manager_of(view) for view in held}) == len(held)


class TestTheSameToken:
    @pytest.mark.parametrize("kind", ["access", "client", "refresh"])
    def test_credentials_that_hold_the_same(self, clarus, kind):
        one, two = (clarus.for_subdomain(name, of_each_kind(1)[kind]) for name in ("globex", "initech"))
        assert manager_of(one) is manager_of(two)

    def test_those_of_a_subclass(self, clarus):
        one = clarus.for_subdomain("globex", FromSettings("id", "secret"))
        assert manager_of(one) is manager_of(clarus.for_subdomain("globex", ClientCredentials("id", "secret")))

    def test_not_those_of_other_scopes(self, clarus):
        one = clarus.for_subdomain("globex", ClientCredentials("id", "secret", ("read",)))
        assert manager_of(one) is not manager_of(clarus.for_subdomain("globex", ClientCredentials("id", "secret")))

    @pytest.mark.parametrize("make", [Source, Equal, Unhashable, Slotted])
    def test_a_source_is_known_by_itself(self, clarus, make):
        one, two = make(), make()
        views = [clarus.for_subdomain("globex", source) for source in (one, one, two)]
        assert manager_of(views[0]) is manager_of(views[1]) is not manager_of(views[2])

    def test_an_unhashable_on_rotate(self, clarus):
        class Store(list):
            def __call__(self, token):
                self.append(token)

        one, two = (clarus.for_subdomain("globex", RefreshToken("id", "secret", "r1", Store())) for _ in range(2))
        assert manager_of(one) is manager_of(two)


def server(**options):
    def token(asked):
        count = stub.count(TOKEN_PATH)
        return bearer(f"t{count}", expires_in=3600, **({"refresh_token": f"r{count + 1}"} if options else {}))

    stub = StubServer(lambda asked: reply({"data": {}}), token)
    return stub


class TestViewAfterView:
    """A view a request, as web services make them."""

    async def test_client_credentials_ask_once(self):
        async with server() as stub, ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus:
            for _ in range(5):
                await clarus.for_subdomain("globex", ClientCredentials("id", "secret")).ping()
                gc.collect()
            assert stub.count(TOKEN_PATH) == 1

    @pytest.mark.parametrize("make", [Source, Equal, Unhashable, Slotted])
    async def test_a_source_that_is_there_is_asked_once(self, make):
        source = make()
        async with server() as stub, ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus:
            for _ in range(5):
                await clarus.for_subdomain("globex", source).ping()
                gc.collect()
            assert source.asked == 1

    async def test_a_source_goes_with_its_view(self):
        async with server() as stub, ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus:
            source = Source()
            gone = weakref.ref(source)
            await clarus.for_subdomain("globex", source).ping()
            del source
            gc.collect()
            assert gone() is None
            assert list(clarus._caller.core.token_managers) == [manager_of(clarus)]

    async def test_an_access_token_goes_with_its_view(self):
        async with server() as stub, ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus:
            for number in range(5):
                await clarus.for_subdomain("globex", AccessToken(f"token-{number}")).ping()
            gc.collect()
            assert [asked.token for asked in stub.asked] == [f"token-{number}" for number in range(5)]
            assert list(clarus._caller.core.token_managers) == [manager_of(clarus)]

    async def test_those_that_asked_last_are_held(self, monkeypatch):
        monkeypatch.setattr(module, "_MOST_KEPT", 3)
        async with server() as stub, ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus:
            for name in ("a", "b", "c", "a", "d", "a", "b"):
                await clarus.for_subdomain("globex", ClientCredentials(name, "secret")).ping()
                gc.collect()
            asked = [request.form["client_id"] for request in stub.asked if request.path == TOKEN_PATH]
            assert asked == ["a", "b", "c", "d", "b"]
            assert len(set(clarus._caller.core.token_managers)) == 4

    async def test_a_refresh_outlives_the_view_that_began_it(self):
        let_go = asyncio.Event()

        async def token(asked):
            await let_go.wait()
            return bearer("t1", expires_in=3600)

        async with (
            StubServer(lambda asked: reply({"data": {}}), token) as stub,
            ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus,
        ):
            first = asyncio.create_task(clarus.for_subdomain("globex", ClientCredentials("id", "secret")).ping())
            while not stub.count(TOKEN_PATH):  # noqa: ASYNC110  the server sets no event
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            del first
            gc.collect()
            second = asyncio.create_task(clarus.for_subdomain("globex", ClientCredentials("id", "secret")).ping())
            await asyncio.sleep(0)
            let_go.set()
            await second
            assert stub.count(TOKEN_PATH) == 1


class TestRotation:
    async def test_a_token_that_nobody_stores_is_not_lost_with_its_view(self, monkeypatch):
        monkeypatch.setattr(module, "_MOST_KEPT", 1)
        async with server(rotates=True) as stub, ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus:
            await clarus.for_subdomain("globex", RefreshToken("id", "secret", "r1")).ping()
            await clarus.for_subdomain("globex", ClientCredentials("id", "secret")).ping()
            gc.collect()
            await clarus.for_subdomain("globex", RefreshToken("id", "secret", "r1")).ping()
            asked = [request.form for request in stub.asked if request.path == TOKEN_PATH]
            assert [form.get("refresh_token") for form in asked] == ["r1", None]

    async def test_whoever_has_the_stored_one_has_the_same_access_token(self):
        stored = ["r1"]
        async with server(rotates=True) as stub, ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus:
            for _ in range(5):
                credentials = RefreshToken("id", "secret", stored[-1], on_rotate=stored.append)
                await clarus.for_subdomain("globex", credentials).ping()
                gc.collect()
            assert stored == ["r1", "r2"]
            assert stub.count(TOKEN_PATH) == 1

    async def test_every_refresh_is_stored_by_whoever_came_last(self):
        told = []

        def view():
            number = len(told)
            last = told[-1][1] if told else "r1"
            credentials = RefreshToken("id", "secret", last, lambda token: told.append((number, token)))
            return clarus.for_subdomain("globex", credentials)

        async with server(rotates=True) as stub, ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus:
            for number in range(6):
                again = view()
                await again.ping()
                manager_of(again).reject(f"t{number + 1}")
            asked = [request.form["refresh_token"] for request in stub.asked if request.path == TOKEN_PATH]
            assert asked == ["r1", "r2", "r3", "r4", "r5", "r6"]
            assert told == [(number, f"r{number + 2}") for number in range(6)]
            # It is not found by all that it ever had.
            assert len(clarus._caller.core.token_managers._by_value) == 1 + 3

    async def test_a_view_without_on_rotate_does_not_take_the_others(self):
        told = []
        async with server(rotates=True) as stub, ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus:
            keeping = clarus.for_subdomain("globex", RefreshToken("id", "secret", "r1", told.append))
            await clarus.for_subdomain("initech", RefreshToken("id", "secret", "r1")).ping()
            await keeping.ping()
        assert told == ["r2"]


class TestClosed:
    async def test_a_closed_client_holds_no_token(self):
        async with server() as stub:
            async with ClarusClient("acme", AccessToken("t0"), base_url=stub.url) as clarus:
                await clarus.for_subdomain("globex", ClientCredentials("id", "secret")).ping()
            gc.collect()
            assert list(clarus._caller.core.token_managers) == [manager_of(clarus)]

    @pytest.mark.parametrize("kind", KINDS)
    async def test_views_of_a_closed_client_say_so_and_leave_nothing(self, clarus, kind):
        await clarus.close()
        for number in range(5):
            with pytest.raises(ConfigurationError, match="the client is closed"):
                await clarus.for_subdomain("globex", of_each_kind(number)[kind]).ping()
        gc.collect()
        assert list(clarus._caller.core.token_managers) == [manager_of(clarus)]
