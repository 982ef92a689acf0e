"""The authorization code flow, from the URL that the browser is sent to to the calls that follow."""

from __future__ import annotations

import asyncio
import pickle
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from clarus_async import (
    AccessToken,
    AuthenticationError,
    AuthorizationCode,
    ClarusClient,
    ConfigurationError,
    ConnectionFailedError,
    InvalidInputError,
    RefreshToken,
    Timeouts,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from clarus_async.simulator.oauth import s256
from tests.support.stub_server import StubServer, bearer, reply
from tests.support.virtual import now, virtual

VERIFIER = "v" * 43
BACK = "https://app.test/back"
NOWHERE = "http://127.0.0.1:9"


def flow_of(server, **options):
    client_id = getattr(server, "client_id", "id")
    secret = getattr(server, "client_secret", "secret")
    return AuthorizationCode(client_id, secret, BACK, base_url=server.url, **options)


def consent(sim, verifier=VERIFIER):
    return sim.authorize(redirect_uri=BACK, code_challenge=s256(verifier))


class TestUrl:
    def test_it_is_that_of_the_rfc(self):
        url = urlsplit(
            AuthorizationCode("id", "secret", BACK, ("read", "write")).authorization_url("s1", s256(VERIFIER))
        )
        assert (url.scheme, url.netloc, url.path) == ("https", "clarus-api.com", "/oauth/authorize")
        assert {name: value for name, [value] in parse_qs(url.query).items()} == {
            "response_type": "code",
            "client_id": "id",
            "redirect_uri": BACK,
            "scope": "read write",
            "state": "s1",
            "code_challenge": s256(VERIFIER),
            "code_challenge_method": "S256",
        }

    def test_no_scope_is_left_out(self):
        assert "scope" not in AuthorizationCode("id", "secret", BACK).authorization_url("s1", s256(VERIFIER))

    @pytest.mark.parametrize("state", ["", None, 5], ids=repr)
    def test_the_state_is_a_string_that_is_not_empty(self, state):
        with pytest.raises(InvalidInputError, match="state"):
            AuthorizationCode("id", "secret", BACK).authorization_url(state, s256(VERIFIER))

    @pytest.mark.parametrize("challenge", ["", "short", VERIFIER + "=", s256(VERIFIER) + "\n", None, 5], ids=repr)
    def test_the_challenge_has_the_form_of_one(self, challenge):
        with pytest.raises(InvalidInputError, match="code_challenge"):
            AuthorizationCode("id", "secret", BACK).authorization_url("s1", challenge)

    async def test_the_browser_comes_back_with_a_code_that_can_be_exchanged(self):
        async with Simulator() as sim, aiohttp.ClientSession() as browser:
            flow = flow_of(sim)
            url = flow.authorization_url("s1", s256(VERIFIER))
            async with browser.get(url, allow_redirects=False) as response:
                query = parse_qs(urlsplit(response.headers["Location"]).query)
            assert query["state"] == ["s1"]
            credentials = await flow.exchange(query["code"][0], VERIFIER)
            async with ClarusClient("acme", credentials, base_url=sim.url) as clarus:
                await clarus.ping()


class TestExchange:
    @virtual
    async def test_it_gives_a_refresh_token_that_works(self):
        async with Simulator() as sim:
            credentials = await flow_of(sim).exchange(consent(sim), VERIFIER)
            assert isinstance(credentials, RefreshToken)
            async with ClarusClient("acme", credentials, base_url=sim.url) as clarus:
                await clarus.ping()

    @virtual
    async def test_it_gives_an_access_token_where_there_is_no_refresh_token(self):
        async with StubServer(lambda asked: reply({"data": {}}), lambda asked: bearer("a1")) as server:
            credentials = await flow_of(server).exchange("code", VERIFIER)
            assert isinstance(credentials, AccessToken)
            async with ClarusClient("acme", credentials, base_url=server.url) as clarus:
                await clarus.ping()
            assert server.asked[-1].token == "a1"

    @virtual
    async def test_the_form_is_that_of_the_rfc(self):
        async with StubServer(lambda asked: None, lambda asked: bearer("a1")) as server:
            await flow_of(server).exchange("code", VERIFIER)
            assert server.asked[0].form == {
                "grant_type": "authorization_code",
                "client_id": "id",
                "client_secret": "secret",
                "redirect_uri": BACK,
                "code": "code",
                "code_verifier": VERIFIER,
            }

    @virtual
    async def test_a_wrong_verifier_is_refused(self):
        async with Simulator() as sim:
            code = consent(sim)
            with pytest.raises(AuthenticationError, match="invalid_grant"):
                await flow_of(sim).exchange(code, "w" * 43)

    @virtual
    async def test_a_code_is_good_once(self):
        async with Simulator() as sim:
            code = consent(sim)
            await flow_of(sim).exchange(code, VERIFIER)
            with pytest.raises(AuthenticationError, match="invalid_grant"):
                await flow_of(sim).exchange(code, VERIFIER)

    @pytest.mark.parametrize("lost", [FaultKind.RESET_AFTER, FaultKind.ERROR_AFTER, FaultKind.TRUNCATED])
    def test_a_lost_answer_is_not_asked_for_again(self, lost):
        @virtual
        async def check():
            async with Simulator() as sim:
                sim.script(Endpoint.TOKEN, lost)
                with pytest.raises(Exception, match="no token could be obtained"):
                    await flow_of(sim).exchange(consent(sim), VERIFIER)
                assert sim.count(Endpoint.TOKEN) == 1

        check()

    @virtual
    async def test_where_nothing_was_sent_it_is_tried_again_and_then_fails(self):
        async with Simulator() as sim:
            url = sim.url
        flow = AuthorizationCode("id", "secret", BACK, base_url=url)
        with pytest.raises(ConnectionFailedError) as raised:
            await flow.exchange("code", VERIFIER)
        assert raised.value.attempts == 4

    @virtual
    async def test_it_takes_no_longer_than_its_attempt_timeout(self):
        async with Simulator() as sim:
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_AFTER, delay=100.0))
            with pytest.raises(ConnectionFailedError):
                await flow_of(sim, timeouts=Timeouts(attempt=3.0)).exchange(consent(sim), VERIFIER)
            assert now() == pytest.approx(3.0)

    @virtual
    async def test_it_leaves_no_connection(self):
        async with Simulator() as sim:
            await flow_of(sim).exchange(consent(sim), VERIFIER)
            await asyncio.sleep(0.1)
            assert sim.open_connections == 0

    @virtual
    async def test_cancelled_it_leaves_no_connection(self):
        async with Simulator() as sim:
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_AFTER, delay=100.0))
            task = asyncio.create_task(flow_of(sim).exchange(consent(sim), VERIFIER))
            await asyncio.sleep(1.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(100.0)
            assert sim.open_connections == 0

    @virtual
    async def test_the_caller_s_session_is_used_and_not_closed(self):
        async with Simulator() as sim, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            await flow_of(sim, session=session).exchange(consent(sim), VERIFIER)
            assert not session.closed

    @pytest.mark.parametrize("code", ["", None, 5], ids=repr)
    async def test_the_code_is_a_string_that_is_not_empty(self, code):
        with pytest.raises(InvalidInputError, match="code"):
            await AuthorizationCode("id", "secret", BACK, base_url=NOWHERE).exchange(code, VERIFIER)

    @pytest.mark.parametrize("verifier", ["", "short", "v" * 129, "ü" * 43, None, 5], ids=repr)
    async def test_the_verifier_has_the_form_of_one(self, verifier):
        with pytest.raises(InvalidInputError, match="code_verifier"):
            await AuthorizationCode("id", "secret", BACK, base_url=NOWHERE).exchange("code", verifier)


class TestSettings:
    @pytest.mark.parametrize(
        "missing", [("", "secret", BACK), ("id", "", BACK), ("id", "secret", ""), ("id", None, BACK)]
    )
    def test_each_is_needed(self, missing):
        with pytest.raises(InvalidInputError):
            AuthorizationCode(*missing)

    def test_plain_http_is_refused(self):
        with pytest.raises(InvalidInputError, match="http"):
            AuthorizationCode("id", "secret", BACK, base_url="http://clarus-api.test")

    def test_it_does_not_pickle(self):
        with pytest.raises(TypeError, match="refuses to be pickled"):
            pickle.dumps(AuthorizationCode("id", "secret", BACK))

    def test_its_secret_is_in_no_repr(self):
        assert "canary" not in repr(AuthorizationCode("id", "canary", BACK))

    async def test_a_session_with_a_cookie_jar_is_refused(self):
        async with aiohttp.ClientSession() as session:
            with pytest.raises(ConfigurationError, match="cookie jar"):
                await AuthorizationCode("id", "secret", BACK, session=session).exchange("code", VERIFIER)
