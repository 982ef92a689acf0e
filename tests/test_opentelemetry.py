"""What OpenTelemetry is told: the spans and metrics of its own SDK, of calls that were really made."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.trace import StatusCode

from clarus_async import ClarusError, NewIntegration
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
