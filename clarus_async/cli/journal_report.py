"""``clarus report``: what became of the records of a journal."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import AbstractAsyncContextManager, aclosing
from types import SimpleNamespace

import attrs

from clarus_async.cli.connection import connect, resource_of
from clarus_async.cli.formats import format_of
from clarus_async.cli.output import Exit, Results
from clarus_async.cli.streams import say
from clarus_async.cli.summary import SHOWN, Summary
from clarus_async.client import ClarusClient
from clarus_async.provisioning.journal.file import JournalFile
from clarus_async.provisioning.journal.journal import Journal
from clarus_async.provisioning.report import Outcome, Report
from clarus_async.provisioning.review import report_of, troubled


def main(args: SimpleNamespace) -> int:
    """Run ``clarus report``."""
    return asyncio.run(_main(args, connect(args) if args.look else None))


async def _main(args: SimpleNamespace, opening: AbstractAsyncContextManager[ClarusClient] | None) -> int:
    async with Results(format_of(args.output, sys.stdout)) as results:
        if opening is not None:
            async with opening as client, aclosing(resource_of(client, args).review(args.journal)) as outcomes:
                async for outcome in outcomes:
                    await results.write(attrs.asdict(outcome))
        report, not_ok, differs = await _read(args.journal, args.resource.name)
        await results.write(report.as_dict())
    summary = Summary(spec=args.resource, report=report, taken=report.total, differing=Counter(differs))
    for outcome in not_ok:
        summary.note(outcome)
    for line in summary.lines(None):
        say(line)
    return Exit.OK if report.ok else Exit.FAILED


async def _read(path: str, resource: str) -> tuple[Report, list[Outcome], dict[tuple[str, ...], int]]:
    journal = Journal(JournalFile(path, resource=resource))
    try:
        await journal.open(make=False)
        return await report_of(journal), await troubled(journal, SHOWN), await journal.run(journal.file.differing)
    finally:
        await journal.close()
