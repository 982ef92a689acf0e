"""``python -m tests.fuzz [--seconds 600] [--only NAME] [--seed N]``: everything that reads what it can't trust.

Each target gets its share of the time, or all of it with ``--only``; where atheris is installed (extra ``fuzz``), it
takes half of that. No target may raise but as it says it does, nor make a value that breaks its type, nor take long;
and what we print is read back as it was. What breaks that is printed as a Python literal, and the exit status is 1.

``python -m tests.fuzz files`` gives whole files to the command; see ``tests.fuzz.chaos``.
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.fuzz import chaos
from tests.fuzz.engine import HAS_ATHERIS, Result, Target, with_atheris, with_hypothesis
from tests.fuzz.targets import TARGETS

# Instrumented, the package takes some seconds to import.
_WORTH_ATHERIS = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="in total (default: 600)")
    parser.add_argument("--only", choices=TARGETS, action="append", metavar="NAME", help=", ".join(TARGETS))
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    args = parser.parse_args()
    seed = random.randrange(2**31) if args.seed is None else args.seed
    targets = [TARGETS[name] for name in args.only or TARGETS]
    share = args.seconds / len(targets)
    both = HAS_ATHERIS and share >= _WORTH_ATHERIS
    print(f"seed {seed}, {share:.0f} s each, {'hypothesis and atheris' if both else 'hypothesis'}")
    results = [result for target in targets for result in _run(target, share, seed, both=both)]
    return int(any(result.failed is not None for result in results))


def _run(target: Target, seconds: float, seed: int, *, both: bool) -> list[Result]:
    ways = [("hypothesis", with_hypothesis), ("atheris", with_atheris)] if both else [("hypothesis", with_hypothesis)]
    results = []
    for name, run in ways:
        result = run(target, seconds / len(ways), seed)
        verdict = "ok" if result.failed is None else "FAILED"
        print(
            f"{target.name:<12} {name:<10} {result.cases:>9,} cases {result.seconds:7.1f} s"
            f"  slowest {result.slowest * 1e3:7.1f} ms  {verdict}",
            flush=True,
        )
        if result.failed is not None:
            print(f"  {result.error}\n  TARGETS[{target.name!r}].check({result.failed})", flush=True)
        results.append(result)
    return results


if __name__ == "__main__":
    sys.exit(chaos.main(sys.argv[2:]) if sys.argv[1:2] == ["files"] else main())
