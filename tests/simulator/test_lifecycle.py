"""Starting, refusing, stopping; and :class:`Api`, with which the simulator's other tests talk to it."""

import asyncio
import contextlib
import errno
import gc
import io
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
import trustme

from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.builders import until

FORM = {
    "grant_type": "client_credentials",
    "client_id": Simulator.client_id,
    "client_secret": Simulator.client_secret,
}


class Answer:
    """What came back."""

    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def symbols(self):
        return [error["symbol"] for error in self.json["errors"]]


class Api:
    """A bare aiohttp client of one tenant; every request on a connection of its own unless told otherwise."""

    def __init__(self, simulator, tenant="acme", keep_alive=False):
        connector = aiohttp.TCPConnector(force_close=not keep_alive, limit=0)
        self.session = aiohttp.ClientSession(simulator.url, connector=connector)
        # Else aiohttp sends a DELETE whose connection was cut a second time, and tells nobody.
        self.session._retry_connection = False
        self.tenant = tenant
        self.token = None

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    async def send(self, method, path, *, allow_redirects=False, **options):
        async with self.session.request(method, path, allow_redirects=allow_redirects, **options) as response:
            return Answer(response, await response.read())

    async def login(self, **form):
        answer = await self.send("POST", "/oauth/token", data=FORM | form)
        self.token = answer.json.get("access_token")
        return answer

    async def call(self, method, path, document=None, headers=None, **options):
        if self.token is None:
            await self.login()
        sent = {"Authorization": f"Bearer {self.token}", "X-Clarus-Subdomain": self.tenant} | (headers or {})
        return await self.send(method, path, json=document, headers=sent, **options)

    async def create(self, name="Shop", key=None, **attributes):
        attributes = {"name": name, "integration_type": "shopify"} | attributes
        document = {"data": {"type": "integrations", "attributes": attributes}}
        headers = {"Idempotency-Key": key} if key else {}
        return await self.call("POST", "/api/integrations", document, headers)

    async def update(self, record_id, **attributes):
        document = {"data": {"type": "integrations", "attributes": attributes}}
        return await self.call("PATCH", f"/api/integrations/{record_id}", document)

    async def graphql(self, query, **variables):
        return (await self.call("POST", "/graphql", {"query": query, "variables": variables})).json


async def test_it_listens_until_it_is_stopped():
    async with Simulator() as simulator:
        async with Api(simulator) as api:
            assert (await api.create()).status == 200
        url, port = simulator.url, simulator.port
        assert url == f"http://127.0.0.1:{port}"

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
    assert [record.name for record in simulator.integrations("acme")] == ["Shop"]


async def test_it_starts_again_on_its_port_with_what_it_had():
    simulator = Simulator()
    ports = []
    for _ in range(2):
        async with simulator, Api(simulator) as api:
            ports.append(simulator.port)
            await api.create()

    assert ports[0] == ports[1]
    assert [record.id for record in simulator.integrations("acme")] == [1, 2]


async def test_it_does_not_start_twice():
    async with Simulator() as simulator:
        with pytest.raises(RuntimeError, match="is running"):
            await simulator.start()


async def test_stop_before_start_is_harmless():
    await Simulator().stop()


async def test_stop_leaves_no_task_and_no_connection():
    before = asyncio.all_tasks()
    simulator = Simulator()
    await simulator.start()
    async with Api(simulator, keep_alive=True) as api:
        await api.create()
        simulator.script(Endpoint.CREATE, Fault("stall_before", delay=999.0), Fault("late_apply", delay=999.0))
        stalled = asyncio.create_task(api.create())
        await until(lambda: simulator.count(Endpoint.CREATE) == 2)
        with pytest.raises(aiohttp.ClientError):
            await api.create()
        simulator.script(Endpoint.UPDATE, Fault("refuse", delay=999.0))
        with pytest.raises(aiohttp.ClientError):
            await api.update(1, name="x")

        await simulator.stop()

        with pytest.raises(aiohttp.ClientError):
            await stalled
    assert asyncio.all_tasks() == before
    assert simulator.open_connections == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", simulator.port)) == errno.ECONNREFUSED
    assert len(simulator.created("acme")) == 1


async def test_open_connections_are_counted():
    async with Simulator() as simulator, Api(simulator, keep_alive=True) as api:
        await api.create()
        assert simulator.open_connections == 1
        await api.session.close()
        await until(lambda: simulator.open_connections == 0)


async def test_refuse_closes_the_port_and_idle_connections_until_accept():
    async with Simulator() as simulator, Api(simulator, keep_alive=True) as api:
        await api.create()
        await simulator.refuse()
        assert simulator.open_connections == 0
        for _ in range(3):
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await api.create()
            assert caught.value.errno == errno.ECONNREFUSED

        await simulator.accept()
        assert (await api.create()).status == 200
        assert simulator.count(Endpoint.CREATE) == 2


async def test_who_is_being_served_when_it_refuses_gets_an_answer_and_no_more():
    async with Simulator(latency=0.05) as simulator, Api(simulator, keep_alive=True) as api:
        await api.login()
        served = asyncio.create_task(api.create())
        await until(lambda: simulator.count(Endpoint.CREATE) == 1)
        await simulator.refuse()
        answer = await served

        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        await until(lambda: simulator.open_connections == 0)


async def test_refuse_and_accept_can_be_repeated():
    async with Simulator() as simulator, Api(simulator) as api:
        await simulator.refuse()
        await simulator.refuse()
        await simulator.accept()
        await simulator.accept()

        assert (await api.create()).status == 200


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_was_just_accepted_is_not_forgotten_when_it_refuses(turns):
    """Whoever connects meanwhile is refused or served, and never left alone."""
    ping = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with Simulator() as simulator:
        connecting = [asyncio.ensure_future(asyncio.open_connection("127.0.0.1", simulator.port)) for _ in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await simulator.refuse()
        async with asyncio.timeout(30):
            for connection in await asyncio.gather(*connecting, return_exceptions=True):
                if isinstance(connection, OSError):
                    continue
                reader, writer = connection
                # Of a transport that is closed, uvloop says so with an error of its own.
                with contextlib.suppress(ConnectionError, RuntimeError):
                    writer.write(ping)
                    await reader.read()
                writer.transport.abort()
        await asyncio.sleep(0)
    # A socket that nobody closed warns when it is collected.
    gc.collect()


async def test_a_fault_does_not_open_what_was_closed_by_hand():
    async with Simulator() as simulator, Api(simulator) as api:
        simulator.script(Endpoint.CREATE, Fault(FaultKind.REFUSE, delay=0.0))
        with pytest.raises(aiohttp.ClientOSError):
            await api.create()
        await simulator.refuse()
        await asyncio.sleep(0.02)
        with pytest.raises(aiohttp.ClientConnectorError):
            await api.create()
        await simulator.accept()
        assert (await api.create()).status == 200


async def test_a_taken_port_is_an_os_error():
    async with Simulator() as simulator:
        with pytest.raises(OSError, match=str(simulator.port)):
            await Simulator(port=simulator.port).start()


async def test_tls():
    authority = trustme.CA()
    served, trusted = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.configure_trust(trusted)
    async with Simulator(ssl_context=served) as simulator:
        assert simulator.url.startswith("https://")
        async with Api(simulator, keep_alive=True) as api:
            answer = await api.send("POST", "/oauth/token", data=FORM, ssl=trusted)
            assert answer.status == 200
            simulator.script(Endpoint.TOKEN, FaultKind.RESET_BEFORE)
            with pytest.raises(aiohttp.ClientError):
                await api.send("POST", "/oauth/token", data=FORM, ssl=trusted)
            await api.send("POST", "/oauth/token", data=FORM, ssl=trusted)
            await simulator.stop()
            await until(lambda: simulator.open_connections == 0)


async def test_every_answer_has_a_date_and_a_request_id():
    async with Simulator() as simulator, Api(simulator) as api:
        answers = [await api.login(), await api.create(), await api.create(name=""), await api.send("GET", "/")]

    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 4
    assert [entry.request_id for entry in simulator.requests] == [a.headers["X-Request-Id"] for a in answers]
    for answer in answers:
        age = datetime.now(UTC) - parsedate_to_datetime(answer.headers["Date"])
        assert timedelta(0) <= age < timedelta(seconds=60)


async def test_only_the_latest_requests_are_kept_if_asked():
    async with Simulator(keep_requests=3) as simulator, Api(simulator) as api:
        for number in range(8):
            await api.create(name=f"n{number}")

    assert [json.loads(e.body)["data"]["attributes"]["name"] for e in simulator.requests] == ["n5", "n6", "n7"]
    assert simulator.count() == 9
    assert simulator.count(Endpoint.CREATE, "acme") == 8


async def test_the_log_shows_no_secret_in_its_repr():
    async with Simulator() as simulator, Api(simulator) as api:
        await api.create(configuration={"api_key": "canary"})

    text = repr(simulator.requests) + repr(simulator.created("acme"))
    assert "canary" not in text
    assert api.token not in text
    assert Simulator.client_secret not in text


async def test_latency_delays_each_answer():
    async with Simulator(latency=0.05) as simulator, Api(simulator) as api:
        began = asyncio.get_running_loop().time()
        await api.login()
        assert asyncio.get_running_loop().time() - began >= 0.05 - 1.1e-3  # uvloop's clock ticks in milliseconds


async def test_a_client_that_leaves_is_served_all_the_same():
    async with Simulator(latency=0.1) as simulator, Api(simulator) as api:
        await api.login()
        leaving = asyncio.create_task(api.create())
        await until(lambda: simulator.integrations("acme"))
        leaving.cancel()
        await asyncio.wait([leaving])
        await until(lambda: simulator.open_connections == 0)
        await api.create("next")

    assert [(entry.status, entry.applied_at is None) for entry in simulator.requests[-2:]] == [
        (None, False),
        (200, False),
    ]


async def test_a_client_that_leaves_within_its_request_asked_for_nothing():
    async with Simulator() as simulator:
        _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(b"POST /api/integrations HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        await until(lambda: simulator.count() == 1)
        writer.close()
        await writer.wait_closed()
        await until(lambda: simulator.open_connections == 0)
        async with Api(simulator) as api:
            assert (await api.create()).status == 200
        assert (simulator.requests[0].status, simulator.requests[0].body) == (None, b"")
        assert simulator.requests[0].fault is None


async def test_too_much_is_refused():
    async with Simulator() as simulator, Api(simulator) as api:
        await api.login()
        too_much = io.BytesIO(b" " * (16 * 2**20 + 1))
        answer = await api.send("POST", "/api/integrations", data=too_much)

        assert (answer.status, answer.symbols) == (413, ["too_large"])
        assert (await api.create()).status == 200
