"""What Ctrl-C does to a run."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Final, Self

from clarus_async.cli.output import Results
from clarus_async.cli.progress import ProgressView

_LAST_WORDS: Final = 1.0  # seconds that results have to be written once everything is to stop
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """The first signal lets no further record begin and gives what is in flight some time; the second stops at once.

    To stop at once is to cancel the task that made this. What is in flight has ``grace`` seconds.
    """

    def __init__(self, stop: Callable[[], None], say: Callable[[str], None], grace: float) -> None:
        self._stop = stop
        self._say = say
        self._grace = grace
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self.signum: int | None = None
        """The first signal that came."""
        self.cancelled: bool = False
        """Whether it was stopped at once."""

    def wind_down(self) -> None:
        """Begin no further record, and stop everything when the time is up."""
        self._stop()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._grace, self._cancel)

    def absorb(self) -> bool:
        """Whether a cancellation that arrived is ours, and so goes no further."""
        if self.cancelled and self._task is not None:
            self._task.uncancel()
        return self.cancelled

    def _cancel(self) -> None:
        if self._task is not None and not self.cancelled:
            self.cancelled = True
            self._task.cancel()

    def _on_signal(self, signum: int) -> None:
        if self.signum is not None:
            self._cancel()
            return
        self.signum = signum
        self._say(f"clarus: stopping; what is in flight has {self._grace:g} s to finish, once more stops at once")
        self.wind_down()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        # Only the main thread of a Unix process can; elsewhere Ctrl-C stops at once.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for signum in _SIGNALS:
                loop.add_signal_handler(signum, self._on_signal, signum)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            for signum in _SIGNALS:
                loop.remove_signal_handler(signum)


async def deliver(
    stop: Callable[[], None], view: ProgressView, grace: float, work: Callable[[Results], Awaitable[None]]
) -> int | None:
    """Write the results of some work; return the exit status where that was interrupted.

    After the first signal ``stop`` lets no further record begin, and what is in flight has ``grace`` seconds; then, or
    after the second, ``work`` is cancelled.

    Raises:
        OSError: the results could not be written.
    """
    with Interrupt(stop, view.say, grace) as interrupt:
        results = Results(view.write_results, on_lost=interrupt.wind_down)
        try:
            try:
                await work(results)
            finally:
                await results.close(_LAST_WORDS if interrupt.cancelled else None)
        except asyncio.CancelledError:
            if not interrupt.absorb():
                raise
    if interrupt.signum is not None:
        return 128 + interrupt.signum
    if results.lost is not None:
        raise results.lost
    return None
