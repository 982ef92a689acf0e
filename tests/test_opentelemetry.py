"""What OpenTelemetry's own SDK is told of calls that were really made, and whose they are."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from clarus_async import AttemptEvent, ClarusClient, ClarusError, NewIntegration, PacingPolicy
from clarus_async import opentelemetry as module
from clarus_async.opentelemetry import OpenTelemetryObserver
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.exported import Exported, client_of, seconds, server_of
from tests.support.virtual import virtual

SHOP = NewIntegration(name="Shop", integration_type="shopify")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class TestCalls:
    @virtual
    async def test_one_that_went_well(self):
        exported = Exported()
        async with Simulator(latency=1.0) as sim, client_of(sim, exported) as clarus:
            await clarus.ping()
            exported.forget()
            await clarus.integrations.create(SHOP)
            [call], [request] = exported.calls, exported.requests
            assert call.name == "clarus create"
            assert dict(call.attributes) == {**server_of(sim), "clarus.operation": "create"}
            assert (call.parent, call.status.status_code, call.events) == (None, StatusCode.UNSET, ())
            assert request.name == "POST /api/integrations"
            assert dict(request.attributes) == {
                **server_of(sim),
                "http.request.method": "POST",
                "url.template": "/api/integrations",
                "http.response.status_code": 200,
                "http.response.header.x-request-id": (sim.requests[-1].request_id,),
                "clarus.proves": "done",
            }
            assert exported.under(call) == [request]
            assert request.status.status_code is StatusCode.UNSET
            assert (seconds(call), seconds(request)) == (1.0, 1.0)

    @virtual
    async def test_its_metrics(self):
        exported = Exported()
        async with Simulator(latency=1.0) as sim, client_of(sim, exported) as clarus:
            for _ in range(3):
                await clarus.integrations.create(SHOP)
            [(attributes, point)] = exported.metric("http.client.request.duration")
            assert attributes == {
                **server_of(sim),
                "http.request.method": "POST",
                "url.template": "/api/integrations",
                "http.response.status_code": 200,
            }
            assert (point.count, point.sum, point.explicit_bounds) == (3, 3.0, BUCKETS)
            [(attributes, point)] = exported.metric("clarus.client.call.duration")
            assert attributes == {**server_of(sim), "clarus.operation": "create"}
            # The first one waited for its token.
            assert (point.count, point.sum) == (3, 4.0)

    @virtual
    async def test_one_that_was_retried(self):
        exported = Exported()
        async with Simulator(latency=1.0) as sim, client_of(sim, exported) as clarus:
            await clarus.ping()
            exported.forget()
            sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502, FaultKind.RESET_BEFORE)
            await clarus.ping()
            [call] = exported.calls
            assert exported.under(call) == exported.requests
            assert [
                (span.attributes.get("http.request.resend_count"), span.attributes.get("error.type"))
                for span in exported.requests
            ] == [(None, "502"), (1, "connection_lost"), (2, None)]
            statuses = [span.status.status_code for span in exported.requests]
            assert statuses == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
            assert call.status.status_code is StatusCode.UNSET
            first, _, last = exported.requests
            assert (call.start_time, call.end_time) == (first.start_time, last.end_time)
            assert len(exported.metric("http.client.request.duration")) == 3

    @virtual
    async def test_one_that_failed(self):
        exported = Exported()
        async with Simulator() as sim, client_of(sim, exported) as clarus:
            with pytest.raises(ClarusError):
                await clarus.integrations.delete(404)
            [call], [request] = exported.calls, exported.requests
            assert (call.attributes["error.type"], call.attributes["clarus.applied"]) == ("NotFoundError", "no")
            assert (request.attributes["error.type"], request.name) == ("404", "DELETE /api/integrations/{id}")
            assert {call.status.status_code, request.status.status_code} == {StatusCode.ERROR}
            [(attributes, _)] = exported.metric("clarus.client.call.duration")
            assert attributes["error.type"] == "NotFoundError"

    @virtual
    async def test_one_whose_outcome_is_unknown(self):
        exported = Exported()
        async with Simulator() as sim, client_of(sim, exported) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            with pytest.raises(ClarusError):
                await clarus.integrations.create(SHOP, on_unknown="raise")
            [call], [request] = exported.calls, exported.requests
            assert (call.attributes["error.type"], call.attributes["clarus.applied"]) == (
                "OutcomeUnknownError",
                "maybe",
            )
            assert (request.attributes["error.type"], request.attributes["clarus.proves"]) == (
                "connection_lost",
                "unknown",
            )
            assert "http.response.status_code" not in request.attributes

    @virtual
    async def test_one_that_was_cancelled(self):
        exported = Exported()
        async with Simulator() as sim, client_of(sim, exported) as clarus:
            await clarus.ping()
            exported.forget()
            sim.script(Endpoint.DELETE, FaultKind.HTML_502, Fault(FaultKind.STALL_AFTER, delay=20.0))
            task = asyncio.ensure_future(clarus.integrations.delete(1))
            await asyncio.sleep(3.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            [call], [refused, cancelled] = exported.calls, exported.requests
            assert (call.attributes["error.type"], call.attributes["clarus.applied"]) == ("CancelledError", "maybe")
            assert call.status.status_code is StatusCode.ERROR
            assert refused.attributes["error.type"] == "502"
            assert cancelled.attributes["error.type"] == "cancelled"
            # It has no answer, and not that of the one before it.
            assert "http.response.status_code" not in cancelled.attributes
            assert seconds(call) == 3.0
            assert cancelled.end_time == call.end_time

    @virtual
    async def test_nothing_is_kept_of_what_has_ended(self):
        exported = Exported()
        async with Simulator() as sim, client_of(sim, exported) as clarus:
            sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502)
            await clarus.ping()
            assert clarus._caller._telemetry._observer._events == {}


class TestWaits:
    @virtual
    async def test_for_a_token(self):
        exported = Exported()
        async with Simulator(token_lifetime=600.0, latency=2.0) as sim, client_of(sim, exported) as clarus:
            with exported.tracer.start_as_current_span("caller") as caller:
                await clarus.ping()
            assert exported.waits == {"token": (2.0, 1)}
            [token] = exported.tokens
            assert (seconds(token), token.parent.span_id) == (2.0, caller.get_span_context().span_id)
            [call] = exported.calls
            [waited] = call.events
            assert (waited.name, dict(waited.attributes)) == (
                "clarus.wait",
                {"clarus.wait.reason": "token", "clarus.wait.duration": 2.0},
            )
            assert waited.timestamp == call.start_time
            await asyncio.sleep(700.0)
            await clarus.ping()
            assert exported.waits == {"token": (4.0, 2)}

    @virtual
    async def test_a_token_that_did_not_come(self):
        exported = Exported()
        async with Simulator() as sim, client_of(sim, exported) as clarus:
            sim.script(Endpoint.TOKEN, *[FaultKind.HTML_502] * 9)
            with pytest.raises(ClarusError) as raised:
                await clarus.ping()
            [token], [call] = exported.tokens, exported.calls
            failure = type(raised.value).__name__
            assert token.attributes["error.type"] == call.attributes["error.type"] == failure
            assert (token.status.status_code, exported.requests) == (StatusCode.ERROR, [])

    @virtual
    async def test_for_the_pace(self):
        exported = Exported()
        async with Simulator() as sim, client_of(sim, exported) as clarus:
            await clarus.ping()
            exported.forget()
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=9))
            await clarus.integrations.create(SHOP)
            assert exported.waits["pace"] == (pytest.approx(9.0, abs=0.1), 1)
            refused, sent = exported.requests
            assert (refused.attributes["error.type"], refused.attributes["clarus.proves"]) == ("429", "rejected")
            assert sent.attributes["http.request.resend_count"] == 1
            [call] = exported.calls
            assert [event.attributes["clarus.wait.reason"] for event in call.events] == ["pace"]

    @virtual
    async def test_for_a_connection(self):
        exported = Exported()
        async with Simulator(latency=1.0) as sim, client_of(sim, exported, max_connections=1) as clarus:
            await clarus.ping()
            await asyncio.gather(clarus.ping(), clarus.ping())
            assert exported.waits["connection"] == (1.0, 1)

    @virtual
    async def test_one_that_is_cut_short(self):
        exported = Exported()
        async with Simulator() as sim, client_of(sim, exported) as clarus:
            sim.script(Endpoint.TOKEN, Fault(FaultKind.STALL_BEFORE, delay=20.0))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3.0):
                    await clarus.ping()
            assert exported.waits == {"token": (3.0, 1)}
            assert exported.requests == []


PACE = "clarus.client.pace.rate"


class TestParents:
    @virtual
    async def test_two_calls_interleaved_in_one_loop(self):
        exported = Exported()

        async def work(clarus, name):
            with exported.tracer.start_as_current_span(name) as span:
                for _ in range(3):
                    await clarus.ping()
                    await asyncio.sleep(0.1)
            return span.get_span_context().span_id

        async with Simulator(latency=1.0) as sim, client_of(sim, exported) as clarus:
            sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502)
            parents = await asyncio.gather(work(clarus, "a"), work(clarus, "b"))
        assert sorted(call.parent.span_id for call in exported.calls) == sorted([*parents] * 3)
        for request in exported.requests:
            [call] = [call for call in exported.calls if call.context.span_id == request.parent.span_id]
            assert call.start_time <= request.start_time <= request.end_time <= call.end_time
        assert sorted(len(exported.under(call)) for call in exported.calls) == [1, 1, 1, 1, 1, 2]

    @virtual
    async def test_a_run_is_under_the_span_that_began_it(self):
        exported = Exported()
        async with Simulator() as sim, client_of(sim, exported) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.HTML_502)
            with exported.tracer.start_as_current_span("import") as span:
                run = clarus.integrations.provision(
                    NewIntegration(name=f"Shop {n}", integration_type="shopify") for n in range(20)
                )
                outcomes = [outcome async for outcome in run]
            assert len(outcomes) == 20
            assert {call.parent.span_id for call in exported.calls} == {span.get_span_context().span_id}
            creates = [call for call in exported.calls if call.name == "clarus create"]
            assert sum(len(exported.under(call)) for call in exported.calls) == len(exported.requests)
            assert len(creates) == 20 + 1  # that of the 502 was sent again once it was proved not to be there
            assert len({span.context.trace_id for span in exported.spans}) == 1

    async def test_the_times_are_those_of_the_wall(self):
        exported = Exported()
        async with Simulator(latency=0.02) as sim, client_of(sim, exported) as clarus:
            await clarus.ping()
            exported.forget()
            began = time.time_ns()
            await clarus.ping()
            ended = time.time_ns()
        [call], [request] = exported.calls, exported.requests
        slack = 1_000_000  # of two clocks that are not read at the same time
        assert began - slack <= call.start_time <= request.start_time
        assert request.end_time <= call.end_time <= ended + slack
        assert seconds(request) >= 0.02

    @virtual
    async def test_an_observer_of_two_clients_keeps_their_calls_apart(self):
        exported = Exported()
        async with Simulator(latency=1.0) as one, Simulator(latency=1.5) as other:
            async with client_of(one, exported) as a, client_of(other, exported) as b:
                await asyncio.gather(a.ping(), b.integrations.create(SHOP))
                assert (a._caller.core._calls, b._caller.core._calls) == (1, 1)
            for call, request in zip(exported.calls, exported.requests, strict=True):
                assert exported.under(call) == [request]
                assert call.attributes["server.port"] == request.attributes["server.port"]
            assert [call.attributes["server.port"] for call in exported.calls] == [
                server_of(sim)["server.port"] for sim in (one, other)
            ]


class TestTenants:
    @virtual
    async def test_none_is_named(self):
        exported = Exported()
        async with Simulator(tenants=("acmecorp",)) as sim:
            pacing = PacingPolicy(rate=5.0)
            client = ClarusClient(
                "acmecorp", sim.credentials, base_url=sim.url, observer=exported.observer, pacing=pacing
            )
            async with client as clarus:
                await clarus.integrations.create(SHOP)
        assert "create" in exported.text()
        assert "acmecorp" not in exported.text()
        assert exported.metric(PACE) == []

    @virtual
    async def test_each_is_named_where_that_is_asked_for(self):
        exported = Exported(tenants=True)
        async with Simulator(tenants=("acme", "globex")) as sim, client_of(sim, exported) as clarus:
            globex = clarus.for_subdomain("globex")
            await asyncio.gather(clarus.ping(), globex.ping())
            assert sorted(span.attributes["clarus.tenant"] for span in exported.requests) == ["acme", "globex"]
            assert sorted(span.attributes["clarus.tenant"] for span in exported.calls) == ["acme", "globex"]
            named = [attributes["clarus.tenant"] for attributes, _ in exported.metric("http.client.request.duration")]
            assert sorted(named) == ["acme", "globex"]
            # Nothing limits them so far.
            assert exported.metric(PACE) == []

    @virtual
    async def test_each_has_its_pace(self):
        exported = Exported(tenants=True)
        pacing = PacingPolicy(rate=5.0)
        async with Simulator(tenants=("acme", "globex")) as sim, client_of(sim, exported, pacing=pacing) as clarus:
            await clarus.for_subdomain("globex").ping()
            [(attributes, point)] = exported.metric(PACE)
            assert attributes == {**server_of(sim), "clarus.tenant": "globex"}
            assert point.value == clarus.pace.rate == 5.0

    def test_one_that_nothing_limits_any_more_has_no_pace(self):
        exported = Exported(tenants=True)
        acme, globex = (exported.observer.for_tenant(name, "https://clarus-api.com") for name in ("acme", "globex"))
        for view, rate in ((acme, 3.0), (globex, 4.0), (acme, None)):
            view.on_event(AttemptEvent(1, "create", 1, 0.0, 1.0, 200, None, "done", None, rate))
        paces = [(attributes["clarus.tenant"], point.value) for attributes, point in exported.metric(PACE)]
        assert paces == [("globex", 4.0)]

    def test_those_that_were_told_of_last_have_one(self, monkeypatch):
        monkeypatch.setattr(module, "_MOST_PACES", 3)
        exported = Exported(tenants=True)
        for name in ("a", "b", "c", "a", "d"):
            view = exported.observer.for_tenant(name, "https://clarus-api.com")
            view.on_event(AttemptEvent(1, "create", 1, 0.0, 1.0, 200, None, "done", None, 5.0))
        assert sorted(attributes["clarus.tenant"] for attributes, _ in exported.metric(PACE)) == ["a", "c", "d"]


class TestWithout:
    @virtual
    async def test_what_is_not_sampled_is_measured_all_the_same(self):
        exported = Exported(sampler=ALWAYS_OFF)
        async with Simulator() as sim, client_of(sim, exported) as clarus:
            await clarus.ping()
        assert exported.spans == []
        assert [point.count for _, point in exported.metric("http.client.request.duration")] == [1]
        assert exported.waits["token"][1] == 1

    @virtual
    async def test_without_a_sdk_nothing_happens(self, caplog):
        with caplog.at_level(logging.WARNING):
            async with Simulator() as sim:
                observer = OpenTelemetryObserver()
                async with ClarusClient("acme", sim.credentials, base_url=sim.url, observer=observer) as clarus:
                    await clarus.ping()
        assert caplog.records == []

    @virtual
    async def test_one_that_is_told_by_another_observer_knows_no_server(self):
        exported = Exported(tenants=True)

        class Both:
            def on_event(self, event):
                exported.observer.on_event(event)

        async with Simulator() as sim:
            async with ClarusClient("acme", sim.credentials, base_url=sim.url, observer=Both()) as clarus:
                await clarus.ping()
        [call], [request], [_] = exported.calls, exported.requests, exported.tokens
        assert exported.under(call) == [request]
        assert "server.address" not in {**call.attributes, **request.attributes}

    def test_without_the_package_the_import_error_names_the_extra(self):
        code = "import sys; sys.modules['opentelemetry'] = None; import clarus_async.opentelemetry"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "ImportError: clarus_async.opentelemetry needs" in done.stderr
        assert "pip install 'clarus-async[opentelemetry]'" in done.stderr

    @pytest.mark.parametrize(
        ("url", "server"),
        [
            ("https://clarus-api.com", ("clarus-api.com", 443)),
            ("https://clarus-api.com:8443/v1", ("clarus-api.com", 8443)),
            ("http://[::1]", ("::1", 80)),
        ],
    )
    def test_a_server_has_an_address_and_a_port(self, url, server):
        view = OpenTelemetryObserver().for_tenant("acme", url)
        assert (view._attributes["server.address"], view._attributes["server.port"]) == server
