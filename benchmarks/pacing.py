"""The client beside others that people write or take, before the same rate limiters: a table in Markdown on stdout.

``python -m benchmarks.pacing [--only LIMITER] [--client CLIENT] [--runs N]``: every client has a server of its own and
begins cold, 1,000 creates, 64 wide; the limiters are nginx and HAProxy as they are installed. All of it takes about a
quarter of an hour, a limiter about two minutes; ``--list`` prints the names. ``python -m benchmarks.pacing --plot
FILE.svg --only LIMITER`` draws one run of this package's client.

"Of the quota" is ``(created - 1) / (requests a second that are admitted in the long run * seconds)``, up to the last
record: what a limiter lets through at once can bring it above 1. A 503 and a 504 prove nothing: this package's client
looks such a record up before it sends it again, and once more after that, each ``Timeouts.settle`` (60 s) later.
"Refused" are 429 and 503 of all answers, by the server's count. "Failed" records were given up, or told as there and
are not. The exit status is 1 where this package's client failed a record or stored one twice. Needs the ``bench`` and
``dev`` extras, nginx and HAProxy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.pacing_clients import Run, create_with, provision
from benchmarks.pacing_limiters import LIMITERS, Limiter, serving
from benchmarks.pacing_plot import Picture, Point, svg
from benchmarks.peers import PEERS, WIDTH
from tests.peers.scenario import Row, judge

OURS = "clarus_async"
CLIENTS = (OURS, *PEERS)

# Limits are about seconds: a client that is not done by then is stopped, and its other records count as failed.
_WITHIN = 300.0


class Result(NamedTuple):
    """What a client came to before a limiter."""

    quota: float | None  # the part of it that was used; ``None`` where more than a tenth of the records failed
    refused: float  # of all answers
    failed: int  # records that were given up, or told as there and are not
    twice: int  # records that are stored more than once
    most: float  # seconds until 99 of 100 records were there
    seconds: float  # until the last one was


async def measured(limiter: str, client: str, creates: int) -> tuple[Result, Run]:
    """Have a client do the job once."""
    async with serving(LIMITERS[limiter]) as server:
        if client == OURS:
            run = await provision(server, creates, _WITHIN)
        else:
            run = await create_with(PEERS[client], server, creates, _WITHIN)
        statuses = server.statuses()
        stored = await server.stored()
    there = sorted(at - run.began_at for at, told in zip(run.told_at, run.told, strict=True) if told.ok) or [0.0]
    seconds = there[-1]
    row = judge(
        Row(peer=client, records=creates, goodput=None, refused=0.0, seconds=seconds, pace="", told=run.told), stored
    )
    failed = row.failed + row.untold + row.lost
    return Result(
        # The few that came through may be no more than what is let through at once.
        quota=None if failed > creates / 10 else (creates - failed - 1) / (LIMITERS[limiter].rate * seconds),
        refused=(statuses[429] + statuses[503]) / max(1, statuses.total()),
        failed=failed,
        twice=row.twice,
        most=there[math.ceil(0.99 * len(there)) - 1],
        seconds=seconds,
    ), run


def picture(limiter: Limiter, run: Run, result: Result, creates: int) -> Picture:
    """Say what of a run is drawn."""
    created = creates - result.failed
    return Picture(
        title=limiter.title,
        subtitle=f"clarus_async is told nothing of it: {created:,} records, {WIDTH} at once, in {result.seconds:.1f} s "
        f"({created / result.seconds:.0f} a second); {100 * result.refused:.1f} % of the requests refused",
        quota=limiter.rate,
        seconds=run.told_at[-1] - run.began_at,
        attempts=run.attempts,
        began_at=run.began_at,
        believed=[Point(pace.at - run.began_at, pace.rate) for pace in run.paces],
        turns=list(limiter.turns(run.began_at, run.told_at[-1])),
    )


async def _in_a_process(limiter: str, client: str, creates: int) -> Result | None:
    # One that is cold in every respect, and whose CPU is no other client's.
    command = [sys.executable, "-m", __spec__.name, "--here", "--only", limiter, "--client", client,
               "--creates", str(creates)]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        answer, _ = await process.communicate()
    except asyncio.CancelledError:
        # It ends the servers that it has started. Its own terminate() would reap it before asyncio does.
        os.kill(process.pid, signal.SIGTERM)
        await process.wait()
        raise
    return None if process.returncode else Result(**json.loads(answer))


async def _all(options: argparse.Namespace) -> dict[tuple[str, str], list[Result]]:
    at_a_time = asyncio.Semaphore(options.at_a_time)
    results: dict[tuple[str, str], list[Result]] = {
        (limiter, client): [] for limiter in options.only for client in options.client
    }

    async def one(limiter: str, client: str) -> None:
        async with at_a_time:
            result = await _in_a_process(limiter, client, options.creates)
        if result is not None:
            results[limiter, client].append(result)
        print(f"{limiter}: {client}: {_cells([result] if result else [])}", file=sys.stderr, flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(options.runs):
            for pair in results:
                group.create_task(one(*pair))
    return results


def _cells(results: Sequence[Result]) -> str:
    if not results:
        return "could not be run | | | | | "
    quotas = [result.quota for result in results if result.quota is not None]
    cells = (
        f"{statistics.median(quotas):.2f}" if quotas else "-",
        f"{100 * statistics.median(result.refused for result in results):.1f} %",
        f"{sum(result.failed for result in results):,}",
        f"{sum(result.twice for result in results):,}",
        f"{statistics.median(result.most for result in results):.1f}",
        f"{statistics.median(result.seconds for result in results):.1f}",
    )
    return " | ".join(cells)


def _table(results: dict[tuple[str, str], list[Result]], only: Sequence[str]) -> str:
    lines = []
    for limiter in only:
        lines += [f"### {LIMITERS[limiter].title}", ""]
        lines += [
            "| client | of the quota | refused | failed | stored twice | seconds to 99 % | to the last |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [f"| {client} | {_cells(those)} |" for (of, client), those in results.items() if of == limiter]
        lines += [""]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pacing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=LIMITERS, metavar="LIMITER", help="may be repeated")
    parser.add_argument("--client", action="append", choices=CLIENTS, metavar="CLIENT", help="may be repeated")
    parser.add_argument("--creates", type=int, default=1_000, metavar="N", help="of each client (default: 1,000)")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="of which the medians are shown, and the sums")
    parser.add_argument("--at-a-time", type=int, default=2, metavar="N", help="clients side by side (default: 2)")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw one run of this package's client instead")
    parser.add_argument("--list", action="store_true", help="print the names, and run nothing")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser


async def _main(options: argparse.Namespace) -> int:
    # A command that is told to end must not leave servers behind.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if options.here:
        result, _ = await measured(options.only[0], options.client[0], options.creates)
        print(json.dumps(result._asdict()))
        return 0
    if options.plot is not None:
        result, run = await measured(options.only[0], OURS, options.creates)
        drawn = svg(picture(LIMITERS[options.only[0]], run, result, options.creates))
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        options.plot.write_text(drawn, encoding="utf-8")
        return 0
    results = await _all(options)
    print(_table(results, options.only))
    if not all(results.values()):
        return 1
    ours = (result for (_, client), those in results.items() if client == OURS for result in those)
    return 1 if any(result.failed or result.twice for result in ours) else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        for title, names in (("limiters", LIMITERS), ("clients", CLIENTS)):
            print(f"{title}: {', '.join(names)}")
        return 0
    if options.plot is not None and (options.client or len(options.only or ()) != 1):
        parser.error("--plot takes one --only and no --client")
    options.only = options.only or list(LIMITERS)
    options.client = options.client or list(CLIENTS)
    try:
        return asyncio.run(_main(options))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main())
