"""``clarus provision --celery``: a file of records, and many machines that work on it."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

import attrs

from clarus_async.cli.connection import connect, resource_of
from clarus_async.cli.formats import format_of
from clarus_async.cli.output import Results, deliver, describe, refuse_rows
from clarus_async.cli.progress import ProgressView, drawing_of
from clarus_async.cli.summary import Summary
from clarus_async.client import ClarusClient
from clarus_async.errors import ConfigurationError, InvalidInputError
from clarus_async.fleet import shard_store
from clarus_async.fleet.coordinator import Coordinator
from clarus_async.fleet.redis_url import RedisAddress, read_redis_url
from clarus_async.fleet.split_file import SplitFile, split_file
from clarus_async.fleet.worker import EXISTING
from clarus_async.provisioning.files.options import ReadOptions
from clarus_async.provisioning.options import Progress
from clarus_async.provisioning.report import Outcome

if TYPE_CHECKING:
    from celery import Celery
    from redis.asyncio import Redis

_GRACE: Final = 60.0  # seconds that what is in flight has after Ctrl-C, and workers to hear of it
_LOST_AFTER: Final = 60.0  # seconds that a shard may be out without an owner


def main(args: SimpleNamespace) -> int:
    """Run ``clarus provision --celery``."""
    for option, given in (
        ("--simulate", args.simulate),
        ("--journal", args.journal is not None),
        ("--dry-run", args.dry_run),
        ("--rejects", args.rejects is not None),
        ("--max-failures", args.max_failures is not None),
        (f"--existing {args.existing}", args.existing not in EXISTING),
    ):
        if given:
            raise ConfigurationError(f"{option} does not go with --celery")
    if args.file == "-":
        raise ConfigurationError("--celery needs a file that every worker sees: standard input is not one")
    opening = connect(args)
    try:
        from clarus_async.fleet import celery
    except ImportError:
        raise ConfigurationError("--celery needs Celery: pip install 'clarus-async[celery]'") from None
    url = os.environ.get(celery.BROKER, "") if args.celery == "-" else args.celery
    app, address = celery.make_app(url), read_redis_url(url)
    del url  # it may have a password in it
    try:
        regular = stat.S_ISREG(Path(args.file).stat().st_mode)
    except OSError as error:
        raise InvalidInputError(f"{args.file}: {error.strerror}") from None
    if not regular:
        raise ConfigurationError(f"--celery needs a file that every worker sees: {args.file} is not one")
    return asyncio.run(_main(args, opening, app, address))


async def _main(
    args: SimpleNamespace,
    opening: AbstractAsyncContextManager[ClarusClient],
    app: Celery,
    address: RedisAddress | str,
) -> int:
    async with shard_store.connect(address) as redis:
        await shard_store.probe(redis)
    async with opening as client:
        resource = resource_of(client, args)
        terms = resource.terms
        references = await resource.searches_references()
    split = await asyncio.to_thread(
        split_file,
        str(Path(args.file).resolve()),  # noqa: ASYNC240  once
        args.resource,
        tenant=terms.tenant,
        base_url=terms.base_url,
        references=references,
        options=ReadOptions.of(args),
        size=args.shard_size,
        existing=args.existing,
        concurrency=args.concurrency,
        report=describe,
    )
    if split.bad:
        return refuse_rows(args.file, split.bad)
    summary = Summary(spec=args.resource, total=len(split.lines))
    with (
        summary.told_at_the_end("clarus: to go on, run the same command again"),
        ProgressView(drawing_of()) as view,
    ):
        async with shard_store.connect(address) as redis:
            return await _coordinate(args, split, app, redis, view, summary, terms.settle)


async def _coordinate(
    args: SimpleNamespace,
    split: SplitFile,
    app: Celery,
    redis: Redis,
    view: ProgressView,
    summary: Summary,
    settle: float,
) -> int:
    from clarus_async.fleet.celery import queue_length, send

    async def is_queued() -> bool:
        return await asyncio.to_thread(queue_length, app) > 0

    coordinator = Coordinator(
        shard_store.ShardStore(redis, split.run),
        split.shards,
        lambda shards: send(app, shards),
        is_queued,
        settle=settle,
        lost_after=_LOST_AFTER,
    )
    began = time.monotonic()

    async def work(results: Results) -> None:
        async for outcome in coordinator.outcomes():
            await handle(outcome, results)

    async def handle(outcome: Outcome, results: Results) -> None:
        outcome = attrs.evolve(outcome, line=split.lines[outcome.index])
        summary.add(outcome)
        summary.taken = summary.report.total
        elapsed, done, total = time.monotonic() - began, summary.report.total, summary.total or 0
        rate = done / elapsed if elapsed else 0.0
        eta = (total - done) / rate if rate else None
        view.at(Progress(summary.report, elapsed, rate, eta, total=total, recent_rate=rate))
        await results.write(outcome.to_dict())

    interrupted = await deliver(coordinator.stop, view, _GRACE, work, format_of(args.output, sys.stdout))
    return summary.exit_status if interrupted is None else interrupted
