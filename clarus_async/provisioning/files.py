"""JSON Lines and CSV to records, one at a time, with every mistake named by line and field.

What is read may hold secrets, so no text made here repeats a value: it names the line, the field, and what was
expected there. A file of any size is read in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from pathlib import PurePath
from typing import Any, Final, Protocol, TypeAlias

import attrs
import orjson

from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.provisioning.csv_records import MAX_RECORD, TOO_LONG, Malformed, NumberedLine, join_lines, split
from clarus_async.records import NewIntegration

MAX_COLUMNS: Final = 1000
"""Columns that a CSV may have."""

MAX_DEPTH: Final = 64
"""Parts that a dotted header may have."""

_BOM: Final = b"\xef\xbb\xbf"
_UTF16_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")


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
    """

    line: int
    new: NewIntegration


@attrs.frozen
class BadRow:
    """What can't be read as a record, and where it stands.

    Args:
        line: the line on which it starts, from 1.
        problems: every field that is wrong. A field without a name is the line as a whole.
    """

    line: int
    problems: tuple[InputProblem, ...]

    @classmethod
    def of(cls, line: int, field: str, reason: str) -> BadRow:
        """Build one with a single problem."""
        return cls(line, (InputProblem(field, reason),))


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

    JSON Lines hold one object a line, its ``configuration`` nested. CSV has a header row; ``configuration.api_key``
    is ``api_key`` within ``configuration``. An empty cell, like ``null``, is left out. A cell of ``is_active`` is
    ``true`` or ``false``, one of ``account_id`` or ``warehouse_id`` is digits, and every other cell is text as it
    stands. After a header that can't be used, and after a CSV record whose quotes don't match or which is too long,
    nothing is read.

    Args:
        stream: UTF-8, with or without a byte order mark.
        format: ``None``: JSON Lines if the first character that is no space is a brace or a bracket, else CSV.

    Raises:
        OSError: the stream can't be read.
    """
    lines = number_lines(stream)
    if format is None:
        first = next(((number, line) for number, line in lines if line.strip()), None)
        if first is None:
            return iter(())
        format = format_of_line(first[1])  # noqa: A001
        lines = chain([first], lines)
    return _read_json_lines(lines) if format is Format.JSON_LINES else _read_csv(lines)


def number_lines(stream: BinaryLines) -> Iterator[NumberedLine]:
    """Number the lines; one that is too long comes cut, and is still too long.

    Args:
        stream: as for :func:`read_records`.
    """
    number = 0
    while line := stream.readline(MAX_RECORD + 1):
        number += 1
        yield number, line.removeprefix(_BOM) if number == 1 else line
        if len(line) > MAX_RECORD:
            while not line.endswith(b"\n") and (line := stream.readline(2**16)):
                pass


def _encoding_problem(record: bytes) -> str | None:
    if record.startswith(_UTF16_BOMS):
        return "is not UTF-8 (it looks like UTF-16)"
    try:
        record.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8 (at byte {error.start + 1})"
    return None


def _row(number: int, attributes: Mapping[str, Any], problems: tuple[InputProblem, ...] = ()) -> Row:
    try:
        new = NewIntegration.from_mapping(attributes)
    except InvalidInputError as error:
        return BadRow(number, problems + error.problems)
    return BadRow(number, problems) if problems else NumberedIntegration(number, new)


# --- JSON Lines


def _read_json_lines(lines: Iterator[NumberedLine]) -> Iterator[Row]:
    return (_json_row(number, line) for number, line in lines if line.strip())


def _json_row(number: int, line: bytes) -> Row:
    if len(line) > MAX_RECORD:
        return BadRow.of(number, "", TOO_LONG)
    try:
        attributes = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return BadRow.of(number, "", _encoding_problem(line) or f"is not JSON (at column {error.colno})")
    if not isinstance(attributes, dict):
        return BadRow.of(number, "", f"must be a JSON object, not {_JSON_NAMES[type(attributes)]}")
    return _row(number, attributes)


_JSON_NAMES: Final = {
    list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null",
}  # fmt: skip


# --- CSV


def _read_csv(lines: Iterator[NumberedLine]) -> Iterator[Row]:
    records = join_lines(lines)
    number, header = next(records, (1, b""))
    names = split(header)
    problems = _record_problems(header, names) or _too_many(names)
    columns = [] if problems else [_Column.of(name) for name in names]
    problems = problems or tuple(_header_problems(columns))
    if problems:
        yield BadRow(number, problems)
        return
    for number, record in records:
        cells = split(record)
        if problems := _record_problems(record, cells):
            yield BadRow(number, problems)
        if isinstance(cells, Malformed):
            # Where the next record starts could only be guessed, and then be sent.
            return
        if not problems:
            yield _csv_row(number, cells, columns)


def _record_problems(record: bytes, cells: list[str] | Malformed) -> tuple[InputProblem, ...]:
    if isinstance(cells, Malformed):
        return (InputProblem("", f"{cells.reason}; nothing after it was read"),)
    reason = _encoding_problem(record)
    return () if reason is None else (InputProblem("", reason),)


def _csv_row(number: int, cells: list[str], columns: list[_Column]) -> Row:
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


def _header_problems(columns: list[_Column]) -> Iterator[InputProblem]:
    attributes = [column.path[0] for column in columns]
    if _KNOWN.isdisjoint(attributes):
        # Perhaps this is a record, and its values are not to be repeated.
        yield InputProblem("", "must name the columns, as in name,integration_type: no name in it is known")
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
