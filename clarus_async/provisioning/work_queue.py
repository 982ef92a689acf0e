"""What the workers of a run do next: records that go out once more come first, new ones as long as few are in doubt."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from clarus_async.provisioning.work_item import WorkItem, WorkState


class WorkQueue:
    """The queue between the planner and the workers.

    Args:
        most: a new record is begun where fewer than these are under way.
        width: a worker takes no record while so many workers and lookups are busy; one always may.
    """

    def __init__(self, most: int, width: int) -> None:
        self.most: int = most
        """A new record is begun where fewer than these are under way."""
        self._width = width
        self._new: deque[WorkItem] = deque()
        self._again: deque[WorkItem] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._lookups = 0
        self._closed = False
        self.working: int = 0
        """Workers that have a record."""
        self.under_way: int = 0
        """Records that were begun and are not at their end."""

    def __len__(self) -> int:
        """How many new records wait to be begun."""
        return len(self._new)

    def add(self, items: Iterable[WorkItem]) -> None:
        """Put new records at the end."""
        self._new += items
        self._wake()

    def add_again(self, item: WorkItem) -> None:
        """Put a record that was begun before to the front."""
        item.state = WorkState.RESENDING
        self._again.append(item)
        self._wake()

    @property
    def full(self) -> bool:
        """Whether as many are under way as may be."""
        return self.under_way >= self.most

    def ended(self) -> None:
        """Note that a record that was begun is at its end."""
        self.under_way -= 1
        if self._waiting:
            self._wake()

    def lookup_began(self) -> None:
        """Note that a lookup is asked for."""
        self._lookups += 1

    def lookup_ended(self) -> None:
        """Note that a lookup has its answer."""
        self._lookups -= 1
        self._wake()

    def take(self) -> WorkItem | None:
        """Take the next record, if there is one that may go out; ``working`` is counted down when it has."""
        # Where requests are more than connections, each waits for one, which costs more than all else of a record.
        if self.working and self.working + self._lookups >= self._width:
            return None
        if self._again:
            self.working += 1
            return self._again.popleft()
        if self._new and not self.full:
            self.working += 1
            self.under_way += 1
            item = self._new.popleft()
            item.state = WorkState.SENDING
            return item
        return None

    async def get(self) -> WorkItem | None:
        """Wait for the next record; ``None``: there will be none."""
        while (item := self.take()) is None and not self._closed:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._wake()
                raise
        return item

    def drop(self) -> list[WorkItem]:
        """Let go of the records that were not begun."""
        dropped = list(self._new)
        self._new.clear()
        return dropped

    def close(self) -> None:
        """Tell who waits that there will be no more."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        # No more of them than there is work for: of thousands that wait, each would cost something.
        ready = len(self._waiting) if self._closed else len(self._new) + len(self._again)
        while self._waiting and ready > 0:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                ready -= 1
