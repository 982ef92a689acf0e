"""When a run looks records up, many keys in one query: ahead of the workers, and where they are in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from clarus_async.errors import (
    AuthenticationError,
    ClarusError,
    ConfigurationError,
    PermissionDeniedError,
    RateLimitedError,
)
from clarus_async.reconcile.lookup import optional_keys
from clarus_async.reconcile.pending import LookupKey
from clarus_async.reconcile.reconciler import Reconciler, surest
from clarus_async.wire.refusals import refuses_document, refuses_size

Read = TypeVar("Read")

KEYS: Final = 50
"""Keys in one query: with a row for each, a page of the list holds them all."""

FATAL: Final = (AuthenticationError, PermissionDeniedError, ConfigurationError)
"""What would fail every record: nothing of the record is at fault."""


def fatal(error: ClarusError) -> bool:
    """Whether an error would fail every record."""
    # A query that is not allowed, or costs too much at its smallest, is the same for all.
    return isinstance(error, FATAL) or refuses_document(error) or refuses_size(error)


# Of `settle`: so long a record in doubt waits for others to be looked up with, which is little beside that.
_LINGER: Final = 1 / 12
_LONGEST_LINGER: Final = 5.0
_SHORTEST_LINGER: Final = 0.25
_TRIES: Final = 12  # reads in a row that may fail, each with retries of its own: with the pauses, about a minute
_FIRST_PAUSE: Final = 0.1  # seconds; doubled from one failure to the next
_LONGEST_PAUSE: Final = 10.0


def _nothing() -> None:
    """Tell nobody."""


class LookupRows(NamedTuple):
    """Every record that has a key, and when their lookup began, in seconds on the event loop's clock."""

    at: float
    rows: list[Any]


class LookupBatcher:
    """Looks records of one tenant up, many a query.

    Args:
        reconciler: asks.
        began: is called when a query goes out.
        ended: is called when it has its answer.
    """

    def __init__(
        self, reconciler: Reconciler, began: Callable[[], None] = _nothing, ended: Callable[[], None] = _nothing
    ) -> None:
        self._reconciler = reconciler
        self._began = began
        self._ended = ended
        self._optional = optional_keys(reconciler.spec)
        self._waiting: dict[LookupKey, asyncio.Future[LookupRows | ClarusError]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._searchable: bool | None = None
        # Twice as long each time: what becomes of the first tells how long the run will take.
        self._linger = _SHORTEST_LINGER
        self._longest = max(_SHORTEST_LINGER, min(_LONGEST_LINGER, _LINGER * reconciler.terms.settle))

    def chosen(self, keys: Sequence[LookupKey]) -> LookupKey | None:
        """Say by which of its natural keys a record is looked up; ``None`` while the schema is not known for that."""
        searchable = self._searchable
        if searchable is None:
            return None if keys[0].field in self._optional else keys[0]
        return surest(keys, self._optional, searchable=searchable)

    async def choose(self, keys: Sequence[LookupKey]) -> LookupKey:
        """Say by which of its natural keys a record is looked up.

        Raises:
            ClarusError: the tenant's schema can't be had.
        """
        if self.chosen(keys) is None:
            self._searchable = await self.retried(partial(self._reconciler.searches_optional_keys, wait_for_pace=True))
        return surest(keys, self._optional, searchable=bool(self._searchable))

    async def look_up(self, keys: Iterable[LookupKey]) -> dict[LookupKey, LookupRows | ClarusError]:
        """Look many up: what was found of each, or why that of this one can't be read.

        Raises:
            ClarusError: nothing can be read, though it was tried several times.
        """
        alike: dict[tuple[object, ...], list[LookupKey]] = {}
        for key in dict.fromkeys(keys):
            alike.setdefault((key.field, key.scope), []).append(key)
        batches = [group[start : start + KEYS] for group in alike.values() for start in range(0, len(group), KEYS)]
        if len(batches) == 1:
            return await self._read(batches[0])
        found: dict[LookupKey, LookupRows | ClarusError] = {}
        reads = [asyncio.create_task(self._read(batch), name="clarus_async provision lookup") for batch in batches]
        try:
            for read in reads:
                found |= await read
        finally:
            await _end(reads)
        return found

    async def look_up_with_others(self, key: LookupKey) -> LookupRows | ClarusError:
        """Look a record in doubt up, together with others that are due about now; return an error, and raise none."""
        future = self._waiting.get(key)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._waiting[key] = loop.create_future()
            if len(self._waiting) >= KEYS:
                self._begin()
            elif self._timer is None:
                self._timer = loop.call_later(self._linger, self._begin)
        return await asyncio.shield(future)

    def hurry(self) -> None:
        """Let nobody wait for long any more: there will be few others to wait for."""
        if self._longest == _SHORTEST_LINGER:
            return
        self._linger = self._longest = _SHORTEST_LINGER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(self._linger, self._begin)

    async def close(self) -> None:
        """End what goes on."""
        if self._timer is not None:
            self._timer.cancel()
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()
        await _end(self._tasks)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._linger = min(self._longest, 2.0 * self._linger)
        waiting, self._waiting = self._waiting, {}
        task = asyncio.create_task(self._answer(waiting), name="clarus_async provision lookup")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, waiting: dict[LookupKey, asyncio.Future[LookupRows | ClarusError]]) -> None:
        found: Mapping[LookupKey, LookupRows | ClarusError] = {}
        broken: Exception | None = None
        try:
            found = await self.look_up(waiting)
        except ClarusError as error:
            found = dict.fromkeys(waiting, error)
        except Exception as error:  # noqa: BLE001  raised by the run, whose records must not wait for ever
            broken = error
        finally:
            for key, future in waiting.items():
                if future.done():
                    continue
                if key in found:
                    future.set_result(found[key])
                elif broken is not None:
                    future.set_exception(broken)
                else:
                    future.cancel()

    async def _read(self, keys: Sequence[LookupKey]) -> dict[LookupKey, LookupRows | ClarusError]:
        async def read() -> dict[LookupKey, LookupRows | ClarusError]:
            at = asyncio.get_running_loop().time()
            self._began()
            try:
                found = await self._reconciler.find(keys, wait_for_pace=True)
            finally:
                self._ended()
            return {key: rows if isinstance(rows, ClarusError) else LookupRows(at, rows) for key, rows in found.items()}

        return await self.retried(read)

    async def retried(self, read: Callable[[], Awaitable[Read]]) -> Read:
        """Read something, and again where that fails and another time may tell.

        Raises:
            ClarusError: it can't be read, though it was tried several times.
        """
        tries = 0
        while True:
            try:
                return await read()
            except ClarusError as error:
                tries += 1
                await self._pause(error, tries)

    async def _pause(self, error: ClarusError, tries: int) -> None:
        """Wait before another try, not before Retry-After, or raise what can't be mended by one."""
        floor = error.retry_after or 0.0
        ends = fatal(error) or isinstance(error, RateLimitedError) or floor > self._reconciler.terms.max_wait
        if ends or tries >= _TRIES:
            raise error
        await asyncio.sleep(max(floor, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (tries - 1))))


async def _end(tasks: Collection[asyncio.Task[object]] | Collection[asyncio.Task[None]]) -> None:
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)
    for task in tasks:
        # One failure is raised, and the others are the same.
        if not task.cancelled():
            task.exception()
