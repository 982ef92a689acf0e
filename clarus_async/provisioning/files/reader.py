"""Files to the records of a resource, one at a time, with every mistake named by line and column.

What is read may hold secrets, so no text made here repeats a value unless it can be none: it names the line, the
column, and what was expected there. A file of any size is read in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BufferedReader
from itertools import chain
from pathlib import PurePath
from typing import Final, Protocol

from clarus_async.errors import InputProblem
from clarus_async.provisioning.files.columns import find_delimiter, read_table
from clarus_async.provisioning.files.content import Transcoded, decompressed, find_encoding, is_gzip
from clarus_async.provisioning.files.csv_records import split_records
from clarus_async.provisioning.files.json_records import read_json
from clarus_async.provisioning.files.numbered import (
    MAX_RECORD,
    BadRow,
    Duplicate,
    Found,
    LastRow,
    NumberedLine,
    NumberedRecord,
    Row,
    UnreadableError,
)
from clarus_async.provisioning.files.options import DELIMITERS, FIND_OUT, Format, ReadOptions
from clarus_async.provisioning.files.target import Target
from clarus_async.provisioning.files.workbook import letters, read_workbook
from clarus_async.provisioning.text_numbers import TextNumbers

_BOM: Final = b"\xef\xbb\xbf"
_ZIP: Final = b"PK\x03\x04"
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
    return _checked(_rows(stream, target, options, found or Found()), target)


def read_file(
    open_stream: Callable[[], BufferedReader], target: Target, options: ReadOptions, found: Found
) -> Iterator[Row]:
    """Read rows as ``read_rows`` does of a file of any kind: compressed, a workbook, or in another encoding.

    ``open_stream`` gives it from its beginning, and is asked once more where the encoding has to be found out.
    """
    return _checked(_rows_of_file(open_stream, target, options, found), target)


def _checked(rows: Iterator[Row], target: Target) -> Iterator[Row]:
    met = TextNumbers()
    line = 1
    try:
        for row in rows:
            line = row.line
            yield _unless_met(row, target, met)
            if isinstance(row, LastRow):
                return
    except UnreadableError as error:
        yield LastRow.of(line, "", str(error))


def _rows_of_file(
    open_stream: Callable[[], BufferedReader], target: Target, options: ReadOptions, found: Found
) -> Iterator[Row]:
    stream = open_stream()
    if is_workbook(stream):
        if not stream.seekable():
            raise UnreadableError("is a workbook, which can't be read from a pipe: give the file")
        yield from read_table(read_workbook(stream, found), target, options, found, letters)
        return
    content = open_content(open_stream, options, found)
    for row in _rows(content, target, options, found):
        if found.encoding != "utf-8" and isinstance(row, BadRow) and row.problems[0].reason.startswith("is not UTF-8"):
            yield BadRow.of(row.line, "", f"is not {found.encoding}: give the right --encoding, or save it as UTF-8")
        else:
            yield row


def is_workbook(stream: BufferedReader) -> bool:
    """Whether a stream goes on with an archive, as a workbook is."""
    return stream.peek(4)[:4] == _ZIP


def open_content(open_stream: Callable[[], BufferedReader], options: ReadOptions, found: Found) -> BinaryLines:
    """Open a file's lines in UTF-8, whatever it is written in."""
    stream = open_stream()
    found.is_gzip = is_gzip(stream)
    found.encoding = options.encoding
    if found.encoding is None:
        found.encoding = find_encoding(decompressed(stream) if found.is_gzip else stream)
        stream = open_stream()
    content = decompressed(stream) if found.is_gzip else stream
    head = content.peek(16)[:16]
    if reason := next((reason for start, reason in _OTHER_FILES if head.startswith(start)), None):
        raise UnreadableError(reason)
    return content if found.encoding == "utf-8" else Transcoded(content, found.encoding)


def begin(stream: BinaryLines, options: ReadOptions) -> tuple[Iterator[NumberedLine], Format]:
    """Return the lines of a file, the first that is not blank at their head, and how its records are written."""
    lines = number_lines(stream)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is None:
        return iter(()), options.format or Format.JSON_LINES
    if (reason := _other_file(first[1])) is not None:
        raise UnreadableError(reason)
    return chain([first], lines), options.format or format_of_line(first[1])


def _rows(stream: BinaryLines, target: Target, options: ReadOptions, found: Found) -> Iterator[Row]:
    lines, form = begin(stream, options)
    if form is Format.JSON_LINES:
        found.kind = "JSON"
        yield from read_json(lines, target, options)
        return
    lines, delimiter = delimited(lines, target, options)
    found.kind = "CSV" if delimiter == "," else f"CSV separated by {DELIMITERS.get(delimiter, repr(delimiter))}s"
    yield from read_table(split_records(lines, delimiter), target, options, found)


def delimited(
    lines: Iterator[NumberedLine], target: Target, options: ReadOptions
) -> tuple[Iterator[NumberedLine], str]:
    """Find the delimiter, in a first line of Excel's own or by the header, with which the lines then begin."""
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
        return Duplicate(row.line, (InputProblem(key.field, f"is the same as {where}"),), row.place)
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
    (_ZIP, "is a zip archive, as Excel's .xlsx is: save the sheet as CSV UTF-8"),
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
