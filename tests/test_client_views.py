"""``for_subdomain`` and ``with_options``, and where requests go."""

import pytest

from clarus_async import (
    AccessToken,
    ClarusClient,
    ClientCredentials,
    ConfigurationError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    Timeouts,
    Token,
)
from tests.support.vendor import BASE, FAST, GRAPHQL, TOKEN, make_client, sent, times

PONG = {"data": {"sites": {"all": {"edges": []}}}}


async def test_a_view_for_another_tenant_sends_its_subdomain_and_the_same_token(mocked, clarus):
    mocked.post(GRAPHQL, payload=PONG)
    view = clarus.for_subdomain("other-2")
    await view.ping()

    [request] = sent(mocked, "POST", GRAPHQL)
    assert request.headers["X-Clarus-Subdomain"] == view.subdomain == "other-2"
    assert request.headers["Authorization"] == "Bearer token-1"


async def test_a_view_with_credentials_of_its_own_sends_its_own_token(mocked, clarus):
    mocked.post(GRAPHQL, payload=PONG, repeat=True)
    await clarus.for_subdomain("other", AccessToken("token-2")).ping()
    await clarus.ping()

    assert [request.headers["Authorization"] for request in sent(mocked, "POST", GRAPHQL)] == [
        "Bearer token-2",
        "Bearer token-1",
    ]


async def test_views_share_one_token_request(mocked):
    mocked.post(TOKEN, payload={"access_token": "t"})
    mocked.post(GRAPHQL, payload=PONG, repeat=True)
    async with make_client(ClientCredentials("id", "secret")) as clarus:
        await clarus.for_subdomain("other").ping()
        await clarus.with_options(timeouts=Timeouts()).ping()
        await clarus.ping()

    assert len(sent(mocked, "POST", TOKEN)) == 1


async def test_a_view_keeps_the_options_it_was_made_from(mocked, clarus):
    mocked.post(GRAPHQL, status=500, repeat=True)
    view = clarus.with_options(retry=RetryPolicy(max_attempts=2, base=0.001)).for_subdomain("other")
    with pytest.raises(ServerError) as caught:
        await view.ping()

    assert caught.value.attempts == 2


async def test_options_of_a_view_leave_the_client_as_it_was(mocked, clarus):
    mocked.post(GRAPHQL, status=500, repeat=True)
    clarus.with_options(retry=RetryPolicy(max_attempts=1))
    with pytest.raises(ServerError) as caught:
        await clarus.ping()

    assert caught.value.attempts == FAST.max_attempts


async def test_each_option_is_replaced_alone(mocked, clarus):
    mocked.post(GRAPHQL, status=500, repeat=True)
    once = clarus.with_options(retry=RetryPolicy(max_attempts=1))
    with pytest.raises(ServerError) as caught:
        await once.with_options(timeouts=Timeouts()).ping()

    assert caught.value.attempts == 1


async def test_another_tenant_has_its_own_pace(mocked, clarus):
    mocked.post(GRAPHQL, status=429, headers={"Retry-After": "200"})
    mocked.post(GRAPHQL, payload=PONG)
    with pytest.raises(RateLimitedError):
        await clarus.ping()
    view = clarus.for_subdomain("other")
    await view.ping()

    assert view.pace.paused_until is None
    assert clarus.pace.paused_until is not None


async def test_a_view_of_the_same_tenant_has_the_same_pace(mocked, clarus):
    mocked.post(GRAPHQL, status=429, headers={"Retry-After": "200"})
    with pytest.raises(RateLimitedError):
        await clarus.ping()
    with pytest.raises(RateLimitedError, match="nothing was sent"):
        await clarus.with_options(retry=FAST).ping()

    assert times(mocked) == 1


async def test_closing_a_view_closes_nothing(mocked, clarus):
    mocked.post(GRAPHQL, payload=PONG)
    async with clarus.for_subdomain("other"):
        pass
    await clarus.with_options().close()

    await clarus.ping()


async def test_closing_the_client_closes_its_views(mocked):
    clarus = make_client()
    view = clarus.for_subdomain("other")
    await clarus.close()

    with pytest.raises(ConfigurationError, match="the client is closed"):
        await view.ping()
    assert times(mocked) == 0


@pytest.mark.parametrize(
    "subdomain",
    ["", "Acme", "a.b", "-a", "a-", "a" * 64, "acme\n", "acme\r\nX-Evil: 1", "ä", " acme", None, 7, b"acme"],
)
async def test_a_subdomain_that_is_none_is_refused(clarus, subdomain):
    with pytest.raises(ConfigurationError, match="subdomain"):
        clarus.for_subdomain(subdomain)


@pytest.mark.parametrize("credentials", ["", {}, 0])
async def test_credentials_that_are_empty_are_refused(clarus, credentials):
    with pytest.raises(ConfigurationError, match="credentials"):
        clarus.for_subdomain("other", credentials)


async def test_a_token_source_that_is_falsy_is_a_token_source(mocked, clarus):
    class Vault(dict):
        async def fetch(self):
            return Token("token-2")

    mocked.post(GRAPHQL, payload=PONG)
    await clarus.for_subdomain("other", Vault()).ping()

    [request] = sent(mocked, "POST", GRAPHQL)
    assert request.headers["Authorization"] == "Bearer token-2"


async def test_credentials_that_are_none_are_refused(clarus):
    with pytest.raises(ConfigurationError, match="credentials"):
        clarus.for_subdomain("other", "secret")


@pytest.mark.parametrize("options", [{"timeouts": 3}, {"retry": 3}, {"timeouts": RetryPolicy()}])
async def test_options_of_the_wrong_type_are_refused(clarus, options):
    with pytest.raises(ConfigurationError, match="must be"):
        clarus.with_options(**options)


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (BASE, GRAPHQL),
        (BASE + "/", GRAPHQL),
        ("https://eu.clarus-api.com:8443", "https://eu.clarus-api.com:8443/graphql"),
        ("https://proxy.example/clarus/v1/", "https://proxy.example/clarus/v1/graphql"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/graphql"),
        ("http://[::1]:8080", "http://[::1]:8080/graphql"),
        ("http://localhost", "http://localhost/graphql"),
    ],
)
async def test_requests_go_below_the_base_url(mocked, base_url, url):
    mocked.post(url, payload=PONG)
    async with make_client(base_url=base_url) as clarus:
        await clarus.ping()


async def test_plain_http_elsewhere_must_be_asked_for(mocked):
    mocked.post("http://clarus.internal/graphql", payload=PONG)
    async with make_client(base_url="http://clarus.internal", allow_http=True) as clarus:
        await clarus.ping()


def test_a_view_is_a_client():
    view = make_client().for_subdomain("other")
    assert isinstance(view, ClarusClient)
    assert repr(view) == "<ClarusClient other at https://clarus-api.com>"
