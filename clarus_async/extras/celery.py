"""Provisioning by Celery workers, with Redis (extra ``celery``).

``celery -A clarus_async.extras.celery worker --pool prefork`` starts one: ``CLARUS_CELERY_BROKER`` is the URL of Redis,
and the rest of ``CLARUS_*`` is the client's, as for ``ClarusClient.from_env``. What goes through Redis is where records
stand in a file that every machine sees, and what became of each: never a record, a configuration or a credential. The
workers share the tenant's pace through it.

A task is acknowledged when it is done, so whatever kills a worker gives its shard to another one: when Redis gives out
the message again (``visibility_timeout``), or before that, when the process that leads the run misses it. A task that
takes longer than that is given out twice. Either way, the lease of the shard decides who works on it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

# Only a worker, and who sends to one, imports this module.
from celery import Celery
from celery.signals import worker_init

from clarus_async.client import ClarusClient
from clarus_async.errors import ConfigurationError
from clarus_async.extras.board import Board, connect
from clarus_async.extras.leased import run_leased
from clarus_async.extras.redis import RedisPacing
from clarus_async.extras.shards import Shard

TASK: Final = "clarus.shard"
QUEUE: Final = "clarus"
BROKER: Final = "CLARUS_CELERY_BROKER"
LEASE: Final = 30.0
"""Seconds that a lease runs which is not renewed."""

VISIBILITY: Final = 3600
"""Seconds after which Redis gives a message out again that was not acknowledged."""


class _Process(threading.local):
    """What a thread of a worker keeps from one task to the next: an event loop, and a client that knows its pace."""

    def __init__(self) -> None:
        self.runner: asyncio.Runner | None = None
        self.client: ClarusClient | None = None

    def run(self, broker: str, make: Callable[[], ClarusClient], shard: Shard, lease: float) -> float | None:
        """Work on a shard.

        Args:
            broker: the URL of Redis.
            make: makes the client.
            shard: which.
            lease: seconds that its lease runs.
        """
        if self.runner is None:
            self.runner = asyncio.Runner()
        if self.client is None:
            self.client = make()
        return self.runner.run(_work(broker, self.client, shard, lease))


async def _work(broker: str, client: ClarusClient, shard: Shard, lease: float) -> float | None:
    async with connect(broker) as redis:
        return await run_leased(Board(redis, shard.run), client, shard, seconds=lease)


def make_app(
    broker: str,
    *,
    client: Callable[[], ClarusClient] | None = None,
    lease: float = LEASE,
    visibility: int = VISIBILITY,
) -> Celery:
    """Make the Celery application of workers, and of who sends to them.

    Args:
        broker: the URL of Redis.
        client: makes the client of a worker's process; by default from the environment, with a pace that is shared.
        lease: seconds after which a shard goes to another worker when nothing is heard of its owner.
        visibility: seconds after which Redis gives a message out again that was not acknowledged.

    Raises:
        ConfigurationError: there is no broker, or it is not Redis.
    """
    if not broker.startswith(("redis://", "rediss://")):
        raise ConfigurationError(f"{BROKER}: must be the URL of Redis: redis://… or rediss://…")
    make = client or (lambda: ClarusClient.from_env(pacing=RedisPacing(url=broker)))
    app = Celery("clarus", broker=broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": visibility},
        task_acks_late=True,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_reject_on_worker_lost=True,
        task_serializer="json",
        # A message that waits in a worker is one that no other worker can have.
        worker_prefetch_multiplier=1,
    )
    process = _Process()

    def work(task: Any, message: dict[str, Any]) -> None:  # noqa: ANN401  Celery has no types
        again = process.run(broker, make, Shard.from_dict(message), lease)
        if again is not None:
            # Redis gives out again what a worker keeps for later, too.
            raise task.retry(countdown=min(again, visibility / 2))

    def check(sender: Any, **_: object) -> None:  # noqa: ANN401  Celery has no types
        if sender.app is not app:
            return
        try:
            make()
        except ConfigurationError as error:
            # Anything else that a signal's receiver raises is logged, and the worker goes on.
            raise SystemExit(f"clarus: error: {error}") from None

    # A worker that can't work must not take tasks that others could do.
    worker_init.connect(check, weak=False)
    # Not shared with other applications of the process, whose brokers and clients may be others.
    app.task(work, name=TASK, bind=True, max_retries=None, shared=False)
    return app


def send(app: Celery, shards: Sequence[Shard]) -> None:
    """Put shards into the queue.

    Args:
        app: from :func:`make_app`.
        shards: which.
    """
    with app.connection_for_write() as connection:
        for shard in shards:
            # What Celery shows of the arguments is where the records are.
            app.send_task(TASK, args=[shard.as_dict()], queue=QUEUE, connection=connection, ignore_result=True)


def waiting(app: Celery) -> int:
    """Say how many messages no worker has taken yet.

    Args:
        app: from :func:`make_app`.
    """
    with app.connection_for_read() as connection:
        return int(connection.default_channel.client.llen(QUEUE))


def __getattr__(name: str) -> Celery:
    if name != "app":
        raise AttributeError(name)
    app = make_app(os.environ.get(BROKER, ""))
    globals()["app"] = app
    return cast("Celery", app)
