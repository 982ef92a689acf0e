"""Workbooks as Excel, LibreOffice and openpyxl write them, and those that would take all memory."""

from __future__ import annotations

import datetime as dt
import io
import resource
import subprocess
import sys
import zipfile

import openpyxl
import pytest

from clarus_async.provisioning.files.numbered import BadRow, Found
from clarus_async.provisioning.files.options import ReadOptions
from clarus_async.provisioning.files.reader import read_file
from clarus_async.provisioning.files.target import new_records
from clarus_async.provisioning.files.workbook import letters
from clarus_async.resources.integrations import INTEGRATIONS


def read(content):
    found = Found()
    rows = read_file(lambda: io.BufferedReader(io.BytesIO(content)), new_records(INTEGRATIONS), ReadOptions(), found)
    return list(rows), found


def saved(*rows, change=lambda book: None):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    change(book)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def told(rows):
    return [(row.line, str(problem)) for row in rows if isinstance(row, BadRow) for problem in row.problems]


def test_cells_are_read_as_what_they_show():
    rows, found = read(
        saved(
            [None, "Name", "Integration Type", "is_active", "account_id", "string1", "string2"],
            [None, 123.0, "t", True, 17, MOMENT, 0.1 + 0.2],
            [],
            [None, "007", "t", "nein", "17", dt.date(2024, 1, 2), 1.5],
        )
    )

    assert [
        (row.line, row.new.name, row.new.is_active, row.new.account_id, row.new.string1, row.new.string2)
        for row in rows
    ] == [(2, "123", True, 17, "2024-01-02T03:04:00", "0.3"), (4, "007", False, 17, "2024-01-02", "1.5")]
    assert (found.empty, found.what) == (1, "sheet Sheet")


def test_what_has_no_value_is_named_by_line_and_column():
    def change(book):
        sheet = book.active
        sheet["C3"].data_type = "e"
        sheet.merge_cells("B5:B6")
        book.create_sheet("other")

    rows, found = read(
        saved(
            ["Name", "Integration Type", "string1"],
            [12345678901234567890, "t"],
            ["A", "t", "#N/A"],
            ["B", "t", "=1/0"],
            ["C", "t"],
            ["D"],
            change=change,
        )
    )

    assert told(rows) == [
        (2, "Name (A): has more digits than Excel keeps of a number: format the column as text, and enter it again"),
        (3, "string1 (C): holds an error, such as #N/A: correct its formula"),
        (4, "string1 (C): holds a formula without its value: open and save the file in Excel"),
        (6, "Integration Type (B): is merged with B5: unmerge them, and give each row its own value"),
    ]
    assert found.what == "sheet Sheet, the first of 2"


def test_an_empty_first_sheet_is_named():
    [row], _ = read(saved(change=lambda book: book.create_sheet("Shops").append(["name"])))

    assert row.problems[0].reason.startswith("has nothing in its first sheet, Sheet")


def replaced(part, content, method=zipfile.ZIP_DEFLATED):
    """A workbook with another content of one part."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(["name", "integration_type"]))) as book, zipfile.ZipFile(file, "w") as other:
        for name in book.namelist():
            other.writestr(name, content if name == part else book.read(name), method)
    return file.getvalue()


MOMENT = dt.datetime(2024, 1, 2, 3, 4)  # noqa: DTZ001  a sheet knows no zone
SHEET = "xl/worksheets/sheet1.xml"
FAR = b'<worksheet><sheetData><row r="1"><c r="A1"><v>1</v></c></row>%s</sheetData></worksheet>'


def lying(content):
    """A workbook whose directory says that a part is small."""
    return content.replace((2**29 + 2**21).to_bytes(4, "little"), (100).to_bytes(4, "little"))


# ruff: noqa: E501
HOSTILE = {
    "cells far apart": (replaced(SHEET, FAR % b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'), "is a workbook with cells up to"),
    "another spelling": (replaced(SHEET, FAR % b"<x:c a='%s'\n r = 'xfd1048576'/>" % (b" " * 10**6)), "is a workbook with cells up to"),
    "cells without a place": (replaced(SHEET, FAR % b"<row>%s</row><row r='9999'>" % (b"<c/>" * 9999)), "is a workbook with cells up"),
    "a part too long": (replaced("xl/theme/theme1.xml", bytes(2**29 + 2**21)), "is a workbook of more than 512 MiB"),
    "a part too long that denies it": (lying(replaced("xl/theme/theme1.xml", bytes(2**29 + 2**21))), "is a workbook of more"),
    "another compression": (replaced(SHEET, FAR, zipfile.ZIP_LZMA), "is a workbook that is encrypted or damaged"),
    "a damaged sheet": (replaced(SHEET, b"<worksheet><sheetData><row"), "is a workbook that is damaged"),
    "half of it": (saved(["name"])[:2000], "is a workbook that is damaged"),
    "another archive": (replaced("xl/workbook.xml", b"").replace(b"xl/workbook.xml", b"xl/workbook.xmx"), "is a zip archive, and no"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), HOSTILE.values(), ids=HOSTILE)
def test_what_means_no_good_is_named(content, said):
    assert len(content) < 2**22
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows, _ = read(content)

    assert told(rows)[0][1].removeprefix(": ").startswith(said)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_columns_are_called_as_a_spreadsheet_does():
    assert [letters(n) for n in (1, 26, 27, 702, 703, 16384)] == ["A", "Z", "AA", "ZZ", "AAA", "XFD"]


def test_nothing_of_it_is_imported_before_a_workbook_is_read():
    code = "import sys, clarus_async.cli.check; print({'python_calamine', 'charset_normalizer'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"set()\n"
