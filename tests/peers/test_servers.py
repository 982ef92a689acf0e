"""Authorization servers, each with an API behind it, and what several clients of one account come to."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections import Counter
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
import pytest

from clarus_async import AuthenticationError, AuthorizationCode, ClarusClient, ClientCredentials, RefreshToken
from tests.peers.servers import server
from tests.peers.tokens import CREDENTIALS, calls, logins, provision
from tests.peers.tour import tour

# Each so that the client can identify itself by HTTP Basic alone. Django's and Rails' take longer to start than this
# whole file may: they are among the scenarios.
SERVERS = {
    # Authlib, which decodes percents; marshmallow-jsonapi, whose ids are strings; Strawberry's relay connections.
    "flask": {"METHODS": "client_secret_basic"},
    "oidc-provider": {"METHOD": "client_secret_basic"},
}


async def test_a_server_that_challenges_by_bearer_and_decodes_nothing():
    """Doorkeeper, with its tokens of two seconds, each of which ends the one before."""
    async with (
        server("rails", CLIENT="from_basic", LIFE="2", ONE_TOKEN="1") as peer,
        ClarusClient("acme", CREDENTIALS, base_url=peer.url) as clarus,
    ):
        await clarus.ping()

        wrong = clarus.for_subdomain("acme", ClientCredentials("peer", "wrong secret"))
        with pytest.raises(AuthenticationError, match="invalid_client: Client authentication failed"):
            await wrong.ping()


@pytest.mark.parametrize("name", SERVERS)
async def test_each_call_and_two_clients_of_one_account_whose_tokens_are_short_and_end_each_other(name):
    async with server(name, LIFE="2", ONE_TOKEN="1", **SERVERS[name]) as peer:
        async with ClarusClient("acme", CREDENTIALS, base_url=peer.url) as clarus:
            await tour(clarus)

        async with (
            ClarusClient("acme", CREDENTIALS, base_url=peer.url) as one,
            ClarusClient("acme", CREDENTIALS, base_url=peer.url) as other,
            logins(peer.url, 0.5),
        ):

            async def statuses(clarus, first):
                return Counter([told.status async for told in provision(clarus, first, first + 40)])

            assert await asyncio.gather(statuses(one, 100), statuses(other, 200)) == [{"created": 40}] * 2


@pytest.mark.parametrize(
    ("name", "env"),
    [("flask", {"METHODS": "client_secret_post"}), ("oidc-provider", {"METHOD": "client_secret_post"})],
    ids=["flask", "oidc-provider"],
)
async def test_a_server_that_takes_the_secret_by_form_alone(name, env):
    async with server(name, **env) as peer, ClarusClient("acme", CREDENTIALS, base_url=peer.url) as clarus:
        await clarus.ping()

        wrong = clarus.for_subdomain("acme", ClientCredentials("peer", "wrong secret"))
        with pytest.raises(AuthenticationError, match="invalid_client") as refused:
            await wrong.ping()
        assert not refused.value.retryable
        assert "wrong secret" not in str(refused.value)


async def test_calls_of_every_kind_while_tokens_live_for_a_second():
    async with (
        server("oidc-provider", LIFE="1") as peer,
        ClarusClient("acme", CREDENTIALS, base_url=peer.url) as clarus,
        asyncio.timeout(30),
    ):
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 1.5:
            assert [told for told in await calls(clarus, 64, 16) if not told.ok] == []


async def test_a_user_s_consent_with_pkce_and_refresh_tokens_that_rotate():
    rotated = []
    async with server("oidc-provider", METHOD="client_secret_basic", LIFE="1") as peer:
        flow = AuthorizationCode(
            CREDENTIALS.client_id, CREDENTIALS.client_secret, "https://app.example/back", ("read",), base_url=peer.url
        )
        verifier = secrets.token_urlsafe(48)
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        back = await consent(flow.authorization_url("some-state", challenge))
        assert back["state"] == ["some-state"]
        given = await flow.exchange(back["code"][0], verifier)
        assert isinstance(given, RefreshToken)

        with pytest.raises(AuthenticationError, match="invalid_grant"):
            await flow.exchange(back["code"][0], verifier)
        # A code that is used twice ends what was given for it (RFC 6749, section 4.1.2): ask again.
        back = await consent(flow.authorization_url("some-state", challenge))
        given = await flow.exchange(back["code"][0], verifier)

        credentials = RefreshToken(given.client_id, given.client_secret, given.refresh_token, rotated.append)
        async with ClarusClient("acme", credentials, base_url=peer.url) as clarus:
            await clarus.ping()
            await asyncio.sleep(1.1)
            await clarus.ping()
    assert len(set(rotated)) == 2


async def consent(url):
    """Go where a browser is sent, until it is sent back to the application; return what it brings."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        for _ in range(10):
            async with browser.get(url, allow_redirects=False) as answer:
                url = urljoin(url, answer.headers["Location"])
            if url.startswith("https://app.example/back"):
                return parse_qs(urlsplit(url).query)
    raise AssertionError(f"was never sent back, but to {url}")
