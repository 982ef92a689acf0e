"""Provisioning that is killed again and again, until it is done: nothing is lost, nothing is there twice.

``python -m tests.chaos.provision_kill`` runs a job of 5,000 records in child processes, against a simulator in this one
that fails in every way it knows. Each child is killed with ``kill -9`` at a random moment, and the next one goes on
with the journal that it left; after 200 kills the last one comes to its end. Then small jobs are killed once at every
step that a journal takes, and resumed; so are some whose records were corrected, and then corrected back. What the
simulator has stored is the judge.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from clarus_async import (
    ClarusClient,
    ClarusError,
    ClientCredentials,
    NewExternalEntity,
    NewIntegration,
    Outcome,
    RetryPolicy,
    Timeouts,
)
from clarus_async.simulator import Fault, Simulator

ATTEMPT, SETTLE = 0.3, 0.6
TIMEOUTS = Timeouts(connect=0.3, attempt=ATTEMPT, settle=SETTLE, deadline=5.0)
# Of thousands of records, some meet four faults one after the other, and are told as failed, which they are.
RETRY = RetryPolicy(max_attempts=8)
# What is applied late, and told later still, must be over within `settle`: that is what is promised.
LATE, STALE = 0.25, 0.25
ENDED, STOPPED = 0, 3  # how a child leaves that was not killed

# Each child is forked from a process that has imported everything and opened nothing.
_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload([__name__, "aiohttp", "tenacity", "clarus_async.client"])


class Job(NamedTuple):
    """What a child needs to know."""

    url: str  # of the simulator
    tenant: str  # whose records they are
    client_id: str  # of the credentials
    client_secret: str
    records: int
    concurrency: int
    existing: str
    journal: str  # its path
    outcomes: str  # where the child writes what it was told
    text: str | None = None  # an attribute of every record
    resource: str = "integrations"  # what its records are


class Verdict(NamedTuple):
    """What the simulator's ledger says of a job."""

    lost: int  # records that are not there
    twice: int  # records that are there more than once
    untold: int  # records without exactly one outcome in the last run
    untrue: int  # outcomes that the ledger contradicts
    leaks: int = 0  # secrets in Redis, in results or in logs
    off: int = 0  # by how much the report does not add up

    @property
    def kept(self) -> bool:
        """Whether the promise was."""
        return not any(self)


def faults(share: float) -> list[Fault]:
    """Return every fault that a run gets over by itself, each with the same probability."""
    delays = {"stall_before": ATTEMPT * 1.2, "stall_after": ATTEMPT * 1.2, "late_apply": LATE, "refuse": 0.02}
    more = {"rate_limited": {"retry_after": 0.02}, "unavailable": {"retry_after": 0.02}, "oversized": {"size": 4096}}
    both = [
        "reset_before", "reset_after", "stall_before", "stall_after", "error_before", "error_after", "html_502",
        "unavailable", "rate_limited", "truncated", "not_json", "oversized", "unauthorized", "refuse",
    ]  # fmt: skip
    chosen = [(kind, endpoint) for endpoint in ("create", "graphql") for kind in both]
    chosen += [("late_apply", "create"), ("graphql_errors", "graphql"), ("stale_list", "graphql")]
    each = share / (len(both) + 2)
    delays["stale_list"] = STALE
    return [
        Fault(kind, endpoint=endpoint, probability=each, delay=delays.get(kind, 0.0), **more.get(kind, {}))
        for kind, endpoint in chosen
    ]


# --- in a child


TEXT = {"integrations": "string1", "external_entities": "description"}
"""The attribute that is a job's text."""


def specs(job: Job):
    """Yield the records of a job."""
    for number in range(job.records):
        name, reference = f"{job.tenant} {number}", f"ref-{number}"
        if job.resource == "integrations":
            yield NewIntegration(
                name=name, integration_type="shopify", external_system_reference1=reference, string1=job.text
            )
        else:
            yield NewExternalEntity(
                entity_type="product", code=name, external_system_reference1=reference, description=job.text
            )


def work(job: Job) -> None:
    """Run a job from where its journal stands, and leave with what it came to."""
    with Path(job.outcomes).open("wb") as told:
        try:
            asyncio.run(_work(job, told.write))
        except ClarusError as error:
            told.write(f"{error!r}\n".encode())
            code = STOPPED
        else:
            code = ENDED
    # Nothing of the parent's is to be torn down here.
    os._exit(code)


async def _work(job: Job, tell: Callable[[bytes], object]) -> None:
    credentials = ClientCredentials(job.client_id, job.client_secret)
    async with ClarusClient(job.tenant, credentials, base_url=job.url, timeouts=TIMEOUTS, retry=RETRY) as clarus:
        run = getattr(clarus, job.resource).provision(
            specs(job), concurrency=job.concurrency, journal=job.journal, existing=job.existing
        )
        async with run:
            async for outcome in run:
                tell(outcome.to_json() + b"\n")


class Steps:
    """Counts the steps that a journal takes, and kills this process before one of them.

    A step lies before and after whatever is asked of SQLite or of the file system, and within each statement.
    """

    def __init__(self, last: int | None) -> None:
        self.count = 0
        self._last = last

    def step(self) -> int:
        """Take a step."""
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function with a step before it and one after."""

        def stepping(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = function(*args, **kwargs)
            self.step()
            return result

        return stepping

    def watched(self) -> ExitStack:
        """Count, as long as the context is open."""
        steps = self

        class Connection(sqlite3.Connection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                # So many instructions of SQLite's machine: a few times within a statement that writes.
                self.set_progress_handler(steps.step, 150)

            execute = steps.around(sqlite3.Connection.execute)
            executemany = steps.around(sqlite3.Connection.executemany)
            executescript = steps.around(sqlite3.Connection.executescript)
            close = steps.around(sqlite3.Connection.close)

        connect = sqlite3.connect
        stack = ExitStack()
        stack.enter_context(patch("sqlite3.connect", lambda *a, **k: connect(*a, **k, factory=Connection)))
        for name in ("link", "fsync", "unlink"):
            stack.enter_context(patch(f"os.{name}", self.around(getattr(os, name))))
        return stack


def work_in_steps(job: Job, last: int | None) -> None:
    """Run a job, and be killed at a step; write down how many there were, where it was not reached."""
    steps = Steps(last)
    with steps.watched(), patch("os._exit"):
        work(job)
    Path(job.outcomes + ".steps").write_text(str(steps.count))
    os._exit(ENDED)


# --- in the parent


def job_of(sim: Simulator, tenant: str, folder: Path, **options: Any) -> Job:
    """Describe a job of a tenant."""
    defaults = {"records": 4, "concurrency": 2, "existing": "adopt"}
    paths = {"journal": str(folder / f"{tenant}.db"), "outcomes": str(folder / f"{tenant}.jsonl")}
    return Job(
        url=sim.url, tenant=tenant, client_id=sim.client_id, client_secret=sim.client_secret,
        **{**defaults, **paths, **options},
    )  # fmt: skip


async def life(target: Callable[..., None], *args: Any, seconds: float | None = None) -> int:
    """Start a child, kill it after some seconds, and return how it left: negative where it was killed."""
    process = _FORK.Process(target=target, args=args)
    process.start()
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(process.sentinel, lambda: ended.done() or ended.set_result(None))
    try:
        async with asyncio.timeout(seconds):
            await asyncio.shield(ended)
    except TimeoutError:
        process.kill()
        await ended
    finally:
        loop.remove_reader(process.sentinel)
        if not ended.done():
            process.kill()
        process.join()
        code = process.exitcode
        process.close()
    return code or 0


def told_in(job: Job) -> list[Outcome]:
    """Return what the last run of a job said."""
    return [Outcome.from_json(line) for line in Path(job.outcomes).read_bytes().splitlines()]


def judged(ids: Mapping[int, str], keys: Sequence[str], told: Sequence[Outcome]) -> Verdict:
    """Compare what was said of some keys with the keys that are stored, by id."""
    there = Counter(ids.values())
    heard = Counter(outcome.key for outcome in told)
    return Verdict(
        lost=sum(not there[key] for key in keys),
        twice=sum(number > 1 for number in there.values()),
        untold=sum(heard[key] != 1 for key in keys) + len(told) - len(keys),
        untrue=sum(not outcome.status.ok or ids.get(outcome.id) != outcome.key for outcome in told),
    )


def judged_job(sim: Simulator, job: Job) -> Verdict:
    """Compare what the last run of a job said with what the simulator has stored."""
    keys = {spec.external_system_reference1: spec.key for spec in specs(job)}
    stored = sim.created(job.tenant, job.resource)
    ids = {record.id: keys[record.external_system_reference1] for record in stored}
    return judged(ids, list(keys.values()), told_in(job))


async def finish(job: Job) -> int:
    """Resume a job until it comes to its end; return how often that took more than one life."""
    for again in range(10):
        if await life(work, job, seconds=60.0 + job.records / 20) == ENDED:
            return again
    raise RuntimeError(f"the job does not end: {_text(job.outcomes)[-500:]}")


class Killed(NamedTuple):
    """How a job was killed at random."""

    kills: int  # how often
    lives: int  # how many children it took
    early: int  # children that came to their end before they were killed
    seconds: float  # how long it took
    verdict: Verdict  # what it came to


async def killed_at_random(
    sim: Simulator, job: Job, kills: int, *, seed: int, longest: float, most_seconds: float
) -> Killed:
    """Kill a job again and again, then let it come to its end."""
    dice = random.Random(seed)
    began = time.monotonic()
    done = lives = early = 0
    while done < kills and time.monotonic() - began < most_seconds:
        lives += 1
        code = await life(work, job, seconds=dice.uniform(0.0, longest))
        done += code == -signal.SIGKILL
        early += code == ENDED
        if code == ENDED and early > kills:
            break
    lives += 1 + await finish(job)
    return Killed(done, lives, early, time.monotonic() - began, judged_job(sim, job))


def _text(path: str) -> str:
    return Path(path).read_text()


async def _at_each_step(
    first: Job, tenants: Sequence[str], one: Callable[[str, int], Awaitable[Verdict]], *, at_once: int, every: int
) -> dict[int, Verdict]:
    """Count the steps that the journal of a job takes, and do something at one of so many, a tenant for each."""
    code = await life(work_in_steps, first, None)
    if code != ENDED:
        raise RuntimeError(f"the job left with {code}: {_text(first.outcomes)[-500:]}")
    number = int(_text(first.outcomes + ".steps"))
    if number >= len(tenants):
        raise RuntimeError(f"there are {number} steps")
    room = asyncio.Semaphore(at_once)

    async def in_turn(step: int) -> Verdict:
        async with room:
            return await one(tenants[step], step)

    steps = range(1, number + 1, every)
    return dict(zip(steps, await asyncio.gather(*map(in_turn, steps)), strict=True))


async def killed_at_steps(
    sim: Simulator,
    folder: Path,
    tenants: Sequence[str],
    *,
    at_once: int = 8,
    twice: bool = False,
    every: int = 1,
    **options: Any,
) -> dict[int, Verdict]:
    """Kill a job once at each step of its journal, and resume it; ``twice``: the resumed run at its own, too."""

    async def one(tenant: str, step: int) -> Verdict:
        job = job_of(sim, tenant, folder, **options)
        for _ in range(1 + twice):
            await life(work_in_steps, job, step, seconds=30.0)
        await finish(job)
        return judged_job(sim, job)

    return await _at_each_step(job_of(sim, tenants[0], folder, **options), tenants, one, at_once=at_once, every=every)


async def corrected_at_steps(
    sim: Simulator, folder: Path, tenants: Sequence[str], *, at_once: int = 8, every: int = 1, **options: Any
) -> dict[int, Verdict]:
    """Kill the update of a corrected job once at each step of its journal, and correct it back."""

    async def created(tenant: str) -> tuple[Job, Job]:
        job = job_of(sim, tenant, folder, text="before", existing="update", **options)
        await finish(job)
        return job, job._replace(text="after")

    async def one(tenant: str, step: int) -> Verdict:
        job, corrected = await created(tenant)
        await life(work_in_steps, corrected, step, seconds=30.0)
        await finish(job)
        # On a busy machine a change may time out: what is said to be unresolved is no untruth.
        ok = {outcome.key for outcome in told_in(job) if outcome.status.ok}
        right = {
            record.external_system_reference1
            for record in sim.created(job.tenant, job.resource)
            if record.attributes[TEXT[job.resource]] == "before"
        }
        untrue = sum(spec.key in ok and spec.external_system_reference1 not in right for spec in specs(job))
        return judged_job(sim, job)._replace(untrue=untrue)

    return await _at_each_step((await created(tenants[0]))[1], tenants, one, at_once=at_once, every=every)


async def _main(options: argparse.Namespace) -> bool:
    folder = Path(options.folder or tempfile.mkdtemp(prefix="provision_kill."))
    tenants = ["acme", *(f"t{number}" for number in range(1000))]
    async with Simulator(
        tenants=tenants, faults=faults(options.faults), seed=options.seed, latency=0.003, keep_requests=100
    ) as sim:
        about = {"resource": options.resource}
        job = job_of(sim, "acme", folder, records=options.records, concurrency=options.concurrency, **about)
        killed = await killed_at_random(
            sim, job, options.kills, seed=options.seed, longest=options.longest, most_seconds=options.most_seconds
        )
        print(
            f"{job.records} records, {options.faults:.0%} faults: {killed.kills} kills, {killed.lives} lives"
            f" ({killed.early} ended before their kill), {killed.seconds:.0f} s: {killed.verdict}"
        )
        kept = killed.verdict.kept
        at = 1
        for existing, twice in (("adopt", False), ("adopt", True), ("ignore", False)):
            verdicts = await killed_at_steps(
                sim, folder, tenants[at : at + 300], at_once=8, twice=twice, records=6, existing=existing, **about
            )
            at += 300
            bad = {step: verdict for step, verdict in verdicts.items() if not verdict.kept}
            print(
                f"existing={existing}: killed at each of {len(verdicts)} steps"
                f"{', the resumed run too' if twice else ''}: {len(bad)} went wrong {bad or ''}"
            )
            kept = kept and not bad
        verdicts = await corrected_at_steps(sim, folder, tenants[at:], records=6, **about)
        bad = {step: verdict for step, verdict in verdicts.items() if not verdict.kept}
        print(f"corrected, killed at each of {len(verdicts)} steps, corrected back: {len(bad)} went wrong {bad or ''}")
        return kept and not bad


def main() -> None:
    """Print the figures; exit with 1 where the promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resource", choices=list(TEXT), default="integrations", help="what the records are")
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--longest", type=float, default=2.0, help="seconds that a child lives at most")
    parser.add_argument("--most-seconds", type=float, default=400.0, help="no more kills after this")
    parser.add_argument("--faults", type=float, default=0.12, help="share of the requests that meet one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="for the journals; a temporary one if left out")
    raise SystemExit(0 if asyncio.run(_main(parser.parse_args())) else 1)


if __name__ == "__main__":
    main()
