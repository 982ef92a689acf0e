"""The authorization code flow: the URL for the browser, and the exchange (RFC 6749 §4.1, RFC 7636)."""

import base64
import hashlib
import pickle
from urllib.parse import parse_qs, urlsplit

import pytest

from clarus_async import (
    AccessToken,
    AuthenticationError,
    AuthorizationCode,
    ConfigurationError,
    ConnectionFailedError,
    InvalidInputError,
    RefreshToken,
    ResponseError,
    ServerError,
)
from tests.support.vendor import TOKEN, USER_AGENT, only, sent, times

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
BACK = "https://app.example/back?a=1"


@pytest.fixture
def flow():
    return AuthorizationCode("id", "secret", BACK, ("read", "write"))


def test_the_challenge_is_the_one_of_the_rfc():
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == CHALLENGE


def test_the_url_is_exactly_this(flow):
    assert flow.authorization_url("st&te", CHALLENGE) == (
        "https://clarus-api.com/oauth/authorize?response_type=code&client_id=id"
        "&redirect_uri=https%3A%2F%2Fapp.example%2Fback%3Fa%3D1&scope=read+write&state=st%26te"
        f"&code_challenge={CHALLENGE}&code_challenge_method=S256"
    )


def test_no_scopes_are_left_out_of_the_url():
    query = parse_qs(urlsplit(AuthorizationCode("id", "secret", BACK).authorization_url("s", CHALLENGE)).query)
    assert "scope" not in query


def test_the_secret_is_not_in_the_url():
    assert "canary" not in AuthorizationCode("id", "canary", BACK).authorization_url("s", CHALLENGE)


def test_the_url_is_at_the_base_url():
    flow = AuthorizationCode("id", "secret", BACK, base_url="http://localhost:8080/clarus/")
    assert flow.authorization_url("s", CHALLENGE).startswith("http://localhost:8080/clarus/oauth/authorize?")


@pytest.mark.parametrize(
    ("state", "challenge"),
    [
        ("", CHALLENGE),
        (None, CHALLENGE),
        ("s", ""),
        ("s", VERIFIER + "x"),
        ("s", CHALLENGE + "="),
        ("s", "ü" * 43),
    ],
)
def test_a_url_that_could_not_be_checked_is_refused(flow, state, challenge):
    with pytest.raises(InvalidInputError):
        flow.authorization_url(state, challenge)


@pytest.mark.parametrize("challenge", [None, 7, CHALLENGE.encode()])
def test_a_challenge_of_the_wrong_type_is_refused(flow, challenge):
    with pytest.raises(InvalidInputError):
        flow.authorization_url("s", challenge)


async def test_the_exchange_is_exactly_this_form(mocked, flow):
    mocked.post(TOKEN, payload={"access_token": "t", "token_type": "Bearer"})
    await flow.exchange("c&de", VERIFIER)

    request = only(mocked, "POST", TOKEN)
    assert request.headers == {
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
        "User-Agent": USER_AGENT,
    }
    assert request.body == (
        b"grant_type=authorization_code&client_id=id&client_secret=secret"
        b"&redirect_uri=https%3A%2F%2Fapp.example%2Fback%3Fa%3D1&code=c%26de&code_verifier=" + VERIFIER.encode()
    )


async def test_a_refresh_token_comes_back_as_credentials(mocked, flow):
    mocked.post(TOKEN, payload={"access_token": "t", "refresh_token": "r", "expires_in": 60})

    assert await flow.exchange("code", VERIFIER) == RefreshToken("id", "secret", "r")


async def test_an_access_token_alone_comes_back_as_credentials(mocked, flow):
    mocked.post(TOKEN, payload={"access_token": "t", "token_type": "bearer"})

    assert await flow.exchange("code", VERIFIER) == AccessToken("t")


async def test_a_code_that_is_refused_means_authorise_again(mocked, flow):
    mocked.post(TOKEN, status=400, payload={"error": "invalid_grant", "error_description": "the code is used"})

    with pytest.raises(AuthenticationError, match="invalid_grant: the code is used") as caught:
        await flow.exchange("c0de-1", VERIFIER)
    assert (caught.value.method, caught.value.path, caught.value.attempts) == ("POST", "/oauth/token", 1)


@pytest.mark.parametrize("lost", [{"exception": ConnectionResetError()}, {"exception": TimeoutError()}])
async def test_a_code_whose_answer_is_lost_is_not_sent_again(mocked, flow, lost):
    mocked.post(TOKEN, repeat=True, **lost)

    with pytest.raises(ConnectionFailedError):
        await flow.exchange("code", VERIFIER)
    assert times(mocked) == 1


@pytest.mark.parametrize("status", [500, 502])
async def test_a_code_that_may_be_spent_is_not_sent_again(mocked, flow, status):
    mocked.post(TOKEN, status=status, repeat=True)

    with pytest.raises(ServerError):
        await flow.exchange("code", VERIFIER)
    assert times(mocked) == 1


async def test_a_code_that_was_surely_not_used_is_sent_again(mocked, flow):
    mocked.post(TOKEN, status=429, headers={"Retry-After": "0.01"})
    mocked.post(TOKEN, payload={"access_token": "t"})

    assert await flow.exchange("code", VERIFIER) == AccessToken("t")
    assert len(sent(mocked, "POST", TOKEN)) == 2


async def test_an_answer_that_is_no_token_says_where(mocked, flow):
    mocked.post(TOKEN, payload={"access_token": 7})

    with pytest.raises(ResponseError) as caught:
        await flow.exchange("code", VERIFIER)
    assert caught.value.pointer == "/access_token"


async def test_a_redirect_is_a_configuration_error(mocked, flow):
    mocked.post(TOKEN, status=307, headers={"Location": "https://evil.example/"})

    with pytest.raises(ConfigurationError):
        await flow.exchange("code", VERIFIER)
    assert times(mocked) == 1


@pytest.mark.parametrize("secret", ["canary-secret", "canary-code", VERIFIER])
async def test_a_refusal_that_echoes_a_secret_does_not_show_it(mocked, secret):
    mocked.post(TOKEN, status=400, payload={"error": "bad", "error_description": f"bad {secret}"})

    with pytest.raises(AuthenticationError) as caught:
        await AuthorizationCode("id", "canary-secret", BACK).exchange("canary-code", VERIFIER)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "verifier"),
    [("", VERIFIER), (None, VERIFIER), ("code", ""), ("code", "x" * 42), ("code", "x" * 129), ("code", "!" * 43)],
)
async def test_an_exchange_that_could_only_be_refused_is_not_sent(mocked, flow, code, verifier):
    with pytest.raises(InvalidInputError):
        await flow.exchange(code, verifier)
    assert times(mocked) == 0


@pytest.mark.parametrize("verifier", [None, 7, VERIFIER.encode()])
async def test_a_verifier_of_the_wrong_type_is_refused(mocked, flow, verifier):
    with pytest.raises(InvalidInputError):
        await flow.exchange("code", verifier)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AuthorizationCode("", "secret", BACK),
        lambda: AuthorizationCode("id", "", BACK),
        lambda: AuthorizationCode("id", "secret", ""),
        lambda: AuthorizationCode("id", "secret", BACK, ("a b",)),
        lambda: AuthorizationCode("id", "secret", BACK, base_url="http://clarus-api.com"),
    ],
)
def test_a_flow_that_cannot_work_is_refused_where_it_is_made(make):
    with pytest.raises(InvalidInputError):
        make()


def test_a_list_of_scopes_will_do_as_it_does_for_client_credentials():
    assert AuthorizationCode("id", "secret", BACK, ["read"]).scopes == ("read",)


def test_it_neither_shows_nor_pickles_its_secret():
    flow = AuthorizationCode("id", "canary", BACK)
    assert "canary" not in f"{flow} {flow!r}"
    with pytest.raises(TypeError, match="refuses to be pickled"):
        pickle.dumps(flow)
