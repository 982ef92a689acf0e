"""One refresh at a time, shielded from its callers; and which views have the same token, and how long it is kept."""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
import tracemalloc
import weakref

import pytest

from clarus_async import (
    AccessToken,
    AuthenticationError,
    ClarusClient,
    ClarusError,
    ClientCredentials,
    ConfigurationError,
    ConnectionFailedError,
    RateLimitedError,
    RefreshToken,
    Token,
)
from clarus_async.auth import token_manager as module
from clarus_async.auth.token_manager import TokenManager
from tests.support.builders import client_of
from tests.support.stub_server import TOKEN_PATH, StubServer, bearer, reply
from tests.support.virtual import now, settle, virtual

FOREVER = 1e6


class Grant:
    """Answers what it is given, one after the other and the last for ever, each after some seconds."""

    def __init__(self, *answers, seconds=1.0):
        self.answers = list(answers)
        self.seconds = seconds
        self.asked_at = []
        self.under_way = 0

    async def __call__(self):
        self.asked_at.append(now())
        number = len(self.asked_at)
        self.under_way += 1
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception) and not isinstance(answer, ClarusError):
            raise answer
        return answer(number) if callable(answer) else answer

    @property
    def asked(self):
        return len(self.asked_at)


def tokens(expires_in=100.0):
    """A fresh token each time: t1, t2 and so on."""
    return lambda number: Token(f"t{number}", expires_in)


def new_manager(grant, *, static=False, told=None):
    notify = (lambda event: None) if told is None else told.append
    return TokenManager(grant, static=static, notify=notify, on_request=lambda manager: None)


def refused():
    return AuthenticationError("the token endpoint refused the request: 401 invalid_client")


class TestOneRefresh:
    @virtual
    async def test_a_fresh_token_asks_nobody(self):
        grant = Grant(tokens())
        manager = new_manager(grant)
        await manager.get(FOREVER)
        assert await manager.get(FOREVER) == "t1"
        assert manager.current(now()) == "t1"
        assert grant.asked == 1

    @virtual
    async def test_a_stale_token_is_usable_but_not_fresh(self):
        manager = new_manager(Grant(tokens(100.0)))
        await manager.get(FOREVER)
        await asyncio.sleep(94.0)
        assert manager.current(now()) is None
        assert manager.is_current("t1", now())
        assert not manager.is_current("t0", now())

    @virtual
    async def test_life_counts_from_before_it_was_asked_for(self):
        manager = new_manager(Grant(tokens(100.0), seconds=30.0))
        await manager.get(FOREVER)
        assert now() == 30.0
        await asyncio.sleep(69.0)
        assert manager.is_current("t1", now())
        await asyncio.sleep(1.0)
        assert not manager.is_current("t1", now())

    @pytest.mark.parametrize("absurd", [0, -1, float("nan"), float("-inf"), 1e18, float("inf")])
    @virtual
    async def test_an_absurd_life_is_clamped(self, absurd):
        grant = Grant(tokens(absurd), seconds=0.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        await asyncio.sleep(200.0)
        assert await manager.get(FOREVER) == "t1"
        for _ in range(24):
            await asyncio.sleep(3600.0)
        assert await manager.get(FOREVER) == "t2"


class TestCancellation:
    @virtual
    async def test_the_refresh_is_of_use_even_if_everybody_left(self):
        grant = Grant(tokens(), seconds=5.0)
        manager = new_manager(grant)
        callers = [asyncio.create_task(manager.get(FOREVER)) for _ in range(3)]
        await asyncio.sleep(1.0)
        for caller in callers:
            caller.cancel()
        await asyncio.sleep(5.0)
        assert manager.current(now()) == "t1"
        assert grant.asked == 1

    @pytest.mark.parametrize("turns", range(6))
    @virtual
    async def test_cancelling_at_any_turn_of_the_loop_leaves_the_others_their_token(self, turns):
        grant = Grant(tokens(), seconds=0.0)
        manager = new_manager(grant)
        first = asyncio.create_task(manager.get(FOREVER))
        second = asyncio.create_task(manager.get(FOREVER))
        await settle(turns)
        first.cancel()
        assert await second == "t1"
        assert grant.asked == 1


class TestRefusal:
    @virtual
    async def test_everybody_is_told_by_an_error_of_their_own(self):
        manager = new_manager(Grant(refused()))
        first, second = await asyncio.gather(manager.get(FOREVER), manager.get(FOREVER))
        assert first is not second
        with pytest.raises(AuthenticationError):
            raise first
        assert second.__traceback__ is None

    @virtual
    async def test_nobody_asks_again_during_the_backoff_and_all_are_told_why_and_how_long(self):
        grant = Grant(refused(), tokens(), seconds=0.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        await asyncio.sleep(0.25)
        result = await manager.get(FOREVER)
        assert isinstance(result, AuthenticationError)
        assert "invalid_client" in str(result)
        assert result.retry_after == pytest.approx(0.75)
        assert grant.asked == 1
        await asyncio.sleep(0.75)
        assert await manager.get(FOREVER) == "t2"

    @virtual
    async def test_the_backoff_doubles_up_to_a_minute(self):
        grant = Grant(refused(), seconds=0.0)
        manager = new_manager(grant)
        waits = []
        for _ in range(9):
            await manager.get(FOREVER)
            wait = (await manager.get(FOREVER)).retry_after
            waits.append(round(wait, 3))
            await asyncio.sleep(wait)
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert grant.asked == 9

    @virtual
    async def test_a_token_that_came_ends_the_backoff(self):
        grant = Grant(refused(), refused(), tokens(10.0), refused(), seconds=0.0)
        manager = new_manager(grant)
        for wait in (1.0, 2.0):
            await manager.get(FOREVER)
            await asyncio.sleep(wait)
        assert await manager.get(FOREVER) == "t3"
        await asyncio.sleep(10.0)
        await manager.get(FOREVER)
        assert (await manager.get(FOREVER)).retry_after == pytest.approx(1.0)

    @virtual
    async def test_a_stale_token_is_served_as_long_as_it_lives(self):
        grant = Grant(tokens(100.0), refused(), seconds=0.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        await asyncio.sleep(95.0)
        assert await manager.get(FOREVER) == "t1"
        await settle()
        assert await manager.get(FOREVER) == "t1"
        assert grant.asked == 2
        await asyncio.sleep(5.0)
        assert isinstance(await manager.get(FOREVER), AuthenticationError)

    @virtual
    async def test_an_unreachable_endpoint_is_no_refusal(self):
        grant = Grant(ConnectionFailedError("no connection could be made", retryable=True), tokens(), seconds=0.0)
        manager = new_manager(grant)
        assert isinstance(await manager.get(FOREVER), ConnectionFailedError)
        assert await manager.get(FOREVER) == "t2"

    @virtual
    async def test_what_a_grant_raises_is_named_and_not_quoted(self):
        manager = new_manager(Grant(RuntimeError("canary")))
        result = await manager.get(FOREVER)
        assert isinstance(result, AuthenticationError)
        assert "RuntimeError" in str(result)
        assert "canary" not in "".join(traceback.format_exception(result))


class TestRejection:
    @virtual
    async def test_a_401_ends_the_token_it_was_answered_for(self):
        manager = new_manager(Grant(tokens(), seconds=0.0))
        await manager.get(FOREVER)
        assert manager.reject("t1").value == "t1"
        assert not manager.is_current("t1", now())
        assert await manager.get(FOREVER) == "t2"

    @virtual
    async def test_a_401_during_a_refresh_starts_no_second_one(self):
        grant = Grant(tokens(100.0), seconds=2.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        await asyncio.sleep(92.0)
        assert await manager.get(FOREVER) == "t1"
        manager.reject("t1")
        assert await manager.get(FOREVER) == "t2"
        assert grant.asked == 2

    @virtual
    async def test_an_endpoint_that_says_when_to_come_back_is_not_asked_before(self):
        grant = Grant(RateLimitedError("429", status=429, retryable=True, retry_after=30.0), tokens(), seconds=0.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        await asyncio.sleep(10.0)
        error = await manager.get(FOREVER)
        assert (type(error), error.retry_after) == (RateLimitedError, 20.0)
        await asyncio.sleep(20.0)
        assert await manager.get(FOREVER) == "t2"
        assert grant.asked_at == [0.0, 30.0]


class TestEvents:
    @virtual
    async def test_a_token_that_came_is_told_with_its_life(self):
        told = []
        await new_manager(Grant(tokens(100.0), seconds=2.0), told=told).get(FOREVER)
        [event] = told
        assert (event.duration, event.expires_in, event.failure) == (2.0, 100.0, None)

    @virtual
    async def test_one_that_did_not_is_told_with_the_error_s_class(self):
        told = []
        await new_manager(Grant(refused()), told=told).get(FOREVER)
        [event] = told
        assert (event.expires_in, event.failure) == (None, "AuthenticationError")


class TestClosing:
    @virtual
    async def test_closing_ends_the_refresh_and_tells_who_waits_for_it(self):
        grant = Grant(tokens(), seconds=FOREVER)
        manager = new_manager(grant)
        callers = [asyncio.create_task(manager.get(FOREVER)) for _ in range(2)]
        await settle()
        manager.close()
        results = await asyncio.gather(*callers)
        assert all(isinstance(result, ConfigurationError) for result in results)
        assert now() == 0
        assert grant.under_way == 0

    @virtual
    async def test_closing_before_the_refresh_ran_tells_who_waits_for_it(self):
        manager = new_manager(Grant(tokens()))
        caller = asyncio.create_task(manager.get(FOREVER))
        await asyncio.sleep(0)
        manager.close()
        assert isinstance(await caller, ConfigurationError)

    @virtual
    async def test_a_manager_that_was_reset_asks_afresh(self):
        grant = Grant(tokens(), seconds=0.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        manager.reset()
        assert manager.current(now()) is None
        assert await manager.get(FOREVER) == "t2"

    @virtual
    async def test_a_manager_that_was_reset_does_not_keep_to_a_backoff_of_the_old_clock(self):
        grant = Grant(refused(), tokens(), seconds=0.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        manager.reset()
        assert await manager.get(FOREVER) == "t2"


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
        async with server() as stub, client_of(stub, AccessToken("t0")) as clarus:
            for _ in range(5):
                await clarus.for_subdomain("globex", ClientCredentials("id", "secret")).ping()
                gc.collect()
            assert stub.count(TOKEN_PATH) == 1

    @pytest.mark.parametrize("make", [Source, Equal, Unhashable, Slotted])
    async def test_a_source_that_is_there_is_asked_once(self, make):
        source = make()
        async with server() as stub, client_of(stub, AccessToken("t0")) as clarus:
            for _ in range(5):
                await clarus.for_subdomain("globex", source).ping()
                gc.collect()
            assert source.asked == 1

    async def test_a_source_goes_with_its_view(self):
        async with server() as stub, client_of(stub, AccessToken("t0")) as clarus:
            source = Source()
            gone = weakref.ref(source)
            await clarus.for_subdomain("globex", source).ping()
            del source
            gc.collect()
            assert gone() is None
            assert list(clarus._caller.core.token_managers) == [manager_of(clarus)]

    async def test_an_access_token_goes_with_its_view(self):
        async with server() as stub, client_of(stub, AccessToken("t0")) as clarus:
            for number in range(5):
                await clarus.for_subdomain("globex", AccessToken(f"token-{number}")).ping()
            gc.collect()
            assert [asked.token for asked in stub.asked] == [f"token-{number}" for number in range(5)]
            assert list(clarus._caller.core.token_managers) == [manager_of(clarus)]

    async def test_those_that_asked_last_are_held(self, monkeypatch):
        monkeypatch.setattr(module, "_MOST_KEPT", 3)
        async with server() as stub, client_of(stub, AccessToken("t0")) as clarus:
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
            client_of(stub, AccessToken("t0")) as clarus,
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
        async with server(rotates=True) as stub, client_of(stub, AccessToken("t0")) as clarus:
            await clarus.for_subdomain("globex", RefreshToken("id", "secret", "r1")).ping()
            await clarus.for_subdomain("globex", ClientCredentials("id", "secret")).ping()
            gc.collect()
            await clarus.for_subdomain("globex", RefreshToken("id", "secret", "r1")).ping()
            asked = [request.form for request in stub.asked if request.path == TOKEN_PATH]
            assert [form.get("refresh_token") for form in asked] == ["r1", None]

    async def test_whoever_has_the_stored_one_has_the_same_access_token(self):
        stored = ["r1"]
        async with server(rotates=True) as stub, client_of(stub, AccessToken("t0")) as clarus:
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

        async with server(rotates=True) as stub, client_of(stub, AccessToken("t0")) as clarus:
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
        async with server(rotates=True) as stub, client_of(stub, AccessToken("t0")) as clarus:
            keeping = clarus.for_subdomain("globex", RefreshToken("id", "secret", "r1", told.append))
            await clarus.for_subdomain("initech", RefreshToken("id", "secret", "r1")).ping()
            await keeping.ping()
        assert told == ["r2"]


class TestClosed:
    async def test_a_closed_client_holds_no_token(self):
        async with server() as stub:
            async with client_of(stub, AccessToken("t0")) as clarus:
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
