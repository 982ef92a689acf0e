"""The client as others' tests stand in for it: mocks that can do what it can, and no more."""

from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import pytest

from clarus_async import (
    AccessToken,
    ClarusClient,
    ExternalEntities,
    Integration,
    Integrations,
    NewIntegration,
    Observer,
    TokenSource,
)

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
