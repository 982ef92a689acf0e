"""What a file's reader yields: a record with the place where it starts, or what is wrong there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import attrs

from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.resources.spec import AnySpec

MAX_RECORD: Final = 2**20
"""Bytes that a line, or a record over several lines, may have, its line end included: far more than any record has,
and little enough to hold in memory."""

TOO_LONG: Final = f"is longer than {MAX_RECORD:,} bytes"

NumberedLine: TypeAlias = tuple[int, bytes]


class Malformed(NamedTuple):
    """Why a record can't be read. Where the next one starts can then only be guessed."""

    reason: str


@attrs.frozen
class NumberedRecord:
    """A record and where it stands.

    Args:
        line: the line on which it starts, from 1.
        new: the record, of the class that the resource creates.
        place: its place in a JSON array, from 1; ``None`` outside of one.
    """

    line: int
    new: Any
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
class LastRow(BadRow):
    """A bad row after which nothing is read: where the next one starts could only be guessed, and then be sent."""

    @classmethod
    def because(cls, line: int, reason: str, place: int | None = None) -> LastRow:
        """Build one with a single problem."""
        return cls(line, (InputProblem("", f"{reason}; nothing after it was read"),), place)


Row: TypeAlias = NumberedRecord | BadRow


def make_row(spec: AnySpec, line: int, attributes: Mapping[str, Any], problems: tuple[InputProblem, ...] = ()) -> Row:
    """Make a record of what was read, or name everything that is wrong with it, ``problems`` included."""
    named = {problem.field for problem in problems}
    try:
        new = spec.new.from_mapping(attributes)
    except InvalidInputError as error:
        return BadRow(line, problems + tuple(problem for problem in error.problems if problem.field not in named))
    return BadRow(line, problems) if problems else NumberedRecord(line, new)
