"""The client: its settings, its views and where their requests go, and mocks of it as others' tests make them."""

from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import pytest

from clarus_async import (
    AccessToken,
    ClarusClient,
    ConfigurationError,
    ExternalEntities,
    Integration,
    Integrations,
    NewIntegration,
    Observer,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    Timeouts,
    Token,
    TokenSource,
)
from tests.support.vendor import BASE, FAST, GRAPHQL, make_client, sent, times

PONG = {"data": {"sites": {"all": {"edges": []}}}}


async def test_a_view_for_another_tenant_sends_its_subdomain_and_the_same_token(mocked, clarus):
    mocked.post(GRAPHQL, payload=PONG)
    view = clarus.for_subdomain("other-2")
    await view.ping()

    [request] = sent(mocked, "POST", GRAPHQL)
    assert request.headers["X-Clarus-Subdomain"] == view.subdomain == "other-2"
    assert request.headers["Authorization"] == "Bearer token-1"


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


@pytest.mark.parametrize("credentials", ["", {}, 0, "secret"])
async def test_what_is_no_credentials_of_a_view_is_refused(clarus, credentials):
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


def test_every_setting_that_is_wrong_is_named_at_once():
    with pytest.raises(ConfigurationError) as caught:
        ClarusClient(
            "A", "x", base_url="x", timeouts=3, retry="x", pacing="x", max_connections=0, session="x", observer=object()
        )
    for name in (
        "subdomain", "credentials", "base_url", "timeouts", "retry", "pacing", "max_connections", "observer",
    ):  # fmt: skip
        assert f"{name}: " in str(caught.value)
    assert "session: must be ClientSession, not str" in str(caught.value)


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


NEW = NewIntegration(name="Shop", integration_type="shopify")
SHOP = Integration(id=7, name="Shop")


def test_a_resource_is_made_once_for_each_view():
    clarus = ClarusClient("acme", AccessToken("t"))

    assert isinstance(clarus.integrations, Integrations)
    assert clarus.integrations is clarus.integrations
    assert clarus.for_subdomain("globex").integrations is not clarus.integrations
    assert ClarusClient.integrations is Integrations
    assert isinstance(clarus.external_entities, ExternalEntities)
    assert ClarusClient.external_entities is ExternalEntities


@pytest.mark.parametrize("mock", [Mock, MagicMock, AsyncMock])
def test_a_mock_of_its_spec_has_what_it_has(mock):
    clarus = mock(spec=ClarusClient)

    assert isinstance(clarus, ClarusClient)
    assert {"integrations", "pace", "subdomain"} <= set(dir(clarus))
    clarus.integrations = create_autospec(Integrations, instance=True)
    with pytest.raises(AttributeError):
        clarus.integration  # noqa: B018


@pytest.mark.parametrize("mock", [Mock, MagicMock, AsyncMock])
async def test_what_is_awaited_can_be_awaited_of_a_mock(mock):
    clarus = mock(spec=ClarusClient)
    clarus.ping.return_value = None
    clarus.graphql.return_value = {"x": 1}
    clarus.integrations = create_autospec(Integrations, instance=True)
    clarus.integrations.create.return_value = SHOP

    assert await clarus.ping() is None
    assert await clarus.graphql("query { x }") == {"x": 1}
    assert await clarus.integrations.create(NEW) is SHOP


@pytest.fixture(params=[True, False], ids=["instance", "class"])
def autospec(request):
    return create_autospec(ClarusClient, instance=request.param)


async def test_an_autospec_knows_its_resources(autospec):
    autospec.integrations.create.return_value = SHOP

    assert isinstance(autospec, ClarusClient)
    assert await autospec.integrations.create(NEW, on_unknown="raise") is SHOP
    autospec.integrations.create.assert_awaited_once_with(NEW, on_unknown="raise")


async def test_an_autospec_refuses_what_the_client_would(autospec):
    with pytest.raises(AttributeError):
        autospec.integrations.craete  # noqa: B018
    with pytest.raises(TypeError, match="on_unknwon"):
        await autospec.integrations.create(NEW, on_unknwon="raise")
    with pytest.raises(TypeError):
        autospec.integrations.list(page=1)


async def test_an_autospec_lists(autospec):
    autospec.integrations.list.return_value.__aiter__.return_value = [SHOP]

    assert [row async for row in autospec.integrations.list()] == [SHOP]


async def test_a_client_takes_mocks_of_what_it_is_given():
    observer, source = Mock(spec=Observer), AsyncMock(spec=TokenSource)

    assert ClarusClient("acme", source, observer=observer).subdomain == "acme"
    assert ClarusClient("acme", create_autospec(TokenSource, instance=True), observer=create_autospec(Observer))
