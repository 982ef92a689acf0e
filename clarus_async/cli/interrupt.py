"""What Ctrl-C does to a run."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from clarus_async.cli.output import Results
from clarus_async.cli.progress import ProgressView

_LAST_WORDS: Final = 1.0  # seconds that results have to be written once everything is to stop
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


async def deliver(
    stop: Callable[[], None], view: ProgressView, grace: float, work: Callable[[Results], Awaitable[None]]
) -> int | None:
    """Write the results of some work; return the exit status where that was interrupted.

    After the first signal ``stop`` lets no further record begin, and what is in flight has ``grace`` seconds; then, or
    after the second, ``work`` is cancelled.

    Raises:
        OSError: the results could not be written.
    """
    loop = asyncio.get_running_loop()
    first: int | None = None

    def wind_down() -> None:
        stop()
        if limit.when() is None:
            limit.reschedule(loop.time() + grace)

    def on_signal(signum: int) -> None:
        nonlocal first
        if first is None:
            first = signum
            view.say(f"clarus: stopping; what is in flight has {grace:g} s to finish, once more stops at once")
            wind_down()
        elif not limit.expired():
            limit.reschedule(loop.time())

    with _handled(on_signal):
        try:
            async with asyncio.timeout(None) as limit:
                results = Results(view.write_results, on_lost=wind_down)
                try:
                    await work(results)
                finally:
                    await results.close(_LAST_WORDS if limit.expired() else None)
        except TimeoutError as error:
            # One that the work raised, such as that of a deadline, is a subclass.
            if type(error) is not TimeoutError or not limit.expired():
                raise
    if first is not None:
        return 128 + first
    if results.lost is not None:
        raise results.lost
    return None


@contextlib.contextmanager
def _handled(on_signal: Callable[[int], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    # Only the main thread of a Unix process can; elsewhere Ctrl-C stops at once.
    unable = NotImplementedError, RuntimeError, ValueError
    with contextlib.suppress(*unable):
        for signum in _SIGNALS:
            loop.add_signal_handler(signum, on_signal, signum)
    try:
        yield
    finally:
        with contextlib.suppress(*unable):
            for signum in _SIGNALS:
                loop.remove_signal_handler(signum)
