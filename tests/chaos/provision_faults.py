"""The fault matrix: what a run comes to where the server misbehaves, against the server's own ledger.

``python -m tests.chaos.provision_faults [--records 10000] [--seeds 5] [--first-seed 1] [--only NAME] [--quick]
[--jobs N] [--json FILE]``

Every fault kind of the simulator befalls creates, GraphQL reads, or both, alone and mixed, with and without a journal,
and with and without a schema that can be searched by reference. It all happens in virtual time: client and simulator
talk over simulated sockets, and waiting costs nothing. An oracle compares every outcome with what the simulator stored.
Needs the ``dev`` extra.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import attrs

from clarus_async import ClarusClient, NewIntegration, Outcome, OutcomeStatus, Timeouts
from clarus_async.errors import AuthenticationError, ConfigurationError, PermissionDeniedError, RateLimitedError
from clarus_async.events import AttemptEvent
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator, StoredRecord
from tests.support.virtual import now, run_virtually
from tests.support.virtual_world import VirtualDate, memory, virtual_world

SHARE: Final = 0.12  # of the requests that a fault befalls
TIMEOUTS: Final = Timeouts(attempt=30.0, settle=60.0, deadline=120.0)
FATAL: Final = (AuthenticationError, ConfigurationError, PermissionDeniedError, RateLimitedError)
"""What ends a run by contract: the same run is started again."""

_FATAL_KINDS: Final = frozenset({FaultKind.UNAUTHORIZED, FaultKind.FORBIDDEN, FaultKind.REDIRECT})
# Without a journal a run begins again with its first look, and at 12 % none would ever come to its end.
_FATAL_SHARE: Final = 0.002
_STALE: Final = 15.0  # with the latest of the late applies, still within settle
_OPTIONS: Final[Mapping[FaultKind, Mapping[str, Any]]] = {
    FaultKind.REFUSE: {"delay": 0.5},
    FaultKind.STALL_BEFORE: {"delay": 45.0},
    FaultKind.STALL_AFTER: {"delay": 45.0},
    FaultKind.STALE_LIST: {"delay": _STALE},
    FaultKind.UNAVAILABLE: {"retry_after": 2.0},
    FaultKind.OVERSIZED: {"size": 9 * 2**20},
}
_WITHIN: Final = (0.3, 20.0, 40.0)
_AT_THE_EDGE: Final = (0.3, 30.0, 58.0)
_TOO_LATE: Final = (62.0, 90.0, 119.0)
# An outcome is given within this time of the look that it rests on.
_SINCE_THE_LOOK: Final = 3.0
_MOST_RUNS: Final = 2000


@attrs.frozen(kw_only=True)
class Scenario:
    """What goes wrong in a run."""

    name: str  # of the fault, and where it strikes
    faults: tuple[Fault, ...]  # as the simulator takes them
    fatal: bool = False  # some of them end a run by contract
    late: bool = False  # the server applies later than it may
    refuses: bool = False  # the server says no to some records for good


@attrs.frozen(kw_only=True)
class Way:
    """How a scenario is run."""

    records: int
    seed: int = 1  # of the faults
    journal: bool = False
    references: bool = False  # the schema can be searched by reference
    latency: float = 0.05  # seconds to each answer
    concurrency: int = 64
    existing: str = "adopt"
    timeouts: Timeouts = TIMEOUTS  # of the client


PROMISES: Final = ("duplicates", "lost", "failed_though_stored", "unresolved", "misnamed", "troubles")
"""What must be 0 in every verdict."""


@attrs.define(kw_only=True)
class Verdict:
    """What the oracle found."""

    duplicates: int = 0  # records of the server beyond the first of their key, that no outcome names
    lost: int = 0  # records without an outcome, with two, or said to be there and not there under that id
    failed_though_stored: int = 0  # said to be ``failed`` or ``conflict``, and there
    unresolved: int = 0  # left so
    misnamed: int = 0  # said to be ``duplicated`` and not so, or not with all ids that the last look could find
    failed: int = 0  # said to be ``failed``, and not there, though the server refuses nothing for good
    troubles: int = 0  # tasks that were left behind, and errors that nobody took
    later: int = 0  # duplicates that were not there at the last look, which nobody can name
    counts: dict[str, int] = attrs.field(factory=dict)  # outcomes by status
    runs: int = 0  # how often the run had to be started
    creates: int = 0  # requests that create
    queries: int = 0  # GraphQL requests
    unknown: int = 0  # creates with an unknown outcome
    seconds: float = 0.0  # virtual ones
    notes: list[str] = attrs.field(factory=list)  # the first findings, in words

    @property
    def broken(self) -> int:
        """How often the promise was broken."""
        return sum(getattr(self, column) for column in PROMISES)

    def note(self, text: str) -> None:
        if len(self.notes) < 5:
            self.notes.append(text)


# --- the scenarios


def scenarios() -> list[Scenario]:
    """Return the matrix."""
    matrix = []
    for kind in FaultKind:
        for where, endpoints in _PLACES.items():
            fitting = [endpoint for endpoint in endpoints if _fits(kind, endpoint)]
            if len(fitting) == len(endpoints):
                faults = tuple(fault for endpoint in fitting for fault in _faults(kind, endpoint, SHARE, _AT_THE_EDGE))
                matrix.append(
                    Scenario(
                        name=f"{kind.value} on {where}",
                        faults=faults,
                        # Refusals that no quota stands behind may look like one that is spent for minutes.
                        fatal=kind in _FATAL_KINDS or kind is FaultKind.RATE_LIMITED,
                        refuses=kind is FaultKind.JSON_API_ERROR and Endpoint.CREATE in endpoints,
                    )
                )
    harmless = [kind for kind in FaultKind if kind not in _FATAL_KINDS]
    matrix.append(Scenario(name="all mixed but the fatal", faults=mixed(harmless), refuses=True))
    matrix.append(Scenario(name="all mixed", faults=mixed(list(FaultKind)), refuses=True, fatal=True))
    late = _faults(FaultKind.LATE_APPLY, Endpoint.CREATE, SHARE, _TOO_LATE)
    matrix.append(Scenario(name="late_apply after settle", faults=tuple(late), late=True))
    return matrix


_PLACES: Final = {
    "creates": (Endpoint.CREATE,),
    "reads": (Endpoint.GRAPHQL,),
    "both": (Endpoint.CREATE, Endpoint.GRAPHQL),
}


def mixed(kinds: Sequence[FaultKind], share: float = SHARE) -> tuple[Fault, ...]:
    """Return faults of these kinds, on creates and on reads, each of which one befalls with this probability."""
    faults: list[Fault] = []
    for endpoint in _PLACES["both"]:
        fitting = [kind for kind in kinds if _fits(kind, endpoint)]
        for kind in fitting:
            faults += _faults(kind, endpoint, share / len(fitting), _WITHIN)
    return tuple(faults)


def _fits(kind: FaultKind, endpoint: Endpoint) -> bool:
    return Fault(kind).fits(endpoint, None)


def _faults(kind: FaultKind, endpoint: Endpoint, share: float, delays: Sequence[float]) -> list[Fault]:
    if kind is FaultKind.LATE_APPLY:
        each = share / len(delays)
        return [Fault(kind, endpoint=endpoint, probability=each, delay=delay) for delay in delays]
    return [Fault(kind, endpoint=endpoint, probability=share, **_OPTIONS.get(kind, {}))]


# --- a run, and the oracle


def specs(count: int) -> list[NewIntegration]:
    """Return the input: three in four have a reference, so that both ways of looking are gone."""
    return [
        NewIntegration(
            name=f"Shop {number}",
            integration_type="shopify",
            external_system_reference1=None if number % 4 == 3 else f"ref-{number}",
        )
        for number in range(count)
    ]


@attrs.define
class _Given:
    outcome: Outcome
    at: float


class _Unknowns:
    """An observer that counts the creates of which nobody knows what became."""

    def __init__(self) -> None:
        self.count = 0

    def on_event(self, event: object) -> None:
        if isinstance(event, AttemptEvent) and event.operation == "create" and event.proves in {"unknown", "applied"}:
            self.count += 1


async def provision(
    sim: Simulator, records: Sequence[NewIntegration], way: Way, journal: Path | None, verdict: Verdict, *, fatal: bool
) -> dict[int, list[_Given]]:
    """Run until the run comes to its end; return the outcomes of the last one, by index."""
    unknowns = _Unknowns()
    done = False
    given: dict[int, list[_Given]] = {}
    while not done and verdict.runs < _MOST_RUNS:
        verdict.runs += 1
        given = {}
        client = ClarusClient("acme", sim.credentials, base_url=sim.url, timeouts=way.timeouts, observer=unknowns)
        async with client as clarus:
            try:
                run = clarus.integrations.provision(
                    records, concurrency=way.concurrency, journal=journal, existing=way.existing
                )
                async with run:
                    async for outcome in run:
                        given.setdefault(outcome.index, []).append(_Given(outcome, now()))
                done = True
            except FATAL:
                if not fatal:
                    raise
        if not done and journal is None:
            # Nothing remembers what was in flight; whoever starts again waits until that is settled.
            await asyncio.sleep(way.timeouts.settle + 5.0)
    verdict.unknown = unknowns.count
    if not done:
        verdict.lost += 1
        verdict.note(f"not done after {verdict.runs} runs")
    return given


def judge(
    records: Sequence[NewIntegration],
    given: Mapping[int, Sequence[_Given]],
    stored: Sequence[StoredRecord],
    verdict: Verdict,
    *,
    refuses: bool = False,
) -> None:
    """Compare every outcome with the ledger."""
    there: dict[tuple[str, str | None], list[StoredRecord]] = {}
    for record in stored:
        there.setdefault((record.name, record.external_system_reference1), []).append(record)
    counts: Counter[str] = Counter()
    for index, new in enumerate(records):
        ours = there.pop((new.name, new.external_system_reference1), [])
        outcomes = given.get(index, ())
        if len(outcomes) != 1:
            verdict.lost += 1
            verdict.note(f"{new.key}: {len(outcomes)} outcomes")
            continue
        counts[outcomes[0].outcome.status.value] += 1
        _judge_one(new, outcomes[0], ours, verdict, refuses=refuses)
    strangers = sum(map(len, there.values()))
    if strangers:
        verdict.lost += strangers
        verdict.note(f"{strangers} records that nobody asked for")
    verdict.counts = dict(counts)


def _judge_one(
    new: NewIntegration, given: _Given, stored: Sequence[StoredRecord], verdict: Verdict, *, refuses: bool
) -> None:
    outcome = given.outcome
    ids = {record.id for record in stored}
    named = {outcome.id, *outcome.others} - {None}
    latest = VirtualDate.started + timedelta(seconds=given.at - _SINCE_THE_LOOK)
    visible = {record.id for record in stored if record.created_at <= latest}
    before = verdict.broken
    if outcome.status is OutcomeStatus.UNRESOLVED:
        verdict.unresolved += 1
    elif outcome.status in {OutcomeStatus.FAILED, OutcomeStatus.CONFLICT}:
        verdict.failed_though_stored += bool(ids)
        verdict.failed += not ids and not refuses
    elif outcome.status is OutcomeStatus.DUPLICATED:
        verdict.misnamed += len(ids) < 2 or not visible <= named <= ids
    else:
        verdict.lost += outcome.id not in ids
    if len(ids) > 1 and outcome.status is not OutcomeStatus.DUPLICATED:
        verdict.duplicates += len(visible) > 1
        verdict.later += len(ids) - max(1, len(visible))
    if verdict.broken != before:
        verdict.note(f"{new.key}: {outcome.to_json().decode()}; stored: {sorted(ids)}")


def run_scenario(scenario: Scenario, way: Way) -> Verdict:
    """Run a scenario in virtual time, and judge it."""
    verdict = Verdict()
    faults = scenario.faults
    if scenario.fatal and not way.journal:
        faults = tuple(_rarer(fault) for fault in faults)
    # One that is always the same for a scenario and a way, and differs between them.
    seed = zlib.crc32(f"{scenario.name}/{way.seed}/{way.journal}/{way.references}".encode())

    async def main() -> None:
        random.seed(seed)
        records = specs(way.records)
        with contextlib.ExitStack() as stack:
            journal = None
            if way.journal:
                folder = stack.enter_context(tempfile.TemporaryDirectory(dir=memory()))
                journal = Path(folder) / "run.db"
            async with Simulator(
                faults=faults,
                seed=seed,
                latency=way.latency,
                token_lifetime=None,
                searchable_references=way.references,
                keep_requests=1,
            ) as sim:
                given = await provision(sim, records, way, journal, verdict, fatal=scenario.fatal)
                verdict.seconds = now()
                verdict.creates, verdict.queries = sim.count(Endpoint.CREATE), sim.count(Endpoint.GRAPHQL)
                # What is to be applied late is, and then nothing more comes.
                await asyncio.sleep(3 * way.timeouts.settle)
                judge(records, given, sim.created("acme"), verdict, refuses=scenario.refuses)

    with virtual_world():
        try:
            run_virtually(main)
        except AssertionError as error:
            # A task that nobody waited for, or an error that nobody took: told as text, as neither can be pickled.
            verdict.troubles += 1
            verdict.note(str(error)[:1000])
    return verdict


def _rarer(fault: Fault) -> Fault:
    return attrs.evolve(fault, probability=_FATAL_SHARE) if fault.kind in _FATAL_KINDS else fault


# --- what doubt costs


def query_costs(records: int) -> list[dict[str, Any]]:
    """Return what records in doubt cost in queries, at several speeds of the server: only they are looked up here."""
    costs = []
    for kind in (FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE):
        for latency in (0.05, 0.2, 1.0):
            fault = Fault(kind, endpoint=Endpoint.CREATE, probability=SHARE)
            scenario = Scenario(name=f"cost {kind.value}", faults=(fault,))
            verdict = run_scenario(scenario, Way(records=records, latency=latency, existing="ignore"))
            costs.append({
                "fault": kind.value,
                "latency": latency,
                "unknown": verdict.unknown,
                "queries": verdict.queries,
                "per_thousand": round(1000 * verdict.queries / max(1, verdict.unknown), 1),
                "broken": verdict.broken,
            })  # fmt: skip
    return costs


# --- the command


def _ways(records: int, seeds: range) -> list[Way]:
    return [
        Way(records=records, seed=seed, journal=journal, references=references)
        for seed in seeds
        for journal in (False, True)
        for references in (False, True)
    ]


def _one(scenario: Scenario, way: Way) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        verdict = run_scenario(scenario, way)
    except Exception as error:  # noqa: BLE001  one run that raises is a finding, and no end of the others
        verdict = Verdict(lost=way.records, notes=[f"the run raised {error!r}"])
    took = round(time.perf_counter() - began, 2)
    row = attrs.asdict(verdict) | {"scenario": scenario.name, "took": took}
    return row | {name: getattr(way, name) for name in ("seed", "journal", "references", "records")}


_COLUMNS: Final = {
    "duplicates": "dup", "lost": "lost", "failed_though_stored": "f.stored", "unresolved": "unres",
    "misnamed": "misnamed", "failed": "failed", "troubles": "trouble", "later": "later", "runs": "runs",
    "creates": "creates", "unknown": "unknown", "queries": "queries",
}  # fmt: skip


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    print(f"{'scenario':40} {'n':>3} " + " ".join(f"{head:>8}" for head in _COLUMNS.values()) + "  outcomes")
    for name in dict.fromkeys(row["scenario"] for row in rows):
        mine = [row for row in rows if row["scenario"] == name]
        counts: Counter[str] = Counter()
        for row in mine:
            counts.update(row["counts"])
        sums = " ".join(f"{sum(row[column] for row in mine):>8}" for column in _COLUMNS)
        print(f"{name:40} {len(mine):>3} {sums}  {dict(counts)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1, help="of so many seeds")
    parser.add_argument("--only", help="scenarios whose name contains this")
    parser.add_argument("--quick", action="store_true", help="300 records, one seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--json", type=Path, default=Path("provision_faults.json"), help="where the figures go")
    options = parser.parse_args()
    records, seeds = (300, 1) if options.quick else (options.records, options.seeds)
    ways = _ways(records, range(options.first_seed, options.first_seed + seeds))
    chosen = [scenario for scenario in scenarios() if not options.only or options.only in scenario.name]
    jobs = [(scenario, way) for way in ways for scenario in chosen]
    rows = []
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(_one, *job) for job in jobs]
        for done, future in enumerate(as_completed(futures), 1):
            row = future.result()
            rows.append(row)
            # All of it takes hours: what is done is kept where it is cut.
            options.json.write_text(json.dumps({"rows": rows}))
            print(f"{done}/{len(jobs)} {row['scenario']} {row['took']} s", file=sys.stderr)
            for note in row["notes"]:
                print(f"{row['scenario']} seed {row['seed']}: {note}", file=sys.stderr)
    order = {scenario.name: place for place, scenario in enumerate(chosen)}
    rows.sort(key=lambda row: (order[row["scenario"]], row["seed"], row["journal"], row["references"]))
    _print_table(rows)
    costs = [] if options.only else query_costs(records)
    for cost in costs:
        print("queries: {fault}, {latency} s to an answer: {queries} for {unknown} in doubt".format(**cost))
    options.json.write_text(json.dumps({"rows": rows, "costs": costs}, indent=1))
    broken = sum(row[column] for row in rows for column in PROMISES)
    print(f"{len(rows)} runs, {sum(row['records'] for row in rows)} records, {broken} times broken: {options.json}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
