"""What a person sees while a run goes on: on terminals of any width, through a real pty, and where there is none."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from datetime import UTC, datetime, timedelta

import orjson
import pyte
import pytest

from clarus_async.cli import progress as progress_module
from clarus_async.cli.progress import BarProgress, PlainProgress, clock_time
from clarus_async.provisioning.options import Bottleneck, Progress
from clarus_async.provisioning.report import OutcomeStatus, Report
from tests.provisioning.test_meter import watch

AT = datetime(2026, 1, 10, 12, 30, 5, tzinfo=UTC)
WIDTHS = [40, 80, 200]
PATIENCE = 60.0
LONGEST = 10.0
"""Seconds for which a screen may stand still."""


class Screen:
    """A terminal of so many columns at a pty, and what a person sees on it."""

    def __init__(self, columns, rows=10):
        self._ours, theirs = pty.openpty()
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")
        self._screen = pyte.Screen(columns, rows)
        self._fed = pyte.ByteStream(self._screen)
        self.resize(columns, rows)

    def resize(self, columns, rows=10):
        fcntl.ioctl(self.stream, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    def lines(self, wait=0.0):
        """Take what was written by now, and return the lines that are not empty."""
        with contextlib.suppress(OSError):  # the last process that had it is gone
            while select.select([self._ours], [], [], wait)[0] and (some := os.read(self._ours, 4096)):
                self._fed.feed(some)
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def close(self):
        with contextlib.suppress(OSError):
            self.stream.close()
        os.close(self._ours)


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)
    screens = []

    def screen(columns):
        screens.append(Screen(columns))
        return screens[-1]

    yield screen
    for each in screens:
        each.close()


@pytest.fixture
def zone(monkeypatch):
    def zone(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    yield zone
    monkeypatch.undo()
    time.tzset()


def report(created=0, failed=0):
    counted = Report()
    counted.counts[OutcomeStatus.CREATED], counted.counts[OutcomeStatus.FAILED] = created, failed
    return counted


def after(seconds=0.0, **more):
    counts = {name: more.pop(name) for name in ("created", "failed") if name in more}
    return Progress(report(**counts), seconds, 0.0, **more)


FULL = {
    "total": 1_000_000, "eta": 3723.0, "in_doubt": 1877, "settles_at": AT, "recent_rate": 1234.5,
    "bottleneck": Bottleneck.RATE_LIMIT,
}  # fmt: skip
PIECES = [
    "123 not ok", "1:02:03 left", "1,877 in doubt until 13:30:05 CET", "1,234.5/s, limited by the rate limit",
    "rate limit: paused until 13:30:05 CET",
]  # fmt: skip


class TestBar:
    @pytest.mark.parametrize("columns", WIDTHS)
    def test_each_piece_is_whole_or_not_there_at_any_width(self, screen, zone, columns):
        there = screen(columns)
        with BarProgress(there.stream, owns_stdout=False) as bar:
            bar.at(after(created=999_000, failed=123, **FULL))
            lines = there.lines()
            assert len(lines) <= 3
            assert lines[0].startswith("clarus ")
            # The last digit of the count stands, whatever else there is.
            assert re.search(r" 0:0\d 999,123/1,000,000(,|$)", lines[0])
            text = ", ".join([re.sub(r"^clarus [━╸╺]* ?0:0\d ", "", lines[0]), *lines[1:]])
            seen = [piece for piece in PIECES if piece in text]
            assert text == ", ".join(["999,123/1,000,000", *sorted(seen, key=text.index)])
            assert len(seen) >= (2 if columns == 40 else 4)

            bar.at(after(created=999_000, failed=123, paused_until=AT, **FULL))
            assert any("rate limit: paused until 13:30:05 CET" in line for line in there.lines())

    def test_what_there_is_to_say_fits_at_forty_columns(self, screen, zone):
        there = screen(40)
        with BarProgress(there.stream, owns_stdout=False) as bar:
            bar.at(after(created=12_222, failed=123, **FULL | {"total": 50_000, "recent_rate": 98.5, "in_doubt": 87}))
            first, *others = there.lines()
        assert re.fullmatch(r"clarus [━╸╺]{6,} 0:0\d 12,345/50,000", first)
        assert others == ["123 not ok, 1:02:03 left", "87 in doubt until 13:30:05 CET"]

    def test_it_follows_a_terminal_that_is_resized(self, screen, zone):
        there = screen(80)
        with BarProgress(there.stream, owns_stdout=False) as bar:
            bar.at(after(created=999_000, failed=123, **FULL))
            there.lines()
            for columns in (200, 40, 80):
                there.resize(columns)
                bar.at(after(created=999_000, failed=124, **FULL))
                assert any("999,124/1,000,000" in line for line in there.lines())

    @pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
    def test_a_terminal_that_lacks_its_characters_gets_others(self, screen, zone, encoding):
        there = screen(80)
        there.stream.reconfigure(encoding=encoding)
        with BarProgress(there.stream, owns_stdout=False) as bar:
            bar.at(after(created=5, total=10))
            [line] = there.lines()
        assert re.fullmatch(r"clarus ([- ]+|[━╸╺]+) 0:0\d 5/10", line)

    def test_results_stand_above_it(self, screen, zone):
        there = screen(80)
        with BarProgress(there.stream, owns_stdout=True) as bar:
            bar.at(after(created=5, total=10, **{name: FULL[name] for name in ("in_doubt", "settles_at")}))
            bar.write_results(b'{"key": "a"}\n')
            bar.say("clarus: stopping")
            lines = there.lines()
        assert lines[:2] == ['{"key": "a"}', "clarus: stopping"]
        assert "5/10" in lines[2]

    def test_without_colour_there_is_none(self, screen, monkeypatch):
        monkeypatch.setenv("NO_COLOR", "1")
        there = screen(80)
        with BarProgress(there.stream, owns_stdout=False) as bar:
            bar.at(after(created=5, total=10))
            written = os.read(there._ours, 4096)
        assert b"5/10" in written
        assert not re.search(rb"\x1b\[(3|4|9|10)\d", written)

    def test_with_lost_answers_it_never_stands_still(self, screen, zone, monkeypatch):
        there, seen = screen(80), []
        clock = [0.0]
        monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
        with BarProgress(there.stream, owns_stdout=False) as bar:

            def draw(at, progress):
                clock[0] = at
                bar.at(progress)
                seen.append((at, there.lines()))

            told = watch(on_look=draw)
        changed = [at for (at, lines), (_, before) in zip(seen[1:], seen, strict=False) if lines != before]
        assert told.end > 120.0
        assert max(b - a for a, b in zip([0.0, *changed], [*changed, told.end], strict=True)) < LONGEST
        assert all(len(lines) <= 3 and "/1,000" in lines[0] for _, lines in seen)
        assert any("in doubt until" in line for _, lines in seen for line in lines)


class TestPlainLines:
    @pytest.fixture
    def plain(self, capfd):
        """A plain progress with a clock of its own, and what it said."""
        clock = [0.0]
        plain = PlainProgress(clock=lambda: clock[0])

        def at(seconds, progress):
            clock[0] = seconds
            plain.at(progress)
            return capfd.readouterr().err.splitlines()

        return at

    def test_they_come_once_a_second_at_most(self, plain):
        lines = []
        for n in range(5000):
            lines += plain(n / 1000, after(created=n, failed=2, total=10_000, eta=18.0))
        assert len(lines) == 4
        assert lines[0] == "clarus: 1,002 of 10,000 done, 2 not ok, 0:18 left"

    def test_while_something_is_waited_for_they_come_before_ten_seconds_are_over(self, plain, zone):
        waiting = after(created=999, total=1000, eta=61.4, in_doubt=1, settles_at=AT, bottleneck=Bottleneck.SETTLING)
        came = [at / 10 for at in range(600) if plain(at / 10, waiting)]
        assert len(came) >= 6
        assert max(b - a for a, b in zip([0.0, *came], came, strict=False)) <= LONGEST
        assert plain(70.0, waiting) == ["clarus: 999 of 1,000 done, 1 in doubt until 13:30:05 CET, 1:01 left"]

    @pytest.mark.parametrize(
        ("progress", "said"),
        [
            (after(bottleneck=Bottleneck.LOOKUPS), "0 done, waiting for lookups"),
            (after(bottleneck=Bottleneck.INPUT, created=5, recent_rate=0.5), "5 done, 0.5/s, limited by the input"),
            (after(bottleneck=Bottleneck.INPUT, created=5), "5 done, waiting for the input"),
            (after(bottleneck=Bottleneck.RATE_LIMIT, paused_until=AT), "0 done, rate limit: paused until 13:30:05 CET"),
            (after(bottleneck=Bottleneck.OUTAGE, paused_until=AT), "0 done, server down: paused until 13:30:05 CET"),
            (after(bottleneck=Bottleneck.OUTAGE), "0 done, the server fails: one at a time"),
            (after(), "0 done"),
        ],
        ids=repr,
    )
    def test_they_say_what_is_waited_for(self, plain, zone, progress, said):
        assert plain(10.0, progress) == [f"clarus: {said}"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("CET-1CEST,M3.5.0,M10.5.0/3", "13:30:05 CET"),
        ("UTC", "12:30:05 UTC"),
        ("<+0545>-5:45", "18:15:05 +0545"),
        ("<WEuropeStandardTime>-1", "13:30:05 +01:00"),
    ],
)
def test_times_are_those_of_the_clock_on_the_wall(zone, name, shown):
    zone(name)
    assert clock_time(AT) == shown


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_run_is_seen_to_its_end(columns, tmp_path):
    """A trial, whose answers are lost now and then, on a terminal; results go elsewhere."""
    path = tmp_path / "shops.jsonl"
    path.write_bytes(
        b"".join(
            orjson.dumps({"name": f"Shop {n}", "integration_type": "t", "external_system_reference1": f"r-{n}"}) + b"\n"
            for n in range(150)
        )
    )
    there = Screen(columns)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CLARUS_", "COLUMNS"))}
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "clarus_async", "provision", str(path), "--simulate"],
            env=environment | {"TERM": "xterm", "TZ": "UTC", "PYTHONWARNINGS": "error"},
            stdin=subprocess.DEVNULL, stdout=out, stderr=there.stream,
        )  # fmt: skip
    frames, began = [], time.monotonic()
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    try:
        while process.poll() is None:
            frames.append((time.monotonic() - began, there.lines(0.05)))
        lines = there.lines(0.1)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        there.close()
    assert process.returncode == 0, lines
    assert len((tmp_path / "out").read_bytes().splitlines()) == 150
    drawn = [seen for _, seen in frames if seen]
    # No line wraps, nothing is left behind, and the count is whole.
    going_on = [seen for seen in drawn if not any(line.startswith(("created", "total")) for line in seen)]
    for seen in going_on:
        assert sum("clarus" in line for line in seen) == 1, seen
        assert len(seen) <= 3, seen
        assert re.search(r"\d:\d\d \d+(/150| done)(,|$)", seen[0]), seen
    assert len({tuple(seen) for seen in going_on}) > 10
    assert any("in doubt until" in line or "limited by" in line for seen in drawn for line in seen)
    assert any(line.endswith("150/150") for line in lines), lines
    assert lines[-1].split()[:2] == ["total", "150"]


def test_the_longest_wait_of_a_line_is_less_than_the_longest_that_may_be():
    assert progress_module._WAITING + progress_module._REDRAW < LONGEST
    assert timedelta(seconds=progress_module._INTERVAL) >= timedelta(seconds=1)
