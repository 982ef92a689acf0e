"""How far a run has come: a bar on a terminal that can draw one, else a plain line now and then."""

from __future__ import annotations

import io
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self, TextIO

from clarus_async.cli.streams import STDOUT, encode, is_terminal, printable, readable, say, write, write_results
from clarus_async.provisioning.options import Progress

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Seconds between plain lines: while records come to their end, and while something is waited for: often enough that
# nobody takes the run for dead.
_INTERVAL: Final = 1.0
_WAITING: Final = 10.0
_REDRAW: Final = 0.1  # seconds from one look at the progress to the next
# Columns below which a bar has no room for what is said beside it.
_NARROWEST: Final = 60
_GAPS: Final = 12  # columns of the time that has passed, and between what a bar's line is made of


class Drawing:
    """How progress is shown; each method may block."""

    def at(self, progress: Progress) -> None:
        """Show how far the run is."""

    def say(self, text: str) -> None:
        """Show one line of its own."""
        say(text)

    def write_results(self, lines: bytes) -> None:
        """Write result lines to standard output; called by another thread."""
        write_results(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class ProgressView:
    """Shows how far a run has come in a thread of its own: the run never waits for the reader of standard error.

    Meanwhile, what is logged is shown, too.
    """

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._latest: Progress | None = None
        self._thread = threading.Thread(target=self._draw, name="clarus progress", daemon=True)
        self._log = _Log(self.say)

    def at(self, progress: Progress) -> None:
        """Show how far it is, once there is time."""
        self._latest = progress

    def say(self, text: str) -> None:
        """Show one line of its own."""
        self._lines.put(text)

    def write_results(self, lines: bytes) -> None:
        """Write result lines to standard output; may block."""
        self._drawing.write_results(lines)

    def __enter__(self) -> Self:
        self._thread.start()
        logging.getLogger().addHandler(self._log)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self._log)
        self._lines.put(None)
        self._thread.join()

    def _draw(self) -> None:
        with self._drawing:
            while True:
                try:
                    text = self._lines.get(timeout=_REDRAW)
                except queue.Empty:
                    pass
                else:
                    if text is None:
                        break
                    self._drawing.say(text)
                if self._latest is not None:
                    self._drawing.at(self._latest)
            if self._latest is not None:
                self._drawing.at(self._latest)


class _Log(logging.Handler):
    """Says what is logged, a warning at least."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            self._say(line)


class PlainProgress(Drawing):
    """Lines on standard error, at most one a second, and one every ten seconds while something is waited for."""

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
        pace = ", ".join(_pace(progress, self._total))
        self.say(f"clarus: {progress.report.total:,}{of_total} done{not_ok}, {pace}")


class _Terminal(io.BufferedIOBase):
    """A terminal to draw on. A failed write is kept as ``failure``: a drawing that raises would be half done."""

    name = "terminal"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, content: ReadableBuffer) -> int:
        content = bytes(content)
        if self.failure is None:
            try:
                write(self._stream, content)
            except OSError as error:
                self.failure = error
        return len(content)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return is_terminal(self._stream)

    def fileno(self) -> int:
        return self._stream.fileno()


class BarProgress(Drawing):
    """A bar on a terminal, under the lines that are written meanwhile.

    Where it ``owns_stdout``, results go to the same terminal, and so above the bar.
    """

    def __init__(self, total: int | None, stream: TextIO, *, owns_stdout: bool) -> None:
        from rich import progress as bars
        from rich.console import Console
        from rich.table import Column

        self._stream = stream
        self._terminal = _Terminal(stream)
        # What a terminal may lack of what rich draws is its ellipsis, which must stay one column wide.
        file = io.TextIOWrapper(self._terminal, encoding=stream.encoding, errors="replace", write_through=True)
        self._console = Console(file=file)
        self._owns_stdout = owns_stdout
        self._total = total
        # Where there is too little room, this stays whole: half a number would be another one.
        self._counted = Column(no_wrap=True)
        self._progress = bars.Progress(
            bars.TextColumn("clarus {task.fields[count]}", table_column=self._counted),
            bars.BarColumn(),
            bars.TextColumn("{task.fields[rate]}"),
            bars.TimeElapsedColumn(),
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=total, count="", rate="")

    @property
    def drawable(self) -> bool:
        """Whether the terminal moves its cursor, and has room."""
        if not (os.environ.get("TERM") and self._console.is_interactive):
            return False
        # Of a terminal that does not say how wide it is, rich believes that it has 80 columns.
        known = os.environ.get("COLUMNS") or os.get_terminal_size(self._terminal.fileno()).columns
        return bool(known) and self._console.width >= _NARROWEST

    def at(self, progress: Progress) -> None:
        """Show how far it is."""
        report = progress.report
        count = f"{report.total:,}" if self._total is None else f"{report.total:,}/{self._total:,}"
        if report.not_ok:
            count += f", {report.not_ok:,} not ok"
        self._counted.min_width = len(f"clarus {count}")
        parts = _pace(progress, self._total)
        while parts and len(", ".join(parts)) > self._console.width - self._counted.min_width - _GAPS:
            del parts[0]
        self._progress.update(self._task, completed=report.total, count=count, rate=", ".join(parts))
        self._progress.refresh()

    def say(self, text: str) -> None:
        """Show one line of its own."""
        self._print(encode(printable(text), self._stream).decode(self._stream.encoding))

    def write_results(self, lines: bytes) -> None:
        """Write result lines to standard output."""
        if not self._owns_stdout:
            write_results(lines)
            return
        self._print(readable(lines).removesuffix("\n"))
        if self._terminal.failure is not None:
            self._terminal.failure.filename = STDOUT
            raise self._terminal.failure

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _pace(progress: Progress, total: int | None) -> list[str]:
    """Say how fast it is and what is waited for, what matters most at the end."""
    parts = [f"{progress.rate:,.1f}/s"]
    left = 0 if total is None else total - progress.report.total - progress.in_doubt
    if progress.paused_until is not None:
        parts.append(f"paused until {progress.paused_until:%H:%M:%S} UTC")
    elif left > 0 and progress.rate > 0:
        parts.append(f"{timedelta(seconds=round(left / progress.rate))} left")
    if progress.settles_at is not None:
        parts.append(f"{progress.in_doubt:,} in doubt until {progress.settles_at:%H:%M:%S} UTC")
    return parts


def drawing_of(total: int | None) -> Drawing:
    """Return a bar where there is a terminal and rich to draw one, else plain lines."""
    if is_terminal(sys.stderr):
        shared = _same_terminal()
        try:
            bar = BarProgress(total, sys.stdout if shared else sys.stderr, owns_stdout=shared)
        except ImportError:
            return PlainProgress(total)
        if bar.drawable:
            return bar
    return PlainProgress(total)


def _same_terminal() -> bool:
    """Whether results would be written across the bar."""
    try:
        return sys.stdout.isatty() and os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return False
