"""What became of each record, and of all of them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Self

import attrs
import orjson

from clarus_async.errors import ApiError, Applied, ClarusError
from clarus_async.pydantic_schema import PydanticRecord
from clarus_async.validation import shown


class OutcomeStatus(StrEnum):
    """What became of one input record."""

    CREATED = "created"
    ADOPTED = "adopted"
    UPDATED = "updated"
    DISABLED = "disabled"
    DELETED = "deleted"
    SYNCHRONIZED = "synchronized"
    FAILED = "failed"
    CONFLICT = "conflict"
    UNRESOLVED = "unresolved"
    DUPLICATED = "duplicated"

    @property
    def ok(self) -> bool:
        """Whether the record is as it should be."""
        return self in _OK


_OK: Final = frozenset(
    {
        OutcomeStatus.CREATED,
        OutcomeStatus.ADOPTED,
        OutcomeStatus.UPDATED,
        OutcomeStatus.DISABLED,
        OutcomeStatus.DELETED,
        OutcomeStatus.SYNCHRONIZED,
    }
)


@attrs.frozen(kw_only=True, repr=False)
class Problem(PydanticRecord):
    """An error as plain data.

    Args:
        type: the error's class name.
        message: its one line.
        applied: the most that any attempt may have done.
        retryable: whether the same record may succeed later, unchanged.
        status: the HTTP status, if an answer came.
    """

    __repr__ = shown

    type: str
    message: str
    applied: Applied
    retryable: bool
    status: int | None = None

    @classmethod
    def of(cls, error: ClarusError) -> Problem:
        """Take what can be kept of an error."""
        return cls(
            type=type(error).__name__,
            message=str(error),
            applied=error.applied,
            retryable=error.retryable,
            status=error.status if isinstance(error, ApiError) else None,
        )


@attrs.frozen(kw_only=True, repr=False)
class Outcome(PydanticRecord):
    """What became of one input record; there is exactly one for each.

    Args:
        index: the record's place in the input, from 0.
        key: the surest of its natural keys: an integration's first reference, else its name.
        status: what became of it.
        id: the Clarus id, where it is known.
        resource: the name of its resource, such as ``integrations``.
        matched_by: what a record that was found, and answers for it, was found by, such as ``reference`` or ``name``.
        error: why, where it is not there as it should be.
        attempts: how many requests went out for it.
        others: ids of further records that our sends left, or that stand in the way.
        unpatched: attributes that were given and can't be changed, where the record was updated.
        differs: attributes that were given and that what is there does not have, as far as the list or the journal
            tells, where the record was adopted or updated.
    """

    __repr__ = shown

    index: int
    key: str
    status: OutcomeStatus
    id: int | None = None
    resource: str
    matched_by: str | None = None
    error: Problem | None = None
    attempts: int = 0
    others: Sequence[int] = ()
    unpatched: Sequence[str] = ()
    differs: Sequence[str] = ()

    def to_json(self) -> bytes:
        """Write it as one line of JSON."""
        return orjson.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, line: bytes | str) -> Outcome:
        """Read what ``to_json`` wrote."""
        fields: dict[str, Any] = orjson.loads(line)
        error = fields.pop("error")
        return cls(
            **fields
            | {
                "status": OutcomeStatus(fields["status"]),
                "others": tuple(fields["others"]),
                "unpatched": tuple(fields.get("unpatched", ())),
                "differs": tuple(fields.get("differs", ())),
                "error": error and Problem(**error | {"applied": Applied(error["applied"])}),
            }
        )


@attrs.define(kw_only=True, repr=False)
class Report(PydanticRecord):
    """How many records came to what.

    Args:
        counts: by status; every status is there.
        attempts: requests that went out.
    """

    __repr__ = shown

    counts: dict[OutcomeStatus, int] = attrs.field(factory=lambda: dict.fromkeys(OutcomeStatus, 0))
    attempts: int = 0

    @property
    def total(self) -> int:
        """How many records there were."""
        return sum(self.counts.values())

    @property
    def not_ok(self) -> int:
        """How many records are not there as they should be."""
        return sum(count for status, count in self.counts.items() if not status.ok)

    @property
    def ok(self) -> bool:
        """Whether every record is there as it should be."""
        return not self.not_ok

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.counts[outcome.status] += 1
        self.attempts += outcome.attempts

    @classmethod
    async def collect(cls, run: AsyncIterable[Outcome]) -> Self:
        """Run to the end, keep the counts and let the outcomes go.

        Args:
            run: what ``provision`` returned.

        Raises:
            ClarusError: what would have failed every record.
        """
        report = cls()
        async for outcome in run:
            report.add(outcome)
        return report

    def to_json(self) -> bytes:
        """Write the counts as one line of JSON."""
        return orjson.dumps(self.as_dict())

    def as_dict(self) -> Mapping[str, int]:
        """Return the counts by status name, with ``total`` and ``attempts``."""
        return {status.value: count for status, count in self.counts.items()} | {
            "total": self.total,
            "attempts": self.attempts,
        }
