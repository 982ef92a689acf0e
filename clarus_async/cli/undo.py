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


def main(args: SimpleNamespace) -> int:
    """Run ``clarus undo``."""
    return asyncio.run(_main(args, connect(args, max_connections=max(64, args.concurrency))))


async def _main(args: SimpleNamespace, opening: AbstractAsyncContextManager[ClarusClient]) -> int:
    async with opening as client:
        looking = asyncio.get_running_loop().call_later(
            _SILENT, say, "clarus: asking the server about what was in doubt"
        )
        async with resource_of(client, args).undo(args.journal, delete=args.delete) as undo:
            looking.cancel()
            counts, total = undo.counts, undo.total
            notes = {
                "in_doubt": "{} more may be there: nobody knows",
                "there_before": "{} were there before and are left alone",
                "updated": "{} that it updated can't be undone",
                "disabled": "{} are disabled already",
                "deleted": "{} are deleted already",
            }
            if args.delete:
                del notes["disabled"]
            said = "; ".join(note.format(f"{counts[name]:,}") for name, note in notes.items() if counts[name])
            created = f"{args.journal} created {counted(args.resource, total)} in tenant {client.subdomain}"
            what = created + (f" ({said})" if said else "")
            if not total:
                say(f"clarus: {what}: there is nothing to undo")
                return Exit.FAILED if counts["in_doubt"] else Exit.OK
            doing = f"{'delete' if args.delete else 'disable'} {'it' if total == 1 else 'them'}"
            if (answer := await asked(doing, args, f"{what}: ")) is not None:
                return answer
            total += counts["in_doubt"]
            summary = Summary(spec=args.resource, total=total)
            with (
                summary.told_at_the_end("clarus: to go on, run the same command again"),
                ProgressView(drawing_of()) as view,
            ):
                options = Options(args.concurrency, max_failures=args.max_failures)
                return await deliver_outcomes(undo.run(options), args, view, summary)
