"""The authorization code flow: the URL for the browser, and the exchange (RFC 6749, section 4.1; RFC 7636)."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from clarus_async import (
    AccessToken,
    AuthenticationError,
    AuthorizationCode,
    ConfigurationError,
    ConnectionFailedError,
    InvalidInputError,
    RefreshToken,
    Timeouts,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from clarus_async.simulator.oauth import s256
from tests.support.builders import client_of
from tests.support.stub_server import StubServer, bearer, reply
from tests.support.virtual import now, virtual

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
BACK = "https://app.test/back?a=1"
FLOW = AuthorizationCode("id", "canary-secret", BACK, ["read", "write"])


def flow_of(server, **options):
    client_id = getattr(server, "client_id", "id")
    secret = getattr(server, "client_secret", "canary-secret")
    return AuthorizationCode(client_id, secret, BACK, base_url=server.url, **options)


def consent(sim):
    return sim.authorize(redirect_uri=BACK, code_challenge=s256(VERIFIER))


class TestUrl:
    def test_it_is_exactly_this(self):
        assert FLOW.authorization_url("st&te", CHALLENGE) == (
            "https://clarus-api.com/oauth/authorize?response_type=code&client_id=id"
            "&redirect_uri=https%3A%2F%2Fapp.test%2Fback%3Fa%3D1&scope=read+write&state=st%26te"
            f"&code_challenge={CHALLENGE}&code_challenge_method=S256"
        )

    def test_no_scopes_are_left_out(self):
        assert "scope" not in AuthorizationCode("id", "secret", BACK).authorization_url("s", CHALLENGE)

    def test_it_is_below_the_base_url(self):
        flow = AuthorizationCode("id", "secret", BACK, base_url="http://localhost:8080/clarus/")
        assert flow.authorization_url("s", CHALLENGE).startswith("http://localhost:8080/clarus/oauth/authorize?")

    @pytest.mark.parametrize("state", ["", None, 5], ids=repr)
    def test_a_state_that_could_not_be_checked_is_refused(self, state):
        with pytest.raises(InvalidInputError, match="state"):
            FLOW.authorization_url(state, CHALLENGE)

    @pytest.mark.parametrize(
        "challenge",
        ["", "short", VERIFIER + "=", CHALLENGE + "\n", "ü" * 43, None, 5, CHALLENGE.encode()],
        ids=repr,
    )
    def test_what_does_not_have_the_form_of_a_challenge_is_refused(self, challenge):
        with pytest.raises(InvalidInputError, match="code_challenge"):
            FLOW.authorization_url("s", challenge)

    async def test_the_browser_comes_back_with_a_code_whose_credentials_work(self):
        async with Simulator() as sim, aiohttp.ClientSession() as browser:
            flow = flow_of(sim)
            async with browser.get(flow.authorization_url("s1", CHALLENGE), allow_redirects=False) as response:
                query = parse_qs(urlsplit(response.headers["Location"]).query)
            assert query["state"] == ["s1"]
            credentials = await flow.exchange(query["code"][0], VERIFIER)
            assert isinstance(credentials, RefreshToken)
            async with client_of(sim, credentials) as clarus:
                await clarus.ping()


class TestExchange:
    @virtual
    async def test_the_form_is_exactly_this_and_an_access_token_alone_will_do(self):
        async with StubServer(lambda asked: reply({"data": {}}), lambda asked: bearer("a1")) as server:
            credentials = await flow_of(server).exchange("c&de", VERIFIER)
            assert server.asked[0].body == (
                b"grant_type=authorization_code&client_id=id&client_secret=canary-secret"
                b"&redirect_uri=https%3A%2F%2Fapp.test%2Fback%3Fa%3D1&code=c%26de&code_verifier=" + VERIFIER.encode()
            )
            assert credentials == AccessToken("a1")
            async with client_of(server, credentials) as clarus:
                await clarus.ping()
            assert server.asked[-1].token == "a1"

    @virtual
    async def test_a_wrong_verifier_is_refused(self):
        async with Simulator() as sim:
            code = consent(sim)
            with pytest.raises(AuthenticationError, match="invalid_grant") as raised:
                await flow_of(sim).exchange(code, "w" * 43)
            assert (raised.value.method, raised.value.path, raised.value.attempts) == ("POST", "/oauth/token", 1)

    @virtual
    async def test_a_code_is_good_once(self):
        async with Simulator() as sim:
            code = consent(sim)
            await flow_of(sim).exchange(code, VERIFIER)
            with pytest.raises(AuthenticationError, match="invalid_grant"):
                await flow_of(sim).exchange(code, VERIFIER)

    @pytest.mark.parametrize("lost", [FaultKind.RESET_AFTER, FaultKind.ERROR_AFTER, FaultKind.TRUNCATED])
    @virtual
    async def test_a_code_whose_answer_is_lost_is_not_sent_again(self, lost):
        async with Simulator() as sim:
            sim.script(Endpoint.TOKEN, lost)
            with pytest.raises(Exception, match="no token could be obtained"):
                await flow_of(sim).exchange(consent(sim), VERIFIER)
            assert sim.count(Endpoint.TOKEN) == 1

    @virtual
    async def test_a_code_that_was_surely_not_used_is_sent_again(self):
        answers = [reply(None, 429, "Retry-After: 1"), bearer("a1")]
        async with StubServer(lambda asked: None, lambda asked: answers.pop(0)) as server:
            assert await flow_of(server).exchange("code", VERIFIER) == AccessToken("a1")

    @virtual
    async def test_where_nothing_was_sent_it_is_tried_again_and_then_fails(self):
        async with Simulator() as sim:
            flow = flow_of(sim)
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

    @pytest.mark.parametrize("secret", ["canary-secret", "canary-code", VERIFIER])
    @virtual
    async def test_a_refusal_that_echoes_a_secret_does_not_show_it(self, secret):
        refusal = reply({"error": "bad", "error_description": f"bad {secret}"}, 400)
        async with StubServer(lambda asked: None, lambda asked: refusal) as server:
            with pytest.raises(AuthenticationError) as raised:
                await flow_of(server).exchange("canary-code", VERIFIER)
        assert secret not in str(raised.value)

    @virtual
    async def test_the_caller_s_session_is_used_and_not_closed(self):
        async with Simulator() as sim, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            await flow_of(sim, session=session).exchange(consent(sim), VERIFIER)
            assert not session.closed

    async def test_a_session_with_a_cookie_jar_is_refused(self):
        async with aiohttp.ClientSession() as session:
            with pytest.raises(ConfigurationError, match="cookie jar"):
                await AuthorizationCode("id", "secret", BACK, session=session).exchange("code", VERIFIER)

    @pytest.mark.parametrize("code", ["", None, 5], ids=repr)
    async def test_the_code_is_a_string_that_is_not_empty(self, code):
        with pytest.raises(InvalidInputError, match="code"):
            await FLOW.exchange(code, VERIFIER)

    @pytest.mark.parametrize(
        "verifier", ["", "x" * 42, "v" * 129, "!" * 43, "ü" * 43, None, 5, VERIFIER.encode()], ids=repr
    )
    async def test_the_verifier_has_the_form_of_one(self, verifier):
        with pytest.raises(InvalidInputError, match="code_verifier"):
            await FLOW.exchange("code", verifier)


@pytest.mark.parametrize(
    "settings",
    [
        {"client_id": ""},
        {"client_secret": ""},
        {"client_secret": None},
        {"redirect_uri": ""},
        {"scopes": ("a b",)},
        {"base_url": "http://clarus-api.com"},
    ],
)
def test_a_flow_that_can_not_work_is_refused_where_it_is_made(settings):
    with pytest.raises(InvalidInputError, match=next(iter(settings))):
        AuthorizationCode(**{"client_id": "id", "client_secret": "secret", "redirect_uri": BACK} | settings)
