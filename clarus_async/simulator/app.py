"""The simulator: a Clarus server in this process, for tests and trials."""

from __future__ import annotations

import asyncio
import math
import random
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Self

from clarus_async import ClientCredentials
from clarus_async.simulator.clock import Clock
from clarus_async.simulator.faults import Endpoint, Fault, FaultKind, FaultPlan
from clarus_async.simulator.listener import Listener
from clarus_async.simulator.log import LoggedRequest, RequestLog
from clarus_async.simulator.oauth import TokenIssuer
from clarus_async.simulator.quota import Quota, Quotas
from clarus_async.simulator.service import Service
from clarus_async.simulator.shell import Shell
from clarus_async.simulator.state import Ledger, StoredRecord, Tenant


class Simulator:
    """A Clarus server over real HTTP that behaves as the vendor documents it (CLARUS_API.md).

    What the vendor does not document is described here and at the options. A request goes through these steps: the
    fault that is injected, the token (401), the subdomain (403), the quota (429 or 503), and the operation. A fault
    replaces the answer, whatever that would have been: a refused request whose answer is lost was not applied.
    ``requests`` records what became of each request.

    It starts with ``async with`` or ``start``, in the running event loop, whose clock is its only one.

    Args:
        tenants: The subdomains it knows.
        quota: For each tenant, or by tenant; ``None``: no limit.
        faults: Drawn by probability for each request.
        seed: Makes faults, tokens and ids the same in every run.
        latency: Seconds from having done what was asked to each answer; two: drawn between them, from the seed.
        token_lifetime: Seconds an access token lives; ``None``: for ever, and the answer has no ``expires_in``.
        one_live_token: Whether a new token ends the client's earlier ones, as servers do that allow one at a time.
        searchable_references: Whether GraphQL has an integration's ``external_system_reference1`` as a field and as a
            filter; an external entity's it always has.
        unique_references: Whether a create with an ``external_system_reference1`` that is taken is refused, 422.
        check_ids: Whether the id of a record of another resource is refused where there is no such record, 422.
        max_page_size: Records in one GraphQL answer at most.
        rotate_refresh_tokens: Whether each refresh returns a new refresh token. The old one is good until the
            new one has been used.
        keep_requests: How many of the latest requests ``requests`` keeps; ``None``: all.
        host: The IP address to listen on.
        port: 0: any free one.
        ssl_context: Serve TLS with it.

    Raises:
        ImportError: graphql-core is missing.
        ValueError: An option is out of range.
    """

    client_id: Final = "simulator-client"
    client_secret: Final = "simulator-secret"  # noqa: S105 - the simulator's own, printed in its documentation

    def __init__(
        self,
        *,
        tenants: Sequence[str] = ("acme",),
        quota: Quota | Mapping[str, Quota] | None = None,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        latency: float | tuple[float, float] = 0.0,
        token_lifetime: float | None = 3600.0,
        one_live_token: bool = False,
        searchable_references: bool = False,
        unique_references: bool = False,
        check_ids: bool = True,
        max_page_size: int = 100,
        rotate_refresh_tokens: bool = True,
        keep_requests: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        least, most = latency if isinstance(latency, tuple) else (latency, latency)
        _check(tenants, (least, most), token_lifetime, max_page_size, keep_requests)
        draws = random.Random(f"{seed}/latency")  # noqa: S311 - reproducible, not secret
        self._clock = Clock()
        self._log = RequestLog(keep_requests)
        self._plan = FaultPlan(faults, seed)
        self._quotas = Quotas()
        self._tokens = TokenIssuer(
            self.client_id,
            self.client_secret,
            lifetime=token_lifetime,
            one_live=one_live_token,
            rotate=rotate_refresh_tokens,
            seed=seed,
        )
        self._service = Service(
            tenants={name: Tenant(name) for name in tenants},
            tokens=self._tokens,
            quotas=self._quotas,
            clock=self._clock,
            graphql=_graphql(searchable_references=searchable_references, max_page_size=max_page_size),
            unique_references=unique_references,
            check_ids=check_ids,
        )
        self._listener = Listener(host, port, ssl_context)
        self._scheme = "http" if ssl_context is None else "https"
        self._shell = Shell(
            service=self._service,
            plan=self._plan,
            log=self._log,
            clock=self._clock,
            listener=self._listener,
            latency=lambda: least if least == most else draws.uniform(least, most),
        )
        self._running = False
        if isinstance(quota, Mapping):
            for tenant, own in quota.items():
                self.set_quota(own, tenant)
        else:
            self.set_quota(quota)

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: The address can't be had.
            RuntimeError: It is running.
        """
        if self._running:
            raise RuntimeError("the simulator is running")
        self._clock.start(asyncio.get_running_loop().time)
        await self._listener.start(self._shell.open())
        self._running = True

    async def stop(self) -> None:
        """Close everything; what was to be applied later never is. The ledger stays readable."""
        self._running = False
        try:
            await self._listener.stop()
        finally:
            await self._shell.close()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    @property
    def port(self) -> int:
        """Where it listens; known once it has started."""
        return self._listener.port

    @property
    def url(self) -> str:
        """The base URL for a client."""
        host = self._listener.host
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def credentials(self) -> ClientCredentials:
        """What a client authenticates with."""
        return ClientCredentials(self.client_id, self.client_secret)

    @property
    def open_connections(self) -> int:
        """How many clients are connected now, idle ones too."""
        return self._shell.open_connections

    @property
    def requests(self) -> Sequence[LoggedRequest]:
        """Every request in order of arrival; with ``keep_requests``, the latest ones."""
        return self._log.entries

    def count(self, endpoint: Endpoint | None = None, tenant: str | None = None) -> int:
        """Count the requests that arrived at ``endpoint`` (``None``: anywhere) for ``tenant`` (``None``: any)."""
        return self._log.count(endpoint, tenant)

    def records(self, tenant: str, resource: str = "integrations") -> list[StoredRecord]:
        """Return what ``tenant`` has of a resource now, in the order in which it was stored.

        Raises:
            ValueError: There is no such tenant or resource; so in all methods that take one.
        """
        return self._ledger(tenant, resource).present()

    def integrations(self, tenant: str) -> list[StoredRecord]:
        """Return the integrations that ``tenant`` has now, in the order in which they were stored."""
        return self.records(tenant, "integrations")

    def external_entities(self, tenant: str) -> list[StoredRecord]:
        """Return the external entities that ``tenant`` has now, in the order in which they were stored."""
        return self.records(tenant, "external_entities")

    def created(self, tenant: str, resource: str = "integrations") -> list[StoredRecord]:
        """Return all that ``tenant`` ever stored of a resource, in order, as it stands now; what was deleted too."""
        return self._ledger(tenant, resource).ever()

    def syncs(self, tenant: str) -> list[tuple[int, float]]:
        """Return each synchronization as (id, seconds on the loop's clock), in order."""
        return list(self._service.tenant(tenant).syncs)

    def preload(
        self,
        tenant: str,
        records: Iterable[Mapping[str, Any]],
        *,
        resource: str = "integrations",
        created_at: datetime | None = None,
    ) -> list[StoredRecord]:
        """Store records that were there already, without a request.

        Args:
            tenant: Whose.
            records: The attributes of each, as a create would send them.
            resource: What they are.
            created_at: When; a day ago if left out.

        Raises:
            ValueError: A create with these attributes would be refused.
        """
        when = created_at or self._clock.wall(self._clock.now()) - timedelta(days=1)
        service = self._service
        return service.preload(service.tenant(tenant), service.resource(resource), records, when)

    def _ledger(self, tenant: str, resource: str) -> Ledger:
        return self._service.tenant(tenant).ledger(self._service.resource(resource).name)

    def script(self, endpoint: Endpoint, *faults: Fault | FaultKind | None) -> None:
        """Decide the next requests to ``endpoint``, one each, before any probability; ``None``: all goes well.

        A fault with a ``tenant`` waits for that tenant's next request, and those behind it wait with it.

        Raises:
            ValueError: A fault makes no sense on this endpoint.
        """
        self._plan.script(endpoint, faults)

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Draw from ``faults`` from now on; what is scripted stays.

        Raises:
            ValueError: The probabilities of faults that one request may meet add up to more than 1.
        """
        self._plan.replace(faults)

    def set_quota(self, quota: Quota | None, tenant: str | None = None) -> None:
        """Apply ``quota`` to ``tenant``, or to every tenant, with fresh counters; ``None``: no limit.

        Raises:
            ValueError: An account's quota was given for one tenant alone.
        """
        self._quotas.set(quota, None if tenant is None else self._service.tenant(tenant).name)

    def expire_tokens(self) -> None:
        """End every access token: a front-end login ended the session (CLARUS_API.md §2)."""
        self._tokens.expire_all()

    def authorize(self, *, redirect_uri: str, code_challenge: str | None = None, scope: str = "") -> str:
        """Consent as the user would; return the authorization code.

        Args:
            redirect_uri: The one that the exchange must repeat.
            code_challenge: S256, of the verifier that the exchange must bring (RFC 7636).
            scope: What is granted.
        """
        return self._tokens.new_code(
            self._clock.now(), redirect_uri=redirect_uri, scope=scope, challenge=code_challenge
        )

    def refresh_token(self) -> str:
        """Issue a refresh token."""
        return self._tokens.new_refresh_token()

    async def refuse(self) -> None:
        """Close the listener and every idle connection: connections are refused until ``accept``."""
        await self._listener.refuse()
        self._shell.drop_idle()
        # Until a client in this loop has seen the end of an idle connection, it would send its next request
        # there and be cut off instead of refused: closing, arriving and noticing take a turn each.
        for _ in range(4):
            await asyncio.sleep(0)

    async def accept(self) -> None:
        """Open the listener again, on the same port."""
        await self._listener.accept()


def _graphql(
    *, searchable_references: bool, max_page_size: int
) -> Callable[[Tenant, bytes, datetime | None], dict[str, Any]]:
    try:
        from clarus_async.simulator.schema import GraphQLApi  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "graphql":
            raise
        msg = 'the simulator needs graphql-core: pip install "clarus-async[simulator]"'
        raise ImportError(msg, name="graphql") from error
    return GraphQLApi(searchable_references=searchable_references, max_page_size=max_page_size).execute


def _check(
    tenants: Sequence[str],
    latency: tuple[float, float],
    token_lifetime: float | None,
    max_page_size: int,
    keep_requests: int | None,
) -> None:
    rules = [
        (isinstance(tenants, str) or not tenants, "tenants must be a sequence of at least one name"),
        (len(set(tenants)) != len(tenants), "tenants must differ"),
        (not 0 <= latency[0] <= latency[1] < math.inf, "latency must be seconds, 0 or more, the shorter first"),
        (
            token_lifetime is not None and not 0 < token_lifetime < math.inf,
            "token_lifetime must be seconds, more than 0",
        ),
        (max_page_size < 1, "max_page_size must be 1 or more"),
        (keep_requests is not None and keep_requests < 1, "keep_requests must be 1 or more"),
    ]
    problems = [text for broken, text in rules if broken]
    if problems:
        raise ValueError(f"Simulator: {'; '.join(problems)}")
