"""All figures by one command: ``python -m benchmarks [SUITE ...] [--quick] [--loop uvloop] [--json FILE]``.

Each suite runs in a process of its own, one after the other. What is compared does the same work on the same server in
the same run, in slices that take turns, and the median of their ratios counts. With ``--quick`` all of it takes less
than a minute, and says less; it fails where a ratio is far off, and never for a time. Peers need the ``bench`` extra.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.measuring import Figure, machine, use_loop

SUITES: Final = (
    "call", "latency", "opcodes", "convert", "pacing", "provision", "list", "imports", "memory", "connections",
)  # fmt: skip
_MODULES: Final = {
    "list": "benchmarks.listing",
    "pacing": "benchmarks.pacing_core",
    "provision": "benchmarks.provision_journal",
}


def _run(suite: str, loop: str, *, quick: bool) -> list[Figure]:
    command = [sys.executable, "-m", "benchmarks", suite, "--here", "--loop", loop, *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"the suite {suite} failed")
    return [Figure(**fields) for fields in json.loads(done.stdout)]


def _here(suite: str, loop: str, *, quick: bool) -> list[dict[str, Any]]:
    use_loop(loop)
    module = importlib.import_module(_MODULES.get(suite, f"benchmarks.{suite}"))
    return [attrs.asdict(figure) for figure in module.figures(quick=quick)]


def _line(figure: Figure) -> str:
    target = "" if figure.most is None else f"{figure.most:.3g}"
    return (
        f"  {figure.name:58} {figure.value:10.3f} {figure.unit:7} {target:>6} {figure.verdict:6} {figure.note}".rstrip()
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all where none is given")
    parser.add_argument("--quick", action="store_true", help="all within a minute")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio", help="the client's event loop")
    parser.add_argument("--json", type=Path, help="where the figures go, with what they were measured on")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.suites) - set(SUITES):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    suites = options.suites or SUITES
    if options.here:
        print(json.dumps(_here(suites[0], options.loop, quick=options.quick)))
        return 0
    facts = machine()
    print(
        f"Python {facts['python']}, {options.loop}, {facts['processor']}, {facts['cores']} cores; {facts['versions']}"
    )
    failed = 0
    tables: dict[str, list[Figure]] = {}
    for suite in suites:
        began = time.monotonic()
        tables[suite] = _run(suite, options.loop, quick=options.quick)
        print(f"{suite} ({time.monotonic() - began:.0f} s){'':53} value          target")
        for figure in tables[suite]:
            print(_line(figure))
            failed += figure.verdict == "FAILED"
    if options.json is not None:
        figures = {suite: [attrs.asdict(figure) for figure in table] for suite, table in tables.items()}
        options.json.write_text(
            json.dumps({"machine": facts, "loop": options.loop, "quick": options.quick, "figures": figures}, indent=1)
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
