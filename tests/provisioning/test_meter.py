"""What a run tells of how it goes on, against what it comes to: client and simulator in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC
from typing import NamedTuple

import pytest

from clarus_async import Bottleneck, ClarusClient, PacingPolicy, Progress
from clarus_async.simulator import Endpoint, Fault, FaultKind, Quota, Simulator
from tests.support.builders import shops
from tests.support.virtual import now, run_virtually
from tests.support.virtual_world import VirtualDate, virtual_world

QUOTA = Quota(limit=100, window=1.0, headers="retry-after")
LATENCY = 0.05
# Of a rate that is given, a stray refusal teaches nothing: it costs its Retry-After.
GIVEN = {"quota": None, "policy": PacingPolicy(rate=100.0, burst=20)}


class Told(NamedTuple):
    """What was told, when, and when the run ended."""

    told: list[tuple[float, Progress, int]]
    end: float

    def half(self, *, of_time: bool = False, of_records: int = 0) -> tuple[float, Progress, int]:
        return next(each for each in self.told if (each[0] >= self.end / 2 if of_time else each[2] >= of_records))

    def off(self, each: tuple[float, Progress, int]) -> float:
        """By which part of the time that is left it is wrong; a few seconds are right."""
        at, progress, _ = each
        assert progress.eta is not None
        left = self.end - at
        return 0.0 if abs(progress.eta - left) <= 3.0 else (progress.eta - left) / left


class Counted:
    """An input that is slow, and knows its length."""

    def __init__(self, records, seconds):
        self.records, self.seconds = records, seconds

    def __len__(self):
        return len(self.records)

    async def __aiter__(self):
        for record in self.records:
            await asyncio.sleep(random.expovariate(1 / self.seconds) if self.seconds else 0.0)
            yield record


def watch(
    seed=0, *, records=1000, lost=0.05, applied=0.0, quota=QUOTA, policy=None, pause=0.0, journal=None, slow=0.0,
    reader=0.0, concurrency=64, on_look=lambda at, progress: None,
):  # fmt: skip
    """Provision, and look twice a second."""
    result = []

    async def main():
        random.seed(seed)
        faults = [
            Fault(kind, endpoint=Endpoint.CREATE, probability=share)
            for kind, share in ((FaultKind.RESET_BEFORE, lost * (1 - applied)), (FaultKind.RESET_AFTER, lost * applied))
            if share
        ]
        new = shops(records)
        async with Simulator(quota=quota, seed=seed, latency=LATENCY, token_lifetime=None, keep_requests=1) as server:
            pacing = policy or PacingPolicy()
            async with ClarusClient("acme", server.credentials, base_url=server.url, pacing=pacing) as clarus:
                if journal is not None:
                    async for _ in clarus.integrations.provision(new[: records // 2], journal=journal):
                        pass
                server.set_faults(faults)
                began, told = now(), []
                source = Counted(new, slow) if slow else new
                run = clarus.integrations.provision(source, journal=journal, concurrency=concurrency)

                async def look():
                    while True:
                        progress = run.progress
                        told.append((now() - began, progress, progress.report.total))
                        on_look(now() - began, progress)
                        await asyncio.sleep(0.5)

                looking = asyncio.create_task(look())
                if pause:
                    refused = Fault(FaultKind.RATE_LIMITED, retry_after=pause)
                    asyncio.get_running_loop().call_later(4.0, server.script, Endpoint.CREATE, refused)
                async for _ in run:
                    await asyncio.sleep(reader)
                looking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await looking
                result.append(Told(told, now() - began))
                assert run.progress.eta == 0.0
                assert run.progress.bottleneck is None

    with virtual_world(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("clarus_async.provisioning.meter.datetime", VirtualDate)
        run_virtually(main)
    return result[0]


def limits(told):
    """What limited it in the middle third."""
    return {progress.bottleneck for at, progress, _ in told.told if told.end / 3 < at < told.end * 2 / 3}


class TestTheEnd:
    @pytest.mark.parametrize("seed", range(3))
    def test_with_lost_answers_it_is_known_within_a_third_from_the_middle_on(self, seed):
        told = watch(seed)
        assert told.end > 120.0
        assert abs(told.off(told.half(of_records=500))) <= 0.3
        assert abs(told.off(told.half(of_time=True))) <= 0.3

    @pytest.mark.parametrize(
        ("what", "bottleneck"),
        [
            ({"lost": 0.0, "records": 3000}, Bottleneck.RATE_LIMIT),
            ({"lost": 0.0, "records": 2000} | GIVEN, Bottleneck.RATE_LIMIT),
            ({"lost": 0.0, "quota": None, "concurrency": 1, "records": 300}, Bottleneck.SERVER),
            ({"lost": 0.0, "quota": None, "slow": 0.1, "records": 300}, Bottleneck.INPUT),
            ({"lost": 0.0, "quota": None, "reader": 0.1, "records": 600, "concurrency": 8}, Bottleneck.READER),
            ({"lost": 0.0, "pause": 60.0, "records": 1500} | GIVEN, Bottleneck.RATE_LIMIT),
        ],
        ids=["learned", "given", "one at a time", "slow input", "slow reader", "a pause"],
    )  # fmt: skip
    def test_it_is_known_and_what_limits_it_is_said(self, what, bottleneck):
        told = watch(**what)
        for half in (told.half(of_records=what["records"] // 2), told.half(of_time=True)):
            assert abs(told.off(half)) <= 0.3, half
        assert limits(told) == {bottleneck}

    def test_what_a_journal_had_does_not_count(self, tmp_path):
        told = watch(lost=0.0, journal=tmp_path / "run.db", records=2000)
        at, progress, _ = told.half(of_time=True)
        assert abs(told.off((at, progress, 0))) <= 0.3
        assert progress.recent_rate == pytest.approx(100.0, rel=0.15)
        # The record's own rate is since the beginning, and less is known of the first second.
        assert progress.total == 2000

    def test_while_it_is_paused_it_says_so_and_until_when(self):
        told = watch(lost=0.0, pause=60.0, **GIVEN)
        paused = [(at, progress) for at, progress, _ in told.told if progress.paused_until is not None]
        assert len(paused) > 100
        for at, progress in paused[5:]:
            until = (progress.paused_until - VirtualDate.started).total_seconds()
            assert until == pytest.approx(paused[5][0] + 60.0, abs=5.0)
            assert progress.paused_until.tzinfo is UTC
            assert progress.bottleneck is Bottleneck.RATE_LIMIT
            assert progress.eta == pytest.approx(told.end - at, rel=0.3, abs=3.0)

    def test_in_doubt_until_when_is_when_they_are_settled(self):
        told = watch()
        _, progress, _ = told.half(of_time=True)
        assert progress.in_doubt > 0
        assert progress.settles_at is not None
        assert (progress.settles_at - VirtualDate.started).total_seconds() == pytest.approx(told.end, abs=25.0)
