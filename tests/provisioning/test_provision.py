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
    NewIntegration,
    OutcomeStatus,
    PacingPolicy,
    PermissionDeniedError,
    RateLimitedError,
    Report,
    RetryPolicy,
    Timeouts,
)
from clarus_async.simulator import Endpoint, Fault, FaultKind, Quota, Simulator
from tests.support.builders import client_of, collect, shops
from tests.support.stub_server import StubServer, created, reply
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
    async def test_an_async_source(self):
        async def source():
            for shop in shops(20):
                await asyncio.sleep(1.0)
                yield shop

        async with Simulator() as sim, client_of(sim) as clarus:
            report = await Report.collect(clarus.integrations.provision(source()))
            assert report.total == report.attempts == 20
            assert report.ok

    @virtual
    async def test_no_more_on_the_wire_than_were_asked_for(self):
        most = at_once = 0

        async def answer(asked):
            nonlocal most, at_once
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(1.0)
            at_once -= 1
            return created()

        async with (
            StubServer(answer) as server,
            ClarusClient("acme", AccessToken("t"), base_url=server.url) as clarus,
        ):
            await collect(clarus.integrations.provision(shops(30), concurrency=5, existing="ignore"))
        assert most == 5

    @virtual
    async def test_several_tenants_have_a_run_each(self):
        async with Simulator(tenants=("acme", "globex", "initech")) as sim, client_of(sim) as clarus:
            views = [clarus, clarus.for_subdomain("globex"), clarus.for_subdomain("initech")]
            reports = await asyncio.gather(*(Report.collect(view.integrations.provision(shops(40))) for view in views))
            assert [report.total for report in reports] == [40, 40, 40]
            assert all(len(sim.created(view.subdomain)) == 40 for view in views)


class TestTrouble:
    @virtual
    async def test_records_of_one_name_are_told_apart_by_their_references(self):
        shops = (
            NewIntegration(name="Shop", integration_type="shopify", external_system_reference1=f"ref-{number}")
            for number in range(100)
        )
        async with Simulator(searchable_references=True, latency=5.0) as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, None, FaultKind.RESET_AFTER)
            outcomes = await collect(clarus.integrations.provision(shops, concurrency=4))
            stored = {record.external_system_reference1: record.id for record in sim.created("acme")}
            assert {outcome.key: outcome.id for outcome in outcomes} == stored

    @pytest.mark.parametrize("headers", ["none", "retry-after", "ietf"])
    @pytest.mark.parametrize("kind", ["fixed", "sliding", "bucket"])
    def test_all_get_through_a_hidden_quota(self, kind, headers):
        @virtual
        async def check():
            quota = Quota(limit=20, window=1.0, kind=kind, headers=headers)
            async with Simulator(quota=quota, latency=0.02) as sim, client_of(sim) as clarus:
                report = await Report.collect(clarus.integrations.provision(shops(120), concurrency=32))
                assert report.counts[OutcomeStatus.CREATED] == report.total == 120
                assert len(sim.created("acme")) == 120

        check()

    @virtual
    async def test_what_may_be_there_is_looked_up_and_sent_once(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, None, FaultKind.RESET_AFTER, FaultKind.ERROR_AFTER, FaultKind.NOT_JSON)
            outcomes = await collect(clarus.integrations.provision(shops(10), concurrency=1))
            by_key = {outcome.key: outcome for outcome in outcomes}
            adopted = {key for key, outcome in by_key.items() if outcome.status is OutcomeStatus.ADOPTED}
            assert adopted == {"ref-1", "ref-2", "ref-3"}
            assert {by_key[key].matched_by for key in adopted} == {"name"}
            stored = {record.external_system_reference1: record.id for record in sim.created("acme")}
            assert {key: outcome.id for key, outcome in by_key.items()} == stored
            assert set(Counter(record.name for record in sim.created("acme")).values()) == {1}
            assert len(sim.created("acme")) == 10

    @virtual
    async def test_what_is_refused_is_failed_with_the_reason(self):
        async with Simulator(unique_references=True) as sim, client_of(sim) as clarus:
            sim.preload("acme", [{"name": "x", "integration_type": "y", "external_system_reference1": "ref-2"}])
            outcomes = await collect(clarus.integrations.provision(shops(5)))
            [failed] = [outcome for outcome in outcomes if not outcome.status.ok]
            assert failed.key == "ref-2"
            assert failed.status is OutcomeStatus.FAILED
            assert (failed.error.type, failed.error.status) == ("ValidationError", 422)
            assert failed.attempts == 1

    @virtual
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

    @virtual
    async def test_a_duplicate_key_is_not_sent(self):
        async with Simulator() as sim, client_of(sim) as clarus:
            report = await Report.collect(clarus.integrations.provision([*shops(3), *shops(3)]))
            assert report.counts[OutcomeStatus.CREATED] == report.counts[OutcomeStatus.FAILED] == 3
            assert sim.count(Endpoint.CREATE) == 3


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
    def test_it_stops_the_intake_and_is_raised_at_the_end(self, make, error, existing):
        @virtual
        async def check():
            async with Simulator(latency=0.1) as sim, make(sim) as clarus:
                outcomes = []
                pulled = 0

                def source():
                    nonlocal pulled
                    for shop in shops(1000):
                        pulled += 1
                        yield shop

                run = clarus.integrations.provision(source(), concurrency=8, existing=existing)
                with pytest.raises(error):
                    async for outcome in run:
                        outcomes += [outcome]
                assert pulled <= READ_AHEAD
                assert len(outcomes) == run.begun <= 16
                assert {outcome.status for outcome in outcomes} <= {OutcomeStatus.FAILED}
                assert sim.created("acme") == []
                assert workers() == []

        check()

    @virtual
    async def test_what_was_in_flight_is_finished_first(self):
        async with Simulator(latency=5.0) as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, None, None, FaultKind.FORBIDDEN)
            outcomes = []
            with pytest.raises(PermissionDeniedError):
                async for outcome in clarus.integrations.provision(shops(100), concurrency=4):
                    outcomes += [outcome]
            made = [outcome for outcome in outcomes if outcome.status.ok]
            assert len(made) == len(sim.created("acme")) >= 3
            assert len(outcomes) == sim.count(Endpoint.CREATE) <= 8

    async def test_a_certificate_that_nobody_vouches_for(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        async with Simulator(ssl_context=context) as sim, client_of(sim) as clarus:
            run = clarus.integrations.provision(shops(100), concurrency=4)
            with pytest.raises(ConfigurationError, match="certificate"):
                await collect(run)
            assert run.report.total <= 8
            assert sim.count() == 0

    @virtual
    async def test_one_of_several_tenants_stops_no_other(self):
        async with Simulator(latency=0.1) as sim, client_of(sim) as clarus:
            nobody = clarus.for_subdomain("nobody")
            good, bad = await asyncio.gather(
                Report.collect(clarus.integrations.provision(shops(50))),
                Report.collect(nobody.integrations.provision(shops(50))),
                return_exceptions=True,
            )
            assert good.ok
            assert isinstance(bad, PermissionDeniedError)


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
    async def test_stop_lets_what_is_on_the_wire_end(self):
        async with Simulator(latency=1.0) as sim, client_of(sim) as clarus:
            run = clarus.integrations.provision(shops(1000), concurrency=8)
            outcomes = []
            async for outcome in run:
                outcomes.append(outcome)
                run.stop()
            assert len(outcomes) == len(sim.created("acme"))
            assert len(outcomes) <= 16
            assert all(outcome.status.ok for outcome in outcomes)

    @virtual
    async def test_stop_while_the_source_is_silent(self):
        async def silent():
            for shop in shops(2):
                yield shop
            await asyncio.sleep(100_000.0)

        async with Simulator() as sim, client_of(sim) as clarus:
            run = clarus.integrations.provision(silent(), concurrency=4)
            reading = asyncio.ensure_future(collect(run))
            await asyncio.sleep(10.0)
            run.stop()
            assert len(await reading) == 2
            assert now() == 10.0
            assert len(sim.created("acme")) == 2


class TestNothingPilesUp:
    @virtual
    async def test_a_slow_reader_stops_the_sending(self):
        async with (
            Simulator() as sim,
            client_of(sim) as clarus,
            clarus.integrations.provision(shops(1000), concurrency=4) as run,
        ):
            await anext(run)
            await asyncio.sleep(1000.0)
            assert sim.count(Endpoint.CREATE) <= 1 + 2 * 4

    @virtual
    async def test_a_slow_source_holds_back_no_outcome(self):
        async def slow():
            for shop in shops(3):
                yield shop
                await asyncio.sleep(60.0)

        async with Simulator() as sim, client_of(sim) as clarus:
            times = []
            async for _ in clarus.integrations.provision(slow(), concurrency=8):
                times += [now()]
            assert times == pytest.approx([0.0, 60.0, 120.0], abs=1.0)

    @virtual
    async def test_a_paused_tenant_does_not_make_the_run_read_on(self):
        pulled = 0

        def source():
            nonlocal pulled
            for shop in shops(1000):
                pulled += 1
                yield shop

        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, *[Fault(FaultKind.RATE_LIMITED, retry_after=60)] * 4)
            async with clarus.integrations.provision(source(), concurrency=4) as run:
                reading = asyncio.ensure_future(anext(run))
                await asyncio.sleep(30.0)
                assert pulled <= READ_AHEAD
                assert 1 <= sim.count(Endpoint.CREATE) <= 4
                reading.cancel()
            await settle()


class TestRetries:
    @virtual
    async def test_attempts_are_counted_in_the_report(self):
        retry = RetryPolicy(base=0.001)
        async with Simulator() as sim, client_of(sim, retry=retry) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=1), None, FaultKind.UNAUTHORIZED)
            report = await Report.collect(clarus.integrations.provision(shops(3), concurrency=1))
            assert report.ok
            assert report.attempts == sim.count(Endpoint.CREATE) == 5

    @virtual
    async def test_a_pause_longer_than_the_deadline_fails_nobody(self):
        async with Simulator() as sim, client_of(sim, timeouts=Timeouts(deadline=10.0)) as clarus:
            sim.script(Endpoint.CREATE, None, *[Fault(FaultKind.RATE_LIMITED, retry_after=50)] * 6)
            outcomes = await collect(clarus.integrations.provision(shops(20), concurrency=4))
            assert {outcome.status.value for outcome in outcomes} == {"created"}
            assert len(outcomes) == len(sim.created("acme")) == 20
            assert now() > 100.0

    @virtual
    async def test_the_deadline_goes_on_when_the_wait_is_over(self):
        async with Simulator() as sim, client_of(sim, timeouts=Timeouts(deadline=10.0)) as clarus:
            stall = Fault(FaultKind.STALL_BEFORE, delay=1000.0)
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=100), stall)
            [outcome] = await collect(clarus.integrations.provision(shops(1)))
            # Given up after the ten seconds that were left, and sent again when it was settled that it is not there.
            times = [entry.at for entry in sim.requests if entry.endpoint is Endpoint.CREATE]
            assert times == pytest.approx([times[0], times[0] + 100.0, times[0] + 110.0 + 60.0], abs=6.0)
            assert (outcome.status, outcome.attempts) == (OutcomeStatus.CREATED, 3)

    @virtual
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
            assert (await Report.collect(clarus.integrations.provision(source(rest)))).ok
            ledger = Counter(record.external_system_reference1 for record in sim.created("acme"))
            assert ledger == Counter({shop.key: 1 for shop in shops(100)})

    @virtual
    async def test_a_run_that_begins_in_a_pause_longer_than_max_wait_sends_nothing(self):
        async with Simulator() as sim, client_of(sim, pacing=PacingPolicy(max_wait=60.0)) as clarus:
            sim.script(Endpoint.GRAPHQL, Fault(FaultKind.RATE_LIMITED, retry_after=600))
            with pytest.raises(RateLimitedError):
                await clarus.ping()
            before = sim.count()
            run = clarus.integrations.provision(shops(100), concurrency=4)
            with pytest.raises(RateLimitedError, match="max_wait"):
                await collect(run)
            assert run.report.total == run.begun == 0
            assert sim.count() == before

    @virtual
    async def test_one_that_looks_at_nothing_before_says_so_of_those_that_it_began(self):
        async with Simulator() as sim, client_of(sim, pacing=PacingPolicy(max_wait=60.0)) as clarus:
            sim.script(Endpoint.GRAPHQL, Fault(FaultKind.RATE_LIMITED, retry_after=600))
            with pytest.raises(RateLimitedError):
                await clarus.ping()
            before = sim.count()
            run = clarus.integrations.provision(shops(100), concurrency=4, existing="ignore")
            with pytest.raises(RateLimitedError, match="max_wait"):
                await collect(run)
            assert 1 <= run.report.total == run.report.counts[OutcomeStatus.FAILED] <= 4
            assert sim.count() == before

    @virtual
    async def test_a_pause_of_one_tenant_ends_no_run_of_another(self):
        async with (
            Simulator(tenants=("acme", "globex"), latency=0.1) as sim,
            client_of(sim, pacing=PacingPolicy(max_wait=60.0)) as clarus,
        ):
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=600, tenant="acme"))
            globex = clarus.for_subdomain("globex")
            ended, report = await asyncio.gather(
                Report.collect(clarus.integrations.provision(shops(50))),
                Report.collect(globex.integrations.provision(shops(50))),
                return_exceptions=True,
            )
            assert isinstance(ended, RateLimitedError)
            assert report.counts[OutcomeStatus.CREATED] == 50

    @virtual
    async def test_a_server_that_says_nothing_but_no_ends_the_run(self):
        async with (
            StubServer(lambda asked: reply({"error": "gone"}, 401)) as server,
            ClarusClient("acme", AccessToken("t"), base_url=server.url) as clarus,
        ):
            with pytest.raises(AuthenticationError, match="no way to get another"):
                await collect(clarus.integrations.provision(shops(100), concurrency=4))
            assert len(server.asked) <= 8
