"""Scenarios that a quota bounds and not the machine: they may run beside each other."""

from __future__ import annotations

import asyncio
import contextlib
import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import attrs

from benchmarks.pacing_client import Job, Sends, client_of, create_all, records
from benchmarks.pacing_report import Cell, none_of, part, percent, ratio, share, within
from benchmarks.pacing_server import Address, Ledger, Server, serving
from clarus_async.simulator import Quota

_PATIENCE = 60.0

# What a rate or a share is taken over in the tests of time: long enough that one request more or less says nothing.
_OVER = 5.0
_STEP = 0.05


class Wanted(NamedTuple):
    """What a job of creates is to come to.

    Args:
        goodput: at least.
        share: of 429s, at the most.
    """

    goodput: float
    share: float


def _figures(job: Job, ledger: Ledger, quota: Quota, wanted: Wanted) -> dict[str, Cell]:
    figures = {
        "goodput": part(job.goodput(quota.limit / quota.window), wanted.goodput),
        "429 share": share(ledger.share(), wanted.share),
        "as it reports": Cell(percent(job.share)),
        "lost": none_of(job.lost),
        "wall": Cell(f"{job.seconds:.1f} s"),
    }
    if job.lost or ledger.others or ledger.served() != job.created:
        stored = f"{ledger.served()} stored, {job.created} reported"
        figures["beside"] = Cell(", ".join([stored, *map(str, job.errors.items()), *map(str, ledger.others.items())]))
    return figures


def steady(quota: Quota, creates: int, wanted: Wanted) -> dict[str, Cell]:
    """Do a job under one quota.

    Args:
        quota: the hidden one.
        creates: how many.
        wanted: the target.
    """

    async def run(server: Server) -> Job:
        async with client_of(server.address) as client:
            return await create_all(client, records(creates))

    with serving(quota=quota) as server:
        job = asyncio.run(run(server))
        return _figures(job, server.ledger(), quota, wanted)


def told(quota: Quota, creates: int, wanted: Wanted) -> dict[str, Cell]:
    """Do a job under a quota that answers tell of, and count the requests that come before a Retry-After has passed.

    Args:
        quota: with headers.
        creates: how many.
        wanted: the target.
    """
    sends = Sends()

    async def run(server: Server) -> Job:
        async with client_of(server.address, observer=sends) as client:
            return await create_all(client, records(creates))

    with serving(quota=quota) as server:
        job = asyncio.run(run(server))
        ledger = server.ledger()
    return _figures(job, ledger, quota, wanted) | {"before Retry-After": none_of(sends.too_early(ledger.told))}


def together(quota: Quota, clients: int, seconds: float, last: float, wanted: Wanted, fair: float) -> dict[str, Cell]:
    """Let processes that know nothing of each other share an account, and look at the last part of it.

    Args:
        quota: of the account; each process is a tenant of its own, by which the server tells them apart.
        clients: how many processes.
        seconds: how long they run.
        last: how many seconds at the end count.
        wanted: of all of them together.
        fair: Jain's index of what each was served, at least.
    """
    tenants = [f"process-{number}" for number in range(clients)]
    with serving(quota=quota, tenants=tenants) as server:
        jobs, ends_at = _in_processes(server, tenants, seconds)
        ledger = server.ledger()
    since = ends_at - last
    served = [ledger.served(since, ends_at, tenant) for tenant in tenants]
    return {
        "goodput": part(sum(served) / last / (quota.limit / quota.window), wanted.goodput),
        "429 share": share(ledger.share(since, ends_at), wanted.share),
        "as it reports": Cell("-"),
        "lost": none_of(sum(job.lost for job in jobs)),
        "wall": Cell(f"{last:.1f} s"),
        "Jain index": part(jain(served), fair),
    }


def jain(shares: Sequence[int]) -> float:
    """Return Jain's index of fairness: 1 where all have the same, 1/n where one has all.

    Args:
        shares: what each has.
    """
    squares = sum(one * one for one in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def _in_processes(server: Server, tenants: Sequence[str], seconds: float) -> tuple[list[Job], float]:
    spawn = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        pipes: list[Connection] = []
        for tenant in tenants:
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_in_a_process, args=(theirs, server.address, tenant), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(process.terminate)
            pipes.append(ours)
        for pipe in pipes:
            _receive(pipe, _PATIENCE)
        # Until all are there, none begins.
        ends_at = time.monotonic() + seconds
        for pipe in pipes:
            pipe.send(ends_at)
        jobs: list[Job] = [_receive(pipe, seconds + _PATIENCE) for pipe in pipes]
        return jobs, ends_at


def _receive(pipe: Connection, patience: float) -> Job:
    if not pipe.poll(patience):
        raise TimeoutError("a client's process does not answer")
    job: Job = pipe.recv()
    return job


def _in_a_process(pipe: Connection, address: Address, tenant: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe.send(None)
    ends_at: float = pipe.recv()

    async def run() -> Job:
        async with client_of(address, tenant) as client:
            return await create_all(client, records(until=ends_at))

    pipe.send(asyncio.run(run()))


@attrs.frozen
class Change:
    """A quota that changes while a job runs.

    Args:
        before: the quota at first.
        after: the quota later; ``None``: it stays as it is, and a start from cold is looked at.
        warm: seconds before the change.
        seconds: after it.
    """

    before: Quota
    after: Quota | None
    warm: float
    seconds: float


@attrs.frozen
class Settled:
    """When a job counts as settled.

    Args:
        measure: what is looked at, given the ledger and the two ends of a stretch of time.
        good: whether that is as wanted.
        worst: picks the worst of several.
        show: writes it.
    """

    measure: Callable[[Ledger, float, float], float]
    good: Callable[[float], bool]
    worst: Callable[[Iterable[float]], float]
    show: Callable[[float], str]


def reaches(quota: Quota, least: float) -> Settled:
    """Be settled when at least a part of a quota is made use of.

    Args:
        quota: which.
        least: the part.
    """

    def used(ledger: Ledger, since: float, until: float) -> float:
        return ledger.served(since, until) / (until - since) * quota.window / quota.limit

    return Settled(used, lambda part: part >= least, min, ratio)


def calms(most: float) -> Settled:
    """Be settled when requests are served, and at most a share of them is refused.

    Args:
        most: the share.
    """

    def refused(ledger: Ledger, since: float, until: float) -> float:
        return ledger.share(since, until) if ledger.served(since, until) else 1.0

    return Settled(refused, lambda share: share <= most, max, percent)


def changing(change: Change, settled: Settled, most: float) -> dict[str, Cell]:
    """Measure how long it takes until a job has settled: until the first moment from which 5 s are as wanted.

    Args:
        change: what happens.
        settled: when it has.
        most: seconds that it may take.
    """
    with serving(quota=change.before) as server:
        job, since, ends_at = asyncio.run(_through(change, server))
        ledger = server.ledger()
    steps = max(0, math.floor((ends_at - _OVER - since) / _STEP))
    seen = [settled.measure(ledger, at, at + _OVER) for at in (since + step * _STEP for step in range(steps))]
    first = next((step for step, value in enumerate(seen) if settled.good(value)), None)
    quota = change.after or change.before
    return {
        "time": within(None if first is None else first * _STEP, most),
        "worst 5 s from then on": Cell("-" if first is None else settled.show(settled.worst(seen[first:]))),
        "goodput in all": part(ledger.served(since, ends_at) / (ends_at - since) * quota.window / quota.limit),
        "429 share in all": share(ledger.share(since, ends_at)),
        "lost": none_of(job.lost),
    }


async def _through(change: Change, server: Server) -> tuple[Job, float, float]:
    since = time.monotonic()
    ends_at = since + change.warm + change.seconds
    async with client_of(server.address) as client:
        running = asyncio.create_task(create_all(client, records(until=ends_at)))
        if change.after is not None:
            await asyncio.sleep(change.warm)
            since = server.set_quota(change.after)
        return await running, since, ends_at
