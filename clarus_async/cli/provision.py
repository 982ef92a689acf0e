"""``clarus provision``: a file of records, and an outcome for each."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import attrs

from clarus_async.cli.connection import connect, resource_of
from clarus_async.cli.formats import format_of
from clarus_async.cli.output import Results, deliver, describe, refuse_rows
from clarus_async.cli.progress import ProgressView, drawing_of
from clarus_async.cli.record_input import Checked, Input, InputRecords, Problems, open_input
from clarus_async.cli.simulate import TRIAL_TENANT, trial_simulator
from clarus_async.cli.streams import say
from clarus_async.cli.summary import Summary
from clarus_async.client import ClarusClient
from clarus_async.config import Timeouts
from clarus_async.errors import ConfigurationError
from clarus_async.provisioning.files.options import ReadOptions
from clarus_async.provisioning.files.rejects import RowId, refuse_path, write_rejects
from clarus_async.provisioning.files.target import new_records
from clarus_async.provisioning.run import ProvisionRun

_GRACE: Final = 10.0  # seconds that what is in flight has after Ctrl-C
# Seconds after which this simulator applies nothing any more; a server's is longer, and so is the wait for it.
_TRIAL: Final = 2.0
_DEADLINE: Final = Timeouts().deadline
_LOOK: Final = 0.2  # seconds from one look at the progress to the next
_SESSION_END: Final = 1.0  # seconds after which a trial's tokens end
# Seconds after which a trial's connections are sound: what is in doubt settles while the others are sent.
_UNSTEADY: Final = 3.0


def main(args: SimpleNamespace) -> int:
    """Run ``clarus provision``."""
    if args.celery is not None:
        from clarus_async.cli import provision_fleet

        return provision_fleet.main(args)
    if args.simulate and (args.subdomain is not None or args.base_url is not None):
        raise ConfigurationError("--simulate has a tenant and a URL of its own: leave --subdomain and --base-url out")
    # What is wrong with the settings is said before a long file is read.
    opening = None if args.simulate else connect(args, max_connections=max(64, args.concurrency))
    if args.simulate and args.journal is not None:
        raise ConfigurationError("--simulate ends with what it holds: a journal of it could never be resumed")
    rejects = args.rejects
    problems = Problems(keeps_reasons=rejects is not None)
    with open_input(args.file, new_records(args.resource), ReadOptions.of(args)) as source:
        if rejects is not None:
            if source.pipe or args.file == "-":
                raise ConfigurationError("--rejects reads the input twice: give a file that is no pipe")
            if args.journal is not None and Path(rejects).resolve() == Path(args.journal).resolve():
                raise ConfigurationError("--rejects and --journal name the same file")
            refuse_path(rejects, source.name)
        checked = source.check_and_tell(problems)
        if checked.bad and (rejects is None or problems.is_fatal):
            return refuse_rows(source.name, checked.bad, "" if checked.is_whole else " in its beginning")
        try:
            return asyncio.run(_main(args, opening, source, checked, problems.reasons))
        finally:
            if rejects is not None and problems.reasons is not None:
                kept = write_rejects(rejects, problems.reasons, source.name, source.target, source.options)
                if kept is not None:
                    say(f"clarus: what was in {rejects} is now in {kept}")
                if problems.reasons:
                    say(f"clarus: {len(problems.reasons):,} rows are in {rejects}: correct them, and provision that")


async def _main(
    args: SimpleNamespace,
    opening: AbstractAsyncContextManager[ClarusClient] | None,
    source: Input,
    checked: Checked,
    reasons: dict[RowId, str] | None,
) -> int:
    total = checked.good if checked.is_whole else None
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(opening or await _trial(stack, args))
        summary = Summary(spec=args.resource, total=total)
        with summary.told_at_the_end(_how_to_resume(args)), ProgressView(drawing_of()) as view:
            return await _provision(client, source, args, view, summary, reasons)


def _how_to_resume(args: SimpleNamespace) -> str:
    if args.journal is not None:
        return f"clarus: to go on, run the same command again with --journal {args.journal}"
    if args.existing == "ignore":
        return "clarus: without a journal, and with --existing ignore, running it again would create all of it again"
    return "clarus: to go on, run the same command again: what is there already is found by its key"


async def _trial(stack: AsyncExitStack, args: SimpleNamespace) -> ClarusClient:
    simulator = await stack.enter_async_context(trial_simulator())
    loop = asyncio.get_running_loop()
    # A login to the account's front end ends the session (CLARUS_API.md §2).
    stack.callback(loop.call_later(_SESSION_END, simulator.expire_tokens).cancel)
    stack.callback(loop.call_later(_UNSTEADY, simulator.set_faults, ()).cancel)
    return ClarusClient(
        TRIAL_TENANT,
        simulator.credentials,
        base_url=simulator.url,
        max_connections=max(64, args.concurrency),
        timeouts=Timeouts(attempt=_TRIAL, settle=_TRIAL, deadline=args.deadline or _DEADLINE),
    )


async def _provision(
    client: ClarusClient,
    source: Input,
    args: SimpleNamespace,
    view: ProgressView,
    summary: Summary,
    reasons: dict[RowId, str] | None,
) -> int:
    # What is wrong with a file was said when it was checked.
    tell = (lambda row: describe(row, view.say)) if source.pipe else (lambda _: None)
    records = InputRecords(source, tell, summary.total)
    run = resource_of(client, args).provision(
        records,
        concurrency=args.concurrency,
        journal=args.journal,
        existing=args.existing,
        dry_run=args.dry_run,
        max_failures=args.max_failures,
    )
    return await deliver_outcomes(run, args, view, summary, records, reasons)


async def deliver_outcomes(
    run: ProvisionRun,
    args: SimpleNamespace,
    view: ProgressView,
    summary: Summary,
    records: InputRecords | None = None,
    reasons: dict[RowId, str] | None = None,
) -> int:
    """Write the outcomes of a run as they come, and collect the ``reasons`` of rejects; return the exit status."""

    def stop() -> None:
        run.stop()
        if records is not None:
            records.stop()

    async def look() -> None:
        # While a record in doubt is waited for there are no outcomes, and there is something to say.
        while True:
            view.at(run.progress)
            await asyncio.sleep(_LOOK)

    async def work(results: Results) -> None:
        looking = asyncio.create_task(look())
        try:
            async with run:
                async for outcome in run:
                    row = None if records is None else records.row_of(outcome.index)
                    if row is not None:
                        outcome = attrs.evolve(outcome, line=row[0])  # noqa: PLW2901
                    summary.add(outcome)
                    if reasons is not None and row is not None and not outcome.status.ok:
                        error = outcome.error
                        reasons[row] = outcome.status if error is None else f"{outcome.status}: {error.message}"
                    await results.write(outcome.to_dict())
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            view.at(run.progress)
            summary.taken, summary.bad = run.begun, 0 if records is None else records.bad

    interrupted = await deliver(stop, view, _GRACE, work, format_of(args.output, sys.stdout))
    return summary.exit_status if interrupted is None else interrupted
