"""A canary in every secret, driven through every public call and every fault: it shows nowhere.

Nowhere is: log records of all loggers at DEBUG, reprs of what is returned and raised, formatted tracebacks with their
locals, the locals of our frames and of aiohttp's, pickles, events, and what OpenTelemetry makes of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import logging
import pickle
import ssl
import traceback
from pathlib import Path

import aiohttp
import pytest
import trustme

import clarus_async
from clarus_async import (
    AccessToken,
    AuthorizationCode,
    ClarusClient,
    ClarusError,
    ClientCredentials,
    IntegrationChanges,
    IntegrationFilter,
    NewIntegration,
    PacingPolicy,
    RefreshToken,
    RetryPolicy,
    ShopifyConfiguration,
    Timeouts,
    Token,
)
from clarus_async.environment import read_environment
from clarus_async.simulator import Endpoint, Fault, FaultKind, Quota, Simulator
from clarus_async.simulator.faults import possible
from clarus_async.simulator.oauth import s256
from tests.support.exported import Exported
from tests.support.stub_server import Reply, StubServer, bearer, reply
from tests.support.virtual import virtual

CANARY = "canary"
VERIFIER = "canary-verifier-" + "v" * 43
BACK = "https://app.test/back"
HOMES = [str(Path(clarus_async.__file__).parent), str(Path(aiohttp.__file__).parent)]
# What the simulator issues is as secret as what the caller brought.
SECRETS = (CANARY, "sim-access-", "sim-refresh-", "sim-code-")

CONFIGURATION = {"api_key": "canary-api-key", "deep": [{"er": "canary-deep"}], "pin": "canary 4711"}
NEW = NewIntegration(name="Shop", integration_type="shopify", configuration=CONFIGURATION)
CHANGES = IntegrationChanges(configuration=CONFIGURATION)
QUERY = "query($first: Int) { sites { all(first: $first) { edges { node { id } } } } }"


class CanarySimulator(Simulator):
    """Its own secret is a canary, too."""

    client_secret = "canary-client-secret"

    def environment(self):
        return {
            "CLARUS_SUBDOMAIN": "acme", "CLARUS_BASE_URL": self.url, "CLARUS_CLIENT_ID": self.client_id,
            "CLARUS_CLIENT_SECRET": self.client_secret,
        }  # fmt: skip


class Watch:
    """Keeps everything that is said, returned, raised and told, and looks for secrets in it."""

    def __init__(self, secrets=SECRETS):
        self.secrets = secrets
        self.events = []
        self.seen = Exported()
        self.found = []
        self.logged = io.StringIO()
        self.handler = logging.StreamHandler(self.logged)
        self.handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)s"))
        self.errors = 0

    def on_event(self, event):
        self.events.append(event)
        self.seen.observer.on_event(event)

    def __enter__(self):
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.DEBUG)
        root.addHandler(self.handler)
        return self

    def __exit__(self, kind, *_):
        root = logging.getLogger()
        root.removeHandler(self.handler)
        root.setLevel(self._level)
        self.check("a log record", self.logged.getvalue())
        for event in self.events:
            self.check("an event", repr(event))
        self.check("a span or a metric", self.seen.text())
        if kind is None:
            assert self.found == []

    def check(self, where, text):
        """Note where a secret shows."""
        for secret in self.secrets:
            if secret in text:
                at = text.index(secret)
                self.found.append(f"{where}: …{text[max(0, at - 80) : at + 60]}…")

    async def drive(self, call, results=True):
        """Make a call, and look at what it raises, and returns unless that is the server's to say."""
        try:
            result = await call()
        except Exception as error:  # noqa: BLE001  whatever it is, it must not hold a secret
            self.errors += 1
            self.check_error(error)
        else:
            if results:
                self.check_result(result)

    def check_result(self, result):
        self.check("a result", f"{result!r} {result}")

    def check_error(self, error):
        assert isinstance(error, ClarusError), repr(error)
        self.check("str", str(error))
        self.check("repr", repr(error))
        self.check("its fields", repr(vars(error)))
        self.check("its args", repr(error.args))
        self.check("its pickle", pickle.dumps(error).decode("latin-1"))
        self.check("its problem", repr(clarus_async.Problem.of(error)))
        self.check("its notes", repr(getattr(error, "__notes__", "")))
        for each in chain(error):
            frames = [frame for frame, _ in traceback.walk_tb(each.__traceback__)]
            ours = [frame for frame in frames if frame.f_code.co_filename.startswith(tuple(HOMES))]
            for frame in ours:
                for name, value in frame.f_locals.items():
                    for text in shown(value):
                        self.check(f"local {name} of {frame.f_code.co_qualname}", text)
        try:
            told = traceback.TracebackException(type(error), error, within(error), capture_locals=True)
        except AttributeError:
            return  # a client that could not be made, whose repr has a test of its own
        self.check("its traceback", "".join(told.format()))


@contextlib.asynccontextmanager
async def watched(server=None, credentials=None, *, watch=None, **options):
    """Watch a client of a server, which is a simulator by default."""
    with watch or Watch() as watching:
        async with server or CanarySimulator() as at:
            client = ClarusClient("acme", credentials or at.credentials, base_url=at.url, observer=watching, **options)
            async with client as clarus:
                yield watching, at, clarus


def chain(error, seen=()):
    """An error, its causes and its contexts."""
    if error is None or error in seen:
        return []
    seen = [*seen, error]
    return [error, *chain(error.__cause__, seen), *chain(error.__context__, seen)]


def within(error):
    """Its traceback from our first frame on: what is above is the test's own, which holds the secrets."""
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(tuple(HOMES)):
        trace = trace.tb_next
    return trace


def shown(value, depth=0):
    """What an error tracker makes of a local: its repr, and what is in builtin containers."""
    try:
        yield repr(value)
    except Exception:  # noqa: BLE001  something that was never made, such as self where __init__ raised
        yield object.__repr__(value)
    if depth < 6:
        if isinstance(value, dict):
            for pair in value.items():
                for item in pair:
                    yield from shown(item, depth + 1)
        elif isinstance(value, list | tuple | set | frozenset):
            for item in value:
                yield from shown(item, depth + 1)
        elif isinstance(value, bytes | bytearray):
            yield bytes(value).decode("latin-1")
        elif isinstance(value, BaseException):
            yield repr(vars(value))


CALLS = {
    "create": lambda clarus: clarus.integrations.create(NEW),
    "create with a class": lambda clarus: clarus.integrations.create(
        NewIntegration(
            name="Shop",
            integration_type="shopify",
            configuration=ShopifyConfiguration(api_key="canary-api-key", shop_domain="canary.myshopify.com"),
        )
    ),
    "update": lambda clarus: clarus.integrations.update(1, CHANGES),
    "delete": lambda clarus: clarus.integrations.delete(1),
    "synchronize": lambda clarus: clarus.integrations.synchronize(1, repeatable=True),
    "list": lambda clarus: rows(clarus.integrations.list(IntegrationFilter(name="Shop"))),
    "find": lambda clarus: clarus.integrations.find(name="Shop", provider="shopify"),
    "ping": lambda clarus: clarus.ping(),
    "graphql": lambda clarus: clarus.graphql(QUERY, {"first": 1, "secret": "canary-variable"}),
    "provision": lambda clarus: outcomes(clarus.integrations.provision([NEW, NEW])),
}
"""Every public call that sends a secret, and those that send none."""
ENDPOINTS = {
    "create": Endpoint.CREATE,
    "create with a class": Endpoint.CREATE,
    "update": Endpoint.UPDATE,
    "delete": Endpoint.DELETE,
    "synchronize": Endpoint.SYNCHRONIZE,
    "provision": Endpoint.CREATE,
}


def endpoint_of(call):
    return ENDPOINTS.get(call, Endpoint.GRAPHQL)


HURRIED = Timeouts(connect=1.0, attempt=5.0, settle=5.0, deadline=8.0)


async def rows(listed):
    return [row async for row in listed]


async def outcomes(run):
    done = []
    try:
        async for outcome in run:
            done += [outcome]
    finally:
        joined = b"\n".join(outcome.to_json() for outcome in done)
        assert CANARY.encode() not in joined
        assert CANARY.encode() not in pickle.dumps(done)
        assert CANARY not in repr(done)
    return done


def faults_of(kind, endpoint):
    """One after the other, as many as a call may meet."""
    options = {"delay": 30.0} if kind in {FaultKind.STALL_BEFORE, FaultKind.STALL_AFTER, FaultKind.LATE_APPLY} else {}
    if kind is FaultKind.OVERSIZED:
        options = {"size": 9 * 2**20}
    if kind in {FaultKind.UNAVAILABLE, FaultKind.RATE_LIMITED}:
        options = {"retry_after": 1.0}
    if kind is FaultKind.REDIRECT:
        options = {"location": "https://canary.test/canary"}
    return [Fault(kind, endpoint=endpoint, **options)] * 6


def credentials_of(sim):
    return {
        "client credentials": ClientCredentials(sim.client_id, sim.client_secret),
        "refresh token": RefreshToken(sim.client_id, sim.client_secret, sim.refresh_token(), lambda token: None),
    }


class TestEveryFault:
    @pytest.mark.parametrize(
        ("call", "kind"),
        [(call, kind) for call in CALLS for kind in FaultKind if endpoint_of(call) in possible(kind)],
        ids=str,
    )
    @virtual
    async def test_of_the_api(self, call, kind):
        endpoint = endpoint_of(call)
        async with watched(timeouts=HURRIED) as (watch, sim, clarus):
            sim.preload("acme", [{"name": "Shop", "integration_type": "shopify"}])
            sim.script(endpoint, *faults_of(kind, endpoint))
            await watch.drive(lambda: CALLS[call](clarus))
            watch.check("the client", repr(clarus))

    @pytest.mark.parametrize("kind", [k for k in FaultKind if Endpoint.TOKEN in possible(k)], ids=str)
    @pytest.mark.parametrize("grant", ["client credentials", "refresh token"])
    @virtual
    async def test_of_the_token_endpoint(self, grant, kind):
        sim = CanarySimulator()
        async with watched(sim, credentials_of(sim)[grant], timeouts=HURRIED) as (watch, _, clarus):
            sim.script(Endpoint.TOKEN, *faults_of(kind, Endpoint.TOKEN))
            await watch.drive(lambda: CALLS["create"](clarus))
            await watch.drive(lambda: CALLS["create"](clarus))

    @pytest.mark.parametrize("kind", [k for k in FaultKind if Endpoint.TOKEN in possible(k)], ids=str)
    @virtual
    async def test_of_an_exchange(self, kind):
        with Watch() as watch:
            async with CanarySimulator() as sim:
                flow = AuthorizationCode(sim.client_id, sim.client_secret, BACK, base_url=sim.url, timeouts=HURRIED)
                code = sim.authorize(redirect_uri=BACK, code_challenge=s256(VERIFIER))
                sim.script(Endpoint.TOKEN, *faults_of(kind, Endpoint.TOKEN))
                await watch.drive(lambda: flow.exchange(code, VERIFIER))
                watch.check("the flow", repr(flow))

    @virtual
    async def test_none_at_all(self):
        async with watched(CanarySimulator(searchable_references=True)) as (watch, _, clarus):
            for call in CALLS.values():
                await watch.drive(lambda call=call: call(clarus))
            await watch.drive(lambda: clarus.integrations.find(reference="r"))
            assert watch.errors <= 4

    @virtual
    async def test_a_quota_that_outlasts_the_deadline(self):
        limited = CanarySimulator(quota=Quota(limit=1, window=60.0, headers="retry-after"))
        async with watched(limited, timeouts=HURRIED) as (watch, _, clarus):
            for call in CALLS.values():
                await watch.drive(lambda call=call: call(clarus))
            assert watch.errors > 5

    async def test_a_server_that_is_not_there(self):
        retry = RetryPolicy(max_attempts=2, base=0.001)
        for credentials in (None, AccessToken("canary-token")):
            async with watched(credentials=credentials, timeouts=HURRIED, retry=retry) as (watch, sim, clarus):
                await sim.refuse()
                await watch.drive(lambda clarus=clarus: CALLS["create"](clarus))
                assert watch.errors == 1

    async def test_a_certificate_that_nobody_vouches_for(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        for credentials in (None, AccessToken("canary-token")):
            async with watched(CanarySimulator(ssl_context=context), credentials) as (watch, _, clarus):
                await watch.drive(lambda clarus=clarus: CALLS["create"](clarus))
                assert watch.errors == 1

    @virtual
    async def test_a_closed_client(self):
        async with watched() as (watch, _, clarus):
            await clarus.ping()
            await clarus.close()
            for call in CALLS.values():
                await watch.drive(lambda call=call: call(clarus))
            assert watch.errors == len(CALLS)


def echo_of(asked):
    """Everything that was asked, as text."""
    head = "\n".join(f"{name}: {value}" for name, value in asked.headers.items())
    return f"{asked.method} {asked.path}\n{head}\n\n{asked.body.decode()}"


SHAPES = {
    "vendor": lambda text: reply({"errors": [{"code": 1, "symbol": "bad", "details": text, "source": text}]}),
    "vendor's context": lambda text: reply({"errors": [{"code": 1, "symbol": text, "context": {"was": [text]}}]}),
    "many": lambda text: reply({"errors": [{"details": text}] * 30}),
    "json:api": lambda text: reply({"errors": [{"title": text, "detail": text, "source": {"pointer": text}}]}),
    "401": lambda text: reply({"error": text}),
    "oauth": lambda text: reply({"error": "bad", "error_description": text}),
    "rails": lambda text: reply({"errors": {"configuration": [text], text: "bad"}}),
    "graphql": lambda text: reply(
        {"data": None, "errors": [{"message": text, "path": [text], "extensions": {"code": text}}]}
    ),
    "strings": lambda text: reply({"errors": [text]}),
    "list": lambda text: reply([text]),
    "string": reply,
    "html": lambda text: Reply(
        body=f"<html><title>{text}</title><body>{text}".encode(), headers=("Content-Type: text/html",)
    ),
    "text": lambda text: Reply(body=text.encode(), headers=("Content-Type: text/plain",)),
    "nothing it can read": lambda text: reply({"data": {"id": text, "attributes": {"name": [text]}}}),
    "an access token": lambda text: reply({"access_token": text + "\n", "token_type": text}),
}  # fmt: skip
STATUSES = [200, 302, 400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503]
# 403 and 409 are read as 400 is, and 502 as 500: in one shape, that is enough.
TOLD_APART = [200, 302, 400, 401, 404, 408, 422, 429, 500, 503]
# What an answer's shape is read as depends on its status, and on whether it is GraphQL's; what is echoed, on the call.
READ_APART = {"create", "graphql"}
ECHOED_APART = {200, 422}


def statuses(shape):
    return STATUSES if shape == "vendor" else TOLD_APART


def calls(shape, status):
    every = shape == "vendor" or status in ECHOED_APART
    return {
        name: call for name, call in CALLS.items() if name not in {"list", "find"} and (every or name in READ_APART)
    }


class TestEchoes:
    @pytest.mark.parametrize("shape", SHAPES)
    @virtual
    async def test_of_the_api(self, shape):
        credentials = ClientCredentials("id", "canary-client-secret")
        options = {"timeouts": HURRIED, "retry": RetryPolicy(max_attempts=2)}
        errors = 0
        for status in statuses(shape):

            def answer(asked, status=status):
                said = SHAPES[shape](echo_of(asked))._replace(status=status)
                # So long that it is waited out once: a second time would outlast the deadline.
                return said._replace(headers=(*said.headers, "Retry-After: 5"))

            server = StubServer(answer, lambda asked: bearer("canary-access-token", refresh_token="canary-r2"))
            async with watched(server, credentials, **options) as (watch, _, clarus):
                for call in calls(shape, status).values():
                    await watch.drive(lambda call=call, clarus=clarus: call(clarus), results=False)
            errors += watch.errors
        assert errors > 20

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("grant", ["client credentials", "refresh token", "code"])
    @virtual
    async def test_of_the_token_endpoint(self, grant, shape):
        with Watch() as watch:
            for status in statuses(shape):

                def answer(asked, status=status):
                    return SHAPES[shape](echo_of(asked))._replace(status=status)

                async with StubServer(lambda asked: reply(), answer) as server:
                    if grant == "code":
                        flow = AuthorizationCode("id", "canary-client-secret", BACK, base_url=server.url)
                        await watch.drive(lambda flow=flow: flow.exchange("canary-code", VERIFIER))
                        continue
                    credentials = (
                        ClientCredentials("id", "canary-client-secret")
                        if grant == "client credentials"
                        else RefreshToken("id", "canary-client-secret", "canary-refresh")
                    )
                    client = ClarusClient("acme", credentials, base_url=server.url, timeouts=HURRIED, observer=watch)
                    async with client as clarus:
                        await watch.drive(clarus.ping)
                        if shape == "vendor":
                            # What was refused once is asked for again.
                            await watch.drive(clarus.ping)
            assert watch.errors > len(statuses(shape)) - 3

    @pytest.mark.parametrize(
        "secret",
        [
            'canary"quoted"secret',
            "canary\\back\\slashes",
            "-----BEGIN-----\ncanary-line-1\ncanary-line-2\n-----END-----\n",
            "canary  with  double  spaces",
            "canary\ttab",
            "canary-ünïcödé-€",
            "canary+plus/slash==",
            "canary & <angle> 'brackets'",
            "canary-" + "long" * 300,
            "canary#{interpolated}",
        ],
        ids=lambda secret: " ".join(secret.split())[:30],
    )
    @pytest.mark.parametrize("shape", ["vendor", "401", "html"])
    @pytest.mark.parametrize("form", ["raw", "json", "parsed", "ascii json", "inspected"])
    @virtual
    async def test_of_a_secret_with_any_character(self, secret, shape, form):
        """What comes back may be the body as it came, what was parsed of it, or how a language prints that."""

        def said(asked):
            body = json.loads(asked.body)
            value = body["data"]["attributes"]["configuration"]["key"]
            return {
                "raw": asked.body.decode(),
                "parsed": f"key is {value}, which is bad",
                "json": json.dumps(body, ensure_ascii=False),
                "ascii json": json.dumps(body),
                "inspected": str(body),
            }[form]

        new = NewIntegration(name="Shop", integration_type="x", configuration={"key": secret})
        server = StubServer(lambda asked: SHAPES[shape](said(asked))._replace(status=422))
        async with watched(server, AccessToken("token-0")) as (watch, _, clarus):
            await watch.drive(lambda: clarus.integrations.create(new))
            assert watch.errors == 1

    @pytest.mark.parametrize("length", [100, 480, 495, 499, 505, 1980, 1999, 4090, 4096])
    @pytest.mark.parametrize("shape", ["vendor", "text", "html"])
    @virtual
    async def test_of_a_secret_where_a_text_is_cut(self, shape, length):
        """A secret that stands astride a cut must not leave its first half."""
        secret = "canary-secret-of-some-length"
        new = NewIntegration(name="Shop", integration_type="x", configuration={"key": secret})
        server = StubServer(lambda _: SHAPES[shape]("x" * (length - 10) + " " + secret)._replace(status=422))
        watch = Watch(("canary", "anary-se"))
        async with watched(server, AccessToken("token-0"), watch=watch) as (_, _, clarus):
            await watch.drive(lambda: clarus.integrations.create(new))

    @virtual
    async def test_of_a_token_in_a_header(self):
        def answer(asked):
            return reply({"error": "x"}, 404, f"X-Request-Id: {asked.token}", f"Retry-After: {asked.token}")

        async with watched(StubServer(answer), AccessToken("canary-token")) as (watch, _, clarus):
            await watch.drive(lambda: clarus.integrations.delete(1))
            assert watch.errors == 1


case = functools.partial
new = case(NewIntegration, integration_type="shopify")
read = case(NewIntegration.from_mapping)
MADE = [
    case(new, name="", configuration=CONFIGURATION),
    case(new, name=5, configuration=CONFIGURATION),
    case(new, name="x", configuration="canary"),
    case(new, name="x", configuration=["canary"]),
    case(new, name="x", configuration={"a": {"canary"}}),
    case(new, name="x", configuration={"a": {"b": ["canary", object()]}}),
    case(new, name="x", configuration={"a": "canary\ud800"}),
    case(new, name="x", configuration={1: "canary"}),
    case(new, name="x", is_active=1, configuration=ShopifyConfiguration(api_key="canary", shop_domain="canary")),
    case(new, name={"api_key": "canary"}),
    case(new, name="x", provider=["canary"]),
    case(read, {"nam": "x", "configuration": CONFIGURATION}),
    case(read, {"name": None, "integration_type": "x", "configuration": CONFIGURATION}),
    case(read, {"name": "x", "integration_type": "x", "configuration": "canary"}),
    case(read, {"name": "x", "integration_type": "x", "configuration": {"a": object(), "b": "canary"}}),
    case(read, {"name": "x", "integration_type": "x", "colour": "canary"}),
    case(read, "canary"),
    case(IntegrationChanges, name="", configuration=CONFIGURATION),
    case(IntegrationChanges, configuration="canary"),
    case(IntegrationChanges, configuration={"a": object(), "b": "canary"}),
    case(IntegrationChanges, string1={"api_key": "canary"}),
    case(IntegrationFilter, name={"canary": 1}),
    case(ShopifyConfiguration, api_key="canary", shop_domain=""),
    case(ShopifyConfiguration, api_key=["canary"], shop_domain="x"),
    case(ShopifyConfiguration, api_key=1, shop_domain="canary"),
    case(ClientCredentials, "", "canary"),
    case(ClientCredentials, "id", ["canary"]),
    case(ClientCredentials, "id", "canary", ("a b",)),
    case(ClientCredentials, "id", "", ("canary canary",)),
    case(ClientCredentials, {"secret": "canary"}, "x"),
    case(RefreshToken, "", "canary", "canary"),
    case(RefreshToken, "id", "canary", ""),
    case(RefreshToken, "id", "canary", ["canary"]),
    case(RefreshToken, "id", "canary", "canary", on_rotate="canary"),
    case(RefreshToken, ["canary"], "x", "y"),
    case(AccessToken, "canary token"),
    case(AccessToken, "canary\r\nX: y"),
    case(AccessToken, ["canary"]),
    case(Token, "canary token"),
    case(Token, ["canary"]),
    case(Token, "", "canary"),
    case(Timeouts, connect="canary"),
    case(RetryPolicy, base="canary"),
    case(PacingPolicy, max_wait="canary"),
    case(AuthorizationCode, "id", "canary", ""),
    case(AuthorizationCode, "id", "canary", BACK, base_url="http://elsewhere.test"),
    case(AuthorizationCode("id", "canary", BACK).authorization_url, "", "x"),
    case(ClarusClient, "acme", "canary-token"),
    case(ClarusClient, "acme", ("id", "canary-secret")),
    case(ClarusClient, "acme", {"client_secret": "canary"}),
    case(ClarusClient, "acme", AccessToken("t"), base_url="https://user:canary@clarus.test"),
    case(ClarusClient, "acme", AccessToken("canary"), max_connections=0),
    case(ClarusClient("acme", AccessToken("t")).for_subdomain, "x", ("id", "canary-secret")),
    case(ClarusClient("acme", AccessToken("t")).for_subdomain, "x", "canary"),
    case(read_environment, {}, {"CLARUS_CLIENT_ID": "id", "CLARUS_CLIENT_SECRET": "canary"}),
    case(read_environment, {}, {"CLARUS_SUBDOMAIN": "no label", "CLARUS_ACCESS_TOKEN": "canary token"}),
    case(read_environment, {}, {"CLARUS_SUBDOMAIN": "acme", "CLARUS_REFRESH_TOKEN": "canary"}),
    case(read_environment, {"credentials": ClientCredentials("id", "canary")}, {"CLARUS_SUBDOMAIN": "Acme"}),
    case(
        read_environment, {"subdomain": "acme"}, {"CLARUS_ACCESS_TOKEN": "t", "CLARUS_BASE_URL": "https://u:canary@h"}
    ),
]
"""What is refused where it is made, with a secret in it: in its place, or where another value belongs."""


class TestWrongInput:
    """What was given by mistake is as secret as what was meant."""

    @pytest.mark.parametrize(
        ("given", "call"),
        [
            ("a mapping to create", lambda clarus: clarus.integrations.create({"configuration": CONFIGURATION})),
            ("a mapping to update", lambda clarus: clarus.integrations.update(1, {"configuration": CONFIGURATION})),
            ("an id that is none", lambda clarus: clarus.integrations.update(-1, CHANGES)),
            ("variables that are no mapping", lambda clarus: clarus.graphql(QUERY, ["canary"])),
            ("a variable that is no JSON", lambda clarus: clarus.graphql(QUERY, {"x": object(), "y": "canary"})),
            ("an empty query", lambda clarus: clarus.graphql("", {"secret": "canary"})),
            (
                "records that are none",
                lambda clarus: outcomes(clarus.integrations.provision([{"a": "canary"}, "canary"])),
            ),
        ],
    )
    @virtual
    async def test_in_a_call(self, given, call):
        async with watched() as (watch, _, clarus):

            async def made():
                return await call(clarus)

            await watch.drive(made)

    @pytest.mark.parametrize("make", MADE)
    def test_where_something_is_made(self, make):
        with Watch() as watch:
            with pytest.raises(ClarusError) as raised:
                make()
            watch.check_error(raised.value)

    def test_the_key_of_a_value_that_is_no_json_is_named_and_nothing_else(self):
        with Watch(("canary-api", "canary-deep")) as watch:
            with pytest.raises(ClarusError, match="canary-key") as raised:
                NewIntegration(name="x", integration_type="x", configuration={"canary-key": object(), **CONFIGURATION})
            watch.check_error(raised.value)

    async def test_in_an_exchange(self):
        flow = AuthorizationCode("id", "canary-secret", BACK)
        with Watch() as watch:
            for code, verifier in [("", VERIFIER), ("canary-code", "canary short"), ("canary-code", "")]:
                await watch.drive(lambda code=code, verifier=verifier: flow.exchange(code, verifier))
            assert watch.errors == 3


def open_with(password):
    raise RuntimeError(f"can't open with {password}")


class TestTokenSources:
    @pytest.mark.parametrize("how", ["raises", "raises ours from theirs", "returns garbage", "returns a bad token"])
    @virtual
    async def test_that_misbehave(self, how):
        class Vault:
            async def fetch(self):
                password = "canary-password"
                if how == "raises":
                    raise RuntimeError(f"can't open with {password}")
                if how == "raises ours from theirs":
                    try:
                        open_with(password)
                    except RuntimeError as error:
                        raise clarus_async.AuthenticationError("the vault is sealed") from error
                return {"password": password} if how == "returns garbage" else Token(f"{password} !")

        async with watched(StubServer(lambda asked: reply()), Vault()) as (watch, _, clarus):
            await watch.drive(clarus.ping)
            await watch.drive(clarus.ping)
            assert watch.errors == 2


class TestAnObserverThatRaises:
    @virtual
    async def test_shows_no_secret_in_the_log(self):
        class Broken(Watch):
            def on_event(self, event):
                super().on_event(event)
                raise RuntimeError("broken")

        async with watched(watch=Broken()) as (watch, _, clarus):
            await watch.drive(lambda: CALLS["create"](clarus))
            assert watch.logged.getvalue().count("the observer raised") >= 3


class TestCancelled:
    """The context of an error of ours may be a timeout of the caller's, and that one's cause a cancelled call."""

    @virtual
    async def test_a_cancelled_call_leaves_no_secret_in_its_frames(self):
        async with watched() as (watch, sim, clarus):
            sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=20.0))

            async def give_up_and_look():
                try:
                    async with asyncio.timeout(1.0):
                        await CALLS["create"](clarus)
                except TimeoutError:
                    await clarus.integrations.delete(404)

            await watch.drive(give_up_and_look)
            assert watch.errors == 1


class TestUnderDebug:
    def test_asyncio_s_debug_mode_shows_no_secret(self):
        watch = Watch()

        async def main():
            asyncio.get_running_loop().slow_callback_duration = 0.0
            async with watched(watch=watch) as (_, _, clarus):
                for name in ("create", "update", "graphql"):
                    await watch.drive(lambda name=name: CALLS[name](clarus))

        asyncio.run(main(), debug=True)
        assert "took" in watch.logged.getvalue()


def test_a_client_that_could_not_be_made_has_a_repr():
    """Error trackers ask every local for one, and ``self`` is one of them."""
    with pytest.raises(ClarusError) as raised:
        ClarusClient("no label", AccessToken("t"))
    for frame, _ in traceback.walk_tb(raised.value.__traceback__):
        if "self" in frame.f_locals and isinstance(frame.f_locals["self"], ClarusClient):
            repr(frame.f_locals["self"])


def test_the_watch_sees_what_it_is_for():
    """Else all the above would pass for nothing."""

    def leaks():
        error = ClarusError("fine")
        code = compile(
            "def f(token, error):\n    headers = {'a': [token]}\n    raise error\n", f"{HOMES[0]}/x.py", "exec"
        )
        scope = {}
        exec(code, scope)
        scope["f"]("canary", error)

    watch = Watch()
    with pytest.raises(AssertionError), watch:
        logging.getLogger("aiohttp.client").debug("sent %s", "canary")
        with pytest.raises(ClarusError) as raised:
            leaks()
        watch.check_error(raised.value)
    assert any("local token" in found for found in watch.found)
    assert any("local headers" in found for found in watch.found)
    assert any("traceback" in found for found in watch.found)
    assert any("log" in found for found in watch.found)
