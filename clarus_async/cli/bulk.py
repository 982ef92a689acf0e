"""``clarus delete``, ``update`` and ``sync`` with ``--from``: what is done to one record, done to those of a file."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Final

from clarus_async.cli.connection import connect, require_operation, resource_of
from clarus_async.cli.output import Exit, refuse_rows
from clarus_async.cli.progress import ProgressView, drawing_of
from clarus_async.cli.provision import deliver_outcomes
from clarus_async.cli.record_input import Input, InputRecords, Problems, open_input
from clarus_async.cli.streams import encode, is_terminal, printable, say, write
from clarus_async.cli.summary import Summary
from clarus_async.client import ClarusClient
from clarus_async.errors import ConfigurationError
from clarus_async.provisioning.files.options import ReadOptions
from clarus_async.provisioning.files.target import changes_by_id, ids
from clarus_async.provisioning.options import Options
from clarus_async.resources.spec import AnySpec

_OPERATIONS: Final = {"delete": "delete", "update": "update", "sync": "synchronize"}
_WITHOUT_A_JOURNAL: Final = {
    "delete": "clarus: to go on, run the same command again: what is gone by then is told as failed (404)",
    "update": "clarus: to go on, run the same command again: to change a record once more does no harm",
    "sync": "clarus: without a journal, running it again would start all of them again",
}


def main(args: SimpleNamespace) -> int:
    """Do an operation to each record of a file."""
    given = ["an ID"] if args.id is not None else []
    given += [f"--{name}" for name in ("set", "clear", "json") if getattr(args, name, None)]
    if given:
        raise ConfigurationError(f"--from: what is to be done is in the file: leave {' and '.join(given)} out")
    require_operation(args, _OPERATIONS[args.command])
    opening = connect(args, max_connections=max(64, args.concurrency))
    target = (changes_by_id if args.command == "update" else ids)(args.resource)
    with open_input(args.from_file, target, ReadOptions.of(args)) as source:
        source.spool()
        checked = source.check_and_tell(Problems())
        if checked.bad:
            return refuse_rows(source.name, checked.bad)
        return asyncio.run(_main(args, opening, source, checked.good))


async def _main(
    args: SimpleNamespace, opening: AbstractAsyncContextManager[ClarusClient], source: Input, total: int
) -> int:
    async with opening as client:
        doing = f"{args.command} {counted(args.resource, total)} in tenant {client.subdomain}"
        if (answer := await asked(doing, args)) is not None:
            return answer
        summary = Summary(spec=args.resource, total=total)
        how_to_go_on = _WITHOUT_A_JOURNAL[args.command]
        if args.journal is not None:
            how_to_go_on = f"clarus: to go on, run the same command again with --journal {args.journal}"
        with summary.told_at_the_end(how_to_go_on), ProgressView(drawing_of()) as view:
            records = InputRecords(source, lambda _: None, total)
            options = Options(args.concurrency, args.journal, max_failures=args.max_failures)
            run = resource_of(client, args).bulk(_OPERATIONS[args.command], records, options)
            return await deliver_outcomes(run, args, view, summary, records)


def counted(spec: AnySpec, number: int) -> str:
    """Return a number of records in words."""
    noun = spec.noun.split(" ", 1)[1] if number == 1 else spec.name.replace("_", " ")
    return f"{number:,} {noun}"


async def asked(doing: str, args: SimpleNamespace, about: str = "") -> int | None:
    """Say what is about to be done, and ask whether it is to be; return the exit status if it is not.

    Raises:
        ConfigurationError: there is nobody to ask.
    """
    if args.dry_run:
        say(f"clarus: {about}would {doing}; a dry run sends nothing")
        return Exit.OK
    if args.yes:
        say(f"clarus: {about}{doing}")
        return None
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise ConfigurationError(f"{about}{doing}: there is no terminal to ask at; --yes does it without asking")
    write(sys.stderr, encode(printable(f"clarus: {about}{doing}? [y/N] "), sys.stderr))
    # Not by input(), which Ctrl-C would not end while an event loop runs.
    readable, loop, stdin = asyncio.Event(), asyncio.get_running_loop(), sys.stdin.fileno()
    loop.add_reader(stdin, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(stdin)
    if os.read(stdin, 1024).strip().lower() in {b"y", b"yes"}:
        return None
    say("clarus: nothing was sent")
    return Exit.FAILED
