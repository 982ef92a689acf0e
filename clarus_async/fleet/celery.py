"""Provisioning by Celery workers, with Redis (extra ``celery``); the chapter ``clarus_async.fleet`` shows how.

A task is acknowledged when it is done. The shard of a worker that was killed goes to another one when Redis gives out
the message again (``visibility_timeout``), or before that, when the coordinator misses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, TypeVar, cast

# Only a worker, and whoever sends to one, imports this module.
from celery import Celery
from celery.signals import worker_init
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from clarus_async.client import ClarusClient
from clarus_async.errors import ClarusError, ConfigurationError, ConnectionFailedError
from clarus_async.fleet.redis import RedisPacing
from clarus_async.fleet.redis_errors import redis_error, redis_trouble
from clarus_async.fleet.redis_url import RedisAddress, read_redis_url
from clarus_async.fleet.shard_store import ShardStore, connect, probe
from clarus_async.fleet.shards import Shard
from clarus_async.fleet.worker import run_leased
from clarus_async.http.connect_errors import host_port

T = TypeVar("T")

TASK: Final = "clarus.shard"
QUEUE: Final = "clarus"
BROKER: Final = "CLARUS_CELERY_BROKER"
LEASE: Final = 30.0
"""Seconds that a lease runs which is not renewed: longer than a pause of the machine that is no failure."""

# Seconds that whoever sends to the queue waits for a Redis that hangs; the same as for the shards.
_TIMEOUTS: Final = {"socket_timeout": 10.0, "socket_connect_timeout": 5.0}

VISIBILITY: Final = 3600
"""Seconds after which Redis gives a message out again that was not acknowledged: as Celery has it by default."""


class _WorkerThread(threading.local):
    """What a thread of a worker keeps from one task to the next: an event loop, and a client that knows its pace."""

    def __init__(self, make: Callable[[], ClarusClient]) -> None:
        self._make = make
        self.runner = asyncio.Runner()

    @cached_property
    def client(self) -> ClarusClient:
        return self._make()


async def _work(broker: RedisAddress, client: ClarusClient, shard: Shard, lease: float) -> float | None:
    async with connect(broker) as redis:
        return await run_leased(ShardStore(redis, shard.run), client, shard, seconds=lease)


def make_app(
    broker: str,
    *,
    client: Callable[[], ClarusClient] | None = None,
    lease: float = LEASE,
    visibility: int = VISIBILITY,
) -> Celery:
    """Make the Celery application of workers, and of whoever sends to them.

    Args:
        broker: the URL of Redis, as ``clarus_async.fleet.redis_url`` says.
        client: makes the client of a worker's process; by default from the environment, with a pace that is shared.
        lease: seconds after which a shard goes to another worker when nothing is heard of its owner.
        visibility: seconds after which Redis gives a message out again that was not acknowledged.

    Raises:
        ConfigurationError: there is no broker, or it is not Redis.
    """
    address = read_redis_url(broker)
    if isinstance(address, RedisAddress) and address.path is not None:
        address = "can't be that of a socket in the file system"
    if isinstance(address, str):
        del broker  # no frame may hold it: it may have a password in it
        raise ConfigurationError(
            f"{BROKER}: must be the URL of Redis: redis://… or rediss://…; what is given {address}"
        )
    pacing = RedisPacing(url=broker)
    del broker
    make = client or (lambda: ClarusClient.from_env(pacing=pacing))
    url, tls = address.for_celery()
    app = Celery("clarus", broker=url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_use_ssl=tls,
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
    thread = _WorkerThread(make)

    def work(task: Any, message: dict[str, Any]) -> None:  # noqa: ANN401  Celery has no types
        again = thread.runner.run(_work(address, thread.client, Shard.from_dict(message), lease))
        if again is not None:
            # Redis gives out again what a worker keeps for later, too.
            raise task.retry(countdown=min(again, visibility / 2))

    def check(sender: Any, **_: object) -> None:  # noqa: ANN401  Celery has no types
        if sender.app is not app:
            return
        try:
            make()
            asyncio.run(_probe(address))
        except ConfigurationError as error:
            # Anything else that a signal's receiver raises is logged, and the worker goes on.
            sys.stderr.write(f"clarus: error: {error}\n")
            raise SystemExit(2) from None

    # A worker that can't work must not take tasks that others can do.
    worker_init.connect(check, weak=False)
    # Not shared with other applications of the process, whose brokers and clients may be others.
    app.task(work, name=TASK, bind=True, max_retries=None, shared=False)
    return app


async def _probe(address: RedisAddress) -> None:
    async with connect(address) as redis:
        with contextlib.suppress(ConnectionFailedError):
            # Celery waits for a Redis that is not there yet, and says so.
            await probe(redis)


def _with_broker(app: Celery, work: Callable[[Any], T]) -> T:
    """Ask the broker, for a few seconds at the most: Celery would wait for it for ever."""
    failed: ClarusError
    connection = app.connection_for_write(transport_options=_TIMEOUTS)
    try:
        with connection:
            connection.ensure_connection(max_retries=1, interval_start=0.2)
            return work(connection)
    except (KombuError, RedisError, OSError) as error:
        failed = redis_error(redis_trouble(error), host_port(connection.hostname, connection.port))
    # Raised outside of the handler: the frames of the original error hold the password.
    raise failed


def send(app: Celery, shards: Sequence[Shard]) -> None:
    """Put shards into the queue.

    Raises:
        ConfigurationError: Redis refuses, and waiting does not heal that.
        ConnectionFailedError: Redis can't be asked now.
    """

    def put(connection: Any) -> None:  # noqa: ANN401  kombu has no types
        for shard in shards:
            # What Celery shows of the arguments is where the records are.
            app.send_task(TASK, args=[shard.as_dict()], queue=QUEUE, connection=connection, ignore_result=True)

    _with_broker(app, put)


def queue_length(app: Celery) -> int:
    """Return how many messages no worker has taken yet; what is raised is what ``send`` raises."""
    return _with_broker(app, lambda connection: int(connection.default_channel.client.llen(QUEUE)))


def __getattr__(name: str) -> Celery:
    if name != "app":
        raise AttributeError(name)
    app = make_app(os.environ.get(BROKER, ""))
    globals()["app"] = app
    return cast("Celery", app)
