"""The gate: no more requests on the wire than the pool has connections, and no tenant that keeps others out.

Round-robin over tenants, first come first served within one. A slot is held only while a request is on the wire. A
waiter that is cancelled, at any moment, takes nothing with it: each has a future of its own, and a slot that was
handed to a waiter who is gone goes to the next.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque


class Gate:
    """A counting gate.

    Args:
        width: how many may be inside at once.
    """

    def __init__(self, width: int) -> None:
        self._free = width
        self._busy = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[bool]]] = OrderedDict()
        self._closed = False
        self._drained: asyncio.Future[None] | None = None

    @property
    def busy(self) -> int:
        """How many are inside."""
        return self._busy

    def waiting(self, tenant: str) -> int:
        """How many wait for a slot.

        Args:
            tenant: whose.
        """
        return sum(not future.done() for future in self._queues.get(tenant, ()))

    def enter_now(self) -> bool:
        """Take a slot if one is free and nobody waits for it."""
        if self._closed or self._free == 0 or self._queues:
            return False
        self._free -= 1
        self._busy += 1
        return True

    async def enter(self, tenant: str, patience: float) -> bool:
        """Wait for a slot; false where none came in time, or the gate closed.

        Args:
            tenant: in whose name.
            patience: seconds to wait at the most.
        """
        if self.enter_now():
            return True
        if self._closed:
            return False
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._queues.setdefault(tenant, deque()).append(future)
        # Waiters that left are still in the queues; they are passed over when their turn comes.
        self._hand_out()
        timer = loop.call_later(patience, _give_up, future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result():
                # The slot came and the cancellation with it: hand it on.
                self.leave()
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Give a slot back."""
        self._free += 1
        self._busy -= 1
        self._hand_out()
        if self._drained is not None and self._busy == 0 and not self._drained.done():
            self._drained.set_result(None)

    def _hand_out(self) -> None:
        while self._free and self._queues:
            tenant, queue = self._queues.popitem(last=False)
            while queue and (future := queue.popleft()).done():
                pass  # it gave up, or was cancelled: that costs its tenant no turn
            if queue:
                self._queues[tenant] = queue
            if not future.done():
                self._free -= 1
                self._busy += 1
                future.set_result(True)

    def close(self) -> None:
        """Send everybody away who waits, and let nobody in."""
        self._closed = True
        queues, self._queues = self._queues, OrderedDict()
        for queue in queues.values():
            for future in queue:
                if not future.done():
                    future.set_result(False)

    async def drain(self, patience: float) -> None:
        """Wait until nobody is inside.

        Args:
            patience: seconds to wait at the most.
        """
        if self._busy == 0:
            return
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._drained], timeout=patience)


def _give_up(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)
