"""What one tenant has stored, and a ledger of everything it ever stored. Pure: times are arguments."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

CATEGORIES: Final = frozenset({"ecommerce", "carrier", "marketplace", "erp", "accounting", "custom"})
"""What ``integration_type`` is in a list (CLARUS_API.md §1)."""

CATEGORY_OF: Final = {
    "shopify": "ecommerce",
    "woocommerce": "ecommerce",
    "magento": "ecommerce",
    "bigcommerce": "ecommerce",
    "amazon": "marketplace",
    "ebay": "marketplace",
    "brightpearl": "erp",
    "xero": "accounting",
    "quickbooks": "accounting",
    "dhl": "carrier",
    "dpd": "carrier",
    "fedex": "carrier",
    "ups": "carrier",
    "royal_mail": "carrier",
}
"""Which documented provider belongs to which documented category: the names' own meaning."""

INDEXED: Final = ("name", "external_system_reference1")
"""Attributes that a list finds by equality without a scan."""


def _without_secrets(attributes: Mapping[str, Any]) -> str:
    configuration = attributes.get("configuration")
    if not configuration:
        return repr(dict(attributes))
    return repr({**attributes, "configuration": dict.fromkeys(configuration, "…")})


@attrs.frozen(kw_only=True)
class StoredIntegration:
    """One record as it stands in a tenant's ledger.

    Attributes:
        id: As REST gives it; unique over all tenants.
        tenant: Whose it is.
        sequence: Its place in the tenant's ledger, from 0.
        attributes: What create and PATCH gave, nothing else. ``repr`` hides the configuration's values.
        created_at: When it was stored, on the simulator's wall clock.
        updated_at: When it was last patched.
        deleted_at: When it was deleted; ``None``: it is there.
        idempotency_key: The ``Idempotency-Key`` it came with; the server ignores it.
        send: Which create request with that key stored it: 1 is the first, 0 means that no request did.
        request_id: The ``X-Request-Id`` of the answer to that request.
    """

    id: int
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
    def name(self) -> str:
        """The record's name."""
        name: str = self.attributes["name"]
        return name

    @property
    def external_system_reference1(self) -> str | None:
        """The caller's own id (CLARUS_API.md §4)."""
        return self.attributes.get("external_system_reference1")

    @property
    def enabled(self) -> bool | None:
        """What GraphQL calls ``is_active``; a record is active unless create said otherwise."""
        active: bool | None = self.attributes.get("is_active", True)
        return active

    @property
    def status(self) -> str:
        """``active`` or ``inactive``; GraphQL only (CLARUS_API.md §1)."""
        return "active" if self.enabled else "inactive"

    @property
    def integration_provider(self) -> str | None:
        """What a list reports as provider: create's ``provider``, else an ``integration_type`` that is none."""
        provider: str | None = self.attributes.get("provider")
        given: str = self.attributes["integration_type"]
        return provider if provider is not None or given in CATEGORIES else given

    @property
    def integration_type(self) -> str:
        """The category that a list reports, whatever create was given (CLARUS_API.md §1)."""
        given: str = self.attributes["integration_type"]
        return given if given in CATEGORIES else CATEGORY_OF.get(self.integration_provider or "", "custom")


Matches = Callable[[StoredIntegration], bool]


def _everything(_record: StoredIntegration) -> bool:
    return True


class Tenant:
    """One tenant's records. Ids must be given in ascending order.

    Args:
        name: Its subdomain.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.syncs: list[tuple[int, float]] = []
        self._ledger: list[StoredIntegration] = []
        self._ids = array("q")
        self._places: dict[str, dict[str, list[int]]] = {attribute: {} for attribute in INDEXED}
        # What records were before each patch; few are patched.
        self._earlier: dict[int, list[StoredIntegration]] = {}

    def add(self, record_id: int, attributes: dict[str, Any], created_at: datetime, **origin: Any) -> StoredIntegration:  # noqa: ANN401
        """Store a record; ``origin`` is who sent it, as :class:`StoredIntegration` names it."""
        record = StoredIntegration(
            id=record_id,
            tenant=self.name,
            sequence=len(self._ledger),
            attributes=attributes,
            created_at=created_at,
            **origin,
        )
        self._ledger.append(record)
        self._ids.append(record_id)
        self._index(record)
        return record

    def get(self, record_id: int) -> StoredIntegration | None:
        """Return the record if it is there now."""
        place = bisect_left(self._ids, record_id)
        if place == len(self._ids) or self._ids[place] != record_id:
            return None
        return self._at(place, None)

    def update(self, record: StoredIntegration, changes: Mapping[str, Any], at: datetime) -> StoredIntegration:
        """Patch a record that is there."""
        # Whether a patched configuration merges or replaces is not documented (CLARUS_API.md §1): it replaces.
        patched = attrs.evolve(record, attributes={**record.attributes, **changes}, updated_at=at)
        self._earlier.setdefault(record.sequence, []).append(record)
        self._ledger[record.sequence] = patched
        self._unindex(record)
        self._index(patched)
        return patched

    def delete(self, record: StoredIntegration, at: datetime) -> None:
        """Delete a record that is there; the ledger keeps it."""
        self._ledger[record.sequence] = attrs.evolve(record, deleted_at=at)
        self._unindex(record)

    def ledger(self) -> list[StoredIntegration]:
        """Everything that was ever stored, in order, as it stands now."""
        return list(self._ledger)

    def present(self) -> list[StoredIntegration]:
        """What is there now, in order."""
        return [record for record in self._ledger if record.deleted_at is None]

    def find(self, attribute: str, value: str) -> list[StoredIntegration]:
        """What is there now and has ``value`` in an attribute of :data:`INDEXED`."""
        return [self._ledger[place] for place in self._places[attribute].get(value, ())]

    def page(
        self,
        first: int,
        *,
        after: int = 0,
        matches: Matches = _everything,
        equal: Mapping[str, Iterable[str]] | None = None,
        as_of: datetime | None = None,
    ) -> tuple[Sequence[StoredIntegration], bool]:
        """Walk the records in order of their ids.

        Args:
            first: How many at most.
            after: Begin behind this id.
            matches: Which ones.
            equal: Values of :data:`INDEXED` attributes of which ``matches`` demands one: saves the scan.
            as_of: Look at the past; ``None``: now.

        Returns:
            The records, and whether there are more.
        """
        start = bisect_right(self._ids, after)
        rows: list[StoredIntegration] = []
        for place in self._candidates(start, None if as_of else equal):
            record = self._at(place, as_of)
            if record is not None and matches(record):
                if len(rows) == first:
                    return rows, True
                rows.append(record)
        return rows, False

    def _candidates(self, start: int, equal: Mapping[str, Iterable[str]] | None) -> Iterable[int]:
        if not equal:
            return range(start, len(self._ledger))
        attribute, values = next(iter(equal.items()))
        places = self._places[attribute]
        return sorted(place for value in set(values) for place in places.get(value, ()) if place >= start)

    def _at(self, place: int, as_of: datetime | None) -> StoredIntegration | None:
        record = self._ledger[place]
        if as_of is None:
            return record if record.deleted_at is None else None
        if record.created_at > as_of or (record.deleted_at is not None and record.deleted_at <= as_of):
            return None
        versions = (record, *reversed(self._earlier.get(place, ())))
        return next(version for version in versions if (version.updated_at or version.created_at) <= as_of)

    def _index(self, record: StoredIntegration) -> None:
        for attribute, places in self._places.items():
            value = record.attributes.get(attribute)
            if value is not None:
                places.setdefault(value, []).append(record.sequence)

    def _unindex(self, record: StoredIntegration) -> None:
        for attribute, places in self._places.items():
            value = record.attributes.get(attribute)
            if value is not None:
                places[value].remove(record.sequence)
                if not places[value]:
                    del places[value]
