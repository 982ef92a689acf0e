"""Where the machines of a run meet, in Redis: who owns a shard, and what became of its records.

A lease runs out on Redis's clock, so that no two owners need the same time. A Redis that was started a moment ago may
have forgotten one: until the longest that was given is over, it gives none. What a failover to a replica forgets can't
be told; where that can be, let Redis wait for its replicas (``min-replicas-to-write``).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from clarus_async.errors import ConfigurationError
from clarus_async.fleet.redis_errors import redis_error, redis_trouble
from clarus_async.fleet.redis_url import RedisAddress, read_redis_url
from clarus_async.fleet.shard_scripts import ACQUIRE, KEPT, REGISTER, RELEASE, RENEW, TELL
from clarus_async.http.connect_errors import host_port
from clarus_async.provisioning.report import Outcome

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Grant(NamedTuple):
    """A lease that was given.

    Args:
        token: names this lease; the number before the dot is greater than that of any earlier one of the run.
        since: seconds since when nobody owned it; since a Redis that may have forgotten an owner can have had one.
        taken_over: somebody may have owned it before.
    """

    token: str
    since: float
    taken_over: bool


class Held(NamedTuple):
    """Somebody else may own the shard.

    Args:
        seconds: for how long, if it is not renewed.
    """

    seconds: float


class Standing(NamedTuple):
    """How far a shard is.

    Args:
        told: outcomes that were told.
        done: all were.
        held_for: seconds that its lease has still to run; 0 where nobody has one.
        error: what ended its last owner's work.
    """

    told: int
    done: bool
    held_for: float
    error: str | None


def connect(url: str | RedisAddress) -> Redis:
    """Make a client that opens nothing yet, and that says at once where Redis can't be reached.

    Args:
        url: ``redis://…`` or ``rediss://…``, as :mod:`clarus_async.fleet.redis_url` says.

    Raises:
        ConfigurationError: the ``redis`` package is not there, or the URL is none.
    """
    address = url if isinstance(url, RedisAddress) else read_redis_url(url)
    del url  # no frame may hold it: it may have a password in it
    if isinstance(address, str):
        raise ConfigurationError(f"the URL of Redis {address}")
    try:
        return address.client(socket_timeout=10.0, socket_connect_timeout=5.0)
    except ImportError:
        raise ConfigurationError("this needs redis: pip install 'clarus-async[celery]'") from None


async def probe(redis: Redis) -> None:
    """Ask Redis for what a run needs, and change nothing.

    Args:
        redis: from :func:`connect`.

    Raises:
        ConfigurationError: it refuses, and waiting does not heal that.
        ConnectionFailedError: it can't be asked now.
    """
    await ShardStore(redis, "probe").probe()


def _place(redis: Any) -> str:  # noqa: ANN401  one of redis-py's
    options = redis.connection_pool.connection_kwargs
    return str(options["path"]) if "path" in options else host_port(options.get("host"), options.get("port"))


class ShardStore:
    """The keys of one run.

    Whatever asks Redis raises ConnectionFailedError where Redis can't be asked now, and ConfigurationError where
    waiting does not heal that.

    Args:
        redis: that decodes its answers.
        run: names the run.
    """

    def __init__(self, redis: Redis, run: str) -> None:
        self._redis: Any = redis  # whose commands are typed for both of its worlds
        self.place: str = _place(redis)
        """Where Redis is, which is no secret."""
        self._run = run
        self._subject = f"clarus:{run.partition('.')[0]}"
        self._job = f"clarus:{{{run}}}:job"
        self._prefix = f"clarus:{{{run}}}:shard:"

    async def _ask(self, work: Awaitable[Any]) -> Any:  # noqa: ANN401
        from redis.exceptions import RedisError  # noqa: PLC0415  optional

        try:
            return await work
        except (RedisError, OSError) as error:
            failed = redis_error(redis_trouble(error), self.place)
        # Not from there: the frames that it came through hold the password.
        raise failed

    def _shard(self, number: int) -> str:
        return f"{self._prefix}{number}"

    def _told(self, number: int) -> str:
        return f"{self._prefix}{number}:told"

    async def probe(self) -> None:
        """Ask for what everybody needs, and change nothing."""
        await self._ask(self._redis.info("server"))
        await self._ask(self._redis.eval("return redis.call('EXISTS', KEYS[1])", 1, self._job))

    # --- for who works on a shard

    async def acquire(self, number: int, seconds: float, settle: float) -> Grant | Held | None:
        """Take the lease of a shard; ``None``: there is nothing to do for it.

        Args:
            number: which.
            seconds: how long the lease runs.
            settle: seconds that the server may take to apply what it got.
        """
        up = float((await self._ask(self._redis.info("server")))["uptime_in_seconds"])
        if up < seconds + 1:
            return Held(seconds + 1 - up)
        said, milliseconds, token, owners = await self._ask(
            self._redis.eval(
                ACQUIRE, 2, self._job, self._shard(number), int(seconds * 1000), secrets.token_hex(8), KEPT
            )
        )
        if said == "held":
            return Held(int(milliseconds) / 1000)
        if said == "over":
            return None
        if int(owners):
            return Grant(token, int(milliseconds) / 1000, taken_over=True)
        # Whom it may have forgotten was an owner until then.
        return Grant(token, up - seconds, taken_over=up < seconds + settle + 1)

    async def renew(self, number: int, token: str, seconds: float) -> tuple[bool, bool]:
        """Renew a lease; say whether it is still ours, and whether the run is to stop.

        Args:
            number: of the shard.
            token: of the lease.
            seconds: how long it runs from now on.
        """
        said = int(
            await self._ask(self._redis.eval(RENEW, 2, self._job, self._shard(number), token, int(seconds * 1000)))
        )
        return said > 0, said == 2

    async def tell(self, number: int, token: str, before: int, lines: Sequence[bytes]) -> bool:
        """Tell outcomes; say whether the lease is still ours.

        Args:
            number: of the shard.
            token: of the lease.
            before: how many were told before these.
            lines: JSON.
        """
        return bool(
            await self._ask(
                self._redis.eval(TELL, 2, self._shard(number), self._told(number), token, before, KEPT, *lines)
            )
        )

    async def release(self, number: int, token: str, records: int, error: str = "") -> None:
        """End a lease; where all outcomes were told, the shard is done.

        Args:
            number: of the shard.
            token: of the lease.
            records: how many it has.
            error: what went wrong.
        """
        await self._ask(self._redis.eval(RELEASE, 1, self._shard(number), token, records, error))

    async def told(self, number: int, start: int = 0) -> list[Outcome]:
        """Return outcomes that were told, in that order.

        Args:
            number: of the shard.
            start: how many of the first are left out.
        """
        lines = await self._ask(self._redis.lrange(self._told(number), start, -1))
        return [Outcome.from_json(line) for line in lines]

    # --- for who leads the run

    async def register(self, shards: int) -> None:
        """Begin a run, or go on with it; what went wrong before may go well now.

        Args:
            shards: how many it has.
        """
        await self._ask(self._redis.set(self._subject, self._run, ex=KEPT))
        await self._ask(self._redis.eval(REGISTER, 1, self._job, shards, KEPT))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for number in range(shards):
                pipeline.hdel(self._shard(number), "error")
            await self._ask(pipeline.execute())

    async def another(self) -> ShardStore | None:
        """Return the unfinished run of the same file as it was before, if there is one."""
        run = await self._ask(self._redis.get(self._subject))
        board = None if run is None or run == self._run else ShardStore(self._redis, run)
        return board if board is not None and await board.registered() else None

    async def shards(self) -> int:
        """Return how many shards the run has."""
        return int(await self._ask(self._redis.hget(self._job, "shards")))

    async def registered(self) -> bool:
        """Whether Redis knows of the run."""
        return bool(await self._ask(self._redis.exists(self._job)))

    async def stop(self) -> None:
        """Let nobody begin a record any more."""
        await self._ask(self._redis.hset(self._job, "stop", 1))

    async def standing(self, numbers: Sequence[int]) -> list[Standing]:
        """Say how far shards are.

        Args:
            numbers: which.
        """
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            for number in numbers:
                pipeline.hmget(self._shard(number), "told", "done", "until", "owner", "error")
            (seconds, micros), *rows = await self._ask(pipeline.execute())
        now = int(seconds) + int(micros) / 1e6
        return [
            Standing(
                told=int(told or 0),
                done=done is not None,
                held_for=max(0.0, int(until) / 1000 - now) if owner else 0.0,
                error=error,
            )
            for told, done, until, owner, error in rows
        ]

    async def forget(self, shards: int) -> None:
        """Forget the run: nobody begins anything of it any more.

        Args:
            shards: how many it had.
        """
        await self._ask(self._redis.delete(self._job))
        for number in range(shards):
            await self._ask(self._redis.delete(self._shard(number), self._told(number)))
