"""Uses of the public names that mypy and pyright check; nothing here is run.

What a caller writes must be accepted in their strict modes, and mean what the contract says (section 2). A line that
ends in ``type: ignore`` must be refused: mypy says where an ignore is not needed.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, assert_type

import aiohttp
import attrs
from opentelemetry import metrics, trace

import clarus_async
from clarus_async import (
    DEFAULT_BASE_URL,
    INTEGRATION_TYPES,
    PROVIDERS,
    UNSET,
    AccessToken,
    ApiError,
    Applied,
    AttemptEvent,
    AuthenticationError,
    AuthorizationCode,
    BadRequestError,
    CallEvent,
    ClarusClient,
    ClarusError,
    ClientCredentials,
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    Credentials,
    DeadlineExceededError,
    ErrorDetail,
    Event,
    ExternalEntities,
    ExternalEntity,
    ExternalEntityChanges,
    ExternalEntityFilter,
    ExternalEntityRow,
    GraphQLError,
    InputProblem,
    Integration,
    IntegrationChanges,
    IntegrationFilter,
    IntegrationRow,
    Integrations,
    InvalidInputError,
    LimitKind,
    NewExternalEntity,
    NewIntegration,
    NotFoundError,
    Observer,
    Outcome,
    OutcomeStatus,
    OutcomeUnknownError,
    PaceSource,
    PaceState,
    PacingPolicy,
    PermissionDeniedError,
    Problem,
    Progress,
    ProvisionRun,
    RateLimitedError,
    RefreshToken,
    Report,
    ResourceList,
    ResponseError,
    RetryPolicy,
    ServerError,
    ShopifyConfiguration,
    TenantObserver,
    Timeouts,
    Token,
    TokenEvent,
    TokenSource,
    Unset,
    ValidationError,
    WaitEvent,
    WaitReason,
)
from clarus_async.opentelemetry import OpenTelemetryObserver
from clarus_async.simulator import Endpoint, Fault, FaultKind, LoggedRequest, Quota, Simulator, StoredRecord

assert_type(clarus_async.__version__, str)
assert_type(DEFAULT_BASE_URL, Literal["https://clarus-api.com"])
_types: Sequence[str] = INTEGRATION_TYPES
_providers: Sequence[str] = PROVIDERS


def show(*things: object) -> None: ...


# Credentials.


def credentials() -> Iterable[Credentials]:
    yield ClientCredentials("id", "secret")
    yield ClientCredentials("id", "secret", ("read", "write"))
    yield ClientCredentials(client_id="id", client_secret="secret", scopes=("read",))
    yield RefreshToken("id", "secret", "refresh")
    yield RefreshToken("id", "secret", "refresh", store)
    yield RefreshToken("id", "secret", "refresh", on_rotate=store_later)
    yield RefreshToken("id", "secret", "refresh", lambda token: None)
    yield AccessToken("token")
    yield Vault()
    yield object()  # type: ignore[misc]
    yield "token"  # type: ignore[misc]


def store(refresh_token: str) -> None: ...


async def store_later(refresh_token: str) -> None: ...


class Vault:
    async def fetch(self) -> Token:
        return Token("value", expires_in=60.0)


class SealedError(ClarusError):
    """An error of a source's own, whose arguments are its own."""

    def __init__(self, vault: str, *, code: int) -> None:
        super().__init__(f"{vault} is sealed: {code}", retryable=True)
        self.code = code


class Sealed:
    """A source may take arguments of its own, and be anything that can be awaited."""

    def __init__(self, vault: str) -> None:
        self._vault = vault

    async def fetch(self, timeout: float = 5.0) -> Token:
        raise SealedError(self._vault, code=503)


class Forgetful:
    async def fetch(self) -> str:
        return "token"


def sources(thing: object) -> None:
    vault: TokenSource = Vault()
    if isinstance(thing, TokenSource):
        vault = thing
    ClarusClient("acme", vault)
    ClarusClient("acme", Sealed("kv"))
    ClarusClient("acme", Forgetful())  # type: ignore[arg-type]
    token = Token("value")
    assert_type(token.value, str)
    assert_type(token.expires_in, float | None)
    token.value = "x"  # type: ignore[misc]


# The client.


def clients(session: aiohttp.ClientSession, observer: Observer) -> None:
    ClarusClient("acme", ClientCredentials("id", "secret"))
    clarus = ClarusClient(
        "acme",
        ClientCredentials("id", "secret"),
        base_url="https://clarus-api.com",
        timeouts=Timeouts(connect=5.0, attempt=30.0, settle=60.0, deadline=120.0),
        retry=RetryPolicy(max_attempts=4, base=0.05, cap=20.0),
        pacing=PacingPolicy(rate=10.0, burst=20, max_wait=300.0, scope="client"),
        max_connections=64,
        session=session,
        observer=observer,
        allow_http=False,
    )
    assert_type(clarus, ClarusClient)
    assert_type(clarus.subdomain, str)
    assert_type(clarus.integrations, Integrations)
    assert_type(clarus.pace, PaceState)
    assert_type(clarus.pace.rate, float | None)
    assert_type(clarus.pace.source, PaceSource)
    assert_type(clarus.pace.waiting, int)
    assert_type(clarus.pace.paused_until, datetime | None)
    assert_type(clarus.pace.kind, LimitKind | None)
    assert_type(clarus.pace.burst, int | None)
    assert_type(clarus.pace.window, float | None)
    assert_type(clarus.pace.certainty, float)
    assert_type(clarus.pace.queued, int)
    rate, source, *_ = clarus.pace
    show(rate, source)
    _source: str = clarus.pace.source
    ClarusClient("acme", AccessToken("token"), "https://clarus-api.com")  # type: ignore[call-arg]
    ClarusClient("acme", AccessToken("token"), timeout=5)  # type: ignore[call-arg]
    ClarusClient("acme")  # type: ignore[call-arg]


def from_the_environment() -> None:
    assert_type(ClarusClient.from_env(), ClarusClient)
    ClarusClient.from_env(subdomain="acme", timeouts=Timeouts(), retry=RetryPolicy(), max_connections=8)
    ClarusClient.from_env(credentials=AccessToken("token"), base_url="http://localhost:1", observer=None)
    ClarusClient.from_env(subdomian="acme")  # type: ignore[call-arg]
    ClarusClient.from_env(max_connections="8")  # type: ignore[arg-type]


def views(clarus: ClarusClient) -> None:
    assert_type(clarus.for_subdomain("globex"), ClarusClient)
    clarus.for_subdomain("globex", ClientCredentials("id", "secret"))
    clarus.for_subdomain("globex", credentials=AccessToken("token"))
    assert_type(clarus.with_options(), ClarusClient)
    clarus.with_options(timeouts=Timeouts(deadline=5.0), retry=RetryPolicy(max_attempts=1))
    clarus.with_options(Timeouts())  # type: ignore[call-arg]


async def lives() -> None:
    async with ClarusClient("acme", AccessToken("token")) as clarus:
        assert_type(clarus, ClarusClient)
        assert_type(await clarus.ping(), None)
        assert_type(await clarus.graphql("query { x }"), dict[str, Any])
        await clarus.graphql("query($x: Int) { x }", {"x": 1})
        await clarus.graphql("query($x: Int) { x }", variables={"x": [1, {"y": None}]})
    assert_type(await clarus.close(), None)


class Service(ClarusClient):
    """A subclass keeps its own type."""

    async def shop(self, name: str) -> Integration:
        return await self.integrations.create(NewIntegration(name=name, integration_type="shopify"))


async def subclasses() -> None:
    assert_type(Service.from_env(), Service)
    async with Service("acme", AccessToken("token")) as service:
        assert_type(service, Service)


# Options.


def options() -> None:
    timeouts = Timeouts(deadline=5)
    assert_type(timeouts.connect, float)
    assert_type(timeouts.attempt, float)
    assert_type(timeouts.settle, float)
    assert_type(timeouts.deadline, float)
    Timeouts(5.0)  # type: ignore[call-arg]
    timeouts.deadline = 1.0  # type: ignore[misc]
    retry = RetryPolicy(max_attempts=1)
    assert_type(retry.max_attempts, int)
    assert_type(retry.base, float)
    assert_type(retry.cap, float)
    pacing = PacingPolicy(start=5.0)
    assert_type(pacing.rate, float | None)
    assert_type(pacing.burst, int | None)
    assert_type(pacing.start, float | None)
    assert_type(pacing.max_wait, float)
    assert_type(pacing.scope, Literal["tenant", "client"])
    PacingPolicy(rate=10)
    PacingPolicy(10.0)  # type: ignore[call-arg]
    PacingPolicy(burst=1.5)  # type: ignore[arg-type]
    PacingPolicy(scope="account")  # type: ignore[arg-type]
    pacing.rate = 1.0  # type: ignore[misc]
    assert_type(attrs.evolve(timeouts, deadline=3.0), Timeouts)


# The authorization code flow.


async def authorization(session: aiohttp.ClientSession) -> None:
    flow = AuthorizationCode("id", "secret", "https://app.test/back")
    AuthorizationCode(
        "id", "secret", "https://app.test/back", ("read",),
        base_url="https://clarus-api.com", timeouts=Timeouts(), session=session, allow_http=False,
    )  # fmt: skip
    assert_type(flow.authorization_url("state", "challenge"), str)
    flow.authorization_url(state="state", code_challenge="challenge")
    granted = await flow.exchange("code", "verifier")
    assert_type(granted, RefreshToken | AccessToken)
    ClarusClient("acme", granted)
    await flow.exchange(code="code", code_verifier="verifier")


# Records.


@attrs.frozen
class MyConfiguration:
    """Any attrs instance is a configuration."""

    url: str


def records() -> None:
    new = NewIntegration(
        name="Shopify Store",
        integration_type="shopify",
        provider="shopify",
        is_active=True,
        account_id=1,
        warehouse_id=2,
        configuration={"api_key": "…", "deep": {"er": [1, None]}},
        external_system_reference1="shop-1",
        external_system_reference2="x",
        external_system_reference3="y",
        string1="1",
        string2="2",
        string3="3",
        string4="4",
        string5="5",
    )
    NewIntegration(name="x", integration_type="y", configuration=MyConfiguration(url="z"))
    NewIntegration(name="x", integration_type="y", configuration=ShopifyConfiguration(api_key="k", shop_domain="d"))
    NewIntegration("x", "y")  # type: ignore[call-arg]
    NewIntegration(name="x", integration_type="y", nmae="z")  # type: ignore[call-arg]
    NewIntegration(name=1, integration_type="y")  # type: ignore[arg-type]
    assert_type(new.name, str)
    assert_type(new.key, str)
    assert_type(new.is_active, bool | None)
    assert_type(new.account_id, int | None)
    assert_type(new.external_system_reference1, str | None)
    new.name = "other"  # type: ignore[misc]
    assert_type(NewIntegration.from_mapping({"name": "x", "integration_type": "y"}), NewIntegration)


def changes() -> None:
    IntegrationChanges(is_active=False, string1=None)
    IntegrationChanges(name="x", configuration={"a": 1}, string2="2", string3=UNSET, string4=None, string5="5")
    IntegrationChanges(name=None)  # type: ignore[arg-type]
    IntegrationChanges(integration_type="x")  # type: ignore[call-arg]
    given = IntegrationChanges(is_active=None)
    assert_type(given.is_active, bool | None | Literal[Unset.UNSET])
    if given.is_active is not UNSET:
        assert_type(given.is_active, bool | None)


def filters() -> None:
    IntegrationFilter(provider="shopify", is_active=True)
    IntegrationFilter(name=["a", "b"], name_contains="c", provider=("d",), integration_type="e", status=["active"])
    IntegrationFilter(is_active="yes")  # type: ignore[arg-type]
    IntegrationFilter(names=["a"])  # type: ignore[call-arg]


def answers(integration: Integration, row: IntegrationRow) -> None:
    assert_type(integration.id, int)
    assert_type(integration.name, str | None)
    assert_type(integration.integration_type, str | None)
    assert_type(integration.provider, str | None)
    assert_type(integration.is_active, bool | None)
    assert_type(integration.account_id, int | None)
    assert_type(integration.warehouse_id, int | None)
    assert_type(integration.configuration, Mapping[str, Any] | None)
    assert_type(integration.external_system_reference1, str | None)
    assert_type(integration.string5, str | None)
    assert_type(integration.extra, Mapping[str, Any])
    assert_type(row.id, int)
    assert_type(row.name, str | None)
    assert_type(row.provider, str | None)
    assert_type(row.integration_type, str | None)
    assert_type(row.status, str | None)
    assert_type(row.is_active, bool | None)
    assert_type(row.created_at, datetime | None)
    assert_type(row.external_system_reference1, str | None)
    assert_type(row.extra, Mapping[str, Any])
    row.name = "x"  # type: ignore[misc]


# The resource.


async def resource(clarus: ClarusClient, new: NewIntegration) -> None:
    integrations = clarus.integrations
    assert_type(await integrations.create(new), Integration)
    assert_type(await integrations.update(1, IntegrationChanges(is_active=False)), Integration)
    assert_type(await integrations.delete(1), None)
    assert_type(await integrations.synchronize(1), None)
    await integrations.synchronize(1, repeatable=True)
    await integrations.create({"name": "x"})  # type: ignore[arg-type]
    await integrations.update("1", IntegrationChanges(is_active=False))  # type: ignore[arg-type]
    await integrations.update(1, {"is_active": False})  # type: ignore[arg-type]
    await integrations.synchronize(1, True)  # type: ignore[call-arg]


async def external_entities(clarus: ClarusClient) -> None:
    entities = clarus.external_entities
    assert_type(entities, ExternalEntities)
    new = NewExternalEntity(entity_type="product", code="SKU-1", external_system_reference1="p-1", integration_id=7)
    assert_type(NewExternalEntity.from_mapping({}), NewExternalEntity)
    assert_type(new.integration_id, int | None)
    NewExternalEntity(entity_type="product", code="SKU-1")  # type: ignore[call-arg]
    made = await entities.create(new)
    assert_type(made, ExternalEntity)
    assert_type(made.integration_id, int | None)
    assert_type(await entities.update(1, ExternalEntityChanges(description=None)), ExternalEntity)
    ExternalEntityChanges(code=None)  # type: ignore[arg-type]
    listed = entities.list(ExternalEntityFilter(entity_type=["product"], integration_id=7))
    assert_type(listed, ResourceList[ExternalEntityRow])
    assert_type(await entities.find(reference="p-1", integration_id=7), list[ExternalEntityRow])
    await entities.create(NewIntegration(name="x", integration_type="y"))  # type: ignore[arg-type]
    await entities.update(1, IntegrationChanges(name="x"))  # type: ignore[arg-type]
    entities.list(IntegrationFilter(name="x"))  # type: ignore[arg-type]
    entities.delete(1)  # type: ignore[attr-defined]
    async with entities.provision([new]) as run:
        assert_type([outcome async for outcome in run], list[Outcome])
    clarus.integrations.provision([new])  # type: ignore[list-item]


async def listing(clarus: ClarusClient) -> None:
    listed = clarus.integrations.list(IntegrationFilter(provider="shopify"), page_size=50)
    assert_type(listed, ResourceList[IntegrationRow])
    rows: AsyncIterator[IntegrationRow] = listed
    assert_type([row async for row in rows], list[IntegrationRow])
    async for row in clarus.integrations.list():
        assert_type(row, IntegrationRow)
    async for page in clarus.integrations.list().pages():
        assert_type(page, list[IntegrationRow])
    clarus.integrations.list(filter=IntegrationFilter(name="x"))
    assert_type(await clarus.integrations.find(name="x"), list[IntegrationRow])
    await clarus.integrations.find(name="x", reference="y", provider="z")
    await clarus.integrations.find("x")  # type: ignore[call-arg]


async def provisioning(
    clarus: ClarusClient, specs: Iterable[NewIntegration], later: AsyncIterable[NewIntegration]
) -> None:
    async with clarus.integrations.provision(specs) as run:
        assert_type(run, ProvisionRun)
        async for outcome in run:
            assert_type(outcome, Outcome)
        assert_type(run.report, Report)
        assert_type(run.stop(), None)
    clarus.integrations.provision(later, concurrency=16, on_progress=progress)
    clarus.integrations.provision([{"name": "x"}])  # type: ignore[list-item]
    clarus.integrations.provision(specs, 16)  # type: ignore[call-arg]
    report = await clarus.integrations.provision(specs)
    assert_type(report, Report)
    assert_type(report.counts, dict[OutcomeStatus, int])
    assert_type(report.total, int)
    assert_type(report.attempts, int)
    assert_type(report.ok, bool)
    assert_type(report.as_dict(), Mapping[str, int])
    outcomes: AsyncIterator[Outcome] = clarus.integrations.provision(specs)
    assert_type(await anext(outcomes), Outcome)


def progress(now: Progress) -> None:
    assert_type(now.report, Report)
    assert_type(now.elapsed, float)
    assert_type(now.rate, float)


def outcomes(outcome: Outcome) -> None:
    assert_type(outcome.index, int)
    assert_type(outcome.key, str)
    assert_type(outcome.status, OutcomeStatus)
    assert_type(outcome.status.ok, bool)
    assert_type(outcome.id, int | None)
    assert_type(outcome.resource, str)
    assert_type(outcome.matched_by, str | None)
    assert_type(outcome.error, Problem | None)
    assert_type(outcome.attempts, int)
    assert_type(outcome.others, Sequence[int])
    assert_type(outcome.to_json(), bytes)
    assert_type(Outcome.from_json(outcome.to_json()), Outcome)
    if outcome.error is not None:
        assert_type(outcome.error.type, str)
        assert_type(outcome.error.message, str)
        assert_type(outcome.error.applied, Applied)
        assert_type(outcome.error.retryable, bool)
        assert_type(outcome.error.status, int | None)
    text: str = outcome.status
    match outcome.status:
        case OutcomeStatus.CREATED | OutcomeStatus.ADOPTED | OutcomeStatus.UPDATED:
            show(text)
        case OutcomeStatus.FAILED | OutcomeStatus.CONFLICT | OutcomeStatus.UNRESOLVED | OutcomeStatus.DUPLICATED:
            show(outcome.error)
        case OutcomeStatus.DISABLED | OutcomeStatus.DELETED | OutcomeStatus.SYNCHRONIZED:
            show(outcome.id)
        case OutcomeStatus.WOULD_CREATE | OutcomeStatus.WOULD_UPDATE:
            show([(change.attribute, change.before, change.after) for change in outcome.changes])


# Errors.


async def errors(clarus: ClarusClient, new: NewIntegration) -> None:
    try:
        await clarus.integrations.create(new)
    except OutcomeUnknownError as error:
        assert_type(error.key, str | None)
        assert_type(error.sent_at, datetime | None)
        assert_type(error.settled_by, str | None)
    except (BadRequestError, ValidationError, ConflictError, NotFoundError, PermissionDeniedError) as error:
        assert_type(error.status, int)
        assert_type(error.errors, tuple[ErrorDetail, ...])
    except RateLimitedError as error:
        assert_type(error.retry_after, float | None)
    except GraphQLError as error:
        assert_type(error.errors, tuple[ErrorDetail, ...])
    except ResponseError as error:
        assert_type(error.pointer, str)
        assert_type(error.expected, str)
    except InvalidInputError as error:
        assert_type(error.problems, tuple[InputProblem, ...])
        value: ValueError = error
        show(value, [(problem.field, problem.reason) for problem in error.problems])
    except (ConfigurationError, AuthenticationError) as error:
        show(error)
    except ConnectionFailedError as error:
        connection: ConnectionError = error
        show(connection)
    except DeadlineExceededError as error:
        timeout: TimeoutError = error
        show(timeout)
    except ServerError as error:
        api: ApiError = error
        show(api)
    except ClarusError as error:
        assert_type(error.message, str)
        assert_type(error.reason, str)
        assert_type(error.applied, Applied)
        assert_type(error.retryable, bool)
        assert_type(error.retry_after, float | None)
        assert_type(error.method, str | None)
        assert_type(error.path, str | None)
        assert_type(error.request_id, str | None)
        assert_type(error.attempts, int)


def details(detail: ErrorDetail) -> None:
    assert_type(detail.code, int | str | None)
    assert_type(detail.symbol, str | None)
    assert_type(detail.details, str | None)
    assert_type(detail.source, str | None)
    assert_type(detail.context, Mapping[str, Any] | None)


# Observers.


class Printing:
    def on_event(self, event: Event) -> None:
        match event:
            case CallEvent():
                assert_type(event.operation, str)
                assert_type(event.method, str)
                assert_type(event.path, str)
                assert_type(event.duration, float)
                assert_type(event.attempts, int)
                assert_type(event.status, int | None)
                assert_type(event.applied, Applied | None)
                assert_type(event.error, str | None)
            case AttemptEvent():
                assert_type(event.number, int)
                assert_type(event.failure, str | None)
                assert_type(event.proves, str)
                assert_type(event.request_id, str | None)
                assert_type(event.pace, float | None)
            case WaitEvent():
                assert_type(event.reason, WaitReason)
                assert_type(event.seconds, float | None)
            case TokenEvent():
                assert_type(event.expires_in, float | None)
                assert_type(event.failure, str | None)


class Counting:
    """What an observer calls its arguments is its own affair."""

    count = 0

    def on_event(self, what: object) -> None:
        self.count += 1

    def for_tenant(self, tenant: str, url: str) -> Observer:
        return self


class Deaf:
    def on_event(self) -> None: ...


def observers() -> None:
    ClarusClient("acme", AccessToken("token"), observer=Printing())
    ClarusClient("acme", AccessToken("token"), observer=Counting())
    counting: TenantObserver = Counting()
    show(counting)
    ClarusClient("acme", AccessToken("token"), observer=Deaf())  # type: ignore[arg-type]
    by_tenant: TenantObserver = OpenTelemetryObserver(
        tracer_provider=trace.get_tracer_provider(), meter_provider=metrics.get_meter_provider(), tenants=True
    )
    assert_type(by_tenant.for_tenant("acme", "https://clarus-api.com"), Observer)
    ClarusClient("acme", AccessToken("token"), observer=by_tenant)
    OpenTelemetryObserver(True)  # type: ignore[call-arg, arg-type]
    OpenTelemetryObserver(tenants="acme")  # type: ignore[arg-type]


# The simulator.


async def simulators(context: ssl.SSLContext) -> None:
    async with Simulator() as simulator:
        assert_type(simulator, Simulator)
        assert_type(simulator.url, str)
        assert_type(simulator.port, int)
        assert_type(simulator.credentials, ClientCredentials)
        assert_type(simulator.integrations("acme"), list[StoredRecord])
        assert_type(simulator.requests, Sequence[LoggedRequest])
        assert_type(simulator.count(Endpoint.CREATE, "acme"), int)
        assert_type(simulator.open_connections, int)
        simulator.script(Endpoint.CREATE, Fault("reset_after"), FaultKind.HTML_502, None)
        simulator.expire_tokens()
    Simulator(
        tenants=("acme", "globex"),
        quota={"acme": Quota(limit=10, window=1.0, kind="bucket", headers="ietf", burst=5)},
        faults=[Fault(FaultKind.UNAVAILABLE, probability=0.1, retry_after=1)],
        seed=1,
        latency=0.1,
        token_lifetime=None,
        searchable_references=True,
        unique_references=True,
        check_ids=False,
        max_page_size=10,
        rotate_refresh_tokens=False,
        keep_requests=100,
        host="127.0.0.1",
        port=0,
        ssl_context=context,
    )
    Quota(limit=1, kind="leaky")  # type: ignore[arg-type]


def what_a_record_can_not_be_without() -> None:
    NewIntegration(name="Shop")  # type: ignore[call-arg]
    NewIntegration(integration_type="shopify")  # type: ignore[call-arg]
