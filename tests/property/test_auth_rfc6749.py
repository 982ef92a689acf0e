"""Whatever a token endpoint answers: asking ends in a token or a reason, asks nothing early, and shows no secret."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from urllib.parse import quote, quote_plus

import orjson
from hypothesis import given
from hypothesis import strategies as st

from clarus_async.auth.grants import TokenEndpoint, grant_for
from clarus_async.config import RetryPolicy, Timeouts
from clarus_async.credentials import ClientCredentials, RefreshToken, Token
from clarus_async.errors import ClarusError
from clarus_async.http.response import HttpResponse
from clarus_async.http.transport_failure import TransportFailure
from clarus_async.retry.effect import NoResponse
from tests.support.strategies import json_of, thorough
from tests.support.virtual import now, run_virtually

SECRET = "canary canary:+/%&"
PAIR = f"id:{SECRET}"
ECHOES = [SECRET, quote(SECRET, safe=""), quote_plus(SECRET), PAIR, b64encode(PAIR.encode()).decode()]
# As Doorkeeper, Authlib, django-oauth-toolkit and oidc-provider word them.
REFUSALS = [
    {"error": "invalid_client", "error_description": "Client authentication failed due to unknown client"},
    {"error": "invalid_client", "error_description": "The client cannot authenticate with methods: ['x']", "state": ""},
    {"error": "invalid_client"},
    {"error": "invalid_request", "error_description": "client authentication must only be provided once"},
    {"error": "unauthorized_client"},
    {"error": "invalid_grant", "error_description": "grant request is invalid"},
    {"access_token": "t1", "token_type": "Bearer", "expires_in": 2, "created_at": 1796007498},
]  # fmt: skip

echoes = st.sampled_from(ECHOES).map("got {}".format)
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(ECHOES)
documents = st.sampled_from(REFUSALS).flatmap(
    lambda whole: st.dictionaries(st.sampled_from(sorted(whole)), json_of(leaves), max_size=2).map(
        lambda spoilt: whole | spoilt
    )
)


@st.composite
def bodies(draw):
    body = orjson.dumps(draw(documents | json_of(leaves))) if draw(st.booleans()) else draw(st.binary(max_size=30))
    return body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body


noise = st.text(st.characters(max_codepoint=255), max_size=20)
values = noise | st.sampled_from(ECHOES)
headers = st.fixed_dictionaries(
    {},
    optional={
        "WWW-Authenticate": values | st.sampled_from(["Basic", 'Bearer realm="Doorkeeper", error="invalid_client"']),
        "Retry-After": values | st.sampled_from(["0", "7", "-1", "1e9", "9" * 40, "Mon, 30 Nov 2026 02:43:56 GMT"]),
        "Date": values | st.just("Mon, 30 Nov 2026 02:43:46 GMT"),
        "X-Request-Id": values,
    },
)
statuses = st.sampled_from([200, 201, 204, 302, 400, 401, 403, 404, 407, 408, 418, 429, 500, 503]) | st.integers(
    200, 599
)
answers = st.one_of(
    st.sampled_from([TransportFailure(why, f"{why} at token.example:443") for why in NoResponse]),
    st.builds(HttpResponse, statuses, headers, bodies(), whole=st.booleans()),
    st.builds(
        HttpResponse,
        st.sampled_from([400, 401, 429, 503]),
        headers | st.just({"Retry-After": "7"}),
        st.sampled_from(REFUSALS).map(orjson.dumps),
    ),
    st.builds(
        HttpResponse,
        st.sampled_from([400, 401, 403]),
        headers,
        st.builds(
            lambda whole, echo: orjson.dumps(whole | {"error_description": echo}), st.sampled_from(REFUSALS), echoes
        ),
    ),
)


class Server:
    """Gives answers in their order, and then the last again; notes when it was asked and how."""

    def __init__(self, given_answers):
        self.answers = given_answers
        self.asked = []

    async def send(self, method, url, headers, body, **options):
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        # Four tries, and as many more as there are other ways to send the secret.
        assert len(self.asked) < 6
        self.asked.append((now(), "Authorization" in headers.fields, b"client_secret=" in body, answer))
        await asyncio.sleep(0)
        return answer


@given(st.lists(answers, min_size=1, max_size=6), st.sampled_from(["client", "refresh"]))
@thorough
def test_asking_for_a_token(given_answers, kind):
    server = Server(given_answers)
    endpoint = TokenEndpoint(
        session=lambda: server, base_url="https://x.test", timeouts=Timeouts(), retry=RetryPolicy(), random=lambda: 1.0
    )
    credentials = ClientCredentials("id", SECRET) if kind == "client" else RefreshToken("id", SECRET, "canary-refresh")

    async def check():
        result = await grant_for(credentials, endpoint)()

        assert isinstance(result, Token | ClarusError)
        if isinstance(result, ClarusError):
            assert not any(echo in str(result) for echo in ECHOES)
            assert result.attempts == len(server.asked)
        for (before, _, _, answer), (after, _, _, _) in zip(server.asked, server.asked[1:], strict=False):
            if isinstance(answer, HttpResponse) and answer.headers.get("Retry-After") == "7":
                assert after - before >= 7.0
        assert all(by_header != by_form for _, by_header, by_form, _ in server.asked)

    run_virtually(check)
