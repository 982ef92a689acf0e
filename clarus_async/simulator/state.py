"""What is stored, and a ledger of everything that ever was. Pure: times are arguments."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

INDEXED: Final = ("name", "external_system_reference1")
"""Attributes that a list finds by equality without a scan."""


def _without_secrets(attributes: Mapping[str, Any]) -> str:
    configuration = attributes.get("configuration")
    if not configuration:
        return repr(dict(attributes))
    return repr({**attributes, "configuration": dict.fromkeys(configuration, "…")})


@attrs.frozen(kw_only=True)
class StoredRecord:
    """One record as it stands in a ledger.

    Attributes:
        id: As REST gives it; unique over all tenants.
        resource: What it is: the name of the resource.
        tenant: Whose it is.
        sequence: Its place in the ledger, from 0.
        attributes: What create and PATCH gave, nothing else. ``repr`` hides the configuration's values.
        created_at: When it was stored, on the simulator's wall clock.
        updated_at: When it was last patched.
        deleted_at: When it was deleted; ``None``: it is there.
        idempotency_key: The ``Idempotency-Key`` it came with; the server ignores it.
        send: Which create request with that key stored it: 1 is the first, 0 means that no request did.
        request_id: The ``X-Request-Id`` of the answer to that request.
    """

    id: int
    resource: str
    tenant: str
    sequence: int
    attributes: dict[str, Any] = attrs.field(repr=_without_secrets)
    created_at: datetime
    updated_at: datetime | None = None
    deleted_at: datetime | None = None
    idempotency_key: str | None = None
    send: int = 0
    request_id: str | None = None

    @property
    def name(self) -> str | None:
        """The record's name, if it has one."""
        return self.attributes.get("name")

    @property
    def external_system_reference1(self) -> str | None:
        """The caller's own id (CLARUS_API.md §4)."""
        return self.attributes.get("external_system_reference1")


class Tenant:
    """What one tenant has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.syncs: list[tuple[int, float]] = []
        self._ledgers: dict[str, Ledger] = {}

    def ledger(self, resource: str) -> Ledger:
        """Return its records of a resource."""
        if resource not in self._ledgers:
            self._ledgers[resource] = Ledger(self.name, resource)
        return self._ledgers[resource]


class Ledger:
    """One tenant's records of one resource. Ids must be given in ascending order."""

    def __init__(self, tenant: str, resource: str) -> None:
        self._tenant = tenant
        self._resource = resource
        self._records: list[StoredRecord] = []
        self._ids = array("q")
        self._places: dict[str, dict[str, list[int]]] = {attribute: {} for attribute in INDEXED}
        # What records were before each patch; few are patched.
        self._earlier: dict[int, list[StoredRecord]] = {}

    def add(self, record_id: int, attributes: dict[str, Any], created_at: datetime, **origin: Any) -> StoredRecord:  # noqa: ANN401
        """Store a record; ``origin`` are the attributes of a ``StoredRecord`` that say which request it was."""
        record = StoredRecord(
            id=record_id,
            resource=self._resource,
            tenant=self._tenant,
            sequence=len(self._records),
            attributes=attributes,
            created_at=created_at,
            **origin,
        )
        self._records.append(record)
        self._ids.append(record_id)
        self._index(record)
        return record

    def get(self, record_id: int) -> StoredRecord | None:
        """Return the record if it is there now."""
        place = bisect_left(self._ids, record_id)
        if place == len(self._ids) or self._ids[place] != record_id:
            return None
        return self._at(place, None)

    def update(self, record: StoredRecord, changes: Mapping[str, Any], at: datetime) -> StoredRecord:
        """Patch a record that is there."""
        # Whether a patched configuration merges or replaces is not documented (CLARUS_API.md §1): it replaces.
        patched = attrs.evolve(record, attributes={**record.attributes, **changes}, updated_at=at)
        self._earlier.setdefault(record.sequence, []).append(record)
        self._records[record.sequence] = patched
        self._unindex(record)
        self._index(patched)
        return patched

    def delete(self, record: StoredRecord, at: datetime) -> None:
        """Delete a record that is there; the ledger keeps it."""
        self._records[record.sequence] = attrs.evolve(record, deleted_at=at)
        self._unindex(record)

    def ever(self) -> list[StoredRecord]:
        """Everything that was ever stored, in order, as it stands now."""
        return list(self._records)

    def present(self) -> list[StoredRecord]:
        """What is there now, in order."""
        return [record for record in self._records if record.deleted_at is None]

    def find(self, attribute: str, value: str) -> list[StoredRecord]:
        """What is there now and has ``value`` in an attribute of ``INDEXED``."""
        return [self._records[place] for place in self._places[attribute].get(value, ())]

    def page(
        self,
        first: int,
        *,
        after: int = 0,
        matches: Callable[[StoredRecord], bool] = lambda _: True,
        equal: Mapping[str, Iterable[str]] | None = None,
        as_of: datetime | None = None,
    ) -> tuple[Sequence[StoredRecord], bool]:
        """Return the ``first`` records that match behind an id, as of a time, and whether there are more.

        ``equal`` has values of ``INDEXED`` attributes of which ``matches`` demands one: they save the scan.
        """
        start = bisect_right(self._ids, after)
        rows: list[StoredRecord] = []
        for place in self._candidates(start, None if as_of else equal):
            record = self._at(place, as_of)
            if record is not None and matches(record):
                if len(rows) == first:
                    return rows, True
                rows.append(record)
        return rows, False

    def _candidates(self, start: int, equal: Mapping[str, Iterable[str]] | None) -> Iterable[int]:
        if not equal:
            return range(start, len(self._records))
        attribute, values = next(iter(equal.items()))
        places = self._places[attribute]
        return sorted(place for value in set(values) for place in places.get(value, ()) if place >= start)

    def _at(self, place: int, as_of: datetime | None) -> StoredRecord | None:
        record = self._records[place]
        if as_of is None:
            return record if record.deleted_at is None else None
        if record.created_at > as_of or (record.deleted_at is not None and record.deleted_at <= as_of):
            return None
        versions = (record, *reversed(self._earlier.get(place, ())))
        return next(version for version in versions if (version.updated_at or version.created_at) <= as_of)

    def _index(self, record: StoredRecord) -> None:
        for attribute, places in self._places.items():
            value = record.attributes.get(attribute)
            if value is not None:
                places.setdefault(value, []).append(record.sequence)

    def _unindex(self, record: StoredRecord) -> None:
        for attribute, places in self._places.items():
            value = record.attributes.get(attribute)
            if value is not None:
                places[value].remove(record.sequence)
                if not places[value]:
                    del places[value]
