"""What a worker does with one record: sends it, or changes what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from clarus_async.errors import ApiError, Applied, ClarusError, JournalError, RateLimitedError
from clarus_async.provisioning.existing import changes_of
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem
from clarus_async.provisioning.work_item import WorkItem
from clarus_async.reconcile.lookup_batcher import fatal
from clarus_async.reconcile.reconciler import Reconciler

T = TypeVar("T")


class RunEnd(asyncio.Event):
    """Set when nobody is to wait any longer, or to send anything."""

    async def pause(self, seconds: float) -> bool:
        """Wait for so long; return false where it is set meanwhile."""
        if seconds <= 0:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self.wait()
        except TimeoutError:
            return True
        return False


class Sender:
    """Sends the records of a run; one at a time where the server is in trouble. ``fail`` ends the run with an error."""

    def __init__(self, reconciler: Reconciler, ending: RunEnd, fail: Callable[[BaseException], None]) -> None:
        self._reconciler = reconciler
        self.ending = ending
        self._fail = fail
        self._breaker = reconciler.circuit_breaker()
        self._probe = asyncio.Lock()

    @property
    def probing(self) -> bool:
        """Whether one record at a time is sent."""
        return self._breaker.is_open

    def create(self, item: WorkItem) -> Awaitable[None]:
        """Send a record once, unless the run comes to its end; its creation says what became of it."""
        return self.guarded(self._create, item)

    def guarded(self, send: Callable[[T], Awaitable[None]], item: T) -> Awaitable[None]:
        """Have something sent, and ``heard``, unless the run comes to its end."""
        if self._breaker.is_open or self.ending.is_set():
            return self._probe_with(send, item)
        return send(item)

    async def _probe_with(self, send: Callable[[T], Awaitable[None]], item: T) -> None:
        if self.ending.is_set():
            return
        async with self._probe:
            # One that went well while others stood in line frees them all, and they go side by side again.
            if self._breaker.is_open:
                if await self.ending.pause(self._breaker.next_wait()):
                    await send(item)
                return
        if not self.ending.is_set():
            await send(item)

    async def _create(self, item: WorkItem) -> None:
        rate_limited = item.in_doubt.rate_limited
        await self._reconciler.send(item.creation, wait_for_pace=True)
        error = item.creation.error
        self.heard(error, rate_limited=item.in_doubt.rate_limited > rate_limited)

    def heard(self, error: ClarusError | None, *, rate_limited: bool) -> None:
        """Note how a send ended, and end the run where its error would be every record's."""
        rejected = isinstance(error, ApiError) and error.status < 500
        self._breaker.record(success=error is None or rejected or rate_limited)
        if error is not None and error.applied is Applied.NO:
            self.judge(error)

    def found(self) -> None:
        """Note that the server did what it did not answer: it is slow, and not down."""
        self._breaker.record(success=True)

    async def update(self, item: WorkItem, found: int) -> Outcome:
        """Change a record that is there, and say what became of it."""
        changes = changes_of(self._reconciler.spec, item.new)
        changed = await self._reconciler.update(found, changes, wait_for_pace=True)
        item.pending.attempts += changed.attempts
        more: dict[str, Any] = {"id": found, "matched_by": item.lookup_key.called}
        if not isinstance(changed, ClarusError):
            return item.outcome(OutcomeStatus.UPDATED, **more)
        self.judge(changed)
        status = OutcomeStatus.FAILED if changed.applied is Applied.NO else OutcomeStatus.UNRESOLVED
        return item.outcome(status, error=Problem.of(changed), **more)

    def judge(self, error: ClarusError) -> None:
        """End the run where an error would be every record's."""
        if isinstance(error, RateLimitedError):
            ends = error.retry_after is not None and error.retry_after >= self._reconciler.terms.max_wait
        else:
            ends = fatal(error) or isinstance(error, JournalError)
        if ends:
            self._fail(error)
