"""Who holds the token: one refresh at a time, shielded from its callers, and told apart by token and tenant."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from clarus_async.auth.token_manager import TokenManager
from clarus_async.credentials import Token
from clarus_async.errors import (
    AuthenticationError,
    ClarusError,
    ConfigurationError,
    ConnectionFailedError,
    DeadlineExceededError,
    RateLimitedError,
)
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
    async def test_a_thousand_callers_share_one(self):
        grant = Grant(tokens())
        manager = new_manager(grant)
        assert await asyncio.gather(*(manager.get(FOREVER) for _ in range(1000))) == ["t1"] * 1000
        assert grant.asked == 1

    @virtual
    async def test_a_fresh_token_asks_nobody(self):
        grant = Grant(tokens())
        manager = new_manager(grant)
        await manager.get(FOREVER)
        assert await manager.get(FOREVER) == "t1"
        assert manager.current(now()) == "t1"
        assert grant.asked == 1

    @virtual
    async def test_a_stale_token_is_served_while_one_caller_refreshes(self):
        grant = Grant(tokens(100.0), seconds=1.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        await asyncio.sleep(94.0)
        began = now()
        assert await asyncio.gather(*(manager.get(FOREVER) for _ in range(50))) == ["t1"] * 50
        assert now() == began
        await asyncio.sleep(1.0)
        assert await manager.get(FOREVER) == "t2"
        assert grant.asked == 2

    @virtual
    async def test_a_stale_token_is_usable_but_not_fresh(self):
        manager = new_manager(Grant(tokens(100.0)))
        await manager.get(FOREVER)
        await asyncio.sleep(94.0)
        assert manager.current(now()) is None
        assert manager.is_current("t1", now())
        assert not manager.is_current("t0", now())

    @virtual
    async def test_an_expired_token_is_waited_for(self):
        grant = Grant(tokens(100.0), seconds=2.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        await asyncio.sleep(100.0)
        assert not manager.is_current("t1", now())
        began = now()
        assert await manager.get(FOREVER) == "t2"
        assert now() - began == 2.0

    @virtual
    async def test_life_counts_from_before_it_was_asked_for(self):
        manager = new_manager(Grant(tokens(100.0), seconds=30.0))
        await manager.get(FOREVER)
        assert now() == 30.0
        await asyncio.sleep(69.0)
        assert manager.is_current("t1", now())
        await asyncio.sleep(1.0)
        assert not manager.is_current("t1", now())

    @virtual
    async def test_a_token_that_says_nothing_of_its_life_lives_five_minutes(self):
        manager = new_manager(Grant(tokens(None), seconds=0.0))
        await manager.get(FOREVER)
        await asyncio.sleep(299.0)
        assert manager.is_current("t1", now())
        await asyncio.sleep(1.0)
        assert not manager.is_current("t1", now())

    @pytest.mark.parametrize("absurd", [0, -1, float("nan"), float("-inf"), 1e18, float("inf")])
    def test_an_absurd_life_is_clamped(self, absurd):
        @virtual
        async def check():
            grant = Grant(tokens(absurd), seconds=0.0)
            manager = new_manager(grant)
            await manager.get(FOREVER)
            await asyncio.sleep(200.0)
            assert await manager.get(FOREVER) == "t1"
            for _ in range(24):
                await asyncio.sleep(3600.0)
            assert await manager.get(FOREVER) == "t2"

        check()

    @pytest.mark.parametrize("garbage", ["3600", "soon", [], object()], ids=["digits", "word", "list", "object"])
    def test_a_life_that_is_no_number_is_an_error_of_ours_or_none(self, garbage):
        """A custom source may put anything into its Token."""

        @virtual
        async def check():
            try:
                token = Token("t1", garbage)
            except ClarusError:
                return
            result = await new_manager(Grant(token)).get(FOREVER)
            assert isinstance(result, str | ClarusError)

        check()


class TestCancellation:
    @virtual
    async def test_the_refresh_survives_the_caller_that_started_it(self):
        grant = Grant(tokens(), seconds=5.0)
        manager = new_manager(grant)
        first = asyncio.create_task(manager.get(FOREVER))
        await asyncio.sleep(1.0)
        second = asyncio.create_task(manager.get(FOREVER))
        first.cancel()
        assert await second == "t1"
        assert first.cancelled()
        assert grant.asked == 1

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
    def test_cancelling_at_any_turn_of_the_loop_leaves_the_others_their_token(self, turns):
        @virtual
        async def check():
            grant = Grant(tokens(), seconds=0.0)
            manager = new_manager(grant)
            first = asyncio.create_task(manager.get(FOREVER))
            second = asyncio.create_task(manager.get(FOREVER))
            await settle(turns)
            first.cancel()
            assert await second == "t1"
            assert grant.asked == 1

        check()

    @virtual
    async def test_patience_ends_with_an_error_and_the_refresh_goes_on(self):
        grant = Grant(tokens(), seconds=5.0)
        manager = new_manager(grant)
        result = await manager.get(2.0)
        assert isinstance(result, DeadlineExceededError)
        assert "nothing was sent" in str(result)
        assert now() == 2.0
        assert await manager.get(FOREVER) == "t1"
        assert grant.asked == 1


class TestRefusal:
    @virtual
    async def test_everybody_is_told_why(self):
        manager = new_manager(Grant(refused()))
        results = await asyncio.gather(*(manager.get(FOREVER) for _ in range(3)))
        assert [str(result) for result in results] == ["the token endpoint refused the request: 401 invalid_client"] * 3

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
    async def test_a_late_401_for_an_old_token_ends_no_other(self):
        grant = Grant(tokens(), seconds=0.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        manager.reject("t1")
        await manager.get(FOREVER)
        for _ in range(10):
            assert manager.reject("t1") is None
        assert await manager.get(FOREVER) == "t2"
        assert grant.asked == 2

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

    @virtual
    async def test_a_refusal_that_says_when_to_come_back_is_no_reason_to_ask_before(self):
        error = refused()
        error.retry_after = 600.0
        grant = Grant(error, tokens(), seconds=0.0)
        manager = new_manager(grant)
        await manager.get(FOREVER)
        await asyncio.sleep(500.0)
        again = await manager.get(FOREVER)
        assert (type(again), again.retry_after) == (AuthenticationError, 100.0)
        await asyncio.sleep(100.0)
        assert await manager.get(FOREVER) == "t2"
        assert grant.asked_at == [0.0, 600.0]


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

    @virtual
    async def test_the_token_is_in_no_repr(self):
        manager = new_manager(Grant(tokens()))
        await manager.get(FOREVER)
        assert "t1" not in repr(manager._held)
        assert "t1" not in repr(manager)


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
