"""A queue of bounded length in which nobody waits but where it is full or empty."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedBuffer(Generic[T]):
    """What some tasks put and others get, in order; ``asyncio.Queue`` costs a record of a run several times as much.

    Whoever waits for room waits until the buffer is empty, so that each wakes once and not for every place.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[T] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def try_put(self, item: T) -> bool:
        """Put something where there is room; return whether there was."""
        if len(self._items) >= self._most:
            return False
        self.put_anyway(item)
        return True

    def put_anyway(self, item: T) -> None:
        """Put something, however full it is."""
        self._items.append(item)
        self._filled.set()

    async def put(self, item: T) -> None:
        """Put something, as soon as there is room."""
        while not self.try_put(item):
            self._emptied.clear()
            await self._emptied.wait()

    async def get(self) -> T:
        """Take the first, as soon as there is one."""
        while not self._items:
            self._filled.clear()
            await self._filled.wait()
        item = self._items.popleft()
        if not self._items:
            self._emptied.set()
        return item

    async def get_all(self) -> list[T]:
        """Take all that there are, as soon as there is one."""
        items = [await self.get(), *self._items]
        self.clear()
        return items

    def clear(self) -> None:
        """Let go of all that there are."""
        self._items.clear()
        self._emptied.set()
