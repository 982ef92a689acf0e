"""Looks at the list, many keys a query: ahead of the workers, and for records in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from clarus_async.errors import (
    AuthenticationError,
    ClarusError,
    ConfigurationError,
    PermissionDeniedError,
    RateLimitedError,
)
from clarus_async.reconcile.pending import Api, Lookup
from clarus_async.resources.integrations import IntegrationRow
from clarus_async.wire.refusals import refuses_document, refuses_size

KEYS: Final = 50
"""Keys in one query: with a row for each, a page of the list holds them all."""

FATAL: Final = (AuthenticationError, PermissionDeniedError, ConfigurationError)
"""What would fail every record: nothing of the record is at fault."""


def fatal(error: ClarusError) -> bool:
    """Whether an error would fail every record.

    Args:
        error: what ended a call.
    """
    # A query that is not allowed, or costs too much at its smallest, is the same for all.
    return isinstance(error, FATAL) or refuses_document(error) or refuses_size(error)


_LINGER: Final = 1 / 12  # of `settle`: so long a record in doubt waits for others to be looked up with
_LONGEST_LINGER: Final = 5.0
_SHORTEST_LINGER: Final = 0.25
_TRIES: Final = 12  # reads in a row that may fail, each with retries of its own
_FIRST_PAUSE: Final = 0.1  # seconds; doubled from one failure to the next
_LONGEST_PAUSE: Final = 10.0


class Seen(NamedTuple):
    """What a look found.

    Args:
        at: when it began, in seconds on the event loop's clock.
        rows: every record that has what was looked for.
    """

    at: float
    rows: list[IntegrationRow]


class LookupBatcher:
    """Looks for records of one tenant.

    Args:
        api: finds them.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._waiting: dict[Lookup, asyncio.Future[Seen | ClarusError]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._references: bool | None = None
        self._linger = max(_SHORTEST_LINGER, min(_LONGEST_LINGER, _LINGER * api.terms.settle))

    def known(self, reference: str | None, name: str) -> Lookup | None:
        """Say what a record is looked up by; ``None`` where the tenant's schema has to be asked for first.

        Args:
            reference: its first, if it has one.
            name: its name.
        """
        if reference is not None and self._references is None:
            return None
        return Lookup.of(reference, name, references=bool(self._references))

    async def lookup(self, reference: str | None, name: str) -> Lookup:
        """Say what a record is looked up by.

        Args:
            reference: its first, if it has one.
            name: its name.

        Raises:
            ClarusError: the tenant's schema can't be had.
        """
        tries = 0
        while (lookup := self.known(reference, name)) is None:
            tries += 1
            try:
                self._references = await self._api.searches_references(patient=True)
            except ClarusError as error:
                await self._pause(error, tries)
        return lookup

    async def now(self, lookups: Iterable[Lookup]) -> dict[Lookup, Seen | ClarusError]:
        """Look for many at once.

        Args:
            lookups: what to look for.

        Returns:
            What was found of each, or why that of this one can't be read.

        Raises:
            ClarusError: it can't be read, though it was tried several times.
        """
        by_field: dict[str, list[str]] = {}
        for lookup in dict.fromkeys(lookups):
            by_field.setdefault(lookup.field, []).append(lookup.value)
        chunks = [
            (field, values[start : start + KEYS])
            for field, values in by_field.items()
            for start in range(0, len(values), KEYS)
        ]
        if len(chunks) == 1:
            return await self._read(*chunks[0])
        found: dict[Lookup, Seen | ClarusError] = {}
        reads = [asyncio.create_task(self._read(*chunk), name="clarus_async provision look") for chunk in chunks]
        try:
            for read in reads:
                found |= await read
        finally:
            await _ended(reads)
        return found

    async def later(self, lookup: Lookup) -> Seen | ClarusError:
        """Look for a record in doubt, together with others that are due about now.

        Args:
            lookup: what to look for.

        Returns:
            What was found, or why it can't be read, though it was tried several times.
        """
        future = self._waiting.get(lookup)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._waiting[lookup] = loop.create_future()
            if len(self._waiting) >= KEYS:
                self._begin()
            elif self._timer is None:
                self._timer = loop.call_later(self._linger, self._begin)
        return await asyncio.shield(future)

    def hurry(self) -> None:
        """Let nobody wait for long any more: there will be few others to wait for."""
        if self._linger == _SHORTEST_LINGER:
            return
        self._linger = _SHORTEST_LINGER
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
        await _ended(self._tasks)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        task = asyncio.create_task(self._answer(waiting), name="clarus_async provision look")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, waiting: dict[Lookup, asyncio.Future[Seen | ClarusError]]) -> None:
        found: dict[Lookup, Seen | ClarusError] = {}
        error: ClarusError | None = None
        broken: Exception | None = None
        try:
            found = await self.now(waiting)
        except ClarusError as failed:
            error = failed
        except Exception as failed:  # noqa: BLE001  raised by the run, whose records must not wait for ever
            broken = failed
        finally:
            for lookup, future in waiting.items():
                answer = found.get(lookup, error)
                if future.done():
                    continue
                if answer is not None:
                    future.set_result(answer)
                elif broken is not None:
                    future.set_exception(broken)
                else:
                    future.cancel()

    async def _read(self, field: str, values: list[str]) -> dict[Lookup, Seen | ClarusError]:
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            at = loop.time()
            try:
                found = await self._api.find(field, values, patient=True)
            except ClarusError as error:
                tries += 1
                await self._pause(error, tries)
            else:
                return {
                    Lookup(field, value): rows if isinstance(rows, ClarusError) else Seen(at, rows)
                    for value, rows in found.items()
                }

    async def _pause(self, error: ClarusError, tries: int) -> None:
        """Wait before another try, not before Retry-After, or raise what can't be mended by one."""
        floor = error.retry_after or 0.0
        ends = fatal(error) or isinstance(error, RateLimitedError) or floor > self._api.terms.max_wait
        if ends or tries >= _TRIES:
            raise error
        await asyncio.sleep(max(floor, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (tries - 1))))


async def _ended(tasks: Collection[asyncio.Task[object]] | Collection[asyncio.Task[None]]) -> None:
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)
    for task in tasks:
        # One failure is raised, and the others are the same.
        if not task.cancelled():
            task.exception()
