# ruff: noqa: F811  a test asks for a fixture by the name that it is imported by
"""Where the command line writes to: terminals of any kind, and streams that are closed, full, stalled or gone."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import logging
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import orjson
import pytest

from clarus_async.cli import streams
from clarus_async.cli.progress import BarProgress, PlainProgress, ProgressView, drawing_of
from tests.cli.test_process import (  # noqa: F401  fixtures
    BARE,
    PATIENCE,
    finish,
    forks,
    lines_of,
    record,
    records_file,
    simulator,
    start,
    until,
)
from tests.support.builders import environment_of

NAME = "Café ☃ 名😀"
ENCODINGS = ["ascii", "latin-1", "cp1252", "cp437", "koi8-r", "utf-8"]


class Terminal:
    """A pty, and what was written to it."""

    def __init__(self, columns: int = 80) -> None:
        self._ours, self.descriptor = pty.openpty()
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the last process that had it is gone
            while some := os.read(self._ours, 4096):
                self._seen += some

    def end(self) -> bytes:
        """Let go of it, and return what was written to it by everybody."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            self._reader.join(PATIENCE)
            os.close(self._ours)
        return bytes(self._seen).replace(b"\r\n", b"\n")


@pytest.fixture
def terminal():
    terminals: list[Terminal] = []

    def terminal(columns: int = 80) -> Terminal:
        terminals.append(Terminal(columns))
        return terminals[-1]

    yield terminal
    for each in terminals:
        each.end()


@pytest.fixture
def on(monkeypatch):
    """Have a standard stream write to a descriptor."""
    opened = []

    def on(name: str, descriptor: int, encoding: str = "utf-8"):
        stream = open(descriptor, "w", encoding=encoding, closefd=False)  # noqa: SIM115  closed below
        opened.append(stream)
        monkeypatch.setattr(sys, name, stream)
        return stream

    yield on
    for stream in opened:
        stream.close()


@pytest.fixture
def full():
    """A file that takes nothing."""
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("only Linux has such a file")
    with path.open("wb", buffering=0) as file:
        yield file


class TestEncoding:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_a_result_is_the_same_json_on_a_terminal_of_any_encoding(self, terminal, on, encoding):
        there = terminal()
        on("stdout", there.descriptor, encoding)
        streams.write_results(orjson.dumps({"key": NAME}) + b"\n")

        shown = there.end().decode(encoding)
        assert orjson.loads(shown) == {"key": NAME}
        assert ("☃" in shown) == (encoding == "utf-8")

    def test_what_is_no_terminal_gets_utf_8(self, on, tmp_path):
        line = orjson.dumps({"key": NAME}) + b"\n"
        with (tmp_path / "results").open("wb") as file:
            on("stdout", file.fileno(), "latin-1")
            streams.write_results(line)

        assert (tmp_path / "results").read_bytes() == line

    @pytest.mark.parametrize("sign", ["\x7f", "\x9b", "\u202e", "\u2028"])
    def test_what_a_terminal_would_obey_is_escaped(self, terminal, on, sign):
        there = terminal()
        on("stdout", there.descriptor)
        streams.write_results(orjson.dumps({"key": sign}) + b"\n")

        shown = there.end().decode()
        assert orjson.loads(shown) == {"key": sign}
        assert sign not in shown

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_what_is_said_is_escaped(self, terminal, on, encoding):
        there = terminal()
        on("stderr", there.descriptor, encoding)
        streams.say("line 1: ☃ \ud800 caf\udce9\x1b[2J")

        snowman = "☃" if encoding == "utf-8" else "\\u2603"
        assert there.end().decode(encoding) == f"line 1: {snowman} \\ud800 caf\\udce9\\x1b[2J\n"

    @pytest.mark.parametrize(
        "setting",
        [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
        ids=str,
    )
    async def test_a_run_on_such_a_terminal_comes_to_its_end(self, start, simulator, terminal, tmp_path, setting):
        path = tmp_path / "shops.jsonl"
        path.write_bytes(
            b"".join(orjson.dumps({"name": f"{NAME} {n}", "integration_type": "t"}) + b"\n" for n in range(3))
        )
        there = terminal()
        environment = BARE | setting | environment_of(simulator) | {"TERM": "xterm"}
        process = await start(
            *("provision", str(path)), env=environment, forked=False,
            stdin=there.descriptor, stdout=there.descriptor, stderr=there.descriptor,
        )  # fmt: skip

        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        shown = there.end()
        assert shown.isascii() or "PYTHONIOENCODING" in setting
        assert shown.count(b"\\u2603") == 3
        assert b"3/3" in shown


class TestStandardError:
    @pytest.mark.parametrize("what", ["full", "for reading", "a pipe without a reader"])
    async def test_results_go_on_without_it(self, start, simulator, records_file, request, what):
        path = records_file(3)
        if what == "a pipe without a reader":
            reading, descriptor = os.pipe()
            os.close(reading)
        elif what == "full":
            descriptor = os.dup(request.getfixturevalue("full").fileno())
        else:
            descriptor = os.open(os.devnull, os.O_RDONLY)

        async def run(*command: str) -> tuple[int | None, bytes]:
            process = await start(*command, stderr=descriptor)
            out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
            return process.returncode, out

        try:
            status, out = await run("provision", path)
            assert (status, out.count(b'"status":"created"')) == (0, 3)
            assert (await run("provision"))[0] == 2
            assert (await run("--version"))[0] == 0
        finally:
            os.close(descriptor)

    async def test_results_go_on_where_it_was_closed(self, simulator, tmp_path, records_file):
        path = records_file(3)
        status, out, _ = await shell('exec "$@" 2>&-', simulator, "provision", path, "--journal", str(tmp_path / "j"))
        assert (status, len(out.splitlines())) == (0, 3)

        # A usage error is no result.
        assert await shell('exec "$@" 2>&-', simulator, "provision") == (2, b"", b"")

    async def test_results_go_on_where_nobody_reads_it(self, start, simulator):
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x")
        os.set_blocking(writing, True)
        process = await start("provision", "-", stderr=writing)
        os.close(writing)
        process.stdin.write(b"".join(map(record, range(3))))
        process.stdin.close()
        for _ in range(3):
            assert await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        os.close(reading)

        # What was to be said waits for its reader, and has none.
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0

    def test_what_is_logged_in_a_run_is_said_beside_its_progress(self, terminal, on, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        there = terminal()
        on("stderr", there.descriptor)
        with streams.logging_at(logging.WARNING), ProgressView(drawing_of()):
            logging.getLogger("clarus_async").warning("a row is left out\x1b[2J")

        assert b"a row is left out\\x1b[2J\n" in there.end()


class TestStandardOutput:
    @pytest.mark.parametrize("command", ["provision", "create", "list", "ping", "report", "simulator", "--version"])
    async def test_nothing_is_begun_where_it_can_not_be_written(self, start, simulator, records_file, full, command):
        path = records_file(1)
        given = {"provision": [path], "create": ["--name", "A", "--type", "t"], "report": [path]}
        process = await start(command, *given.get(command, []), stdout=full)
        status, _, said = await finish(process)

        assert (status, said) == (1, ["clarus: error: standard output: No space left on device"])
        assert not simulator.requests

    async def test_nothing_is_begun_where_it_was_closed(self, simulator, records_file):
        path = records_file(1)
        status, _, said = await shell('exec "$@" >&-', simulator, "provision", path)

        assert (status, said) == (1, b"clarus: error: standard output: it is closed\n")
        assert not simulator.requests

    async def test_a_run_whose_results_no_longer_fit_ends_and_says_how_to_go_on(
        self, simulator, tmp_path, records_file
    ):
        path = records_file(40)
        results = tmp_path / "results"
        limited = f'ulimit -f 1; exec "$@" >{results}'
        status, _, said = await shell(limited, simulator, "provision", path, "--concurrency", "4")

        *_, how_to_go_on, error = said.decode().splitlines()
        assert status == 1
        assert error == "clarus: error: standard output: File too large"
        assert how_to_go_on.startswith("clarus: to go on, run the same command again")

        # Nothing is lost, and nothing is there twice.
        status, out, _ = await shell('exec "$@"', simulator, "provision", path)
        assert (status, len(out.splitlines())) == (0, 40)
        assert len(simulator.integrations("acme")) == 40

    async def test_results_that_nobody_reads_make_no_report_a_success(self, start, tmp_path, records_file):
        journal = tmp_path / "run.db"
        path = records_file(1)
        assert (await finish(await start("provision", path, "--journal", str(journal))))[0] == 0
        reading, writing = os.pipe()
        os.close(reading)
        process = await start("report", str(journal), stdout=writing)
        os.close(writing)

        assert (await finish(process))[0] == 141

    async def test_a_write_that_was_done_is_told_all_the_same(self, start, simulator):
        reading, writing = os.pipe()
        os.close(reading)
        process = await start("create", "--name", "A", "--type", "t", stdout=writing)
        os.close(writing)
        status, _, [said] = await finish(process)

        assert status == 141
        assert said.startswith('clarus: it was done all the same: {"id":1,')
        assert len(simulator.integrations("acme")) == 1

    async def test_a_pipe_that_does_not_block_is_waited_for(self, start, simulator):
        simulator.preload("acme", [{"name": f"Shop {n}", "integration_type": "t"} for n in range(1000)])
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        process = await start("list", "--page-size", "1000", stdout=writing)

        def read() -> bytes:
            with os.fdopen(reading, "rb") as results:
                return results.read()

        # Nobody reads before it is full.
        await until(lambda: not select.select((), (writing,), (), 0)[1])
        os.close(writing)
        assert len((await asyncio.to_thread(read)).splitlines()) == 1000
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0

    async def test_a_terminal_that_went_away_ends_a_run_that_shows_its_results_there(self, start, simulator):
        ours, theirs = pty.openpty()
        process = await start("provision", "-", stdout=theirs, stderr=theirs)
        os.close(theirs)
        process.stdin.write(record(0))
        await asyncio.to_thread(os.read, ours, 1)
        os.close(ours)
        process.stdin.write(b"".join(map(record, range(1, 100))))
        process.stdin.close()

        assert await asyncio.wait_for(process.wait(), PATIENCE) == 1


def test_a_file_never_gets_the_number_of_a_stream_that_was_closed(tmp_path):
    code = (
        "import os, sys; from clarus_async.cli.streams import reserve_descriptors; reserve_descriptors();"
        "sys.exit(os.open(sys.argv[1], os.O_CREAT) <= 2)"
    )
    command = ("bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "-c", code, str(tmp_path / "run.db"))
    assert subprocess.run(command, check=False).returncode == 0


class TestStandardInput:
    @pytest.mark.parametrize("arguments", [("provision", "-"), ("create", "--name", "A", "--type", "t", "--json", "-")])
    async def test_where_it_was_closed_that_is_said(self, simulator, arguments):
        status, out, said = await shell('exec "$@" <&-', simulator, *arguments)

        assert (status, out) == (2, b"")
        assert said.endswith(b": standard input is closed\n")

    async def test_one_that_does_not_block_is_waited_for(self, start, simulator):
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        process = await start("provision", "-", stdin=reading)
        os.close(reading)
        os.write(writing, record(0))
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        # By now there is nothing to read.
        half, another = record(1)[:10], record(1)[10:]
        os.write(writing, half)
        os.write(writing, another)
        os.close(writing)

        assert [outcome["key"] for outcome in (await finish(process))[1]] == ["r-1"]


class TestProgress:
    @pytest.mark.parametrize(
        ("columns", "term", "drawn"),
        [
            (80, "xterm", BarProgress),
            (40, "xterm", BarProgress),
            (39, "xterm", PlainProgress),
            (20, "xterm", PlainProgress),
            (0, "xterm", PlainProgress),
            (80, "dumb", PlainProgress),
            (80, "unknown", PlainProgress),
            (80, "", PlainProgress),
        ],
    )
    def test_a_bar_is_drawn_where_there_is_room(self, terminal, on, monkeypatch, columns, term, drawn):
        monkeypatch.setenv("TERM", term)
        monkeypatch.delenv("COLUMNS", raising=False)
        there = terminal(columns)
        on("stderr", there.descriptor)
        monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((columns, 24)))

        assert isinstance(drawing_of(), drawn)

    def test_a_line_above_the_bar_is_escaped(self, terminal, on, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        there = terminal()
        on("stderr", there.descriptor, "latin-1")
        with ProgressView(drawing_of()) as view:
            view.say("line 1: [red]☃é")

        assert b"line 1: [red]\\u2603\xe9\n" in there.end()


async def shell(line: str, simulator, *arguments: str) -> tuple[int, bytes, bytes]:
    """Run a command under a shell that redirects its streams."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", line, "bash", sys.executable, "-m", "clarus_async", *arguments),
        env=BARE | environment_of(simulator) | {"PYTHONWARNINGS": "error"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    except TimeoutError:
        process.send_signal(signal.SIGKILL)
        await process.wait()
        raise
    return process.returncode or 0, out, err


def test_what_comes_slowly_is_read_to_its_end_and_no_further_than_asked():
    reading, writing = os.pipe()
    with io.FileIO(reading, "rb") as stream:
        feeder = threading.Thread(target=lambda: [os.write(writing, part) for part in (b"first", b"second")])
        feeder.start()
        assert streams.read_up_to(stream, 8) == b"firstsec"
        feeder.join()
        os.close(writing)
        assert streams.read_up_to(stream, 99) == b"ond"
