"""Files to the records of a resource, one at a time, with every mistake named by line and column.

What is read may hold secrets, so no text made here repeats a value unless it can be none: it names the line, the
column, and what was expected there. A file of any size is read in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import PurePath
from typing import Final, Protocol

from clarus_async.errors import InputProblem
from clarus_async.provisioning.files.columns import find_delimiter, read_table
from clarus_async.provisioning.files.csv_records import split_records
from clarus_async.provisioning.files.json_records import read_json
from clarus_async.provisioning.files.numbered import (
    MAX_RECORD,
    BadRow,
    Found,
    LastRow,
    NumberedLine,
    NumberedRecord,
    Row,
    UnreadableError,
)
from clarus_async.provisioning.files.options import DELIMITERS, FIND_OUT, Format, ReadOptions
from clarus_async.provisioning.files.target import Target
from clarus_async.provisioning.text_numbers import TextNumbers

_BOM: Final = b"\xef\xbb\xbf"
_SUFFIXES: Final = {".csv": Format.CSV, ".jsonl": Format.JSON_LINES, ".ndjson": Format.JSON_LINES}


class BinaryLines(Protocol):
    """A binary stream, such as ``open(path, "rb")``."""

    def readline(self, size: int, /) -> bytes:
        """Return the next line with its line end, or its first ``size`` bytes; nothing at the end."""
        ...


def format_of(name: str) -> Format | None:
    """Tell a file's format by the suffix of its name: ``.csv``, ``.jsonl`` or ``.ndjson``; ``None`` for others."""
    return _SUFFIXES.get(PurePath(name).suffix.lower())


def format_of_line(line: bytes) -> Format:
    """Tell a file's format by its first line that is not blank, without a byte order mark."""
    return Format.JSON_LINES if line.lstrip()[:1] in {b"{", b"["} else Format.CSV


def read_rows(
    stream: BinaryLines,
    target: Target,
    options: ReadOptions = FIND_OUT,
    found: Found | None = None,
) -> Iterator[Row]:
    """Read rows as they come; what is wrong with one does not keep the next from being read.

    Where the next row could only be guessed, nothing more is read: after a header that can't be used, quotes that
    don't match, and an array or an object over several lines that is not JSON. A row with the key of an earlier one is
    a bad row. What the options leave open is found out, and ``found`` is told.
    """
    found = found or Found()
    met = TextNumbers()
    line = 1
    try:
        for row in _rows(stream, target, options, found):
            line = row.line
            yield _unless_met(row, target, met)
            if isinstance(row, LastRow):
                return
    except UnreadableError as error:
        yield LastRow.because(line, str(error))


def _rows(stream: BinaryLines, target: Target, options: ReadOptions, found: Found) -> Iterator[Row]:
    lines = number_lines(stream)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is not None and (reason := _other_file(first[1])) is not None:
        return iter([LastRow.of(first[0], "", reason)])
    form = options.format or (Format.JSON_LINES if first is None else format_of_line(first[1]))
    if first is not None:
        lines = chain([first], lines)
    if form is Format.JSON_LINES:
        return read_json(lines, target, options)
    lines, delimiter = _delimited(lines, target, options)
    if delimiter != ",":
        found.what = f"CSV separated by {DELIMITERS.get(delimiter, repr(delimiter))}s"
    return read_table(split_records(lines, delimiter), target, options, found)


def _delimited(
    lines: Iterator[NumberedLine], target: Target, options: ReadOptions
) -> tuple[Iterator[NumberedLine], str]:
    """Find the delimiter, in Excel's own first line or by the header."""
    number, line = next(lines, (1, b""))
    text = line.decode(errors="replace").strip('" \r\n').replace('"', "")
    if text.casefold().startswith("sep=") and len(text.encode()) == len("sep=,"):
        return lines, options.delimiter or text[-1]
    return chain([(number, line)], lines), options.delimiter or find_delimiter(
        line.decode(errors="replace"), target, options
    )


def _unless_met(row: Row, target: Target, met: TextNumbers) -> Row:
    """Return a row, or a bad one where an earlier one has its key."""
    if not isinstance(row, NumberedRecord):
        return row
    key = target.key(row.new)
    # A number below zero is a place in an array.
    if before := met.find(key.text):
        where = f"on line {before[0]}" if before[0] > 0 else f"of element {-before[0]}"
        return BadRow(row.line, (InputProblem(key.field, f"is the same as {where}"),), row.place)
    met.add(key.text, row.line if row.place is None else -row.place)
    return row


def number_lines(stream: BinaryLines) -> Iterator[NumberedLine]:
    """Number the lines; one that is too long comes in several parts, of which the first is too long by itself."""
    number = 1
    is_first = True
    while line := stream.readline(MAX_RECORD + 1):
        yield number, line.removeprefix(_BOM) if is_first else line
        is_first = False
        number += line.endswith(b"\n")


_OTHER_FILES: Final = (
    (b"PK\x03\x04", "is a zip archive, as Excel's .xlsx is: save the sheet as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "is an Office document, as Excel's .xls is: save the sheet as CSV UTF-8"),
    (b"\x1f\x8b", "is compressed by gzip: decompress it first, as with gzip -dc"),
    (b"SQLite format 3\x00", "is an SQLite database, as a journal is: give the file of records"),
    (b"<", "is XML or HTML: give the records as CSV or JSON"),
)


def _other_file(line: bytes) -> str | None:
    """Say what a file is whose first line is neither CSV nor JSON in UTF-8, and what to do."""
    head = line[:16]
    # Without a mark, every other byte of plain text is zero.
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or (0 in head and any(head[::2]) != any(head[1::2])):
        return "is not UTF-8 (it looks like UTF-16): save the file as UTF-8"
    return next((reason for start, reason in _OTHER_FILES if line.startswith(start)), None)
