"""What every server must take: each of the API's calls, and a run that is repeated and finds all there."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from typing import ClassVar

from clarus_async import (
    ClarusClient,
    ClarusError,
    ClientCredentials,
    IntegrationChanges,
    IntegrationFilter,
    NewIntegration,
    NotFoundError,
)
from tests.peers.scenario import TENANT, Part, Row, specs
from tests.peers.servers import SECRET, ServerScenario, server


async def tour(clarus: ClarusClient, *, records: int = 25, searchable: bool = True) -> None:
    """Create, update, list, find, provision twice and delete, for a tenant that has no records."""
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
    async with clarus.integrations.provision(specs(0, records, configuration={"api_key": "key"})) as run:
        return {outcome.key: str(outcome.status) async for outcome in run}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tour(ServerScenario):
    """A server that is to take the whole tour."""

    path: str = ""  # under which it has the API
    env: dict[str, str] = dataclasses.field(default_factory=dict)  # what it is told
    records: int = 200  # how many are provisioned
    searchable: bool = True  # it says that its list can be searched by reference
    quota: ClassVar[float | None] = None

    async def run(self) -> Row:
        """Run it once; whatever is not as it should be counts as one failure, and says what."""
        errors: tuple[str, ...] = ()
        # What a server without authorization is sent does not matter to it.
        credentials = ClientCredentials("peer", SECRET)
        async with (
            server(self.server, **self.env) as peer,
            ClarusClient(TENANT, credentials, base_url=peer.url + self.path) as clarus,
        ):
            began = time.monotonic()
            try:
                await tour(clarus, records=self.records, searchable=self.searchable)
            except (AssertionError, ClarusError) as error:
                errors = (f"{type(error).__name__}: {error}",)
            seconds = time.monotonic() - began
            pace = f"{clarus.pace.source}"
        return Row(
            peer=self.name, records=self.records, goodput=None, refused=0.0, failed=len(errors),
            seconds=seconds, pace=pace, errors=errors,
        )  # fmt: skip


SCENARIOS: tuple[Tour, ...] = (
    # By HTTP Basic alone, where the server can be told.
    Tour(name="tour-rails", server="rails", env={"CLIENT": "from_basic"}, records=60, part=Part.QUICK),
    Tour(name="tour-django", server="django", records=60, part=Part.QUICK),
    Tour(name="tour-flask", server="flask", env={"METHODS": "client_secret_basic"}),
    Tour(name="tour-oidc-provider", server="oidc-provider", env={"METHOD": "client_secret_basic"}),
    *(
        Tour(name=f"tour-yoga-{path}", server="yoga", path=f"/{path}", searchable=path != "no-introspection")
        for path in ("plain", "no-introspection", "complexity")
    ),
    *(
        Tour(name=f"tour-apollo-{path}", server="apollo", path=f"/{path}", searchable=path != "production")
        for path in ("plain", "production", "complexity-400", "complexity-500")
    ),
    Tour(name="tour-rails-complexity", server="rails", env={"COMPLEXITY": "300"}),
    Tour(name="tour-rails-no-introspection", server="rails", env={"NO_INTROSPECTION": "1"}, searchable=False),
    Tour(name="tour-rails-rack-attack", server="rails", env={"THROTTLE": "50"}),
)
