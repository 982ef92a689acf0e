"""What a file's reader yields: a record with the place where it starts, or what is wrong there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs

from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.provisioning.files.target import Target

MAX_RECORD: Final = 2**20
"""Bytes that a line, or a record over several lines, may have, its line end included: far more than any record has,
and little enough to hold in memory."""

TOO_LONG: Final = f"is longer than {MAX_RECORD:,} bytes"

NumberedLine: TypeAlias = tuple[int, bytes]


@attrs.frozen
class NumberedRecord:
    """A record, the line on which it starts, and its place in a JSON array; both count from 1."""

    line: int
    new: Any
    place: int | None = None


@attrs.frozen
class BadRow:
    """What can't be read as a record, and every field that is wrong; one without a name is the line as a whole."""

    line: int
    problems: tuple[InputProblem, ...]
    place: int | None = None

    @classmethod
    def of(cls, line: int, field: str, reason: str) -> BadRow:
        """Build one with a single problem."""
        return cls(line, (InputProblem(field, reason),))


@attrs.frozen
class LastRow(BadRow):
    """A bad row after which nothing is read: where the next one starts could only be guessed, and then be sent."""

    @classmethod
    def because(cls, line: int, reason: str, place: int | None = None) -> LastRow:
        """Build one with a single problem."""
        return cls(line, (InputProblem("", f"{reason}; nothing after it was read"),), place)


@attrs.frozen
class Duplicate(BadRow):
    """A row with the key of an earlier one."""


Row: TypeAlias = NumberedRecord | BadRow


def make_row(target: Target, line: int, attributes: Mapping[str, Any], problems: tuple[InputProblem, ...] = ()) -> Row:
    """Make of what was read what a row becomes, or name everything that is wrong with it, ``problems`` included."""
    named = {problem.field for problem in problems}
    try:
        new = target.build(attributes)
    except InvalidInputError as error:
        return BadRow(line, problems + tuple(problem for problem in error.problems if problem.field not in named))
    return BadRow(line, problems) if problems else NumberedRecord(line, new)


class UnreadableError(Exception):
    """What comes next in a file can't be read; its text is the reason."""


@attrs.define
class Found:
    """What a file turned out to be, as far as it was read."""

    kind: str = ""
    """How its records are written."""
    encoding: str | None = None
    """Of its text."""
    is_gzip: bool = False
    empty: int = 0
    """Rows without a value, which were skipped."""

    @property
    def what(self) -> str:
        """Say what it is; nothing, where it is plain."""
        parts = [self.kind]
        if self.encoding not in {None, "utf-8"}:
            parts.append(f"in {self.encoding}")
        if self.is_gzip:
            parts.append("compressed by gzip")
        return "" if not self.kind or parts in (["CSV"], ["JSON"]) else ", ".join(parts)
