"""The token requests of each kind of credentials, and what their answers become."""

import asyncio
import logging
import pickle

import pytest

from clarus_async import (
    AccessToken,
    AuthenticationError,
    ClientCredentials,
    ConfigurationError,
    ConnectionFailedError,
    InvalidInputError,
    OutcomeUnknownError,
    RefreshToken,
    ResponseError,
    ServerError,
    Timeouts,
    Token,
    TokenEvent,
)
from tests.support.recorder import Recorder
from tests.support.vendor import COLLECTION, GRAPHQL, SHOP, TOKEN, USER_AGENT, make_client, sent, times, wrapped

CREDENTIALS = ClientCredentials("id", "secret")
PONG = {"data": {"sites": {"all": {"edges": []}}}}
FORM_HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Accept": "application/json",
    "User-Agent": USER_AGENT,
}


def token(value="token-1", **members):
    return {"access_token": value, "token_type": "Bearer", "expires_in": 3600} | members


def bearers(mocked):
    """The token of each request to the API, in order."""
    return [request.headers["Authorization"] for request in sent(mocked, "POST", GRAPHQL)]


async def test_client_credentials_go_out_as_a_form(mocked):
    mocked.post(TOKEN, payload=token())
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(CREDENTIALS) as clarus:
        await clarus.ping()

    [request] = sent(mocked, "POST", TOKEN)
    assert request.headers == FORM_HEADERS
    assert request.body == b"grant_type=client_credentials&client_id=id&client_secret=secret"
    assert request.options["allow_redirects"] is False
    assert bearers(mocked) == ["Bearer token-1"]


async def test_scopes_go_out_with_them(mocked):
    mocked.post(TOKEN, payload=token())
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(ClientCredentials("id", "secret", ("read", "write"))) as clarus:
        await clarus.ping()

    [request] = sent(mocked, "POST", TOKEN)
    assert request.body.endswith(b"&scope=read+write")


async def test_a_secret_of_any_characters_is_encoded(mocked):
    mocked.post(TOKEN, payload=token())
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(ClientCredentials("a&b", "p=~ +%|")) as clarus:
        await clarus.ping()

    [request] = sent(mocked, "POST", TOKEN)
    assert request.body == b"grant_type=client_credentials&client_id=a%26b&client_secret=p%3D~+%2B%25%7C"


async def test_one_token_serves_call_after_call(mocked):
    mocked.post(TOKEN, payload=token())
    mocked.post(GRAPHQL, payload=PONG, repeat=True)
    async with make_client(CREDENTIALS) as clarus:
        await clarus.ping()
        await clarus.ping()

    assert len(sent(mocked, "POST", TOKEN)) == 1


@pytest.mark.parametrize(
    ("answer", "life"),
    [
        (token(expires_in=120), 120.0),
        (token(expires_in=120.5), 120.5),
        (token(expires_in="120"), 120.0),
        (token(expires_in=None), 300.0),
        ({"access_token": "token-1", "token_type": "bearer"}, 300.0),
        ({"access_token": "token-1"}, 300.0),
        (token(expires_in=0), 300.0),
        (token(expires_in=-5), 300.0),
        (token(expires_in="soon"), 300.0),
        (token(expires_in=True), 300.0),
        (token(expires_in=[120]), 300.0),
        (token(expires_in="nan"), 300.0),
        (token(expires_in="inf"), 86_400.0),
        (token(expires_in=10**30), 86_400.0),
        (token(scope="read", colour="red"), 3600.0),
    ],
)
async def test_its_life_is_what_the_server_says_within_reason(mocked, answer, life):
    recorder = Recorder()
    mocked.post(TOKEN, payload=answer)
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(CREDENTIALS, observer=recorder) as clarus:
        await clarus.ping()

    [told] = recorder.of(TokenEvent)
    assert (told.expires_in, told.failure) == (life, None)


@pytest.mark.parametrize(
    ("body", "pointer", "expected"),
    [
        (b"<html>login</html>", "", "JSON"),
        (b"[]", "", "an object"),
        (b"{}", "/access_token", "a bearer token"),
        (b'{"access_token": ""}', "/access_token", "a bearer token"),
        (b'{"access_token": 7}', "/access_token", "a bearer token"),
        (b'{"access_token": "a\\r\\nX-Evil: 1"}', "/access_token", "a bearer token"),
        (b'{"access_token": "a", "token_type": "mac"}', "/token_type", "bearer"),
        (b'{"access_token": "a", "token_type": 1}', "/token_type", "bearer"),
        (b'{"access_token": "a", "refresh_token": "b\\n"}', "/refresh_token", "printable ASCII characters"),
    ],
)
async def test_an_answer_that_is_no_token_says_why(mocked, body, pointer, expected):
    mocked.post(TOKEN, body=body)
    async with make_client(CREDENTIALS) as clarus:
        with pytest.raises(ResponseError, match="no token could be obtained") as caught:
            await clarus.ping()

    error = caught.value
    assert (error.pointer, error.expected) == (pointer, expected)
    assert (error.method, error.path) == ("POST", "/oauth/token")
    assert times(mocked) == 1


@pytest.mark.parametrize(
    ("status", "body", "said", "asked"),
    [
        (400, b'{"error": "invalid_scope"}', "400 invalid_scope", 1),
        # By form, and by HTTP Basic.
        (
            401,
            b'{"error": "invalid_client", "error_description": "No such client"}',
            "invalid_client: No such client",
            2,
        ),
        (403, b"<html><title>403 Forbidden</title></html>", "403 an HTML page: 403 Forbidden", 1),
        (404, b"", "404 no reason given", 1),
    ],
)
async def test_a_refusal_is_an_authentication_error_that_says_why(mocked, status, body, said, asked):
    mocked.post(TOKEN, status=status, body=body, headers={"X-Request-Id": "req-1"}, repeat=True)
    async with make_client(CREDENTIALS) as clarus:
        with pytest.raises(AuthenticationError, match="the token endpoint refused the request") as caught:
            await clarus.integrations.create(SHOP)

    error = caught.value
    assert said in str(error)
    assert (error.method, error.path, error.request_id) == ("POST", "/oauth/token", "req-1")
    assert (error.applied, error.retryable) == ("no", False)
    assert times(mocked) == asked


async def test_after_a_refusal_the_endpoint_is_left_alone_for_a_while(mocked):
    mocked.post(TOKEN, status=401, payload={"error": "invalid_client"}, repeat=True)
    async with make_client(CREDENTIALS) as clarus:
        for _ in range(3):
            with pytest.raises(AuthenticationError, match="invalid_client"):
                await clarus.ping()

    # By form, and by HTTP Basic.
    assert times(mocked) == 2


async def test_a_refusal_that_echoes_the_secret_does_not_show_it(mocked):
    mocked.post(TOKEN, status=400, payload={"error": "bad", "error_description": "no client has canary-secret"})
    async with make_client(ClientCredentials("id", "canary-secret")) as clarus:
        with pytest.raises(AuthenticationError) as caught:
            await clarus.ping()

    assert "canary-secret" not in str(caught.value)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_the_endpoint_is_asked_again_and_that_costs_the_call_no_attempt(mocked, status):
    mocked.post(TOKEN, status=status)
    mocked.post(TOKEN, payload=token())
    mocked.post(COLLECTION, status=500)
    async with make_client(CREDENTIALS) as clarus:
        with pytest.raises(OutcomeUnknownError) as caught:
            await clarus.integrations.create(SHOP)

    assert caught.value.attempts == 1


async def test_an_endpoint_that_is_down_is_a_server_error(mocked):
    mocked.post(TOKEN, status=502, body=b"<html><title>502 Bad Gateway</title></html>", repeat=True)
    async with make_client(CREDENTIALS) as clarus:
        with pytest.raises(ServerError, match="502 Bad Gateway; no token could be obtained") as caught:
            await clarus.ping()

    assert (caught.value.path, caught.value.applied, caught.value.retryable) == ("/oauth/token", "no", True)
    assert times(mocked) == 4


async def test_an_endpoint_that_redirects_is_a_configuration_error(mocked):
    mocked.post(TOKEN, status=302, headers={"Location": "https://login.example/"})
    async with make_client(CREDENTIALS) as clarus:
        with pytest.raises(ConfigurationError, match="redirects"):
            await clarus.ping()

    assert times(mocked) == 1


async def test_an_endpoint_that_cannot_be_reached_is_a_connection_error(mocked):
    async with make_client(CREDENTIALS) as clarus:
        with pytest.raises(ConnectionFailedError, match="no token could be obtained") as caught:
            await clarus.integrations.create(SHOP)

    assert (caught.value.path, caught.value.applied) == ("/oauth/token", "no")


async def test_a_401_gets_a_new_token_once(mocked):
    mocked.post(TOKEN, payload=token("token-1"))
    mocked.post(TOKEN, payload=token("token-2"))
    mocked.post(GRAPHQL, status=401, payload={"error": "The session has ended"})
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(CREDENTIALS) as clarus:
        await clarus.ping()

    assert bearers(mocked) == ["Bearer token-1", "Bearer token-2"]


async def test_401s_until_the_deadline_are_an_authentication_error(mocked):
    for number in range(1, 4):
        mocked.post(TOKEN, payload=token(f"token-{number}"))
    mocked.post(TOKEN, payload=token("token-4"), repeat=True)
    mocked.post(GRAPHQL, status=401, payload={"error": "The session has ended"}, repeat=True)
    async with make_client(CREDENTIALS, timeouts=Timeouts(attempt=0.3, settle=0.3, deadline=0.3)) as clarus:
        with pytest.raises(AuthenticationError, match="401 The session has ended") as caught:
            await clarus.ping()

    assert (caught.value.method, caught.value.path) == ("POST", "/graphql")
    assert caught.value.attempts == len(sent(mocked, "POST", GRAPHQL)) >= 2


async def test_a_refresh_token_goes_out_as_a_form(mocked):
    mocked.post(TOKEN, payload=token())
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(RefreshToken("id", "secret", "refresh-1")) as clarus:
        await clarus.ping()

    [request] = sent(mocked, "POST", TOKEN)
    assert request.headers == FORM_HEADERS
    assert request.body == b"grant_type=refresh_token&client_id=id&client_secret=secret&refresh_token=refresh-1"


def refresh_tokens(mocked):
    return [request.body.rpartition(b"refresh_token=")[2].decode() for request in sent(mocked, "POST", TOKEN)]


async def ping_through_a_dead_token(mocked, credentials):
    mocked.post(GRAPHQL, status=401)
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(credentials) as clarus:
        await clarus.ping()


async def test_a_rotated_refresh_token_is_used_from_then_on(mocked):
    mocked.post(TOKEN, payload=token("token-1", refresh_token="refresh-2"))
    mocked.post(TOKEN, payload=token("token-2", refresh_token="refresh-3"))
    await ping_through_a_dead_token(mocked, RefreshToken("id", "secret", "refresh-1"))

    assert refresh_tokens(mocked) == ["refresh-1", "refresh-2"]


@pytest.mark.parametrize("members", [{}, {"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": 7}])
async def test_a_refresh_token_that_is_not_rotated_is_used_again(mocked, members):
    rotated = []
    mocked.post(TOKEN, payload=token("token-1", **members))
    mocked.post(TOKEN, payload=token("token-2"))
    await ping_through_a_dead_token(mocked, RefreshToken("id", "secret", "refresh-1", rotated.append))

    assert refresh_tokens(mocked) == ["refresh-1", "refresh-1"]
    assert rotated == []


async def test_on_rotate_is_given_each_new_refresh_token(mocked):
    rotated = []
    mocked.post(TOKEN, payload=token("token-1", refresh_token="refresh-2"))
    mocked.post(TOKEN, payload=token("token-2", refresh_token="refresh-3"))
    await ping_through_a_dead_token(mocked, RefreshToken("id", "secret", "refresh-1", rotated.append))

    assert rotated == ["refresh-2", "refresh-3"]


async def test_on_rotate_may_be_async_and_ends_before_the_tokens_first_use(mocked):
    rotated = []

    async def store(refresh_token):
        before = times(mocked)
        await asyncio.sleep(0.01)
        rotated.append((refresh_token, times(mocked) - before))

    mocked.post(TOKEN, payload=token("token-1", refresh_token="refresh-2"))
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(RefreshToken("id", "secret", "refresh-1", store)) as clarus:
        await clarus.ping()

    assert rotated == [("refresh-2", 0)]


async def test_an_on_rotate_that_fails_costs_nothing_but_a_line_of_log(mocked, caplog):
    def fail(refresh_token):
        raise OSError(f"disk full at {refresh_token}")

    mocked.post(TOKEN, payload=token("token-1", refresh_token="refresh-2"))
    mocked.post(TOKEN, payload=token("token-2"))
    with caplog.at_level(logging.ERROR, "clarus_async"):
        await ping_through_a_dead_token(mocked, RefreshToken("id", "secret", "refresh-1", fail))

    assert refresh_tokens(mocked) == ["refresh-1", "refresh-2"]
    assert "on_rotate raised OSError" in caplog.text
    assert "refresh-2" not in caplog.text


async def test_a_refresh_whose_answer_is_lost_is_tried_with_the_old_token_once_more(mocked):
    mocked.post(TOKEN, exception=ConnectionResetError())
    mocked.post(TOKEN, payload=token())
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(RefreshToken("id", "secret", "refresh-1")) as clarus:
        await clarus.ping()

    assert refresh_tokens(mocked) == ["refresh-1", "refresh-1"]


async def test_and_then_the_user_must_authorise_again(mocked):
    mocked.post(TOKEN, exception=ConnectionResetError())
    mocked.post(TOKEN, status=400, payload={"error": "invalid_grant"})
    async with make_client(RefreshToken("id", "secret", "refresh-1")) as clarus:
        with pytest.raises(AuthenticationError, match="authorise again"):
            await clarus.ping()

    assert times(mocked) == 2


async def test_a_refresh_whose_answer_is_lost_twice_is_not_tried_a_third_time(mocked):
    mocked.post(TOKEN, exception=ConnectionResetError(), repeat=True)
    async with make_client(RefreshToken("id", "secret", "refresh-1")) as clarus:
        with pytest.raises(ConnectionFailedError):
            await clarus.ping()

    assert times(mocked) == 2


async def test_a_refusal_that_echoes_the_refresh_token_does_not_show_it(mocked):
    mocked.post(TOKEN, status=400, payload={"error": "invalid_grant", "error_description": "canary-refresh is spent"})
    async with make_client(RefreshToken("id", "secret", "canary-refresh")) as clarus:
        with pytest.raises(AuthenticationError) as caught:
            await clarus.ping()

    assert "canary-refresh" not in str(caught.value)


async def test_an_access_token_costs_no_request(mocked):
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(AccessToken("token-x")) as clarus:
        await clarus.ping()

    assert bearers(mocked) == ["Bearer token-x"]
    assert times(mocked) == 1


async def test_an_access_token_that_is_refused_is_refused_for_good(mocked):
    mocked.post(GRAPHQL, status=401)
    async with make_client(AccessToken("token-x")) as clarus:
        with pytest.raises(AuthenticationError, match="no way to get another") as caught:
            await clarus.ping()

    assert caught.value.retryable is False
    assert times(mocked) == 1


class Vault:
    """A token source that says what it is told to."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def fetch(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_token_source_is_asked_again_after_a_401(mocked):
    await ping_through_a_dead_token(mocked, Vault(Token("token-1", 60.0), Token("token-2")))

    assert bearers(mocked) == ["Bearer token-1", "Bearer token-2"]


async def test_a_token_source_that_fails_is_named_and_its_text_is_not_shown(mocked):
    async with make_client(Vault(OSError("canary-secret"))) as clarus:
        with pytest.raises(AuthenticationError, match=r"Vault.fetch raised OSError") as caught:
            await clarus.ping()

    assert caught.value.retryable is True
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert times(mocked) == 0


async def test_a_token_source_must_answer_with_a_token(mocked):
    async with make_client(Vault("token-1")) as clarus:
        with pytest.raises(ConfigurationError, match=r"Vault.fetch must return a Token, not str"):
            await clarus.ping()

    assert times(mocked) == 0


@pytest.mark.parametrize("credentials", ["token", object(), {"client_id": "x"}, ClientCredentials])
def test_anything_else_is_refused_where_the_client_is_made(credentials):
    with pytest.raises(ConfigurationError, match="credentials: must be"):
        make_client(credentials)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClientCredentials("", "secret"),
        lambda: ClientCredentials("id", ""),
        lambda: ClientCredentials("id", None),
        lambda: ClientCredentials("id", "secret", "read write"),
        lambda: ClientCredentials("id", "secret", ("read write",)),
        lambda: RefreshToken("id", "secret", ""),
        lambda: RefreshToken("id", "secret", "r", on_rotate="store"),
        lambda: AccessToken(""),
        lambda: AccessToken("a b"),
        lambda: AccessToken("a\r\nX-Evil: 1"),
        lambda: AccessToken("ü"),
        lambda: Token("a\n"),
    ],
)
def test_credentials_that_cannot_work_are_refused_where_they_are_made(make):
    with pytest.raises(InvalidInputError):
        make()


@pytest.mark.parametrize(
    "credentials",
    [
        ClientCredentials("id", "canary"),
        RefreshToken("id", "canary", "canary"),
        AccessToken("canary"),
        Token("canary"),
    ],
)
def test_credentials_neither_show_nor_pickle(credentials):
    assert "canary" not in f"{credentials} {credentials!r}"
    with pytest.raises(TypeError, match="refuses to be pickled"):
        pickle.dumps(credentials)


async def test_a_refresh_serves_a_call_that_was_answered_with_401_to_a_create(mocked):
    mocked.post(TOKEN, payload=token("token-1"))
    mocked.post(TOKEN, payload=token("token-2"))
    mocked.post(COLLECTION, status=401)
    mocked.post(COLLECTION, payload=wrapped(9))
    async with make_client(CREDENTIALS) as clarus:
        assert (await clarus.integrations.create(SHOP)).id == 9

    first, second = sent(mocked, "POST", COLLECTION)
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert second.headers["Authorization"] == "Bearer token-2"


@pytest.mark.parametrize("issued", ["12|abcDEF", "a!b", "urn:a:b", "a,b=", 'a"b'])
async def test_a_token_of_any_printable_characters_is_sent_as_it_was_issued(mocked, issued):
    mocked.post(TOKEN, payload={"access_token": issued, "token_type": None, "expires_in": 300})
    mocked.post(GRAPHQL, payload=PONG)
    async with make_client(CREDENTIALS) as clarus:
        await clarus.ping()

    [request] = sent(mocked, "POST", GRAPHQL)
    assert request.headers["Authorization"] == f"Bearer {issued}"
