"""What every server must take: each of the API's calls, and a run that is repeated and finds all there."""

from __future__ import annotations

from collections import Counter

from clarus_async import ClarusClient, IntegrationChanges, IntegrationFilter, NewIntegration, NotFoundError


def specs(records: int) -> list[NewIntegration]:
    return [
        NewIntegration(
            name=f"Shop {n}", integration_type="shopify", external_system_reference1=f"shop-{n}",
            configuration={"api_key": f"key-{n}"},
        )
        for n in range(records)
    ]  # fmt: skip


async def tour(clarus: ClarusClient, *, records: int = 25, searchable: bool = True) -> None:
    """Create, update, list, find, provision twice and delete.

    Args:
        clarus: of a tenant that has no records.
        records: how many are provisioned.
        searchable: the server says that its list can be searched by reference.
    """
    made = await clarus.integrations.create(
        NewIntegration(name="Größter Laden", integration_type="shopify", external_system_reference1="first")
    )
    assert made.name == "Größter Laden"
    changed = await clarus.integrations.update(made.id, IntegrationChanges(is_active=False, string1=None))
    assert (changed.id, changed.name, changed.is_active) == (made.id, made.name, False)

    [row] = [row async for row in clarus.integrations.list(IntegrationFilter(is_active=False))]
    assert (row.id, row.name, row.is_active) == (made.id, made.name, False)
    assert await told_by(clarus, searchable) == [made.id]

    first, again = [await provision(clarus, records) for _ in range(2)]
    assert Counter(first.values()) == {"created": records}
    assert Counter(again.values()) == {"adopted": records}
    # In several pages.
    assert len({row.id async for row in clarus.integrations.list(page_size=9)}) == records + 1

    await clarus.integrations.delete(made.id)
    assert len([row async for row in clarus.integrations.list()]) == records
    try:
        await clarus.integrations.update(made.id, IntegrationChanges(is_active=True))
    except NotFoundError:
        pass
    else:
        raise AssertionError("a record that was deleted was changed")
    await clarus.ping()


async def told_by(clarus: ClarusClient, searchable: bool) -> list[int]:
    """Return the ids under which the first record is found by its name and, where it can be, by its reference."""
    found = {row.id for row in await clarus.integrations.find(name="Größter Laden", provider="shopify")}
    if searchable:
        found |= {row.id for row in await clarus.integrations.find(reference="first")}
    return sorted(found)


async def provision(clarus: ClarusClient, records: int) -> dict[str, str]:
    """Provision, and return what became of each record."""
    async with clarus.integrations.provision(specs(records)) as run:
        return {outcome.key: str(outcome.status) async for outcome in run}
