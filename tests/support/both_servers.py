"""The simulator and the second server behind one face, so that one suite can ask both."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from clarus_async import ClientCredentials, NewIntegration
from clarus_async.simulator import Endpoint, FaultKind, Quota, Simulator
from tests.support.builders import client_of
from tests.support.second_integrations import OTHER, PLAIN
from tests.support.second_server import SecondServer

SERVERS = ("simulator", "plain", "other")
TENANTS = ("acme", "globex")


class Simulated:
    """The library's simulator."""

    redirect_uri = "https://app.example/back"
    unknown_tenant = 403

    def __init__(self, server: Simulator, *, searchable: bool) -> None:
        self._server = server
        self.url, self.credentials = server.url, server.credentials
        self.searchable = searchable

    def created(self, tenant: str = "acme") -> dict[int, dict[str, Any]]:
        return {record.id: record.attributes for record in self._server.created(tenant)}

    def stored(self, tenant: str = "acme") -> dict[int, dict[str, Any]]:
        return {record.id: record.attributes for record in self._server.integrations(tenant)}

    def entities(self, tenant: str = "acme") -> dict[int, dict[str, Any]]:
        return {record.id: record.attributes for record in self._server.external_entities(tenant)}

    def synchronized(self, tenant: str = "acme") -> list[int]:
        return [record for record, _ in self._server.syncs(tenant)]

    def creates(self) -> int:
        return self._server.count(Endpoint.CREATE)

    def tokens(self) -> int:
        return self._server.count(Endpoint.TOKEN)

    def kill_tokens(self) -> None:
        self._server.expire_tokens()

    def refresh_token(self) -> str:
        return self._server.refresh_token()

    def limit(self, requests: int, seconds: float) -> None:
        self._server.set_quota(Quota(limit=requests, window=seconds, kind="fixed", headers="retry-after"))

    def lose(self, *when: str) -> None:
        kinds = {"before": FaultKind.RESET_BEFORE, "after": FaultKind.RESET_AFTER}
        self._server.script(Endpoint.CREATE, *(kinds[each] for each in when))

    def broken_rules(self) -> list[str]:
        return [f"a cookie came with {r.method} {r.path}" for r in self._server.requests if "Cookie" in r.headers]


class Second:
    """The second server, in either dialect."""

    redirect_uri = SecondServer.redirect_uri

    def __init__(self, server: SecondServer) -> None:
        self._server = server
        self.url = server.url
        self.credentials = ClientCredentials(server.client_id, server.client_secret)
        dialect = server.dialect
        self.searchable = dialect.references and dialect.introspection == "yes"
        self.unknown_tenant = dialect.unknown_tenant

    def created(self, tenant: str = "acme") -> dict[int, dict[str, Any]]:
        return {record.id: record.attributes for record in self._server.created(tenant)}

    def stored(self, tenant: str = "acme") -> dict[int, dict[str, Any]]:
        return {record.id: record.attributes for record in self._server.stored(tenant)}

    def entities(self, tenant: str = "acme") -> dict[int, dict[str, Any]]:
        return self._server.entities(tenant)

    def synchronized(self, tenant: str = "acme") -> list[int]:
        return [record.id for record in self._server.created(tenant) for _ in range(record.synchronized)]

    def creates(self) -> int:
        return self._server.count("/api/integrations")

    def tokens(self) -> int:
        return self._server.count("/oauth/token")

    def kill_tokens(self) -> None:
        self._server.kill_tokens()

    def refresh_token(self) -> str:
        return self._server.issue_refresh_token()

    def limit(self, requests: int, seconds: float) -> None:
        self._server.quota = requests, seconds

    def lose(self, *when: str) -> None:
        self._server.lost += when

    def broken_rules(self) -> list[str]:
        return self._server.broken_rules


@contextlib.asynccontextmanager
async def serve(
    which: str,
    *,
    life: int | None = None,
    unique: bool = False,
    references: bool | None = None,
    dialect: Mapping[str, Any] | None = None,
) -> AsyncIterator[Simulated | Second]:
    """Start a server of :data:`SERVERS`: what is not said is its own way, and a dialect is the second server's."""
    if which == "simulator":
        options = {} if life is None else {"token_lifetime": float(life)}
        searchable = bool(references)
        simulator = Simulator(tenants=TENANTS, unique_references=unique, searchable_references=searchable, **options)
        async with simulator:
            yield (face := Simulated(simulator, searchable=searchable))
    else:
        wanted: dict[str, Any] = {"unique_references": unique}
        if life is not None:
            wanted["expires_in"] = life if which == "plain" else str(life)
        if references is not None:
            wanted["references"] = references
        spoken = dataclasses.replace({"plain": PLAIN, "other": OTHER}[which], **wanted | dict(dialect or {}))
        async with SecondServer(spoken, TENANTS) as second:
            yield (face := Second(second))
    assert face.broken_rules() == []


def shop(name="Shop", **attributes):
    # Where both are said, every server's list reports them as they were given.
    return NewIntegration(**{"name": name, "integration_type": "ecommerce", "provider": "shopify"} | attributes)


async def add(clarus, *shops):
    return [await clarus.integrations.create(each) for each in shops]


def batch(count):
    return [shop(f"Shop {n}", external_system_reference1=f"ref-{n}") for n in range(count)]


on_every_server = pytest.mark.parametrize("which", SERVERS)


@pytest.fixture(name="server", params=SERVERS)
async def server_fixture(request):
    async with serve(request.param) as server:
        yield server


@pytest.fixture(name="clarus")
async def clarus_fixture(server):
    async with client_of(server) as clarus:
        yield clarus
