"""The documentation's web services under load, without their callers, and when they are told to stop."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import NamedTuple

import aiohttp
import pytest

from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.virtual import now
from tests.support.web import WORKERS, creates, ledger, serving, until, within

TENANTS = ("acme", "globex")
LOAD = 300
WIDTH = 32
STALLED = 8
# Applied, and no answer for so long: more than uvicorn's supervisor takes to hear that it is to stop.
STALL = Fault(FaultKind.STALL_AFTER, delay=0.7)
# Seconds that a service has to stop in; what it waits for takes a little more than STALL.
BOUND = 10.0


def caller():
    """A session whose every request comes over a connection of its own, as from a proxy that spreads them."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=WIDTH))


async def under_load(service, sim, session):
    """Every answer is 200, and says what is there, whatever befalls the requests behind it."""
    limited = Fault(FaultKind.RATE_LIMITED, retry_after=0.2)
    sim.script(Endpoint.CREATE, *[None] * 40, FaultKind.RESET_AFTER, limited, *[None] * 40, FaultKind.RESET_AFTER)
    numbers = iter(range(LOAD))

    async def ask():
        for number in numbers:
            await service.create(session, TENANTS[number % 2], f"load-{number}")

    await asyncio.gather(*(ask() for _ in range(WIDTH)))
    assert {status for status, _, _ in service.answers.values()} == {200}
    assert len(service.ids()) == LOAD
    assert service.ids() == ledger(sim, *TENANTS)
    # One client a process, and one token each.
    assert 1 <= sim.count(Endpoint.TOKEN) <= WORKERS[service.name]


async def without_its_caller(service, sim):
    """A call goes on when its caller is gone: it is settled, and what it made is there once."""
    before, looks = creates(sim), sim.count(Endpoint.GRAPHQL)
    sim.script(Endpoint.CREATE, STALL)
    await service.leave_in_mid_call("globex", "gone", lambda: creates(sim) > before)
    assert sim.count(Endpoint.GRAPHQL) == looks
    await until(lambda: sim.count(Endpoint.GRAPHQL) > looks)
    assert ("globex", "gone") in ledger(sim, *TENANTS)
    assert creates(sim) == before + 1


async def told_to_stop(service, sim, session):
    """What is in flight ends, what is answered with 200 is there, and what is there was answered with 200."""
    before, word = creates(sim), itertools.count()
    sim.script(Endpoint.CREATE, *[STALL] * STALLED)
    stalled = [asyncio.ensure_future(service.create(session, "acme", f"stalled-{n}")) for n in range(STALLED)]
    await until(lambda: creates(sim) == before + STALLED)

    async def ask_on():
        while (await service.create(session, "globex", f"last-{next(word)}"))[0] == 200:
            pass

    asking = [asyncio.ensure_future(ask_on()) for _ in range(WIDTH // 2)]
    await until(lambda: creates(sim) > before + STALLED + WIDTH)
    began = now()
    service.stop()
    status = await service.ended()
    assert now() - began < BOUND
    await asyncio.gather(*asking, *stalled)
    assert status == 0
    assert [(await task)[0] for task in stalled] == [200] * STALLED
    # The last of each had no answer, for nobody listened any more, and no other one failed.
    refused = [whose for whose, (status, _, _) in service.answers.items() if status != 200]
    assert len(refused) == len(asking)
    assert {service.answers[whose][0] for whose in refused} == {None}
    there = ledger(sim, *TENANTS)
    assert there.pop(("globex", "gone"))
    assert there == service.ids()
    await until(lambda: sim.open_connections == 0)


@pytest.mark.parametrize("name", WORKERS)
async def test_a_service_s_life(name, tmp_path):
    """One test, for to start the processes takes longest of all."""
    async with Simulator(tenants=TENANTS, latency=0.02) as sim, serving(name, sim, tmp_path) as service:
        async with caller() as session:
            await under_load(service, sim, session)
            await without_its_caller(service, sim)
            await told_to_stop(service, sim, session)


class Case(NamedTuple):
    """What befalls a create, what it is asked with, and what is answered: status, class, whether it was applied."""

    about: str
    befalls: Fault | FaultKind | None
    asked: dict[str, str]
    status: int
    error: str | None = None
    applied: str | None = None


CASES = [
    Case("attributes", FaultKind.JSON_API_ERROR, {}, 422, "ValidationError", "no"),
    Case("a name", None, {"name": "%20"}, 422, "InvalidInputError", "no"),
    Case("rights", FaultKind.FORBIDDEN, {}, 502, "PermissionDeniedError", "no"),
    Case("a stranger", None, {"tenant": "initech"}, 502, "PermissionDeniedError", "no"),
    Case("doubt", FaultKind.HTML_502, {"X-Request-Timeout": "1"}, 504, "OutcomeUnknownError", "maybe"),
    Case("no tenant", None, {"tenant": ""}, 422),
    Case("no label", None, {"tenant": "-acme"}, 422),
    Case("no number", None, {"X-Request-Timeout": "soon"}, 422),
    Case("not a number", None, {"X-Request-Timeout": "nan"}, 422),
    Case("no time", None, {"X-Request-Timeout": "0"}, 422),
    Case("a quota", Fault(FaultKind.RATE_LIMITED, retry_after=60.0), {}, 503, "RateLimitedError", "no"),
]
HURRIED = {"X-Request-Timeout": "0.3"}


async def answered(service, session, case):
    """Check what one is answered with, and return that."""
    asked = {"tenant": "acme", "name": "Shop", **case.asked}
    began = now()
    status, body, headers = await service.create(session, asked.pop("tenant"), asked.pop("name"), **asked)
    # Where its time was not kept to, it took the client's, or the quota's: two minutes, or one.
    assert now() - began < 15.0, case
    assert status == case.status, case
    if case.error is not None:
        assert (body["error"], body["applied"]) == (case.error, case.applied), case
        assert type(body["detail"]) is str
    return body, headers


@pytest.mark.parametrize("name", WORKERS)
async def test_what_an_error_is_answered_with(name, monkeypatch):
    async with Simulator(tenants=TENANTS) as sim, within(name, sim, monkeypatch) as service, caller() as session:
        sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=0.5))
        await answered(service, session, Case("no token", None, HURRIED, 504, "DeadlineExceededError", "no"))
        said = {}
        for case in CASES:
            if case.befalls is not None:
                sim.script(Endpoint.CREATE, case.befalls)
            said[case.about] = await answered(service, session, case)
        assert 55 <= int(said["a quota"][1]["Retry-After"]) <= 60
        body, _ = said["doubt"]
        assert "resolve(error)" in body["settled_by"]
        assert datetime.fromisoformat(body["settles_at"]) > datetime.now(UTC)
        await sim.refuse()
        elsewhere = {"tenant": "globex", **HURRIED}
        await answered(service, session, Case("no server", None, elsewhere, 503, "ConnectionFailedError", "no"))
        assert ledger(sim, *TENANTS) == {}


@pytest.mark.parametrize("name", WORKERS)
async def test_what_a_service_opened_is_closed_with_it(name, monkeypatch):
    async with Simulator(tenants=TENANTS) as sim, caller() as session:
        async with within(name, sim, monkeypatch) as service:
            assert (await service.create(session, "acme", "Shop"))[0] == 200
            assert sim.open_connections > 0
        # Sooner than a connection that nobody closes would end by itself, which takes four seconds.
        async with asyncio.timeout(3.0):
            await until(lambda: sim.open_connections == 0)
