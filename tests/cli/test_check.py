"""``clarus check``: what a person is told of a file, offline."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from clarus_async.cli.check import main
from clarus_async.resources.integrations import INTEGRATIONS

HEADER = b"Name;Integration Type;is_active\r\n"


@pytest.fixture
def check(tmp_path, capsys):
    def run(content, **options):
        path = tmp_path / "shops.csv"
        path.write_bytes(content)
        status = main(types.SimpleNamespace(file=str(path), resource=INTEGRATIONS, **options))
        out, err = capsys.readouterr()
        assert out == ""
        return status, err.replace(f"{path}", "shops.csv").splitlines()

    return run


def test_what_was_found_and_what_there_is(check):
    rows = "Käse;t;WAHR\r\n;;\r\nB;t;perhaps\r\nKäse;t;\r\n".encode("cp1252")

    assert check(HEADER + rows) == (
        2,
        [
            "line 4: is_active: 'perhaps' is neither true nor false",
            "line 5: name: is the same as on line 2",
            "shops.csv: CSV separated by semicolons, in cp1252",
            "records            1",
            "empty rows         1",
            "duplicates         1",
            "bad rows           1",
        ],
    )
    assert check(b"name,integration_type\nA,t\n") == (0, ["records            1"])


def test_the_first_fifty_are_shown_and_the_others_counted_by_kind(check):
    bad = b"".join(b"%d;t;no%s\r\n" % (n, b"xyz"[n % 3 : n % 3 + 1]) for n in range(60))
    status, told = check(HEADER + bad + b"A;t;1\r\nA;t;1\r\n;t;1\r\n")

    assert status == 2
    assert [line.startswith("line ") for line in told].count(True) == 50
    assert told[50:53] == [
        "and 10 more: is_active: … is neither true nor false",
        "and 1 more: name: is the same as on line …",
        "and 1 more: Name: is required",
    ]


def test_a_pipe_is_read_to_its_end():
    code = (
        "import types\nfrom clarus_async.cli.check import main\n"
        "from clarus_async.resources.integrations import INTEGRATIONS\n"
        "raise SystemExit(main(types.SimpleNamespace(file='-', resource=INTEGRATIONS)))"
    )
    rows = b"name,integration_type,string1\n" + b"".join(b"%d,t,%s\n" % (n, b"x" * 1000) for n in range(10_000))
    done = subprocess.run([sys.executable, "-c", code], input=rows + b"1,t,\n", capture_output=True, check=False)

    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[0] == "line 10002: name: is the same as on line 3"
