"""Each way in which a network can spoil a call, over real sockets and with the simulator's ledger as witness.

What the simulator's own faults show of every operation and retry is in tests/calls/test_failure_table.py; here are
those that no HTTP server can make. An error must be of the right class and true: what it says of
the record is held against the ledger. The client is used again after each.
"""

import asyncio
import contextlib

import attrs
import pytest

from clarus_async import (
    AccessToken,
    Applied,
    ClarusClient,
    ClarusError,
    ConnectionFailedError,
    NewIntegration,
    OutcomeUnknownError,
    RetryPolicy,
    Timeouts,
)
from clarus_async.simulator import Simulator
from tests.support import fault_proxy as at
from tests.support.endings import CALLS, CUT, LATE, LOST, NEW, WELL, ended
from tests.support.fault_proxy import FaultProxy
from tests.support.tls import authority_fixture, client_context, server_context  # noqa: F401  one is a fixture

ONCE = RetryPolicy(max_attempts=1)
FAST = RetryPolicy(base=0.001, cap=0.01)
PATIENT = Timeouts(deadline=20.0)
STALLED = Timeouts(connect=0.4, attempt=0.4, settle=0.4, deadline=5.0)
"""For what ends with the attempt's timeout, and only for that: whatever else takes long, these may be too short for."""


# What follows an answer in the same packet spoils it, and of a 204 a body does.
TRAILED = attrs.evolve(LOST, delete=None)
MISREAD = attrs.evolve(CUT, delete=OutcomeUnknownError, match="")


STALLS = {
    "half-open, nothing forwarded": (at.never, LATE),
    "half-open in the head": (at.cut(0.5, in_body=False, how="hold"), LATE),
    "half-open in the body": (at.cut(0.5, in_body=True, how="hold"), CUT),
    "a byte each 40 ms": (at.dripped(0.04), LATE),
    "a length too long, held": (at.rewritten(at.length(lambda n: n + 9), "hold"), CUT),
    "chunks that never end": (
        at.endless(b"1\r\n \r\n", 0.005, lambda head: at.without_length(head) + b"Transfer-Encoding: chunked\r\n\r\n"),
        MISREAD,
    ),
    "100 Continue for ever": (at.endless(b"HTTP/1.1 100 Continue\r\n\r\n", 0.001, lambda _: b""), LATE),
    "headers that never end, slowly": (at.endless(b"X-More: 1\r\n", 0.02, lambda head: head[:-2]), LATE),
}
AT_ONCE = {
    "reset, nothing forwarded": (at.reset_before, LOST),
    "ended, nothing forwarded": (at.end_before, LOST),
    "reset after it was forwarded whole": (at.reset_after, LOST),
    "ended, then reset": (at.end_then_reset, LOST),
    "reset in the head": (at.cut(0.5, in_body=False, how="reset"), LOST),
    "ended in the head": (at.cut(0.5, in_body=False, how="end"), LOST),
    "reset in the body": (at.cut(0.5, in_body=True, how="reset"), CUT),
    "ended in the body": (at.cut(0.5, in_body=True, how="end"), CUT),
    "ended after the whole answer": (at.cut(1.0, in_body=True, how="end"), WELL),
    "reset after the whole answer": (at.cut(1.0, in_body=True, how="reset"), WELL),
    "byte by byte, both ways": (at.dripping_both_ways, WELL),
    "chunks of a byte": (at.rewritten(at.chunked), attrs.evolve(WELL, delete=OutcomeUnknownError)),
    "no length, to the end": (at.rewritten(lambda head, body: at.without_length(head) + b"\r\n" + body, "end"), WELL),
    "a length too long": (at.rewritten(at.length(lambda n: n + 9), "end"), CUT),
    "a length too short": (at.rewritten(at.length(lambda n: n // 2)), TRAILED),
    "a length of 0": (at.rewritten(at.length(lambda n: 0)), TRAILED),
    "a length that is none": (at.rewritten(at.length(lambda n: "many")), LOST),
    "a negative length": (at.rewritten(at.length(lambda n: -n - 1)), LOST),
    "two lengths": (at.rewritten(at.headed(b"Content-Length: 3\r\nContent-Length: 5")), LOST),
    "a header that never ends": (at.endless(b"x" * 4096, None, lambda head: head[:-2] + b"X-Endless: "), LOST),
    "headers that never end": (at.endless(b"X-More: 1\r\n" * 100, None, lambda head: head[:-2]), LOST),
    "chunks without end": (
        at.endless(
            b"10000\r\n" + b" " * 2**16 + b"\r\n",
            None,
            lambda head: at.without_length(head) + b"Transfer-Encoding: chunked\r\n\r\n",
        ),
        MISREAD,
    ),
    "a chunk of no length": (
        at.rewritten(lambda head, _: at.without_length(head) + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        LOST,
    ),
    "garbage before the status line": (at.rewritten(lambda head, body: b"garbage\r\n" + head + body), LOST),
    "1,000 of 1xx, then the answer": (
        at.rewritten(lambda head, body: b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000 + head + body),
        WELL,
    ),
}
FAULTS = {name: (*row, PATIENT) for name, row in AT_ONCE.items()} | {n: (*row, STALLED) for n, row in STALLS.items()}
faults = pytest.mark.parametrize(("fault", "ends", "timeouts"), FAULTS.values(), ids=FAULTS)


operations = pytest.mark.parametrize("operation", CALLS)


def done(sim, operation):
    """Whether the server did it, as its ledger says."""
    old, *new = sim.created("acme")
    return {"create": len(new), "delete": int(old.deleted_at is not None)}.get(operation, 0)


@contextlib.asynccontextmanager
async def standing(tls=None, greet=None, session=None, retry=ONCE, timeouts=PATIENT, credentials=None):
    """A simulator with one record, the proxy before it, and a client, of which nothing is left afterwards."""
    before = asyncio.all_tasks()
    async with Simulator() as sim:
        sim.preload("acme", [{"name": "old", "integration_type": "shopify"}])
        async with FaultProxy(sim.url, tls, greet) as proxy:
            if greet is not None:
                proxy.url = proxy.url.replace("http:", "https:")
            async with ClarusClient(
                "acme",
                credentials or sim.credentials,
                base_url=proxy.url,
                session=session,
                timeouts=timeouts,
                retry=retry,
            ) as clarus:
                yield sim, proxy, clarus
            if session is None:
                async with asyncio.timeout(30):
                    while proxy.open_connections:  # noqa: ASYNC110  that the other side noticed is no event of ours
                        await asyncio.sleep(0.001)
    assert asyncio.all_tasks() == before


async def within(timeouts, call):
    """Return what a call raised or returned, within its deadline."""
    async with asyncio.timeout(timeouts.deadline + 5.0):
        return await ended(call)


def is_true(error, happened):
    """Whether what an error, or a success, says of a write is what happened."""
    if not isinstance(error, ClarusError):
        return happened == 1
    return happened <= 1 and (error.applied is Applied.MAYBE or (error.applied is Applied.YES) == bool(happened))


@operations
@faults
async def test_a_call_ends_as_it_should_and_what_it_says_is_true(operation, fault, ends, timeouts):
    async with standing() as (sim, proxy, clarus):
        await clarus.ping()
        proxy.spoil(fault)
        result = await within(timeouts, CALLS[operation](clarus.with_options(timeouts=timeouts), 1))
        happened = done(sim, operation)
        proxy.heal()
        # On a connection that ends after its answer, the next request may be lost as any other.
        await clarus.with_options(retry=FAST).ping()

    ends.hold(operation, result)
    if operation in {"create", "delete"}:
        assert is_true(result, happened)


# A create settles it.


@faults
async def test_a_create_under_it_ends_as_one_record_and_its_id(fault, ends, timeouts):
    # What never arrived is sent again once the server had its time; everything else is found at once.
    settle = 0.3 if fault in {at.never, at.reset_before, at.end_before} else 30.0
    timeouts = attrs.evolve(timeouts, attempt=min(settle, timeouts.attempt), settle=settle, deadline=20.0)
    async with standing(retry=FAST) as (sim, proxy, clarus):
        await clarus.ping()
        proxy.spoil(fault, "/api/", times=1)
        result = await within(timeouts, clarus.with_options(timeouts=timeouts).integrations.create(NEW))

    assert [stored.id for stored in sim.created("acme")[1:]] == [result.id]


@pytest.mark.parametrize(
    ("fault", "happens"), [(at.reset_before, False), (at.reset_after, True)], ids=["never arrives", "never answered"]
)
async def test_a_create_that_is_never_answered_ends_as_its_id_or_as_proved_not_to_be_there(fault, happens):
    timeouts = Timeouts(attempt=0.4, settle=0.4, deadline=20.0)
    async with standing(retry=attrs.evolve(FAST, max_attempts=2)) as (sim, proxy, clarus):
        proxy.spoil(fault, "/api/")
        result = await within(timeouts, clarus.with_options(timeouts=timeouts).integrations.create(NEW))

    if happens:
        assert [stored.id for stored in sim.created("acme")[1:]] == [result.id]
    else:
        assert (type(result), result.applied, done(sim, "create")) == (ConnectionFailedError, Applied.NO, 0)


async def test_a_list_whose_second_page_is_cut_is_read_on():
    async with standing(retry=FAST) as (sim, proxy, clarus):
        sim.preload("acme", [{"name": f"{n}", "integration_type": "x"} for n in range(3)])
        # The token is asked for first, then a page a row.
        proxy.spoil(at.only(2, at.cut(0.5, in_body=True, how="reset")))
        rows = [row.id async for row in clarus.integrations.list(page_size=1)]

    assert rows == [stored.id for stored in sim.integrations("acme")]
    assert [asked.path for asked in proxy.asked] == ["/oauth/token", *["/graphql"] * 5]


# An answer that nobody asked for.


async def test_an_answer_that_comes_twice_is_not_the_next_calls():
    async with standing(retry=FAST) as (sim, proxy, clarus):
        proxy.spoil(at.answered_twice)
        made = []
        for number in range(3):
            made.append(await clarus.integrations.create(NewIntegration(name=f"{number}", integration_type="x")))
            await asyncio.sleep(0.04)

    assert [(stored.id, stored.attributes["name"]) for stored in sim.created("acme")[1:]] == [
        (integration.id, integration.name) for integration in made
    ]


# TLS: it fails before anything of the request is out, and the error says so.


HANDSHAKES = {
    "an alert": at.alert(40),
    "an alert, no such host": at.alert(112),
    "reset": at.reset_the_handshake,
    "half-open": at.hold_the_handshake,
    "another protocol": at.another_protocol,
}


@operations
@pytest.mark.parametrize("greet", HANDSHAKES.values(), ids=HANDSHAKES)
async def test_a_handshake_that_fails_proves_that_nothing_was_sent(operation, greet):
    timeouts = attrs.evolve(PATIENT, connect=0.1 if greet is at.hold_the_handshake else 5.0)
    async with standing(greet=greet, timeouts=timeouts, credentials=AccessToken("x")) as (sim, _, clarus):
        result = await within(timeouts, CALLS[operation](clarus, 1))

    assert (type(result), result.applied) == (ConnectionFailedError, Applied.NO)
    assert "no connection to " in str(result)
    assert sim.count() == 0
