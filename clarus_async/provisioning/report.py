"""What became of each record, and of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeAlias

import attrs
import orjson

from clarus_async.errors import ApiError, Applied, ClarusError
from clarus_async.pydantic_schema import PydanticRecord
from clarus_async.resources.records import UnsetType
from clarus_async.unset import UNSET
from clarus_async.validation import shown

Shown: TypeAlias = str | int | float | bool | None
"""A value that an outcome may show."""
_SHOWN: Final = (str, int, float)


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
    WOULD_CREATE = "would_create"
    WOULD_UPDATE = "would_update"

    @property
    def ok(self) -> bool:
        """Whether the record is as it should be, or would be."""
        return self in _OK


_OK: Final = frozenset(OutcomeStatus) - {
    OutcomeStatus.FAILED,
    OutcomeStatus.CONFLICT,
    OutcomeStatus.UNRESOLVED,
    OutcomeStatus.DUPLICATED,
}
PLANNED: Final = {
    OutcomeStatus.CREATED: OutcomeStatus.WOULD_CREATE,
    OutcomeStatus.UPDATED: OutcomeStatus.WOULD_UPDATE,
}
"""What a dry run says where a run would say this."""


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
class FieldChange(PydanticRecord):
    """What an attribute is and what it would become, as a dry run says it; in JSON, what is ``UNSET`` is left out.

    Args:
        attribute: its name.
        before: what is there now; ``None`` where no record is there, ``UNSET`` where nobody knows: the list does not
            show it, or it may be a secret.
        after: what is given; ``UNSET`` where it may be a secret, or is no plain value.
    """

    __repr__ = shown

    attribute: str
    before: Shown | UnsetType = UNSET
    after: Shown | UnsetType = UNSET

    @classmethod
    def of(cls, attribute: str, before: object, after: object, *, secret: bool) -> FieldChange:
        """Take what may be shown of a change."""
        if secret:
            return cls(attribute=attribute)
        return cls(attribute=attribute, before=_plain(before), after=_plain(after))


def _plain(value: object) -> Shown | UnsetType:
    return value if value is None or isinstance(value, _SHOWN) else UNSET


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
            tells, where the record was adopted or updated, or would be.
        changes: what a dry run would change, attribute by attribute: all that is given of a record that it would
            create; of one that it would update, what is not known to be so already.
        line: the line of the input where the record came from a file; the command line knows it, and a run does not.
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
    changes: Sequence[FieldChange] = ()
    line: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; of a change, what is ``UNSET`` is left out."""
        return attrs.asdict(self, filter=_is_set if self.changes else None)

    def to_json(self) -> bytes:
        """Write it as one line of JSON."""
        return orjson.dumps(self.to_dict())

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
                "changes": tuple(FieldChange(**change) for change in fields.get("changes", ())),
                "error": error and Problem(**error | {"applied": Applied(error["applied"])}),
            }
        )


def _is_set(_: object, value: object) -> bool:
    return value is not UNSET


@attrs.define(kw_only=True, repr=False)
class Report(PydanticRecord):
    """How many records came to what; ``str`` of it is a table.

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

    def __str__(self) -> str:
        return "\n".join(table({status.value: count for status, count in self.counts.items()}))

    def to_json(self) -> bytes:
        """Write the counts as one line of JSON."""
        return orjson.dumps(self.as_dict())

    def as_dict(self) -> Mapping[str, int]:
        """Return the counts by status name, with ``total`` and ``attempts``."""
        return {status.value: count for status, count in self.counts.items()} | {
            "total": self.total,
            "attempts": self.attempts,
        }


def table(counts: Mapping[str, int]) -> Sequence[str]:
    """Return the lines of a table of the counts that are not zero, with their sum at the end."""
    rows = {name: count for name, count in counts.items() if count} | {"total": sum(counts.values())}
    return [f"{name:<12} {count:>9,}" for name, count in rows.items()]
