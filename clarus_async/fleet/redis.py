"""One quota for many processes: a pace that they share through Redis (``pip install "clarus-async[redis]"``).

The chapter ``clarus_async.fleet`` says what is shared, and what happens where Redis can't be used. A pause that the
server asks one process for is a pause for all, and the rate that refusals teach is one for all. What was learned is
kept in Redis: a process that begins within an hour after the last has left begins near the limit. How the token is
encrypted, ``clarus_async.auth.shared_tokens`` says.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Literal  # noqa: F401  what attrs makes names Literal, for PacingPolicy

import attrs

from clarus_async.auth.shared_tokens import RedisTokenStore, derive_keys
from clarus_async.config import PacingPolicy
from clarus_async.credentials import ClientCredentials, Credentials, Secretive
from clarus_async.fleet.redis_errors import NOT_REDIS, RedisLog, redis_error, redis_trouble
from clarus_async.fleet.redis_url import RedisAddress, read_redis_url
from clarus_async.http.connect_errors import ConnectionProblem
from clarus_async.ratelimit.shared_pace import Exchange, Exchanged, SharedClock, SharedPace
from clarus_async.validation import checked, refuse, shown

_log = logging.getLogger("clarus_async")

_KEPT: Final = 3600.0  # seconds that a quota which no process asks for is remembered
_INBOX_WAIT: Final = 1  # seconds for which Redis waits for a message
_MOST_MESSAGES: Final = 1000  # taken at once
_RETRY_AFTER: Final = 0.5  # seconds until a Redis that can't be asked is asked again; one question for all paces
# Seconds that a message is kept: what it says is worth nothing to a process that reads none for so long.
_MESSAGES_KEPT: Final = 10.0

# Keys: the lease, what was learned, and what a process's messages are under, but for its name. Arguments: who asks, its
# lease, what it learned; milliseconds that a lease is to run, that what was learned is kept, and that messages are; and
# messages, each behind who gets it: a process, or "" for whoever leads.
# Returns: the lease that runs, microseconds of the clock, what was learned before a lease that is new.
# A process that no longer leads, because it was stopped for a while, changes nothing for the others.
_EXCHANGE: Final = """
local me, runs = ARGV[1], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = string.format('%d%06d', time[1], time[2])
local lease, learned = redis.call('GET', KEYS[1]) or '', ''
local leads = lease ~= '' and lease == ARGV[2]
if not leads and runs > 0 and (lease == '' or string.sub(lease, 1, #me) == me) then
  lease, learned = me .. now, redis.call('GET', KEYS[2]) or ''
  redis.call('SET', KEYS[1], lease, 'PX', runs)
end
local owner = string.sub(lease, 1, #me)
if leads then
  if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3]) end
  redis.call('PEXPIRE', KEYS[1], runs)
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
for i = 7, #ARGV, 2 do
  local to = ARGV[i]
  if to == '' and owner ~= me then to = owner elseif not leads then to = '' end
  if to ~= '' then
    redis.call('RPUSH', KEYS[3] .. to, ARGV[i + 1])
    redis.call('PEXPIRE', KEYS[3] .. to, ARGV[6])
  end
end
return {runs > 0 and lease or '', now, learned}
"""


@checked
@attrs.frozen(kw_only=True, repr=False)
class RedisPacing(Secretive, PacingPolicy):
    """A pace that processes share through Redis; all that share a quota are given the same.

    Args:
        url: where Redis is, as ``clarus_async.fleet.redis_url`` says; it may hold a password, and never shows.
        prefix: of the keys, which hold the API's base URL and the tenant, and no secret.
        timeout: seconds to wait for Redis; after that a process keeps to its part of the rate by itself.

    Raises:
        InvalidInputError: a value is not usable; also what ``PacingPolicy`` refuses.
        ImportError: the redis package is missing.
    """

    __repr__ = shown

    url: str = attrs.field(default="redis://127.0.0.1:6379/0", repr=lambda _: "…")
    prefix: str = "clarus"
    timeout: float = 0.5

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
        try:
            import redis.asyncio  # noqa: F401, PLC0415  an optional dependency
        except ImportError as error:
            raise ImportError('a shared pace needs redis: pip install "clarus-async[redis]"', name="redis") from error

    def share(self, base_url: str) -> RedisSharing:
        """Begin to share; what ``clarus_async.ClarusClient`` calls with the API's base URL."""
        return RedisSharing(self, base_url)


class RedisSharing:
    """What one client shares with others through Redis."""

    def __init__(self, policy: RedisPacing, base_url: str) -> None:
        self._policy = policy
        self._base_url = base_url
        self._me = uuid.uuid4().hex
        address = read_redis_url(policy.url)
        assert isinstance(address, RedisAddress)  # noqa: S101  the policy has refused any other
        self._address = address
        self._inbox = f"{policy.prefix}:inbox:"
        self._client: Any = None
        self._clock = SharedClock()
        self._paces: dict[str, SharedPace] = {}  # those that are served
        self._listener: asyncio.Task[None] | None = None
        self._inbox_trouble: ConnectionProblem | None = None  # why no message can be taken
        self._log = RedisLog(
            address,
            "each process keeps to its part of the last rate by itself",
            "the pace is shared again",
        )
        self.problem: str | None = None
        """Why nothing may be sent: Redis refuses, and waiting does not heal it."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._claims: set[asyncio.Task[Any]] = set()  # that are being given up

    def pacer(self, tenant: str | None) -> SharedPace:
        """Return the pacer of a tenant; ``None``: that of all tenants together."""
        # Without the URL, which may hold a password.
        policy = PacingPolicy(rate=self._policy.rate, burst=self._policy.burst, start=self._policy.start)
        name = f"{self._base_url}|{'' if tenant is None else tenant}"
        return SharedPace(name, policy, self._me, self._clock, self._begin)

    async def tokens(self, credentials: Credentials) -> RedisTokenStore | None:
        """Return where the token of these credentials is shared; ``None`` where it is not."""
        if not isinstance(credentials, ClientCredentials):
            return None
        keys = await asyncio.to_thread(derive_keys, credentials, self._base_url)
        return None if keys is None else RedisTokenStore(self._policy.prefix, keys, self._evaluate, self._give_up)

    def _give_up(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._start(work)
        self._claims.add(task)
        task.add_done_callback(self._claims.discard)
        return task

    async def _evaluate(self, script: str, keys: list[str], arguments: list[Any]) -> Any:  # noqa: ANN401
        """Return the result of a script in Redis, or why there is none."""
        run = self._open().register_script(script)
        return await self._in_time(lambda: run(keys=keys, args=arguments))

    def _open(self) -> Any:  # noqa: ANN401
        if self._client is None:
            self._client = self._address.client()
        return self._client

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name="clarus_async shared pace")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin(self, pace: SharedPace) -> None:
        self._start(self._serve(pace))
        self._paces[pace.name] = pace
        if self._listener is None or self._listener.done():
            self._listener, self._inbox_trouble = self._start(self._listen()), None

    async def _serve(self, pace: SharedPace) -> None:
        """Exchange messages for a pace, for as long as it has something to say or to hear."""
        time = asyncio.get_running_loop().time
        try:
            while (step := pace.step(asked := time())) is not None:
                if isinstance(step, float):
                    await pace.wait_for_change(step)
                    continue
                answer = self._inbox_trouble or await self._exchange(pace.name, step)
                if isinstance(answer, ConnectionProblem):
                    self._log.trouble(answer)
                    self.problem = None if answer.transient else redis_error(answer, self._address).message
                    # Calls that wait go on with this process's own part of the rate, or fail with the problem.
                    pace.go_alone()
                    await pace.wait_for_change(_RETRY_AFTER)
                else:
                    self._log.recovered()
                    self.problem = None
                    pace.exchanged(answer, asked, time())
        finally:
            del self._paces[pace.name]
            pace.stopped()

    async def _listen(self) -> None:
        """Take messages, for as long as a pace is served."""
        while self._paces:
            messages = await self._in_time(self._messages, _INBOX_WAIT)
            self._inbox_trouble = messages if isinstance(messages, ConnectionProblem) else None
            if self._inbox_trouble is None:
                for message in messages:
                    self._deliver(message)
            else:
                for pace in self._paces.values():
                    pace.exchange_now()
                await asyncio.sleep(_RETRY_AFTER)

    async def _messages(self) -> list[str]:
        """Return the messages that there are, or that come soon."""
        inbox, asking = self._inbox + self._me, self._open().pipeline(transaction=False)
        if self._inbox_trouble is None:
            asking.blpop(inbox, _INBOX_WAIT)
        # One a round trip might be fewer than come.
        *first, rest = await asking.lpop(inbox, _MOST_MESSAGES).execute()
        return [*(popped[1] for popped in first if popped), *(rest or ())]

    def _deliver(self, message: str) -> None:
        try:
            name, fields = json.loads(message)
            if name in self._paces:
                self._paces[name].receive(fields, asyncio.get_running_loop().time())
        except Exception:  # noqa: BLE001  whatever it is, no process that shares this pace sent it
            _log.debug("a message of a shared pace can't be read")

    async def _exchange(self, name: str, exchange: Exchange) -> Exchanged | ConnectionProblem:
        keys = [f"{self._policy.prefix}:{name}:{part}" for part in ("lease", "learned")] + [self._inbox]
        arguments = [
            self._me, exchange.lease, exchange.learned, round(1000 * exchange.seconds), round(1000 * _KEPT),
            round(1000 * _MESSAGES_KEPT), *(part for message in exchange.messages for part in message),
        ]  # fmt: skip
        reply = await self._evaluate(_EXCHANGE, keys, arguments)
        if isinstance(reply, ConnectionProblem):
            return reply
        try:
            lease, now, learned = reply
            return Exchanged(lease, int(now) / 1e6, learned)
        except (TypeError, ValueError):
            return NOT_REDIS

    async def _in_time(self, ask: Callable[[], Awaitable[Any]], longer: float = 0.0) -> Any:  # noqa: ANN401
        """Return what Redis answers, or why it does not, within the timeout, whatever the driver has left to do."""
        task = self._start(_result(ask))
        try:
            await asyncio.wait({task}, timeout=self._policy.timeout + longer)
            if task.done() and not task.cancelled():
                return task.result()
            return ConnectionProblem(f"it did not answer within {self._policy.timeout:g} s")
        finally:
            task.cancel()

    async def close(self) -> None:
        """Let another process lead, and close the connections."""
        if self._claims:
            # Other processes wait for what is claimed.
            await asyncio.wait(self._claims)
        now = asyncio.get_running_loop().time()
        last = [(name, pace.step(now, leave=True)) for name, pace in self._paces.items()]
        await self._cancel_tasks()
        if not self._inbox_trouble:
            await asyncio.gather(*(self._exchange(name, step) for name, step in last if isinstance(step, Exchange)))
        if self._client is not None:
            client, self._client = self._client, None
            await self._in_time(client.aclose)
            await self._cancel_tasks()

    async def _cancel_tasks(self) -> None:
        # More than once: the driver's asyncio.wait_for swallows a cancellation now and then on Python 3.11.
        for _ in range(10):
            for task in tuple(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(tuple(self._tasks), timeout=min(0.05, self._policy.timeout / 10))


async def _result(ask: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
    try:
        return await ask()
    except Exception as error:  # noqa: BLE001  whatever it is, Redis can't be asked
        _log.debug("Redis can't be asked: %s", type(error).__name__)
        return redis_trouble(error)
