"""The list and the connectivity check as a Strawberry schema, over whatever holds the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import strawberry
from strawberry import relay

# Given by the application: its records in the order of their ids, with their attributes.
records: Callable[[], Iterable[Any]] = list


@strawberry.input
class StringInputType:
    eq: str | None = None
    ilike: str | None = None
    like: str | None = None
    in_: list[str] | None = strawberry.field(name="in", default=None)
    between: list[str] | None = None

    def admits(self, value: str | None) -> bool:
        text = value or ""
        return (
            (self.eq is None or value == self.eq)
            and (self.in_ is None or value in self.in_)
            and (self.ilike is None or self.ilike.strip("%").lower() in text.lower())
            and (self.like is None or self.like.strip("%") in text)
            and (self.between is None or self.between[0] <= text <= self.between[1])
        )


@strawberry.input
class BooleanInputType:
    eq: bool | None = None

    def admits(self, value: bool) -> bool:
        return self.eq is None or value == self.eq


@strawberry.input
class IntegrationFilterType:
    name: StringInputType | None = None
    integration_provider: StringInputType | None = strawberry.field(name="integration_provider", default=None)
    integration_type: StringInputType | None = strawberry.field(name="integration_type", default=None)
    status: StringInputType | None = None
    enabled: BooleanInputType | None = None
    external_system_reference1: StringInputType | None = strawberry.field(
        name="external_system_reference1", default=None
    )


@strawberry.type
class Integration:
    id: strawberry.ID
    name: str | None
    status: str | None
    enabled: bool | None
    integration_provider: str | None = strawberry.field(name="integration_provider")
    integration_type: str | None = strawberry.field(name="integration_type")
    created_at: str | None = strawberry.field(name="created_at")
    external_system_reference1: str | None = strawberry.field(name="external_system_reference1")

    @classmethod
    def of(cls, record: Any) -> Integration:
        return cls(
            id=strawberry.ID(str(record.id)),
            name=record.name,
            status="active" if record.is_active else "inactive",
            enabled=record.is_active,
            integration_provider=record.provider or record.integration_type,
            integration_type=record.integration_type,
            created_at=record.created_at.isoformat(),
            external_system_reference1=record.external_system_reference1,
        )


@strawberry.type
class Integrations:
    @relay.connection(relay.ListConnection[Integration])
    def all(self, filter: IntegrationFilterType | None = None) -> Iterable[Integration]:  # noqa: A002
        rows = [Integration.of(record) for record in records()]
        for field, test in vars(filter).items() if filter else ():
            if test is not None:
                rows = [row for row in rows if test.admits(getattr(row, field))]
        return rows


@strawberry.type
class Site:
    id: strawberry.ID
    code: str
    name: str


@strawberry.type
class Sites:
    @relay.connection(relay.ListConnection[Site])
    def all(self) -> Iterable[Site]:
        return [Site(id=strawberry.ID("1"), code="HQ", name="Headquarters")]


@strawberry.type
class Query:
    @strawberry.field
    def integrations(self) -> Integrations:
        return Integrations()

    @strawberry.field
    def sites(self) -> Sites:
        return Sites()


schema = strawberry.Schema(Query)
