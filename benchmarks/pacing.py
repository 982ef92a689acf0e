"""How well the client finds a hidden rate limit and keeps to it, over real sockets: tables in Markdown on stdout.

``python -m benchmarks.pacing`` runs everything in about 13 minutes, ``--quick`` the short ones in about one, ``--only
NAME`` one of them. The exit code is 1 where a target is missed.

Goodput is ``(creates - 1) / (quota a second) / wall time``, from the first call to the last success. Shares of 429s are
the server's count; what the client reports stands beside it. In the tests of time, a job has settled at the first
moment from which the next 5 s are as wanted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, NamedTuple

import attrs

from benchmarks import pacing_list
from benchmarks.pacing_report import Cell, Row, markdown

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from benchmarks.pacing_list import Scenario

# Bound by their quota, these sleep most of the time; more of them would be in each other's way.
_AT_ONCE = 6
# A process and its server take a core for about as long to start.
_STAGGER = 1.5
_SPAWN = multiprocessing.get_context("spawn")

_TABLES = {
    "peers": ("One job of 1,000 creates, 64 wide, from cold; hidden quota of 100/s sliding", "client", False),
    "targets": ("Hidden quotas", "scenario", True),
    "headers": ("Quotas that answers tell of", "scenario", True),
    "machine": ("Where the machine is the limit", "scenario", True),
    "times": ("Times to settle", "scenario", True),
}


@attrs.define
class _Running:
    scenario: Scenario
    process: BaseProcess
    ends_by: float


class Outcomes(NamedTuple):
    """What the scenarios came to.

    Args:
        rows: by name.
        busy: which part of the machine's cores they used.
    """

    rows: dict[str, Row]
    busy: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit code.

    Args:
        arguments: the command line's.
    """
    options = _parser().parse_args(arguments)
    chosen = [
        scenario
        for scenario in pacing_list.scenarios(options.scale).values()
        if (scenario.name in options.only if options.only else scenario.quick or not options.quick)
    ]
    outcomes = _run_all(chosen, options.scale)
    for table, (heading, first, verdict) in _TABLES.items():
        rows = [outcomes.rows[scenario.name] for scenario in chosen if scenario.table == table]
        if rows:
            print(markdown(heading, first, rows, verdict=verdict))
    _say(f"{100 * outcomes.busy:.0f} % of {os.cpu_count()} cores were used")
    wanted = [scenario for scenario in chosen if _TABLES[scenario.table][2]]
    return 0 if all(outcomes.rows[scenario.name].ok for scenario in wanted) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pacing", description="Measure the client's pacing.")
    parser.add_argument("--quick", action="store_true", help="only what takes seconds")
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        choices=list(pacing_list.scenarios()),
        help=f"only this one; may be repeated: {', '.join(pacing_list.scenarios())}",
    )
    parser.add_argument(
        "--scale", metavar="PART", type=float, default=1.0, help="a part of the creates and seconds, to try it out"
    )
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run_all(chosen: Iterable[Scenario], scale: float) -> Outcomes:
    started = time.monotonic()
    rows: dict[str, Row] = {}
    # The longest first: what is short fits in beside it.
    longest_first = sorted(chosen, key=lambda scenario: -scenario.seconds)
    for at_once, alone in ((_AT_ONCE, False), (1, True)):
        queue = [scenario for scenario in longest_first if scenario.alone is alone]
        _run_some(
            queue, at_once, scale, lambda scenario, cells: rows.update({scenario.name: Row(scenario.title, cells)})
        )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cores = os.cpu_count() or 1
    return Outcomes(rows, (used.ru_utime + used.ru_stime) / cores / (time.monotonic() - started))


def _run_some(
    queue: list[Scenario], at_once: int, scale: float, done: Callable[[Scenario, dict[str, Cell]], None]
) -> None:
    running: dict[Connection, _Running] = {}
    start_at = time.monotonic()
    try:
        while queue or running:
            now = time.monotonic()
            if queue and len(running) < at_once and now >= start_at:
                scenario = queue.pop(0)
                start_at = now + _STAGGER
                _say(f"{scenario.name} runs, for about {scenario.seconds:.0f} s")
                running.update([_start(scenario, scale, now)])
            ready = wait(list(running), timeout=0.25)
            for pipe, one in tuple(running.items()):
                if pipe in ready or time.monotonic() >= one.ends_by:
                    del running[pipe]
                    cells = _ended(pipe, one, answered=pipe in ready)
                    _say(f"{one.scenario.name}: " + ", ".join(f"{name} {cell.text}" for name, cell in cells.items()))
                    done(one.scenario, cells)
    finally:
        for pipe, one in running.items():
            _stop(pipe, one.process)


def _start(scenario: Scenario, scale: float, now: float) -> tuple[Connection, _Running]:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_in_a_process, args=(theirs, scenario.name, scale))
    process.start()
    theirs.close()
    return ours, _Running(scenario, process, now + 3 * scenario.seconds + 60)


def _ended(pipe: Connection, one: _Running, *, answered: bool) -> dict[str, Cell]:
    try:
        if not answered:
            return {"failure": Cell(f"no end within {3 * one.scenario.seconds + 60:.0f} s", "an end", ok=False)}
        cells: dict[str, Cell] | str = pipe.recv()
        if isinstance(cells, str):
            _say(cells)
            return {"failure": Cell(cells.strip().splitlines()[-1], "none", ok=False)}
        return cells
    except EOFError:
        return {"failure": Cell("its process died", "none", ok=False)}
    finally:
        _stop(pipe, one.process, patience=5.0 if answered else 0.0)


def _stop(pipe: Connection, process: BaseProcess, patience: float = 0.0) -> None:
    pipe.close()
    process.join(patience)
    if process.is_alive():
        process.terminate()
        process.join(5.0)
    if process.is_alive():
        process.kill()
        process.join()


def _in_a_process(pipe: Connection, name: str, scale: float) -> None:
    # Ctrl-C reaches the whole group: the first process ends this one, and this one its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        pipe.send(pacing_list.scenarios(scale)[name].run())
    except Exception:  # noqa: BLE001  told of in its row, and the others go on
        pipe.send(traceback.format_exc())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
