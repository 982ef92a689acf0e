"""JSON Lines and CSV to records, one at a time, with every mistake named by line and field.

What is read may hold secrets, so no text made here repeats a value: it names the line, the field, and what was
expected there. A file of any size is read in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from itertools import chain
from pathlib import PurePath
from typing import Any, Final, Protocol, TypeAlias

import attrs

from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.provisioning.files.csv_records import MAX_RECORD, TOO_LONG, Malformed, NumberedLine, join_lines, split
from clarus_async.provisioning.files.json_records import (
    Element,
    begins_document,
    encoding_problem,
    parse,
    split_documents,
)
from clarus_async.resources.integrations import NewIntegration

MAX_COLUMNS: Final = 1000
"""Columns that a CSV may have."""

MAX_DEPTH: Final = 64
"""Parts that a dotted header may have."""

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


@attrs.frozen
class NumberedIntegration:
    """A record and where it stands.

    Args:
        line: the line on which it starts, from 1.
        new: the record.
        place: its place in a JSON array, from 1; ``None`` outside of one.
    """

    line: int
    new: NewIntegration
    place: int | None = None


@attrs.frozen
class BadRow:
    """What can't be read as a record, and where it stands.

    Args:
        line: the line on which it starts, from 1.
        problems: every field that is wrong. A field without a name is the line as a whole.
        place: its place in a JSON array, from 1; ``None`` outside of one.
    """

    line: int
    problems: tuple[InputProblem, ...]
    place: int | None = None

    @classmethod
    def of(cls, line: int, field: str, reason: str) -> BadRow:
        """Build one with a single problem."""
        return cls(line, (InputProblem(field, reason),))


@attrs.frozen
class _LastRow(BadRow):
    """A bad row after which nothing is read: where the next one starts could only be guessed, and then be sent."""

    @classmethod
    def because(cls, line: int, reason: str, place: int | None = None) -> _LastRow:
        """Build one with a single problem."""
        return cls(line, (InputProblem("", f"{reason}; nothing after it was read"),), place)


Row: TypeAlias = NumberedIntegration | BadRow


def format_of(name: str) -> Format | None:
    """Tell a file's format by the suffix of its name: ``.csv``, ``.jsonl`` or ``.ndjson``; ``None`` for others."""
    return _SUFFIXES.get(PurePath(name).suffix.lower())


def format_of_line(line: bytes) -> Format:
    """Tell a file's format by its first line that is not blank.

    Args:
        line: without a byte order mark.
    """
    return Format.JSON_LINES if line.lstrip()[:1] in {b"{", b"["} else Format.CSV


def read_records(stream: BinaryLines, format: Format | None = None) -> Iterator[Row]:  # noqa: A002  the plain word
    """Read records as they come; what is wrong with one does not keep the next from being read.

    JSON Lines hold one object a line, its ``configuration`` nested; arrays of objects, and objects over several lines,
    are read as well. CSV has a header row; ``configuration.api_key`` is ``api_key`` within ``configuration``. An empty
    cell, like ``null``, is left out. A cell of ``is_active`` is ``true`` or ``false``, one of ``account_id`` or
    ``warehouse_id`` is digits, and every other cell is text as it stands. Where the next record could only be guessed,
    nothing more is read: after a header that can't be used, quotes that don't match, and an array or an object over
    several lines that is not JSON.

    Args:
        stream: UTF-8, with or without a byte order mark.
        format: ``None``: JSON if the first character that is no space is a brace or a bracket, else CSV.

    Raises:
        OSError: the stream can't be read.
    """
    lines = number_lines(stream)
    first = next(((number, line) for number, line in lines if line.strip()), None)
    if first is not None:
        if (reason := _other_file(first[1])) is not None:
            return iter([BadRow.of(first[0], "", reason)])
        format = format or format_of_line(first[1])  # noqa: A001
        lines = chain([first], lines)
    return _read_csv(lines) if format is Format.CSV else _read_json(lines)


def number_lines(stream: BinaryLines) -> Iterator[NumberedLine]:
    """Number the lines; one that is too long comes in several parts, of which the first is too long by itself.

    Args:
        stream: as for :func:`read_records`.
    """
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


def _row(number: int, attributes: Mapping[str, Any], problems: tuple[InputProblem, ...] = ()) -> Row:
    named = {problem.field for problem in problems}
    try:
        new = NewIntegration.from_mapping(attributes)
    except InvalidInputError as error:
        return BadRow(number, problems + tuple(problem for problem in error.problems if problem.field not in named))
    return BadRow(number, problems) if problems else NumberedIntegration(number, new)


# --- JSON


def _read_json(lines: Iterator[NumberedLine]) -> Iterator[Row]:
    for number, line in lines:
        if not line.strip():
            continue
        if begins_document(line):
            for element in split_documents(chain([(number, line)], lines)):
                row = _json_row(element, is_line=False)
                yield row
                if isinstance(row, _LastRow):
                    return
            continue
        row = _json_row(Element(number, None, line), is_line=True)
        yield row
        if isinstance(row, _LastRow):
            return
        while not line.endswith(b"\n") and (more := next(lines, None)) is not None:
            _, line = more  # noqa: PLW2901  the rest of a line that is too long


def _json_row(element: Element, *, is_line: bool) -> Row:
    """Read a record; only where it is a line by itself, the next one is read whatever is wrong with its syntax."""
    number, place, content = element
    if isinstance(content, Malformed):
        return _LastRow.because(number, content.reason)
    if len(content) > MAX_RECORD:
        return BadRow(number, (InputProblem("", TOO_LONG),), place)
    value, problems = parse(content, number)
    if not isinstance(value, dict):
        if problems and not is_line:
            return _LastRow.because(number, problems[0].reason, place)
        reason = f"must be a JSON object, not {_JSON_NAMES[type(value)]}"
        return BadRow(number, problems or (InputProblem("", reason),), place)
    if (what := _output(value.keys())) is not None:
        return _LastRow.because(number, what, place)
    row = _row(number, value, problems)
    return row if place is None else attrs.evolve(row, place=place)


_JSON_NAMES: Final = {
    list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null",
}  # fmt: skip


def _output(names: AbstractSet[str]) -> str | None:
    """Say of which command's output this is a line, or ``None``."""
    if names >= {"index", "key", "status"}:
        return "is an outcome, as clarus provision writes it: give the file of records"
    if names >= {"id", "name", "integration_type", "provider", "is_active"}:
        return (
            "is an integration that is there already, as clarus list writes it, and lacks its configuration: to create"
            " a copy, keep what can be sent, as with jq -c '{name, integration_type, provider, is_active,"
            " external_system_reference1}', and add the configuration"
        )
    return None


# --- CSV


def _read_csv(lines: Iterator[NumberedLine]) -> Iterator[Row]:
    records = join_lines(lines)
    number, header = next(records, (1, b""))
    names = _cells(number, header)
    if (reason := _delimiter_problem(header)) is not None:
        names = BadRow.of(number, "", reason)
    if isinstance(names, BadRow):
        yield names
        return
    columns = [_Column.of(name) for name in names[: MAX_COLUMNS + 1]]
    if problems := _too_many(names) or tuple(_header_problems(columns)):
        yield BadRow(number, problems)
        return
    for number, record in records:
        row = _csv_row(number, record, columns)
        yield row
        if isinstance(row, _LastRow):
            return


def _cells(number: int, record: bytes | Malformed) -> list[str] | BadRow:
    if isinstance(record, Malformed):
        return _LastRow.because(number, record.reason)
    if len(record) > MAX_RECORD:
        return BadRow.of(number, "", TOO_LONG)
    cells = split(record)
    if isinstance(cells, Malformed):
        return _LastRow.because(number, cells.reason)
    reason = encoding_problem(record)
    return cells if reason is None else BadRow.of(number, "", reason)


def _csv_row(number: int, record: bytes | Malformed, columns: list[_Column]) -> Row:
    cells = _cells(number, record)
    if isinstance(cells, BadRow):
        return cells
    if cells[0].startswith("\ufeff"):
        cells[0] = cells[0].removeprefix("\ufeff")
        if not _is_header(cells):
            return BadRow.of(number, "", "begins with a byte order mark, as a file does that was appended to another")
    if _is_header(cells):
        reason = "is a header again: join files without their headers"
        if cells == [column.header for column in columns]:
            return BadRow.of(number, "", reason)
        return _LastRow.because(number, f"{reason}, and only where their columns are the same")
    if len(cells) != len(columns):
        # Too few is how a file that was cut off ends.
        field = _column_name(columns, min(len(cells), len(columns)))
        return BadRow.of(number, field, f"the row has {len(cells):,} cells, the header {len(columns):,}")
    attributes: dict[str, Any] = {}
    problems: tuple[InputProblem, ...] = ()
    for column, cell in zip(columns, cells, strict=True):
        if not cell:
            continue
        value = from_text(column.header, cell)
        if isinstance(value, InputProblem):
            problems += (value,)
            continue
        parent = attributes
        for key in column.path[:-1]:
            parent = parent.setdefault(key, {})
        parent[column.path[-1]] = value
    return _row(number, attributes, problems)


def _flag(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _digits(text: str) -> int | None:
    # No 64-bit integer has more digits, and int() of a long text is slow.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else None


_TYPED: Final[Mapping[str, tuple[Callable[[str], object], str]]] = {
    "is_active": (_flag, "must be true or false"),
    "account_id": (_digits, "must be an integer in digits"),
    "warehouse_id": (_digits, "must be an integer in digits"),
}


def from_text(attribute: str, text: str) -> object | InputProblem:
    """Read an attribute's value from text: true or false, digits, or the text as it stands.

    Args:
        attribute: its name, dotted where it is nested.
        text: not empty.
    """
    if attribute not in _TYPED:
        return text
    read, expected = _TYPED[attribute]
    value = read(text)
    return InputProblem(attribute, expected) if value is None else value


# --- CSV headers

_CONFIGURATION: Final = "configuration"
_KNOWN: Final = frozenset(field.name for field in attrs.fields(NewIntegration))
_REQUIRED: Final = frozenset(field.name for field in attrs.fields(NewIntegration) if field.default is attrs.NOTHING)
_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
# Values of the right type: a record made of them is refused for its names alone.
_STAND_INS: Final[Mapping[str, object]] = {_CONFIGURATION: {}, "is_active": True, "account_id": 0, "warehouse_id": 0}


@attrs.frozen
class _Column:
    """A column and where its cells go.

    Args:
        header: as it stands in the file.
        path: the keys that lead to the value.
    """

    header: str
    path: tuple[str, ...]

    @classmethod
    def of(cls, header: str) -> _Column:
        """Read a header: dots nest, and nothing but a configuration is nested."""
        parts = tuple(header.split("."))
        return cls(header, parts if parts[0] == _CONFIGURATION else (header,))


def _column_name(columns: list[_Column], index: int) -> str:
    return columns[index].header if index < len(columns) else f"column {index + 1}"


def _too_many(names: Sequence[object]) -> tuple[InputProblem, ...]:
    if len(names) <= MAX_COLUMNS:
        return ()
    return (InputProblem("", f"has {len(names):,} columns, and may have {MAX_COLUMNS:,}"),)


_NO_NAMES: Final = "must name the columns, as in name,integration_type: no name in it is known"


def _is_header(cells: list[str]) -> bool:
    """Whether a row names columns: both attributes that every record has stand in it under their own names."""
    return _REQUIRED.issubset(map(str.casefold, cells))


def _delimiter_problem(header: bytes | Malformed) -> str | None:
    if isinstance(header, Malformed) or len(header) > MAX_RECORD:
        return None
    text = header.decode(errors="replace").casefold()
    if text.startswith(("sep=", '"sep=')):
        return "is a sep= line, which is Excel's own: delete it, and separate the cells by commas"
    if not _KNOWN.isdisjoint(_names(text, ",")):
        return None
    named = (name for delimiter, name in _DELIMITERS.items() if not _KNOWN.isdisjoint(_names(text, delimiter)))
    return next((f"has its cells separated by {name}: save it as CSV with commas" for name in named), None)


def _names(header: str, delimiter: str) -> list[str]:
    return [cell.strip('" \r\n') for cell in header.split(delimiter)]


def _header_problems(columns: list[_Column]) -> Iterator[InputProblem]:
    attributes = [column.path[0] for column in columns]
    if _KNOWN.isdisjoint(map(str.casefold, attributes)):
        # Perhaps this is a record, and its values are not to be repeated.
        yield InputProblem("", _NO_NAMES)
        return
    try:
        NewIntegration.from_mapping({name: _STAND_INS.get(name, "?") for name in attributes if name})
    except InvalidInputError as error:
        yield from error.problems
    yield from _path_problems(columns)


def _path_problems(columns: list[_Column]) -> Iterator[InputProblem]:
    positions: dict[tuple[str, ...], int] = {}
    for position, column in enumerate(columns, 1):
        name = column.header or f"column {position}"
        if column.path in positions:
            yield InputProblem(name, f"is there twice: as columns {positions[column.path]} and {position}")
        elif column.path == (_CONFIGURATION,):
            yield InputProblem(name, "must go on with a key, as in configuration.api_key")
        elif len(column.path) > MAX_DEPTH:
            yield InputProblem(name, f"must not have more than {MAX_DEPTH} parts")
        elif not all(column.path):
            yield InputProblem(name, "must have a name" if column.path == ("",) else "must have a name at each dot")
        positions.setdefault(column.path, position)
    for column in columns:
        for end in range(2, min(len(column.path), MAX_DEPTH)):
            if column.path[:end] in positions:
                parent = ".".join(column.path[:end])
                yield InputProblem(parent, f"can't hold a value and {column.header} too")
