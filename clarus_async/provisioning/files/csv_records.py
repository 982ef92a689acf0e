"""CSV (RFC 4180) to cells, in bounded memory.

The standard csv module has one limit for the length of a cell in the whole process, and whoever embeds this may have
set it; so cells are split here, as its strict reader splits them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

MAX_RECORD: Final = 2**20
"""Bytes that a line, or a record over several lines, may have, its line end included."""

TOO_LONG: Final = f"is longer than {MAX_RECORD:,} bytes"

NumberedLine: TypeAlias = tuple[int, bytes]


class Malformed(NamedTuple):
    """Why a record can't be read. Where the next one starts can then only be guessed."""

    reason: str


def join_lines(lines: Iterator[NumberedLine]) -> Iterator[tuple[int, bytes | Malformed]]:
    """Join the lines of each record; it has the number of its first line, and is cut where it is too long.

    Quotes come in pairs, so a record ends on the line on which their number becomes even.

    Args:
        lines: numbered, with their line ends; a long line may come in several parts.
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
            yield lost
            return


def _skip_rest(number: int, line: bytes, lines: Iterator[NumberedLine]) -> tuple[int, Malformed] | None:
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
        return number, Malformed("has a quote that neither begins nor ends a cell")
    return (number, Malformed(_OPEN)) if is_quoted else None


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


def split(record: bytes) -> list[str] | Malformed:
    """Split a record into its cells; bytes that are no UTF-8 become U+FFFD.

    Args:
        record: with its line end, and not too long.
    """
    text = record.decode(errors="replace")
    if '"' not in text:
        text = text.removesuffix("\n").removesuffix("\r")
        return Malformed(_SEVERAL) if "\r" in text else text.split(",")
    cells = []
    at = 0
    delimiter = ","
    while delimiter == ",":
        found = _CELL.match(text, at)
        if found is None:
            return Malformed("is not CSV: text follows a closing quote" if _ENCLOSED.match(text, at) else _OPEN)
        quoted, plain, delimiter = found.groups()
        cells.append((plain or "") if quoted is None else quoted.replace('""', '"'))
        at = found.end()
    # The lines belong together by their quotes. Where several records are seen in them, a quote stands inside a cell
    # that is not quoted, or a line ends in a bare carriage return.
    return Malformed(_SEVERAL) if at < len(text) else cells


_SEVERAL: Final = "has a quote inside a cell that is not quoted, or a bare carriage return"
