"""What ``import clarus_async`` costs over ``import aiohttp``: CPU of a new process, interleaved, the least of each."""

import os
import statistics
import sys

ROUNDS = 40
PROGRAMS = {"aiohttp": "import aiohttp", "clarus_async": "import clarus_async"}


def cpu_milliseconds(program: str) -> float:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", program], os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"failed: {program}")
    return (usage.ru_utime + usage.ru_stime) * 1000


def main() -> None:
    for program in PROGRAMS.values():
        cpu_milliseconds(program)  # writes the bytecode
    measured = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            measured[name].append(cpu_milliseconds(program))
    for name, times in measured.items():
        print(f"{name:14} least {min(times):6.1f} ms, median {statistics.median(times):6.1f} ms of CPU")
    least, median = (f(measured["clarus_async"]) - f(measured["aiohttp"]) for f in (min, statistics.median))
    print(f"{'difference':14} least {least:6.1f} ms, median {median:6.1f} ms")


if __name__ == "__main__":
    main()
