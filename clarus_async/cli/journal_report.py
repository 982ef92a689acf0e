"""``clarus report``: what became of the records of a journal, as results, in a few words, or as a page."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

from clarus_async.cli.connection import connect
from clarus_async.cli.formats import format_of
from clarus_async.cli.output import Exit, Results
from clarus_async.cli.streams import is_terminal, say
from clarus_async.cli.summary import SHOWN, Summary
from clarus_async.client import ClarusClient
from clarus_async.errors import ConfigurationError, JournalError
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.report import Outcome, OutcomeStatus
from clarus_async.provisioning.review import History, history_of, outcomes_of
from clarus_async.resources.table import RESOURCES

_IN_FLIGHT: Final = "in-flight"
_ON_THE_PAGE: Final = 100  # of each kind of trouble: with that, a page is some 100 KB, and can be mailed


def main(args: SimpleNamespace) -> int:
    """Run ``clarus report``."""
    return asyncio.run(_main(args, _statuses(args.status), connect(args) if args.look else None))


def _statuses(names: Sequence[str]) -> Collection[str | None] | None:
    """Return the statuses as a journal has them; ``None`` in it is in flight."""
    known = [*(status.value for status in OutcomeStatus if not status.startswith("would_")), _IN_FLIGHT]
    for name in names:
        if name not in known:
            raise ConfigurationError(f"--status: must be one of {', '.join(known)}")
    return [None if name == _IN_FLIGHT else name for name in names] or None


async def _main(
    args: SimpleNamespace,
    statuses: Collection[str | None] | None,
    opening: AbstractAsyncContextManager[ClarusClient] | None,
) -> int:
    well = True

    async def write(outcomes: AsyncGenerator[Outcome]) -> None:
        nonlocal well
        async with aclosing(outcomes):
            async for outcome in outcomes:
                well = well and outcome.status.ok
                wanted = statuses is None or outcome.status in statuses or None in statuses
                if wanted and not await results.write(_shown(outcome)):
                    break

    async with Results(format_of(args.output, sys.stdout)) as results:
        if opening is not None:
            async with _opened(args.journal) as journal:
                resource = journal.file.resource
            async with opening as client:
                await write(getattr(client, resource).review(args.journal))
        async with _opened(args.journal) as journal:
            history = await history_of(journal, _ON_THE_PAGE)
            # A person at a terminal wants the sums, and may ask for more; a program wants the outcomes.
            if opening is None and (statuses or args.output or not (args.html or is_terminal(sys.stdout))):
                await write(outcomes_of(journal, statuses))
    if args.html is not None:
        from clarus_async.cli.html_report import write_page

        write_page(args.html, history, args.journal)
    for line in _summary(history):
        say(line)
    return Exit.OK if well and history.report.ok and not history.cut_off else Exit.FAILED


def _shown(outcome: Outcome) -> dict[str, Any]:
    # A journal does not know the lines of its input.
    return {name: value for name, value in outcome.to_dict().items() if name not in {"line", "changes"}}


@asynccontextmanager
async def _opened(path: str) -> AsyncIterator[Journal]:
    """Open a journal of any job."""
    journal = Journal(JournalFile(path, operation=None))
    try:
        await journal.open(make=False, known=False)
        if journal.file.resource not in RESOURCES:
            raise JournalError(
                f"journal {path}: its records are {journal.file.resource}, which this release does not have"
            )
        yield journal
    finally:
        await journal.close()


def _summary(history: History) -> list[str]:
    report, stretches = history.report, history.stretches
    spec = RESOURCES[history.job["resource"]]
    summary = Summary(spec=spec, report=report, taken=report.total, differing=Counter(history.differing))
    first = sorted((outcome for some in history.shown.values() for outcome in some), key=lambda one: one.index)
    for outcome in first[:SHOWN]:
        summary.note(outcome)
    lines = [*summary.lines(None)]
    if stretches:
        requests, refused, seconds = (sum(one[place] for one in stretches) for place in (3, 4, 1))
        runs = "1 run" if len(history.runs) == 1 else f"{len(history.runs):,} runs"
        lines.append(f"{requests:,} requests in {runs}, {seconds:,.1f} s; {refused:,} refused by the rate limit")
    if history.cut_off:
        lines.append("clarus: the last run was cut off; to go on, run the same command again with this journal")
    return lines
