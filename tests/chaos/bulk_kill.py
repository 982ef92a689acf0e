"""Operations on many records that are killed again and again, and go on: no synchronization is started twice.

Each life of a job is a child process that is killed with ``kill -9``, at random or at a step that its journal takes,
and the next one goes on with the journal that it left. What the simulator has is the judge.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from clarus_async import ClarusClient, ClarusError, ClientCredentials, IntegrationChanges, Outcome
from clarus_async.provisioning.options import Options
from clarus_async.simulator import Simulator
from tests.chaos.provision_kill import ENDED, RETRY, STOPPED, TIMEOUTS, Steps, life


class BulkTask(NamedTuple):
    """What a child needs to know."""

    url: str
    tenant: str
    client_id: str
    client_secret: str
    operation: str  # "undo" and "undo --delete", too
    ids: Sequence[int]  # of the input, where there is one
    journal: str
    outcomes: str  # where the child writes what it was told


def task_of(sim: Simulator, tenant: str, folder: Path, operation: str, ids: Sequence[int] = ()) -> BulkTask:
    """Describe a job of a tenant."""
    paths = str(folder / f"{tenant}.db"), str(folder / f"{tenant}.jsonl")
    return BulkTask(sim.url, tenant, sim.client_id, sim.client_secret, operation, ids, *paths)


def stored(sim: Simulator, tenant: str, count: int) -> list[int]:
    """Store records, and return their ids."""
    shops = [{"name": f"Shop {n}", "integration_type": "shopify"} for n in range(count)]
    return [record.id for record in sim.preload(tenant, shops)]


def work(task: BulkTask, last_step: int | None = None) -> None:
    """Do a job from where its journal stands; be killed at a step of its journal, if one is given."""
    steps = Steps(last_step)
    with steps.watched(), Path(task.outcomes).open("wb") as told:
        try:
            asyncio.run(_work(task, told))
        except ClarusError as error:
            told.write(f"{error!r}\n".encode())
            code = STOPPED
        else:
            code = ENDED
    Path(task.outcomes + ".steps").write_text(str(steps.count))
    # Nothing of the parent's is to be torn down here.
    os._exit(code)


async def _work(task: BulkTask, told) -> None:
    credentials = ClientCredentials(task.client_id, task.client_secret)
    async with ClarusClient(task.tenant, credentials, base_url=task.url, timeouts=TIMEOUTS, retry=RETRY) as clarus:
        if task.operation.startswith("undo"):
            async with clarus.integrations.undo(task.journal, delete="delete" in task.operation) as undo:
                async for outcome in undo.run(Options(concurrency=4)):
                    told.write(outcome.to_json() + b"\n")
            return
        changes = IntegrationChanges(name="Renamed") if task.operation == "update" else None
        given = [SimpleNamespace(id=i, changes=changes) for i in task.ids]
        options = Options(concurrency=4, journal=task.journal)
        async for outcome in clarus.integrations.bulk(task.operation, given, options):
            told.write(outcome.to_json() + b"\n")


def steps_of(task: BulkTask) -> int:
    """Return how many steps the journal took in the last life."""
    return int(Path(task.outcomes + ".steps").read_text())


def told_in(task: BulkTask) -> list[Outcome]:
    """Return what the last run of a job said."""
    return [Outcome.from_json(line) for line in Path(task.outcomes).read_bytes().splitlines()]


def problems(sim: Simulator, task: BulkTask) -> list[str]:
    """Say in what the last run of a job was wrong."""
    found = []
    told = {outcome.id: outcome.status.value for outcome in told_in(task)}
    if sorted(told) != sorted(task.ids) or len(told_in(task)) != len(task.ids):
        found.append(f"{len(told_in(task))} outcomes of {len(task.ids)} records")
    there = {record.id: record.attributes["name"] for record in sim.integrations(task.tenant)}
    if task.operation == "delete":
        found += [f"{i} is {status}" for i, status in told.items() if status != "deleted" or i in there]
    elif task.operation == "update":
        found += [f"{i} is {status}" for i, status in told.items() if status != "updated" or there[i] != "Renamed"]
    else:
        began = Counter(record_id for record_id, _ in sim.syncs(task.tenant))
        found += [f"{i} began {times} times" for i, times in began.items() if times > 1]
        found += [f"{i} is {s} and did not begin" for i, s in told.items() if s == "synchronized" and not began[i]]
        found += [f"{i} is {s}" for i, s in told.items() if s not in {"synchronized", "unresolved"}]
    return found


async def finish(task: BulkTask) -> None:
    """Let a job come to its end."""
    if (code := await life(work, task, seconds=30.0)) != ENDED:
        raise RuntimeError(f"the job left with {code}: {told_in(task)}")
