"""Run a pacer through the zoo: ``python -m tests.zoo [KIND ...] [--seeds N] [--pacer module:Class] [--worst]``."""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from statistics import mean
from typing import Any

from clarus_async.config import PacingPolicy
from tests.zoo.runner import Clairvoyant, Constant, Line, Pacer, Result, Unpaced, run
from tests.zoo.wanted import WANTED
from tests.zoo.worlds import KINDS, World, world

_TRACED = 0.1
# Constant paces that are tried, by the quota.
_SLOWEST, _FINER, _PACES = 0.66, 0.01, 36
_WORST = 3


def pacer_of(name: str) -> Callable[[World], Pacer]:
    """Return what makes a world's pacer, by ``module:Class`` or name."""
    if name == "unpaced":
        return lambda _: Unpaced()
    if name == "clairvoyant":
        return Clairvoyant
    module, _, attribute = name.partition(":")
    kind: Callable[[PacingPolicy], Pacer] = getattr(importlib.import_module(module), attribute)
    return lambda it: kind(PacingPolicy() if it.rate is None else PacingPolicy(rate=it.rate, burst=it.burst))


def measure(kind: str, seed: int, pacer: str) -> dict[str, Any]:
    """Run one world, and return its figures."""
    it = world(kind, seed)
    if pacer == "constant":
        quota = it.quotas[0][1]
        paces = [quota * (_SLOWEST + _FINER * number) for number in range(_PACES)]
        result = max((run(world(kind, seed), Constant(pace)) for pace in paces), key=lambda one: one.goodput)
    else:
        result = run(it, pacer_of(pacer)(it))
    goodput = result.goodput
    if kind == "none":
        goodput = run(world(kind, seed), Unpaced()).seconds / result.seconds
    return {
        "kind": kind,
        "seed": seed,
        "goodput": goodput,
        "refused": result.refused,
        "share": result.refused / max(1, result.sent),
        "bounded": _bounded(kind, result),
        "contact": result.contact,
        "early": result.early,
        "done": result.done,
        "about": it.about,
        "rtt": it.rtt,
        "jitter": it.jitter,
        "jobs": it.jobs,
    }


def _bounded(kind: str, result: Result) -> bool:
    return result.refused <= WANTED[kind].refused * result.sent + 5 + result.contact


def _measure(task: tuple[str, int, str]) -> dict[str, Any]:
    return measure(*task)


def percentile(values: list[float], part: float) -> float:
    """Return the value that this part of all is below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the figures of one kind together."""
    kind = rows[0]["kind"]
    return {
        "kind": kind,
        "seeds": len(rows),
        "p5": percentile([row["goodput"] for row in rows], 0.05),
        "mean": mean(row["goodput"] for row in rows),
        "wanted": WANTED[kind].goodput,
        "refused": mean(row["share"] for row in rows),
        "refused p95": percentile([row["share"] for row in rows], 0.95),
        "refusals p95": percentile([row["refused"] for row in rows], 0.95),
        "bounded": mean(row["bounded"] for row in rows),
        "early": sum(row["early"] for row in rows),
        "unfinished": sum(not row["done"] for row in rows),
        "worst": sorted(rows, key=lambda row: float(row["goodput"]))[:_WORST],
    }


def _line(it: dict[str, Any]) -> str:
    wanted = it["wanted"]
    reached = wanted is None or it["p5"] >= wanted
    worst = " ".join(f"{row['seed']}:{row['goodput']:.2f}" for row in it["worst"])
    return (
        f"{it['kind']:<21}{it['seeds']:>5}  {it['p5']:>6.3f} {'    ' if wanted is None else f'{wanted:.2f}'}"
        f"{' ' if reached else '<'} {it['mean']:>6.3f}  {it['refused']:>6.2%} {it['refused p95']:>7.2%}"
        f" {it['refusals p95']:>5}  {it['bounded']:>5.0%}{' ' if it['bounded'] >= 0.95 else '<'}"
        f" {it['early']:>5} {it['unfinished']:>5}  {worst}"
    )


_HEAD = (
    f"{'kind':<21}{'seeds':>5}  {'p5':>6} want  {'mean':>6}  {'refd':>6} {'p95':>7} {'n p95':>5}"
    f"  {'few':>5}  {'early':>5} {'unfin':>5}  worst seeds"
)


def _compressed(lines: list[Line]) -> list[str]:
    """Tell what happened, tenth of a second by tenth."""
    told = [f"{'s':>8} {'sent':>5} {'adm':>5} {'ref':>5} {'out':>4} {'rate':>9}"]
    index = 0
    while index < len(lines):
        bucket = int(lines[index].at / _TRACED)
        counts = {"sent": 0, "admitted": 0, "refused": 0, "changed": 0}
        while index < len(lines) and int(lines[index].at / _TRACED) == bucket:
            counts[lines[index].event] += 1
            index += 1
        it = lines[index - 1]
        told.append(
            f"{bucket * _TRACED:>8.1f} {counts['sent']:>5} {counts['admitted']:>5} {counts['refused'] or '':>5}"
            f" {it.under_way:>4} {'' if it.rate is None else format(it.rate, '.2f'):>9}"
            f"{'  quota changed' if counts['changed'] else ''}"
        )
    return told


def trace(kind: str, seed: int, pacer: str) -> None:
    """Print what happens in one world."""
    it = world(kind, seed)
    lines: list[Line] = []
    result = run(it, pacer_of(pacer)(it), lines)
    print(f"{kind} {seed}: {it.about}; round trip {it.rtt * 1000:.1f} ms ± {it.jitter:.0%}, {it.jobs} creates,"
          f" clock from {it.start:.1f}")  # fmt: skip
    print("\n".join(_compressed(lines)))
    print(result)


def main() -> None:
    """Print the table, or a trace."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description="Prove a pacer on limiters of every kind.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"one of {', '.join(KINDS)}, or the beginning of some")
    parser.add_argument("--seeds", type=int, default=20, help="worlds of each kind")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument(
        "--pacer",
        default="clarus_async.ratelimit.limiter:AdaptiveRateLimiter",
        help="module:Class, unpaced, clairvoyant, or constant: the best constant pace, as is known afterwards",
    )
    parser.add_argument("--worst", action="store_true", help="tell the worst worlds' parameters")
    parser.add_argument("--json", action="store_true", help="one line for each world")
    parser.add_argument("--trace", nargs=2, metavar=("KIND", "SEED"), help="tell what happens in one world")
    options = parser.parse_args()
    if options.trace:
        trace(options.trace[0], int(options.trace[1]), options.pacer)
        return
    kinds = [kind for kind in KINDS if not options.kinds or any(kind.startswith(name) for name in options.kinds)]
    kinds = [kind for kind in kinds if kind in options.kinds or not _exact(kind, options.kinds)]
    if not kinds:
        sys.exit(f"no kind begins with {' or '.join(options.kinds)}")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    began = time.monotonic()
    if not options.json:
        print(_HEAD)
    with multiprocessing.Pool(options.jobs) as pool:
        for kind in kinds:
            rows = pool.map(_measure, [(kind, seed, options.pacer) for seed in seeds], chunksize=1)
            if options.json:
                print("\n".join(json.dumps(row) for row in rows), flush=True)
                continue
            it = summary(rows)
            print(_line(it), flush=True)
            if options.worst:
                for row in it["worst"]:
                    print(f"    {row['seed']:>5}: {row['goodput']:.3f}, {row['refused']} of {row['jobs']} refused,"
                          f" {row['rtt'] * 1000:.1f} ms ± {row['jitter']:.0%}, {row['about']}")  # fmt: skip
    if not options.json:
        print(f"{time.monotonic() - began:.0f} s")


def _exact(kind: str, names: list[str]) -> bool:
    """Whether a kind is meant only as the beginning of a name that is a kind itself."""
    matching = [name for name in names if kind.startswith(name)]
    return bool(matching) and all(name in KINDS for name in matching)


if __name__ == "__main__":
    main()
