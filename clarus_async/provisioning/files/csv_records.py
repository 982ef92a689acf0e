"""CSV (RFC 4180) to records, in bounded memory.

The standard csv module has one limit for the length of a cell in the whole process, and whoever embeds this may have
set it; so cells are split here, as its strict reader splits them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from clarus_async.provisioning.files.json_records import encoding_problem
from clarus_async.provisioning.files.numbered import (
    MAX_RECORD,
    TOO_LONG,
    BadRow,
    LastRow,
    NumberedLine,
)


def join_lines(lines: Iterator[NumberedLine], delimiter: str = ",") -> Iterator[tuple[int, bytes | LastRow]]:
    """Join the lines of each record; it has the number of its first line, and is truncated where it is too long.

    Quotes come in pairs, so a record ends on the line on which their number becomes even. A long line may come in
    several parts.
    """
    for number, line in lines:
        record = bytearray(line)
        is_open = line.count(b'"') % 2
        ends = line.endswith(b"\n")
        while (is_open or not ends) and len(record) <= MAX_RECORD and (more := next(lines, None)) is not None:
            record += more[1]
            is_open ^= more[1].count(b'"') % 2
            ends = more[1].endswith(b"\n")
        yield number, bytes(record)
        if len(record) > MAX_RECORD and (lost := _skip_rest(number, bytes(record), lines, delimiter)) is not None:
            yield lost.line, lost
            return


def _skip_rest(number: int, line: bytes, lines: Iterator[NumberedLine], delimiter: str) -> LastRow | None:
    """Read to the end of a record that is too long; say where its quotes leave no end that could be trusted."""
    # Its cells are not split, so what its quotes enclose is followed more closely than by their number.
    is_quoted = _follow_quotes(line, delimiter, is_quoted=False)
    while is_quoted or (is_quoted is not None and not line.endswith(b"\n")):
        following = next(lines, None)
        if following is None:
            break
        number, line = following
        is_quoted = _follow_quotes(line, delimiter, is_quoted=is_quoted)
    if is_quoted is None:
        return LastRow.because(number, "has a quote that neither begins nor ends a cell")
    return LastRow.because(number, _OPEN) if is_quoted else None


_PLAIN: Final = re.compile(rb'[^"]*+')
_QUOTED: Final = re.compile(rb'(?:[^"]++|"")*+')
_OPEN: Final = "is not CSV: a quoted cell is not closed"


def _follow_quotes(text: bytes, delimiter: str, *, is_quoted: bool) -> bool | None:
    """Return whether the end of a text is within quotes, or ``None`` where a quote is out of place."""
    at = 0
    while (found := (_QUOTED if is_quoted else _PLAIN).match(text, at)) is not None and found.end() < len(text):
        at = found.end() + 1
        around = text[at : at + 1] if is_quoted else text[max(0, at - 2) : at - 1]
        if around not in {b"", delimiter.encode(), b"\n", b"\r"}:
            return None
        is_quoted = not is_quoted
    return is_quoted


@cache
def _cell(delimiter: str) -> re.Pattern[str]:
    mark = re.escape(delimiter)
    return re.compile(rf'(?:"((?:[^"]++|"")*+)"|([^"{mark}\r\n][^{mark}\r\n]*+)?+)({mark}|\r\n|\r|\n|\Z)')


_ENCLOSED: Final = re.compile(r'"(?:[^"]++|"")*+"')


def _split(number: int, record: bytes, delimiter: str) -> list[str] | LastRow:
    """Split a record, with its line end and not too long; bytes that are no UTF-8 become U+FFFD."""
    text = record.decode(errors="replace")
    if '"' not in text:
        text = text.removesuffix("\n").removesuffix("\r")
        return LastRow.because(number, _SEVERAL) if "\r" in text else text.split(delimiter)
    cells = []
    at = 0
    end = delimiter
    while end == delimiter:
        found = _cell(delimiter).match(text, at)
        if found is None:
            reason = "is not CSV: text follows a closing quote" if _ENCLOSED.match(text, at) else _OPEN
            return LastRow.because(number, reason)
        quoted, plain, end = found.groups()
        cells.append((plain or "") if quoted is None else quoted.replace('""', '"'))
        at = found.end()
    # The lines belong together by their quotes. Where several records are seen in them, a quote stands inside a cell
    # that is not quoted, or a line ends in a bare carriage return.
    return LastRow.because(number, _SEVERAL) if at < len(text) else cells


_SEVERAL: Final = "has a quote inside a cell that is not quoted, or a bare carriage return"


def after_first_cell(record: str, delimiter: str) -> str:
    """Return a record without its first cell."""
    found = _cell(delimiter).match(record)
    return record if found is None else record[found.end() :]


def split_records(lines: Iterator[NumberedLine], delimiter: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    """Split each record into its cells; an empty line is a record with one empty cell."""
    for number, record in join_lines(lines, delimiter):
        yield number, _cells(number, record, delimiter)


def _cells(number: int, record: bytes | LastRow, delimiter: str) -> list[str] | BadRow:
    if isinstance(record, LastRow):
        return record
    if len(record) > MAX_RECORD:
        return BadRow.of(number, "", TOO_LONG)
    cells = _split(number, record, delimiter)
    if isinstance(cells, LastRow):
        return cells
    reason = encoding_problem(record)
    return cells if reason is None else BadRow.of(number, "", reason)
