"""What the machines of a run share, in Redis: who owns a shard, and what became of its records.

A lease ends by Redis's clock, so machines need not agree on the time. A Redis that was started a moment ago may have
forgotten a lease, so none is given until the longest one would have ended. What a failover to a replica forgets can't
be found out: where there are replicas, let Redis wait for them (``min-replicas-to-write``).

``job`` is a hash: the number of shards, the last fencing token, and whether the run is to stop. ``shard`` is one, too:
who owns it and until when, on Redis's clock, how many owners there were, how many outcomes are known, and whether it is
done. ``outcomes`` is the list of them, as lines of JSON. All are deleted a week after they were last touched.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from clarus_async.errors import ConfigurationError
from clarus_async.fleet.redis_errors import redis_error, redis_trouble
from clarus_async.fleet.redis_url import RedisAddress, read_redis_url
from clarus_async.http.connect_errors import host_port
from clarus_async.provisioning.report import Outcome

if TYPE_CHECKING:
    from redis.asyncio import Redis


# Seconds that a run is kept after it was last touched: one that stops on a Friday can go on.
_KEPT: Final = 7 * 24 * 3600

_NOW: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

# --- what happens to the keys of a run, each in one step


# Keys: job. Arguments: the number of shards, seconds that it is kept.
_REGISTER: Final = """
redis.call('HSET', KEYS[1], 'shards', ARGV[1])
redis.call('HDEL', KEYS[1], 'stop')
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

# Keys: job, shard. Arguments: milliseconds, something nobody else has, seconds that it is kept.
# Returns: what it came to; milliseconds that the last owner's lease has still to run, or since when it is over; the
# token; how many owners there were before.
_ACQUIRE: Final = f"""{_NOW}
if redis.call('EXISTS', KEYS[1]) == 0 then return {{'over', 0, '', 0}} end
if redis.call('HEXISTS', KEYS[1], 'stop') == 1 then return {{'over', 0, '', 0}} end
if redis.call('HEXISTS', KEYS[2], 'done') == 1 then return {{'over', 0, '', 0}} end
local before = tonumber(redis.call('HGET', KEYS[2], 'until') or '0')
if before > now then return {{'held', before - now, '', 0}} end
local token = redis.call('HINCRBY', KEYS[1], 'fence', 1) .. '.' .. ARGV[2]
local owners = redis.call('HINCRBY', KEYS[2], 'owners', 1)
redis.call('HSET', KEYS[2], 'owner', token, 'until', now + ARGV[1])
redis.call('HDEL', KEYS[2], 'error')
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return {{'yours', now - before, token, owners - 1}}
"""

# Keys: job, shard. Arguments: the token, milliseconds. Returns 0 where it is another's now, 2 where the run is to stop.
_RENEW: Final = f"""{_NOW}
if redis.call('HGET', KEYS[2], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'until', now + ARGV[2])
return redis.call('HEXISTS', KEYS[1], 'stop') == 1 and 2 or 1
"""

# Keys: shard, outcomes. Arguments: the token, how many outcomes there were before, seconds that it is kept, and lines.
# Returns 0 where it is another's now. Appended twice, as after a reply that was lost, an outcome is there once.
_APPEND: Final = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
local new = redis.call('LLEN', KEYS[2]) - ARGV[2]
if new < 0 then return 0 end
for i = 4 + new, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
redis.call('HSET', KEYS[1], 'outcomes', redis.call('LLEN', KEYS[2]))
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""

# Keys: shard. Arguments: the token, how many outcomes make it done, and what went wrong. The lease ends now.
_RELEASE: Final = f"""{_NOW}
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'owner', '', 'until', now)
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[3]) end
if tonumber(redis.call('HGET', KEYS[1], 'outcomes') or '0') == tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'done', 1)
end
return 1
"""


class LeaseGranted(NamedTuple):
    """A lease that was given."""

    token: str
    """Names this lease; the number before the dot is greater than that of any earlier one of the run."""
    since: float
    """Seconds for which it had no owner, or since which Redis can't have forgotten one."""
    taken_over: bool
    """Another worker may have owned it before."""


class LeaseHeld(NamedTuple):
    """Another worker may own the shard, for so many seconds if the lease is not renewed."""

    seconds: float


class ShardState(NamedTuple):
    """How far a shard is."""

    outcomes: int  # how many are known
    done: bool  # all are
    lease_left: float  # seconds until its lease ends; 0 where it has no owner
    error: str | None  # what ended its last owner's work


def connect(url: str | RedisAddress) -> Redis:
    """Make a client that opens nothing yet, and that says at once where Redis can't be reached.

    Args:
        url: ``redis://…`` or ``rediss://…``, as ``clarus_async.fleet.redis_url`` says.

    Raises:
        ConfigurationError: the ``redis`` package is missing, or the URL is not one of a Redis.
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

    Raises:
        ConfigurationError: it refuses, and waiting does not heal that.
        ConnectionFailedError: it can't be asked now.
    """
    await ShardStore(redis, "probe").probe()


class ShardStore:
    """The shards of one run: who owns each, and the outcomes of its records.

    Whatever asks Redis raises ConnectionFailedError where Redis can't be asked now, and ConfigurationError where
    waiting does not heal that.

    Args:
        redis: that decodes its answers.
        run: names the run.
    """

    def __init__(self, redis: Redis, run: str) -> None:
        self._redis: Any = redis  # its commands are typed as both synchronous and asynchronous
        at = self._redis.connection_pool.connection_kwargs
        self.place: str = str(at["path"]) if "path" in at else host_port(at.get("host"), at.get("port"))
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
        # Raised outside of the handler: the frames of the original error hold the password.
        raise failed

    async def _run_script(self, script: str, keys: Sequence[str], *arguments: object) -> Any:  # noqa: ANN401
        return await self._ask(self._redis.eval(script, len(keys), *keys, *arguments))

    def _shard(self, number: int) -> str:
        return f"{self._prefix}{number}"

    def _outcomes(self, number: int) -> str:
        return f"{self._prefix}{number}:outcomes"

    async def probe(self) -> None:
        """Ask for what everybody needs, and change nothing."""
        await self._ask(self._redis.info("server"))
        await self._run_script("return redis.call('EXISTS', KEYS[1])", [self._job])

    # --- for whoever works on a shard

    async def acquire(self, number: int, seconds: float, settle: float) -> LeaseGranted | LeaseHeld | None:
        """Take the lease of a shard for some seconds; ``None``: there is nothing to do for it.

        The server may take ``settle`` seconds to apply what it got.
        """
        up = float((await self._ask(self._redis.info("server")))["uptime_in_seconds"])
        if up < seconds + 1:
            return LeaseHeld(seconds + 1 - up)
        said, milliseconds, token, owners = await self._run_script(
            _ACQUIRE, [self._job, self._shard(number)], int(seconds * 1000), secrets.token_hex(8), _KEPT
        )
        if said == "held":
            return LeaseHeld(int(milliseconds) / 1000)
        if said == "over":
            return None
        if int(owners):
            return LeaseGranted(token, int(milliseconds) / 1000, taken_over=True)
        # An owner that Redis may have forgotten can have had its lease until then.
        return LeaseGranted(token, up - seconds, taken_over=up < seconds + settle + 1)

    async def renew(self, number: int, token: str, seconds: float) -> tuple[bool, bool]:
        """Renew a lease for some seconds; say whether it is still ours, and whether the run is to stop."""
        said = int(await self._run_script(_RENEW, [self._job, self._shard(number)], token, int(seconds * 1000)))
        return said > 0, said == 2

    async def append(self, number: int, token: str, before: int, lines: Sequence[bytes]) -> bool:
        """Append outcomes, as JSON, to the first ``before`` of a shard; say whether the lease is still ours."""
        keys = [self._shard(number), self._outcomes(number)]
        return bool(await self._run_script(_APPEND, keys, token, before, _KEPT, *lines))

    async def release(self, number: int, token: str, records: int, error: str = "") -> None:
        """End a lease; where as many outcomes are there as the shard has records, it is done."""
        await self._run_script(_RELEASE, [self._shard(number)], token, records, error)

    async def outcomes(self, number: int, start: int = 0) -> list[Outcome]:
        """Return the outcomes of a shard in the order in which they came, without the first ``start``."""
        lines = await self._ask(self._redis.lrange(self._outcomes(number), start, -1))
        return [Outcome.from_json(line) for line in lines]

    # --- for the coordinator

    async def register(self, shards: int) -> None:
        """Begin a run of so many shards, or go on with it; what went wrong before may go well now."""
        await self._ask(self._redis.set(self._subject, self._run, ex=_KEPT))
        await self._run_script(_REGISTER, [self._job], shards, _KEPT)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for number in range(shards):
                pipeline.hdel(self._shard(number), "error")
            await self._ask(pipeline.execute())

    async def earlier_run(self) -> ShardStore | None:
        """Return the unfinished run of the same file as it was before, if there is one."""
        run = await self._ask(self._redis.get(self._subject))
        store = None if run is None or run == self._run else ShardStore(self._redis, run)
        return store if store is not None and await store.is_registered() else None

    async def shard_count(self) -> int:
        """Return how many shards the run has."""
        return int(await self._ask(self._redis.hget(self._job, "shards")))

    async def is_registered(self) -> bool:
        """Whether Redis knows of the run."""
        return bool(await self._ask(self._redis.exists(self._job)))

    async def stop(self) -> None:
        """Have no worker begin a further record."""
        await self._ask(self._redis.hset(self._job, "stop", 1))

    async def states(self, numbers: Sequence[int]) -> list[ShardState]:
        """Say how far these shards are."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            for number in numbers:
                pipeline.hmget(self._shard(number), "outcomes", "done", "until", "owner", "error")
            (seconds, micros), *rows = await self._ask(pipeline.execute())
        now = int(seconds) + int(micros) / 1e6
        return [
            ShardState(
                outcomes=int(outcomes or 0),
                done=done is not None,
                lease_left=max(0.0, int(until) / 1000 - now) if owner else 0.0,
                error=error,
            )
            for outcomes, done, until, owner, error in rows
        ]

    async def delete(self, shards: int) -> None:
        """Delete a run of so many shards, so that no worker begins anything of it."""
        await self._ask(self._redis.delete(self._job))
        for number in range(shards):
            await self._ask(self._redis.delete(self._shard(number), self._outcomes(number)))
