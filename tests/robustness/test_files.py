"""Files that mean no good, given to ``clarus provision``: what is wrong is said, and nothing is sent or half written.

How single rows are read is in tests/provisioning/files/test_reader.py.
"""

import asyncio
import contextlib
import gzip
import os
import socket
import threading
import time
import tracemalloc
import types
from pathlib import Path

import orjson
import pytest

from clarus_async.cli import provision as provision_command
from clarus_async.cli.commands import main
from clarus_async.resources.integrations import INTEGRATIONS
from tests.robustness.test_server import good, page
from tests.support.stub_server import StubServer

MOST = 32 * 2**20
HEAD = b"name,integration_type\n"


@pytest.fixture
async def server(monkeypatch):
    def answer(asked):
        return page() if asked.path == "/graphql" else good(asked)

    async with StubServer(answer) as server:
        monkeypatch.setenv("CLARUS_SUBDOMAIN", "acme")
        monkeypatch.setenv("CLARUS_BASE_URL", server.url)
        monkeypatch.setenv("CLARUS_ACCESS_TOKEN", "x")
        yield server


@pytest.fixture
def provision(server, tmp_path, capfd):
    """Run the command in a thread; return its status, outcomes, lines on standard error, and what it left behind."""

    async def run(path, *more):
        before = {file.name for file in tmp_path.iterdir()}
        arguments = ["provision", str(path), "--journal", str(tmp_path / "run.db"), *more]
        tracemalloc.start()
        try:
            status = await asyncio.to_thread(main, arguments)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        out, err = capfd.readouterr()
        assert peak < MOST
        assert "Traceback" not in err
        left = {file.name for file in tmp_path.iterdir()} - before
        return status, [orjson.loads(line) for line in out.splitlines()], err.splitlines(), left

    return run


def sent(server):
    return [orjson.loads(asked.body)["data"]["attributes"] for asked in server.asked if "api" in asked.path]


CONTENTS = {
    "500,000 columns": ("x.csv", b"name," + b"a," * 500_000 + b"\n", "line 1: has 500,001 columns, and may have 1,000"),
    "a million columns": ("x.csv", b"name," + b"a," * 10**6 + b"\n", "line 1: is longer than 1,048,576 bytes"),
    "500,000 cells": ("x.csv", HEAD + b"a," * 500_000 + b"\n", "line 2: column 3: the row has 500,000 cells"),
    "Latin-1 among UTF-8": (
        "x.csv",
        HEAD + "Käse,t\n".encode() + b"caf\xe9,t\n",
        "line 3: is not UTF-8 (at byte 4)",
    ),
    "a gzip file that is cut off": (
        "x.csv",
        gzip.compress(HEAD + b"A,t\n")[:-4],
        "line 1: is compressed by gzip, and cut",
    ),
    "a gzip file with more behind it": (
        "x.csv",
        gzip.compress(HEAD) + b"x",
        "line 1: is compressed by gzip, and damaged",
    ),
    "a damaged gzip file": ("x.gz", b"\x1f\x8b\x08\x00" + bytes(30), "line 1: is compressed by gzip, and damaged"),
    "a bomb of gzip": (
        "x.gz",
        gzip.compress(HEAD + bytes(2**27)),
        "line 1: decompresses to more than 200 times its size",
    ),
    "gzip in gzip": ("x.gz", gzip.compress(gzip.compress(HEAD)), "line 1: is compressed by gzip: decompress it first"),
    "a duplicate": ("x.csv", HEAD + b"A,t\nB,t\nA,u\n", "line 4: name: is the same as on line 2"),
    "NUL alone": ("x.csv", b"\0" * 4096, "line 1: must name the columns"),
    "NUL in a header": ("x.csv", b"na\0me,integration_type\nA,t\n", "line 1: "),
    "a lone quote": ("x.csv", HEAD + b'A,"t\nB,t\n', "line 2: is not CSV"),
    "an array": ("x.json", b'[{"name": "A"}]\n', "line 1, element 1: integration_type: is required"),
    "100,000 deep": ("x.jsonl", b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1: must not nest deeper"),
    "1e400": ("x.jsonl", b'{"name": "A", "integration_type": "t", "account_id": 1e400}\n', "line 1: "),
    "a picture": ("x.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, "line 1: "),
    "a zip": ("x.xlsx", b"PK\x03\x04" + bytes(range(256)) * 9, "line 1: "),
    "escapes": ("x.csv", b"name,integration_type,\x1b[2J\x07\nA,t,x\n", "line 1: \\x1b[2J\\x07: is no attribute"),
}


@pytest.mark.parametrize(("name", "content", "match"), CONTENTS.values(), ids=CONTENTS)
async def test_a_file_that_can_not_be_read_is_refused_whole(provision, server, tmp_path, name, content, match):
    path = tmp_path / name
    path.write_bytes(content)
    status, outcomes, said, left = await provision(path)

    assert (status, outcomes, server.asked, left) == (2, [], [], set())
    assert said[0].startswith(match)
    assert said[-1].startswith(f"clarus: error: {path}: ")
    assert said[-1].endswith("; nothing was sent")
    assert all(line.isprintable() and len(line) < 500 for line in said)


GOOD = {
    "Latin-1": ("x.csv", HEAD + b"caf\xe9,t\n", "café"),
    "UTF-16": ("x.csv", (HEAD.decode() + "Łódź,t\n").encode("utf-16"), "Łódź"),
    "UTF-16 without a mark": ("x.csv", (HEAD.decode() + "Łódź,t\n").encode("utf-16-le"), "Łódź"),
    "UTF-32": ("x.csv", (HEAD.decode() + "Łódź,t\n").encode("utf-32"), "Łódź"),
    "gzip of two members": ("x.csv", gzip.compress(HEAD) + gzip.compress(b"A,t\n"), "A"),
    "an Excel's first line": ("x.csv", b"sep=;\r\nName;Integration Type;;\r\nA;t;;\r\n;;;\r\n", "A"),
    "a byte order mark": ("x.csv", b"\xef\xbb\xbf" + HEAD + b"A,t\n", "A"),
    "mixed line ends": ("x.csv", b"name,integration_type\r\nA,t\n\r\n\n", "A"),
    "no line end": ("x.csv", HEAD + b"A,t", "A"),
    "a formula": ("x.csv", HEAD + b'"=HYPERLINK(""http://evil"",""x"")",t\n', '=HYPERLINK("http://evil","x")'),
    "another formula": ("x.csv", HEAD + b"@SUM(1+1)*cmd|' /C calc'!A0,t\n", "@SUM(1+1)*cmd|' /C calc'!A0"),
    "NUL": ("x.jsonl", b'{"name": "A\\u0000B", "integration_type": "t"}\n', "A\0B"),
    "a terminal": ("x.jsonl", b'{"name": "\\u001b[2J", "integration_type": "t"}\n', "\x1b[2J"),
    "lines": ("x.csv", HEAD + b'"A\r\nB",t\n', "A\r\nB"),
}


@pytest.mark.parametrize(("name", "content", "expected"), GOOD.values(), ids=GOOD)
async def test_what_can_be_read_is_sent_and_told_as_it_stands(provision, server, tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    status, [outcome], said, _ = await provision(path)

    assert (status, outcome["status"], outcome["key"]) == (0, "created", expected)
    assert [attributes["name"] for attributes in sent(server)] == [expected]
    # Results are JSON Lines, in which nothing is a formula and nothing reaches a terminal as it is.
    assert all(line.isprintable() for line in said)


def sparse(path, size=10**9):
    """A line that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def bound(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))
    return path


PLACES = {
    "a directory": (lambda folder: folder, "Is a directory"),
    "missing": (lambda folder: folder / "missing.csv", "No such file or directory"),
    "a link to itself": (lambda folder: (folder / "loop").symlink_to("loop") or folder / "loop", "symbolic links"),
    "a name too long": (lambda folder: folder / ("x" * 300), "File name too long"),
    "below a file": (lambda folder: sparse(folder / "x") / "y", "Not a directory"),
    "a socket": (lambda folder: bound(folder / "socket"), "No such device or address"),
    "a line of 1 GB, CSV": (lambda folder: sparse(folder / "x.csv"), "line 1: is longer than 1,048,576 bytes"),
    "a line of 200 MB, JSON": (
        lambda folder: sparse(folder / "x.jsonl", 2 * 10**8),
        "line 1: is longer than 1,048,576 bytes",
    ),
    "zeros without end": (lambda folder: "/dev/zero", "line 1: is longer than 1,048,576 bytes"),
}


@pytest.mark.parametrize(("place", "match"), PLACES.values(), ids=PLACES)
async def test_what_is_no_file_of_records_is_called_what_it_is(provision, server, tmp_path, monkeypatch, place, match):
    monkeypatch.chdir(tmp_path)
    path = place(tmp_path)
    status, outcomes, said, _ = await provision(path)

    assert (status, outcomes) == (2, [])
    assert sent(server) == []
    assert match in said[0]
    # What can be read only once is not named: it may be standard input.
    assert str(path) in said[0] + said[-1] or path == "/dev/zero"
    assert all(line.isprintable() for line in said)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux has a file that can be opened and not read")
async def test_a_file_that_fails_as_it_is_read_is_named(provision, server):
    status, outcomes, said, left = await provision("/proc/self/mem")

    assert (status, outcomes, server.asked, left) == (1, [], [], set())
    assert said == ["clarus: error: /proc/self/mem: Input/output error"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
async def test_a_file_that_may_not_be_read(provision, server, tmp_path):
    path = tmp_path / "x.csv"
    path.touch(0o000)
    status, outcomes, said, left = await provision(path)

    assert (status, outcomes, server.asked, left) == (2, [], [], set())
    assert said == [f"clarus: error: {path}: Permission denied"]


async def test_a_device_without_records_has_none(provision, server):
    status, outcomes, _, _ = await provision("/dev/null", "--format", "jsonl")

    assert (status, outcomes, sent(server)) == (0, [], [])


@pytest.fixture
def pipe(provision, tmp_path):
    """Run the command on a pipe into which these are written, one after the other, each when it is asked for."""

    async def run(*contents):
        path = tmp_path / "pipe"
        os.mkfifo(path)

        def write():
            with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as stream:
                for content in contents:
                    stream.write(content() if callable(content) else content)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            return await provision(path)
        finally:
            await asyncio.to_thread(writer.join)

    return run


def once(server, count):
    """Wait until so many records were sent."""

    def waited():
        deadline = time.monotonic() + 30
        while len(sent(server)) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return b""

    return waited


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (HEAD + "Ä,t\n".encode() + b"caf\xe9,t\nB,t\n", "line 3: is not UTF-8 (at byte 4): save the file as UTF-8"),
        (b'[\n{"name": "A", "integration_type": "t"},\n{"name": "B"}\n]\n', "line 3, element 2: integration_type: is "),
        (b'{"name": "A", "integration_type": "t"}\n{"name": "B", "name": "C"}\n', "line 2: name: is given twice"),
        (HEAD + b"A,t\n" + HEAD, "line 3: is a header again"),
        (
            HEAD + b"".join(b"%d,t\n" % n for n in range(10_000)) + b"B\n",
            "line 10002: integration_type: the row has 1 cells, the header 2",
        ),
    ],
)
async def test_a_pipe_that_ends_is_checked_before_anything_is_sent(pipe, server, content, match):
    status, outcomes, said, left = await pipe(content)

    assert (status, outcomes, server.asked, left) == (2, [], [], set())
    assert said[0].startswith(match)
    assert said[-1].endswith("; nothing was sent")


async def test_a_pipe_that_goes_on_is_checked_as_far_as_it_came(pipe, server):
    status, outcomes, said, _ = await pipe(HEAD + b"A,t\nB\nC", lambda: time.sleep(1.0) or b",t\n")

    assert (status, outcomes, server.asked) == (2, [], [])
    assert said[0].startswith("line 3: integration_type: ")
    assert "in its beginning; nothing was sent" in said[-1]


async def test_what_comes_later_is_read_as_it_comes_and_its_bad_rows_are_told(pipe, server):
    status, outcomes, said, _ = await pipe(HEAD + b"A,t\nB,", once(server, 1), b"t\ncaf\xe9,t\nC,t\n")

    assert status == 1
    assert sorted(outcome["key"] for outcome in outcomes) == ["A", "B", "C"]
    assert sorted(attributes["name"] for attributes in sent(server)) == ["A", "B", "C"]
    assert "line 4: is not UTF-8 (at byte 4): save the file as UTF-8" in said


async def test_a_pipe_is_read_whole_however_much_is_read_ahead(pipe, server):
    cell = b"x" * 1_000_000
    rows = b"".join(b"%d,t,%s\n" % (n, cell) for n in range(9))
    status, *_ = await pipe(b"name,integration_type,string1\n" + rows)

    assert status == 0
    assert {(each["name"], len(each["string1"])) for each in sent(server)} == {(str(n), 1_000_000) for n in range(9)}


async def test_rows_that_did_not_make_it_are_written_as_they_stood(server, tmp_path, monkeypatch, capfd):
    path, rejects = tmp_path / "x.csv", tmp_path / "rejects.csv"
    path.write_bytes("Name;Integration type;is_active\r\nA;t;ja\r\nKäse;t;?\r\nA;t;\r\nB;t;nein\r\n".encode("cp1252"))
    args = types.SimpleNamespace(
        file=str(path), resource=INTEGRATIONS, rejects=str(rejects), simulate=False, subdomain=None, base_url=None,
        allow_http=False, deadline=None, journal=None, concurrency=4, existing="adopt", dry_run=False,
        max_failures=None, format=None, celery=None, env_file=None, client_secret_file=None, output=None,
    )  # fmt: skip
    assert await asyncio.to_thread(provision_command.main, args) == 1
    assert sorted(each["name"] for each in sent(server)) == ["A", "B"]
    assert rejects.read_text("cp1252").splitlines() == [
        "clarus_reason;Name;Integration type;is_active",
        '"is_active: what stands here is neither true nor false";Käse;t;?',
        '"name: is the same as on line 2";A;t;',
    ]
    path.write_bytes(path.read_bytes() + b'"C;t\r\n')
    assert await asyncio.to_thread(provision_command.main, args) == 2
