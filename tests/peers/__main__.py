"""Run scenarios against others' software: ``python -m tests.peers [NAME ...] [--quick] [--list]``.

A name stands for every scenario that it begins. What is not installed is listed, with the command that installs it, and
nothing is installed. One table is printed; the exit status is 1 where a record was lost, failed, stored twice, or told
of untruly or not at all.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import TypeAlias

from tests.peers import gateways, hostile, limiters, tokens, tour
from tests.peers.scenario import Part, Row, Scenario

AnyScenario: TypeAlias = Scenario | tokens.Runs | tokens.Calls | tour.Tour | hostile.Hostile
SCENARIOS: tuple[AnyScenario, ...] = (
    *gateways.SCENARIOS,
    *limiters.SCENARIOS,
    *tokens.SCENARIOS,
    *tour.SCENARIOS,
    *hostile.SCENARIOS,
)

_COLUMNS = ("peer", "records", "goodput", "refused", "failed", "untold", "lost", "twice", "untrue", "seconds", "pace")
_LINE = "{:44} {:>7} {:>7} {:>7} {:>6} {:>6} {:>5} {:>5} {:>6} {:>7}  {}"


def _line(row: Row) -> str:
    goodput = "" if row.goodput is None else f"{row.goodput:.2f}"
    counts = row.failed, row.untold, row.lost, row.twice, row.untrue
    return _LINE.format(row.peer, row.records, goodput, f"{row.refused:.1%}", *counts, f"{row.seconds:.1f}", row.pace)


async def _run(scenarios: Sequence[AnyScenario], at_a_time: int) -> list[str]:
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
        wrong = scenario.wrong(row)
        if wrong:
            went_wrong.append(scenario.name)
        print("\n    ".join([_line(row), *wrong]), flush=True)

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
    parser.add_argument("names", nargs="*", metavar="NAME", help="what the names of scenarios begin with; all if none")
    parser.add_argument("--quick", action="store_true", help="those that take two minutes together")
    parser.add_argument("--list", action="store_true", help="print the names, and run nothing")
    parser.add_argument("--at-a-time", type=int, default=12, help="scenarios side by side, where they mostly wait")
    options = parser.parse_args()
    chosen = [scenario for scenario in SCENARIOS if any(map(scenario.name.startswith, options.names or [""]))]
    if options.quick:
        chosen = [scenario for scenario in chosen if scenario.part <= Part.QUICK]
    if not chosen:
        parser.error("no scenario has such a name; --list prints all")
    missing = {need.name: need for scenario in chosen for need in scenario.needs if need.missing}
    for need in missing.values():
        print(f"not installed: {need.name}  ({need.install})")
    if options.list:
        print("\n".join(scenario.name for scenario in chosen))
        return 0
    ready = [scenario for scenario in chosen if not any(need.missing for need in scenario.needs)]
    try:
        went_wrong = asyncio.run(_run(ready, options.at_a_time))
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    if went_wrong:
        print(f"went wrong: {', '.join(went_wrong)}")
    return 1 if went_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
