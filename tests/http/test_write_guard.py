"""A client that may send only for some time: it is asked before each request, and again when its body is written."""

from __future__ import annotations

import contextlib

import aiohttp
import pytest

from clarus_async import (
    AccessToken,
    Applied,
    ClarusClient,
    ConnectionFailedError,
    IntegrationChanges,
    NewIntegration,
)
from clarus_async.simulator import Endpoint
from tests.support.stub_server import StubServer, created

SHOP = NewIntegration(name="Shop", integration_type="shopify")


class Right:
    """Says yes for some times."""

    def __init__(self, times):
        self.left = times

    def __call__(self):
        self.left -= 1
        return self.left >= 0


def arrived(sim):
    return [entry.method for entry in sim.requests if entry.endpoint not in {Endpoint.TOKEN, None}]


def own_session():
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())


# Before the request, and when its body is to be written: by then, there is a connection.
@pytest.mark.parametrize("checks", [0, 1])
@pytest.mark.parametrize("session", [contextlib.nullcontext, own_session], ids=["ours", "the caller's"])
@pytest.mark.parametrize("size", [10, 3 * 2**20], ids=["small", "large"])
async def test_nothing_is_sent_once_the_right_has_ended(checks, session, size):
    new = NewIntegration(name="Shop", integration_type="shopify", configuration={"text": "x" * size})
    right = Right(checks)
    async with StubServer(lambda _: created()) as server, session() as theirs:
        async with ClarusClient("acme", AccessToken("t"), base_url=server.url, session=theirs) as clarus:
            with pytest.raises(ConnectionFailedError) as raised:
                await clarus.guarded(right).integrations.create(new, on_unknown="raise")
            assert server.asked == []
            await clarus.guarded(Right(2)).integrations.create(new)
            assert server.count("/api/integrations") == 1
    assert right.left == -1
    assert (raised.value.applied, raised.value.retryable, raised.value.attempts) == (Applied.NO, False, 1)
    assert "the permission to send has ended" in str(raised.value)


async def test_what_may_be_sent_is(clarus_simulator, clarus_client):
    right = Right(2)
    await clarus_client.guarded(right).integrations.create(SHOP)
    assert (arrived(clarus_simulator), right.left) == (["POST"], 0)
    # The client that the view came from is as free as it was.
    await clarus_client.integrations.create(SHOP)
    assert arrived(clarus_simulator) == ["POST", "POST"]


@pytest.mark.parametrize(
    "call",
    [
        lambda clarus: clarus.integrations.update(1, IntegrationChanges(name="A")),
        lambda clarus: clarus.integrations.delete(1),
        lambda clarus: clarus.integrations.synchronize(1),
        lambda clarus: clarus.integrations.find(name="A"),
        lambda clarus: clarus.with_options().integrations.create(SHOP),
        lambda clarus: clarus.for_subdomain("acme").integrations.create(SHOP),
    ],
    ids=["update", "delete", "synchronize", "find", "other options", "a tenant"],
)
async def test_it_holds_for_every_call_and_view(call, clarus_simulator, clarus_client):
    with pytest.raises(ConnectionFailedError):
        await call(clarus_client.guarded(lambda: False))
    assert arrived(clarus_simulator) == []
