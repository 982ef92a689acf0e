"""A run as its caller sees it: outcomes to iterate over, and progress."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.options import Options, Progress
from clarus_async.provisioning.report import Outcome, Report
from clarus_async.reconcile.reconciler import Reconciler

if TYPE_CHECKING:
    from clarus_async.provisioning.engine import Engine

_log = logging.getLogger("clarus_async")

_UNREAD: Final = (
    "a run was left unread, so nothing was sent: iterate over it (async for outcome in run), or await it for its report"
)


class ProvisionRun(AsyncIterator[Outcome]):
    """An async iterator of outcomes, in the order in which they are known; also an async context manager.

    Awaiting it reads it to its end, or what is left of it, and returns its report. A run that is left unread did
    nothing: leaving its ``async with`` raises ``RuntimeError``, and dropping it warns.

    Leaving the ``async with``, by ``break`` or by an exception, ends everything at once; a journal resumes it. So does
    dropping a run that is not read to its end, a little later.

    Args:
        reconciler: creates and finds records.
        specs: the input, an iterable or an async iterable.
        options: how.

    Raises:
        InvalidInputError: an option is out of range, or the input can't be iterated.
    """

    def __init__(
        self, reconciler: Reconciler, specs: Iterable[object] | AsyncIterable[object], options: Options
    ) -> None:
        options.check()
        if not isinstance(specs, AsyncIterable | Iterable):
            raise InvalidInputError(f"specs: must be an iterable or an async iterable, not {type(specs).__name__}")
        self._reconciler = reconciler
        self._options = options
        from clarus_async.provisioning.meter import Meter  # noqa: PLC0415  only a run pays for it

        self._engine = self._engine_of(specs)
        self._meter = Meter(self._engine, reconciler, _length(specs))
        self._report = Report()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None  # that was raised
        self._clock: Callable[[], float] = lambda: 0.0
        self._started_at = 0.0
        self._unheard_progress = False

    def _engine_of(self, specs: Iterable[object] | AsyncIterable[object]) -> Engine:
        from clarus_async.provisioning.engine import Engine  # noqa: PLC0415  only a run pays for it, and for SQLite

        return Engine(self._reconciler, specs, self._options)

    @property
    def report(self) -> Report:
        """The counts of the outcomes that were handed on so far."""
        return self._report

    @property
    def progress(self) -> Progress:
        """How far the run has come: before it, after it, and while nothing but records in doubt is waited for."""
        return self._meter.progress(self._report, self._started_at, self._clock())

    @property
    def begun(self) -> int:
        """How many records of the input have their outcome, or may have been sent."""
        return self._engine.begun

    def stop(self) -> None:
        """Begin no further record; what is in flight ends, and its outcomes still come."""
        self._engine.stop()

    def __await__(self) -> Generator[Any, None, Report]:
        """Run to the end, let the outcomes go, and return the report."""
        return self._to_its_end().__await__()

    async def _to_its_end(self) -> Report:
        async with self:
            async for _ in self:
                pass
        if self._error is not None:
            raise self._error
        return self._report

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        unread = self._is_unread
        await self.aclose()
        if unread and error is None:
            raise RuntimeError(_UNREAD)

    async def aclose(self) -> None:
        """End everything at once; what becomes of a request on the wire is settled when a journal is resumed."""
        self.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._engine.outcomes.clear()
        # Whoever waits for the next outcome is told that there is none.
        self._engine.outcomes.put_anyway(None)

    @property
    def _is_unread(self) -> bool:
        return self._task is None and not self._engine.stopped

    def __del__(self) -> None:
        if hasattr(self, "_unheard_progress") and self._is_unread:
            warnings.warn(_UNREAD, RuntimeWarning, stacklevel=1, source=self)
        task: asyncio.Task[None] | None = getattr(self, "_task", None)
        if task is not None and not task.done() and not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        if self._task is None:
            if self._engine.stopped:
                # Nothing is made, a journal least of all, to find out that there is nothing to do.
                raise StopAsyncIteration
            self._clock = asyncio.get_running_loop().time
            self._started_at = self._clock()
            self._task = asyncio.create_task(self._engine.run(), name="clarus_async provision")
        outcome = await self._engine.outcomes.get()
        if outcome is not None:
            self._report.add(outcome)
            if self._options.on_progress is not None:
                self._tell(self._options.on_progress)
            return outcome
        # Several may read one run: the next of those that wait is told, too.
        self._engine.outcomes.put_anyway(None)
        error, self._engine.error = self._engine.error, None
        if error is not None:
            self._error = error
            raise error
        raise StopAsyncIteration

    def _tell(self, on_progress: Callable[[Progress], None]) -> None:
        try:
            on_progress(self.progress)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001  watching must not fail what is watched
            if not self._unheard_progress:
                _log.exception("on_progress raised; the run goes on, and this is not said again")
            self._unheard_progress = True


def _length(specs: Any) -> int | None:  # noqa: ANN401
    """Return how many there are, where they say so: a file that was counted does, and one that grows does not."""
    try:
        return len(specs)
    except TypeError:
        return None
