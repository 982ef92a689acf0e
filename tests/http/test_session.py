"""The aiohttp session: the caller's own, whose settings are not ours, and the one that we make."""

import asyncio
import contextlib
import gzip
import json
import os
import traceback
import warnings

import aiohttp
import pytest

from clarus_async import (
    AccessToken,
    AuthorizationCode,
    ClarusClient,
    ClientCredentials,
    ConfigurationError,
    IntegrationChanges,
    NewIntegration,
    OutcomeUnknownError,
    PacingPolicy,
    ResponseError,
    RetryPolicy,
    Timeouts,
    ValidationError,
    __version__,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.builders import until
from tests.support.stub_server import Reply, StubServer, created, reply
from tests.support.virtual import now, virtual

NEW = NewIntegration(name="A", integration_type="shopify")
FAST = RetryPolicy(base=0.001, cap=0.01)
ONCE = RetryPolicy(max_attempts=1)
AT_ONCE = PacingPolicy(rate=1e6, burst=10_000)
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
API_HEADERS = {
    "host",
    "authorization",
    "x-clarus-subdomain",
    "content-type",
    "accept",
    "accept-encoding",
    "user-agent",
    "content-length",
}


def theirs(**options):
    """A session of the caller's, with the one setting that we ask for."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), **options)


@contextlib.asynccontextmanager
async def client(server, session=None, credentials=None, **options):
    options.setdefault("retry", FAST)
    credentials = credentials or ClientCredentials("id", "secret")
    async with ClarusClient("acme", credentials, base_url=server.url, session=session, **options) as clarus:
        yield clarus


def answer(asked):
    """A server that has no complaints."""
    if asked.path == "/graphql":
        return reply({"data": {"sites": {"all": {"edges": []}}}})
    return Reply(204, b"") if asked.method == "DELETE" else created()


async def every_call(clarus):
    """One call of each HTTP method and endpoint."""
    await clarus.ping()
    await clarus.integrations.create(NEW)
    await clarus.integrations.update(1, IntegrationChanges(name="B"))
    await clarus.integrations.synchronize(1)
    await clarus.integrations.delete(1)


EVERY_CALL = [
    ("POST", "/oauth/token"),
    ("POST", "/graphql"),
    ("POST", "/api/integrations"),
    ("PATCH", "/api/integrations/1"),
    ("POST", "/api/integrations/1/synchronize"),
    ("DELETE", "/api/integrations/1"),
]


# The caller's own session.


async def test_a_session_with_a_cookie_jar_is_refused():
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError, match=r"cookie_jar=aiohttp.DummyCookieJar\(\)"):
            ClarusClient("acme", AccessToken("x"), session=session)


async def test_and_shows_neither_code_nor_verifier_in_a_frame():
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError) as caught:
            await AuthorizationCode("id", "secret", "https://x.example", session=session).exchange("canary", VERIFIER)
    frames = [
        frame.f_locals
        for frame, _ in traceback.walk_tb(caught.value.__traceback__)
        if "clarus_async" in frame.f_code.co_filename
    ]
    assert frames
    assert "canary" not in str(frames)


async def test_it_is_never_closed_by_us():
    async with StubServer(answer) as server, theirs() as session:
        async with client(server, session) as clarus:
            await clarus.ping()
        assert not session.closed
        async with session.get(server.url) as response:
            assert response.status == 200


async def test_a_session_that_the_caller_closed_is_said_so():
    async with StubServer(answer) as server, theirs() as session, client(server, session) as clarus:
        await clarus.ping()
        await session.close()
        with pytest.raises(ConfigurationError, match="the aiohttp session that was passed in is closed"):
            await clarus.integrations.create(NEW)


DEFAULT_HEADERS = {
    "X-Default": "1",
    "cookie": "session=1",
    "Authorization": "Basic dTpw",
    "authorization": "Basic dTpw",
    "USER-AGENT": "theirs/1",
    "Accept": "text/html",
    "content-type": "text/plain",
    "x-clarus-subdomain": "evil",
    "Idempotency-Key": "theirs",
    "Accept-Language": "de",
    "Content-Encoding": "br",
    "Transfer-Encoding": "identity",
}


@pytest.mark.parametrize("name", DEFAULT_HEADERS)
async def test_its_default_headers_do_not_reach_the_wire(name):
    async with (
        StubServer(answer) as server,
        theirs(headers={name: DEFAULT_HEADERS[name]}) as session,
        client(server, session) as clarus,
    ):
        await every_call(clarus)

    assert [(asked.method, asked.path) for asked in server.asked] == EVERY_CALL
    for asked in server.asked:
        assert DEFAULT_HEADERS[name] not in asked.headers.values()


async def test_what_goes_out_is_the_same_with_our_session_and_theirs():
    async def sent(session):
        async with client(server, session) as clarus:
            await every_call(clarus)
        wire = [asked._replace(headers={**asked.headers, "idempotency-key": None}) for asked in server.asked]
        server.asked.clear()
        return wire

    async with StubServer(answer) as server:
        async with theirs(headers={"X-Default": "1"}) as session:
            with_theirs = await sent(session)
        tokens = {f"Bearer stub-token-{n}" for n in (0, 1)}
        assert {asked.headers.get("authorization") for asked in with_theirs} - {None} <= tokens
        assert await sent(None) == with_theirs


@pytest.mark.parametrize(("name", "value"), [("Connection", "close"), ("Transfer-Encoding", "chunked")])
async def test_nor_do_those_change_how_a_request_is_framed(name, value):
    async with (
        StubServer(answer) as server,
        theirs(headers={name: value}) as session,
        client(server, session, AccessToken("x")) as clarus,
    ):
        await clarus.integrations.create(NEW)

    [asked] = server.asked
    assert set(asked.headers) == API_HEADERS | {"idempotency-key"}
    assert asked.headers["content-length"] == str(len(asked.body))


@pytest.mark.parametrize(
    ("name", "value"), [("Expect", "100-continue"), ("host", "evil.example"), ("CONTENT-LENGTH", "3")]
)
async def test_a_default_header_that_would_frame_our_requests_is_refused(name, value):
    async with theirs(headers={name: value}) as session:
        with pytest.raises(ConfigurationError, match=f"session: its default header {name.lower()}"):
            ClarusClient("acme", AccessToken("x"), session=session)


@pytest.mark.parametrize("setting", [True, "callable"])
async def test_its_raise_for_status_is_not_used(setting):
    async def refuse(response):
        raise AssertionError(f"called for {response.status}")

    async with (
        StubServer(lambda _: reply({"error": "no"}, 422)) as server,
        theirs(raise_for_status=refuse if setting == "callable" else True) as session,
        client(server, session) as clarus,
    ):
        with pytest.raises(ValidationError, match="422 no"):
            await clarus.integrations.create(NEW)


@virtual
async def test_its_timeout_is_not_used():
    timeout = aiohttp.ClientTimeout(total=0.05, sock_read=0.05)
    async with (
        Simulator(latency=0.15) as sim,
        theirs(timeout=timeout) as session,
        client(sim, session, sim.credentials, retry=ONCE) as clarus,
    ):
        await clarus.ping()


async def test_our_timeout_is_used_on_it():
    async with Simulator() as sim, theirs() as session:
        sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_BEFORE, delay=999))
        timeouts = Timeouts(attempt=0.3, settle=0.3)
        async with client(sim, session, sim.credentials, timeouts=timeouts) as clarus:
            with pytest.raises(OutcomeUnknownError, match="no response came in time"):
                await clarus.integrations.create(NEW, on_unknown="raise")


async def test_a_redirect_is_not_followed_on_it():
    def redirect(asked):
        return reply(None, 307, f"Location: {server.url}/elsewhere")

    async with StubServer(redirect) as server, theirs() as session, client(server, session) as clarus:
        with pytest.raises(ConfigurationError, match="redirects"):
            await clarus.integrations.create(NEW)

    assert server.count("/elsewhere") == 0


async def test_its_middlewares_run():
    seen = []

    async def middleware(request, handler):
        seen.append((request.method, request.url.path))
        request.headers["X-Theirs"] = "1"
        return await handler(request)

    async with (
        StubServer(answer) as server,
        theirs(middlewares=(middleware,)) as session,
        client(server, session) as clarus,
    ):
        await every_call(clarus)

    assert seen == EVERY_CALL
    assert {asked.headers["x-theirs"] for asked in server.asked} == {"1"}


async def test_its_middlewares_keep_their_order():
    order = []

    def middleware(name):
        async def run(request, handler):
            order.append(name)
            return await handler(request)

        return run

    async with (
        StubServer(answer) as server,
        theirs(middlewares=(middleware("outer"), middleware("inner"))) as session,
        client(server, session, AccessToken("x")) as clarus,
    ):
        await clarus.ping()

    assert order == ["outer", "inner"]


async def test_a_middleware_of_theirs_that_sends_again_does_not_make_a_second_record():
    async def again(request, handler):
        response = await handler(request)
        return await handler(request) if response.status >= 500 else response

    async with (
        StubServer(lambda _: reply({"error": "down"}, 500)) as server,
        theirs(middlewares=(again,)) as session,
        client(server, session, AccessToken("x")) as clarus,
    ):
        with pytest.raises(OutcomeUnknownError):
            await clarus.integrations.create(NEW)

    assert server.count("/api/integrations") == 1


async def test_its_trace_configs_run():
    started = []
    trace = aiohttp.TraceConfig()

    async def note(session, context, params):
        started.append(params.method)

    trace.on_request_start.append(note)
    async with (
        StubServer(answer) as server,
        theirs(trace_configs=[trace]) as session,
        client(server, session, AccessToken("x")) as clarus,
    ):
        await clarus.integrations.delete(1)

    assert started == ["DELETE"]


async def test_its_base_url_is_not_used():
    async with (
        StubServer(answer) as server,
        StubServer(answer) as other,
        theirs(base_url=f"{other.url}/their/api/") as session,
        client(server, session) as clarus,
    ):
        await every_call(clarus)

    assert [(asked.method, asked.path) for asked in server.asked] == EVERY_CALL
    assert other.asked == []


async def test_its_auto_decompress_is_not_used():
    packed = gzip.compress(created(7).body)

    async with (
        StubServer(lambda _: Reply(200, packed, ("Content-Encoding: gzip",))) as server,
        theirs(auto_decompress=False) as session,
        client(server, session) as clarus,
    ):
        assert (await clarus.integrations.create(NEW)).id == 7


async def test_its_cookies_are_not_sent():
    async with (
        StubServer(answer) as server,
        theirs(cookies={"session": "1"}) as session,
        client(server, session) as clarus,
    ):
        await every_call(clarus)

    assert all("cookie" not in asked.headers for asked in server.asked)


async def test_its_proxy_is_used():
    async with (
        StubServer(answer) as proxy,
        theirs(proxy=proxy.url) as session,
        ClarusClient(
            "acme", AccessToken("x"), base_url="http://clarus.invalid", allow_http=True, session=session
        ) as clarus,
    ):
        await clarus.ping()

    [asked] = proxy.asked
    assert asked.path == "http://clarus.invalid/graphql"


def with_default_auth():
    with warnings.catch_warnings():
        # Deprecated in aiohttp, and in use all the same.
        warnings.simplefilter("ignore", DeprecationWarning)
        return theirs(auth=aiohttp.BasicAuth("their", "password"))


async def test_its_default_auth_does_not_reach_the_token_endpoint():
    async with StubServer(answer) as server, with_default_auth() as session, client(server, session) as clarus:
        with contextlib.suppress(Exception):
            await clarus.ping()

    assert all(not asked.headers.get("authorization", "").startswith("Basic") for asked in server.asked)


async def test_its_default_auth_is_no_obstacle():
    async with (
        StubServer(answer) as server,
        with_default_auth() as session,
        client(server, session, AccessToken("x")) as clarus,
    ):
        await clarus.integrations.create(NEW)


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    path = tmp_path / "netrc"
    path.write_text("default login their password pass\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


async def test_a_netrc_is_no_obstacle_where_the_session_trusts_the_environment(netrc):
    async with (
        StubServer(answer) as server,
        theirs(trust_env=True) as session,
        client(server, session, AccessToken("x")) as clarus,
    ):
        await clarus.integrations.create(NEW)


class Busy:
    """Answers once it may, and knows how many requests it had at once."""

    def __init__(self):
        self.now = self.most = 0
        self.may_answer = asyncio.Event()

    async def __call__(self, asked):
        self.now += 1
        self.most = max(self.most, self.now)
        await self.may_answer.wait()
        self.now -= 1
        return answer(asked)


@pytest.mark.parametrize(
    ("connector", "max_connections", "width"),
    [
        ({"limit": 2}, 64, 2),
        ({"limit": 64, "limit_per_host": 2}, 64, 2),
        ({"limit": 0}, 2, 2),
        ({"limit": 0, "limit_per_host": 3}, 64, 3),
        ({"limit": 64}, 2, 2),
    ],
)
async def test_the_limiter_is_as_wide_as_the_narrower_of_pool_and_setting(connector, max_connections, width):
    busy = Busy()
    async with (
        StubServer(busy) as server,
        theirs(connector=aiohttp.TCPConnector(**connector)) as session,
        client(
            server,
            session,
            AccessToken("x"),
            max_connections=max_connections,
            retry=ONCE,
            pacing=AT_ONCE,
        ) as clarus,
    ):
        calls = [asyncio.create_task(clarus.ping()) for _ in range(8)]
        await until(lambda: busy.now == width)
        # Whoever waits for the pool instead of the queue has begun an attempt, whose time runs out.
        assert clarus.pace.queued == 8 - width
        busy.may_answer.set()
        await asyncio.gather(*calls)

    assert busy.most == width


async def test_a_full_pool_of_theirs_does_not_keep_tokens_from_coming():
    async with (
        Simulator() as sim,
        theirs(connector=aiohttp.TCPConnector(limit=1)) as session,
        client(sim, session, sim.credentials) as clarus,
    ):
        await asyncio.gather(*(clarus.ping() for _ in range(10)))
        sim.expire_tokens()
        await asyncio.gather(*(clarus.ping() for _ in range(10)))


# Our own session.


async def test_our_session_says_who_we_are():
    async with StubServer(answer) as server, client(server) as clarus:
        await every_call(clarus)

    agent = f"clarus-async/{__version__} aiohttp/{aiohttp.__version__}"
    assert {asked.headers["user-agent"] for asked in server.asked} == {agent}


async def test_each_request_has_these_headers_on_the_wire_and_no_others():
    async with StubServer(answer) as server, client(server, credentials=AccessToken("x")) as clarus:
        await every_call(clarus)

    ping, create, update, synchronize, delete = server.asked
    assert set(create.headers) == API_HEADERS | {"idempotency-key"}
    assert set(ping.headers) == set(update.headers) == set(synchronize.headers) == API_HEADERS
    assert set(delete.headers) <= API_HEADERS
    assert synchronize.headers["content-length"] == "0"
    assert synchronize.body == delete.body == b""
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer x"}
    assert {asked.headers["x-clarus-subdomain"] for asked in server.asked} == {"acme"}
    assert {asked.headers["content-type"] for asked in server.asked} == {"application/json"}


async def test_our_session_keeps_no_cookies():
    def bake(asked):
        return answer(asked)._replace(headers=("Content-Type: application/json", "Set-Cookie: tenant=acme; Path=/"))

    def bake_token(asked):
        return reply({"access_token": "t"}, 200, "Set-Cookie: login=1; Path=/")

    async with StubServer(bake, bake_token) as server:
        # By name: a cookie jar of aiohttp's takes nothing from a bare address, and would look empty here.
        server.url = server.url.replace("127.0.0.1", "localhost")
        async with client(server) as clarus:
            await every_call(clarus)
            await clarus.for_subdomain("other").ping()

    assert len(server.asked) == 7
    assert all("cookie" not in asked.headers for asked in server.asked)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_our_session_uses_no_proxy_from_the_environment(monkeypatch, name):
    for no_proxy in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(no_proxy, raising=False)
    async with StubServer(answer) as proxy, StubServer(answer) as server:
        monkeypatch.setenv(name, proxy.url)
        async with client(server) as clarus:
            await clarus.ping()

    assert (proxy.asked, len(server.asked)) == ([], 2)


async def test_our_session_uses_no_netrc(netrc):
    async with StubServer(answer) as server, client(server) as clarus:
        await clarus.ping()

    token, ping = server.asked
    assert "authorization" not in token.headers
    assert ping.headers["authorization"].startswith("Bearer ")


async def test_a_body_that_is_larger_than_the_cap_is_not_read_to_its_end():
    async with Simulator() as sim, client(sim, credentials=sim.credentials) as clarus:
        sim.script(Endpoint.TOKEN, FaultKind.OVERSIZED)
        with pytest.raises(ResponseError, match="no token could be obtained"):
            await clarus.ping()


async def test_our_session_uses_a_connection_again():
    async with StubServer(answer) as server, client(server) as clarus:
        for _ in range(3):
            await every_call(clarus)
        assert server.open_connections == 1


@virtual
async def test_our_session_lets_an_idle_connection_go_before_common_servers_do(monkeypatch):
    """Apache, Node and uvicorn close theirs after 5 s; a POST that meets that has an unknown outcome."""
    # The pool does not ask the loop what time it is.
    monkeypatch.setattr("aiohttp.connector.monotonic", now)
    async with StubServer(answer) as server, client(server, credentials=AccessToken("x")) as clarus:
        await clarus.ping()
        assert server.open_connections == 1
        # No timer of a real loop is as punctual as a virtual one: something else takes a millisecond just then.
        loop = asyncio.get_running_loop()
        loop.call_later(3.9995, loop.clock.advance, 0.001)
        async with asyncio.timeout(4.9):
            while server.open_connections:  # noqa: ASYNC110 - the server has no event for that
                await asyncio.sleep(0.05)


async def test_our_pool_is_as_wide_as_it_is_told():
    busy = Busy()
    async with StubServer(busy) as server, client(server, max_connections=3) as clarus:
        calls = [asyncio.create_task(clarus.ping()) for _ in range(12)]
        await until(lambda: busy.now == 3)
        busy.may_answer.set()
        await asyncio.gather(*calls)
        assert server.open_connections <= 4  # one more, so that a token never waits for calls

    assert busy.most == 3


def test_making_a_client_needs_no_event_loop_and_opens_nothing():
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None  # noqa: PTH112, PTH208
    clarus = ClarusClient("acme", AccessToken("x"))
    assert before is None or len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert clarus.subdomain == "acme"


@pytest.mark.parametrize("size", [2**20 - 200, 2**20 + 1, 5 * 2**20])
async def test_a_large_body_arrives_whole(size):
    new = NewIntegration(name="A", integration_type="x", configuration={"text": "x" * size})
    async with StubServer(answer) as server, client(server, credentials=AccessToken("x")) as clarus:
        await clarus.integrations.create(new)

    [asked] = server.asked
    assert json.loads(asked.body)["data"]["attributes"]["configuration"] == {"text": "x" * size}
    assert asked.headers["content-length"] == str(len(asked.body))
    assert asked.headers["content-type"] == "application/json"


async def test_a_large_body_that_is_sent_again_arrives_whole_again():
    new = NewIntegration(name="A", integration_type="x", configuration={"text": "x" * (2**20 + 1)})

    def refuse_once(asked):
        return reply(None, 429, "Retry-After: 0.01") if len(server.asked) == 1 else created()

    async with StubServer(refuse_once) as server, client(server, credentials=AccessToken("x")) as clarus:
        await clarus.integrations.create(new)

    first, second = server.asked
    assert first.body == second.body
