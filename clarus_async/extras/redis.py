"""One quota for many processes: a pace that they share through Redis (``pip install "clarus-async[redis]"``).

``ClarusClient(…, pacing=RedisPacing(url="redis://…"))`` in each of them. Redis keeps one line of slots for a quota, by
its own clock: a process leases the next few, as many as its callers need for a tenth of a second, and sends in them. A
pause that the server asks one of them for is a pause for all, and the rate that refusals teach is one for all.

The token of :class:`~clarus_async.ClientCredentials` is shared, too, encrypted by a key that is made of the client's
secret: see :mod:`clarus_async.extras.shared_token`.

Where Redis can't be reached, each process keeps to its part of the last rate by itself, says so once, and comes back.
Where it refuses, and waiting heals nothing (its password, its ACL, its certificate), every call raises
:class:`~clarus_async.ConfigurationError`, and nothing is sent, until it no longer does.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Coroutine
from typing import Any, Final, NoReturn, Self

import attrs

from clarus_async.checks import checked, refuse, shown
from clarus_async.config import PacingPolicy
from clarus_async.credentials import ClientCredentials, Credentials
from clarus_async.extras.pace_lease import Lease, Wanted
from clarus_async.extras.redis_trouble import NOT_REDIS, Telling, redis_error, redis_trouble
from clarus_async.extras.redis_url import RedisAddress, read_redis_url
from clarus_async.extras.shared_pace import SharedPace
from clarus_async.extras.shared_token import SharedToken, derive
from clarus_async.transport.trouble import Trouble

_log = logging.getLogger("clarus_async")

_SEEN: Final = 10.0  # seconds for which a process counts that was heard of
_KEPT: Final = 3600.0  # seconds for which a quota is remembered that nobody asks for
_LONGEST_BACKOFF: Final = 5.0

# All times are microseconds on the clock of Redis. One script, so that no two processes are given the same slot.
_SCRIPT: Final = """
local state, sent, seen = KEYS[1], KEYS[2], KEYS[3]
local me, epoch, want = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local spacing, most, span = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local horizon, pause = tonumber(ARGV[7]), tonumber(ARGV[8])
local admitted, refused, curve = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11]
local gone, kept, met = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZADD', seen, now, me)
redis.call('ZREMRANGEBYSCORE', seen, '-inf', now - gone)
redis.call('ZREMRANGEBYSCORE', sent, '-inf', now - span)

local known = redis.call('HMGET', state, 'epoch', 'curve', 'used', 'last', 'next', 'pause', 'answers', 'row')
local current, used = tonumber(known[1]) or 0, tonumber(known[3]) or 0
local last, next_slot = tonumber(known[4]) or 0, tonumber(known[5]) or 0
local paused, answers, row = tonumber(known[6]) or 0, tonumber(known[7]) or 0, tonumber(known[8]) or 0
local payload = known[2] or ''

if admitted > 0 then row = 0 end
row = row + met
-- What the server refused, it did not count.
for _, slot in ipairs(redis.call('ZREVRANGEBYSCORE', sent, now, '-inf', 'LIMIT', 0, refused)) do
  redis.call('ZREM', sent, slot)
end
answers = answers + admitted
paused = math.max(paused, now + pause)
if curve ~= '' and current == epoch then
  current, payload, used, answers, last = current + 1, curve, 0, 0, 0
  next_slot = math.max(math.min(next_slot, now + spacing), now + spacing / 2)
end

local slots = {}
if current == epoch and want > 0 then
  local at = math.max(now, next_slot, paused)
  if paused > now or row > 1 then want = 1 end
  while #slots < want and at <= now + horizon do
    local within = redis.call('ZCOUNT', sent, at - span, '+inf')
    if within >= most then
      local first = redis.call('ZRANGE', sent, -most, -most, 'WITHSCORES')
      at = math.max(at, tonumber(first[2]) + span)
      if at > now + horizon then break end
    end
    slots[#slots + 1] = at - now
    redis.call('ZADD', sent, at, me .. ':' .. at .. ':' .. #slots)
    if last > 0 then used = used + math.min(math.max(0, at - last), 2 * spacing) end
    last = at
    at = at + spacing
  end
  next_slot = math.max(next_slot, at)
end

redis.call('HSET', state, 'epoch', current, 'curve', payload, 'used', used, 'last', last, 'next', next_slot,
  'pause', paused, 'answers', answers, 'row', row)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, kept) end
local second = redis.call('ZCOUNT', sent, now - 1000000, now)
local reply = {current, payload, used, second, answers, row, redis.call('ZCARD', seen), math.max(0, paused - now),
  math.max(0, next_slot - now - horizon)}
for _, slot in ipairs(slots) do reply[#reply + 1] = math.floor(slot) end
for i, value in ipairs(reply) do if type(value) == 'number' then reply[i] = math.floor(value) end end
return reply
"""


@checked
@attrs.frozen(kw_only=True, repr=False)
class RedisPacing(PacingPolicy):
    """A pace that processes share through Redis; all that share a quota are given the same.

    Args:
        url: where Redis is, as :mod:`clarus_async.extras.redis_url` says; it may hold a password, and never shows.
        prefix: of the keys, which hold the API's base URL and the tenant, and no secret.
        timeout: seconds to wait for Redis; after that a process keeps to its part of the rate by itself.

    Raises:
        InvalidInputError: a value is not usable; also what :class:`PacingPolicy` refuses.
        ImportError: the redis package is missing.
    """

    __repr__ = shown

    url: str = attrs.field(default="redis://127.0.0.1:6379/0", repr=lambda _: "…")
    prefix: str = "clarus"
    timeout: float = 0.5

    def __reduce__(self) -> NoReturn:
        raise TypeError("RedisPacing may hold a secret and refuses to be pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        address = read_redis_url(self.url)
        positive = isinstance(self.timeout, int | float) and not isinstance(self.timeout, bool) and self.timeout > 0
        problems = [
            ("url", address if isinstance(address, str) else None),
            ("prefix", None if isinstance(self.prefix, str) and self.prefix else "must be a string that is not empty"),
            ("timeout", None if positive and math.isfinite(self.timeout) else "must be seconds above 0"),
        ]
        refuse("RedisPacing", problems)
        _must_have_redis()

    def share(self, base_url: str) -> RedisSharing:
        """Begin to share; what :class:`~clarus_async.ClarusClient` calls.

        Args:
            base_url: the API's.
        """
        return RedisSharing(self, base_url)


def _must_have_redis() -> None:
    try:
        import redis.asyncio  # noqa: F401, PLC0415  an optional dependency
    except ImportError as error:
        msg = 'a shared pace needs redis: pip install "clarus-async[redis]"'
        raise ImportError(msg, name="redis") from error


class RedisSharing:
    """What one client shares with others through Redis.

    Args:
        policy: where Redis is, and what the caller knows of the quota.
        base_url: the API's.
    """

    def __init__(self, policy: RedisPacing, base_url: str) -> None:
        self._policy = policy
        self._base_url = base_url
        self._me = uuid.uuid4().hex
        address = read_redis_url(policy.url)
        assert isinstance(address, RedisAddress)  # noqa: S101  the policy has refused any other
        self._address = address
        self._client: Any = None
        self._lease: Any = None
        self._telling = Telling(
            address,
            "each process keeps to its part of the last rate by itself",
            "the pace is shared again",
        )
        self.problem: str | None = None
        """Why nothing may be sent: Redis refuses, and waiting does not heal it."""
        self._tasks: set[asyncio.Task[None]] = set()

    def pacer(self, tenant: str | None) -> SharedPace:
        """Return the pacer of a tenant.

        Args:
            tenant: which; ``None``: of all together.
        """
        # In braces, so that a cluster keeps a quota's keys together.
        name = f"{self._policy.prefix}:{{{self._base_url}|{'' if tenant is None else tenant}}}"
        keys = [f"{name}:{part}" for part in ("state", "sent", "seen")]
        policy = PacingPolicy(
            rate=self._policy.rate,
            burst=self._policy.burst,
            start=self._policy.start,
            max_wait=self._policy.max_wait,
            scope=self._policy.scope,
        )
        return SharedPace(policy, lambda pace: self._begin(pace, keys))

    async def tokens(self, credentials: Credentials) -> SharedToken | None:
        """Return where the token of these credentials is shared; ``None`` where it is not.

        Args:
            credentials: whose.
        """
        if not isinstance(credentials, ClientCredentials):
            return None
        keys = await asyncio.to_thread(derive, credentials, self._base_url)
        return None if keys is None else SharedToken(self._policy.prefix, keys, self._evaluate, self._start)

    async def _evaluate(self, script: str, keys: list[str], arguments: list[Any]) -> Any:  # noqa: ANN401
        """Return what a script comes to in Redis, or what kept it."""
        return await self._within(self._open().eval(script, len(keys), *keys, *arguments))

    def _open(self) -> Any:  # noqa: ANN401
        if self._client is None:
            self._client = self._address.client()
            self._lease = self._client.register_script(_SCRIPT)
        return self._client

    def _begin(self, pace: SharedPace, keys: list[str]) -> None:
        self._start(self._serve(pace, keys))

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name="clarus_async shared pace")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, pace: SharedPace, keys: list[str]) -> None:
        """Lease, and report what became of it, for as long as there is something to do."""
        failures = 0
        try:
            while (wanted := pace.wanted()) is not None:
                asked = asyncio.get_running_loop().time()
                lease = await self._ask(keys, wanted)
                now = asyncio.get_running_loop().time()
                if isinstance(lease, Trouble):
                    failures += 1
                    self._telling.trouble(lease)
                    self.problem = None if lease.heals else redis_error(lease, self._address).message
                    # Who waits goes on by itself, or is told of the problem.
                    pace.alone()
                    await asyncio.sleep(min(_LONGEST_BACKOFF, 0.25 * 2.0 ** min(failures, 10)))
                    continue
                failures = 0
                self._telling.over()
                self.problem = None
                # The script ran at some moment between these.
                if (wait := pace.leased(lease, (asked + now) / 2.0)) > 0:
                    await pace.news(wait)
        finally:
            pace.served()

    async def _ask(self, keys: list[str], wanted: Wanted) -> Lease | Trouble:
        arguments = [
            self._me, wanted.epoch, wanted.slots, _micro(wanted.spacing), wanted.most, _micro(wanted.span),
            _micro(wanted.horizon), _micro(wanted.pause), wanted.admitted, wanted.refused, wanted.curve,
            _micro(_SEEN), round(_KEPT * 1000), int(wanted.met),
        ]  # fmt: skip
        self._open()
        reply = await self._within(self._lease(keys=keys, args=arguments))
        if isinstance(reply, Trouble):
            return reply
        try:
            return _lease(reply)
        except (TypeError, ValueError, LookupError):
            return NOT_REDIS

    async def _within(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
        """Return what comes of it in time, or what kept it: nobody waits longer, whatever the driver has to do yet."""
        task = self._start(_result(work))
        try:
            await asyncio.wait({task}, timeout=self._policy.timeout)
            if task.done() and not task.cancelled():
                return task.result()
            return Trouble(f"it did not answer within {self._policy.timeout:g} s")
        finally:
            task.cancel()

    async def close(self) -> None:
        """Give up what it holds."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=self._policy.timeout)
        if self._client is not None:
            client, self._client = self._client, None
            await self._within(client.aclose())


async def _result(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    try:
        return await work
    except Exception as error:  # noqa: BLE001  whatever it is, Redis can't be asked
        _log.debug("Redis can't be asked: %s", type(error).__name__)
        return redis_trouble(error)


def _lease(reply: Any) -> Lease:  # noqa: ANN401
    return Lease(
        epoch=int(reply[0]),
        curve=str(reply[1]),
        used=float(reply[2]) / 1e6,
        second=int(reply[3]),
        answers=int(reply[4]),
        row=int(reply[5]),
        processes=max(1, int(reply[6])),
        pause=float(reply[7]) / 1e6,
        wait=float(reply[8]) / 1e6,
        slots=[float(value) / 1e6 for value in reply[9:]],
    )


def _micro(seconds: float) -> int:
    return round(seconds * 1e6)
