"""Asking for a token: what is asked, how often, and what becomes of the answer."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode
from urllib.parse import parse_qs

import orjson
import pytest

from clarus_async.auth.grants import TokenEndpoint, grant_for
from clarus_async.config import RetryPolicy, Timeouts
from clarus_async.credentials import ClientCredentials, RefreshToken, Token
from clarus_async.errors import (
    AuthenticationError,
    ClarusError,
    ConfigurationError,
    ConnectionFailedError,
    RateLimitedError,
    ResponseError,
    ServerError,
)
from clarus_async.http.response import HttpResponse
from clarus_async.http.session import USER_AGENT
from clarus_async.http.transport_failure import TransportFailure
from clarus_async.retry.effect import NEVER_SENDABLE, NoResponse
from tests.support.virtual import now, virtual

CREDENTIALS = ClientCredentials("id", "secret", ("read", "write"))


class Wire:
    """Stands in for the session: notes what is asked, and answers what it is given, the last for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.asked_at = []
        self.sent = []

    async def send(self, method, url, headers, body, **options):
        self.asked_at.append(now())
        self.asked.append({name: value for name, [value] in parse_qs(body.decode()).items()})
        self.sent.append((method, str(url), dict(headers.fields), options))
        await asyncio.sleep(0)
        given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return TransportFailure(given, f"{given} at x.test:443") if isinstance(given, NoResponse) else given


def answer(status=200, headers=None, **body):
    return HttpResponse(status, headers or {}, orjson.dumps(body))


def good(token="t1", **more):
    return answer(access_token=token, token_type="Bearer", **more)


def refusal(error="invalid_client", status=401, **more):
    return answer(status, error=error, **more)


def endpoint(wire):
    return TokenEndpoint(
        session=lambda: wire, base_url="https://x.test", timeouts=Timeouts(), retry=RetryPolicy(), random=lambda: 1.0
    )


def grant(credentials, wire):
    return grant_for(credentials, endpoint(wire))


class TestClientCredentials:
    @virtual
    async def test_the_form_is_that_of_the_rfc(self):
        wire = Wire(good())
        await grant(CREDENTIALS, wire)()
        assert wire.asked == [
            {
                "grant_type": "client_credentials",
                "client_id": "id",
                "client_secret": "secret",
                "scope": "read write",
            }
        ]
        [(method, url, headers, _)] = wire.sent
        assert (method, url) == ("POST", "https://x.test/oauth/token")
        assert headers == {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
        }

    @virtual
    async def test_no_scope_is_left_out(self):
        wire = Wire(good())
        await grant(ClientCredentials("id", "secret"), wire)()
        assert "scope" not in wire.asked[0]

    @pytest.mark.parametrize("literal", [b"NaN", b"1e999", b"Infinity"])
    @virtual
    async def test_a_life_that_json_does_not_have_is_an_error_or_a_token(self, literal):
        body = b'{"access_token": "t1", "expires_in": ' + literal + b"}"
        result = await grant(CREDENTIALS, Wire(HttpResponse(200, {}, body)))()
        assert isinstance(result, Token | ResponseError)


class TestBasic:
    CHALLENGE = {"WWW-Authenticate": 'Basic realm="x"'}  # noqa: RUF012

    def challenge(self):
        return answer(401, self.CHALLENGE, error="invalid_client")

    @virtual
    async def test_a_server_that_asks_for_the_secret_in_a_header_gets_it_there_at_once(self):
        wire = Wire(self.challenge(), good())
        began = now()
        assert (await grant(CREDENTIALS, wire)()) == Token("t1", None)
        assert now() == began
        assert wire.asked[1] == {"grant_type": "client_credentials", "scope": "read write"}
        assert wire.sent[1][2]["Authorization"] == "Basic aWQ6c2VjcmV0"
        assert wire.sent[1][2]["Content-Type"] == "application/x-www-form-urlencoded"

    @virtual
    async def test_it_is_asked_so_once(self):
        wire = Wire(self.challenge(), self.challenge(), good())
        error = await grant(CREDENTIALS, wire)()
        assert isinstance(error, AuthenticationError)
        assert (error.attempts, len(wire.asked)) == (2, 2)

    @virtual
    async def test_trouble_after_that_is_tried_again_in_the_same_form(self):
        wire = Wire(self.challenge(), answer(503), good())
        assert (await grant(CREDENTIALS, wire)()) == Token("t1", None)
        assert "client_secret" not in wire.asked[2]

    @pytest.mark.parametrize(
        "refused",
        [
            answer(
                401, {"WWW-Authenticate": 'Bearer realm="Doorkeeper", error="invalid_client"'}, error="invalid_client"
            ),
            answer(401, {"WWW-Authenticate": 'Bearer realm="x", Basic realm="y"'}),
            HttpResponse(401, {}, b"<html><title>Unauthorized</title></html>"),
            refusal(),
            refusal(status=400),
            refusal("unauthorized_client", 400),
            refusal("invalid_request", 400, error_description="client authentication must be by header"),
        ],
        ids=str,
    )
    @virtual
    async def test_whatever_a_refusal_of_the_client_is_called(self, refused):
        wire = Wire(refused, good())
        assert await grant(CREDENTIALS, wire)() == Token("t1", None)
        assert [("Authorization" in headers) for _, _, headers, _ in wire.sent] == [False, True]

    @virtual
    async def test_a_refusal_that_says_how_long_to_wait_is_waited_for(self):
        wire = Wire(answer(401, {"Retry-After": "7"}, error="invalid_client"), good())
        await grant(CREDENTIALS, wire)()
        assert wire.asked_at == [0.0, 7.0]

    @virtual
    async def test_what_worked_is_what_the_next_request_begins_with(self):
        wire = Wire(refusal(), good())
        asking = grant(CREDENTIALS, wire)
        for _ in range(3):
            await asking()
        assert ["client_secret" in form for form in wire.asked] == [True, False, False, False]

    @virtual
    async def test_a_server_that_changes_its_mind_gets_the_form_again(self):
        wire = Wire(refusal(), good("t1"), refusal(), good("t2"))
        asking = grant(CREDENTIALS, wire)
        assert [await asking(), await asking()] == [Token("t1"), Token("t2")]
        assert ["client_secret" in form for form in wire.asked] == [True, False, False, True]

    @virtual
    async def test_a_refusal_of_both_teaches_nothing(self):
        wire = Wire(refusal(), refusal(), good())
        asking = grant(CREDENTIALS, wire)
        await asking()
        await asking()
        assert ["client_secret" in form for form in wire.asked] == [True, False, True]

    @virtual
    async def test_a_secret_with_signs_is_sent_as_it_is_to_a_server_that_decodes_nothing(self):
        wire = Wire(refusal(), refusal(), good())
        asking = grant(ClientCredentials("id", "a b:%+&"), wire)
        assert await asking() == Token("t1")
        await asking()
        sent = [b64decode(headers["Authorization"][6:]).decode() for _, _, headers, _ in wire.sent[1:]]
        assert sent == ["id:a%20b%3A%25%2B%26", "id:a b:%+&", "id:a b:%+&"]

    @virtual
    async def test_the_secret_never_goes_both_ways_at_once(self):
        wire = Wire(refusal(), refusal(), refusal())
        await grant(ClientCredentials("id", "a b"), wire)()
        for form, (_, _, headers, _) in zip(wire.asked, wire.sent, strict=True):
            assert ("client_secret" in form) == ("client_id" in form) != ("Authorization" in headers)

    @virtual
    async def test_where_both_are_refused_both_reasons_are_told(self):
        wire = Wire(
            refusal("unauthorized_client", 400, error_description="this grant is not for you"),
            refusal(error_description="unsupported authentication method"),
        )
        error = await grant(CREDENTIALS, wire)()
        assert isinstance(error, AuthenticationError)
        assert error.reason == (
            "the token endpoint refused the request: 401 invalid_client: unsupported authentication method; "
            "with the client's secret sent another way: unauthorized_client: this grant is not for you"
        )

    @virtual
    async def test_one_reason_is_told_once(self):
        wire = Wire(refusal(status=400), refusal())
        error = await grant(CREDENTIALS, wire)()
        assert error.reason.count("invalid_client") == 1

    @virtual
    async def test_a_code_or_a_refresh_token_that_is_refused_is_not_sent_again(self):
        wire = Wire(refusal("invalid_grant", 400))
        await grant(RefreshToken("id", "secret", "r1"), wire)()
        assert len(wire.asked) == 1

    @pytest.mark.parametrize("echo", ["got Basic aWQ6c2VjcmV0", "got id:secret"])
    @virtual
    async def test_an_echo_of_the_header_is_scrubbed(self, echo):
        wire = Wire(self.challenge(), refusal(error_description=echo))
        error = str(await grant(CREDENTIALS, wire)())
        assert "aWQ6" not in error
        assert "secret;" not in error
        assert "got " in error

    @virtual
    async def test_an_echo_of_the_encoded_secret_is_scrubbed(self):
        wire = Wire(self.challenge(), refusal(error_description="unknown: id:canary%20canary"))
        assert "canary" not in str(await grant(ClientCredentials("id", "canary canary"), wire)())


class TestTries:
    @virtual
    async def test_four_in_all_with_a_growing_backoff(self):
        wire = Wire(NoResponse.NO_CONNECTION)
        result = await grant(CREDENTIALS, wire)()
        assert isinstance(result, ConnectionFailedError)
        assert wire.asked_at == pytest.approx([0.0, 0.05, 0.15, 0.35], abs=1e-4)
        assert result.attempts == 4
        assert "no token could be obtained" in str(result)
        assert result.path == "/oauth/token"

    @pytest.mark.parametrize(
        "trouble",
        [
            NoResponse.NO_CONNECTION,
            NoResponse.CONNECTION_LOST,
            NoResponse.TIMED_OUT,
            answer(500),
            answer(503),
            answer(429),
            answer(408),
            HttpResponse(200, {}, b"", whole=False),
        ],
        ids=str,
    )
    @virtual
    async def test_trouble_that_may_pass_is_tried_again(self, trouble):
        wire = Wire(trouble, good())
        assert await grant(CREDENTIALS, wire)() == Token("t1")
        assert len(wire.asked) == 2

    @pytest.mark.parametrize(
        ("trouble", "error"),
        [
            *((seen, ConfigurationError) for seen in sorted(NEVER_SENDABLE)),
            (answer(302, {"Location": "https://evil.test"}), ConfigurationError),
            (refusal("invalid_scope", 400), AuthenticationError),
            (answer(404), AuthenticationError),
            (HttpResponse(200, {}, b"<html>log in</html>"), ResponseError),
            (answer(), ResponseError),
            (good("bad\r\ntoken"), ResponseError),
            (answer(access_token="t1", token_type="mac"), ResponseError),
        ],
        ids=str,
    )
    @virtual
    async def test_trouble_that_stays_is_not(self, trouble, error):
        wire = Wire(trouble)
        result = await grant(CREDENTIALS, wire)()
        assert type(result) is error
        assert len(wire.asked) == 1

    @virtual
    async def test_a_retry_after_that_is_longer_than_any_backoff_is_the_callers_to_wait_for(self):
        wire = Wire(answer(429, {"Retry-After": "3600"}), good())
        result = await grant(CREDENTIALS, wire)()
        assert isinstance(result, RateLimitedError)
        assert (result.retry_after, result.attempts) == (3600.0, 1)
        assert wire.asked_at == [0.0]

    @pytest.mark.parametrize(("status", "error"), [(500, ServerError), (429, RateLimitedError)])
    @virtual
    async def test_the_last_answer_is_the_error(self, status, error):
        result = await grant(CREDENTIALS, Wire(answer(status)))()
        assert type(result) is error
        assert result.status == status
        assert result.attempts == 4

    @virtual
    async def test_a_refusal_says_why_and_where(self):
        wire = Wire(
            HttpResponse(
                401,
                {"X-Request-Id": "r1"},
                orjson.dumps({"error": "invalid_client", "error_description": "client authentication failed"}),
            )
        )
        result = await grant(CREDENTIALS, wire)()
        assert str(result) == (
            "POST /oauth/token: the token endpoint refused the request: 401 invalid_client: "
            "client authentication failed [nothing was applied; attempts: 2; request id: r1]"
        )

    @virtual
    async def test_a_refusal_without_a_word_and_an_answer_without_a_token_say_so(self):
        assert "404 no reason given" in str(await grant(CREDENTIALS, Wire(answer(404)))())
        unreadable = await grant(CREDENTIALS, Wire(answer(access_token=7)))()
        assert (unreadable.pointer, unreadable.expected) == ("/access_token", "a bearer token")
        assert "no token could be obtained" in str(unreadable)


class TestErrorsOfASuccess:
    """GitHub's token endpoint answers 200 with an error."""

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (
                {"error": "bad_verification_code", "error_description": "it expired"},
                "bad_verification_code: it expired",
            ),
            ({"error": "incorrect_client_credentials"}, "incorrect_client_credentials"),
            ({"error": {"code": 7, "message": "no such client"}}, "7: no such client"),
        ],
    )
    @virtual
    async def test_they_are_refusals_with_the_servers_reason(self, body, said):
        wire = Wire(answer(200, **body))
        error = await grant(CREDENTIALS, wire)()

        assert type(error) is AuthenticationError
        assert f"refused the request: 200 {said}" in error.message
        assert len(wire.asked) == 1

    @virtual
    async def test_one_does_not_spend_the_refresh_token(self):
        error = await grant(RefreshToken("id", "secret", "r1"), Wire(answer(200, error="invalid_client")))()

        assert type(error) is AuthenticationError
        assert "spent" not in error.message

    @virtual
    async def test_what_ends_midway_is_no_refusal(self):
        cut = HttpResponse(200, {}, b'{"error": "bad_code"}', whole=False)
        error = await grant(CREDENTIALS, Wire(cut))()

        assert not isinstance(error, AuthenticationError)

    @virtual
    async def test_an_empty_refusal_is_explained_by_its_challenge(self):
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_client", error_description="not here"'}
        error = await grant(CREDENTIALS, Wire(HttpResponse(401, challenge, b"")))()

        assert "401 invalid_client: not here" in error.message


class TestRefreshToken:
    def credentials(self, on_rotate=None):
        return RefreshToken("id", "secret", "r1", on_rotate)

    @virtual
    async def test_the_form_is_that_of_the_rfc(self):
        wire = Wire(good())
        await grant(self.credentials(), wire)()
        assert wire.asked == [
            {"grant_type": "refresh_token", "client_id": "id", "client_secret": "secret", "refresh_token": "r1"}
        ]

    @virtual
    async def test_a_callable_that_returns_an_awaitable_is_awaited(self):
        stored = []

        class Store:
            def __call__(self, token):
                return self.write(token)

            async def write(self, token):
                stored.append(token)

        await grant(self.credentials(Store()), Wire(good("t1", refresh_token="r2")))()
        assert stored == ["r2"]

    @pytest.mark.parametrize("more", [{}, {"refresh_token": "r1"}, {"refresh_token": ""}, {"refresh_token": None}])
    @virtual
    async def test_no_new_one_keeps_the_old_one(self, more):
        stored = []
        wire = Wire(good("t1", **more))
        asking = grant(self.credentials(stored.append), wire)
        await asking()
        await asking()
        assert stored == []
        assert [form["refresh_token"] for form in wire.asked] == ["r1", "r1"]

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_a_callback_that_raises_is_logged_and_the_new_token_used(self, kind, caplog):
        def raises(token):
            raise RuntimeError(token)

        async def raises_later(token):
            raise RuntimeError(token)

        @virtual
        async def check():
            wire = Wire(good("t1", refresh_token="canary-r2"), good("t2"))
            asking = grant(self.credentials(raises if kind == "sync" else raises_later), wire)
            assert await asking() == Token("t1")
            assert await asking() == Token("t2")
            assert wire.asked[1]["refresh_token"] == "canary-r2"

        with caplog.at_level(logging.DEBUG):
            check()
        [record] = [record for record in caplog.records if record.name == "clarus_async"]
        assert record.levelno == logging.ERROR
        assert "on_rotate raised RuntimeError" in record.getMessage()
        assert "canary" not in caplog.text

    @pytest.mark.parametrize(
        "refused", [answer(400), answer(401), refusal("invalid_token", 400), refusal("invalid_grant", 400)], ids=str
    )
    @virtual
    async def test_a_refusal_after_a_lost_answer_says_authorise_again_whatever_it_is_called(self, refused):
        result = await grant(self.credentials(), Wire(NoResponse.CONNECTION_LOST, refused))()
        assert isinstance(result, AuthenticationError)
        assert "authorise again" in str(result)

    @virtual
    async def test_two_lost_answers_are_enough(self):
        wire = Wire(NoResponse.TIMED_OUT)
        assert isinstance(await grant(self.credentials(), wire)(), ConnectionFailedError)
        assert len(wire.asked) == 2

    @virtual
    async def test_where_nothing_was_sent_nothing_is_spent(self):
        wire = Wire(NoResponse.NO_CONNECTION, NoResponse.NO_CONNECTION, good(refresh_token="r2"), good("t2"))
        asking = grant(self.credentials(), wire)
        assert [await asking(), await asking()] == [Token("t1"), Token("t2")]
        assert [form["refresh_token"] for form in wire.asked] == ["r1", "r1", "r1", "r2"]

    @virtual
    async def test_a_spent_token_says_authorise_again_at_once(self):
        wire = Wire(refusal("invalid_grant", 400))
        result = await grant(self.credentials(), wire)()
        assert "authorise again" in str(result)
        assert len(wire.asked) == 1

    @pytest.mark.parametrize(
        "trouble",
        [[], [NoResponse.NO_CONNECTION], [answer(429)], [answer(429, {"Retry-After": "1"})]],
        ids=str,
    )
    @virtual
    async def test_wrong_client_credentials_do_not(self, trouble):
        result = await grant(self.credentials(), Wire(*trouble, refusal("invalid_client")))()
        assert isinstance(result, AuthenticationError)
        assert "authorise again" not in str(result)


class TestOtherSources:
    @virtual
    async def test_what_a_custom_source_raises_is_named_and_not_quoted(self):
        class Vault:
            async def fetch(self):
                raise RuntimeError("canary")

        result = await grant(Vault(), Wire(good()))()
        assert isinstance(result, AuthenticationError)
        assert "Vault.fetch raised RuntimeError" in str(result)
        assert "canary" not in str(result)
        assert result.__cause__ is result.__context__ is result.__traceback__ is None

    @virtual
    async def test_an_error_of_ours_that_a_custom_source_raises_is_passed_on_without_its_traceback(self):
        class Vault:
            async def fetch(self):
                raise AuthenticationError("the vault is sealed")

        result = await grant(Vault(), Wire(good()))()
        assert str(result) == "the vault is sealed"
        assert result.__traceback__ is None

    @pytest.mark.parametrize("garbage", [None, "t1", 5, {"access_token": "t1"}], ids=repr)
    @virtual
    async def test_a_custom_source_that_returns_no_token_is_a_wrong_setting(self, garbage):
        class Vault:
            async def fetch(self):
                return garbage

        result = await grant(Vault(), Wire(good()))()
        assert isinstance(result, ConfigurationError)
        assert f"Vault.fetch must return a Token, not {type(garbage).__name__}" in str(result)


class TestSecrets:
    @pytest.mark.parametrize("shape", ["json", "html", "text"])
    @virtual
    async def test_a_refusal_that_echoes_the_form_is_scrubbed(self, shape):
        secret = "canary-client-secret"
        echo = f"client_secret={secret}&client_id=id"
        body = {
            "json": orjson.dumps({"error": "invalid_client", "error_description": echo}),
            "html": f"<html><title>{echo}</title></html>".encode(),
            "text": echo.encode(),
        }[shape]

        result = await grant(ClientCredentials("id", secret), Wire(HttpResponse(401, {}, body)))()
        assert isinstance(result, ClarusError)
        assert secret not in str(result)

    @pytest.mark.parametrize("status", [401, 500])
    @virtual
    async def test_a_secret_that_forms_encode_is_scrubbed_as_it_was_sent(self, status):
        """An echo of the raw body has ``%2B`` for ``+``."""

        wire = Wire(HttpResponse(status, {}, b"bad request: client_secret=canary%2Bsecret%2F9%3D%3D&client_id=id"))
        result = await grant(ClientCredentials("id", "canary+secret/9=="), wire)()
        assert "canary" not in str(result)
