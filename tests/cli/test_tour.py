"""The tour of the command line's chapter, on a customer's file: cp1252, semicolons, 3,000 rows, and what goes wrong."""

from __future__ import annotations

import asyncio
import csv
import os
import re
import shlex
import subprocess
import sys
from collections import Counter

import pytest

from clarus_async.simulator import Quota, Simulator
from tests.support.builders import environment_of
from tests.support.readme import CHAPTERS, blocks

SECRET = "canary-3f9c"
HEADER = (
    "Shop name", "Integration Type", "Provider", "Is Active", "Account-ID", "external_system_reference1",
    "configuration.api_key", "configuration.port:int", "Remarks",
)  # fmt: skip
GOOD = {"Is Active": ("WAHR", "FALSCH", "ja", "nein", ""), "Account-ID": ("17", "17.0", "")}
SPOILED = {
    "no name": {"Shop name": ""},
    "no type": {"Integration Type": ""},
    "a flag that is none": {"Is Active": "vielleicht"},
    "a letter in a number": {"Account-ID": "1O1"},
    "a number that is too large": {"Account-ID": "99999999999999999999"},
    "half a number": {"Account-ID": "17.5"},
    "a port that is text": {"configuration.port:int": "https"},
    "a reference that Excel has shortened": {"external_system_reference1": "4,00717E+12"},
    "a cell too few": {"Remarks": None},
    "a cell too many": {"Remarks": "see;below"},
}
ROWS, BAD, TWICE, THERE, EMPTY = 3000, 40, 12, 30, 7


def a_row(n):
    pick = lambda column: GOOD[column][n % len(GOOD[column])]  # noqa: E731
    return dict(
        zip(
            HEADER,
            (f"Café Zürich Nr. {n}", "shopify", "shopify", pick("Is Active"), pick("Account-ID"),
             f"kunde-{n:05}", f"{SECRET}-{n}", str(8000 + n), "geprüft €"),
            strict=True,
        )
    )  # fmt: skip


def customers_file(path):
    """Write it; return the numbers of the rows that are good."""
    rows = [a_row(n) for n in range(ROWS)]
    bad = range(20, 20 + 70 * BAD, 70)
    for place, n in enumerate(bad):
        rows[n] |= list(SPOILED.values())[place % len(SPOILED)]
    twice = range(55, 55 + 200 * TWICE, 200)
    for n in twice:
        rows[n]["external_system_reference1"] = rows[n - 50]["external_system_reference1"]
    lines = [";".join(HEADER)]
    for n, row in enumerate(rows):
        lines.append(";".join(cell for cell in row.values() if cell is not None))
        if n % (ROWS // EMPTY) == 1 and n > 1:
            lines.append(";" * (len(HEADER) - 1))
    path.write_bytes("\r\n".join([*lines, ""]).encode("cp1252"))
    return set(range(ROWS)) - set(bad) - set(twice)


def correct(path):
    """Correct each row of a file of rejects, as somebody would who reads its reasons."""
    with path.open(encoding="cp1252", newline="") as file:
        header, *rows = csv.reader(file, delimiter=";")
    assert len(rows) == BAD + TWICE
    assert all(SECRET in ";".join(row) for row in rows)
    for n, row in enumerate(rows):
        assert row[0]
        row[:] = [row[0], *a_row(10_000 + n).values()]
    with path.open("w", encoding="cp1252", newline="") as file:
        csv.writer(file, delimiter=";").writerows([header, *rows])


@pytest.fixture
async def simulator():
    async with Simulator(quota=Quota(limit=2000, window=1.0)) as simulator:
        yield simulator


async def test_the_tour(simulator, tmp_path):
    commands = iter(re.findall(r"^clarus .*", blocks_of_the_tour(), re.MULTILINE))
    good = customers_file(tmp_path / "stores.csv")
    there = sorted(good)[:THERE]
    simulator.preload(
        "acme",
        [
            {
                "name": a_row(n)["Shop name"],
                "integration_type": "shopify",
                "external_system_reference1": f"kunde-{n:05}",
            }
            for n in there
        ],
    )
    before = {record.id for record in simulator.integrations("acme")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLARUS_")}
    environment |= environment_of(simulator)

    async def run(*more):
        line = next(commands)
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "clarus_async", *shlex.split(line)[1:], *more],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done

    done = await run()
    assert done.returncode == 2
    assert "Shop name" in done.stderr
    assert "--map" in done.stderr
    done = await run()
    assert done.returncode == 2
    assert "semicolon" in done.stderr
    assert "cp1252" in done.stderr
    assert not simulator.requests
    done = await run()
    assert done.stdout.count('"would_create"') == len(good) - THERE
    assert {record.id for record in simulator.integrations("acme")} == before
    done = await run()
    assert done.returncode == 1
    assert Counter(re.findall(r'"status":"(\w+)"', done.stdout)) == {"created": len(good) - THERE, "adopted": THERE}
    correct(tmp_path / "rejects.csv")
    done = await run()
    assert (done.returncode, done.stdout.count('"created"')) == (0, BAD + TWICE)
    names = Counter(record.attributes["external_system_reference1"] for record in simulator.integrations("acme"))
    assert len(names) == ROWS
    assert set(names.values()) == {1}
    done = await run()
    assert (done.returncode, done.stdout) == (0, "")
    assert (await run()).returncode == 0
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert SECRET not in page
    done = await run("--yes")
    assert done.returncode == 0
    assert {record.id for record in simulator.integrations("acme")} == before
    assert next(commands, None) is None


def blocks_of_the_tour():
    tour = CHAPTERS["clarus_async.cli"].partition("# A tour")[2].partition("\n# ")[0]
    return "".join(blocks(tour, "sh"))


def test_it_takes_less_than_ten_commands():
    assert len(blocks_of_the_tour().split("clarus ")) - 1 < 10
