"""What is done with a record that is there already, or may be: a pure decision."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import attrs

from clarus_async.errors import Applied
from clarus_async.provisioning.options import Existing
from clarus_async.provisioning.report import FieldChange, OutcomeStatus, Problem
from clarus_async.reconcile.pending import LookupKey, folded
from clarus_async.resources.spec import AnySpec
from clarus_async.unset import UNSET


class Plan(NamedTuple):
    """What a lookup before the first send came to.

    The record is sent where there is no status, and what is there is changed where the status is ``UPDATED``. With any
    other status, it is at its end.
    """

    status: OutcomeStatus | None = None
    id: int | None = None
    others: tuple[int, ...] = ()
    reason: str | None = None

    @property
    def problem(self) -> Problem | None:
        """The reason as plain data."""
        if self.reason is None:
            return None
        return Problem(type="ConflictError", message=self.reason, applied=Applied.NO, retryable=False)


def plan_create(
    spec: AnySpec,
    keys: Sequence[LookupKey],
    key: LookupKey,
    rows: Sequence[Any],
    existing: Existing,
    *,
    claimed: Collection[int] = (),
    unclear: bool = False,
    own_id: int | None = None,
) -> Plan:
    """Decide about a record that was looked up and never sent.

    Args:
        spec: of what.
        keys: the natural keys that it has, the surest first.
        key: the one that it was looked up by.
        rows: every record that has that.
        existing: what to do with what is there.
        claimed: ids that are other records of the same job.
        unclear: which of them is whose was only told by that key, or can't be told yet.
        own_id: the id of the one that a send of this job made, whatever its key is now.
    """
    if own_id is not None and any(row.id == own_id for row in rows):
        return plan_existing(key, own_id, existing)
    found = [row for row in rows if row.id not in claimed]
    if unclear and rows:
        reason = (
            f"another record of the job has the same {key.called}, and which of those that are there is that one is not"
            f" certain; {untold(spec, key)}, so which is this one can't be told; nothing was sent"
        )
        return _conflict(reason, rows)
    if not found:
        return Plan()
    exact = [row for row in found if getattr(row, key.field, None) == key.value]
    if not exact and not (is_weak(spec, key) and all(_folds_alike(row, key) for row in found)):
        reason = f"the server takes the {key.called} of another record for equal to its own; nothing was sent"
        return _conflict(reason, found)
    found = exact or found
    if len(found) > 1:
        return _conflict(f"{len(found)} records have its {key.called}; nothing was sent", found)
    # What does not tell another key of its own has the one that it was looked up by, and that is enough.
    for other in keys[keys.index(key) + 1 :] if key in keys else ():
        if getattr(found[0], other.field, None) not in {other.value, None}:
            reason = f"its {key.called} stands on a record of another {other.called}; nothing was sent"
            return _conflict(reason, found)
    return plan_existing(key, found[0].id, existing)


def _conflict(reason: str, rows: Iterable[Any]) -> Plan:
    return Plan(OutcomeStatus.CONFLICT, others=tuple(row.id for row in rows), reason=reason)


def _folds_alike(row: object, key: LookupKey) -> bool:
    return folded(getattr(row, key.field, None) or "") == folded(key.value)


def is_weak(spec: AnySpec, key: LookupKey) -> bool:
    """Whether several records of a job may have a key: it is not the surest of their resource."""
    return key.field != spec.keys[0].field


def untold(spec: AnySpec, key: LookupKey) -> str:
    """Say why a record is looked up by a key that is not the surest."""
    surer = " or ".join(natural.called for natural in spec.keys if natural.called != key.called)
    return f"this tenant can't be searched by {surer}"


def plan_existing(key: LookupKey, found: int, existing: Existing) -> Plan:
    """Decide about the record with the id ``found``, which is there."""
    if existing == "fail":
        reason = f"a record with its {key.called} is there already; nothing was sent"
        return Plan(OutcomeStatus.FAILED, others=(found,), reason=reason)
    if existing == "update":
        return Plan(OutcomeStatus.UPDATED, found)
    return Plan(OutcomeStatus.ADOPTED, found)


def _fields(kind: type[Any]) -> list[str]:
    return [a.name for a in attrs.fields(kind)]


def _changeable(spec: AnySpec) -> list[str]:
    """The attributes that create takes and that can be changed later."""
    taken = _fields(spec.new)
    return [name for name in _fields(spec.changes) if name in taken]


def changes_of(spec: AnySpec, new: object) -> Any:  # noqa: ANN401
    """Return every attribute that is given and can be changed."""
    given = {name: getattr(new, name) for name in _changeable(spec)}
    return spec.changes(**{name: UNSET if value is None else value for name, value in given.items()})


def unpatchable(spec: AnySpec, new: object) -> tuple[str, ...]:
    """Name the attributes that are given and can't be changed."""
    return tuple(name for name in unchangeable(spec, _fields(spec.new)) if getattr(new, name) is not None)


def unchangeable(spec: AnySpec, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of these attributes that can't be changed."""
    changeable = _changeable(spec)
    return tuple(name for name in names if name not in changeable)


class Comparison(NamedTuple):
    """What is given of a record, next to what is there."""

    differs: tuple[str, ...] = ()
    """Attributes that what is there does not have as they are given, as far as anybody knows."""
    unknown: tuple[str, ...] = ()
    """Attributes of which nobody knows."""
    listed: Mapping[str, Any] = MappingProxyType({})
    """What the list shows of those that differ."""


def compare(
    spec: AnySpec,
    new: object,
    row: object | None,
    sent: Mapping[str, str] | None,
    digests: Mapping[str, str],
    *,
    ours: bool,
) -> Comparison:
    """Compare the attributes that are given with what is there.

    The list tells how they are now, where it shows them; of the others, the journal tells what was sent.

    Args:
        spec: of what.
        new: what is given.
        row: what the list says.
        sent: digests of the attributes that the server was given last; ``None`` where nobody knows.
        digests: those of what is given.
        ours: a send of this job made what is there, so that an attribute that was not sent is not there.
    """
    known = sent or {}
    differing, unknown, listed = [], [], {}
    for name in _fields(spec.new):
        value = getattr(new, name)
        if value is None:
            continue
        differs = None if row is None else _listed_otherwise(spec, name, value, row)
        if differs:
            listed[name] = getattr(row, name)
        if differs is None:
            differs = digests.get(name) != known[name] if name in known else ours or None
        if differs:
            differing.append(name)
        elif differs is None:
            unknown.append(name)
    return Comparison(tuple(differing), tuple(unknown), listed)


def creation_of(spec: AnySpec, new: object) -> tuple[FieldChange, ...]:
    """Say what creating a record would make: every attribute that is given."""
    given = [(name, getattr(new, name)) for name in _fields(spec.new)]
    return tuple(
        FieldChange.of(name, None, value, secret=name in spec.secret) for name, value in given if value is not None
    )


def update_of(spec: AnySpec, new: object, there: Comparison) -> tuple[FieldChange, ...]:
    """Say what updating a record would change: every attribute that can be, unless it is known to be so already."""
    return tuple(
        FieldChange.of(name, there.listed.get(name, UNSET), getattr(new, name), secret=name in spec.secret)
        for name in _changeable(spec)
        if name in there.differs or name in there.unknown
    )


def _listed_otherwise(spec: AnySpec, name: str, value: object, row: object) -> bool | None:
    """Whether the list shows another value; ``None`` where it does not tell."""
    listed = getattr(row, name, None)
    categories = spec.listing.categories.get(name)
    if categories is not None and not {value, listed} <= {*categories}:
        return None
    return None if listed is None else bool(listed != value)
