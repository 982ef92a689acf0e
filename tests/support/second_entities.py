"""The external entities of the second server (CLARUS_API.md §5)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.second_integrations import Asked, Integrations, Reply

# Name: its type, whether it may be null.
_ATTRIBUTES: Mapping[str, tuple[type, bool]] = {
    "entity_type": (str, False),
    "code": (str, False),
    "external_system_reference1": (str, False),
    "external_system_reference2": (str, True),
    "external_system_reference3": (str, True),
    "description": (str, True),
    "integration_id": (int, True),
}
_TYPES = {"carrier", "product", "shipping_rate", "warehouse"}


class Entities:
    """The records of all tenants, beside the integrations that they belong to."""

    def __init__(self, integrations: Integrations) -> None:
        self._integrations = integrations
        self._dialect = integrations.dialect
        self.records: dict[int, tuple[str, dict[str, Any]]] = {}
        self._created_at: dict[int, datetime] = {}

    def answer(self, asked: Asked, tenant: str) -> Reply:
        match = re.fullmatch(r"/api/external_entities(?:/([0-9]+))?", asked.path)
        if match is None:
            raise self._integrations.refusal(404, "not_found", "There is nothing here")
        if asked.method != ("POST" if match[1] is None else "PATCH"):
            raise self._integrations.refusal(404, "not_allowed", "There is no such operation")
        if match[1] is None:
            number = len(self.records) + 1
            self.records[number] = tenant, self._attributes(asked, tenant, patch=False)
            self._created_at[number] = datetime.now(self._dialect.zone)
            return self._shown(number, self._dialect.create_status)
        number = int(match[1])
        if self.records.get(number, ("",))[0] != tenant:
            raise self._integrations.refusal(404, "external_entity_not_found", "There is no such external entity")
        self.records[number][1].update(self._attributes(asked, tenant, patch=True))
        return self._shown(number, 200)

    def _attributes(self, asked: Asked, tenant: str, *, patch: bool) -> dict[str, Any]:
        refusal = self._integrations.refusal
        try:
            resource = json.loads(asked.body)["data"]
            given = dict(resource["attributes"])
        except (ValueError, KeyError, TypeError):
            raise refusal(422, "data_invalid", "The body has no data with attributes") from None
        if resource.get("type") != "external_entities":
            raise refusal(422, "type_invalid", "The type must be external_entities")
        for name in () if patch else ("entity_type", "code", "external_system_reference1"):
            given.setdefault(name, None)
        for name, value in given.items():
            kind, nullable = _ATTRIBUTES.get(name, (object, True))
            fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
            if not (fits or (value is None and nullable)) or value == "":
                raise refusal(422, f"{name}_invalid", f"{name} can't be {value!r}", name)
        if given.get("entity_type", "product") not in _TYPES:
            raise refusal(422, "entity_type_invalid", "There is no such type", "entity_type")
        if (whose := given.get("integration_id")) is not None and self._integrations.find(whose, tenant) is None:
            raise refusal(422, "integration_id_invalid", "There is no such integration", "integration_id")
        return {name: given[name] for name in given if name in _ATTRIBUTES}

    def _shown(self, number: int, status: int) -> Reply:
        from tests.support.second_integrations import Reply

        dialect, attributes = self._dialect, self.records[number][1]
        shown = (dict.fromkeys(_ATTRIBUTES) if dialect.unset_as_null else {}) | attributes
        if dialect.string_ids and shown.get("integration_id") is not None:
            shown["integration_id"] = str(shown["integration_id"])
        if dialect.unknown_fields:
            shown |= {"lock_version": 0, "mappings_count": 0}
        record_id = str(number) if dialect.string_ids else number
        if dialect.entities_wrapped:
            return Reply(status, {"data": {"id": record_id, "type": "external_entities", "attributes": shown}})
        return Reply(status, {"id": record_id} | shown)

    def rows(self, tenant: str) -> list[dict[str, Any]]:
        """What GraphQL has of each: fields, and what is only a filter."""
        return [self._row(number, mine) for number, (whose, mine) in self.records.items() if whose == tenant]

    def _row(self, number: int, mine: Mapping[str, Any]) -> dict[str, Any]:
        whose = mine.get("integration_id")
        integration = None if whose is None else self._integrations.records[whose]
        name = None if integration is None else integration.attributes["name"]
        return {
            **{name: mine.get(name) for name in ("code", "description", "entity_type", "external_system_reference1")},
            "id": str(number),
            "integration": None if integration is None else {"id": str(whose), "name": name},
            "integration_id": None if whose is None else str(whose),
            "integration_name": name,
            "created_at": self._created_at[number],
        }
