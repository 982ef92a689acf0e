"""What a worker does with one record: sends it, or changes what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from clarus_async.errors import ApiError, Applied, ClarusError, JournalError, RateLimitedError
from clarus_async.provisioning.existing import changes_of
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem
from clarus_async.provisioning.work_item import WorkItem
from clarus_async.reconcile.lookup_batcher import fatal
from clarus_async.reconcile.pending import Api


class RunEnd(asyncio.Event):
    """Set when nobody is to wait any longer, or to send anything."""

    async def pause(self, seconds: float) -> bool:
        """Wait; false where it is set meanwhile.

        Args:
            seconds: how long.
        """
        if seconds <= 0:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self.wait()
        except TimeoutError:
            return True
        return False


class Sender:
    """Sends the records of a run; one at a time where the server is in trouble.

    Args:
        api: what the client can do.
        ending: set when the run comes to its end.
        fail: ends the run.
    """

    def __init__(self, api: Api, ending: RunEnd, fail: Callable[[BaseException], None]) -> None:
        self._api = api
        self._ending = ending
        self._fail = fail
        self._probing = api.probing()
        self._probe = asyncio.Lock()

    async def create(self, item: WorkItem) -> None:
        """Send a record once; its draft says what became of it, and that nothing did where the run came to its end.

        Args:
            item: the record.
        """
        if self._probing.is_open:
            async with self._probe:
                # One that went well while others stood in line frees them all, and they go side by side again.
                if self._probing.is_open:
                    if await self._ending.pause(self._probing.next_wait()):
                        await self._create(item)
                    return
        if not self._ending.is_set():
            await self._create(item)

    async def _create(self, item: WorkItem) -> None:
        limited = item.draft.doubt.limited
        await self._api.send(item.draft, patient=True)
        error = item.draft.error
        rejected = isinstance(error, ApiError) and error.status < 500
        self._probing.record(success=error is None or rejected or item.draft.doubt.limited > limited)
        if error is not None and error.applied is Applied.NO:
            self.judge(error)

    def found(self) -> None:
        """Note that the server did what it did not answer: it is slow, and not down."""
        self._probing.record(success=True)

    async def update(self, item: WorkItem, found: int) -> Outcome:
        """Change a record that is there, and say what became of it.

        Args:
            item: the record of the input.
            found: the id of what is there.
        """
        patched = await self._api.update(found, changes_of(item.new), patient=True)
        item.draft.attempts += patched.attempts
        more: dict[str, Any] = {"integration_id": found, "matched_by": item.lookup.matched_by}
        if not isinstance(patched, ClarusError):
            return item.outcome(OutcomeStatus.UPDATED, **more)
        self.judge(patched)
        status = OutcomeStatus.FAILED if patched.applied is Applied.NO else OutcomeStatus.UNRESOLVED
        return item.outcome(status, error=Problem.of(patched), **more)

    def judge(self, error: ClarusError) -> None:
        """End the run where an error would be every record's.

        Args:
            error: any.
        """
        if isinstance(error, RateLimitedError):
            ends = error.retry_after is not None and error.retry_after >= self._api.terms.max_wait
        else:
            ends = fatal(error) or isinstance(error, JournalError)
        if ends:
            self._fail(error)
