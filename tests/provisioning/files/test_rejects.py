"""Rows that did not make it, written as they stood and read again."""

from __future__ import annotations

import gzip
import io
import stat

import openpyxl
import pytest

from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.files.numbered import BadRow, Found
from clarus_async.provisioning.files.options import FIND_OUT
from clarus_async.provisioning.files.reader import read_file
from clarus_async.provisioning.files.rejects import refuse_path, write_rejects
from clarus_async.provisioning.files.target import new_records
from clarus_async.resources.integrations import INTEGRATIONS

TARGET = new_records(INTEGRATIONS)


@pytest.fixture
def rejected(tmp_path):
    def run(content, reasons, name="x.csv"):
        source, path = tmp_path / name, tmp_path / "rejects"
        source.write_bytes(content)
        write_rejects(str(path), reasons, str(source), TARGET, FIND_OUT)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert source.read_bytes() == content
        return path.read_bytes()

    return run


def read(content):
    return list(read_file(lambda: io.BufferedReader(io.BytesIO(content)), TARGET, FIND_OUT, Found()))


CSV = 'Name;Typ;string1\r\nA;t;"a;""b\r\nc"\r\n;;\r\nKäse;;\r\nC;t\r\nD;t;'


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16"])
def test_csv_keeps_its_rows_its_delimiter_and_its_encoding(rejected, encoding):
    reasons = {(2, None): 'is "bad"', (5, None): "…", (6, None): "few", (7, None): "last"}
    content = rejected(CSV.replace("Typ", "Integration type").encode(encoding), reasons)

    expected = (
        'clarus_reason;Name;Integration type;string1\r\n"is ""bad""";A;t;"a;""b\r\nc"\r\n"…";Käse;;\r\n"few";C;t\r\n'
        '"last";D;t;\n'
    )
    assert content == expected.encode(encoding)
    rows = read(content)
    assert [row.line for row in rows if isinstance(row, BadRow)] == [4, 5]
    assert [row.new.string1 for row in rows if not isinstance(row, BadRow)] == ['a;"b\r\nc', None]
    again = rejected(content, {(4, None): "again"})
    assert again.decode(encoding).splitlines() == ["clarus_reason;Name;Integration type;string1", '"again";Käse;;']


def test_json_lines_keep_their_text(rejected):
    text = b'[{"name": "A", "n": 1e400},\n {"name":\n "B"}, {}]\n{"clarus_reason": "old", "name": "C"}\nnot JSON\n'
    content = rejected(text, {(1, 1): "r", (2, 2): '"', (3, 3): "e", (4, None): "new", (5, None): "x"}, "x.json")

    assert content == (
        b'{"clarus_reason": "r", "name": "A", "n": 1e400}\n{"clarus_reason": "\\"", "name":  "B"}\n'
        b'{"clarus_reason": "e"}\n{"clarus_reason": "new", "name": "C"}\nnot JSON\n'
    )


def test_a_workbook_becomes_csv_that_a_spreadsheet_opens(rejected):
    book = openpyxl.Workbook()
    for row in ([], ["Name", "Typ"], ["Ä", 1.0], ["B, C", True]):
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)

    content = rejected(file.getvalue(), {(4, None): "r"}, "x.xlsx")
    assert content == b'\xef\xbb\xbfclarus_reason,Name,Typ\r\n"r","B, C",true\r\n'.replace(
        b"clarus", b'"clarus', 1
    ).replace(b"reason,", b'reason",', 1)


def test_what_was_compressed_is_not(rejected):
    assert rejected(gzip.compress(b"name,integration_type\nA,t\n"), {(2, None): "r"}).endswith(b'"r",A,t\n')


def test_no_other_file_is_lost(tmp_path):
    source, ours, other = tmp_path / "x.csv", tmp_path / "r.csv", tmp_path / "o.csv"
    source.write_bytes(b"clarus_reason,name\n")
    ours.write_bytes(b"clarus_reason,name\n")
    other.write_bytes(b"name\n")

    refuse_path(str(ours), str(source))
    refuse_path(str(tmp_path / "new.csv"), str(source))
    for path in (source, other):
        with pytest.raises(InvalidInputError, match="is there already, and would be lost"):
            refuse_path(str(path), str(source))
    with pytest.raises(InvalidInputError, match="can't be written"):
        refuse_path(str(tmp_path / "none" / "r.csv"), str(source))
    write_rejects(str(ours), {}, str(source), TARGET, FIND_OUT)
    assert not ours.exists()
