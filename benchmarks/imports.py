"""What importing the client costs over ``import aiohttp``: CPU of a new process, interleaved, the least of each."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from typing import Final

from benchmarks.measuring import Figure

_PROGRAMS: Final = {"aiohttp": "import aiohttp", "clarus_async": "from clarus_async import ClarusClient"}
_OPTIONAL: Final = ("cattrs", "graphql", "redis", "rich", "sqlite3", "tenacity", "uvloop")


def _cpu_milliseconds(program: str) -> float:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", program], os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"failed: {program}")
    return (usage.ru_utime + usage.ru_stime) * 1000


def figures(*, quick: bool) -> list[Figure]:
    """Measure, and return the table."""
    # The bytecode is written first.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for program in _PROGRAMS.values():
        _cpu_milliseconds(program)
    taken: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    for _ in range(8 if quick else 40):
        for name, program in _PROGRAMS.items():
            taken[name].append(_cpu_milliseconds(program))
    least = {name: min(times) for name, times in taken.items()}
    pairs = zip(taken["clarus_async"], taken["aiohttp"], strict=True)
    middle = statistics.median(ours - theirs for ours, theirs in pairs)
    asked = f"{_PROGRAMS['clarus_async']}; import sys; print(*[name for name in {_OPTIONAL} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    loaded = done.stdout.split()
    over = least["clarus_async"] - least["aiohttp"]
    return [
        Figure(name="import aiohttp", value=least["aiohttp"], unit="ms CPU"),
        Figure(name="import clarus_async over that", value=over, unit="ms CPU", note=f"median {middle:.0f}"),
        # 30 ms where aiohttp takes 170.
        Figure(name="the same, as a part of aiohttp's", value=over / least["aiohttp"], most=0.18, fails=1.0),
        Figure(name="optional packages that it imports", value=len(loaded), most=0, fails=0, note=" ".join(loaded)),
    ]
