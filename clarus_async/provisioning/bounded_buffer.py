"""A queue of bounded length in which nobody waits but where it is full or empty."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedBuffer(Generic[T]):
    """What some tasks put and others get, in order; ``asyncio.Queue`` costs a record of a run several times as much."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[T] = deque()
        self._waiting: deque[tuple[asyncio.Future[None], T]] = deque()  # to be put, in this order
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether whoever puts something has to wait."""
        return len(self._items) >= self._most

    def try_put(self, item: T) -> bool:
        """Put something where there is room and nobody waits for it; return whether that was so."""
        if len(self._items) >= self._most or self._waiting:
            return False
        self.put_anyway(item)
        return True

    def put_anyway(self, item: T) -> None:
        """Put something, however full it is."""
        self._items.append(item)
        self._filled.set()

    async def put(self, item: T) -> None:
        """Put something, as soon as there is room."""
        if self.try_put(item):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, item))
        await future

    async def get(self) -> T:
        """Take the first, as soon as there is one."""
        while not self._items:
            self._filled.clear()
            await self._filled.wait()
        item = self._items.popleft()
        if self._waiting:
            self._let_in()
        return item

    async def get_all(self) -> list[T]:
        """Take all that there are, as soon as there is one."""
        items = [await self.get(), *self._items]
        self.clear()
        return items

    def clear(self) -> None:
        """Let go of all that there are."""
        self._items.clear()
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and len(self._items) < self._most:
            future, item = self._waiting.popleft()
            # Where its task was cancelled, it is, too.
            if not future.done():
                self.put_anyway(item)
                future.set_result(None)
