"""A run as its caller sees it: options, outcomes to iterate over, progress."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sized
from datetime import UTC, datetime, timedelta
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.existing import EXISTING, Existing
from clarus_async.provisioning.report import Outcome, Report
from clarus_async.reconcile.reconciler import Reconciler

if TYPE_CHECKING:
    from clarus_async.provisioning.engine import Engine

_log = logging.getLogger("clarus_async")


class Progress(NamedTuple):
    """How far a run has come.

    Args:
        report: the counts so far.
        elapsed: seconds since the run began.
        rate: records a second since then, those that a journal had left out.
        eta: seconds that are left at this rate, and until what is in doubt is settled, where the input has a length.
        paused_until: nothing is sent before this (UTC); ``None`` where nothing is paused.
        in_doubt: records that may have been created, and are looked up until that is settled; the others go on.
        settles_at: when the last of these is looked up once the server had time to apply it (UTC); one that is not
            there by then is sent again, and takes as long once more. ``None`` where none is in doubt.
    """

    report: Report
    elapsed: float
    rate: float
    eta: float | None = None
    paused_until: datetime | None = None
    in_doubt: int = 0
    settles_at: datetime | None = None


# A named tuple's constructor has a module of its own, in which pdoc would look for the types of its arguments.
Progress.__new__.__module__ = __name__


class Options(NamedTuple):
    """How a run goes about its work; see ``provision`` of a resource.

    Args:
        concurrency: how many records are worked on at once.
        journal: the path of its journal, or none.
        existing: what is done with what is there.
        dry_run: nothing is sent.
        max_failures: records that may fail before no further one is begun.
        on_progress: called with each outcome that is handed on, before its reader has it.
    """

    concurrency: int = 64
    journal: str | PathLike[str] | None = None
    existing: Existing = "adopt"
    dry_run: bool = False
    max_failures: int | None = None
    on_progress: Callable[[Progress], None] | None = None

    def check(self) -> None:
        """Refuse what can't be.

        Raises:
            InvalidInputError: an option is out of range.
        """
        if not _is_integer(self.concurrency) or not 1 <= self.concurrency <= 10_000:
            raise InvalidInputError("concurrency: must be an integer from 1 to 10,000")
        if self.existing not in EXISTING:
            raise InvalidInputError(f"existing: must be one of {', '.join(EXISTING)}")
        if self.max_failures is not None and (not _is_integer(self.max_failures) or self.max_failures < 0):
            raise InvalidInputError("max_failures: must be an integer of 0 or more")
        if self.journal is not None and not isinstance(self.journal, str | PathLike):
            raise InvalidInputError(f"journal: must be a path, not {type(self.journal).__name__}")
        if self.on_progress is not None and not callable(self.on_progress):
            raise InvalidInputError(f"on_progress: must be a function, not {type(self.on_progress).__name__}")
        if inspect.iscoroutinefunction(self.on_progress):
            raise InvalidInputError("on_progress: must not be async: nobody awaits it")


class _Handover:
    """What a run's task hands to its reader. The task knows no more of the run, so that one can be dropped."""

    def __init__(self, room: int) -> None:
        self.outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue(maxsize=room)
        self.offered = 0
        self.ended_at: float | None = None

    async def offer(self, outcome: Outcome) -> None:
        await self.outcomes.put(outcome)
        self.offered += 1


class ProvisionRun(AsyncIterator[Outcome]):
    """An async iterator of outcomes, in the order in which they are known; also an async context manager.

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
        self._total = len(specs) if isinstance(specs, Sized) else None
        self._handover = _Handover(options.concurrency)
        from clarus_async.provisioning.engine import Engine  # noqa: PLC0415  only a run pays for it, and for SQLite

        self._engine = Engine(
            reconciler,
            specs,
            self._handover.offer,
            concurrency=options.concurrency,
            journal=options.journal,
            existing=options.existing,
            dry_run=options.dry_run,
            max_failures=options.max_failures,
        )
        self._report = Report()
        self._task: asyncio.Task[None] | None = None
        self._clock: Callable[[], float] = lambda: 0.0
        self._started_at = 0.0
        self._unheard_progress = False

    @property
    def report(self) -> Report:
        """The counts of the outcomes that were handed on so far."""
        return self._report

    @property
    def progress(self) -> Progress:
        """How far the run has come: before it, after it, and while nothing but records in doubt is waited for."""
        return self._progress()

    @property
    def begun(self) -> int:
        """How many records of the input have their outcome, or may have been sent."""
        return self._handover.offered + self._engine.under_way

    def stop(self) -> None:
        """Begin no further record; what is in flight ends, and its outcomes still come."""
        self._engine.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End everything at once; what becomes of a request on the wire is settled when a journal is resumed."""
        self.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        outcomes = self._handover.outcomes
        while not outcomes.empty():
            outcomes.get_nowait()
        # Whoever waits for the next outcome is told that there is none.
        outcomes.put_nowait(None)

    def __del__(self) -> None:
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
            self._task = asyncio.create_task(_run(self._engine, self._handover), name="clarus_async provision")
        outcome = await self._handover.outcomes.get()
        if outcome is not None:
            self._hand_on(outcome)
            return outcome
        # Several may read one run: the next of those that wait is told, too.
        self._handover.outcomes.put_nowait(None)
        error, self._engine.error = self._engine.error, None
        if error is not None:
            raise error
        raise StopAsyncIteration

    def _hand_on(self, outcome: Outcome) -> None:
        self._report.add(outcome)
        if self._options.on_progress is not None:
            self._tell(self._options.on_progress)

    def _tell(self, on_progress: Callable[[Progress], None]) -> None:
        try:
            on_progress(self._progress())
        except (Exception, asyncio.CancelledError):  # noqa: BLE001  watching must not fail what is watched
            if not self._unheard_progress:
                _log.exception("on_progress raised; the run goes on, and this is not said again")
            self._unheard_progress = True

    def _progress(self) -> Progress:
        now = self._clock() if self._handover.ended_at is None else self._handover.ended_at
        elapsed = now - self._started_at
        total = self._report.total
        rate = max(0, total - self._engine.restored) / elapsed if elapsed > 0 else 0.0
        left = None if self._total is None else max(0, self._total - total)
        paused = self._reconciler.paused
        in_doubt, due = self._engine.in_doubt
        settling = max(0.0, due - now) if in_doubt else 0.0
        eta = None
        if left is not None:
            # What is in doubt is waited for while the others are sent.
            sending = max(0, left - in_doubt)
            eta = None if sending and rate == 0 else max(sending / rate if sending else 0.0, settling)
        return Progress(
            report=self._report,
            elapsed=elapsed,
            rate=rate,
            eta=eta,
            paused_until=datetime.now(UTC) + timedelta(seconds=paused) if paused > 0 else None,
            in_doubt=in_doubt,
            settles_at=datetime.now(UTC) + timedelta(seconds=settling) if in_doubt else None,
        )


async def _run(engine: Engine, handover: _Handover) -> None:
    try:
        await engine.run()
    except Exception as error:  # noqa: BLE001  raised to whoever waits for the next outcome
        engine.end(error)
    finally:
        handover.ended_at = asyncio.get_running_loop().time()
    await handover.outcomes.put(None)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
