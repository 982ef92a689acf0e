"""One client and several event loops: one after the other is fine, two at once is said to be wrong."""

from __future__ import annotations

import asyncio
import gc
import threading

import aiohttp
import pytest

from clarus_async import AccessToken, ClarusClient, ClientCredentials, ConfigurationError, RefreshToken
from clarus_async.simulator import Simulator
from tests.support.builders import client_of, shop
from tests.support.stub_server import TOKEN_PATH, StubServer, bearer, in_a_thread, reply


@pytest.fixture
def server():
    stub = StubServer(lambda asked: reply({"data": {}}), lambda asked: bearer(f"t{stub.count(TOKEN_PATH)}"))
    with in_a_thread(stub):
        yield stub


ID_AND_SECRET = ClientCredentials("id", "secret")


LEFT_OPEN = pytest.mark.filterwarnings("ignore:[Uu]nclosed:ResourceWarning")
"""A loop that ends with the client open leaves its connections to the garbage collector."""


async def used_and_closed(clarus):
    async with clarus:
        await clarus.ping()


async def slow(asked):
    await asyncio.sleep(30.0)


class TestOneAfterTheOther:
    def test_a_client_that_was_closed_works_in_no_other_loop(self, server):
        clarus = client_of(server, ID_AND_SECRET)
        asyncio.run(used_and_closed(clarus))
        with pytest.raises(ConfigurationError, match="closed"):
            asyncio.run(clarus.ping())

    @LEFT_OPEN
    def test_one_that_was_left_open_asks_for_a_token_on_the_next_loop_s_clock(self, server):
        clarus = client_of(server, ID_AND_SECRET)
        asyncio.run(clarus.ping())
        asyncio.run(used_and_closed(clarus))
        gc.collect()
        assert (server.count("/graphql"), server.count(TOKEN_PATH)) == (2, 2)

    @LEFT_OPEN
    def test_the_next_loop_is_told_of_no_connection_of_the_first(self, server):
        """The client let go of its pool when it moved. That asyncio misses the sockets is the first loop's affair."""
        troubles = []
        clarus = client_of(server, ID_AND_SECRET)

        async def noting(use):
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: troubles.append(context["message"]))
            await use

        first = asyncio.new_event_loop()
        first.run_until_complete(noting(clarus.ping()))
        first.close()
        asyncio.run(noting(used_and_closed(clarus)))
        gc.collect()
        assert troubles == []

    @LEFT_OPEN
    def test_a_rotated_refresh_token_goes_along(self, server):
        rotated = []
        server._token = lambda asked: bearer("t", refresh_token=f"r{server.count(TOKEN_PATH) + 1}")
        clarus = client_of(server, RefreshToken("id", "secret", "r1", rotated.append))
        asyncio.run(clarus.ping())
        asyncio.run(used_and_closed(clarus))
        gc.collect()
        sent = [asked.form["refresh_token"] for asked in server.asked if asked.path == TOKEN_PATH]
        assert sent == ["r1", "r2"]
        assert rotated == ["r2", "r3"]

    def test_a_loop_that_ended_with_calls_under_way_leaves_the_client_usable(self, server):
        clarus = client_of(server, ID_AND_SECRET, max_connections=1)
        server._answer = slow

        async def leave_calls_behind():
            tasks = [asyncio.create_task(clarus.ping()) for _ in range(5)]
            while not server.count("/graphql"):  # noqa: ASYNC110  the server is on another loop
                await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)

        async def use_and_close():
            async with clarus:
                await clarus.ping()
                assert clarus.pace.queued == 0

        asyncio.run(leave_calls_behind())
        server._answer = lambda asked: reply({"data": {}})
        asyncio.run(use_and_close())
        gc.collect()

    def test_a_loop_that_ended_during_a_refresh_leaves_the_client_usable(self, server):
        clarus = client_of(server, ID_AND_SECRET)
        quick = server._token
        server._token = slow

        async def leave_a_refresh_behind():
            asyncio.create_task(clarus.ping())  # noqa: RUF006  it is meant to be left
            while not server.count(TOKEN_PATH):  # noqa: ASYNC110  the server is on another loop
                await asyncio.sleep(0)

        asyncio.run(leave_a_refresh_behind())
        server._token = quick
        asyncio.run(used_and_closed(clarus))
        gc.collect()

    def test_credentials_may_be_shared_by_clients_of_several_loops(self, server):
        for _ in range(3):
            asyncio.run(used_and_closed(client_of(server, ID_AND_SECRET)))
        assert server.count("/graphql") == 3

    def test_a_client_may_be_made_outside_any_loop(self, server):
        clarus = client_of(server, ID_AND_SECRET)
        globex = clarus.for_subdomain("globex")
        assert clarus.pace.waiting == globex.pace.waiting == 0

        async def use():
            async with clarus:
                await globex.ping()

        asyncio.run(use())

    @LEFT_OPEN
    def test_a_client_that_was_left_open_may_be_closed_in_another_loop(self, server):
        clarus = client_of(server, ID_AND_SECRET)
        asyncio.run(clarus.ping())
        asyncio.run(clarus.close())
        gc.collect()
        with pytest.raises(ConfigurationError, match="closed"):
            asyncio.run(clarus.ping())

    def test_its_pace_may_be_asked_for_after_its_loop(self, server):
        clarus = client_of(server, ID_AND_SECRET)

        asyncio.run(used_and_closed(clarus))
        assert clarus.pace.paused_until is None


class TestTwoAtOnce:
    def test_a_second_running_loop_is_refused_and_the_first_goes_on(self, server):
        clarus = client_of(server, ID_AND_SECRET)

        async def use():
            async with clarus:
                await clarus.ping()
                with pytest.raises(ConfigurationError, match="another event loop"):
                    await asyncio.to_thread(asyncio.run, clarus.ping())
                await clarus.ping()

        asyncio.run(use())

    @pytest.mark.parametrize("call", ["create", "find", "list", "provision", "graphql"])
    def test_whatever_is_called(self, server, call):
        clarus = client_of(server, ID_AND_SECRET)

        async def elsewhere():
            if call == "create":
                await clarus.integrations.create(shop())
            elif call == "find":
                await clarus.integrations.find(reference="r")
            elif call == "list":
                [row async for row in clarus.integrations.list()]
            elif call == "provision":
                [each async for each in clarus.integrations.provision([shop()])]
            else:
                await clarus.graphql("query { x }")

        async def use():
            async with clarus:
                await clarus.ping()
                with pytest.raises(ConfigurationError, match="another event loop"):
                    await asyncio.to_thread(asyncio.run, elsewhere())

        asyncio.run(use())

    def test_closing_from_a_second_running_loop_does_not_take_the_first_one_s_connections(self, server):
        clarus = client_of(server, ID_AND_SECRET)

        async def use():
            await clarus.ping()
            with pytest.raises(ConfigurationError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, clarus.close())
            await clarus.ping()
            await clarus.close()

        asyncio.run(use())

    def test_two_clients_on_two_running_loops_may_share_credentials(self, server):
        async def use():
            async with client_of(server, ID_AND_SECRET) as clarus:
                await asyncio.gather(*(clarus.ping() for _ in range(10)))

        threads = [threading.Thread(target=asyncio.run, args=(use(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.count("/graphql") == 30
        assert server.count(TOKEN_PATH) == 3


class TestTheCallersSession:
    def test_one_that_belongs_to_another_loop_is_an_error_and_no_hang(self, server):
        async def make():
            return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

        first = asyncio.new_event_loop()
        session = first.run_until_complete(make())
        clarus = client_of(server, AccessToken("t0"), session=session)
        try:
            with pytest.raises(Exception, match=r".") as raised:
                asyncio.run(clarus.ping())
            assert "Clarus" in str(type(raised.value).__mro__)
        finally:
            first.run_until_complete(session.close())
            first.close()


def test_a_client_and_its_simulator_in_two_loops_one_after_the_other():
    sim = Simulator()

    async def use():
        async with sim, ClarusClient("acme", sim.credentials, base_url=sim.url) as clarus:
            await clarus.integrations.create(shop())

    for _ in range(2):
        asyncio.run(use())
    assert len(sim.created("acme")) == 2
