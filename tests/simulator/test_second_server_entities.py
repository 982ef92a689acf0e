"""External entities against two servers that share no code (CLARUS_API.md §5)."""

from __future__ import annotations

import asyncio

import pytest

from clarus_async import (
    ExternalEntity,
    ExternalEntityChanges,
    ExternalEntityFilter,
    NewExternalEntity,
    NotFoundError,
    ValidationError,
)
from tests.support.both_servers import add, clarus_fixture, client_of, server_fixture, shop  # noqa: F401  fixtures


@pytest.fixture(name="whose")
async def whose_fixture(clarus):
    """The id of an integration."""
    (made,) = await add(clarus, shop())
    return made.id


def sku(n, whose=None, **attributes):
    given = {"entity_type": "product", "code": f"SKU-{n}", "external_system_reference1": f"p/{n}"}
    return NewExternalEntity(**given | {"integration_id": whose} | attributes)


EVERYTHING = {
    "entity_type": "shipping_rate",
    "code": 'Ünïcode "quoted" {$x}',
    "external_system_reference1": "ref/1",
    "external_system_reference2": "ref 2",
    "external_system_reference3": "réf&3",
    "description": "null",
}


async def test_every_attribute_arrives_and_comes_back(server, clarus, whose):
    made = await clarus.external_entities.create(NewExternalEntity(**EVERYTHING, integration_id=whose))

    assert server.entities() == {made.id: EVERYTHING | {"integration_id": whose}}
    extra = made.extra
    assert made == ExternalEntity(id=made.id, **EVERYTHING, integration_id=whose, extra=extra)


async def test_what_is_left_out_is_not_sent(server, clarus):
    made = await clarus.external_entities.create(sku(1))

    assert server.entities() == {
        made.id: {"entity_type": "product", "code": "SKU-1", "external_system_reference1": "p/1"}
    }


async def test_null_clears_and_what_is_left_out_stays(server, clarus, whose):
    made = await clarus.external_entities.create(sku(1, whose, description="x", external_system_reference2="y"))
    changes = ExternalEntityChanges(code="SKU-2", description=None, integration_id=None)
    changed = await clarus.external_entities.update(made.id, changes)

    assert (changed.id, changed.code, changed.description, changed.integration_id) == (made.id, "SKU-2", None, None)
    assert changed.external_system_reference2 == "y"
    stored = server.entities()[made.id]
    assert (stored["code"], stored["description"], stored["integration_id"]) == ("SKU-2", None, None)


async def test_many_at_once_are_listed_and_found(server, clarus, whose):
    await asyncio.gather(*(clarus.external_entities.create(sku(n, whose)) for n in range(60)))
    await clarus.external_entities.create(sku(7))
    wanted = ExternalEntityFilter(integration_id=whose, entity_type=["product", "carrier"])
    rows = [row async for row in clarus.external_entities.list(wanted, page_size=9)]

    assert {row.code for row in rows} == {f"SKU-{n}" for n in range(60)}
    assert {(row.integration_id, row.integration_name) for row in rows} == {(whose, "Shop")}
    assert len(await clarus.external_entities.find(reference="p/7")) == 2
    (row,) = await clarus.external_entities.find(reference="p/7", integration_id=whose, entity_type="product")
    assert (row.code, row.integration_id) == ("SKU-7", whose)
    several = ExternalEntityFilter(external_system_reference1=["p/1", "p/2", "p/99"], integration_id=[whose, 999])
    assert {row.code async for row in clarus.external_entities.list(several)} == {"SKU-1", "SKU-2"}
    part = ExternalEntityFilter(code_contains="sku-5", integration_name="Shop")
    assert len([row async for row in clarus.external_entities.list(part)]) == 11


async def test_a_lost_answer_is_looked_up(server, clarus, whose):
    server.lose("after", "after")
    made = [await clarus.external_entities.create(sku(n, whose)) for n in range(2)]
    assert list(server.entities()) == [one.id for one in made]


async def test_what_can_not_be_stored_is_refused(server, clarus):
    for wrong in ({"entity_type": "teapot"}, {"whose": 999}):
        with pytest.raises(ValidationError):
            await clarus.external_entities.create(sku(1, **wrong))
    with pytest.raises(NotFoundError):
        await clarus.external_entities.update(999, ExternalEntityChanges(code="x"))
    assert server.entities() == {}


async def test_a_tenant_has_its_own(server, clarus):
    made = await clarus.external_entities.create(sku(1))
    async with client_of(server) as another:
        globex = another.for_subdomain("globex")
        assert [row async for row in globex.external_entities.list()] == []
        with pytest.raises(NotFoundError):
            await globex.external_entities.update(made.id, ExternalEntityChanges(code="x"))
