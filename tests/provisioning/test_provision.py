"""Runs against a server: every record has its outcome, and the server's ledger says the same."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter

import pytest
import trustme

from clarus_async import (
    AccessToken,
    Applied,
    AuthenticationError,
    ClarusClient,
    ClientCredentials,
    ConfigurationError,
    OutcomeStatus,
    PacingPolicy,
    PermissionDeniedError,
    RateLimitedError,
    RetryPolicy,
    Timeouts,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Quota, Simulator
from tests.support.builders import client_of, collect, shops
from tests.support.stub_server import StubServer, reply
from tests.support.virtual import now, settle, virtual

READ_AHEAD = 300
"""Records that a run of little concurrency may have pulled before one of them is sent: three batches of a hundred."""


def workers():
    return [task for task in asyncio.all_tasks() if "provision" in task.get_name()]


class TestAllIsWell:
    async def test_a_thousand_records_over_real_sockets(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            outcomes = await collect(clarus.integrations.provision(shops(1000)))
            stored = {record.external_system_reference1: record.id for record in sim.created("acme")}
            assert {outcome.key: outcome.id for outcome in outcomes} == stored
            assert len(outcomes) == len(stored) == len(sim.created("acme")) == 1000
            assert {outcome.status for outcome in outcomes} == {OutcomeStatus.CREATED}
            assert sim.count(Endpoint.TOKEN) == 1


@virtual
class TestTrouble:
    @pytest.mark.parametrize("headers", ["none", "retry-after", "ietf"])
    @pytest.mark.parametrize("kind", ["fixed", "sliding", "bucket"])
    async def test_all_get_through_a_hidden_quota(self, kind, headers):
        quota = Quota(limit=20, window=1.0, kind=kind, headers=headers)
        async with Simulator(quota=quota, latency=0.02) as sim, client_of(sim) as clarus:
            report = await clarus.integrations.provision(shops(120), concurrency=32)
            assert report.counts[OutcomeStatus.CREATED] == report.total == 120
            assert len(sim.created("acme")) == 120

    async def test_under_every_fault_the_outcomes_and_the_ledger_agree(self):
        kinds = [
            "reset_before", "reset_after", "error_before", "error_after", "html_502", "unavailable", "rate_limited",
            "truncated", "not_json",
        ]  # fmt: skip
        faults = [Fault(kind, endpoint="create", probability=0.04) for kind in kinds]
        faults += [Fault("stall_after", endpoint="create", probability=0.02, delay=100.0)]
        async with Simulator(faults=faults, latency=0.01) as sim, client_of(sim) as clarus:
            outcomes = await collect(clarus.integrations.provision(shops(400), concurrency=32))
            ledger = Counter(record.external_system_reference1 for record in sim.created("acme"))
            assert len(outcomes) == len({outcome.index for outcome in outcomes}) == 400
            assert ledger == Counter({f"ref-{number}": 1 for number in range(400)})
            assert {outcome.status for outcome in outcomes} == {OutcomeStatus.CREATED, OutcomeStatus.ADOPTED}
            by_id = {record.id: record for record in sim.created("acme")}
            assert all(
                by_id[outcome.id].external_system_reference1 == outcome.key
                for outcome in outcomes
                if outcome.id is not None
            )


def refused_credentials(sim):
    return ClarusClient("acme", ClientCredentials(sim.client_id, "wrong"), base_url=sim.url)


def unknown_tenant(sim):
    return ClarusClient("nobody", sim.credentials, base_url=sim.url)


def always_401(sim):
    sim.set_faults([Fault(FaultKind.UNAUTHORIZED, endpoint=Endpoint.CREATE)])
    return client_of(sim)


def redirecting(sim):
    sim.set_faults([Fault(FaultKind.REDIRECT, endpoint=Endpoint.CREATE, location="https://elsewhere.test")])
    return client_of(sim)


def forbidding(sim):
    sim.set_faults([Fault(FaultKind.FORBIDDEN, endpoint=Endpoint.CREATE)])
    return client_of(sim)


class TestFatal:
    @pytest.mark.parametrize(
        ("make", "error"),
        [
            (refused_credentials, AuthenticationError),
            (always_401, AuthenticationError),
            (unknown_tenant, PermissionDeniedError),
            (forbidding, PermissionDeniedError),
            (redirecting, ConfigurationError),
        ],
        ids=lambda value: value.__name__,
    )
    @pytest.mark.parametrize("existing", ["adopt", "ignore"])
    @virtual
    async def test_it_stops_the_intake_and_is_raised_at_the_end(self, make, error, existing):
        async with Simulator(latency=0.1) as sim, make(sim) as clarus:
            outcomes, left = [], iter(shops(1000))
            run = clarus.integrations.provision(left, concurrency=8, existing=existing)
            with pytest.raises(error):
                async for outcome in run:
                    outcomes += [outcome]
            assert len([*left]) >= 1000 - READ_AHEAD
            assert len(outcomes) == run.begun <= 16
            assert {outcome.status for outcome in outcomes} <= {OutcomeStatus.FAILED}
            assert sim.created("acme") == []
            assert workers() == []

    async def test_a_certificate_that_nobody_vouches_for(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        async with Simulator(ssl_context=context) as sim, client_of(sim) as clarus:
            run = clarus.integrations.provision(shops(100), concurrency=4)
            with pytest.raises(ConfigurationError, match="certificate"):
                await collect(run)
            assert run.report.total <= 8
            assert sim.count() == 0


class TestLeaving:
    async def test_break_leaves_no_worker_and_no_slot_over_real_sockets(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            async with clarus.integrations.provision(shops(1000), concurrency=16) as run:
                async for outcome in run:
                    if outcome.index >= 50:
                        break
            assert workers() == []
            assert clarus._caller.core.connections.busy == 0
            await clarus.ping()

    @virtual
    async def test_break_during_a_pause_leaves_no_worker(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, None, *[Fault(FaultKind.RATE_LIMITED, retry_after=60)] * 30)
            async with clarus.integrations.provision(shops(100), concurrency=8) as run:
                await anext(run)
            assert workers() == []
            assert clarus.pace.waiting == clarus.pace.queued == 0
            assert clarus._caller.core.connections.busy == 0
            assert now() < 1.0


@virtual
class TestNothingPilesUp:
    async def test_a_paused_tenant_does_not_make_the_run_read_on(self):
        left = iter(shops(1000))
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, *[Fault(FaultKind.RATE_LIMITED, retry_after=60)] * 4)
            async with clarus.integrations.provision(left, concurrency=4) as run:
                reading = asyncio.ensure_future(anext(run))
                await asyncio.sleep(30.0)
                assert 1 <= sim.count(Endpoint.CREATE) <= 4
                reading.cancel()
            assert len([*left]) >= 1000 - READ_AHEAD
            await settle()


@virtual
class TestRetries:
    async def test_attempts_are_counted_in_the_report(self):
        retry = RetryPolicy(base=0.001)
        async with Simulator() as sim, client_of(sim, retry=retry) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=1), None, FaultKind.UNAUTHORIZED)
            report = await clarus.integrations.provision(shops(3), concurrency=1)
            assert report.ok
            assert report.attempts == sim.count(Endpoint.CREATE) == 5

    async def test_a_pause_longer_than_the_deadline_fails_nobody(self):
        async with Simulator() as sim, client_of(sim, timeouts=Timeouts(deadline=10.0)) as clarus:
            sim.script(Endpoint.CREATE, None, *[Fault(FaultKind.RATE_LIMITED, retry_after=50)] * 6)
            outcomes = await collect(clarus.integrations.provision(shops(20), concurrency=4))
            assert {outcome.status.value for outcome in outcomes} == {"created"}
            assert len(outcomes) == len(sim.created("acme")) == 20
            assert now() > 100.0

    async def test_the_deadline_goes_on_when_the_wait_is_over(self):
        async with Simulator() as sim, client_of(sim, timeouts=Timeouts(deadline=10.0)) as clarus:
            stall = Fault(FaultKind.STALL_BEFORE, delay=1000.0)
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=100), stall)
            [outcome] = await collect(clarus.integrations.provision(shops(1)))
            # Given up after the ten seconds that were left, and sent again when it was settled that it is not there.
            times = [entry.at for entry in sim.requests if entry.endpoint is Endpoint.CREATE]
            assert times == pytest.approx([times[0], times[0] + 100.0, times[0] + 110.0 + 60.0], abs=6.0)
            assert (outcome.status, outcome.attempts) == (OutcomeStatus.CREATED, 3)

    async def test_a_pause_longer_than_max_wait_ends_the_run_and_the_rest_can_be_sent_later(self):
        pulled = []

        def source(keys=None):
            for shop in shops(100):
                if keys is None or shop.key in keys:
                    pulled.append(shop.key)
                    yield shop

        async with Simulator(latency=5.0) as sim, client_of(sim, pacing=PacingPolicy(max_wait=60.0)) as clarus:
            await clarus.ping()
            sim.script(Endpoint.CREATE, None, None, Fault(FaultKind.RATE_LIMITED, retry_after=600))
            outcomes = []
            run = clarus.integrations.provision(source(), concurrency=8)
            with pytest.raises(RateLimitedError) as raised:
                async for outcome in run:
                    outcomes.append(outcome)
            assert raised.value.retry_after == pytest.approx(600.0, rel=0.05)
            assert raised.value.applied is Applied.NO
            # Those under way end well; those that were begun and not sent say so; the rest was not even begun.
            assert {outcome.key for outcome in outcomes} < set(pulled)
            assert len(outcomes) == run.begun <= 16
            made = {outcome.key for outcome in outcomes if outcome.status is OutcomeStatus.CREATED}
            refused = [outcome for outcome in outcomes if outcome.status is OutcomeStatus.FAILED]
            assert len(made) + len(refused) == len(outcomes)
            assert made
            assert refused
            assert {outcome.error.type for outcome in refused} == {"RateLimitedError"}
            assert {outcome.error.applied for outcome in refused} == {Applied.NO}
            assert all(outcome.error.retryable for outcome in refused)
            assert {record.external_system_reference1 for record in sim.created("acme")} == made
            assert workers() == []
            assert clarus.pace.waiting == clarus.pace.queued == 0

            await asyncio.sleep(600.0)
            rest = {shop.key for shop in shops(100)} - made
            assert (await clarus.integrations.provision(source(rest))).ok
            ledger = Counter(record.external_system_reference1 for record in sim.created("acme"))
            assert ledger == Counter({shop.key: 1 for shop in shops(100)})

    @pytest.mark.parametrize(("existing", "most"), [("adopt", 0), ("ignore", 4)])
    async def test_a_run_that_begins_in_a_pause_longer_than_max_wait_sends_nothing(self, existing, most):
        async with Simulator() as sim, client_of(sim, pacing=PacingPolicy(max_wait=60.0)) as clarus:
            sim.script(Endpoint.GRAPHQL, Fault(FaultKind.RATE_LIMITED, retry_after=600))
            with pytest.raises(RateLimitedError):
                await clarus.ping()
            before = sim.count()
            run = clarus.integrations.provision(shops(100), concurrency=4, existing=existing)
            with pytest.raises(RateLimitedError, match="max_wait"):
                await collect(run)
            # Those that it began, as nothing was looked up before, say so.
            assert bool(most) <= run.report.total == run.begun == run.report.counts[OutcomeStatus.FAILED] <= most
            assert sim.count() == before

    async def test_a_pause_of_one_tenant_ends_no_run_of_another(self):
        async with (
            Simulator(tenants=("acme", "globex"), latency=0.1) as sim,
            client_of(sim, pacing=PacingPolicy(max_wait=60.0)) as clarus,
        ):
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=600, tenant="acme"))
            globex = clarus.for_subdomain("globex")
            ended, report = await asyncio.gather(
                clarus.integrations.provision(shops(50)),
                globex.integrations.provision(shops(50)),
                return_exceptions=True,
            )
            assert isinstance(ended, RateLimitedError)
            assert report.counts[OutcomeStatus.CREATED] == 50

    async def test_a_server_that_says_nothing_but_no_ends_the_run(self):
        async with (
            StubServer(lambda asked: reply({"error": "gone"}, 401)) as server,
            ClarusClient("acme", AccessToken("t"), base_url=server.url) as clarus,
        ):
            with pytest.raises(AuthenticationError, match="no way to get another"):
                await collect(clarus.integrations.provision(shops(100), concurrency=4))
            assert len(server.asked) <= 8
