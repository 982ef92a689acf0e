"""``python -m tests.simulation [--seeds N] [--first N] [--jobs N] [--trace] [--stop] [--mutants] [--only TEXT]``."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.simulation.oracle import judge
from tests.simulation.plan import make_plan
from tests.simulation.world import run_plan


def run_seed(seed: int) -> dict[str, Any]:
    """Run one world and judge it."""
    began = time.perf_counter()
    try:
        history = run_plan(make_plan(seed))
    except Exception:  # noqa: BLE001  one world that raises is a finding, and no end of the others
        return {"seed": seed, "broken": [["nothing is raised", traceback.format_exc()]], "took": 0.0, "seconds": 0.0}
    broken = judge(history)
    return {
        "seed": seed,
        "digest": history.digest,
        "seconds": history.seconds,
        "took": time.perf_counter() - began,
        "requests": len(history.sim.requests),
        "creates": sum(attempt.marker is not None for attempt in history.tap.attempts),
        "lives": history.tap.life,
        "broken": [list(one) for one in broken],
    }


def trace(seed: int) -> int:
    """Print what happens in one world, and what it breaks."""
    history = run_plan(make_plan(seed))
    print(history.plan)
    print("\n".join(history.tap.trace))
    broken = judge(history)
    for one in broken:
        print(f"BROKEN {one.promise}: {one.how}")
    print(f"seed {seed}: trace {history.digest}, {len(broken)} broken promises")
    return 1 if broken else 0


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--trace", action="store_true", help="print what happens with the first seed")
    parser.add_argument("--mutants", action="store_true", help="plant faults in a copy; each must be caught")
    parser.add_argument("--only", help="mutants whose fault contains this")
    parser.add_argument("--stop", action="store_true", help="at the first broken promise")
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args()
    if options.trace:
        return trace(options.first)
    if options.mutants:
        from tests.simulation.mutants import run_mutants

        return run_mutants(options.seeds, options.jobs, options.only)
    began = time.perf_counter()
    rows = []
    seeds = range(options.first, options.first + options.seeds)
    with ProcessPoolExecutor(options.jobs) as pool:
        for row in pool.map(run_seed, seeds, chunksize=10) if options.jobs > 1 else map(run_seed, seeds):
            rows.append(row)
            for promise, how in row["broken"]:
                print(f"seed {row['seed']} broke {promise}: {how}", flush=True)
            if row["broken"] and options.stop:
                break
            if len(rows) % 500 == 0:
                print(f"{len(rows)} seeds, {sum(bool(row['broken']) for row in rows)} broken", file=sys.stderr)
    wall = time.perf_counter() - began
    broken = [row for row in rows if row["broken"]]
    virtual, took = sum(row["seconds"] for row in rows), sum(row["took"] for row in rows)
    figures = {
        "seeds": len(rows),
        "broken": len(broken),
        "promises": Counter(promise for row in broken for promise in {promise for promise, _ in row["broken"]}),
        "requests": sum(row.get("requests", 0) for row in rows),
        "creates": sum(row.get("creates", 0) for row in rows),
        "processes that ended": sum(row.get("lives", 1) - 1 for row in rows),
        "virtual seconds": round(virtual),
        "seconds": round(wall, 1),
        "times as fast as time, each process": round(virtual / took) if took else 0,
    }
    for name, figure in figures.items():
        print(f"{name}: {figure}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures | {"rows": rows}, indent=1))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
