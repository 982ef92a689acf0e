"""How far a run has come: a bar on a terminal, else a plain line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from clarus_async.cli.output import printable, say, write_to_stdout
from clarus_async.provisioning.run import Progress

if TYPE_CHECKING:
    from rich.console import Console

# Seconds between plain lines: while records come to their end, and while something is waited for.
_INTERVAL: Final = 1.0
_WAITING: Final = 10.0


class ProgressView(Protocol):
    """What shows how far a run has come."""

    def at(self, progress: Progress) -> None:
        """Show how far it is."""

    def say(self, text: str) -> None:
        """Show one line of its own."""

    def write_results(self, lines: bytes) -> None:
        """Write result lines to standard output; called by another thread."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class PlainProgress:
    """Lines on standard error, at most one a second, and one every ten seconds while something is waited for.

    Args:
        total: records, where it is known.
        clock: returns seconds.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._said_at = clock()
        self._said = (0, 0, True)

    def at(self, progress: Progress) -> None:
        """Show how far it is."""
        now = self._clock()
        state = progress.report.total, progress.in_doubt, progress.paused_until is None
        if now - self._said_at < (_WAITING if state == self._said else _INTERVAL):
            return
        self._said_at, self._said = now, state
        of_total = "" if self._total is None else f" of {self._total:,}"
        not_ok = f", {progress.report.not_ok:,} not ok" if progress.report.not_ok else ""
        self.say(f"clarus: {progress.report.total:,}{of_total} done{not_ok}, {_pace(progress, self._total)}")

    def say(self, text: str) -> None:
        """Show one line of its own."""
        say(text)

    def write_results(self, lines: bytes) -> None:
        """Write result lines to standard output."""
        write_to_stdout(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


class BarProgress:
    """A bar on a terminal, under the lines that are written meanwhile.

    Args:
        total: records, where it is known.
        console: on the terminal.
        owns_stdout: results go to the same terminal, and so above the bar.
    """

    def __init__(self, total: int | None, console: Console, *, owns_stdout: bool) -> None:
        from rich import progress as bars

        self._console = console
        self._owns_stdout = owns_stdout
        self._total = total
        self._progress = bars.Progress(
            bars.TextColumn("clarus"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[not_ok]}"),
            bars.TextColumn("{task.fields[rate]}"),
            bars.TimeElapsedColumn(),
            console=console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=total, not_ok="", rate="")

    def at(self, progress: Progress) -> None:
        """Show how far it is."""
        not_ok = f"{progress.report.not_ok:,} not ok" if progress.report.not_ok else ""
        pace = _pace(progress, self._total)
        self._progress.update(self._task, completed=progress.report.total, not_ok=not_ok, rate=pace)

    def say(self, text: str) -> None:
        """Show one line of its own."""
        self._print(printable(text))

    def write_results(self, lines: bytes) -> None:
        """Write result lines to standard output."""
        if self._owns_stdout:
            self._print(lines.decode().removesuffix("\n"))
        else:
            write_to_stdout(lines)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()


def _pace(progress: Progress, total: int | None) -> str:
    parts = [f"{progress.rate:,.1f}/s"]
    left = 0 if total is None else total - progress.report.total - progress.in_doubt
    if progress.paused_until is not None:
        parts.append(f"paused until {progress.paused_until:%H:%M:%S} UTC")
    elif left > 0 and progress.rate > 0:
        parts.append(f"{timedelta(seconds=round(left / progress.rate))} left")
    if progress.settles_at is not None:
        parts.append(f"{progress.in_doubt:,} in doubt until {progress.settles_at:%H:%M:%S} UTC")
    return ", ".join(parts)


def open_progress(total: int | None) -> ProgressView:
    """Return a bar where there is a terminal and rich to draw one, else plain lines.

    Args:
        total: records, where it is known.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        return PlainProgress(total)
    try:
        from rich.console import Console
    except ImportError:
        return PlainProgress(total)
    shared = _same_terminal()
    console = Console(file=sys.stdout if shared else sys.stderr)
    return BarProgress(total, console, owns_stdout=shared) if console.is_terminal else PlainProgress(total)


def _same_terminal() -> bool:
    """Whether results would be written across the bar."""
    try:
        return sys.stdout.isatty() and os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return False
