"""The input of a run: pulled by one task, only a little ahead of who takes it, and numbered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable
from typing import NamedTuple

_YIELD_EVERY = 64  # records of a plain iterable, which would keep the event loop from all else


class Numbered(NamedTuple):
    """A record and its place in the input, from 0."""

    place: int
    record: object


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
        self.pulled: int = 0
        """Records that were pulled so far."""

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
        for record in specs:
            if not self._add(record):
                return
            if len(self._buffer) >= self._ahead:
                await self._wait_for_room()
            elif self.pulled % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _pull_async(self, specs: AsyncIterable[object]) -> None:
        async for record in specs:
            if not self._add(record):
                return
            await self._wait_for_room()

    def _add(self, record: object) -> bool:
        if self._stopped:
            return False
        self._buffer.append(Numbered(self.pulled, record))
        self.pulled += 1
        self._changed.set()
        return True

    async def _wait_for_room(self) -> None:
        while len(self._buffer) >= self._ahead and not self._stopped:
            self._changed.clear()
            await self._changed.wait()
