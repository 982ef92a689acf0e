"""What is done with a record that is there already, or may be: a pure decision."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, Literal, NamedTuple, TypeAlias

import attrs

from clarus_async.errors import Applied
from clarus_async.provisioning.report import OutcomeStatus, Problem
from clarus_async.reconcile.pending import NAME, Lookup, folded, value_of
from clarus_async.resources.integrations import INTEGRATION_TYPES, IntegrationChanges, IntegrationRow, NewIntegration
from clarus_async.validation import UNSET

Existing: TypeAlias = Literal["adopt", "update", "fail", "ignore"]
EXISTING: Final = ("adopt", "update", "fail", "ignore")


class Action(StrEnum):
    """What follows a look before the first send."""

    SEND = "send"
    UPDATE = "update"
    END = "end"


class Before(NamedTuple):
    """What a look before the first send came to.

    Args:
        action: what follows.
        status: how it ends, where it does.
        integration_id: the record that is there.
        others: where there are several, the others' ids.
        why: why it is not as it should be.
    """

    action: Action
    status: OutcomeStatus | None = None
    integration_id: int | None = None
    others: tuple[int, ...] = ()
    why: str | None = None

    @property
    def problem(self) -> Problem | None:
        """The reason as plain data."""
        if self.why is None:
            return None
        return Problem(type="ConflictError", message=self.why, applied=Applied.NO, retryable=False)


def before_sending(
    new: NewIntegration,
    lookup: Lookup,
    rows: Sequence[IntegrationRow],
    existing: Existing,
    *,
    claimed: Collection[int] = (),
    unclear: bool = False,
    own: int | None = None,
) -> Before:
    """Decide about a record that was looked up and never sent.

    Args:
        new: which.
        lookup: what it was looked up by.
        rows: every record that has that.
        existing: what the caller wants done.
        claimed: ids that are other records of the same job.
        unclear: which of them is whose was only told by the name, or can't be told yet.
        own: the id of the one that a send of this job made, whatever its key is now.
    """
    if own is not None and any(row.id == own for row in rows):
        return there(lookup, own, existing)
    found = [row for row in rows if row.id not in claimed]
    if unclear and rows:
        why = (
            "another record of the job has the same name, and which of those that are there is that one is not certain;"
            " this tenant can't be searched by reference, so which is this one can't be told; nothing was sent"
        )
        return Before(Action.END, OutcomeStatus.CONFLICT, others=tuple(row.id for row in rows), why=why)
    if not found:
        return Before(Action.SEND)
    exact = [row for row in found if value_of(row, lookup.field) == lookup.value]
    if not exact and not (lookup.field == NAME and all(folded(row.name or "") == folded(new.name) for row in found)):
        why = f"the server takes the {lookup.matched_by} of another record for equal to its own; nothing was sent"
        return Before(Action.END, OutcomeStatus.CONFLICT, others=tuple(row.id for row in found), why=why)
    found = exact or found
    if len(found) > 1:
        why = f"{len(found)} records have its {lookup.matched_by}; nothing was sent"
        return Before(Action.END, OutcomeStatus.CONFLICT, others=tuple(row.id for row in found), why=why)
    # What does not tell its name has what it was looked up by, and that is enough.
    if lookup.field != NAME and found[0].name not in {new.name, None}:
        why = "its reference stands on a record of another name; nothing was sent"
        return Before(Action.END, OutcomeStatus.CONFLICT, others=(found[0].id,), why=why)
    return there(lookup, found[0].id, existing)


def there(lookup: Lookup, found: int, existing: Existing) -> Before:
    """Decide about a record that is there.

    Args:
        lookup: what it was found by.
        found: its id.
        existing: what the caller wants done.
    """
    if existing == "fail":
        why = f"a record with its {lookup.matched_by} is there already; nothing was sent"
        return Before(Action.END, OutcomeStatus.FAILED, others=(found,), why=why)
    if existing == "update":
        return Before(Action.UPDATE, OutcomeStatus.UPDATED, found)
    return Before(Action.END, OutcomeStatus.ADOPTED, found)


_PATCHABLE: Final = tuple(a.name for a in attrs.fields(IntegrationChanges))
_ALL: Final = tuple(a.name for a in attrs.fields(NewIntegration))


def changes_of(new: NewIntegration) -> IntegrationChanges:
    """Return every attribute that is given and can be patched (CLARUS_API.md §1).

    Args:
        new: what is given.
    """
    given = {name: getattr(new, name) for name in _PATCHABLE}
    return IntegrationChanges(**{name: UNSET if value is None else value for name, value in given.items()})


def unpatchable(new: NewIntegration) -> tuple[str, ...]:
    """Name the attributes that are given and can't be patched (CLARUS_API.md §1).

    Args:
        new: what is given.
    """
    return tuple(name for name in _ALL if name not in _PATCHABLE and getattr(new, name) is not None)


def unchangeable(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of these attributes that can't be patched (CLARUS_API.md §1).

    Args:
        names: of attributes.
    """
    return tuple(name for name in names if name not in _PATCHABLE)


def differences(
    new: NewIntegration,
    row: IntegrationRow | None,
    sent: Mapping[str, str] | None,
    digests: Mapping[str, str],
    *,
    ours: bool,
) -> tuple[str, ...]:
    """Name the attributes that are given and that what is there does not have.

    The list tells how they are now, where it shows them; of the others, the journal tells what was sent.

    Args:
        new: what is given.
        row: what the list says.
        sent: digests of the attributes that the server was given last; ``None`` where nobody knows.
        digests: those of what is given.
        ours: a send of this job made what is there, so that an attribute that was not sent is not there.
    """
    known = sent or {}
    names = []
    for name in _ALL:
        value = getattr(new, name)
        if value is None:
            continue
        differs = None if row is None else _listed_otherwise(name, value, row)
        if differs is None:
            differs = digests.get(name) != known[name] if name in known else ours
        if differs:
            names.append(name)
    return tuple(names)


def _listed_otherwise(name: str, value: object, row: IntegrationRow) -> bool | None:
    """Whether the list shows another value; ``None`` where it does not tell."""
    listed = getattr(row, name, None)
    if name == "integration_type" and not {value, listed} <= set(INTEGRATION_TYPES):
        # The list shows a category, whatever create was given (CLARUS_API.md §1).
        return None
    return None if listed is None else bool(listed != value)
