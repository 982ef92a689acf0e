"""The lease of a shard: whoever has it works on the shard, and nobody else does.

Right before a request is written, the lease must still be valid, by a clock of this machine that goes on while the
process is stopped or the machine asleep. It counts from before the lease was asked for, so the lease expires here
before it expires in Redis.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from clarus_async.errors import ClarusError
from clarus_async.fleet.redis_errors import RedisLog
from clarus_async.fleet.shard_store import LeaseGranted, ShardStore
from clarus_async.provisioning.report import Outcome

_RENEWALS: Final = 4  # in the time that a lease runs: three may be lost
_PAUSE: Final = 0.2  # seconds for which outcomes wait for others, so that they are written together
_AT_ONCE: Final = 500  # outcomes that are written together, and that wait: some 200 KB
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds on a clock that goes on while the machine sleeps, where the system has one."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """A lease that is renewed, and the outcomes that are written under it.

    It runs ``seconds`` from ``since``, when it was asked for; ``written`` outcomes are there already.
    """

    def __init__(
        self, store: ShardStore, number: int, grant: LeaseGranted, seconds: float, since: float, written: int
    ) -> None:
        self._store = store
        self._number = number
        self._token = grant.token
        self._seconds = seconds
        self._until = since + seconds
        self._written = written
        self._lines: list[bytes] = []
        self._room = asyncio.Event()
        self._is_lost = False
        self._log = RedisLog(store.place, "trying again while the lease runs", "the lease is kept")
        self.stop: asyncio.Event = asyncio.Event()
        """Set when the run is to stop."""

    def is_valid(self) -> bool:
        """Whether it still runs; once it does not, it never does again."""
        if now() >= self._until:
            self._is_lost = True
        return not self._is_lost

    async def renew(self) -> None:
        """Renew it again and again, until it is lost."""
        every = self._seconds / _RENEWALS
        while self.is_valid():
            asked = now()
            try:
                async with asyncio.timeout(every):
                    ours, stop = await self._store.renew(self._number, self._token, self._seconds)
            except (ClarusError, TimeoutError) as error:
                # Whatever it is, the lease ends by itself.
                self._log.error(error)
                await asyncio.sleep(every / 4)
                continue
            self._log.recovered()
            if not ours:
                self._is_lost = True
            elif self.is_valid():
                self._until = asked + self._seconds
            if stop:
                self.stop.set()
            await asyncio.sleep(every)

    async def add(self, outcome: Outcome) -> None:
        """Have an outcome written soon; what becomes known when the lease is lost is not."""
        while len(self._lines) >= _AT_ONCE and self.is_valid():
            self._room.clear()
            await self._room.wait()
        if self.is_valid():
            self._lines.append(outcome.to_json())

    async def write_outcomes(self) -> None:
        """Write outcomes as they come, until the lease is lost."""
        while self.is_valid():
            await self.flush()
            await asyncio.sleep(_PAUSE)

    async def flush(self) -> None:
        """Write the outcomes that wait, unless the lease is lost."""
        while self._lines and self.is_valid():
            lines = self._lines[:_AT_ONCE]
            try:
                ours = await self._store.append(self._number, self._token, self._written, lines)
            except ClarusError as error:
                self._log.error(error)
                await asyncio.sleep(_PAUSE)
                continue
            self._log.recovered()
            if not ours:
                self._is_lost = True
                break
            self._written += len(lines)
            del self._lines[: len(lines)]
            self._room.set()
        self._room.set()


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task until it ends: the driver uses ``asyncio.wait_for``, which swallows one now and then on 3.11."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)
