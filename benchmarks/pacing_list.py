"""Every scenario by name, with what it is to come to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.pacing_machine import beside_a_throttled_one, unlimited
from benchmarks.pacing_peers import PEERS, compare
from benchmarks.pacing_report import Cell
from benchmarks.pacing_scenarios import Change, Wanted, calms, changing, reaches, steady, together, told
from clarus_async.simulator import Quota


class Scenario(NamedTuple):
    """Something to measure.

    Args:
        name: for the command line.
        table: where its row goes.
        title: in words.
        seconds: it takes about as long.
        run: does it.
        quick: whether it is one of the short ones.
        alone: whether nothing else may run beside it.
    """

    name: str
    table: str
    title: str
    seconds: float
    run: Callable[[], dict[str, Cell]]
    quick: bool = False
    alone: bool = False


def scenarios(scale: float = 1.0) -> dict[str, Scenario]:
    """Return all, in the order of their tables.

    Args:
        scale: the part of the creates and seconds that is done, to try the benchmark itself.
    """
    found = [*_peers(scale), *_targets(scale), *_headers(scale), *_machine(scale), *_times(scale)]
    return {scenario.name: scenario for scenario in found}


def _number(full: int, scale: float) -> int:
    return max(2, round(full * scale))


def _peers(scale: float) -> list[Scenario]:
    number = _number(1_000, scale)
    seconds = number / 50
    ours = Scenario("peer-clarus-async", "peers", "clarus_async", seconds, partial(compare, number, None), quick=True)
    return [
        ours,
        *(
            Scenario(
                f"peer-{peer.__name__.replace('_', '-')}",
                "peers",
                title,
                seconds,
                partial(compare, number, peer),
                quick=True,
            )
            for title, peer in PEERS.items()
        ),
    ]


def _targets(scale: float) -> list[Scenario]:
    def job(
        name: str, title: str, quota: Quota, creates: int, goodput: float, share: float, *, quick: bool = False
    ) -> Scenario:
        number = _number(creates, scale)
        seconds = number / quota.limit * quota.window
        run = partial(steady, quota, number, Wanted(goodput, share))
        return Scenario(name, "targets", f"{title}, {number:,} creates", seconds, run, quick)

    hundred = Quota(limit=100, window=1.0, kind="sliding")
    ten = Quota(limit=10, window=1.0, kind="sliding")
    five = Quota(limit=5, window=1.0, kind="sliding")
    bucket = Quota(limit=50, window=1.0, kind="bucket")
    minute = Quota(limit=600, window=60.0, kind="fixed")
    shared = Quota(limit=100, window=1.0, kind="sliding", scope="account")
    return [
        job("sliding-100", "100/s sliding", hundred, 20_000, 0.97, 0.01),
        job("sliding-100-cold", "100/s sliding, cold", hundred, 1_000, 0.93, 0.02, quick=True),
        job("bucket-50", "token bucket 50/s", bucket, 10_000, 0.98, 0.01),
        job("fixed-600", "600 a minute, fixed window", minute, 6_000, 0.95, 0.03),
        job("sliding-10-cold", "10/s sliding, cold", ten, 150, 0.92, 0.05, quick=True),
        job("sliding-5", "5/s sliding", five, 600, 0.95, 0.03),
        Scenario(
            "four-processes",
            "targets",
            f"four processes on 100/s sliding, the last {60 * scale:g} of {180 * scale:g} s",
            180 * scale,
            partial(together, shared, 4, 180 * scale, 60 * scale, Wanted(0.95, 0.03), 0.98),
        ),
    ]


def _headers(scale: float) -> list[Scenario]:
    number = _number(700, scale)
    quotas = [Quota(limit=50, window=1.0, kind="sliding", headers=h) for h in ("retry-after", "x-ratelimit", "ietf")]
    return [
        Scenario(
            f"headers-{quota.headers}",
            "headers",
            f"{quota.headers}, 50/s sliding, cold, {number} creates",
            number / quota.limit,
            partial(told, quota, number, Wanted(0.95, 0.005)),
            quick=True,
        )
        for quota in quotas
    ]


def _machine(scale: float) -> list[Scenario]:
    number = _number(50_000, scale)
    return [
        Scenario(
            "no-quota",
            "machine",
            f"no quota: {number:,} creates with pacing against {number:,} without",
            number / 500,
            partial(unlimited, number, _number(100, scale)),
            alone=True,
        ),
        Scenario(
            "ten-tenants",
            "machine",
            f"ten tenants on one client, one at 1/s: {number:,} creates of the nine with it against {number:,} without",
            number / 500,
            partial(beside_a_throttled_one, 10, number, _number(50, scale), 0.02),
            alone=True,
        ),
    ]


def _times(scale: float) -> list[Scenario]:
    fifty, half, double = (Quota(limit=limit, window=1.0, kind="sliding") for limit in (50, 25, 100))
    # Scaled less than the rest: what is looked for takes its seconds.
    warm, after = 20 * scale, max(8.0, 20 * scale)
    cold = Change(fifty, None, 0.0, after)
    halved, doubled = Change(fifty, half, warm, after), Change(fifty, double, warm, after)
    return [
        Scenario(
            "cold-start",
            "times",
            "cold start to 90 % of 50/s",
            after,
            partial(changing, cold, reaches(fifty, 0.9), 5.0),
        ),
        Scenario(
            "halved",
            "times",
            "50/s halved: until 429s are under 5 %",
            warm + after,
            partial(changing, halved, calms(0.05), 5.0),
        ),
        Scenario(
            "doubled",
            "times",
            "50/s doubled: to 90 % of 100/s",
            warm + after,
            partial(changing, doubled, reaches(double, 0.9), 10.0),
        ),
    ]
