"""Records in doubt: each waits, looks and is sent again in a task of its own, and costs no worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from clarus_async.errors import ClarusError, JournalError
from clarus_async.provisioning.job_index import JobIndex
from clarus_async.provisioning.sender import RunEnd
from clarus_async.provisioning.work_item import WorkItem
from clarus_async.provisioning.work_queue import WorkQueue
from clarus_async.reconcile.decide import Looked, Settled
from clarus_async.reconcile.lookup_batcher import LookupBatcher
from clarus_async.reconcile.loop import settle
from clarus_async.reconcile.pending import NAME, Api

_LATER: Final = 1 / 12
"""Of ``settle``: so long a record waits which was certainly not applied, and may be later."""


class InDoubtSettler:
    """Settles the records of a run that are in doubt.

    Args:
        api: what the client can do.
        ledger: what is known of the job's records.
        looks: looks for many at once.
        ready: where a record goes that is to be sent again.
        judge: is given an error, and ends the run where that would fail every record.
        ending: set when the run comes to its end.
    """

    def __init__(
        self,
        api: Api,
        ledger: JobIndex,
        looks: LookupBatcher,
        ready: WorkQueue,
        judge: Callable[[ClarusError], None],
        ending: RunEnd,
    ) -> None:
        self.api = api
        self.ledger = ledger
        self.looks = looks
        self.ready = ready
        self.judge = judge
        self.ending = ending
        self._due: dict[WorkItem, float] = {}

    @property
    def in_doubt(self) -> tuple[int, float]:
        """How many records are in doubt, and when the last of them is due, in seconds on the event loop's clock."""
        # What was noted last was given up last, and so is due last.
        return len(self._due), next(reversed(self._due.values()), 0.0)

    def note(self, item: WorkItem) -> None:
        """Note that a record was given up just now, and may be there.

        Args:
            item: the record.
        """
        self._due.pop(item, None)
        if item.draft.doubt.sends:
            self._due[item] = item.draft.doubt.given_up + self.api.terms.settle

    async def settle(self, item: WorkItem) -> Settled:
        """Settle a record's doubt.

        Args:
            item: the record.
        """
        terms = self.api.terms
        self.note(item)
        try:
            return await settle(item.draft.doubt, _Parked(self, item), terms.settle, most=terms.most_sends)
        finally:
            self._due.pop(item, None)


class _Parked:
    """Hands for one record.

    Args:
        parking: whose.
        item: the record.
    """

    def __init__(self, parking: InDoubtSettler, item: WorkItem) -> None:
        self._parking = parking
        self._item = item

    async def wait(self, at: float) -> bool:
        """Wait until a moment, unless the run comes to its end."""
        seconds = at - asyncio.get_running_loop().time()
        terms = self._parking.api.terms
        # What a server asks for with Retry-After may be hours.
        return seconds <= max(terms.max_wait, terms.settle) and await self._parking.ending.pause(seconds)

    async def look(self) -> Looked | str:
        """Look it up, together with others."""
        parking, item = self._parking, self._item
        seen = await parking.looks.later(item.lookup)
        if isinstance(seen, ClarusError):
            parking.judge(seen)
            return f"looking it up failed: {seen.reason}"
        others = parking.ledger.claimed(item.lookup.value, item.own).ids if item.lookup.field == NAME else ()
        return parking.api.sort_out(item.draft, item.lookup, seen.rows, seen.at, others)

    async def send(self) -> str | None:
        """Have a worker send it again."""
        parking, item = self._parking, self._item
        # The server was not reached, or sent it away: other records show when it can be.
        wait = 0.0 if item.draft.doubt.sends and not item.draft.starved else _LATER * parking.api.terms.settle
        if parking.ending.is_set() or not await parking.ending.pause(wait):
            return "the run came to its end before it could be sent again"
        # As often as it may be there is as often as it may have been sent, also after a crash.
        try:
            await parking.ledger.intend([item], parking.api.server_time)
        except JournalError as error:
            parking.judge(error)
            return f"it could not be written down that it is sent again: {error.reason}"
        item.again = asyncio.get_running_loop().create_future()
        parking.ready.again(item)
        await item.again
        parking.note(item)
        return None
