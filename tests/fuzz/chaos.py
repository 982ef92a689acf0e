"""``python -m tests.fuzz files [--files 20 --rows 2000 --kills 2 --seed N]``: files as people spoil them, by command.

Each file is written as spreadsheets, editors and concatenation leave files, and given to ``clarus provision
--journal``, by its name or through a pipe, with its output on pseudo-terminals of some encoding. The command is killed
with SIGKILL and run again, against the simulator, whose ledger is the judge: nothing hangs, nothing is lost, nothing is
there twice, and each row is either sent as it stands or named with its line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import io
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from clarus_async.simulator import Simulator

ENCODINGS = ("utf-8", "latin-1", "ascii", "cp1252", "shift_jis")
PATIENCE = 60.0
"""Seconds that one life of the command may take beside one for each 50 rows."""

# The command, but for how long it waits before what was in flight when it was killed is sent again.
_COMMAND = """
import sys
from clarus_async import Timeouts
from clarus_async.cli import connection
from clarus_async.cli.commands import main
made = connection.ClarusClient
timeouts = Timeouts(connect=2.0, attempt=2.0, settle=2.0)
connection.ClarusClient = lambda **options: made(**({"timeouts": timeouts} | options))
sys.exit(main())
"""


@attrs.define
class Row:
    """What stands in a file."""

    text: bytes  # as it is written, with its line end
    wanted: dict[str, Any] | None  # what is to be sent of it; ``None``: nothing, for it is no record that could be
    key: str = ""  # by which it would be found
    place: int | None = None  # in its array
    first: int = 0  # its first line
    last: int = 0  # its last line


@attrs.define
class Spoilt:
    """A file."""

    name: str  # says how it was spoilt
    suffix: str  # of its name
    rows: list[Row]  # in their order; brackets and headers are rows of which nothing is wanted
    is_other: bool = False  # it is refused whole
    encoding: str = "utf-8"  # of its bytes

    def lines(self) -> None:
        """Say of each row where it stands."""
        line = 1
        for row in self.rows:
            row.first = line
            line += row.text.count(b"\n")
            row.last = max(row.first, line - row.text.endswith(b"\n"))

    def content(self, rows: list[Row] | None = None) -> bytes:
        """Return its bytes."""
        content = b"".join(row.text for row in (self.rows if rows is None else rows))
        return content if self.encoding == "utf-8" else content.decode(errors="replace").encode(self.encoding)


# --- making them

COLUMNS = ("name", "integration_type", "external_system_reference1", "is_active", "account_id", "string1",
           "configuration.api_key", "configuration.shop.domain")  # fmt: skip
_NAMES = ("Café", "Łódź", "東京", "Shop", "O'Brien & Søn", 'The "Best"', "a,b", "emoji 🛒", " padded ", "=cmd()",
          "null", "NULL")  # fmt: skip


def record(dice: random.Random, number: int) -> dict[str, Any]:
    """Draw a record."""
    cells = {
        "name": f"{dice.choice(_NAMES)} {number}",
        "integration_type": dice.choice(("shopify", "ebay", "custom")),
        "external_system_reference1": f"r-{number}",
        "is_active": dice.choice((True, False, None)),
        "account_id": dice.choice((None, number, 2**63 - 1)),
        "string1": dice.choice((None, "x", "two\nlines", "tab\there", "0012", "é" * 9)),
        "configuration": dice.choice(
            (None, {"api_key": f"k{number}"}, {"shop": {"domain": "ä.example"}, "api_key": "1"})
        ),
    }
    return {name: value for name, value in cells.items() if value is not None}


def flat(new: dict[str, Any]) -> dict[str, str]:
    """Return its cells."""
    cells = {}
    for name in COLUMNS:
        value: Any = new
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            cells[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return cells


def csv_text(cells: list[str], end: str, *, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    """Write a row as the standard writer does."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end, delimiter=delimiter, quoting=quoting).writerow(cells)
    return text.getvalue().encode()


_CSV_SPOILS = ("blank", "commas", "header", "twice", "huge", "too long", "extra", "missing", "latin", "quoted", "mark",
               "zero", "number", "yes", "nul", "unnamed")  # fmt: skip

_CELLS = {
    "zero": ("account_id", "123.0", 123), "number": ("account_id", "1" * 25, None), "yes": ("is_active", "yes", True),
}  # fmt: skip


def csv_file(dice: random.Random, count: int, share: float) -> Spoilt:
    """Draw a CSV file."""
    end = dice.choice(("\n", "\r\n"))
    delimiter = dice.choices((",", ";", "\t"), (18, 1, 1))[0]
    encoding = dice.choices(("utf-8", "utf-16"), (18, 1))[0]
    style = dice.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))

    def text(cells: list[str], **more: Any) -> bytes:
        return csv_text(cells, end, delimiter=delimiter, **({"quoting": style} | more))

    header = text(list(COLUMNS))
    file = Spoilt(f"csv {end!r} {delimiter!r} {encoding}", ".csv", [Row(header, None)], encoding=encoding)
    if dice.random() < 0.3:
        file.rows[0].text = b"\xef\xbb\xbf" + header
    for number in range(count):
        new = record(dice, number)
        cells = [flat(new).get(name, "") for name in COLUMNS]
        row = Row(text(cells), new, f"r-{number}")
        file.rows.append(row)
        if number < 3 or dice.random() > share:
            continue
        kind = dice.choice(_CSV_SPOILS)
        if kind == "too long" and dice.random() < 0.8:
            kind = "huge"
        match kind:
            case "blank":
                file.rows.append(Row(end.encode() * 2, None))
            case "commas":
                file.rows.append(Row(delimiter.encode() * (len(COLUMNS) - 1) + end.encode(), None))
            case "header":
                file.rows.append(Row(dice.choice((header, b"\xef\xbb\xbf" + header)), None, "?"))
            case "twice":
                file.rows.append(attrs.evolve(row))
            case "huge" | "too long":
                new["string1"] = "x" * (300_000 if kind == "huge" else 1_100_000)
                cells[COLUMNS.index("string1")] = new["string1"]
                row.text, row.wanted = text(cells), new if kind == "huge" else None
            case "extra":
                row.text, row.wanted = text([*cells, "more"]), None
            case "missing":
                row.text, row.wanted = text(cells[:-1]), None
            case "latin" if encoding == "utf-8":
                cells[0] = f"caf\x00{number}"
                row.text, row.wanted = text(cells).replace(b"\x00", b"\xe9"), None
            case "quoted":
                row.text = text(cells, quoting=csv.QUOTE_ALL)
            case "mark":
                row.text, row.wanted = b"\xef\xbb\xbf" + row.text, None
            case "zero" | "number" | "yes":
                column, cell, value = _CELLS[kind]
                cells[COLUMNS.index(column)] = cell
                row.text, row.wanted = text(cells), None if value is None else new | {column: value}
            case "nul":
                new["name"] = cells[0] = f"A\x00B {number}"
                row.text = text(cells)
            case _:
                cells[0] = ""
                row.text, row.wanted = text(cells), None
    if dice.random() < 0.3:
        # As a file ends that another one is appended to, and as a file that was cut off ends.
        file.rows[-1].text = file.rows[-1].text.rstrip(b"\r\n") + header
        file.rows[-1].wanted = None
    return file


_JSON_SPOILS = ("twice", "key twice", "nested twice", "integer", "float", "nan", "null", "surrogate", "deep", "huge",
                "too long", "unknown", "escaped", "number", "blank", "cut")  # fmt: skip


def json_file(dice: random.Random, count: int, share: float) -> Spoilt:
    """Draw JSON Lines, an array, or objects over several lines."""
    layout = dice.choice(("lines", "array", "pretty array", "array of lines", "pretty"))
    indent = 2 if layout.startswith("pretty") else None
    is_array = "array" in layout
    ascii_ = dice.random() < 0.5
    objects: list[Row] = []
    for number in range(count):
        new = record(dice, number)
        row = Row(json.dumps(new, indent=indent, ensure_ascii=ascii_).encode(), new, f"r-{number}")
        objects.append(row)
        if number < 3 or dice.random() > share:
            continue
        kind = dice.choice(_JSON_SPOILS)
        if kind == "too long" and dice.random() < 0.8:
            kind = "huge"
        bad = {
            "key twice": '"string2": "a", "string2": "b"', "nested twice": '"configuration": {"a": {"k": 1, "k": 2}}',
            "integer": '"configuration": {"n": 147573952589676412928}', "float": '"configuration": {"n": 1e-400}',
            "nan": '"configuration": {"n": NaN}', "surrogate": '"string2": "\\ud800"', "number": '"account_id": 1.0',
            "deep": '"configuration": ' + '{"a":' * 70 + "1" + "}" * 70, "unknown": '"nmae": "x"',
        }.get(kind)  # fmt: skip
        if bad is not None:
            for name in ("configuration", "account_id"):
                new.pop(name, None)
            row.text, row.wanted = (json.dumps(new)[:-1] + ", " + bad + "}").encode(), None
        elif kind == "twice":
            objects.append(attrs.evolve(row))
        elif kind == "null":
            row.text = json.dumps(new | {"string2": None, "provider": None}, indent=indent).encode()
        elif kind in {"huge", "too long"}:
            new["string2"] = "é\\" * 100_000 if kind == "huge" else "x" * 1_100_000
            row.text, row.wanted = json.dumps(new, ensure_ascii=False).encode(), new if kind == "huge" else None
        elif kind == "escaped":
            row.text = json.dumps(new, indent=indent, ensure_ascii=True).encode()
        elif kind == "blank" and not is_array:
            objects.append(Row(b"", None))
        elif kind == "cut" and layout == "lines":
            row.text, row.wanted = row.text[:-1], None
    file = Spoilt(f"json {layout}", dice.choice((".json", ".jsonl")), objects)
    place = 0
    for at, row in enumerate(objects):
        last = at == len(objects) - 1
        if is_array:
            place += 1
            row.place = place
            line = b" " if layout == "array" else b"\n"
            row.text = (
                (b"[" + line if at == 0 else b"")
                + row.text
                + (b"" if last else b",")
                + line
                + (b"]\n" if last else b"")
            )
        else:
            row.text += b"\n"
    return file


# --- judging them

# A progress bar may stand before it.
_NAMED = re.compile(r"(?<![a-z] )line (\d+)(?:, element (\d+))?: ([^\n]*)")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@attrs.define
class Verdict:
    """What came of the files."""

    files: int = 0
    lives: int = 0
    kills: int = 0
    rows: int = 0
    sent: int = 0
    named: int = 0
    refused: int = 0
    hung: int = 0
    lost: int = 0
    twice: int = 0
    changed: int = 0
    wrong: list[str] = attrs.field(factory=list)

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return not (self.hung or self.lost or self.twice or self.changed or self.wrong)

    def add(self, other: Verdict) -> None:
        """Add up."""
        for field in attrs.fields(Verdict):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:,}" for name, value in attrs.asdict(self).items() if name != "wrong")


@attrs.frozen
class Named:
    """The lines that were named, with the places in their array, and the line from which on nothing was read."""

    places: set[tuple[int, int | None]]
    until: int | None

    @classmethod
    def heard(cls, heard: str) -> Named:
        """Find them in what the command said."""
        found = _NAMED.findall(heard)
        ends = [int(line) for line, _, reason in found if "nothing after it was read" in reason]
        return cls({(int(line), int(place) if place else None) for line, place, _ in found}, min(ends, default=None))

    def has(self, row: Row) -> bool:
        """Whether a row was named, or stands where nothing was read."""
        if self.until is not None and row.last >= self.until:
            return True
        return any(row.first <= line <= row.last and place in {None, row.place} for line, place in self.places)


def judge(file: Spoilt, rows: list[Row], stored: list[Any], heard: str, verdict: Verdict) -> None:
    """Compare what was said with the ledger, for each row."""
    named = Named.heard(heard)
    there: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in stored:
        there[one.external_system_reference1 or one.attributes["name"]].append(dict(one.attributes))
    wanted: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row.wanted is not None:
            wanted[row.key].append(row.wanted)
    for key, found in there.items():
        verdict.twice += len(found) - 1
        if any(each not in wanted[key] for each in found):
            verdict.changed += 1
            verdict.wrong.append(f"{file.name}: {key}: sent as {sorted(found[0])}")
    for row in rows:
        if not row.key:
            continue
        verdict.rows += 1
        if row.wanted is not None and row.wanted in there[row.key]:
            verdict.sent += 1
        elif named.has(row):
            verdict.named += 1
        else:
            verdict.lost += 1
            verdict.wrong.append(f"{file.name}: line {row.first}: {row.key} is neither sent nor named")


# --- running them


class _Screen:
    """A pseudo-terminal, and what was written on it."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        self.said = bytearray()
        asyncio.get_running_loop().add_reader(self.ours, self._read)

    def _read(self) -> None:
        try:
            content = os.read(self.ours, 2**16)
        except OSError:
            content = b""
        self.said += content
        if not content:
            asyncio.get_running_loop().remove_reader(self.ours)

    def close(self) -> str:
        asyncio.get_running_loop().remove_reader(self.ours)
        with contextlib.suppress(OSError):
            os.set_blocking(self.ours, False)
            while content := os.read(self.ours, 2**16):
                self.said += content
        os.close(self.ours)
        return _CONTROL.sub("", self.said.decode("latin-1"))


@attrs.frozen
class Life:
    """How one run of the command ended: its exit status, ``None`` where it hung, and what it said."""

    status: int | None
    said: str


async def live(
    simulator: Simulator, tenant: str, arguments: list[str], content: list[bytes] | None, encoding: str, *,
    is_shared: bool, kill_at: int | None, patience: float,
) -> Life:  # fmt: skip
    """Run the command; kill it when so many records are stored, or when it hangs.

    ``content`` is what it reads from its standard input: the second part is written when there is an outcome.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLARUS_")} | {
        "CLARUS_SUBDOMAIN": tenant, "CLARUS_BASE_URL": simulator.url, "CLARUS_CLIENT_ID": simulator.client_id,
        "CLARUS_CLIENT_SECRET": simulator.client_secret, "PYTHONIOENCODING": encoding,
        "COLUMNS": "400", "TERM": "xterm",
    }  # fmt: skip
    out = _Screen()
    err = out if is_shared else _Screen()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _COMMAND, *arguments, env=environment, stdout=out.theirs, stderr=err.theirs,
        stdin=asyncio.subprocess.DEVNULL if content is None else asyncio.subprocess.PIPE,
    )  # fmt: skip
    for screen in {out, err}:
        os.close(screen.theirs)

    async def feed() -> None:
        assert content is not None
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):
            for number, part in enumerate(content):
                while number and b"STATUS" not in out.said:  # noqa: ASYNC110  another process fulfils it
                    await asyncio.sleep(0.02)
                process.stdin.write(part)
                await process.stdin.drain()
        process.stdin.close()

    async def kill() -> None:
        while kill_at is None or len(simulator.created(tenant)) < kill_at:  # noqa: ASYNC110  the same
            await asyncio.sleep(0.02)
        process.kill()

    tasks = [asyncio.create_task(kill())] + ([] if content is None else [asyncio.create_task(feed())])
    status: int | None = None
    try:
        status = await asyncio.wait_for(process.wait(), patience)
    except TimeoutError:
        process.kill()
        await process.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    said = err.close()
    if not is_shared:
        out.close()
    return Life(status, said)


async def try_file(simulator: Simulator, tenant: str, file: Spoilt, folder: Path, dice: random.Random, *, is_pipe: bool,
                   is_shared: bool, encoding: str, kills: int) -> Verdict:  # fmt: skip
    """Run a file to its end, through kills, and judge what came of it."""
    verdict = Verdict(files=1)
    patience = PATIENCE + len(file.rows) / 50
    path = folder / f"{tenant}{file.suffix}"
    arguments = ["provision", "-" if is_pipe else str(path), "--journal", str(folder / f"{tenant}.db")]
    rows = file.rows
    heard = ""

    async def run(kill_at: int | None) -> Life:
        nonlocal heard
        content = None
        if is_pipe:
            content = [file.content()] if is_checked else [file.content(rows[:first]), file.content(rows[first:])]
        life = await live(
            simulator, tenant, arguments, content, encoding, is_shared=is_shared, kill_at=kill_at, patience=patience
        )
        verdict.lives += 1
        verdict.hung += life.status is None
        heard += life.said + "\n"
        return life

    first = next((at for at, row in enumerate(rows) if row.key == "r-3"), len(rows))
    # What comes in one piece is checked before anything of it is sent.
    is_checked = file.is_other or not is_pipe or not rows[first - 1].text.endswith(b"\n")
    file.lines()
    path.write_bytes(file.content())
    if is_checked:
        life = await run(None)
        if life.status is None:
            verdict.wrong.append(f"{file.name}: hung, {encoding}")
            return verdict
        if file.is_other:
            verdict.refused += 1
            if life.status != 2 or simulator.created(tenant) or not _NAMED.search(heard):
                verdict.wrong.append(f"{file.name}: {life.status}, {heard[-300:]!r}")
            return verdict
        if life.status == 2:
            # Whoever corrects the file takes out what was named, and nothing else.
            if simulator.created(tenant):
                verdict.wrong.append(f"{file.name}: refused, and sent")
            judged = Verdict()
            judge(file, rows, [], heard, judged)
            verdict.named, verdict.rows = judged.named, judged.named
            named = Named.heard(heard)
            rows = [row for row in rows if not (row.key and named.has(row))]
            if not any(row.wanted for row in rows):
                verdict.wrong.append(f"{file.name}: refused without a row that could be sent, {heard[-300:]!r}")
                return verdict
            file = attrs.evolve(file, rows=rows)
            for place, row in enumerate((row for row in rows if row.place), 1):
                row.place = place
            if rows[-1].place and (last := rows[-1].text.rstrip()).endswith(b","):
                rows[-1].text = last[:-1] + b"]\n"
            file.lines()
            path.write_bytes(file.content())
            heard = ""
    good = len({row.key for row in rows if row.wanted is not None})
    for number in range(kills):
        life = await run(dice.randrange(number * good // kills + 1, (number + 1) * good // kills))
        verdict.kills += life.status == -signal.SIGKILL
    life = await run(None)
    if life.status not in {0, 1}:
        verdict.wrong.append(f"{file.name}: {life.status}, {encoding}, {heard[-300:]!r}")
    judge(file, rows, simulator.created(tenant), heard, verdict)
    return verdict


def files(count: int, rows: int, seed: int) -> Iterator[tuple[random.Random, Spoilt]]:
    """Draw files."""
    for number in range(count):
        dice = random.Random(f"{seed} {number}")
        make = csv_file if number % 2 else json_file
        yield dice, make(dice, rows, 60 / rows)


async def try_files(
    count: int, rows: int, *, kills: int, seed: int, at_once: int, encodings: tuple[str, ...] = ENCODINGS
) -> Verdict:
    """Try files, several at once; print what came of each."""
    total = Verdict()
    room = asyncio.Semaphore(at_once)
    tenants = [f"t{number}" for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="clarus-files.") as folder:
        async with Simulator(tenants=tenants, keep_requests=100) as simulator:

            async def one(number: int, dice: random.Random, file: Spoilt) -> None:
                async with room:
                    began = time.monotonic()
                    encoding = encodings[number // 4 % len(encodings)]
                    is_pipe, is_shared = number % 4 in {0, 3}, number % 3 == 0
                    verdict = await try_file(
                        simulator,
                        tenants[number],
                        file,
                        Path(folder),
                        dice,
                        is_pipe=is_pipe,
                        is_shared=is_shared,
                        encoding=encoding,
                        kills=kills,
                    )
                    where = f"{'pipe' if is_pipe else 'file'}, {'one terminal' if is_shared else 'two terminals'}"
                    seconds = time.monotonic() - began
                    print(f"{number:>3} {file.name}, {where}, {encoding}, {seconds:.0f} s: {verdict}", flush=True)
                    total.add(verdict)

            await asyncio.gather(*(one(n, dice, file) for n, (dice, file) in enumerate(files(count, rows, seed))))
    return total


def main(arguments: list[str]) -> int:
    """Print the figures; return 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz files", description=__doc__.split("\n\n")[1])
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument(
        "--encoding", choices=ENCODINGS, action="append", help="of the terminals (default: all of them)"
    )
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    args = parser.parse_args(arguments)
    seed = random.randrange(2**31) if args.seed is None else args.seed
    print(f"seed {seed}")
    encodings = tuple(args.encoding or ENCODINGS)
    total = asyncio.run(
        try_files(args.files, args.rows, kills=args.kills, seed=seed, at_once=args.at_once, encodings=encodings)
    )
    print(f"in all: {total}")
    for wrong in total.wrong[:40]:
        print(f"  {wrong}")
    return int(not total.kept)
