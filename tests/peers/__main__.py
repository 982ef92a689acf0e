"""Run scenarios against others' software: ``python -m tests.peers [NAME ...] [--quick] [--list]``.

A name stands for the scenario that is called so or, where none is, for every scenario that it begins; ``limiters`` for
one whole run against each rate limiter. What is not installed is listed, with the command that installs it, and nothing
is installed. One table is printed, with the right values beside what was measured; the exit status is 1 where a record
was lost, failed, stored twice, or told of untruly or not at all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from tests.peers import gateways, hostile, limiters, tokens, tour
from tests.peers.scenario import Part, Row, Scenario
from tests.peers.servers import ServerScenario

AnyScenario: TypeAlias = Scenario | ServerScenario
SCENARIOS: tuple[AnyScenario, ...] = (
    *gateways.SCENARIOS,
    *limiters.SCENARIOS,
    *tokens.SCENARIOS,
    *tour.SCENARIOS,
    *hostile.SCENARIOS,
)

_COLUMNS = (
    "peer", "records", "goodput", "refused", "wall", "failed", "untold", "lost", "twice", "untrue", "seconds", "pace",
)  # fmt: skip
_LINE = "{:44} {:>7} {:>10} {:>12} {:>10} {:>6} {:>6} {:>5} {:>5} {:>6} {:>7}  {}"


def line(row: Row) -> str:
    """Return a row of the table; a figure that misses its right value is marked, ``<`` or ``>``."""
    right = row.right
    rates = (
        _beside(row.goodput, right.goodput, "<", ".2f"),
        _beside(row.refused, right.refused, ">", ".1%"),
        _beside(row.wall, right.wall, ">", ".2f"),
    )
    counts = row.failed, row.untold, row.lost, row.twice, row.untrue
    return _LINE.format(row.peer, row.records, *rates, *counts, f"{row.seconds:.1f}", row.pace)


def _beside(figure: float | None, right: float | None, mark: str, form: str) -> str:
    if figure is None:
        return ""
    if right is None:
        return f"{figure:{form}}"
    missed = figure < right if mark == "<" else figure > right
    return f"{figure:{form}} {mark if missed else ' '}{right:{form}}"


def _keep(row: Row, folder: Path) -> None:
    with (folder / f"{row.peer}.jsonl").open("w") as lines:
        lines.writelines(f"{json.dumps(attempt._asdict())}\n" for attempt in row.attempts)


def named(name: str) -> list[AnyScenario]:
    """Return the scenarios that a name stands for."""
    wanted = set(limiters.LIMITERS) if name == "limiters" else {name}
    exactly = [scenario for scenario in SCENARIOS if scenario.name in wanted]
    return exactly or [scenario for scenario in SCENARIOS if scenario.name.startswith(name)]


async def _run(scenarios: Sequence[AnyScenario], at_a_time: int, requests: Path | None) -> list[str]:
    """Run those that mostly wait side by side, and those whose goodput counts one by one; return what went wrong."""
    # A command that is told to end must not leave servers behind.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    print(_LINE.format(*_COLUMNS), flush=True)
    turns = asyncio.Semaphore(at_a_time)
    went_wrong: list[str] = []

    async def one(scenario: AnyScenario) -> None:
        try:
            row = await scenario.run()
        except Exception:
            went_wrong.append(scenario.name)
            print(f"{scenario.name:44} could not be run\n{traceback.format_exc()}", flush=True)
            return
        if requests is not None:
            _keep(row, requests)
        wrong = scenario.wrong(row)
        if wrong:
            went_wrong.append(scenario.name)
        print("\n    ".join([line(row), *wrong]), flush=True)

    async def in_turn(scenario: AnyScenario) -> None:
        async with turns:
            await one(scenario)

    await asyncio.gather(*(in_turn(scenario) for scenario in scenarios if scenario.quota is None))
    for scenario in scenarios:
        if scenario.quota is not None:
            await one(scenario)
    return went_wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a scenario, or what the names of several begin with; all if none"
    )
    parser.add_argument("--quick", action="store_true", help="those that take two minutes together")
    parser.add_argument("--list", action="store_true", help="print the names, and run nothing")
    parser.add_argument("--at-a-time", type=int, default=12, help="scenarios side by side, where they mostly wait")
    parser.add_argument(
        "--requests",
        type=Path,
        metavar="FOLDER",
        help="write what each run sent there, as JSON lines in a file for each",
    )
    options = parser.parse_args()
    chosen = list({it.name: it for name in options.names or [""] for it in named(name)}.values())
    if options.quick:
        chosen = [scenario for scenario in chosen if scenario.part <= Part.QUICK]
    if not chosen:
        parser.error("no scenario has such a name; --list prints all")
    missing = {need.name: need for scenario in chosen for need in scenario.needs if need.missing}
    for need in missing.values():
        print(f"not installed: {need.name}  ({need.install})")
    if options.requests is not None:
        options.requests.mkdir(parents=True, exist_ok=True)
    if options.list:
        print("\n".join(scenario.name for scenario in chosen))
        return 0
    ready = [scenario for scenario in chosen if not any(need.missing for need in scenario.needs)]
    try:
        went_wrong = asyncio.run(_run(ready, options.at_a_time, options.requests))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    if went_wrong:
        print(f"went wrong: {', '.join(went_wrong)}")
    return 1 if went_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
