"""The input of a run: pulled by one task, only a little ahead of who takes it, and numbered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable
from itertools import islice, takewhile
from typing import TypeAlias

_YIELD_EVERY = 64  # records of a plain iterable, which would keep the event loop from all else

Numbered: TypeAlias = tuple[int, object]
"""A record's place in the input, from 0, and the record."""


class InputBuffer:
    """Pulls an input into a buffer that holds at most ``ahead`` records."""

    def __init__(self, specs: Iterable[object] | AsyncIterable[object], ahead: int) -> None:
        self._specs = specs
        self._ahead = ahead
        self._buffer: list[Numbered] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self.error: BaseException | None = None
        """What the input raised, once it has ended."""
        self._pulled = 0

    @property
    def ready(self) -> bool:
        """Whether nobody has to wait for it: there are records, or there will be no more."""
        return self._stopped or bool(self._buffer)

    def start(self) -> None:
        """Begin to pull."""
        if not self._stopped:
            self._task = asyncio.create_task(self._pull(), name="clarus_async provision source")

    def stop(self) -> None:
        """Pull no more, and drop what nobody took."""
        self._stopped = True
        self._buffer.clear()
        self._changed.set()
        if self._task is not None:
            # An input that is silent must not keep a run from ending.
            self._task.cancel()

    async def closed(self) -> None:
        """Stop, and wait until nothing is being pulled any more."""
        self.stop()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def take(self, most: int) -> list[Numbered]:
        """Return the next records, as many as are there; none at the end."""
        while not self._buffer and not self._stopped:
            self._changed.clear()
            await self._changed.wait()
        taken = self._buffer[:most]
        del self._buffer[: len(taken)]
        self._changed.set()
        return taken

    async def _pull(self) -> None:
        try:
            if isinstance(self._specs, AsyncIterable):
                await self._pull_async(self._specs)
            else:
                await self._pull_plain(self._specs)
        except asyncio.CancelledError:
            if not self._stopped:
                self.error = RuntimeError("the input was cancelled from within")
        except Exception as error:  # noqa: BLE001  the input's, raised when what is in flight has ended
            self.error = error
        self._stopped = True
        self._changed.set()

    async def _pull_plain(self, specs: Iterable[object]) -> None:
        # An input may stop the run that it feeds, and is pulled no further then.
        numbered = takewhile(lambda _: not self._stopped, enumerate(specs))
        while True:
            there = len(self._buffer)
            # Where the input raises, what it gave before is in the buffer.
            self._buffer.extend(islice(numbered, min(_YIELD_EVERY, self._ahead - there)))
            if self._stopped:
                self._buffer.clear()
                return
            if len(self._buffer) == there:
                return
            self._changed.set()
            await asyncio.sleep(0)
            await self._wait_for_room()

    async def _pull_async(self, specs: AsyncIterable[object]) -> None:
        async for record in specs:
            if self._stopped:
                return
            self._buffer.append((self._pulled, record))
            self._pulled += 1
            self._changed.set()
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        while len(self._buffer) >= self._ahead and not self._stopped:
            self._changed.clear()
            await self._changed.wait()
