"""Runs a plan: a client and a simulator in one virtual world, until nothing more can come."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import attrs

from clarus_async import (
    ClarusClient,
    OutcomeUnknownError,
)
from clarus_async.simulator import Simulator
from tests.chaos.provision_faults import FATAL
from tests.simulation.history import Given, History, Op
from tests.simulation.plan import Act, Actor, Happening, Job, Plan
from tests.simulation.subject import SUBJECTS
from tests.simulation.tap import Tap, doing
from tests.support.virtual import now, run_virtually
from tests.support.virtual_world import memory, virtual_world

_MOST_LIVES: Final = 50  # of a run that is started again and again
_UNKNOWN_ID: Final = 999_999


@attrs.define(eq=False)
class _State:
    """What of an actor outlives a process."""

    actor: Actor
    next: int = 0
    owned: list[int] = attrs.field(factory=list)


class World:
    """One world."""

    def __init__(self, plan: Plan, folder: Path, clock: Any) -> None:
        self._plan = plan
        self._subject = SUBJECTS[plan.resource]
        self._whose: dict[str, int] = {}
        self._folder = folder
        self._clock = clock
        self._states = [_State(actor) for actor in plan.actors]
        self._journals = itertools.count()
        self._journal = folder / "0.db" if plan.job is not None and plan.job.journal else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stops: list[Happening] = []

    async def run(self) -> History:
        """Let it all happen."""
        plan = self._plan
        random.seed(plan.seed)
        async with Simulator(
            tenants=plan.tenants,
            quota=plan.quota,
            faults=plan.faults,
            seed=plan.seed,
            latency=plan.latency,
            token_lifetime=plan.token_lifetime,
            searchable_references=plan.searchable,
            max_page_size=5,
        ) as sim:
            self._sim = sim
            self._history = history = History(plan=plan, tap=Tap(plan.max_connections), sim=sim)
            if plan.resource != "integrations":
                for tenant in plan.tenants:
                    [shop] = sim.preload(tenant, [{"name": "Shop", "integration_type": "shopify"}])
                    self._whose[tenant] = shop.id
            if plan.job is not None:
                # A day before, so that no clock that is stepped by an hour makes it look like ours.
                there = [self._of_job(plan.job, i, "there") for i in plan.job.there]
                sim.preload(plan.job.tenant, there, resource=plan.resource)
            with history.tap.installed():
                await self._live()
            # What is to be applied late is, and then nothing more comes.
            await asyncio.sleep(3 * plan.timeouts.settle)
            history.seconds = now()
            if sim.open_connections:
                history.troubles.append(f"{sim.open_connections} connections are left open")
        return history

    async def _live(self) -> None:
        happening = asyncio.create_task(self._happen())
        self._start()
        try:
            while True:
                running = asyncio.gather(*self._tasks)
                stopped = asyncio.create_task(self._stopped())
                await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
                if not stopped.done():
                    stopped.cancel()
                    await running
                    break
                await self._die(stopped.result())
                with contextlib.suppress(asyncio.CancelledError):
                    await running
                self._start()
        finally:
            happening.cancel()
            await asyncio.gather(happening, return_exceptions=True)
        try:
            await self._as_good_as_new()
        finally:
            await self._client.close()

    async def _as_good_as_new(self) -> None:
        """See that whatever happened, no connection is kept, nobody waits, and every tenant can be asked again."""
        core = self._client._caller.core
        if core.connections.busy:
            self._history.troubles.append(f"{core.connections.busy} connections were not given back")
        self._sim.set_faults([])
        self._sim.set_quota(None)
        await self._sim.accept()
        # A tenant may be closed for as long as a Retry-After says, and no token be asked for as long.
        await asyncio.sleep(60.0)
        for tenant in self._plan.tenants:
            view = self._client.for_subdomain(tenant)
            await view.ping()
            out = core.tenants.get(tenant).queue.pace._out
            if view.pace.waiting or view.pace.queued or out:
                self._history.troubles.append(f"{tenant}: {view.pace} is left, and {out} on the wire")

    # --- the process

    def _start(self) -> None:
        plan, tap = self._plan, self._history.tap
        tap.life += 1
        tap.say(f"life {tap.life} begins")
        self._client = ClarusClient(
            plan.tenants[0],
            self._sim.credentials,
            base_url=self._sim.url,
            timeouts=plan.timeouts,
            retry=plan.retry,
            pacing=plan.pacing,
            max_connections=plan.max_connections,
            observer=tap,
        )
        self._tasks = {asyncio.create_task(self._act(state)) for state in self._states}
        if plan.job is not None:
            self._tasks.add(asyncio.create_task(self._provision(plan.job)))

    async def _stopped(self) -> str:
        while not self._stops:
            self._stop = asyncio.get_running_loop().create_future()
            await self._stop
        return self._stops.pop(0).what

    async def _die(self, how: str) -> None:
        """End the process: after a crash, what its journal holds is what it held at that moment."""
        began = now()
        if how == "crash":
            for op in self._history.ops:
                op.crashed = op.crashed or op.ended is None
            self._keep_the_journal()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if now() - began > 0.05:
            self._history.troubles.append(f"cancelling everything took {now() - began:.3f} s")
        await self._client.close()

    def _keep_the_journal(self) -> None:
        if self._journal is None or not self._journal.exists():
            return
        kept = self._folder / f"{next(self._journals) + 1}.db"
        for part in ("", "-wal"):
            if (path := Path(f"{self._journal}{part}")).exists():
                shutil.copyfile(path, f"{kept}{part}")
        self._journal = kept

    async def _happen(self) -> None:
        for happening in self._plan.happenings:
            await asyncio.sleep(happening.at - now())
            self._history.tap.say(f"{happening.what}: {happening.value}")
            match happening.what:
                case "tokens end":
                    self._sim.expire_tokens()
                case "quota":
                    self._sim.set_quota(happening.value)
                case "clock":
                    self._clock.skew += happening.value
                case "faults":
                    self._sim.set_faults(happening.value)
                case "outage":
                    await self._sim.refuse()
                    await asyncio.sleep(happening.value)
                    await self._sim.accept()
                case "crash" | "stop":
                    self._stops.append(happening)
                    if not self._stop.done():
                        self._stop.set_result(None)

    # --- what callers do

    async def _act(self, state: _State) -> None:
        while state.next < len(state.actor.acts):
            act = state.actor.acts[state.next]
            state.next += 1
            await asyncio.sleep(act.pause)
            op = await self._do(state, act, act.what)
            if act.what == "create" and isinstance(op.error, OutcomeUnknownError):
                await asyncio.sleep(act.resolved)
                await self._do(state, act, "resolve", op.error)

    async def _do(self, state: _State, act: Act, what: str, error: OutcomeUnknownError | None = None) -> Op:
        history, tenant = self._history, state.actor.tenant
        target = None
        if what in {"update", "delete", "synchronize"}:
            target = state.owned[-1] if state.owned else _UNKNOWN_ID
        op = Op(number=len(history.ops) + 1, life=history.tap.life, tenant=tenant, act=act, what=what, target=target)
        op.began = now()
        history.ops.append(op)
        history.tap.say(f"op {op.number} begins: {what} {act.marker} {target}")
        doing.set(op.number)
        task = asyncio.create_task(self._ask(op, error))
        cancelling = None
        if act.cancelled is not None and what != "resolve":
            cancelling = asyncio.get_running_loop().call_later(act.cancelled, self._cancel, op, task)
        try:
            await asyncio.wait([task])
            op.result = task.result()
        except asyncio.CancelledError as cancelled:
            op.error = cancelled
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                op.ended = now()
                raise
        except Exception as failure:  # noqa: BLE001  the oracle says which may be
            op.error = failure.with_traceback(None)
        finally:
            if cancelling is not None:
                cancelling.cancel()
        op.ended = now()
        self._remember(state, op)
        history.tap.say(f"ended {op}")
        return op

    @staticmethod
    def _cancel(op: Op, task: asyncio.Task[Any]) -> None:
        if not task.done():
            op.cancelled_at = now()
            task.cancel()

    def _remember(self, state: _State, op: Op) -> None:
        if isinstance(op.result, self._subject.record) and op.what in {"create", "resolve"}:
            state.owned.append(op.result.id)
        if op.what == "delete" and op.target in state.owned:
            state.owned.remove(op.target)

    async def _ask(self, op: Op, error: OutcomeUnknownError | None) -> Any:
        records = getattr(self._client.for_subdomain(op.tenant), self._plan.resource)
        act, subject = op.act, self._subject
        match op.what:
            case "create":
                attributes = subject.attributes(act.name, act.reference, act.marker, self._whose.get(op.tenant, 0))
                return await records.create(subject.new(**attributes), on_unknown=act.on_unknown)
            case "resolve":
                return await records.resolve(error)
            case "update":
                return await records.update(op.target, subject.changes(act.marker))
            case "delete":
                return await records.delete(op.target)
            case "synchronize":
                return await records.synchronize(op.target, repeatable=act.repeatable)
            case "list":
                return [row.id async for row in records.list(page_size=5)]
            case "find":
                return [row.id for row in await records.find(**{subject.found: act.name})]
            case "ping":
                return await self._client.for_subdomain(op.tenant).ping()
        raise AssertionError(op.what)

    # --- the run

    async def _provision(self, job: Job) -> None:
        history = self._history
        doing.set(0)
        if not history.given:
            await asyncio.sleep(job.at)
        specs = [self._subject.new(**self._of_job(job, i, f"j.{i}")) for i in range(len(job.names))]
        while not history.done and len(history.given) < _MOST_LIVES:
            given: list[Given] = []
            history.given.append(given)
            run = getattr(self._client.for_subdomain(job.tenant), self._plan.resource).provision(
                specs, concurrency=job.concurrency, journal=self._journal, existing=job.existing
            )
            try:
                async with run:
                    async for outcome in run:
                        given.append(Given(outcome=outcome, at=now(), life=history.tap.life))
                        history.tap.say(f"outcome {outcome.to_json().decode()}")
                history.done = True
            except FATAL as error:
                history.tap.say(f"the run ended: {error}")
                # What was in flight is settled by then, where nothing remembers it.
                await asyncio.sleep(1.0 if job.journal else 2 * self._plan.timeouts.settle + 5.0)
            except Exception as error:  # noqa: BLE001  nothing else may end a run
                history.troubles.append(f"the run raised {type(error).__name__}: {error}")
                return

    def _of_job(self, job: Job, index: int, marker: str) -> dict[str, Any]:
        whose = self._whose.get(job.tenant, 0)
        return self._subject.attributes(job.names[index], job.references[index], marker, whose)


def run_plan(plan: Plan) -> History:
    """Run a world in virtual time."""
    history: list[History] = []
    keys = random.Random(f"keys {plan.seed}")

    with tempfile.TemporaryDirectory(dir=memory()) as folder, virtual_world() as clock:

        async def main() -> None:
            history.append(await World(plan, Path(folder), clock).run())

        with patch("uuid.uuid4", lambda: uuid.UUID(int=keys.getrandbits(128), version=4)):
            run_virtually(main)
    return history[0]
