"""What a failure without an answer says: where, and why. Over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import struct
import threading

import aiohttp
import pytest
import trustme

from clarus_async import (
    AccessToken,
    Applied,
    ClarusClient,
    ClarusError,
    ClientCredentials,
    ConfigurationError,
    ConnectionFailedError,
    NewIntegration,
    OutcomeUnknownError,
    RetryPolicy,
    Timeouts,
)
from tests.support.process import free_port
from tests.support.stub_server import StubServer, listening, reply
from tests.support.tls import authority_fixture, client_context, server_context  # noqa: F401  one is a fixture

NEW = NewIntegration(name="Shop", integration_type="shopify")
FAST = RetryPolicy(max_attempts=2, base=0.001, cap=0.001)
TIMEOUTS = Timeouts(connect=0.3, attempt=0.5, settle=0.5, deadline=5.0)
CANARY = "canary-proxy-password"
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


def session_of(**options):
    ssl_context = options.pop("ssl", True)
    connector = options.pop("connector", None) or aiohttp.TCPConnector(ssl=ssl_context)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **options)


def client(url, session=None, credentials=None, **options):
    return ClarusClient(
        "acme", credentials or AccessToken("x"), base_url=url, session=session, retry=FAST, timeouts=TIMEOUTS, **options
    )


async def ended(cls, url, session=None, **options):
    """What a create ends with."""
    async with client(url, session, **options) as clarus:
        with pytest.raises(cls) as caught:
            await clarus.integrations.create(NEW, on_unknown="raise")
    if session is not None:
        await session.close()
    assert type(caught.value) is cls
    assert CANARY not in str(caught.value)
    # What aiohttp raised holds the proxy's URL and every header.
    assert isinstance(caught.value.__context__, ClarusError | None)
    assert isinstance(caught.value.__cause__, ClarusError | None)
    return caught.value


def refused(error, attempts=1):
    """Whether nothing was sent, and nothing of it is tried again."""
    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, False, attempts)
    return str(error)


def in_vain(error):
    """Whether nothing was sent, again and again."""
    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, True, 2)
    return str(error)


def place(url):
    return url.partition("://")[2]


# --- the name, the address, the port


async def test_a_name_that_is_none():
    said = in_vain(await ended(ConnectionFailedError, "https://clarus.invalid"))
    assert "POST /api/integrations: no connection to clarus.invalid:443: the name could not be resolved (" in said
    assert "[nothing was applied; attempts: 2]" in said


async def test_a_resolver_of_the_callers_own_may_say_what_it_likes():
    class Resolver(aiohttp.abc.AbstractResolver):
        async def resolve(self, host, port=0, family=0):
            raise OSError(None, f"asked with {CANARY}")

        async def close(self):
            pass

    session = session_of(connector=aiohttp.TCPConnector(resolver=Resolver()))
    said = in_vain(await ended(ConnectionFailedError, "https://clarus.example:8443", session))
    assert "no connection to clarus.example:8443: the name could not be resolved;" in said


async def test_a_label_that_is_too_long_is_no_host_name():
    said = in_vain(await ended(ConnectionFailedError, f"https://{'a' * 70}.example"))
    assert ".example:443: " in said


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
async def test_a_port_on_which_nobody_listens(host):
    port = free_port()
    said = in_vain(await ended(ConnectionFailedError, f"http://{host}:{port}"))
    assert f"no connection to {host}:{port}: Connection refused;" in said or "Cannot assign" in said


class Unreachable(aiohttp.TCPConnector):
    """Whose sockets fail as those of a machine without a route."""

    def __init__(self, error):
        def factory(_):
            raise error

        super().__init__(socket_factory=factory)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(101, "x"), "Network is unreachable"),
        (OSError(113, "x"), "No route to host"),
        (OSError(24, "x"), "Too many open files"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_network_that_can_not_be_reached(error, words):
    said = in_vain(await ended(ConnectionFailedError, "http://127.0.0.1:9", session_of(connector=Unreachable(error))))
    assert f"no connection to 127.0.0.1:9: {words};" in said


@contextlib.contextmanager
def full_backlog():
    """A port whose connections are never made: its queue is full."""
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


async def test_a_connection_that_takes_too_long():
    with full_backlog() as port:
        said = in_vain(await ended(ConnectionFailedError, f"http://127.0.0.1:{port}"))
    assert f"no connection to 127.0.0.1:{port}: there was none within 0.3 s;" in said


# --- TLS


async def test_a_certificate_of_an_unknown_ca(authority):
    async with StubServer(lambda _: reply(), tls=server_context(authority)) as server:
        said = refused(await ended(ConfigurationError, server.url))
        assert not server.asked
    assert f"no connection to {place(server.url)}: the server's certificate is not valid: " in said
    assert "(unknown CA)" in said


async def test_a_certificate_that_is_signed_by_itself(tmp_path):
    # A CA's own certificate is one.
    authority = trustme.CA()
    chain = tmp_path / "pem"
    chain.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    async with StubServer(lambda _: reply(), tls=context) as server:
        said = refused(await ended(ConfigurationError, server.url))
    assert "the server's certificate is not valid: it is signed by itself" in said


@pytest.mark.parametrize(
    ("host", "life", "words"),
    [
        ("other.example", {}, "it is for another"),
        ("127.0.0.1", {"not_before": NOW - 2 * DAY, "not_after": NOW - DAY}, "it has expired"),
        ("127.0.0.1", {"not_before": NOW + DAY, "not_after": NOW + 2 * DAY}, "it is not valid yet"),
    ],
    ids=["another host", "expired", "not yet"],
)
async def test_a_certificate_whose_issuer_is_known(authority, host, life, words):
    async with StubServer(lambda _: reply(), tls=server_context(authority, host, **life)) as server:
        said = refused(await ended(ConfigurationError, server.url, session_of(ssl=client_context(authority))))
        assert not server.asked
    assert f"no connection to {place(server.url)}: the server's certificate is not valid: {words}" in said


async def test_a_certificate_that_is_not_the_one_that_was_pinned(authority):
    async with StubServer(lambda _: reply(), tls=server_context(authority)) as server:
        said = refused(await ended(ConfigurationError, server.url, session_of(ssl=aiohttp.Fingerprint(b"x" * 32))))
    assert (
        f"no connection to {place(server.url)}: the server's certificate is not valid: it is not the expected one"
        in said
    )


async def plain(reader, writer):
    """Answer whatever comes as a web server without TLS does."""
    await reader.read(100)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_a_server_that_speaks_no_tls():
    async with listening(plain) as port:
        said = in_vain(await ended(ConnectionFailedError, f"https://127.0.0.1:{port}"))
    assert f"no connection to 127.0.0.1:{port}: what answers there speaks no TLS" in said


async def test_a_server_that_speaks_nothing_but_tls(authority):
    async def tls_alert(reader, writer):
        await reader.read(100)
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")
        await writer.drain()
        writer.close()

    async with listening(tls_alert) as port:
        error = await ended(OutcomeUnknownError, f"http://127.0.0.1:{port}")
    assert f"before a response came from 127.0.0.1:{port} (what came is not HTTP)" in str(error)


@contextlib.contextmanager
def alerting(context):
    """A server whose OpenSSL writes its alerts itself, as most do; asyncio drops them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        asked = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    connection.settimeout(5.0)
                    # A handshake that fails closes the socket; what was not read would have the kernel reset the
                    # connection.
                    with connection, connection.dup() as same:
                        same.settimeout(5.0)
                        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                            asked.append(tls.recv(100))
                        with contextlib.suppress(OSError):
                            while same.recv(2**16):
                                pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10.0)
        assert not asked


async def test_no_version_of_tls_in_common(authority):
    context = server_context(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    modern = client_context(authority)
    modern.minimum_version = ssl.TLSVersion.TLSv1_3
    with alerting(context) as port:
        said = in_vain(await ended(ConnectionFailedError, f"https://127.0.0.1:{port}", session_of(ssl=modern)))
    assert f"no connection to 127.0.0.1:{port}: the TLS handshake was refused: no version or cipher in common" in said


@pytest.mark.parametrize("shown", ["none", "another CA's"])
async def test_a_server_that_wants_a_client_certificate(authority, shown):
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    ours = client_context(authority)
    if shown != "none":
        trustme.CA().issue_cert("us.example").configure_cert(ours)
    with alerting(context) as port:
        # With TLS 1.3 the client has sent its request by the time it is told.
        error = await ended(OutcomeUnknownError, f"https://127.0.0.1:{port}", session_of(ssl=ours))
        assert f"before a response came from 127.0.0.1:{port} (the server wants a client certificate" in str(error)
        ours.maximum_version = ssl.TLSVersion.TLSv1_2
        said = in_vain(await ended(ConnectionFailedError, f"https://127.0.0.1:{port}", session_of(ssl=ours)))
    assert f"no connection to 127.0.0.1:{port}: " in said
    assert "client certificate" in said


async def test_a_handshake_that_is_cut_off_is_tried_again():
    async def cut(reader, writer):
        await reader.read(100)
        writer.close()

    async with listening(cut) as port:
        said = in_vain(await ended(ConnectionFailedError, f"https://127.0.0.1:{port}"))
    assert f"no connection to 127.0.0.1:{port}: " in said


# --- a proxy


def through(proxy, **more):
    return session_of(proxy=proxy.replace("http://", f"http://user:{CANARY}@"), **more)


@pytest.mark.parametrize(
    ("scheme", "status", "words"),
    [
        ("https", 407, "407 Proxy Authentication Required"),
        ("https", 403, "403 Forbidden"),
        ("https", 405, "405 Method Not Allowed"),
        # Without a tunnel, only this one can't be the server's own.
        ("http", 407, "407 Proxy Authentication Required"),
    ],
)
async def test_a_proxy_that_refuses_is_not_asked_again(scheme, status, words):
    async with StubServer(lambda _: reply({"password": CANARY}, status)) as proxy:
        error = await ended(ConfigurationError, f"{scheme}://clarus.invalid", through(proxy.url), allow_http=True)
        assert len(proxy.asked) == 1
    port = 443 if scheme == "https" else 80
    assert f"no connection to clarus.invalid:{port}: the proxy {place(proxy.url)} answered {words}" in refused(error)


@pytest.mark.parametrize("status", [502, 503, 504, 429, 599])
async def test_a_proxy_that_is_in_trouble_is_asked_again(status):
    async with StubServer(lambda _: reply(status=status)) as proxy:
        said = in_vain(await ended(ConnectionFailedError, "https://clarus.invalid", through(proxy.url)))
        assert len(proxy.asked) == 2
    assert f"no connection to clarus.invalid:443: the proxy {place(proxy.url)} answered {status}" in said


async def test_a_407_without_a_proxy_is_the_servers_own():
    async with StubServer(lambda _: reply(status=407)) as server, client(server.url) as clarus:
        with pytest.raises(Exception, match="407") as caught:
            await clarus.ping()
    assert "proxy" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_proxy_that_is_down(scheme):
    proxy = f"127.0.0.1:{free_port()}"
    error = await ended(
        ConnectionFailedError, f"{scheme}://clarus.invalid", through(f"http://{proxy}"), allow_http=True
    )
    assert f": no connection to the proxy {proxy}: Connection refused;" in in_vain(error)


async def test_a_proxy_whose_name_is_none():
    error = await ended(ConnectionFailedError, "https://127.0.0.1:9", through("http://proxy.invalid:3128"))
    said = in_vain(error)
    assert "no connection to 127.0.0.1:9: no connection to the proxy proxy.invalid:3128: the name could not be" in said


async def test_a_proxy_from_the_environment(monkeypatch):
    proxy = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("https_proxy", f"http://user:{CANARY}@{proxy}")
    said = in_vain(await ended(ConnectionFailedError, "https://clarus.invalid", session_of(trust_env=True)))
    assert f"no connection to clarus.invalid:443: no connection to the proxy {proxy}: Connection refused" in said


async def test_a_proxy_that_never_answers():
    async with listening(lambda reader, _: reader.read()) as port:
        error = await ended(ConnectionFailedError, "https://clarus.invalid", through(f"http://127.0.0.1:{port}"))
    assert f"clarus.invalid:443 through the proxy 127.0.0.1:{port}: there was none within 0.3 s" in in_vain(error)


async def test_a_certificate_behind_a_proxy(authority):
    tunnels = []
    async with StubServer(lambda _: reply(), tls=server_context(authority)) as server:

        async def tunnel(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            there = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
            tunnels.append(there[1])
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

            async def pump(source, sink):
                with contextlib.suppress(OSError):
                    while chunk := await source.read(2**16):
                        sink.write(chunk)
                    sink.close()

            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

        async with listening(tunnel) as port:
            error = await ended(ConfigurationError, server.url, through(f"http://127.0.0.1:{port}"))
            assert not server.asked
        for writer in tunnels:
            writer.transport.abort()
        await asyncio.sleep(0)
    words = f"{place(server.url)} through the proxy 127.0.0.1:{port}: the server's certificate is not valid: "
    assert words in refused(error)


# --- a connection that was there


async def test_an_answer_that_never_comes():
    async with StubServer(lambda _: asyncio.sleep(30)) as server:
        error = await ended(OutcomeUnknownError, server.url)
    assert f"(no response came in time from {place(server.url)} (0.5 s))" in str(error)


async def test_a_connection_that_is_closed():
    async with StubServer(lambda _: None) as server:
        error = await ended(OutcomeUnknownError, server.url)
    assert f"the connection was lost before a response came from {place(server.url)} (" in str(error)


async def test_a_connection_that_is_reset():
    async def reset(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        raw = writer.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with listening(reset) as port:
        error = await ended(OutcomeUnknownError, f"http://127.0.0.1:{port}")
    assert f"from 127.0.0.1:{port} (Connection reset by peer)" in str(error)


# --- the token endpoint


async def test_the_token_endpoint_says_the_same(authority):
    credentials = ClientCredentials("id", "secret")
    port = free_port()
    error = await ended(ConnectionFailedError, f"http://127.0.0.1:{port}", credentials=credentials)
    assert f"POST /oauth/token: no connection to 127.0.0.1:{port}: Connection refused; no token could be" in str(error)
    async with StubServer(lambda _: reply(status=407)) as proxy:
        error = await ended(ConfigurationError, "https://clarus.invalid", through(proxy.url), credentials=credentials)
        assert len(proxy.asked) == 1
    assert f"POST /oauth/token: no connection to clarus.invalid:443: the proxy {place(proxy.url)} answered 407" in str(
        error
    )
    async with StubServer(lambda _: reply(), tls=server_context(authority)) as server:
        error = await ended(ConfigurationError, server.url, credentials=credentials)
    assert f"POST /oauth/token: no connection to {place(server.url)}: the server's certificate" in str(error)
