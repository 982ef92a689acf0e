"""CSV (RFC 4180) to cells, by the standard csv module, in bounded memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

MAX_RECORD: Final = 2**20
"""Bytes that a line, or a record over several lines, may have, its line end included."""

TOO_LONG: Final = f"is longer than {MAX_RECORD:,} bytes"

NumberedLine: TypeAlias = tuple[int, bytes]


class Malformed(NamedTuple):
    """Why a record can't be split into cells. Where the next one starts can then only be guessed."""

    reason: str


def join_lines(lines: Iterator[NumberedLine]) -> Iterator[NumberedLine]:
    """Join the lines of each record; it has the number of its first line.

    Quotes come in pairs, so a record ends on the line on which their number becomes even.

    Args:
        lines: numbered, with their line ends.
    """
    for number, line in lines:
        if not line.strip():
            continue
        record = bytearray(line)
        is_open = line.count(b'"') % 2
        while is_open and len(record) <= MAX_RECORD and (more := next(lines, None)) is not None:
            record += more[1]
            is_open ^= more[1].count(b'"') % 2
        yield number, bytes(record)


def split(record: bytes) -> list[str] | Malformed:
    """Split a record into its cells; bytes that are no UTF-8 become U+FFFD.

    Args:
        record: with its line end.
    """
    if len(record) > MAX_RECORD:
        return Malformed(TOO_LONG)
    reader = csv.reader(io.StringIO(record.decode(errors="replace"), newline=""), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        return Malformed(f"is not CSV: {error}")
    # The lines belong together by their quotes. Where the csv module sees several records, a quote stands inside a
    # cell that is not quoted, or a line ends in a bare carriage return.
    if len(rows) > 1:
        return Malformed("has a quote inside a cell that is not quoted, or a bare carriage return")
    return rows[0] if rows else [""]
