"""JSON Lines and CSV to the records of a resource, one at a time, with every mistake named by line and field.

What is read may hold secrets, so no text made here repeats a value: it names the line, the field, and what was
expected there. A file of any size is read in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from pathlib import PurePath
from typing import Final, Protocol

from clarus_async.provisioning.files.csv_records import read_csv
from clarus_async.provisioning.files.json_records import read_json
from clarus_async.provisioning.files.numbered import MAX_RECORD, BadRow, LastRow, NumberedLine, Row
from clarus_async.resources.spec import AnySpec

_BOM: Final = b"\xef\xbb\xbf"


class Format(StrEnum):
    """How records are written in a file."""

    CSV = "csv"
    JSON_LINES = "jsonl"


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


def read_records(stream: BinaryLines, spec: AnySpec, format: Format | None = None) -> Iterator[Row]:  # noqa: A002
    """Read records as they come; what is wrong with one does not keep the next from being read.

    Where the next record could only be guessed, nothing more is read: after a header that can't be used, quotes that
    don't match, and an array or an object over several lines that is not JSON. Without a format, the input is JSON if
    its first character that is no space is a brace or a bracket, else CSV.
    """
    lines = number_lines(stream)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is not None:
        if (reason := _other_file(first[1])) is not None:
            return iter([BadRow.of(first[0], "", reason)])
        format = format or format_of_line(first[1])  # noqa: A001
        lines = chain([first], lines)
    return _up_to_last(read_csv(lines, spec) if format is Format.CSV else read_json(lines, spec))


def _up_to_last(rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        yield row
        if isinstance(row, LastRow):
            return


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
