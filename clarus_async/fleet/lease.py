"""A shard that is worked on by whoever has its lease, and by nobody else.

Nothing is sent that had not passed its check: right before a request is written, the lease must still run, by a clock
of this machine that does not stand still while the process is stopped or the machine asleep. It counts from before the
lease was asked for, so it is over here before it is over in Redis.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import random
import time
from typing import Final

from clarus_async.client import ClarusClient
from clarus_async.errors import ClarusError
from clarus_async.fleet.redis_errors import Telling
from clarus_async.fleet.shard_run import run_shard
from clarus_async.fleet.shard_store import Grant, Held, ShardStore
from clarus_async.fleet.shards import Shard
from clarus_async.provisioning.report import Outcome, OutcomeStatus

_log = logging.getLogger("clarus_async")

_RENEWALS: Final = 4  # in the time that a lease runs
_PAUSE: Final = 0.2  # seconds: so long outcomes wait for others to be told with
_AT_ONCE: Final = 500  # outcomes
_NOT_FINAL: Final = frozenset({OutcomeStatus.FAILED, OutcomeStatus.UNRESOLVED})
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class Lease:
    """A lease that is renewed, and what is told under it.

    Args:
        board: of the run.
        number: of the shard.
        grant: as it was given.
        seconds: how long it runs.
        since: when it was asked for.
        told: how many outcomes were told before.
    """

    def __init__(self, board: ShardStore, number: int, grant: Grant, seconds: float, since: float, told: int) -> None:
        self._board = board
        self._number = number
        self._token = grant.token
        self._seconds = seconds
        self._until = since + seconds
        self._told = told
        self._lines: list[bytes] = []
        self._room = asyncio.Event()
        self._lapsed = False
        self._telling = Telling(board.place, "trying again while the lease runs", "the lease is kept")
        self.stop: asyncio.Event = asyncio.Event()
        """Set when the run is to stop."""

    def runs(self) -> bool:
        """Whether it still runs; once it does not, it never does again."""
        if _now() >= self._until:
            self._lapsed = True
        return not self._lapsed

    async def keep(self) -> None:
        """Renew it, until it is lost."""
        every = self._seconds / _RENEWALS
        while self.runs():
            asked = _now()
            try:
                async with asyncio.timeout(every):
                    ours, stop = await self._board.renew(self._number, self._token, self._seconds)
            except (ClarusError, TimeoutError) as error:
                # Whatever it is, the lease ends by itself.
                self._telling.error(error)
                await asyncio.sleep(every / 4)
                continue
            self._telling.over()
            if not ours:
                self._lapsed = True
            elif self.runs():
                self._until = asked + self._seconds
            if stop:
                self.stop.set()
            await asyncio.sleep(every)

    async def tell(self, outcome: Outcome) -> None:
        """Have an outcome told soon; what is known when the lease is over is not.

        Args:
            outcome: which.
        """
        while len(self._lines) >= _AT_ONCE and self.runs():
            self._room.clear()
            await self._room.wait()
        if self.runs():
            self._lines.append(outcome.to_json())

    async def telling(self) -> None:
        """Tell outcomes, until the lease is lost."""
        while self.runs():
            if not await self.flush():
                return
            await asyncio.sleep(_PAUSE)

    async def flush(self) -> bool:
        """Tell what is to be told; say whether that was possible."""
        while self._lines and self.runs():
            lines = self._lines[:_AT_ONCE]
            try:
                ours = await self._board.tell(self._number, self._token, self._told, lines)
            except ClarusError as error:
                self._telling.error(error)
                await asyncio.sleep(_PAUSE)
                continue
            self._telling.over()
            if not ours:
                self._lapsed = True
                break
            self._told += len(lines)
            del self._lines[: len(lines)]
            self._room.set()
        self._room.set()
        return not self._lines


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it ends: the driver uses ``asyncio.wait_for``, which swallows one now and then on 3.11."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


async def run_leased(board: ShardStore, clarus: ClarusClient, shard: Shard, *, seconds: float = 30.0) -> float | None:
    """Work on a shard if nobody else does.

    Whatever becomes of this process, another one can take the shard over when the lease is over; it goes on as
    :func:`clarus_async.fleet.shard_run.run_shard` says.

    Args:
        board: of the shard's run.
        clarus: a client of the shard's tenant.
        shard: which.
        seconds: how long a lease runs that is not renewed.

    Returns:
        Seconds after which to call this again; ``None``: there is nothing more to do for the shard.

    Raises:
        ClarusError: what would fail every record; it is on the board, too, unless it is Redis that refuses.
        ConnectionFailedError: Redis can't be asked now.
    """
    asked = _now()
    settle = clarus.integrations.terms.settle
    grant = await board.acquire(shard.number, seconds, settle)
    if grant is None:
        return None
    if isinstance(grant, Held):
        return grant.seconds * (1 + random.random() / 4) + 0.1  # noqa: S311  who comes first is no secret
    told = await board.told(shard.number)
    lease = Lease(board, shard.number, grant, seconds, asked, len(told))
    wait = max(0.0, settle - grant.since) if grant.taken_over else 0.0
    working = asyncio.create_task(_work(lease, clarus, shard, told, wait), name="clarus_async shard")
    keeping = asyncio.create_task(lease.keep(), name="clarus_async lease")
    try:
        await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() or not lease.runs():
            # At most what had passed its check has gone out, and nothing that is known now is told.
            _log.warning(
                "the lease of shard %d of run %s is over: whoever has it next goes on", shard.number, shard.run
            )
            return 1.0
        error = working.exception()
        await board.release(shard.number, grant.token, shard.records, _said(error))
        if isinstance(error, ClarusError) and error.retryable:
            return error.retry_after or seconds
        if error is not None:
            raise error
        return None
    finally:
        working.cancel()
        await _end(keeping)
        await asyncio.wait({working})


async def run_to_end(board: ShardStore, clarus: ClarusClient, shard: Shard, *, seconds: float = 30.0) -> None:
    """Work on a shard, or wait until whoever does has done it or is gone: a task for engines that may wait.

    Args:
        board: of the shard's run.
        clarus: a client of the shard's tenant.
        shard: which.
        seconds: how long a lease runs that is not renewed.

    Raises:
        ClarusError: what would fail every record; it is on the board, too, unless it is Redis that refuses.
        ConnectionFailedError: Redis can't be asked now.
    """
    while True:
        again = await run_leased(board, clarus, shard, seconds=seconds)
        if again is None:
            return
        await asyncio.sleep(again)


def _said(error: BaseException | None) -> str:
    """Return what is told of an error, of whose text only ours is known to hold no secret."""
    if error is None or (isinstance(error, ClarusError) and error.retryable):
        return ""
    text = str(error) if isinstance(error, ClarusError) else f"unexpected {type(error).__name__}"
    return f"{platform.node()}: {text}"


async def _work(lease: Lease, clarus: ClarusClient, shard: Shard, told: list[Outcome], wait: float) -> None:
    telling = asyncio.create_task(lease.telling(), name="clarus_async telling")
    outcomes = run_shard(clarus.guarded(lease.runs), shard, told=told, wait=wait, stop=lease.stop)
    kept: list[Outcome] = []
    try:
        async for outcome in outcomes:
            if outcome.status in _NOT_FINAL:
                kept.append(outcome)
            else:
                await lease.tell(outcome)
        # What fails, or stays in doubt, as a run ends before its time, is for the next owner.
        if not lease.stop.is_set():
            for outcome in kept:
                await lease.tell(outcome)
    finally:
        await outcomes.aclose()
        await _end(telling)
        await lease.flush()
