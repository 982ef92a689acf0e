"""Records in doubt: each waits, is looked up and sent again in a task of its own, and costs no worker."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import attrs

from clarus_async.errors import ClarusError, JournalError
from clarus_async.provisioning.existing import is_weak
from clarus_async.provisioning.forecast import Wave
from clarus_async.provisioning.job_index import JobIndex
from clarus_async.provisioning.sender import Sender
from clarus_async.provisioning.work_item import WorkItem, WorkState
from clarus_async.provisioning.work_queue import WorkQueue
from clarus_async.reconcile.decide import Conclusion, LookupResult
from clarus_async.reconcile.lookup_batcher import LookupBatcher
from clarus_async.reconcile.loop import settle_create
from clarus_async.reconcile.reconciler import Reconciler

_LATER: Final = 1 / 12
"""Of ``settle``: so long a record waits which was certainly not applied, and may be later."""


_SUPPOSED: Final = 0.2
"""Of a lookup: so much counts what is supposed before any has told. One whole would promise the loss of another."""


@attrs.define(eq=False)
class InDoubtSettler:
    """Settles the records of a run that are in doubt."""

    reconciler: Reconciler
    index: JobIndex
    lookups: LookupBatcher
    queue: WorkQueue
    sender: Sender
    _due: dict[WorkItem, float] = attrs.field(factory=dict, init=False)
    # Those that their first lookup did not find, and how many lookups found what: at first, and when they were due.
    _missing: set[WorkItem] = attrs.field(factory=set, init=False)
    _lost: int = attrs.field(default=0, init=False)
    _first: list[int] = attrs.field(factory=lambda: [0, 0], init=False)
    _later: list[int] = attrs.field(factory=lambda: [0, 0], init=False)

    @property
    def in_doubt(self) -> int:
        """How many records are in doubt."""
        return len(self._due)

    def risks(self, passed: int) -> tuple[float, float]:
        """Return the shares of the sends that fall due, and that have to be sent again, after so many records."""
        lost = self._lost / max(1, passed)
        due, again = self._shares
        return lost * due, lost * due * again

    @property
    def _shares(self) -> tuple[float, float]:
        """Return which share of what is lost falls due, and which of that has to be sent again."""
        # Until lookups have told, half of what is lost was applied, and what was not by then is not later.
        due = (self._first[0] + 0.5 * _SUPPOSED) / (sum(self._first) + _SUPPOSED)
        return due, (self._later[0] + _SUPPOSED) / (sum(self._later) + _SUPPOSED)

    def waves(self) -> list[Wave]:
        """Return what is in doubt, those together that will go the same way."""
        due, again = self._shares
        # Those that no lookup told of yet, that the first did not find, that were sent again without an answer, and
        # with one.
        first: list[float] = []
        missing: list[float] = []
        unanswered: list[float] = []
        answered: list[float] = []
        for item, at in self._due.items():
            creation = item.creation
            in_doubt = creation.pending.in_doubt
            if item in self._missing:
                missing.append(at)
            elif in_doubt.sends == 1:
                first.append(at)
            else:
                (answered if in_doubt.refused or creation.record is not None else unanswered).append(at)
        ways = (first, due, due * again), (missing, 1.0, again), (unanswered, 1.0, due * again), (answered, 1.0, 0.0)
        return [Wave(len(at), at[0], at[-1], *shares) for at, *shares in ways if at]

    def note(self, item: WorkItem) -> None:
        """Note that a record was given up just now, and may be there."""
        self._due.pop(item, None)
        self._missing.discard(item)
        if item.in_doubt.sends:
            self._due[item] = item.in_doubt.given_up + self.reconciler.terms.settle

    async def settle(self, item: WorkItem) -> Conclusion:
        """Settle a record."""
        terms = self.reconciler.terms
        item.state = WorkState.IN_DOUBT
        self.note(item)
        # What an earlier run left tells nothing of this one.
        self._lost += item in self._due and item.left_as is None
        try:
            actions = _ItemActions(self, item)
            return await settle_create(item.in_doubt, actions, terms.settle, most_sends=terms.most_sends)
        finally:
            self._due.pop(item, None)
            self._missing.discard(item)

    def looked(self, item: WorkItem, result: LookupResult) -> None:
        """Note what a lookup told."""
        if item.in_doubt.sends == 1:
            found = bool(result.ids)
            (self._later if item in self._missing else self._first)[found] += 1
            if not found:
                self._missing.add(item)


@attrs.define(eq=False)
class _ItemActions:
    """What can be done for one record of a run."""

    _settler: InDoubtSettler
    _item: WorkItem

    async def wait(self, at: float) -> bool:
        """Wait until a moment, unless the run comes to its end."""
        seconds = at - asyncio.get_running_loop().time()
        terms = self._settler.reconciler.terms
        # What a server asks for with Retry-After may be hours.
        return seconds <= max(terms.max_wait, terms.settle) and await self._settler.sender.ending.pause(seconds)

    async def look_up(self) -> LookupResult | str:
        """Look it up, together with others."""
        settler, item, key = self._settler, self._item, self._item.lookup_key
        found = await settler.lookups.look_up_with_others(key)
        if isinstance(found, ClarusError):
            settler.sender.judge(found)
            return f"looking it up failed: {found.reason}"
        weak = is_weak(settler.reconciler.spec, key)
        others = settler.index.claimed(key.folded, item.own_id).ids if weak else ()
        reconciler = settler.reconciler
        result = reconciler.sort_out(item.creation, key, found.rows, found.at, others)
        settler.looked(item, result)
        if result.sure or reconciler.spec.listing.created_filter is None:
            return result
        search = partial(reconciler.search_by_time, item.creation, key, found.rows, result, others, wait_for_pace=True)
        try:
            return await settler.lookups.retried(search)
        except ClarusError as error:
            settler.sender.judge(error)
            return f"looking it up failed: {error.reason}"

    async def send(self) -> str | None:
        """Have a worker send it again."""
        settler, item = self._settler, self._item
        # The server was not reached, or sent it away: other records show when it can be.
        later = not item.in_doubt.sends or item.creation.budget_exhausted
        wait = _LATER * settler.reconciler.terms.settle if later else 0.0
        if settler.sender.ending.is_set() or not await settler.sender.ending.pause(wait):
            return "the run came to its end before it could be sent again"
        # As often as it may be there is as often as it may have been sent, also after a crash.
        try:
            await settler.index.intend([item], settler.reconciler.server_time)
        except JournalError as error:
            settler.sender.judge(error)
            return f"it could not be written down that it is sent again: {error.reason}"
        item.resent = asyncio.get_running_loop().create_future()
        settler.queue.add_again(item)
        await item.resent
        settler.note(item)
        return None
