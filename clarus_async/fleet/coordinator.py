"""A run on many machines, as the one process sees it that began it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from clarus_async.errors import ClarusError, ConfigurationError, ConnectionFailedError
from clarus_async.fleet.redis_errors import RedisLog
from clarus_async.fleet.shard_store import ShardState, ShardStore
from clarus_async.fleet.shards import Shard
from clarus_async.provisioning.report import Outcome

T = TypeVar("T")

_EVERY: Final = 0.5  # seconds from one look at the shards to the next: one round trip for all of them
_SILENCE: Final = 60.0  # seconds for which Redis may be away: a restart that reads its append-only file takes less


class ShardError(ClarusError):
    """A worker can't go on with a shard, and no other one could."""


class Coordinator:
    """Sends shards out, and collects the outcomes of their records.

    A message that is lost costs time and nothing else: a shard that nobody works on is sent out again when no message
    waits in the queue. One too many costs nothing, for the lease decides.

    Args:
        store: of the run.
        shards: all of the run's.
        send: puts shards into the queue, and may block.
        is_queued: says whether messages wait in the queue.
        settle: seconds that the server may take to apply what it got.
        lost_after: seconds that a shard may be out without an owner before it is sent again.
    """

    def __init__(
        self,
        store: ShardStore,
        shards: Sequence[Shard],
        send: Callable[[Sequence[Shard]], None],
        is_queued: Callable[[], Awaitable[bool]],
        *,
        settle: float,
        lost_after: float = 60.0,
    ) -> None:
        self._store = store
        self._shards = shards
        self._send = send
        self._is_queued = is_queued
        self._settle = settle
        self._lost_after = lost_after
        self._open = {shard.number: shard for shard in shards}
        self._received = dict.fromkeys(self._open, 0)
        self._last_active = dict.fromkeys(self._open, time.monotonic())
        self._stopping = asyncio.Event()
        self._log = RedisLog(store.place, "waiting for it", "the run goes on")

    def stop(self) -> None:
        """Begin no further record; what is in flight ends, and its outcomes still come."""
        self._stopping.set()

    async def outcomes(self) -> AsyncGenerator[Outcome]:
        """Begin, or go on with what an earlier process began, and yield an outcome for each record.

        At the end, the run is deleted from the store.

        Raises:
            ShardError: what would fail every record; what was in flight has ended.
            ConfigurationError: Redis has lost the run, or refuses, and waiting does not heal it.
            ConnectionFailedError: Redis can't be asked, as it begins or for long.
        """
        await self._end_earlier_run()
        await self._store.register(len(self._shards))
        states = await self._store.states(list(self._open))
        await self._send_out([
            shard for shard, state in zip(self._open.values(), states, strict=True)
            if not state.done and not state.lease_left
        ])  # fmt: skip
        stopped, failed = False, None
        while self._open:
            if self._stopping.is_set() and not stopped:
                await self._retrying(self._store.stop)
                stopped = True
            states = await self._retrying(lambda: self._store.states(list(self._open)))
            for number, state in zip(list(self._open), states, strict=True):
                async for outcome in self._collect(number, state):
                    yield outcome
            failed = failed or next((state.error for state in states if state.error), None)
            if failed is not None:
                self._stopping.set()
            if not await self._retrying(self._store.is_registered):
                raise ConfigurationError("Redis has lost the run: run the same command again, and it goes on")
            if stopped and not any(state.lease_left for state in states):
                if failed is not None:
                    raise ShardError(failed)
                return
            if not stopped:
                await self._resend_lost()
            await asyncio.sleep(_EVERY)
        await self._retrying(lambda: self._store.delete(len(self._shards)))

    async def _end_earlier_run(self) -> None:
        """End an unfinished run of what the file was before it was changed: no two may send the same records."""
        if (earlier := await self._store.earlier_run()) is None:
            return
        await earlier.stop()
        numbers = range(await earlier.shard_count())
        while any(state.lease_left for state in await earlier.states(numbers)):  # noqa: ASYNC110
            await asyncio.sleep(_EVERY)
        await earlier.delete(len(numbers))
        await asyncio.sleep(self._settle)

    async def _collect(self, number: int, state: ShardState) -> AsyncGenerator[Outcome]:
        if state.outcomes > self._received[number]:
            outcomes = await self._retrying(lambda: self._store.outcomes(number, self._received[number]))
            self._received[number] += len(outcomes)
            for outcome in outcomes:
                yield outcome
        if state.lease_left:
            self._last_active[number] = time.monotonic()
        if state.done and self._received[number] >= self._open[number].records:
            del self._open[number]

    async def _resend_lost(self) -> None:
        late = time.monotonic() - self._lost_after
        lost = [shard for number, shard in self._open.items() if self._last_active[number] < late]
        if lost and not await self._retrying(self._is_queued):
            await self._send_out(lost)

    async def _send_out(self, shards: Sequence[Shard]) -> None:
        await self._retrying(lambda: asyncio.to_thread(self._send, shards))
        self._last_active |= dict.fromkeys((shard.number for shard in shards), time.monotonic())

    async def _retrying(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask Redis again and again while it is away, as while it is started anew."""
        until = time.monotonic() + _SILENCE
        while True:
            try:
                answer = await ask()
            except ConnectionFailedError as error:
                self._log.error(error)
                if time.monotonic() > until:
                    raise
            else:
                self._log.recovered()
                return answer
            await asyncio.sleep(_EVERY)
