"""A run: workers that pull records, create them, and hand an outcome on for each.

A few workers over one iterator, and a queue no longer than they are many: nothing piles up on either side, whether the
input is slow or the reader of the outcomes is.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from clarus_async.errors import (
    Applied,
    AuthenticationError,
    ClarusError,
    ConfigurationError,
    InvalidInputError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
)
from clarus_async.provisioning.keys import SeenKeys
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem, Report
from clarus_async.records import NewIntegration

# What would fail every record: nothing of the record is at fault.
_FATAL = (AuthenticationError, PermissionDeniedError, ConfigurationError)


class Created(NamedTuple):
    """A record that is there.

    Args:
        id: its Clarus id.
        attempts: how many requests went out for it.
    """

    id: int
    attempts: int


class Creator(Protocol):
    """What a run needs of the API."""

    async def create_one(self, new: NewIntegration) -> Created:
        """Create one record.

        Args:
            new: which.

        Raises:
            ClarusError: why it is not certain to be there.
        """
        ...


class Progress(NamedTuple):
    """How far a run has come.

    Args:
        report: the counts so far.
        elapsed: seconds since the run began.
        rate: records a second since the run began.
    """

    report: Report
    elapsed: float
    rate: float


class ProvisionRun(AsyncIterator[Outcome]):
    """An async iterator of outcomes, in the order in which they are known; also an async context manager.

    Leaving the ``async with``, by ``break`` or by an exception, ends every worker.

    Args:
        creator: creates records.
        specs: the input, an iterable or an async iterable.
        concurrency: how many records are worked on at once.
        on_progress: called after each outcome was handed on.
        max_wait: seconds; a record that would wait longer for its tenant's pace ends the run.

    Raises:
        InvalidInputError: ``concurrency`` is no integer from 1 to 10,000, or the input can't be iterated.
    """

    def __init__(
        self,
        creator: Creator,
        specs: Iterable[NewIntegration] | AsyncIterable[NewIntegration],
        *,
        concurrency: int,
        on_progress: Callable[[Progress], None] | None,
        max_wait: float = math.inf,
    ) -> None:
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= 10_000:
            raise InvalidInputError("concurrency: must be an integer from 1 to 10,000")
        if not isinstance(specs, AsyncIterable | Iterable):
            raise InvalidInputError(f"specs: must be an iterable or an async iterable, not {type(specs).__name__}")
        self._creator = creator
        self._source = _Source(specs)
        self._concurrency = concurrency
        self._max_wait = max_wait
        self._on_progress = on_progress
        self._report = Report()
        self._outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue(maxsize=concurrency)
        self._workers: set[asyncio.Task[None]] = set()
        self._running = 0
        self._started_at: float | None = None
        self._error: BaseException | None = None
        self._seen = SeenKeys()

    @property
    def report(self) -> Report:
        """The counts of the outcomes that were handed on so far."""
        return self._report

    def stop(self) -> None:
        """Pull no more input; what is in flight ends, and its outcomes still come."""
        self._source.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every worker at once; a request on the wire is given up, and its outcome is nobody's."""
        self.stop()
        workers = tuple(self._workers)
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)
        self._running = 0
        while not self._outcomes.empty():
            self._outcomes.get_nowait()
        # Whoever waits for the next outcome is told that there is none.
        self._outcomes.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        if self._started_at is None:
            self._start()
        # A worker's last word is None; when all have said it, nothing can come any more.
        while self._running:
            outcome = await self._outcomes.get()
            if outcome is None:
                self._running = max(0, self._running - 1)
                continue
            self._hand_on(outcome)
            return outcome
        if self._outcomes.empty():
            # Several may read one run: the next of those that wait is told, too.
            self._outcomes.put_nowait(None)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration

    def _start(self) -> None:
        self._started_at = asyncio.get_running_loop().time()
        self._running = self._concurrency
        for number in range(self._concurrency):
            worker = asyncio.create_task(self._work(), name=f"clarus_async provision {number}")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def _hand_on(self, outcome: Outcome) -> None:
        self._report.add(outcome)
        if self._on_progress is not None and self._started_at is not None:
            elapsed = asyncio.get_running_loop().time() - self._started_at
            rate = self._report.total / elapsed if elapsed > 0 else 0.0
            self._on_progress(Progress(report=self._report, elapsed=elapsed, rate=rate))

    async def _work(self) -> None:
        try:
            while (record := await self._source.next()) is not None:
                await self._outcomes.put(await self._outcome(*record))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._end(RuntimeError("the input was cancelled from within"))
        except Exception as error:  # noqa: BLE001  the source's, raised when what is in flight has ended
            self._end(error)
        await self._outcomes.put(None)

    def _end(self, error: BaseException) -> None:
        self.stop()
        if self._error is None:
            self._error = error

    async def _outcome(self, index: int, new: object) -> Outcome:
        if not isinstance(new, NewIntegration):
            error = InvalidInputError(f"record {index}: must be a NewIntegration, not {type(new).__name__}")
            return _failed(index, "", error)
        if not self._seen.add(new.key):
            return _failed(index, new.key, InvalidInputError(f"record {index}: its key is in the input already"))
        try:
            created = await self._creator.create_one(new)
        except ClarusError as error:
            if error.applied is Applied.NO and self._fails_all(error):
                self._end(error)
            return _failed(index, new.key, error)
        return Outcome(
            index=index,
            key=new.key,
            status=OutcomeStatus.CREATED,
            integration_id=created.id,
            attempts=created.attempts,
        )

    def _fails_all(self, error: ClarusError) -> bool:
        if isinstance(error, RateLimitedError):
            return error.retry_after is not None and error.retry_after >= self._max_wait
        return isinstance(error, _FATAL)


def _failed(index: int, key: str, error: ClarusError) -> Outcome:
    return Outcome(
        index=index,
        key=key,
        status=OutcomeStatus.UNRESOLVED if isinstance(error, OutcomeUnknownError) else OutcomeStatus.FAILED,
        error=Problem.of(error),
        attempts=error.attempts,
    )


class _Source:
    """Numbers the records of an input, one caller at a time."""

    def __init__(self, specs: Iterable[NewIntegration] | AsyncIterable[NewIntegration]) -> None:
        self._specs = specs
        self._pull: Callable[[], Awaitable[object]] | None = None
        self._pulling: asyncio.Future[object] | None = None
        self._turn = asyncio.Lock()
        self._index = -1
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        if self._pulling is not None:
            # An input that is silent must not keep a run from ending.
            self._pulling.cancel()

    async def next(self) -> tuple[int, object] | None:
        async with self._turn:
            if self._stopped:
                return None
            try:
                if self._pull is None:
                    self._pull = self._puller()
                record = await self._pull()
            except BaseException:
                self._stopped = True
                raise
            if record is _END:
                self._stopped = True
                return None
            self._index += 1
            return self._index, record

    def _puller(self) -> Callable[[], Awaitable[object]]:
        if isinstance(self._specs, AsyncIterable):
            records = aiter(self._specs)

            async def pull() -> object:
                return await self._interruptible(anext(records, _END))
        else:
            items = iter(self._specs)

            async def pull() -> object:
                return next(items, _END)

        return pull

    async def _interruptible(self, pull: Awaitable[object]) -> object:
        self._pulling = asyncio.ensure_future(pull)
        try:
            return await self._pulling
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._stopped or (task is not None and task.cancelling()):
                raise
            return _END
        finally:
            self._pulling = None


_END = object()
