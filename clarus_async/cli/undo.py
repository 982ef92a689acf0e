"""``clarus undo``: what a run created, disabled or deleted."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Final

from clarus_async.cli.bulk import asked, counted
from clarus_async.cli.connection import connect, resource_of
from clarus_async.cli.output import Exit
from clarus_async.cli.progress import ProgressView, drawing_of
from clarus_async.cli.provision import deliver_outcomes
from clarus_async.cli.streams import say
from clarus_async.cli.summary import Summary
from clarus_async.client import ClarusClient
from clarus_async.provisioning.options import Options

_SILENT: Final = 1.0  # seconds after which it is said what is waited for
_NOTES: Final = {
    "in_doubt": "in doubt",
    "there_before": "there before and left alone",
    "updated": "updated, which can't be undone",
    "disabled": "disabled already",
    "deleted": "deleted already",
}


def main(args: SimpleNamespace) -> int:
    """Run ``clarus undo``."""
    return asyncio.run(_main(args, connect(args, max_connections=max(64, args.concurrency))))


async def _main(args: SimpleNamespace, opening: AbstractAsyncContextManager[ClarusClient]) -> int:
    async with opening as client:
        undo = resource_of(client, args).undo(args.journal, delete=args.delete)
        loop = asyncio.get_running_loop()
        looking = loop.call_later(_SILENT, say, "clarus: asking the server about what was in doubt")
        async with undo:
            looking.cancel()
            counts, total = undo.counts, undo.total
            # What is disabled can be deleted.
            names = [name for name in _NOTES if counts[name] and not (args.delete and name == "disabled")]
            notes = "; ".join(f"{_NOTES[name]}: {counts[name]:,}" for name in names)
            about = f"{args.journal} created {counted(args.resource, total)} in tenant {client.subdomain}"
            about += f" ({notes}): " if notes else ": "
            if not total:
                say(f"clarus: {about}there is nothing to undo")
                return Exit.FAILED if counts["in_doubt"] else Exit.OK
            doing = f"{'delete' if args.delete else 'disable'} {'it' if total == 1 else 'them'}"
            if (answer := await asked(doing, args, about)) is not None:
                return answer
            summary = Summary(spec=args.resource, total=total + counts["in_doubt"])
            how_to_go_on = "clarus: to go on, run the same command again"
            with summary.told_at_the_end(how_to_go_on), ProgressView(drawing_of()) as view:
                run = undo.run(Options(args.concurrency, max_failures=args.max_failures))
                return await deliver_outcomes(run, args, view, summary)
