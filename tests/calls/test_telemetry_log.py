"""The log: one line at INFO for a call that was retried or failed, DEBUG for everything else."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from clarus_async import ClarusClient, ClarusError, NewIntegration
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator
from tests.support.builders import client_of
from tests.support.stub_server import StubServer, bearer, reply
from tests.support.virtual import virtual

SHOP = NewIntegration(name="Shop", integration_type="shopify")


def lines(caplog, level=logging.INFO):
    """What our loggers said at this level and above."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.partition(".")[0] == "clarus_async" and record.levelno >= level
    ]


@pytest.fixture(autouse=True)
def everything(caplog):
    caplog.set_level(logging.DEBUG)


class TestInfo:
    @virtual
    async def test_a_call_that_goes_well_says_nothing(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            await clarus.integrations.create(SHOP)
        assert lines(caplog) == []

    @virtual
    async def test_a_call_that_was_retried_says_one_line(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.GRAPHQL, FaultKind.HTML_502, FaultKind.RESET_BEFORE)
            await clarus.ping()
        [line] = lines(caplog)
        assert re.fullmatch(
            r"ping for acme: ok, status 200, applied yes, attempts 3, \d+\.\d{3} s, request id req-\d+", line
        )

    @virtual
    async def test_a_call_that_failed_says_one_line(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            with pytest.raises(ClarusError):
                await clarus.integrations.delete(404)
        [line] = lines(caplog)
        assert re.fullmatch(
            r"delete for acme: NotFoundError, status 404, applied no, attempts 1, \d+\.\d{3} s, request id req-\d+",
            line,
        )

    @virtual
    async def test_a_call_whose_outcome_is_unknown_says_so(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
            with pytest.raises(ClarusError):
                await clarus.integrations.create(SHOP, on_unknown="raise")
        [line] = lines(caplog)
        assert "OutcomeUnknownError" in line
        assert "applied maybe" in line

    @virtual
    async def test_a_call_that_waited_for_the_pace_says_one_line(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.RATE_LIMITED, retry_after=3))
            await clarus.integrations.create(SHOP)
        [line] = lines(caplog)
        assert "attempts 2" in line

    @virtual
    async def test_a_call_that_was_cancelled_says_one_line(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=9.0))
            task = asyncio.ensure_future(clarus.integrations.create(SHOP))
            await asyncio.sleep(1.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        [line] = lines(caplog)
        assert "CancelledError" in line
        assert "applied maybe" in line

    @virtual
    async def test_a_create_that_looked_before_it_went_again_says_one_line_of_its_own(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            sim.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=3))
            await clarus.integrations.create(SHOP)
        assert [line.partition(" ")[0] for line in lines(caplog)] == ["create"]

    @virtual
    async def test_a_thousand_records_that_go_well_say_nothing(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            specs = (NewIntegration(name=f"Shop {n}", integration_type="shopify") for n in range(200))
            assert len([outcome async for outcome in clarus.integrations.provision(specs)]) == 200
        assert lines(caplog) == []

    @virtual
    async def test_a_line_names_its_tenant(self, caplog):
        async with Simulator(tenants=("acme", "globex")) as sim, client_of(sim) as clarus:
            with pytest.raises(ClarusError):
                await clarus.for_subdomain("globex").integrations.delete(404)
        [line] = lines(caplog)
        assert line.startswith("delete for globex: ")


class TestDebug:
    @virtual
    async def test_each_attempt_and_each_call_has_a_line(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            await clarus.ping()
        attempt, call = lines(caplog, logging.DEBUG)
        assert attempt.startswith("attempt 1 of ping: 200 after ")
        assert call.startswith("ping for acme: ok")

    @virtual
    async def test_a_request_id_can_not_write_lines_of_its_own(self, caplog):
        def answer(asked):
            return reply({"error": "x"}, 404, "X-Request-Id: r-1\tforged \x1b[31mline")

        async with (
            StubServer(answer, lambda asked: bearer("t")) as server,
            ClarusClient("acme", Simulator().credentials, base_url=server.url) as clarus,
        ):
            with pytest.raises(ClarusError) as raised:
                await clarus.integrations.delete(1)
        assert "\x1b" not in str(raised.value)
        assert not any("\x1b" in line or "\t" in line for line in lines(caplog))


class TestLoggers:
    @virtual
    async def test_every_line_is_under_our_name(self, caplog):
        async with Simulator() as sim, client_of(sim) as clarus:
            await clarus.ping()
        ours = [record.name for record in caplog.records if record.name.startswith("clarus")]
        assert set(ours) == {"clarus_async"}

    def test_we_configure_nothing(self):
        logger = logging.getLogger("clarus_async")
        assert logger.handlers == [] or all(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
        assert logger.propagate

    @virtual
    async def test_a_filter_that_raises_is_not_ours_to_catch_but_loses_no_slot(self):
        class Raising(logging.Filter):
            def filter(self, record):
                raise RuntimeError("the log is broken")

        logger = logging.getLogger("clarus_async")
        filter_ = Raising()
        async with Simulator() as sim, client_of(sim) as clarus:
            logger.addFilter(filter_)
            try:
                with pytest.raises(RuntimeError):
                    await clarus.ping()
            finally:
                logger.removeFilter(filter_)
            assert clarus._caller.core.connections.busy == 0
            await clarus.ping()
