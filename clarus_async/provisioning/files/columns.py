"""Rows of cells, of CSV or a sheet, to records: which attribute a header means, and how its cells are read."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import attrs

from clarus_async.errors import InputProblem
from clarus_async.provisioning.files.attribute_types import SHORTENED, Unfit, ValueType, is_shortened, read_text
from clarus_async.provisioning.files.json_records import REASON, parse_value
from clarus_async.provisioning.files.numbered import BadRow, Found, LastRow, Row, make_row
from clarus_async.provisioning.files.options import DELIMITERS, ReadOptions
from clarus_async.provisioning.files.target import NULL, UNCHANGEABLE, Target

MAX_COLUMNS: Final = 1000
"""Columns that a file may have: more than any spreadsheet that a person made for this."""

MAX_HEADER_PARTS: Final = 64
"""Parts that a dotted header may have; as deep as a record may nest."""

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, which may call programs.

As OWASP advises, an apostrophe before it makes it text; in a cell that is read, that is no part of the text. Japanese
versions of Excel take the wide forms as well.
"""

UNREADABLE: Final = "#N/A"
"""What stands in a file of rejects for a cell of a workbook that can't be read: it can't be read again."""
_ERRORS: Final = frozenset(
    {UNREADABLE, "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!"}
)  # as Excel saves them

Cell: TypeAlias = str | Unfit

# What is nested has no declaration: a suffix of its header says what it is.
_KINDS: Final = {
    "text": ValueType.TEXT, "bool": ValueType.FLAG, "int": ValueType.INTEGER, "json": ValueType.OBJECT,
    "number": ValueType.OBJECT,
}  # fmt: skip


def folded(header: str) -> str:
    """Return what the spellings of a header have in common: all but case, blanks, hyphens and the like."""
    return _SPELLING.sub("", unicodedata.normalize("NFKC", header).casefold())


_SPELLING: Final = re.compile(r"[\s_*-]+")


def find_delimiter(header: str, target: Target, options: ReadOptions) -> str:
    """Return the character that parts most of the names in a header that are known; a comma, if there are none."""
    known = {*map(folded, target.types), *map(folded, options.map)}

    def names(delimiter: str) -> int:
        cells = (cell.strip('" \r\n').partition(".")[0].partition(":")[0] for cell in header.split(delimiter))
        return len({folded(cell) for cell in cells} & known)

    return max(DELIMITERS, key=names)


@attrs.frozen
class _Column:
    """A column and where its cells go."""

    label: str
    """What problems call it."""
    path: tuple[str, ...] = ()
    """The keys that lead to the value; none where it is left out."""
    read: Callable[[str], object] | None = None
    """What reads its cells, if they are no plain text."""
    problem: str | None = None
    is_known: bool = True
    """Whether its header says what it is; else its cells must be empty."""


def read_table(
    rows: Iterator[tuple[int, Sequence[Cell] | BadRow]],
    target: Target,
    options: ReadOptions,
    found: Found,
    letters: Callable[[int], str] | None = None,
) -> Iterator[Row]:
    """Read what the rows below a header become; problems name the letters of columns, where they have any."""
    number, header = next(((number, cells) for number, cells in rows if not _is_empty(cells)), (1, ()))
    if isinstance(header, BadRow):
        yield LastRow(number, header.problems)
        return
    names = [cell if isinstance(cell, str) else "" for cell in header]
    while names and not names[-1].strip():
        names.pop()
    if len(names) > MAX_COLUMNS:
        yield LastRow.of(number, "", f"has {len(names):,} columns, and may have {MAX_COLUMNS:,}")
        return
    columns = [_column(name, n, target, options, letters) for n, name in enumerate(names, 1)]
    if problems := tuple(_header_problems(names, columns, target, options)):
        yield LastRow(number, problems)
        return
    required = [column.label for column in columns if column.path and column.path[0] in target.required]
    again = [{name.casefold() for name in of} for of in (target.required, required) if len(of) > 1]
    labels = {".".join(column.path): column.label for column in columns if column.path}
    for number, cells in rows:
        if isinstance(cells, BadRow):
            yield cells
        elif _is_empty(cells):
            found.empty += 1
        elif (problem := _row_problem(number, cells, names, columns, again)) is not None:
            yield problem
        else:
            yield _row(number, cells, columns, target, labels)


def _is_empty(cells: Sequence[Cell] | BadRow) -> bool:
    return not isinstance(cells, BadRow) and all(isinstance(cell, str) and not cell.strip() for cell in cells)


def _row_problem(
    number: int, cells: Sequence[Cell], names: list[str], columns: list[_Column], again: list[set[str]]
) -> BadRow | None:
    texts = [cell if isinstance(cell, str) else "" for cell in cells]
    is_marked = texts[0].startswith("\ufeff")
    if is_marked:
        texts[0] = texts[0].removeprefix("\ufeff")
    for header in again:
        # Few rows have even one of the names, and a set of each row's cells takes its time.
        if header.isdisjoint(map(str.casefold, texts)) or not header.issubset(map(str.casefold, texts)):
            continue
        reason = "is a header again: join files without their headers"
        if texts == names:
            return BadRow.of(number, "", reason)
        return LastRow.because(number, f"{reason}, and only where their columns are the same")
    if is_marked:
        return BadRow.of(number, "", "begins with a byte order mark, as a file does that was appended to another")
    count = len(cells)
    while count > len(columns) and not cells[count - 1]:
        count -= 1
    if count != len(columns):
        # Too few is how a file that was truncated ends.
        field = columns[count].label if count < len(columns) else f"column {len(columns) + 1}"
        return BadRow.of(number, field, f"the row has {count:,} cells, the header {len(columns):,}")
    return None


def _row(number: int, cells: Sequence[Cell], columns: list[_Column], target: Target, labels: Mapping[str, str]) -> Row:
    attributes: dict[str, Any] = {}
    problems: tuple[InputProblem, ...] = ()
    for column, cell in zip(columns, cells, strict=False):  # further cells are empty
        if not cell:
            continue
        if isinstance(cell, str) and cell[0] == "'" and cell[1:].startswith(FORMULA):
            cell = cell[1:]  # noqa: PLW2901
        value: object = cell
        if not column.path:
            if not column.is_known:
                value = Unfit("has no header: name the column, or empty it")
            else:
                continue
        elif cell == NULL and not target.is_new:
            value = None
        elif cell in _ERRORS:
            value = Unfit("holds an error of the spreadsheet: correct its formula, or write the value")
        elif column.read is not None and isinstance(cell, str):
            value = column.read(cell)
        if isinstance(value, Unfit):
            problems += (InputProblem(".".join(column.path) or column.label, value.reason),)
            continue
        parent = attributes
        for key in column.path[:-1]:
            parent = parent.setdefault(key, {})
        parent[column.path[-1]] = value
    row = make_row(target, number, attributes, problems)
    if isinstance(row, BadRow):
        return BadRow(number, tuple(InputProblem(labels.get(p.field, p.field), p.reason) for p in row.problems))
    return row


# --- headers


def _column(
    header: str, position: int, target: Target, options: ReadOptions, letters: Callable[[int], str] | None
) -> _Column:
    """Read a header: dots nest, and nothing but an object is nested."""
    place = str(position) if letters is None else letters(position)
    name = header.strip()
    if not name:
        return _Column(f"column {place}", is_known=False)
    label = header if letters is None else f"{name} ({place})"
    meant = {folded(given): of for given, of in options.map.items()}.get(folded(name), name)
    if meant == name and folded(name) in {*map(folded, options.ignore), folded(REASON)}:
        return _Column(label)
    text, _, kind = meant.rpartition(":")
    if (kind := kind.strip().casefold()) not in _KINDS:
        text, kind = meant, ""
    first, *keys = text.strip().split(".")
    attribute = {folded(name): name for name in target.types}.get(folded(first))
    if attribute is None or (keys and target.types[attribute].value is not ValueType.OBJECT):
        return _Column(label) if target.takes_all else _Column(label, problem=_unknown(meant, target))
    value = target.types[attribute].value
    if keys or value is ValueType.OBJECT:
        value = _KINDS[kind] if kind else ValueType.TEXT if keys else ValueType.OBJECT
    elif kind and value is not _KINDS[kind]:
        return _Column(label, problem=f"is {_CALLED[value]}, and not {kind}")
    is_secret = bool(keys) or attribute in target.spec.secret
    if value is ValueType.OBJECT:
        read: Callable[[str], object] | None = partial(_json, is_number=kind == "number")
    elif value is not ValueType.TEXT:
        read = partial(read_text, value, is_secret=is_secret)
    else:
        read = _key if attribute in {key.field for key in target.spec.keys} else None
    return _Column(label, (attribute, *keys), read)


_CALLED: Final = {ValueType.TEXT: "text", ValueType.FLAG: "true or false", ValueType.INTEGER: "an integer"}


def _json(text: str, *, is_number: bool) -> object:
    value = parse_value(text)
    if is_number and not isinstance(value, Unfit) and (isinstance(value, bool) or not isinstance(value, int | float)):
        return Unfit("must be a number, with a decimal point and nothing between its thousands")
    return value


def _key(text: str) -> object:
    return Unfit(SHORTENED) if is_shortened(text) else text


def _unknown(name: str, target: Target) -> str:
    near = difflib.get_close_matches(name.casefold(), target.types, n=1)
    what = "no attribute of" if target.is_new else UNCHANGEABLE
    return f"is {what} {target.spec.noun}" + (f"; did you mean {near[0]}?" if near else "") + _NEXT


_NEXT: Final = " (--map says what a column is, --ignore-columns leaves it out)"


def _header_problems(
    names: list[str], columns: list[_Column], target: Target, options: ReadOptions
) -> Iterator[InputProblem]:
    if not any(column.path for column in columns):
        # Perhaps this is a record, and its values are not to be repeated.
        yield InputProblem("", f"must name the columns, as in {','.join(target.required)}: no name in it is known")
        return
    yield from (InputProblem(column.label, column.problem) for column in columns if column.problem is not None)
    headers = {*map(folded, names)}
    for given in options.map:
        if folded(given) not in headers:
            near = difflib.get_close_matches(given, names, n=1)
            yield InputProblem("", f"has no column {given} to map" + (f"; did you mean {near[0]}?" if near else ""))
    present = {column.path[0] for column in columns if column.path}
    yield from (InputProblem(name, "is required") for name in target.required if name not in present)
    yield from _path_problems(columns)


def _path_problems(columns: list[_Column]) -> Iterator[InputProblem]:
    positions: dict[tuple[str, ...], tuple[int, str]] = {}
    for position, column in enumerate(columns, 1):
        if column.path in positions:
            at, label = positions[column.path]
            twice = f"is there twice: as columns {at} and {position}"
            yield InputProblem(column.label, twice if label == column.label else f"{twice} ({label}, {column.label})")
        elif len(column.path) > MAX_HEADER_PARTS:
            yield InputProblem(column.label, f"must not have more than {MAX_HEADER_PARTS} parts")
        elif not all(column.path):
            yield InputProblem(column.label, "must have a name at each dot")
        if column.path:
            positions.setdefault(column.path, (position, column.label))
    for column in columns:
        for end in range(1, min(len(column.path), MAX_HEADER_PARTS)):
            if column.path[:end] in positions:
                parent = ".".join(column.path[:end])
                yield InputProblem(parent, f"can't hold a value and {column.label} too")
