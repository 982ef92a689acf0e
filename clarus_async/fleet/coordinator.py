"""A run on many machines, as the one process sees it that began it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, TypeVar

from clarus_async.errors import ClarusError, ConfigurationError, ConnectionFailedError
from clarus_async.fleet.redis_errors import Telling
from clarus_async.fleet.shard_store import ShardStore, Standing
from clarus_async.fleet.shards import Shard
from clarus_async.provisioning.report import Outcome

T = TypeVar("T")

_EVERY: Final = 0.5  # seconds from one look at the shards to the next
_SILENCE: Final = 60.0  # seconds for which Redis may not be there


class ShardError(ClarusError):
    """A worker can't go on with a shard, and no other one could."""


class Coordinator:
    """Sends shards out, and collects what becomes of them.

    A message that is lost costs time and nothing else: a shard that nobody works on is sent out again when no message
    waits in the queue. One too many costs nothing, for the lease decides.

    Args:
        board: of the run.
        shards: all of the run's.
        send: puts shards into the queue, and may block.
        queued: says whether messages wait in the queue.
        settle: seconds that the server may take to apply what it got.
        patience: seconds that a shard may be out without an owner.
    """

    def __init__(
        self,
        board: ShardStore,
        shards: Sequence[Shard],
        send: Callable[[Sequence[Shard]], None],
        queued: Callable[[], Awaitable[bool]],
        *,
        settle: float,
        patience: float = 60.0,
    ) -> None:
        self._board = board
        self._shards = shards
        self._send = send
        self._queued = queued
        self._settle = settle
        self._patience = patience
        self._open = {shard.number: shard for shard in shards}
        self._heard = dict.fromkeys(self._open, 0)
        self._moved = dict.fromkeys(self._open, time.monotonic())
        self._stopping = asyncio.Event()
        self._telling = Telling(board.place, "waiting for it", "the run goes on")

    def stop(self) -> None:
        """Begin no further record; what is in flight ends, and its outcomes still come."""
        self._stopping.set()

    async def outcomes(self) -> AsyncGenerator[Outcome]:
        """Begin, or go on with what an earlier process began, and yield an outcome for each record.

        At the end, the run is forgotten.

        Raises:
            ShardError: what would fail every record; what was in flight has ended.
            ConfigurationError: Redis has lost the run, or refuses, and waiting does not heal it.
            ConnectionFailedError: Redis can't be asked, as it begins or for long.
        """
        await self._end_another()
        await self._board.register(len(self._shards))
        standings = await self._board.standing(list(self._open))
        out = [
            shard for shard, standing in zip(self._open.values(), standings, strict=True)
            if not standing.done and not standing.held_for
        ]  # fmt: skip
        await self._put(out)
        stopped, failed = False, None
        while self._open:
            if self._stopping.is_set() and not stopped:
                await self._patiently(self._board.stop)
                stopped = True
            standings = await self._patiently(lambda: self._board.standing(list(self._open)))
            for number, standing in zip(list(self._open), standings, strict=True):
                async for outcome in self._take(number, standing):
                    yield outcome
            failed = failed or next((standing.error for standing in standings if standing.error), None)
            if failed is not None:
                self._stopping.set()
            if not await self._patiently(self._board.registered):
                raise ConfigurationError("Redis has lost the run: run the same command again, and it goes on")
            if stopped and not any(standing.held_for for standing in standings):
                if failed is not None:
                    raise ShardError(failed)
                return
            if not stopped:
                await self._tend()
            await asyncio.sleep(_EVERY)
        await self._patiently(lambda: self._board.forget(len(self._shards)))

    async def _end_another(self) -> None:
        """End an unfinished run of what the file was before it was changed: no two may send the same records."""
        if (another := await self._board.another()) is None:
            return
        await another.stop()
        numbers = range(await another.shards())
        while any(standing.held_for for standing in await another.standing(numbers)):  # noqa: ASYNC110
            await asyncio.sleep(_EVERY)
        await another.forget(len(numbers))
        await asyncio.sleep(self._settle)

    async def _take(self, number: int, standing: Standing) -> AsyncGenerator[Outcome]:
        if standing.told > self._heard[number]:
            told = await self._patiently(lambda: self._board.told(number, self._heard[number]))
            self._heard[number] += len(told)
            for outcome in told:
                yield outcome
        if standing.held_for:
            self._moved[number] = time.monotonic()
        if standing.done and self._heard[number] >= self._open[number].records:
            del self._open[number]

    async def _tend(self) -> None:
        late = time.monotonic() - self._patience
        lost = [shard for number, shard in self._open.items() if self._moved[number] < late]
        if lost and not await self._patiently(self._queued):
            await self._put(lost)

    async def _put(self, shards: Sequence[Shard]) -> None:
        await self._patiently(lambda: asyncio.to_thread(self._send, shards))
        self._moved |= dict.fromkeys((shard.number for shard in shards), time.monotonic())

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask Redis again and again while it is away, as while it is started anew."""
        until = time.monotonic() + _SILENCE
        while True:
            try:
                answer = await ask()
            except ConnectionFailedError as error:
                self._telling.error(error)
                if time.monotonic() > until:
                    raise
            else:
                self._telling.over()
                return answer
            await asyncio.sleep(_EVERY)
