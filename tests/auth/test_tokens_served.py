"""Tokens as calls meet them: over real sockets, or through simulated ones where hours must pass."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from clarus_async import (
    AccessToken,
    Applied,
    AuthenticationError,
    ClarusClient,
    ClarusError,
    ClientCredentials,
    ConfigurationError,
    ConnectionFailedError,
    DeadlineExceededError,
    PacingPolicy,
    RefreshToken,
    RetryPolicy,
    Timeouts,
    Token,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.builders import client_of, shop
from tests.support.stub_server import TOKEN_PATH, StubServer, bearer, created, reply
from tests.support.virtual import now, settle, virtual


async def slowly(answer, seconds=0.01):
    await asyncio.sleep(seconds)
    return answer


ID_AND_SECRET = ClientCredentials("id", "secret")


class TestOneRefresh:
    async def test_a_thousand_creates_on_a_cold_client_ask_for_one_token(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            await asyncio.gather(*(clarus.integrations.create(shop(number)) for number in range(1000)))
            assert sim.count(Endpoint.TOKEN) == 1
            assert len(sim.integrations("acme")) == 1000

    async def test_many_creates_after_the_session_was_ended_ask_for_one_more(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            await clarus.ping()
            sim.expire_tokens()
            await asyncio.gather(*(clarus.integrations.create(shop(number)) for number in range(300)))
            assert sim.count(Endpoint.TOKEN) == 2
            names = Counter(record.name for record in sim.created("acme"))
            assert set(names.values()) == {1}
            assert len(names) == 300

    @virtual
    async def test_many_creates_at_the_token_s_expiry_ask_for_one_more(self):
        async with Simulator(token_lifetime=600.0) as sim, client_of(sim) as clarus:
            await clarus.ping()
            await asyncio.sleep(600.0)
            await asyncio.gather(*(clarus.integrations.create(shop(number)) for number in range(300)))
            assert sim.count(Endpoint.TOKEN) == 2
            assert all(request.status == 200 for request in sim.requests)

    @virtual
    async def test_a_stale_token_is_sent_while_one_caller_refreshes(self):
        async with Simulator(token_lifetime=600.0) as sim, client_of(sim) as clarus:
            await clarus.ping()
            await asyncio.sleep(550.0)
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=10.0))
            began = now()
            await asyncio.gather(*(clarus.integrations.create(shop(number)) for number in range(50)))
            assert now() == began
            assert sim.count(Endpoint.TOKEN) == 2
            await asyncio.sleep(20.0)
            assert sim.count(Endpoint.TOKEN) == 3
            await clarus.ping()
            assert sim.count(Endpoint.TOKEN) == 3

    @virtual
    async def test_a_token_that_expired_during_a_pause_is_not_sent(self):
        async with Simulator(token_lifetime=60.0) as sim, client_of(sim) as clarus:
            await clarus.ping()
            await asyncio.sleep(40.0)
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=60))
            await clarus.integrations.create(shop())
            assert now() == pytest.approx(100.0)
            assert [request.status for request in sim.requests if request.endpoint is Endpoint.CREATE] == [429, 200]

    @virtual
    async def test_a_token_that_expired_in_the_queue_is_not_sent(self):
        async with Simulator(token_lifetime=60.0) as sim, client_of(sim, max_connections=1) as clarus:
            await clarus.ping()
            await asyncio.sleep(40.0)
            sim.script(Endpoint.SYNCHRONIZE, Fault(FaultKind.STALL_AFTER, delay=25.0))
            slow = asyncio.create_task(clarus.integrations.synchronize(1))
            await settle()
            await clarus.integrations.create(shop())
            assert sim.requests[-1].status == 200
            assert [request.status for request in sim.requests if request.endpoint is Endpoint.CREATE] == [200]
            await asyncio.gather(slow, return_exceptions=True)

    @virtual
    async def test_a_quiet_client_asks_for_no_token(self):
        async with Simulator(token_lifetime=600.0) as sim, client_of(sim) as clarus:
            await clarus.ping()
            await asyncio.sleep(10_000.0)
            assert sim.count(Endpoint.TOKEN) == 1

    @virtual
    async def test_views_share_the_token(self):
        async with Simulator(tenants=("acme", "globex")) as sim, client_of(sim) as clarus:
            globex = clarus.for_subdomain("globex")
            quick = globex.with_options(retry=RetryPolicy(max_attempts=1))
            await asyncio.gather(clarus.ping(), globex.ping(), quick.ping())
            assert sim.count(Endpoint.TOKEN) == 1

    @virtual
    async def test_a_view_with_credentials_of_its_own_has_a_token_of_its_own(self):
        async with StubServer(lambda asked: reply({"data": {}})) as server, client_of(server, ID_AND_SECRET) as clarus:
            await clarus.ping()
            await clarus.for_subdomain("globex", ClientCredentials("other", "secret")).ping()
            forms = [asked.form["client_id"] for asked in server.asked if asked.path == TOKEN_PATH]
            assert forms == ["id", "other"]

    @virtual
    async def test_equal_credentials_share_a_token(self):
        """A service that makes its view anew for each request must not ask for a token each time."""
        async with StubServer(lambda asked: reply({"data": {}})) as server, client_of(server, ID_AND_SECRET) as clarus:
            for _ in range(5):
                await clarus.for_subdomain("globex", ClientCredentials("id", "secret")).ping()
            assert server.count(TOKEN_PATH) == 1

    @virtual
    async def test_equal_refresh_tokens_rotate_together(self):
        """Two who rotate one refresh token apart end each other's session."""
        rotating = [f"r{number}" for number in range(1, 10)]

        def tokens(asked):
            if asked.form["refresh_token"] != rotating[0]:
                return reply({"error": "invalid_grant"}, 400)
            del rotating[0]
            return bearer("t", refresh_token=rotating[0])

        async with StubServer(lambda asked: reply({"data": {}}), tokens) as server:
            async with client_of(server, ID_AND_SECRET) as clarus:
                for _ in range(3):
                    await clarus.for_subdomain("globex", RefreshToken("id", "secret", "r1")).ping()
            assert server.count(TOKEN_PATH) == 1

    @virtual
    async def test_the_refresh_survives_the_call_that_started_it(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=5.0))
            first = asyncio.create_task(clarus.ping())
            await asyncio.sleep(1.0)
            second = asyncio.create_task(clarus.ping())
            await asyncio.sleep(1.0)
            first.cancel()
            await second
            assert first.cancelled()
            assert sim.count(Endpoint.TOKEN) == 2
            assert sim.count(Endpoint.GRAPHQL) == 1


class TestUnauthorized:
    @virtual
    async def test_a_401_is_answered_with_a_new_token_and_costs_no_attempt(self):
        retry = RetryPolicy(max_attempts=1)
        async with Simulator() as sim, client_of(sim, retry=retry) as clarus:
            await clarus.ping()
            sim.expire_tokens()
            await clarus.integrations.create(shop())
            assert sim.count(Endpoint.TOKEN) == 2
            assert len(sim.created("acme")) == 1
            first, second = (request for request in sim.requests if request.endpoint is Endpoint.CREATE)
            assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]

    @virtual
    async def test_several_in_one_call_are_answered_with_as_many_tokens(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, *[FaultKind.UNAUTHORIZED] * 6)
            await clarus.integrations.create(shop())
            assert (sim.count(Endpoint.TOKEN), sim.count(Endpoint.CREATE)) == (7, 7)
            assert len(sim.created("acme")) == 1

    @virtual
    async def test_where_the_api_takes_no_token_until_the_deadline_it_says_what_that_may_be(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.set_faults([Fault(FaultKind.UNAUTHORIZED, endpoint=Endpoint.CREATE)])
            began = now()
            with pytest.raises(AuthenticationError, match="refuses a token that was just issued") as raised:
                await clarus.integrations.create(shop())
            assert 60.0 < now() - began <= 120.0
            said = str(raised.value)
            assert all(word in said for word in ("tenant", "login", "another process", "gateway"))
            assert raised.value.attempts == sim.count(Endpoint.CREATE) > 6
            assert (raised.value.applied, raised.value.retryable) == (Applied.NO, True)
            assert (raised.value.method, raised.value.path) == ("POST", "/api/integrations")
            assert sim.created("acme") == []

    @virtual
    async def test_a_late_401_for_an_old_token_ends_no_other(self):
        release = asyncio.Event()

        async def answer(asked):
            if asked.token == "stub-token-1":
                if asked.headers["x-clarus-subdomain"] == "slow":
                    await release.wait()
                return reply({"error": "ended"}, 401)
            return reply({"data": {}})

        async with StubServer(answer) as server, client_of(server, ID_AND_SECRET) as clarus:
            late = asyncio.create_task(clarus.for_subdomain("slow").ping())
            await settle(50)
            await clarus.ping()
            assert server.count(TOKEN_PATH) == 2
            release.set()
            await late
            assert server.count(TOKEN_PATH) == 2

    @virtual
    async def test_a_tenant_that_always_says_401_does_not_storm_the_token_endpoint(self):
        async with (
            StubServer(lambda asked: reply({"error": "no"}, 401)) as server,
            client_of(server, ID_AND_SECRET) as clarus,
        ):
            began = now()
            for _ in range(5):
                results = await asyncio.gather(*(clarus.ping() for _ in range(64)), return_exceptions=True)
                assert {type(result) for result in results} == {AuthenticationError}
            # A draw of up to 20 s between one and the next, once the first ten are gone.
            assert server.count(TOKEN_PATH) <= 12 + (now() - began) / 5

    @virtual
    async def test_whoever_comes_while_every_token_is_refused_waits_for_the_next(self):
        async with (
            StubServer(lambda asked: reply({"error": "no"}, 401)) as server,
            client_of(server, ID_AND_SECRET) as clarus,
        ):
            with pytest.raises(AuthenticationError):
                await clarus.ping()
            before = server.count(TOKEN_PATH)
            short = clarus.with_options(timeouts=Timeouts(attempt=0.5, settle=0.5, deadline=0.5))
            results = await asyncio.gather(*(short.ping() for _ in range(100)), return_exceptions=True)
            assert {type(result) for result in results} == {AuthenticationError}
            assert "every new token is refused" in str(results[0])
            assert server.count(TOKEN_PATH) <= before + 1

    @virtual
    async def test_a_tenant_that_always_says_401_stops_no_other(self):
        def answer(asked):
            if asked.headers["x-clarus-subdomain"] == "bad":
                return reply({"error": "no"}, 401)
            return reply({"data": {}})

        async with StubServer(answer) as server, client_of(server, ID_AND_SECRET) as clarus:
            bad = [asyncio.create_task(clarus.for_subdomain("bad").ping()) for _ in range(20)]
            while not all(task.done() for task in bad):
                await clarus.ping()
                await asyncio.sleep(0.1)
            assert {type(task.exception()) for task in bad} == {AuthenticationError}
            assert server.count(TOKEN_PATH) <= 40


async def logins(sim, seconds):
    """End the session every few seconds, as a login to the account's front end does."""
    while True:
        await asyncio.sleep(seconds)
        sim.expire_tokens()


def creates(number, count=100):
    return [shop(count * number + each) for each in range(count)]


async def provisioned(clarus, specs, **options):
    async with clarus.integrations.provision(specs, **options) as run:
        return [outcome async for outcome in run]


class TestTokensThatDieEarly:
    """Whatever ends a token, nothing fails as long as another one is to be had."""

    @pytest.mark.parametrize(("latency", "seconds"), [(0.01, None), (0.5, None), (0.2, 0.7), (0.01, 5.0)])
    @virtual
    async def test_processes_that_end_each_others_tokens_provision_all(self, seconds, latency):
        async with (
            Simulator(one_live_token=True, latency=latency, max_page_size=100) as sim,
            client_of(sim) as one,
            client_of(sim) as other,
        ):
            login = asyncio.create_task(logins(sim, seconds)) if seconds else None
            outcomes = await asyncio.gather(*(provisioned(each, creates(n)) for n, each in enumerate([one, other])))
            if login is not None:
                login.cancel()
            assert {outcome.status for run in outcomes for outcome in run} == {"created"}
            assert len(sim.created("acme")) == 200
            assert now() < 120.0

    @pytest.mark.parametrize(("latency", "seconds"), [(0.01, 1.0), (0.3, 1.0), (0.3, 2.0), (0.01, 3.0), (0.3, 5.0)])
    @virtual
    async def test_short_lives_fail_no_call(self, seconds, latency):
        async with Simulator(token_lifetime=seconds, latency=latency) as sim, client_of(sim) as clarus:
            calls = [clarus.integrations.create(shop(number)) for number in range(200)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [result for result in results if isinstance(result, BaseException)] == []
            assert len(sim.created("acme")) == 200
            outcomes = await provisioned(clarus, creates(2))
            assert {outcome.status for outcome in outcomes} == {"created"}

    @virtual
    async def test_lives_that_are_shorter_than_the_wait_for_a_turn_fail_no_call(self):
        async with Simulator(token_lifetime=1.0, latency=0.02) as sim:
            async with client_of(sim, pacing=PacingPolicy(rate=0.5, burst=1)) as clarus:
                await asyncio.gather(*(clarus.integrations.create(shop(number)) for number in range(10)))
            assert now() < 25.0
            assert len(sim.created("acme")) == 10
            assert sim.count(Endpoint.TOKEN) <= 25

    @virtual
    async def test_what_lives_shorter_than_it_says_fails_no_call(self):
        # Whole seconds, rounded up: it says one, and lives a part of it.
        async with Simulator(token_lifetime=3600.0, latency=0.02) as sim, client_of(sim) as clarus:
            ending = asyncio.create_task(logins(sim, 0.3))
            calls = [clarus.integrations.create(shop(number)) for number in range(200)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            ending.cancel()
            assert [result for result in results if isinstance(result, BaseException)] == []

    @virtual
    async def test_a_token_endpoint_that_is_away_for_a_minute_fails_no_record(self):
        async with Simulator(token_lifetime=5.0, latency=0.02) as sim:

            async def away():
                await asyncio.sleep(3.0)
                sim.set_faults([Fault(FaultKind.UNAVAILABLE, endpoint=Endpoint.TOKEN)])
                await asyncio.sleep(60.0)
                sim.set_faults([])

            trouble = asyncio.create_task(away())
            slow = PacingPolicy(rate=5.0)
            async with client_of(sim, pacing=slow) as paced:
                outcomes = await provisioned(paced, creates(0))
            await trouble
            assert {outcome.status for outcome in outcomes} == {"created"}

    @virtual
    async def test_an_api_that_refuses_every_token_ends_a_run_and_says_what_it_may_be(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.set_faults([Fault(FaultKind.UNAUTHORIZED)])
            with pytest.raises(AuthenticationError, match="every new token is refused"):
                await provisioned(clarus, creates(0))
            assert 100.0 < now() < 200.0
            assert sim.created("acme") == []

    @virtual
    async def test_refused_credentials_end_a_run_at_once(self):
        async with Simulator() as sim, client_of(sim, ClientCredentials(sim.client_id, "wrong")) as clarus:
            with pytest.raises(AuthenticationError, match="invalid_client"):
                await provisioned(clarus, creates(0))
            assert now() < 5.0
            assert sim.count() == 2  # by form, and by HTTP Basic


class TestRefused:
    @virtual
    async def test_it_says_why_and_where(self):
        async with Simulator() as sim, client_of(sim, ClientCredentials(sim.client_id, "wrong")) as clarus:
            with pytest.raises(AuthenticationError) as raised:
                await clarus.integrations.create(shop())
            assert "invalid_client" in str(raised.value)
            assert raised.value.path == TOKEN_PATH
            assert raised.value.applied is Applied.NO
            assert raised.value.request_id == sim.requests[-1].request_id

    @virtual
    async def test_nothing_is_asked_during_the_backoff(self):
        async with Simulator() as sim, client_of(sim, ClientCredentials(sim.client_id, "wrong")) as clarus:
            for _ in range(20):
                with pytest.raises(AuthenticationError, match="invalid_client"):
                    await clarus.ping()
            # By form, and by HTTP Basic.
            assert sim.count() == 2
            await asyncio.sleep(1.0)
            with pytest.raises(AuthenticationError, match="invalid_client"):
                await clarus.ping()
            assert sim.count() == 4


class TestUnreachable:
    @virtual
    async def test_several_tries_then_an_error_that_says_nothing_was_applied(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.TOKEN, *[FaultKind.RESET_BEFORE] * 10)
            with pytest.raises(ConnectionFailedError, match="no token could be obtained") as raised:
                await clarus.integrations.create(shop())
            assert raised.value.applied is Applied.NO
            assert raised.value.retryable
            assert sim.count(Endpoint.TOKEN) == 4
            assert sim.count(Endpoint.CREATE) == 0

    @virtual
    async def test_its_tries_cost_the_call_no_attempt(self):
        async with Simulator() as sim, client_of(sim, retry=RetryPolicy(max_attempts=1)) as clarus:
            sim.script(Endpoint.TOKEN, FaultKind.RESET_BEFORE, FaultKind.HTML_502, FaultKind.RESET_AFTER)
            integration = await clarus.integrations.create(shop())
            assert integration.name == "Shop 0"
            assert sim.count(Endpoint.TOKEN) == 4


class TestDeadline:
    @virtual
    async def test_a_call_does_not_wait_for_a_token_beyond_it(self):
        timeouts = Timeouts(deadline=2.0)
        async with Simulator() as sim, client_of(sim, timeouts=timeouts) as clarus:
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=20.0))
            with pytest.raises(DeadlineExceededError, match="nothing was sent") as raised:
                await clarus.integrations.create(shop())
            assert now() == pytest.approx(2.0)
            assert raised.value.applied is Applied.NO
            assert raised.value.attempts == 0
            assert (raised.value.method, raised.value.path) == ("POST", "/api/integrations")
            assert sim.count(Endpoint.CREATE) == 0

    @virtual
    async def test_the_refresh_goes_on_for_the_next_call(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=5.0))
            with pytest.raises(DeadlineExceededError):
                await clarus.with_options(timeouts=Timeouts(deadline=2.0)).ping()
            await clarus.ping()
            assert sim.count(Endpoint.TOKEN) == 2

    @virtual
    async def test_a_try_for_a_token_takes_no_longer_than_the_client_s_attempt_timeout(self):
        timeouts = Timeouts(attempt=1.0, deadline=10.0)
        async with Simulator() as sim, client_of(sim, timeouts=timeouts) as clarus:
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=100.0))
            await clarus.ping()
            assert now() < 2.0
            assert sim.count(Endpoint.TOKEN) == 2


class TestTenantsThatShareATokenOneOfWhichIsRefused:
    @virtual
    async def test_calls_of_the_refused_one_seldom_end_the_token_of_the_other(self):
        async def answer(asked):
            await asyncio.sleep(0.02)
            refuses = asked.headers["x-clarus-subdomain"] == "refused"
            return reply({"error": "no"}, 401) if refuses else reply({"data": {}})

        async with StubServer(answer) as server, client_of(server, ID_AND_SECRET) as clarus:
            other = clarus.for_subdomain("refused").with_options(timeouts=Timeouts(attempt=5.0, deadline=10.0))

            async def again_and_again(call, failed):
                while now() < 120.0:
                    try:
                        await call()
                    except AuthenticationError:
                        assert failed
                    await asyncio.sleep(0.1)

            calls = [again_and_again(other.ping, failed=True) for _ in range(10)]
            await asyncio.gather(again_and_again(clarus.ping, failed=False), *calls)
            # Each time, after a backoff of up to twenty seconds.
            assert server.count(TOKEN_PATH) < 40


class TestClosing:
    @virtual
    async def test_nobody_asks_for_a_token_after_it(self, caplog):
        async with StubServer(lambda asked: created(), lambda _: reply({}, 503)) as server:
            clarus = client_of(server, ID_AND_SECRET)

            async def run():
                async for _ in clarus.integrations.provision([shop()]):
                    pass

            running = asyncio.create_task(run())
            # The endpoint's own tries take less than half a second; what follows is the run's pause.
            await asyncio.sleep(0.5)
            assert server.count(TOKEN_PATH) == 4
            await clarus.close()
            with pytest.raises(ConfigurationError, match="the client is closed"):
                await running
            assert server.count(TOKEN_PATH) == 4
            assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@virtual
async def test_a_client_that_is_refused_for_a_while_is_not_told_so_twice():
    refuses = lambda _: reply({"error": "invalid_client"}, 401, "Retry-After: 600")  # noqa: E731
    async with StubServer(lambda _: reply({"data": {}}), refuses) as server, client_of(server, ID_AND_SECRET) as clarus:
        for left in (600.0, 300.0):
            with pytest.raises(AuthenticationError, match="invalid_client") as caught:
                await clarus.ping()
            assert caught.value.retry_after == left
            await asyncio.sleep(300.0)
        assert server.count(TOKEN_PATH) == 1


class TestLifetimes:
    @pytest.mark.parametrize("seconds", [0.001, "1e-9", 5e-324], ids=str)
    @virtual
    async def test_a_tiny_life_does_not_make_one_call_ask_again_and_again(self, seconds):
        answers = StubServer(lambda asked: reply({"data": {}}), lambda asked: slowly(bearer("t", expires_in=seconds)))
        async with answers as server, client_of(server, ID_AND_SECRET, timeouts=Timeouts(deadline=1.0)) as clarus:
            await clarus.ping()
            assert server.count(TOKEN_PATH) == 1

    @virtual
    async def test_a_life_shorter_than_the_answer_took_is_of_use_all_the_same(self):
        async def slow(asked):
            await asyncio.sleep(5.0)
            return bearer(f"t{now():g}", expires_in=3)

        async with (
            StubServer(lambda asked: reply({"data": {}}), slow) as server,
            client_of(server, ID_AND_SECRET, timeouts=Timeouts(deadline=60.0)) as clarus,
        ):
            await clarus.ping()
            assert server.count(TOKEN_PATH) == 1


class TestRotation:
    @pytest.mark.parametrize("kind", ["sync", "async"])
    @virtual
    async def test_the_new_one_is_stored_before_its_first_use(self, kind):
        stored = []

        def store(token):
            assert sim.count(Endpoint.GRAPHQL) == len(stored)
            stored.append(token)

        async def store_later(token):
            await asyncio.sleep(1.0)
            store(token)

        async with Simulator(token_lifetime=600.0) as sim:
            on_rotate = store if kind == "sync" else store_later
            credentials = RefreshToken(sim.client_id, sim.client_secret, sim.refresh_token(), on_rotate)
            async with client_of(sim, credentials) as clarus:
                for _ in range(3):
                    await clarus.ping()
                    await asyncio.sleep(600.0)
        assert len(set(stored)) == 3
        sent = [request.body.decode() for request in sim.requests if request.endpoint is Endpoint.TOKEN]
        assert all(token in body for token, body in zip(stored, sent[1:], strict=False))

    @virtual
    async def test_a_restarted_service_goes_on_with_what_was_stored(self):
        async with Simulator(token_lifetime=600.0) as sim:
            stored = [sim.refresh_token()]
            for _ in range(4):
                credentials = RefreshToken(sim.client_id, sim.client_secret, stored[-1], stored.append)
                async with client_of(sim, credentials) as clarus:
                    await clarus.ping()
        assert len(stored) == 5

    @pytest.mark.parametrize("lost", [FaultKind.RESET_AFTER, FaultKind.TRUNCATED, FaultKind.ERROR_AFTER])
    @virtual
    async def test_an_answer_lost_after_rotation_is_got_with_the_old_one(self, lost):
        async with Simulator() as sim:
            stored = []
            first = sim.refresh_token()
            credentials = RefreshToken(sim.client_id, sim.client_secret, first, stored.append)
            async with client_of(sim, credentials) as clarus:
                sim.script(Endpoint.TOKEN, lost)
                await clarus.ping()
            assert sim.count(Endpoint.TOKEN) == 2
            assert all(first in request.body.decode() for request in sim.requests[:2])
            assert len(stored) == 1

    @virtual
    async def test_a_server_that_rotates_without_mercy_leads_to_authorise_again(self):
        good = ["r1"]

        def tokens(asked):
            if asked.form["refresh_token"] != good[-1]:
                return reply({"error": "invalid_grant"}, 400)
            good.append(f"r{len(good) + 1}")
            return None

        async with (
            StubServer(lambda asked: reply({"data": {}}), tokens) as server,
            client_of(server, RefreshToken("id", "secret", "r1")) as clarus,
        ):
            with pytest.raises(AuthenticationError, match="authorise again"):
                await clarus.ping()
            assert server.count(TOKEN_PATH) == 2
            with pytest.raises(AuthenticationError, match="authorise again"):
                await clarus.ping()
            assert server.count(TOKEN_PATH) == 2


class TestStatic:
    @virtual
    async def test_it_asks_nobody(self):
        async with StubServer(lambda asked: created()) as server, client_of(server, AccessToken('12|a!"b')) as clarus:
            await clarus.integrations.create(shop())
            assert [asked.token for asked in server.asked] == ['12|a!"b']

    @virtual
    async def test_refused_it_is_an_error_at_once(self):
        async with (
            StubServer(lambda asked: reply({"error": "ended"}, 401)) as server,
            client_of(server, AccessToken("t0")) as clarus,
        ):
            with pytest.raises(AuthenticationError, match="no way to get another") as raised:
                await clarus.integrations.create(shop())
            assert (raised.value.attempts, raised.value.retryable) == (1, False)
            assert raised.value.applied is Applied.NO
            assert raised.value.path == "/api/integrations"
            assert len(server.asked) == 1

    @virtual
    async def test_it_has_no_life_that_ends(self):
        async with StubServer(lambda asked: created()) as server, client_of(server, AccessToken("t0")) as clarus:
            await clarus.integrations.create(shop(1))
            for _ in range(30):
                await asyncio.sleep(3600.0)
            await clarus.integrations.create(shop(2))
            assert server.count(TOKEN_PATH) == 0


class Vault:
    """A token source that hands out what it is given, the last for ever."""

    def __init__(self, *answers, seconds=0.0):
        self.answers = list(answers)
        self.seconds = seconds
        self.fetched = 0

    async def fetch(self):
        self.fetched += 1
        await asyncio.sleep(self.seconds)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class TestTokenSource:
    @virtual
    async def test_its_token_is_sent(self):
        vault = Vault(Token("v1"))
        async with StubServer(lambda asked: created()) as server, client_of(server, vault) as clarus:
            await asyncio.gather(*(clarus.integrations.create(shop(number)) for number in range(20)))
            assert {asked.token for asked in server.asked} == {"v1"}
            assert vault.fetched == 1

    @virtual
    async def test_a_401_fetches_another(self):
        vault = Vault(Token("v1"), Token("v2"))

        def answer(asked):
            return created() if asked.token == "v2" else reply({"error": "ended"}, 401)

        async with StubServer(answer) as server, client_of(server, vault) as clarus:
            await clarus.integrations.create(shop())
            assert [asked.token for asked in server.asked] == ["v1", "v2"]

    @virtual
    async def test_one_that_raised_is_asked_again_after_a_backoff(self):
        vault = Vault(RuntimeError("sealed"), Token("v2"))
        async with StubServer(lambda asked: created()) as server, client_of(server, vault) as clarus:
            for _ in range(5):
                with pytest.raises(AuthenticationError):
                    await clarus.integrations.create(shop())
            assert vault.fetched == 1
            await asyncio.sleep(1.0)
            await clarus.integrations.create(shop())

    @virtual
    async def test_a_run_does_not_wait_for_one_that_always_raises_for_longer_than_its_deadline(self):
        vault = Vault(RuntimeError("sealed"))
        async with StubServer(lambda asked: created()) as server, client_of(server, vault) as clarus:
            began = now()
            with pytest.raises(AuthenticationError, match=r"Vault\.fetch raised RuntimeError"):
                async for _ in clarus.integrations.provision([shop()]):
                    pass
            assert now() - began <= 120.0
            assert vault.fetched > 3

    @virtual
    async def test_its_fetch_may_be_anything_that_is_called_and_awaited(self):
        """What decorators such as a cache or a retry return is no coroutine function, and a source all the same."""

        class Cached:
            def __init__(self, function):
                self.function = function

            def __call__(self):
                return self.function()

        class Decorated:
            def __init__(self):
                self.fetch = Cached(self.really)

            async def really(self):
                return Token("v1")

        async with StubServer(lambda asked: created()) as server, client_of(server, Decorated()) as clarus:
            await clarus.integrations.create(shop())
            assert server.asked[0].token == "v1"

    @virtual
    async def test_one_that_hangs_ends_with_the_deadline(self):
        vault = Vault(Token("v1"), seconds=1000.0)
        async with (
            StubServer(lambda asked: created()) as server,
            client_of(server, vault, timeouts=Timeouts(deadline=5.0)) as clarus,
        ):
            with pytest.raises(DeadlineExceededError):
                await clarus.integrations.create(shop())
            assert now() == pytest.approx(5.0)

    @virtual
    async def test_one_whose_fetch_is_cancelled_from_within_is_an_error_of_ours(self):
        class Broken:
            async def fetch(self):
                raise asyncio.CancelledError

        async with StubServer(lambda asked: created()) as server, client_of(server, Broken()) as clarus:
            with pytest.raises(ClarusError) as raised:
                await clarus.integrations.create(shop())
            assert "closed" not in str(raised.value)


class VaultError(ClarusError):
    def __init__(self, vault, *, code):
        super().__init__(f"vault {vault} said {code}")
        self.code = code


class SealedError(AuthenticationError):
    def __init__(self, message, vault):
        super().__init__(message)
        self.message = message
        self.vault = vault


class DownError(ClarusError):
    def __init__(self, code):
        self.code = code


class SlowError(ClarusError):
    def __init__(self, seconds):
        super().__init__("the vault is slow", retryable=True, retry_after=seconds)
        self.code = seconds


RAISED = {
    "a signature": lambda: VaultError("kv", code=403),
    "a message": lambda: SealedError("sealed", vault="kv"),
    "no call of ours": lambda: DownError(503),
    "retry_after": lambda: SlowError(3600.0),
}


class RaisingSource:
    def __init__(self, make):
        self._make = make

    async def fetch(self):
        error = self._make()
        error.add_note("ask the vault's team")
        raise error


@pytest.mark.parametrize("make", RAISED.values(), ids=RAISED)
async def test_what_a_source_raises_is_what_every_call_raises(make):
    async with Simulator() as simulator:
        source = RaisingSource(make)
        async with ClarusClient(
            "acme", source, base_url=simulator.url, timeouts=Timeouts(deadline=2.0), retry=RetryPolicy(max_attempts=1)
        ) as clarus:
            calls = [clarus.ping, clarus.ping, lambda: clarus.integrations.create(shop())]
            errors = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
            errors += await asyncio.gather(*(call() for call in calls), return_exceptions=True)

    expected = make()
    for error in errors:
        assert type(error) is type(expected)
        assert getattr(error, "code", None) == getattr(expected, "code", None)
        assert str(expected) in str(error)
        assert error.__notes__ == ["ask the vault's team"]
    assert len(set(map(id, errors))) == len(errors)
    assert simulator.requests == []


async def test_it_is_what_the_outcome_of_a_record_says():
    async with Simulator() as simulator:
        async with ClarusClient("acme", RaisingSource(RAISED["a signature"]), base_url=simulator.url) as clarus:
            async with clarus.integrations.provision([shop()], existing="ignore") as run:
                [outcome] = [outcome async for outcome in run]

    assert outcome.error.type == "VaultError"
    assert "vault kv said 403" in outcome.error.message
