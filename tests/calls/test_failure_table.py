"""Every row of the contract's failure table, with the simulator's ledger as witness.

Each runs on a simulated network in virtual time, and each kind of fault over real sockets, too.

A test asks four things of a call: what it raised or returned, how many requests arrived, what the server did, and how
much of that the error admits.
"""

import asyncio
import contextlib
import contextvars
import functools
import inspect
import socket
import ssl
from datetime import UTC, datetime, timedelta

import aiohttp
import attrs
import pytest

from clarus_async import (
    AccessToken,
    ApiError,
    Applied,
    AttemptEvent,
    AuthenticationError,
    BadRequestError,
    CallEvent,
    ClarusClient,
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    DeadlineExceededError,
    ExternalEntityChanges,
    GraphQLError,
    IntegrationChanges,
    NewExternalEntity,
    NewIntegration,
    NotFoundError,
    OutcomeUnknownError,
    PacingPolicy,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    RetryPolicy,
    ServerError,
    Timeouts,
    ValidationError,
    WaitEvent,
    WaitReason,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.builders import until
from tests.support.recorder import Recorder
from tests.support.stub_server import StubServer, read_request, reply
from tests.support.tls import authority_fixture, server_context  # noqa: F401  one is a fixture
from tests.support.virtual import VirtualLoop, virtual

NEW = NewIntegration(name="new", integration_type="shopify", external_system_reference1="new-1")
PATIENT = Timeouts(connect=2.0, attempt=2.0, settle=2.0, deadline=4.0)
SHORT = Timeouts(connect=0.5, attempt=0.5, settle=0.5, deadline=5.0)
FAST = RetryPolicy(base=0.001, cap=0.01)
KNOWN = PacingPolicy(rate=1000.0, burst=100)
"""A quota that is known, so that nothing but a refusal keeps a call waiting."""
STALLS = {FaultKind.STALL_BEFORE, FaultKind.STALL_AFTER}


@attrs.frozen(kw_only=True)
class Subject:
    """What a call is about, where that is a create, an update or a list.

    Args:
        old: the attributes of record 1, which was there before.
        new: is created.
        changes: are made.
        changed: the attribute that they set.
    """

    old: dict
    new: object
    changes: object
    changed: str


SKU = {"entity_type": "product", "code": "a shirt"}
SUBJECTS = {
    "integrations": Subject(
        old={"name": "old", "integration_type": "shopify"},
        new=NEW,
        changes=IntegrationChanges(string1="changed"),
        changed="string1",
    ),
    "external_entities": Subject(
        old=SKU | {"external_system_reference1": "old-1"},
        new=NewExternalEntity(**SKU, external_system_reference1="new-1"),
        changes=ExternalEntityChanges(description="changed"),
        changed="description",
    ),
}
resource = contextvars.ContextVar("resource", default="integrations")
"""The name of what a test's calls are about."""


def subject():
    return SUBJECTS[resource.get()]


def records(clarus):
    return getattr(clarus, resource.get())


def stored(sim):
    """Everything that was ever created, record 1 aside."""
    return sim.created("acme", resource.get())[1:]


def changed(sim):
    attributes = sim.created("acme", resource.get())[0].attributes
    return int(attributes.get(subject().changed) == "changed")


async def read_all(clarus, _):
    return [row.id async for row in records(clarus).list()]


@attrs.frozen
class Operation:
    """One of the public calls, on a tenant whose record 1 was there before."""

    endpoint: Endpoint
    call: object
    effects: object = lambda _: 0
    """How often the server did it, as its ledger says."""


OPERATIONS = {
    "create": Operation(
        Endpoint.CREATE,
        lambda clarus, _: records(clarus).create(subject().new, on_unknown="raise"),
        lambda sim: len(stored(sim)),
    ),
    "update": Operation(
        Endpoint.UPDATE,
        lambda clarus, record: records(clarus).update(record, subject().changes),
        changed,
    ),
    "delete": Operation(
        Endpoint.DELETE,
        lambda clarus, record: clarus.integrations.delete(record),
        lambda sim: int(sim.created("acme")[0].deleted_at is not None),
    ),
    "synchronize": Operation(
        Endpoint.SYNCHRONIZE,
        lambda clarus, record: clarus.integrations.synchronize(record),
        lambda sim: len(sim.syncs("acme")),
    ),
    "repeatable": Operation(
        Endpoint.SYNCHRONIZE,
        lambda clarus, record: clarus.integrations.synchronize(record, repeatable=True),
        lambda sim: len(sim.syncs("acme")),
    ),
    "list": Operation(Endpoint.GRAPHQL, read_all),
    "ping": Operation(Endpoint.GRAPHQL, lambda clarus, _: clarus.ping()),
    # The simulator has no mutation; what matters here is how often one is sent.
    "mutation": Operation(Endpoint.GRAPHQL, lambda clarus, _: clarus.graphql("mutation { something }")),
}
OF_EVERY_RESOURCE = {"create", "update", "list"}
READS = ["list", "ping"]
WRITES = ["create", "update", "delete", "synchronize", "repeatable", "mutation"]
COLUMNS = ["create", "list", "update", "synchronize"]
"""One operation for each column of the table; tests/retry/test_effect.py shows that the others are judged alike."""
SENT_AGAIN = ["update", "delete", "repeatable", "list"]
"""After an unknown outcome: a second one changes nothing more, or its caller says that it does no harm."""
NEVER_AGAIN = ["create", "synchronize", "mutation"]


def simulated(test):
    """Run a test with a simulator, both on a simulated network and in virtual time."""
    parameters = {name: each for name, each in inspect.signature(test).parameters.items() if name != "sim"}

    def run(sockets=False, about="integrations", **arguments):
        async def main():
            resource.set(about)
            # On a simulated network nothing takes any time by itself.
            async with Simulator(latency=0.0 if sockets else 0.001) as sim:
                sim.preload("acme", [subject().old], resource=about)
                await test(sim=sim, **arguments)

        if sockets:
            asyncio.run(main())
        else:
            virtual(main)()

    functools.update_wrapper(run, test)
    run.__signature__ = inspect.Signature(list(parameters.values()))
    return run


def parametrized(test, names, cases, ids):
    """Run a test as :func:`simulated` does, with parameters that it does not take itself."""
    run = simulated(test)
    known = run.__signature__.parameters
    more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names if name not in known]
    run.__signature__ = inspect.Signature([*known.values(), *more])
    return pytest.mark.parametrize(names, cases, ids=ids)(run)


def each(*names, real=()):
    """Run a test for operations on each resource that has them, and over real sockets, too, for those in ``real``."""
    cases = {name: (name, False, "integrations") for name in names or COLUMNS}
    others = [name for name in SUBJECTS if name != "integrations"]
    cases |= {
        f"{name} of {other}": (name, False, other)
        for other in others
        for name in sorted(cases.keys() & OF_EVERY_RESOURCE)
    }
    cases |= {f"{name} over sockets": (name, True, "integrations") for name in real}
    return lambda test: parametrized(test, ("operation", "sockets", "about"), list(cases.values()), list(cases))


def of_each_resource(test):
    """Run a test of creates for each resource."""
    return parametrized(test, ("about",), [(name,) for name in SUBJECTS], list(SUBJECTS))


@contextlib.asynccontextmanager
async def client(sim, timeouts=PATIENT, retry=FAST, **options):
    credentials = options.pop("credentials", None) or sim.credentials
    async with ClarusClient("acme", credentials, base_url=sim.url, timeouts=timeouts, retry=retry, **options) as clarus:
        yield clarus


async def succeeds(operation, clarus):
    """Make the call, and see it end well: for a mutation, with the simulator's answer that it has none."""
    call = OPERATIONS[operation].call(clarus, 1)
    with pytest.raises(GraphQLError) if operation == "mutation" else contextlib.nullcontext():
        await call


async def fails(operation, clarus, cls=Exception, match=None):
    """Make the call, and return the error that it ends with."""
    with pytest.raises(cls, match=match) as caught:
        await OPERATIONS[operation].call(clarus, 1)
    return caught.value


def arrived(sim, operation):
    return sim.count(OPERATIONS[operation].endpoint)


def effects(sim, operation):
    return OPERATIONS[operation].effects(sim)


def seconds():
    return asyncio.get_running_loop().time()


def at_most(in_virtual_time):
    """Seconds that something may take that would take 30 or more: over real sockets, a busy machine's."""
    return in_virtual_time if isinstance(asyncio.get_running_loop(), VirtualLoop) else 15.0


def times(sim, endpoint):
    return [entry.at for entry in sim.requests if entry.endpoint is endpoint]


# No connection was obtained: nothing was sent, and it is tried again.


@each(real=("create", "update"))
async def test_a_refused_port_is_tried_again_and_then_raised(sim, operation):
    async with client(sim) as clarus:
        await clarus.ping()
        before = sim.count()
        await sim.refuse()
        error = await fails(operation, clarus, ConnectionFailedError, "no connection to .*; out of attempts")

    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, True, 4)
    assert error.__cause__ is None
    assert sim.count() == before
    assert effects(sim, operation) == 0


@each(real=("create",))
async def test_a_port_that_opens_in_the_meantime_is_reached(sim, operation):
    opening = set()

    def reopen(event):
        if isinstance(event, AttemptEvent) and event.failure and not opening:
            opening.add(asyncio.ensure_future(sim.accept()))

    async with client(
        sim, retry=RetryPolicy(max_attempts=50, base=0.01, cap=0.02), observer=Recorder(reopen)
    ) as clarus:
        await clarus.ping()
        before = arrived(sim, operation)
        await sim.refuse()
        await succeeds(operation, clarus)

    assert arrived(sim, operation) == before + 1


@pytest.mark.parametrize("host", ["nohost.invalid", "a" * 64 + ".example", "1.2"])
async def test_a_host_that_no_name_server_knows_is_no_connection(host):
    retry = RetryPolicy(max_attempts=1)
    async with ClarusClient(
        "acme", AccessToken("x"), base_url=f"http://{host}", allow_http=True, retry=retry
    ) as clarus:
        error = await fails("create", clarus, ConnectionFailedError, "no connection to ")

    assert (error.applied, error.attempts) == (Applied.NO, 1)


@pytest.fixture
async def deaf():
    """A listener whose queue is full, so that who connects is kept waiting."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(16):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            # On loopback it connects at once or not at all; but a busy loop may not see it at once.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(loop.sock_connect(filler, listener.getsockname()), 0.5)
            try:
                filler.getpeername()
            except OSError:
                break
        else:
            pytest.skip("this kernel's listen queue has no end")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("operation", ["create", "list"])
async def test_a_connection_that_takes_too_long(deaf, operation):
    timeouts = Timeouts(connect=0.05, attempt=30.0, settle=30.0, deadline=60.0)
    retry = RetryPolicy(max_attempts=2, base=0.001)
    async with ClarusClient("acme", AccessToken("x"), base_url=deaf, timeouts=timeouts, retry=retry) as clarus:
        began = seconds()
        error = await fails(operation, clarus, ConnectionFailedError, "no connection to ")

    assert (error.applied, error.attempts) == (Applied.NO, 2)
    assert 0.08 <= seconds() - began < at_most(1.0)


async def test_a_connect_timeout_longer_than_the_attempt_still_proves_that_nothing_was_sent(deaf):
    timeouts = Timeouts(connect=5.0, attempt=0.2, settle=0.2, deadline=5.0)
    retry = RetryPolicy(max_attempts=1)
    async with ClarusClient("acme", AccessToken("x"), base_url=deaf, timeouts=timeouts, retry=retry) as clarus:
        error = await fails("create", clarus, ConnectionFailedError)

    assert error.applied is Applied.NO


@contextlib.asynccontextmanager
async def raw_server(serve):
    """A server that is a coroutine function of a reader and a writer."""
    connections = []

    async def serve_and_close(reader, writer):
        connections.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve_and_close, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", connections
    finally:
        server.close()
        for writer in connections:
            writer.transport.abort()
        # What serves them sees the end of its stream.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_handshake_that_stalls_is_no_connection():
    timeouts = Timeouts(connect=0.1, attempt=2.0, settle=2.0, deadline=5.0)

    async def say_nothing(reader, writer):
        await reader.read()

    async with (
        raw_server(say_nothing) as (address, _),
        ClarusClient(
            "acme",
            AccessToken("x"),
            base_url=f"https://{address}",
            timeouts=timeouts,
            retry=RetryPolicy(max_attempts=1),
        ) as clarus,
    ):
        error = await fails("create", clarus, ConnectionFailedError, "no connection to ")

    assert error.applied is Applied.NO


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_handshake_that_fails_is_no_connection(said):
    async def answer(reader, writer):
        await reader.read(1)
        writer.write(said)

    async with (
        raw_server(answer) as (address, connections),
        ClarusClient("acme", AccessToken("x"), base_url=f"https://{address}", timeouts=PATIENT, retry=FAST) as clarus,
    ):
        error = await fails("create", clarus, ConnectionFailedError, "no connection to ")

    assert (error.applied, len(connections)) == (Applied.NO, 4)


# A certificate that is not valid: nothing was sent, and that will not change.


@functools.cache
def certified(authority, host):
    return server_context(authority, host)


@contextlib.asynccontextmanager
async def tls(authority, host):
    async with Simulator(ssl_context=certified(authority, host)) as simulator:
        yield simulator


def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), cookie_jar=aiohttp.DummyCookieJar())


@pytest.mark.parametrize("operation", ["create", "list"])
async def test_a_certificate_that_nobody_vouches_for(authority, operation):
    async with tls(authority, "127.0.0.1") as sim, client(sim, credentials=AccessToken("x")) as clarus:
        error = await fails(operation, clarus, ConfigurationError, "certificate is not valid")
        assert sim.count() == 0

    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, False, 1)


async def test_a_certificate_of_another_host(authority):
    async with (
        tls(authority, "other.example") as sim,
        trusting(authority) as session,
        client(sim, credentials=AccessToken("x"), session=session) as clarus,
    ):
        error = await fails("create", clarus, ConfigurationError, "certificate is not valid")
        assert sim.count() == 0

    assert (error.applied, error.attempts) == (Applied.NO, 1)


async def test_a_bad_certificate_fails_the_token_request_as_clearly(authority):
    async with tls(authority, "127.0.0.1") as sim, client(sim) as clarus:
        error = await fails("create", clarus, ConfigurationError, "certificate is not valid")

    assert (error.applied, error.path) == (Applied.NO, "/oauth/token")


async def test_a_certificate_that_is_trusted_will_do(authority):
    async with (
        tls(authority, "127.0.0.1") as sim,
        trusting(authority) as session,
        client(sim, session=session) as clarus,
    ):
        await clarus.ping()


# 429: rejected, and sent again when the pace allows.


@each(real=("create",))
async def test_a_429_is_waited_out(sim, operation):
    sim.script(OPERATIONS[operation].endpoint, Fault(FaultKind.RATE_LIMITED, retry_after=0.05))
    async with client(sim, pacing=KNOWN) as clarus:
        await succeeds(operation, clarus)

    first, second = times(sim, OPERATIONS[operation].endpoint)
    assert second - first > 0.0499  # a clock of whole milliseconds
    assert effects(sim, operation) == int(operation not in {*READS, "mutation"})


@each("update", "list")
@pytest.mark.parametrize("first", [Fault(FaultKind.RATE_LIMITED, retry_after=0.01), Fault(FaultKind.UNAUTHORIZED)])
async def test_what_costs_no_attempt_leaves_all_of_them_for_what_does(sim, operation, first):
    sim.script(OPERATIONS[operation].endpoint, first, FaultKind.RESET_BEFORE, None)
    async with client(sim, retry=RetryPolicy(max_attempts=2, base=0.001), pacing=KNOWN) as clarus:
        await succeeds(operation, clarus)

    assert arrived(sim, operation) == 3


@each()
async def test_a_429_that_outlasts_the_deadline_is_raised_at_once(sim, operation):
    sim.script(OPERATIONS[operation].endpoint, Fault(FaultKind.RATE_LIMITED, retry_after=60))
    async with client(sim) as clarus:
        began = seconds()
        error = await fails(operation, clarus, RateLimitedError, "ends after the deadline")
        assert seconds() - began < 1.0

    assert (error.applied, error.retryable, error.attempts, error.status) == (Applied.NO, True, 1, 429)
    assert error.retry_after == pytest.approx(60, abs=1)
    assert (arrived(sim, operation), effects(sim, operation)) == (1, 0)


@simulated
@pytest.mark.parametrize("retry_after", [0.0, 0.001])
async def test_a_server_that_says_429_and_now_for_ever_is_not_flooded(sim, retry_after):
    sim.set_faults([Fault(FaultKind.RATE_LIMITED, endpoint=Endpoint.CREATE, retry_after=retry_after)])
    async with client(sim, timeouts=Timeouts(attempt=0.5, settle=0.5, deadline=0.5)) as clarus:
        await fails("create", clarus, RateLimitedError)

    assert arrived(sim, "create") <= 10


# 503, whatever its headers: unknown, and a Retry-After is a floor.


@each("update", "delete", "repeatable", "list", "ping", real=("update",))
async def test_a_503_is_waited_out(sim, operation):
    sim.script(OPERATIONS[operation].endpoint, Fault(FaultKind.UNAVAILABLE, retry_after=0.1))
    async with client(sim) as clarus:
        await succeeds(operation, clarus)

    first, second = times(sim, OPERATIONS[operation].endpoint)
    assert second - first >= 0.1
    assert effects(sim, operation) == int(operation not in READS)


async def create(clarus):
    return await records(clarus).create(subject().new)


@of_each_resource
@pytest.mark.parametrize("retry_after", [None, 0.0, 1.0, 5.0])
async def test_after_a_503_a_create_is_looked_up_and_sent_again_once_it_can_not_be_applied_any_more(sim, retry_after):
    sim.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=retry_after))
    async with client(sim, Timeouts(attempt=2.0, settle=3.0, deadline=30.0)) as clarus:
        created = await create(clarus)

    first, second = (entry for entry in sim.requests if entry.endpoint is Endpoint.CREATE)
    looks = times(sim, Endpoint.GRAPHQL)
    assert second.at - first.at >= max(3.0, retry_after or 0.0)
    # Nothing goes out for it before Retry-After, not even a look.
    assert min(looks) - first.at >= (retry_after or 0.0)
    assert max(looks) - second.at >= 3.0
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert [(record.id, record.send) for record in stored(sim)] == [(created.id, 2)]


@of_each_resource
@pytest.mark.parametrize("after", [0.5, 2.0, 2.9])
async def test_what_is_applied_after_its_503_is_adopted_and_not_sent_again(sim, after):
    sim.script(Endpoint.CREATE, Fault(FaultKind.GATEWAY_TIMEOUT, retry_after=0.1, delay=after))
    async with client(sim, Timeouts(attempt=2.0, settle=3.0, deadline=30.0)) as clarus:
        created = await create(clarus)

    assert arrived(sim, "create") == 1
    assert [record.id for record in stored(sim)] == [created.id]


@of_each_resource
async def test_what_is_applied_later_than_settle_is_named(sim):
    sim.script(Endpoint.CREATE, Fault(FaultKind.GATEWAY_TIMEOUT, retry_after=0.1, delay=4.0))
    async with client(sim, Timeouts(attempt=2.0, settle=3.0, deadline=30.0)) as clarus:
        with pytest.raises(OutcomeUnknownError, match="it was sent 2 times, and 2 records answer for it") as caught:
            await create(clarus)

    assert set(caught.value.found) == {record.id for record in stored(sim)}
    assert arrived(sim, "create") == 2


@simulated
async def test_after_a_503_a_record_that_was_there_before_is_not_what_was_sent(sim):
    [old] = sim.preload("acme", [{"name": "new", "integration_type": "shopify"}])
    sim.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=0.01))
    async with client(sim, Timeouts(attempt=2.0, settle=2.0, deadline=20.0)) as clarus:
        created = await create(clarus)

    assert created.id != old.id
    assert (arrived(sim, "create"), len(sim.integrations("acme"))) == (2, 3)


@of_each_resource
@pytest.mark.parametrize(
    "fault",
    [
        FaultKind.GRAPHQL_ERRORS,
        FaultKind.NOT_JSON,
        FaultKind.FORBIDDEN,
        FaultKind.REDIRECT,
        FaultKind.RESET_BEFORE,
        FaultKind.TRUNCATED,
        Fault(FaultKind.ERROR_BEFORE, status=400),
        Fault(FaultKind.OVERSIZED, size=9 * 2**20),
        Fault(FaultKind.RATE_LIMITED, retry_after=60),
    ],
)
async def test_after_a_503_a_look_that_cannot_be_read_proves_nothing(sim, fault):
    sim.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=0.01))
    sim.script(Endpoint.GRAPHQL, None, *[fault] * 200)  # the first is introspection
    async with client(sim, retry=RetryPolicy(max_attempts=4, base=0.1, cap=1.0)) as clarus:
        with pytest.raises(OutcomeUnknownError) as caught:
            await create(clarus)

    assert (caught.value.applied, caught.value.attempts) == (Applied.MAYBE, 1)
    assert arrived(sim, "create") == 1


@of_each_resource
async def test_a_refusal_after_a_look_that_proved_absence_is_final(sim):
    sim.script(
        Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=0.01), Fault(FaultKind.ERROR_BEFORE, status=422)
    )
    async with client(sim, Timeouts(attempt=2.0, settle=2.0, deadline=20.0)) as clarus:
        with pytest.raises(ValidationError) as caught:
            await create(clarus)

    assert (caught.value.applied, caught.value.attempts) == (Applied.NO, 2)


@each("update", "delete", "repeatable", "list", "ping")
async def test_a_503_that_outlasts_the_deadline_is_raised_at_once(sim, operation):
    sim.script(OPERATIONS[operation].endpoint, Fault(FaultKind.UNAVAILABLE, retry_after=60))
    async with client(sim) as clarus:
        began = seconds()
        error = await fails(operation, clarus, (ServerError, OutcomeUnknownError), "past the deadline")
        assert seconds() - began < 1.0

    assert error.retry_after == 60
    assert error.applied is (Applied.NO if operation in READS else Applied.MAYBE)
    assert (arrived(sim, operation), effects(sim, operation)) == (1, 0)
    assert sim.count() == 2


@simulated
async def test_a_create_whose_503_outlasts_the_deadline_says_when_to_come_back(sim):
    sim.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=60))
    async with client(sim) as clarus:
        began = seconds()
        with pytest.raises(OutcomeUnknownError) as caught:
            await create(clarus)
        assert seconds() - began < 1.0

    assert caught.value.retry_after == pytest.approx(60, abs=0.1)
    assert sim.count() == 2


@each("create", "update", "list")
async def test_where_nobody_gets_through_a_503_holds_the_tenant_back_until_its_retry_after(sim, operation):
    sim.script(OPERATIONS[operation].endpoint, Fault(FaultKind.UNAVAILABLE, retry_after=60))
    async with client(sim) as clarus:
        await fails(operation, clarus)
        error = await fails("ping", clarus, RateLimitedError, "nothing was sent")
        # Another tenant is not held back.
        with pytest.raises(PermissionDeniedError):
            await clarus.for_subdomain("globex").ping()

    assert error.retry_after == pytest.approx(60, abs=0.1)
    assert sim.count(Endpoint.GRAPHQL) == (2 if operation == "list" else 1)


# 401: rejected; a token that dies early is normal, so another one is got, and the request sent again.


@each(real=("create",))
@pytest.mark.parametrize("times", [1, 4])
async def test_a_401_costs_a_token_and_no_attempt(sim, operation, times):
    sim.script(OPERATIONS[operation].endpoint, *[FaultKind.UNAUTHORIZED] * times)
    async with client(sim, retry=RetryPolicy(max_attempts=1)) as clarus:
        await succeeds(operation, clarus)

    assert (sim.count(Endpoint.TOKEN), arrived(sim, operation)) == (1 + times, 1 + times)
    assert effects(sim, operation) == int(operation not in {*READS, "mutation"})


@each()
async def test_401s_until_the_deadline_are_raised(sim, operation):
    sim.set_faults([Fault(FaultKind.UNAUTHORIZED, endpoint=OPERATIONS[operation].endpoint)])
    async with client(sim, Timeouts(attempt=2.0, settle=2.0, deadline=60.0)) as clarus:
        began = seconds()
        error = await fails(operation, clarus, AuthenticationError, "401.*every new token is refused")
        assert 30.0 < seconds() - began <= 60.0

    assert (error.applied, error.retryable, effects(sim, operation)) == (Applied.NO, True, 0)
    assert 8 <= sim.count(Endpoint.TOKEN) <= 30


@each()
async def test_a_401_without_another_token_to_be_had_says_why(sim, operation):
    sim.script(OPERATIONS[operation].endpoint, FaultKind.UNAUTHORIZED)
    sim.script(Endpoint.TOKEN, None, *[FaultKind.UNAUTHORIZED] * 2)  # by form, and by HTTP Basic
    async with client(sim) as clarus:
        error = await fails(operation, clarus, AuthenticationError, "the token endpoint refused the request: 401")

    assert error.applied is Applied.NO
    assert (arrived(sim, operation), effects(sim, operation)) == (1, 0)


# Any other 4xx but 408: rejected, and raised.


@each(real=("create",))
@pytest.mark.parametrize(
    ("fault", "cls"),
    [
        (Fault(FaultKind.ERROR_BEFORE, status=400), BadRequestError),
        (FaultKind.FORBIDDEN, PermissionDeniedError),
        (Fault(FaultKind.ERROR_BEFORE, status=404), NotFoundError),
        (Fault(FaultKind.ERROR_BEFORE, status=409), ConflictError),
        (Fault(FaultKind.ERROR_BEFORE, status=418), ApiError),
        (FaultKind.JSON_API_ERROR, ValidationError),
    ],
    ids=["400", "403", "404", "409", "418", "422"],
)
async def test_a_refusal_is_raised_at_once(sim, operation, fault, cls):
    sim.script(OPERATIONS[operation].endpoint, fault)
    async with client(sim) as clarus:
        error = await fails(operation, clarus, cls)

    assert (type(error), error.applied, error.retryable, error.attempts) == (cls, Applied.NO, False, 1)
    assert error.request_id == sim.requests[-1].request_id
    assert (arrived(sim, operation), effects(sim, operation)) == (1, 0)


@each("update", "delete", "synchronize")
async def test_a_record_that_is_not_there(sim, operation):
    async with client(sim) as clarus:
        with pytest.raises(NotFoundError) as caught:
            await OPERATIONS[operation].call(clarus, 999)

    assert (caught.value.applied, caught.value.errors[0].symbol, arrived(sim, operation)) == ("no", "not_found", 1)


async def test_a_refusal_counts_once_its_status_line_is_read():
    """A 4xx whose body is lost is a refusal all the same."""

    async def half(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 422 Unprocessable\r\nContent-Length: 1000\r\n\r\n{")

    async with (
        raw_server(half) as (address, _),
        ClarusClient("acme", AccessToken("x"), base_url=f"http://{address}") as clarus,
    ):
        error = await fails("create", clarus, ValidationError)

    assert (error.applied, error.attempts, error.errors) == (Applied.NO, 1, ())


# Unknown: 408, 5xx, and whatever goes wrong on a connection that was there.

UNKNOWN = {
    "408": (Fault(FaultKind.ERROR_BEFORE, status=408), 408),
    "500 before": (Fault(FaultKind.ERROR_BEFORE), 500),
    "500 after": (Fault(FaultKind.ERROR_AFTER), 500),
    "502 of a proxy": (Fault(FaultKind.HTML_502), 502),
    "503": (Fault(FaultKind.UNAVAILABLE), 503),
    "503 with Retry-After": (Fault(FaultKind.UNAVAILABLE, retry_after=0.01), 503),
    "reset before": (Fault(FaultKind.RESET_BEFORE), None),
    "reset after": (Fault(FaultKind.RESET_AFTER), None),
    "stall before": (Fault(FaultKind.STALL_BEFORE, delay=999), None),
    "stall after": (Fault(FaultKind.STALL_AFTER, delay=999), None),
}
APPLIED_ALL_THE_SAME = {FaultKind.ERROR_AFTER, FaultKind.RESET_AFTER, FaultKind.STALL_AFTER}
unknown = pytest.mark.parametrize(("fault", "status"), UNKNOWN.values(), ids=UNKNOWN)


def timeouts_for(fault):
    return SHORT if fault.kind in STALLS else PATIENT


@each(*NEVER_AGAIN, real=("create",))
@unknown
async def test_what_must_not_happen_twice_is_not_sent_twice(sim, operation, fault, status):
    sim.script(OPERATIONS[operation].endpoint, fault)
    async with client(sim, timeouts_for(fault)) as clarus:
        error = await fails(operation, clarus, OutcomeUnknownError)

    assert (error.applied, error.retryable, error.attempts) == (Applied.MAYBE, False, 1)
    assert getattr(error.__cause__, "status", None) == status
    assert error.retry_after == fault.retry_after
    assert arrived(sim, operation) == 1
    happened = fault.kind in APPLIED_ALL_THE_SAME and operation != "mutation"
    assert effects(sim, operation) == int(happened)


@each(*SENT_AGAIN, real=("update",))
@unknown
async def test_what_may_happen_twice_is_sent_again(sim, operation, fault, status):
    sim.script(OPERATIONS[operation].endpoint, fault)
    async with client(sim, timeouts_for(fault)) as clarus:
        await succeeds(operation, clarus)

    assert arrived(sim, operation) == 2
    twice = operation == "repeatable" and fault.kind in APPLIED_ALL_THE_SAME
    assert effects(sim, operation) == (0 if operation in READS else 1 + twice)


LASTING = {name: row for name, row in UNKNOWN.items() if row[0].kind not in STALLS}
lasting = pytest.mark.parametrize(("fault", "status"), LASTING.values(), ids=LASTING)


@each("update", "delete", "repeatable")
@lasting
async def test_a_write_that_stays_unknown_says_so(sim, operation, fault, status):
    sim.set_faults([attrs.evolve(fault, endpoint=OPERATIONS[operation].endpoint)])
    async with client(sim) as clarus:
        error = await fails(operation, clarus, OutcomeUnknownError, "out of attempts")

    assert (error.applied, error.retryable, error.attempts) == (Applied.MAYBE, True, 4)
    assert arrived(sim, operation) == 4
    assert getattr(error.__cause__, "status", None) == status


@each(*READS)
@lasting
async def test_a_read_that_keeps_failing_says_what_was_last(sim, operation, fault, status):
    sim.set_faults([attrs.evolve(fault, endpoint=OPERATIONS[operation].endpoint)])
    async with client(sim) as clarus:
        error = await fails(operation, clarus, (ApiError, ConnectionFailedError), "out of attempts")

    assert isinstance(error, ConnectionFailedError) == (status is None)
    assert getattr(error, "status", None) == status
    assert (error.applied, error.retryable, error.attempts, arrived(sim, operation)) == (Applied.NO, True, 4, 4)


@pytest.mark.parametrize(
    "said", [b"", b"HTT", b"HTTP/1.1 20", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nContent-Le", b"\0" * 99]
)
async def test_a_connection_that_ends_before_the_status_line_is_whole_leaves_it_unknown(said):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)

    async with (
        raw_server(answer) as (address, connections),
        ClarusClient("acme", AccessToken("x"), base_url=f"http://{address}", timeouts=PATIENT, retry=FAST) as clarus,
    ):
        error = await fails("create", clarus, OutcomeUnknownError, "the connection was lost before a response came")
        assert (error.applied, len(connections)) == (Applied.MAYBE, 1)

        error = await fails("ping", clarus, ConnectionFailedError, "the connection was lost before a response came")
        assert (error.applied, len(connections)) == (Applied.NO, 5)


@pytest.mark.parametrize("operation", ["ping", "update"])
async def test_after_a_kept_connection_that_was_dead_the_next_attempt_takes_a_fresh_one(operation):
    """A gateway that has closed one idle connection has closed the others, and an attempt would be lost to each."""
    answer = b'{"data": {"id": 1, "type": "integrations", "attributes": {"name": "x"}}}'
    all_there = asyncio.Event()

    async def once(reader, writer):
        await read_request(reader)
        if len(connections) == 8:
            all_there.set()
        await all_there.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
        await read_request(reader)  # the next one is not answered any more

    async with (
        raw_server(once) as (address, connections),
        ClarusClient(
            "acme", AccessToken("x"), base_url=f"http://{address}", timeouts=PATIENT, retry=FAST, pacing=KNOWN
        ) as clarus,
    ):
        await asyncio.gather(*(clarus.ping() for _ in range(8)))
        events = Recorder()
        clarus._caller.core.notifier.observer = events
        await OPERATIONS[operation].call(clarus.with_options(), 1)

    [call] = events.of(CallEvent)
    assert (call.error, call.attempts, len(connections)) == (None, 2, 9)


async def test_a_body_that_the_server_never_takes_leaves_it_unknown():
    async def never_read(reader, writer):
        writer.transport.pause_reading()
        await asyncio.sleep(999)

    async with (
        raw_server(never_read) as (address, _),
        ClarusClient("acme", AccessToken("x"), base_url=f"http://{address}", timeouts=SHORT, retry=FAST) as clarus,
    ):
        new = NewIntegration(name="big", integration_type="x", configuration={"text": "x" * 2**24})
        with pytest.raises(OutcomeUnknownError, match="no response came in time") as caught:
            await clarus.integrations.create(new, on_unknown="raise")

    assert (caught.value.applied, caught.value.attempts) == (Applied.MAYBE, 1)


@simulated
async def test_an_unknown_create_says_all_that_settles_it(sim):
    sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
    async with client(sim) as clarus:
        error = await fails("create", clarus, OutcomeUnknownError, "the connection was lost")

    assert error.key == "new-1"
    assert abs(error.sent_at - sim.created("acme")[1].created_at) < timedelta(seconds=1)
    assert error.sent_at <= datetime.now(UTC)
    assert error.settled_by in str(error)


# After an unknown attempt, a later definite answer does not make it definite.

LATER = {
    "403": ([FaultKind.FORBIDDEN], PermissionDeniedError),
    "422": ([FaultKind.JSON_API_ERROR], ValidationError),
    "redirect": ([FaultKind.REDIRECT], ConfigurationError),
    "429 for too long": ([Fault(FaultKind.RATE_LIMITED, retry_after=60)], RateLimitedError),
    "503 for too long": ([Fault(FaultKind.UNAVAILABLE, retry_after=60)], ServerError),
}
later = pytest.mark.parametrize(("faults", "cls"), LATER.values(), ids=LATER)


@each("update", "delete", "repeatable", real=("update",))
@later
async def test_a_definite_answer_after_an_unknown_one_is_the_cause_of_an_unknown_outcome(sim, operation, faults, cls):
    sim.script(OPERATIONS[operation].endpoint, FaultKind.RESET_AFTER, *faults)
    async with client(sim) as clarus:
        error = await fails(operation, clarus, OutcomeUnknownError)

    assert error.applied is Applied.MAYBE
    assert type(error.__cause__) is cls
    assert error.attempts == arrived(sim, operation) == 1 + len(faults)
    assert effects(sim, operation) == 1
    assert error.retry_after == error.__cause__.retry_after


@each(*READS)
@later
async def test_a_read_has_nothing_to_doubt(sim, operation, faults, cls):
    sim.script(OPERATIONS[operation].endpoint, FaultKind.RESET_AFTER, *faults)
    async with client(sim) as clarus:
        error = await fails(operation, clarus, cls)

    assert (error.applied, error.attempts) == (Applied.NO, 1 + len(faults))


@each("update", "delete", "repeatable", real=("update",))
async def test_no_connection_after_an_unknown_attempt_leaves_it_unknown(sim, operation):
    sim.script(OPERATIONS[operation].endpoint, Fault(FaultKind.REFUSE, delay=999))
    async with client(sim) as clarus:
        error = await fails(operation, clarus, OutcomeUnknownError, "no connection to ")

    assert (error.applied, error.attempts, arrived(sim, operation)) == (Applied.MAYBE, 4, 1)
    assert error.__cause__ is None


@each("update", "delete", "repeatable")
async def test_no_token_after_an_unknown_attempt_leaves_it_unknown(sim, operation):
    sim.script(OPERATIONS[operation].endpoint, FaultKind.RESET_AFTER, FaultKind.UNAUTHORIZED)
    sim.script(Endpoint.TOKEN, None, *[FaultKind.UNAUTHORIZED] * 2)  # by form, and by HTTP Basic
    async with client(sim) as clarus:
        error = await fails(operation, clarus, OutcomeUnknownError, "the token endpoint refused the request")

    assert error.applied is Applied.MAYBE
    assert type(error.__cause__) is AuthenticationError
    assert error.attempts == arrived(sim, operation) == 2


@simulated
@pytest.mark.parametrize("first", [FaultKind.RESET_AFTER, FaultKind.ERROR_AFTER, FaultKind.TRUNCATED])
async def test_a_deletes_404_after_an_unknown_attempt_is_done(sim, first):
    sim.script(Endpoint.DELETE, first)
    async with client(sim) as clarus:
        assert await clarus.integrations.delete(1) is None

    assert [entry.status for entry in sim.requests if entry.endpoint is Endpoint.DELETE][-1] == 404
    assert (arrived(sim, "delete"), sim.integrations("acme")) == (2, [])


@simulated
async def test_a_deletes_404_after_mere_refusals_is_an_error(sim):
    sim.script(Endpoint.DELETE, Fault(FaultKind.RATE_LIMITED, retry_after=0.01), FaultKind.UNAUTHORIZED)
    async with client(sim, pacing=KNOWN) as clarus:
        with pytest.raises(NotFoundError):
            await clarus.integrations.delete(999)

    assert arrived(sim, "delete") == 3


@pytest.mark.parametrize("own", [True, False], ids=["own session", "caller's session"])
async def test_aiohttp_does_not_send_a_delete_again_behind_our_back(own):
    """The server closes a kept-alive connection on a DELETE that it did: aiohttp would send that again by itself."""
    deleted = []

    def answer(asked):
        if asked.method == "DELETE":
            deleted.append(asked)
            return None if len(deleted) == 1 else reply(status=404)
        return reply({"data": {}})

    async with StubServer(answer) as server, contextlib.AsyncExitStack() as stack:
        session = None
        if not own:
            session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        async with client(
            server, retry=RetryPolicy(max_attempts=1), credentials=AccessToken("x"), session=session
        ) as clarus:
            await clarus.ping()
            assert server.open_connections == 1
            error = await fails("delete", clarus, OutcomeUnknownError, "the connection was lost")

    assert (error.applied, error.attempts, len(deleted)) == (Applied.MAYBE, 1, 1)


async def test_a_delete_that_is_sent_again_is_sent_again_by_us():
    events = Recorder()

    def answer(asked):
        if asked.method != "DELETE":
            return reply({"data": {}})
        return None if sum(a.method == "DELETE" for a in server.asked) == 1 else reply(status=404)

    async with (
        StubServer(answer) as server,
        client(server, credentials=AccessToken("x"), observer=events) as clarus,
    ):
        await clarus.ping()
        await clarus.integrations.delete(1)

    assert sum(asked.method == "DELETE" for asked in server.asked) == 2
    assert events.of(CallEvent)[-1].attempts == 2


# A 2xx that can't be read: applied.


OVERSIZED = Fault(FaultKind.OVERSIZED, size=9 * 2**20)


@each("create", "mutation", real=("create",))
@pytest.mark.parametrize("fault", [FaultKind.NOT_JSON, FaultKind.TRUNCATED, OVERSIZED])
async def test_a_write_whose_answer_cannot_be_read_was_applied_and_is_not_sent_again(sim, operation, fault):
    sim.script(OPERATIONS[operation].endpoint, fault)
    async with client(sim) as clarus:
        error = await fails(operation, clarus, OutcomeUnknownError)

    assert (error.applied, error.attempts, arrived(sim, operation)) == (Applied.YES, 1, 1)
    assert isinstance(error.__cause__, ResponseError)
    assert effects(sim, operation) == int(operation != "mutation")


@each(*READS, real=("list",))
async def test_an_answer_that_is_cut_is_asked_for_again_where_that_changes_nothing(sim, operation):
    sim.script(OPERATIONS[operation].endpoint, FaultKind.TRUNCATED)
    async with client(sim) as clarus:
        await succeeds(operation, clarus)

    assert arrived(sim, operation) == 2


@each(*READS, real=("list",))
async def test_a_read_whose_answer_is_cut_to_the_end_may_be_tried_again(sim, operation):
    sim.set_faults([Fault(FaultKind.TRUNCATED, endpoint=Endpoint.GRAPHQL)])
    async with client(sim) as clarus:
        error = await fails(operation, clarus, ResponseError, "its body was cut short")

    assert (error.applied, error.retryable, arrived(sim, operation)) == (Applied.NO, True, 4)


@each(*READS, real=("list",))
@pytest.mark.parametrize(("fault", "expected"), [(FaultKind.NOT_JSON, "JSON"), (OVERSIZED, "at most 8388608 bytes")])
async def test_a_read_that_cannot_be_read_says_so_at_once(sim, operation, fault, expected):
    sim.script(Endpoint.GRAPHQL, fault)
    async with client(sim) as clarus:
        error = await fails(operation, clarus, ResponseError)

    assert (error.pointer, error.expected, error.retryable) == ("", expected, False)
    assert (error.applied, arrived(sim, operation)) == (Applied.NO, 1)


@each("update", "delete", "synchronize", real=("update", "delete"))
@pytest.mark.parametrize("fault", [FaultKind.NOT_JSON, OVERSIZED])
async def test_a_write_whose_answer_cannot_be_read_is_done(sim, operation, fault):
    sim.script(OPERATIONS[operation].endpoint, fault)
    async with client(sim) as clarus:
        await succeeds(operation, clarus)

    assert (arrived(sim, operation), effects(sim, operation)) == (1, 1)


@each("update", "synchronize", real=("update",))
async def test_a_write_whose_answer_is_cut_is_done(sim, operation):
    sim.script(OPERATIONS[operation].endpoint, FaultKind.TRUNCATED)
    async with client(sim) as clarus:
        await succeeds(operation, clarus)

    assert (arrived(sim, operation), effects(sim, operation)) == (1, 1)


# Any 3xx: a server that is misconfigured, and is never followed.


@each(real=("create",))
@pytest.mark.parametrize("status", [302, 307])
async def test_a_redirect_is_not_followed(sim, operation, status):
    async with StubServer(lambda _: reply()) as elsewhere:
        fault = Fault(FaultKind.REDIRECT, status=status, location=f"{elsewhere.url}/api/integrations")
        sim.script(OPERATIONS[operation].endpoint, fault)
        async with client(sim) as clarus:
            error = await fails(operation, clarus, ConfigurationError, f"{status}.*redirects")

    assert elsewhere.asked == []
    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, False, 1)
    assert (arrived(sim, operation), effects(sim, operation)) == (1, 0)


@simulated
@pytest.mark.parametrize("status", [302, 307])
async def test_a_redirect_of_the_token_endpoint_is_not_followed(sim, status):
    async with StubServer(lambda _: reply()) as elsewhere:
        sim.script(Endpoint.TOKEN, Fault(FaultKind.REDIRECT, status=status, location=f"{elsewhere.url}/oauth/token"))
        async with client(sim) as clarus:
            error = await fails("create", clarus, ConfigurationError, "redirects")

    assert elsewhere.asked == []
    assert (error.applied, error.path, sim.count()) == (Applied.NO, "/oauth/token", 1)


# Cancelled: at once, and nothing is left behind.


@each(real=("create", "list"))
@pytest.mark.parametrize("kind", [FaultKind.STALL_BEFORE, FaultKind.STALL_AFTER])
async def test_a_call_that_is_cancelled_ends_at_once(sim, operation, kind):
    sim.script(OPERATIONS[operation].endpoint, Fault(kind, delay=999))
    events = Recorder()
    timeouts = Timeouts(attempt=30.0, settle=30.0, deadline=60.0)
    async with client(sim, timeouts, max_connections=1, observer=events) as clarus:
        call = asyncio.ensure_future(OPERATIONS[operation].call(clarus, 1))
        await until(lambda: arrived(sim, operation) == 1 and sim.requests[-1].fault, 0.001)
        call.cancel()
        began = seconds()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert seconds() - began < at_most(0.5)

        [ended] = events.of(CallEvent)
        assert (ended.error, ended.applied) == (
            "CancelledError", Applied.NO if operation in READS else Applied.MAYBE
        )  # fmt: skip
        happened = kind is FaultKind.STALL_AFTER and operation not in {*READS, "mutation"}
        assert effects(sim, operation) == int(happened)
        # The one connection is free again.
        await clarus.ping()


@simulated
async def test_a_call_that_is_cancelled_between_attempts_ends_at_once(sim):
    sim.script(Endpoint.UPDATE, Fault(FaultKind.UNAVAILABLE, retry_after=3))
    events = Recorder()
    async with client(sim, observer=events) as clarus:
        call = asyncio.create_task(clarus.integrations.update(1, IntegrationChanges(name="x")))
        await until(lambda: WaitReason.BACKOFF in {event.reason for event in events.of(WaitEvent)}, 0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    assert events.of(CallEvent)[-1].applied is Applied.MAYBE
    assert arrived(sim, "update") == 1


# The retry budget: a tenth of the calls and a reserve; where it is empty, a call raises at once and says so.


@each("list", "update")
async def test_an_empty_retry_budget_ends_a_call_at_once(sim, operation):
    sim.set_faults([Fault(FaultKind.ERROR_BEFORE, endpoint=OPERATIONS[operation].endpoint)])
    async with client(sim) as clarus:
        errors = [await fails(operation, clarus) for _ in range(5)]

    assert [error.attempts for error in errors] == [4, 4, 4, 2, 1]
    assert ["retry budget is empty" in str(error) for error in errors] == [False, False, False, True, True]
    assert isinstance(errors[-1], OutcomeUnknownError if operation == "update" else ServerError)
    assert arrived(sim, operation) == 15


# The deadline: a whole call, with its waits and retries.

TIGHT = Timeouts(connect=0.3, attempt=0.3, settle=0.3, deadline=0.8)


@simulated
async def test_a_token_that_does_not_come_ends_with_the_deadline(sim):
    sim.set_faults([Fault(FaultKind.STALL_BEFORE, endpoint=Endpoint.TOKEN, delay=999)])
    async with client(sim, TIGHT) as clarus:
        began = seconds()
        error = await fails("create", clarus, DeadlineExceededError)

    assert 0.7 <= seconds() - began < 1.2
    assert (error.applied, arrived(sim, "create")) == (Applied.NO, 0)


@simulated
async def test_a_token_request_that_stalls_is_tried_again_inside_the_deadline(sim):
    sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=999))
    async with client(sim, TIGHT) as clarus:
        await clarus.ping()

    assert sim.count(Endpoint.TOKEN) == 2


# max_attempts=1: a client for use under an engine that retries itself.

ONCE = RetryPolicy(max_attempts=1)


@each(real=("create",))
@pytest.mark.parametrize("fault", [FaultKind.ERROR_AFTER, FaultKind.RESET_AFTER, FaultKind.UNAVAILABLE])
async def test_with_retries_off_an_unknown_outcome_is_raised_at_once(sim, operation, fault):
    sim.script(OPERATIONS[operation].endpoint, fault)
    async with client(sim, retry=ONCE) as clarus:
        error = await fails(operation, clarus, (OutcomeUnknownError, ApiError, ConnectionFailedError))

    assert isinstance(error, OutcomeUnknownError) == (operation in WRITES)
    assert error.applied is (Applied.NO if operation in READS else Applied.MAYBE)
    assert error.attempts == arrived(sim, operation) == 1
