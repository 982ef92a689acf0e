"""How far a run has come: a bar on a terminal that can draw one, else a plain line now and then."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TextIO

from clarus_async.cli.streams import STDOUT, encode, is_terminal, log, printable, readable, say, write, write_results
from clarus_async.provisioning.options import Bottleneck, Progress

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console, ConsoleOptions, RenderResult

# Seconds between plain lines: while records come to their end, and while something is waited for: never ten, so that
# nobody takes the run for dead.
_INTERVAL: Final = 1.0
_WAITING: Final = 9.5
_REDRAW: Final = 0.1  # seconds from one look at the progress to the next
# Columns that a count in millions needs, and what is in doubt until when.
_NARROWEST: Final = 40
_LINES: Final = 3  # at most, so that results stay in sight above them
# Columns of the bar: less shows nothing, and more of a wide terminal would take the room of the text.
_SHORTEST_BAR: Final = 6
_BAR: Final = 0.2
_LONGEST_ZONE: Final = 5  # characters of a zone's name; Windows has sentences
_LIMITS: Final = {
    Bottleneck.RATE_LIMIT: "the rate limit",
    Bottleneck.SERVER: "the server",
    Bottleneck.LOOKUPS: "lookups",
    Bottleneck.INPUT: "the input",
    Bottleneck.READER: "who reads the results",
}


class Shown(NamedTuple):
    """What is shown: how many of how many, in words, too, and what else, what matters most first."""

    done: int
    total: int | None
    counted: str
    more: list[str]


def shown(progress: Progress) -> Shown:
    """Say how far a run is."""
    done, total = progress.report.total, progress.total
    more = [f"{progress.report.not_ok:,} not ok"] if progress.report.not_ok else []
    if progress.paused_until is not None:
        cause = "server down" if progress.bottleneck is Bottleneck.OUTAGE else "rate limit"
        more.append(f"{cause}: paused until {clock_time(progress.paused_until)}")
    elif progress.bottleneck is Bottleneck.OUTAGE:
        more.append("the server fails: one at a time")
    if progress.settles_at is not None:
        more.append(f"{progress.in_doubt:,} in doubt until {clock_time(progress.settles_at)}")
    if progress.eta is not None and done != total:
        more.append(f"{_duration(max(1.0, progress.eta))} left")
    limit = _LIMITS.get(progress.bottleneck) if progress.bottleneck and progress.paused_until is None else None
    if limit is not None and progress.recent_rate:
        more.append(f"{progress.recent_rate:,.1f}/s, limited by {limit}")
    elif limit is not None:
        more.append(f"waiting for {limit}")
    counted = f"{done:,} done" if total is None else f"{done:,}/{total:,}"
    return Shown(done, total, counted, more)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock_time(moment: datetime) -> str:
    """Say what the clock on the wall will show, and of which zone that is."""
    local = moment.astimezone()
    zone = local.tzname() or ""
    if not 0 < len(zone) <= _LONGEST_ZONE or not zone.isascii():
        zone = local.isoformat()[-6:]
    return f"{local:%H:%M:%S} {zone}"


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
        log.say = self.say
        return self

    def __exit__(self, *_: object) -> None:
        log.say = say
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


class PlainProgress(Drawing):
    """Lines on standard error, at most one a second, and one every ten seconds while something is waited for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said_at = clock()
        self._said: tuple[object, ...] = (0, 0, True)

    def at(self, progress: Progress) -> None:
        """Show how far it is."""
        now = self._clock()
        state = progress.report.total, progress.in_doubt, progress.paused_until is None
        if now - self._said_at < (_WAITING if state == self._said else _INTERVAL):
            return
        self._said_at, self._said = now, state
        what = shown(progress)
        count = what.counted if what.total is None else f"{what.done:,} of {what.total:,} done"
        self.say(f"clarus: {', '.join([count, *what.more])}")


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

    def __init__(self, stream: TextIO, *, owns_stdout: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._stream = stream
        self._terminal = _Terminal(stream)
        # What a terminal may lack of what rich draws is its ellipsis, which must stay one column wide.
        file = io.TextIOWrapper(self._terminal, encoding=stream.encoding, errors="replace", write_through=True)
        self._console = Console(file=file)
        self._owns_stdout = owns_stdout
        self._began = time.monotonic()
        self._shown = Shown(0, None, "", [])
        self._live = Live(self, console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    @property
    def drawable(self) -> bool:
        """Whether the terminal moves its cursor, and has room."""
        return bool(os.environ.get("TERM")) and self._console.is_interactive and self._columns >= _NARROWEST

    @property
    def _columns(self) -> int:
        """How wide this terminal is, where it says so; rich asks the standard streams, and else believes in 80."""
        given = os.environ.get("COLUMNS", "")
        return int(given) if given.isdecimal() else os.get_terminal_size(self._terminal.fileno()).columns

    def at(self, progress: Progress) -> None:
        """Show how far it is."""
        self._shown = shown(progress)
        with contextlib.suppress(OSError):  # it is gone
            self._console.width = self._columns or self._console.width
        self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it: as many lines as there is something to say, each piece of it whole or not at all."""
        from rich.progress_bar import ProgressBar
        from rich.segment import Segment

        width, what = options.max_width, self._shown
        lines = [f"{_duration(time.monotonic() - self._began)} {what.counted}"]
        room = width - len(f"clarus  {lines[0]}")
        bar = min(int(_BAR * width), room) if room >= _SHORTEST_BAR else 0
        head = len("clarus ") + (bar and bar + 1)
        for piece in what.more:
            for number, line in enumerate(lines):
                if (0 if number else head) + len(f"{line}, {piece}") <= width:
                    lines[number] = f"{line}, {piece}"
                    break
            else:
                if len(lines) < _LINES and len(piece) <= width:
                    lines.append(piece)
        yield Segment("clarus ")
        if bar:
            # One that grows without end would be the same as one that stands still.
            yield from console.render(ProgressBar(what.total, what.done, bar, pulse=what.total is None), options)
            yield Segment(" ")
        yield Segment("\n".join(lines))

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
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def drawing_of() -> Drawing:
    """Return a bar where there is a terminal and rich to draw one, else plain lines."""
    if is_terminal(sys.stderr):
        shared = _same_terminal()
        try:
            bar = BarProgress(sys.stdout if shared else sys.stderr, owns_stdout=shared)
        except ImportError:
            return PlainProgress()
        if bar.drawable:
            return bar
    return PlainProgress()


def _same_terminal() -> bool:
    """Whether results would be written across the bar."""
    try:
        return sys.stdout.isatty() and os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):
        return False
