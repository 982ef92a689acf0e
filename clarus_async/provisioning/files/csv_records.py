"""CSV (RFC 4180) to records, in bounded memory.

The standard csv module has one limit for the length of a cell in the whole process, and whoever embeds this may have
set it; so cells are split here, as its strict reader splits them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.provisioning.files.attribute_types import ValueType, attribute_types, from_text
from clarus_async.provisioning.files.json_records import encoding_problem
from clarus_async.provisioning.files.numbered import (
    MAX_RECORD,
    TOO_LONG,
    BadRow,
    LastRow,
    NumberedLine,
    Row,
    make_row,
)
from clarus_async.resources.spec import AnySpec

MAX_COLUMNS: Final = 1000
"""Columns that a CSV may have: more than any spreadsheet that a person made for this."""

MAX_HEADER_PARTS: Final = 64
"""Parts that a dotted header may have; as deep as a record may nest."""


# --- lines to cells


def join_lines(lines: Iterator[NumberedLine]) -> Iterator[tuple[int, bytes | LastRow]]:
    """Join the lines of each record; it has the number of its first line, and is truncated where it is too long.

    Quotes come in pairs, so a record ends on the line on which their number becomes even. A long line may come in
    several parts.
    """
    for number, line in lines:
        if not line.strip():
            continue
        record = bytearray(line)
        is_open = line.count(b'"') % 2
        ends = line.endswith(b"\n")
        while (is_open or not ends) and len(record) <= MAX_RECORD and (more := next(lines, None)) is not None:
            record += more[1]
            is_open ^= more[1].count(b'"') % 2
            ends = more[1].endswith(b"\n")
        yield number, bytes(record)
        if len(record) > MAX_RECORD and (lost := _skip_rest(number, bytes(record), lines)) is not None:
            yield lost.line, lost
            return


def _skip_rest(number: int, line: bytes, lines: Iterator[NumberedLine]) -> LastRow | None:
    """Read to the end of a record that is too long; say where its quotes leave no end that could be trusted."""
    # Its cells are not split, so what its quotes enclose is followed more closely than by their number.
    is_quoted = _follow_quotes(line, is_quoted=False)
    while is_quoted or (is_quoted is not None and not line.endswith(b"\n")):
        following = next(lines, None)
        if following is None:
            break
        number, line = following
        is_quoted = _follow_quotes(line, is_quoted=is_quoted)
    if is_quoted is None:
        return LastRow.because(number, "has a quote that neither begins nor ends a cell")
    return LastRow.because(number, _OPEN) if is_quoted else None


_PLAIN: Final = re.compile(rb'[^"]*+')
_QUOTED: Final = re.compile(rb'(?:[^"]++|"")*+')
_OPEN: Final = "is not CSV: a quoted cell is not closed"


def _follow_quotes(text: bytes, *, is_quoted: bool) -> bool | None:
    """Return whether the end of a text is within quotes, or ``None`` where a quote is out of place."""
    at = 0
    while (found := (_QUOTED if is_quoted else _PLAIN).match(text, at)) is not None and found.end() < len(text):
        at = found.end() + 1
        around = text[at : at + 1] if is_quoted else text[max(0, at - 2) : at - 1]
        if around not in {b"", b",", b"\n", b"\r"}:
            return None
        is_quoted = not is_quoted
    return is_quoted


_CELL: Final = re.compile(r'(?:"((?:[^"]++|"")*+)"|([^",\r\n][^,\r\n]*+)?+)(,|\r\n|\r|\n|\Z)')
_ENCLOSED: Final = re.compile(r'"(?:[^"]++|"")*+"')


def _split(number: int, record: bytes) -> list[str] | LastRow:
    """Split a record, with its line end and not too long; bytes that are no UTF-8 become U+FFFD."""
    text = record.decode(errors="replace")
    if '"' not in text:
        text = text.removesuffix("\n").removesuffix("\r")
        return LastRow.because(number, _SEVERAL) if "\r" in text else text.split(",")
    cells = []
    at = 0
    delimiter = ","
    while delimiter == ",":
        found = _CELL.match(text, at)
        if found is None:
            reason = "is not CSV: text follows a closing quote" if _ENCLOSED.match(text, at) else _OPEN
            return LastRow.because(number, reason)
        quoted, plain, delimiter = found.groups()
        cells.append((plain or "") if quoted is None else quoted.replace('""', '"'))
        at = found.end()
    # The lines belong together by their quotes. Where several records are seen in them, a quote stands inside a cell
    # that is not quoted, or a line ends in a bare carriage return.
    return LastRow.because(number, _SEVERAL) if at < len(text) else cells


_SEVERAL: Final = "has a quote inside a cell that is not quoted, or a bare carriage return"


# --- cells to records


def read_csv(lines: Iterator[NumberedLine], spec: AnySpec) -> Iterator[Row]:
    """Read the records of a resource, a row each below a header row."""
    records = join_lines(lines)
    number, header = next(records, (1, b""))
    names = _cells(number, header)
    if (reason := _delimiter_problem(header, spec)) is not None:
        names = BadRow.of(number, "", reason)
    if isinstance(names, BadRow):
        yield names
        return
    if len(names) > MAX_COLUMNS:
        yield BadRow.of(number, "", f"has {len(names):,} columns, and may have {MAX_COLUMNS:,}")
        return
    columns = [_Column.of(name, spec) for name in names]
    if problems := tuple(_header_problems(columns, spec)):
        yield BadRow(number, problems)
        return
    for number, record in records:
        yield _row(number, record, columns, spec)


def _cells(number: int, record: bytes | LastRow) -> list[str] | BadRow:
    if isinstance(record, LastRow):
        return record
    if len(record) > MAX_RECORD:
        return BadRow.of(number, "", TOO_LONG)
    cells = _split(number, record)
    if isinstance(cells, LastRow):
        return cells
    reason = encoding_problem(record)
    return cells if reason is None else BadRow.of(number, "", reason)


def _row(number: int, record: bytes | LastRow, columns: list[_Column], spec: AnySpec) -> Row:
    cells = _cells(number, record)
    if isinstance(cells, BadRow):
        return cells
    if cells[0].startswith("\ufeff"):
        cells[0] = cells[0].removeprefix("\ufeff")
        if not _is_header(cells, spec):
            return BadRow.of(number, "", "begins with a byte order mark, as a file does that was appended to another")
    if _is_header(cells, spec):
        reason = "is a header again: join files without their headers"
        if cells == [column.header for column in columns]:
            return BadRow.of(number, "", reason)
        return LastRow.because(number, f"{reason}, and only where their columns are the same")
    if len(cells) != len(columns):
        # Too few is how a file that was truncated ends.
        field = columns[len(cells)].header if len(cells) < len(columns) else f"column {len(columns) + 1}"
        return BadRow.of(number, field, f"the row has {len(cells):,} cells, the header {len(columns):,}")
    attributes: dict[str, Any] = {}
    problems: tuple[InputProblem, ...] = ()
    for column, cell in zip(columns, cells, strict=True):
        if not cell:
            continue
        value = from_text(spec.new, column.header, cell)
        if isinstance(value, InputProblem):
            problems += (value,)
            continue
        parent = attributes
        for key in column.path[:-1]:
            parent = parent.setdefault(key, {})
        parent[column.path[-1]] = value
    return make_row(spec, number, attributes, problems)


# --- headers


_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
# Values of the right type: a record made of them is refused for its names alone.
_STAND_INS: Final[Mapping[ValueType, object]] = {
    ValueType.TEXT: "?", ValueType.FLAG: True, ValueType.INTEGER: 0, ValueType.OBJECT: {},
}  # fmt: skip


@attrs.frozen
class _Column:
    """A column and where its cells go."""

    header: str  # as it stands in the file
    path: tuple[str, ...]  # the keys that lead to the value
    is_nested: bool  # its attribute is an object, so each cell is a value within it

    @classmethod
    def of(cls, header: str, spec: AnySpec) -> _Column:
        """Read a header: dots nest, and nothing but an object is nested."""
        parts = tuple(header.split("."))
        attribute = attribute_types(spec.new).get(parts[0])
        is_nested = attribute is not None and attribute.value is ValueType.OBJECT
        return cls(header, parts if is_nested else (header,), is_nested)


def _required(spec: AnySpec) -> list[str]:
    return [name for name, attribute in attribute_types(spec.new).items() if attribute.is_required]


def _is_header(cells: list[str], spec: AnySpec) -> bool:
    """Whether a row names columns: the attributes that every record has stand in it under their own names."""
    return set(_required(spec)).issubset(map(str.casefold, cells))


def _delimiter_problem(header: bytes | LastRow, spec: AnySpec) -> str | None:
    if isinstance(header, LastRow) or len(header) > MAX_RECORD:
        return None
    known = attribute_types(spec.new).keys()
    text = header.decode(errors="replace").casefold()
    if text.startswith(("sep=", '"sep=')):
        return "is a sep= line, which is Excel's own: delete it, and separate the cells by commas"
    if not known.isdisjoint(_names(text, ",")):
        return None
    named = (name for delimiter, name in _DELIMITERS.items() if not known.isdisjoint(_names(text, delimiter)))
    return next((f"has its cells separated by {name}: save it as CSV with commas" for name in named), None)


def _names(header: str, delimiter: str) -> list[str]:
    return [cell.strip('" \r\n') for cell in header.split(delimiter)]


def _header_problems(columns: list[_Column], spec: AnySpec) -> Iterator[InputProblem]:
    types = attribute_types(spec.new)
    attributes = [column.path[0] for column in columns]
    if types.keys().isdisjoint(map(str.casefold, attributes)):
        # Perhaps this is a record, and its values are not to be repeated.
        example = ",".join(_required(spec))
        yield InputProblem("", f"must name the columns, as in {example}: no name in it is known")
        return
    try:
        spec.new.from_mapping({
            name: _STAND_INS[types[name].value] if name in types else "?" for name in attributes if name
        })  # fmt: skip
    except InvalidInputError as error:
        # What is wrong with a stand-in is nothing that is wrong with the header.
        yield from (p for p in error.problems if p.field not in types or p.field not in attributes)
    yield from _path_problems(columns)


def _path_problems(columns: list[_Column]) -> Iterator[InputProblem]:
    positions: dict[tuple[str, ...], int] = {}
    for position, column in enumerate(columns, 1):
        name = column.header or f"column {position}"
        if column.path in positions:
            yield InputProblem(name, f"is there twice: as columns {positions[column.path]} and {position}")
        elif column.is_nested and len(column.path) == 1:
            yield InputProblem(name, f"must go on with a key, as in {name}.api_key")
        elif len(column.path) > MAX_HEADER_PARTS:
            yield InputProblem(name, f"must not have more than {MAX_HEADER_PARTS} parts")
        elif not all(column.path):
            yield InputProblem(name, "must have a name" if column.path == ("",) else "must have a name at each dot")
        positions.setdefault(column.path, position)
    for column in columns:
        for end in range(2, min(len(column.path), MAX_HEADER_PARTS)):
            if column.path[:end] in positions:
                parent = ".".join(column.path[:end])
                yield InputProblem(parent, f"can't hold a value and {column.header} too")
