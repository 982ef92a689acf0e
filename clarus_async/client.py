"""The client: one for the life of a process, with views of it for other tenants and other options.

# Use the client in a service

Make one client for the life of the process. Making it opens nothing and needs no running event loop. It may be made,
and even used, before a fork: the child process starts afresh, and leaves its parent's connections alone.

Other tenants and other options are *views* of the client. A view is cheap enough to make one for each request. Views
share the client's connections and tokens, and each tenant has a rate limit of its own:

```python
from clarus_async import ClarusClient, ClientCredentials, RetryPolicy, Timeouts

async with ClarusClient("acme", ClientCredentials("id", "secret")) as clarus:
    globex = clarus.for_subdomain("globex")
    quick = globex.with_options(timeouts=Timeouts(deadline=5.0), retry=RetryPolicy(max_attempts=1))
    await quick.ping()
```

`ClarusClient.from_env()` reads the settings from the environment: see `clarus_async.config`.

# FastAPI

One client for the app's life, and a view of it for each request (`uvicorn service:app --workers 2`):

```python
import contextlib
import math
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse

from clarus_async import ClarusClient, ClarusError, NewIntegration, OutcomeUnknownError, PacingPolicy, Timeouts

STATUS = {
    "InvalidInputError": 422,
    "ValidationError": 422,
    "NotFoundError": 404,
    "ConflictError": 409,
    "RateLimitedError": 503,
    "ConnectionFailedError": 503,
    "DeadlineExceededError": 504,
    "OutcomeUnknownError": 504,
}


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with ClarusClient.from_env(pacing=PacingPolicy(max_wait=5.0)) as app.state.clarus:
        yield


app = FastAPI(lifespan=lifespan)


async def view(  # async, for FastAPI runs what is not in a thread; which tenant may be whose is yours to check
    request: Request,
    x_tenant: Annotated[str, Header(pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")],
    x_request_timeout: Annotated[float, Header(gt=0, le=60)] = 20.0,
) -> ClarusClient:
    clarus: ClarusClient = request.app.state.clarus
    return clarus.for_subdomain(x_tenant).with_options(timeouts=Timeouts(deadline=x_request_timeout))


@app.post("/shops/{name}")
async def create(name: str, clarus: Annotated[ClarusClient, Depends(view)]) -> dict[str, object]:
    shop = await clarus.integrations.create(NewIntegration(name=name, integration_type="shopify"))
    return {"id": shop.id, "name": shop.name}


@app.exception_handler(ClarusError)
async def answer(request: Request, error: ClarusError) -> JSONResponse:
    body: dict[str, object] = {"error": type(error).__name__, "detail": str(error), "applied": error.applied}
    if isinstance(error, OutcomeUnknownError):
        body |= {"settled_by": error.settled_by, "settles_at": str(error.settles_at)}
    headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
    return JSONResponse(body, STATUS.get(type(error).__name__, 502), headers)
```

pydantic knows the records and the options, so FastAPI takes them as bodies (`new: Annotated[NewIntegration, Body()]`),
answers with them (`-> Integration`, `-> list[IntegrationRow]`, `-> Outcome`), and describes them in its OpenAPI
document. A wrong body is answered with a 422 that names each field and repeats none of the values. Credentials in a
settings model can be read and are never written.

# aiohttp.web

The same service (`python -m aiohttp.web service:make_app`):

```python
import math
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from clarus_async import ClarusClient, ClarusError, NewIntegration, OutcomeUnknownError, PacingPolicy, Timeouts

CLARUS = web.AppKey("clarus", ClarusClient)
STATUS = {
    "InvalidInputError": 422,
    "ValidationError": 422,
    "NotFoundError": 404,
    "ConflictError": 409,
    "RateLimitedError": 503,
    "ConnectionFailedError": 503,
    "DeadlineExceededError": 504,
    "OutcomeUnknownError": 504,
}


async def clarus(app: web.Application) -> AsyncIterator[None]:
    async with ClarusClient.from_env(pacing=PacingPolicy(max_wait=5.0)) as app[CLARUS]:
        yield


def view(request: web.Request) -> ClarusClient:
    try:
        timeouts = Timeouts(deadline=min(float(request.headers.get("X-Request-Timeout", 20)), 60.0))
        return request.app[CLARUS].for_subdomain(request.headers.get("X-Tenant", "")).with_options(timeouts=timeouts)
    except ValueError as error:  # ours are ValueErrors, too
        raise web.HTTPUnprocessableEntity(text=str(error)) from error


async def create(request: web.Request) -> web.Response:
    new = NewIntegration(name=request.match_info["name"], integration_type="shopify")
    shop = await view(request).integrations.create(new)
    return web.json_response({"id": shop.id, "name": shop.name})


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ClarusError as error:
        body: dict[str, object] = {"error": type(error).__name__, "detail": str(error), "applied": error.applied}
        if isinstance(error, OutcomeUnknownError):
            body |= {"settled_by": error.settled_by, "settles_at": str(error.settles_at)}
        headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
        return web.json_response(body, status=STATUS.get(type(error).__name__, 502), headers=headers)


def make_app(argv: list[str] | None = None) -> web.Application:
    app = web.Application(middlewares=[errors])
    app.cleanup_ctx.append(clarus)
    app.router.add_post("/shops/{name}", create)
    return app
```

# Which status to answer with

| error | answer | because |
|---|---|---|
| `InvalidInputError`, `ValidationError` | 422 | what was asked for can't be done |
| `NotFoundError`, `ConflictError` | 404, 409 | that is the record's state |
| `RateLimitedError` | 503 with `Retry-After` | it is your quota that is used up, not your caller's |
| `ConnectionFailedError` | 503 | nothing was applied, so the caller may try again |
| `DeadlineExceededError` | 504, `applied` is `no` | nothing was applied, so the caller may try again |
| `OutcomeUnknownError` | 504, `applied` is `maybe` | the caller must not simply try again |
| all others | 502 | they concern whoever runs the service |

Keep an `OutcomeUnknownError` (it pickles), and call `resolve(error)` at any time: before `settles_at` it waits, within
its deadline.

# Disconnects and shutdown

In both servers, a caller that goes away cancels nothing: the call continues, and what is in doubt is settled. After a
SIGTERM, calls in flight end before the client is closed, so allow for the longest deadline that you accept. Each worker
process has a client and a rate limiter of its own: a `PacingPolicy(rate=...)` is for one of them. To share the limit,
see `clarus_async.fleet`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MethodType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypedDict, TypeVar, Unpack, overload

from clarus_async.calls.caller import Caller
from clarus_async.calls.core import ClientCore
from clarus_async.calls.queries import graphql_request
from clarus_async.calls.request import Request
from clarus_async.config import (
    DEFAULT_BASE_URL,
    PacingPolicy,
    RetryPolicy,
    Timeouts,
    base_url_problem,
    subdomain_problem,
)
from clarus_async.credentials import Credentials, credentials_problem
from clarus_async.errors import ConfigurationError, InvalidInputError
from clarus_async.events import Observer
from clarus_async.http.session import ClientSession
from clarus_async.ratelimit.pace import LimitKind, PaceSource
from clarus_async.resources.resource import Resource
from clarus_async.validation import plain_or_problem
from clarus_async.wire.graphql import PING

if TYPE_CHECKING:
    from clarus_async.resources.typed_external_entities import ExternalEntities
    from clarus_async.resources.typed_integrations import Integrations

__all__ = ["ClarusClient", "ClientOptions", "PaceState"]

R = TypeVar("R", bound=Resource[Any, Any, Any, Any, Any])


class ClientOptions(TypedDict, total=False):
    """The constructor's options, for ``ClarusClient.from_env``."""

    subdomain: str
    credentials: Credentials
    base_url: str
    timeouts: Timeouts
    retry: RetryPolicy
    pacing: PacingPolicy
    max_connections: int
    session: ClientSession | None
    observer: Observer | None
    allow_http: bool


class PaceState(NamedTuple):
    """What is known and estimated of a tenant's rate limit now.

    Args:
        rate: the estimated rate limit in requests a second; ``None`` if nothing has limited the tenant so far, or only
            the number of concurrent requests is limited.
        source: where the rate comes from.
        waiting: the number of calls that wait for the rate limiter.
        paused_until: nothing is sent before this (UTC); ``None`` if nothing is paused.
        queued: the number of calls that wait for a connection.
        kind: what is limited; ``None`` if nothing is.
        burst: requests that may be sent at once: the capacity of a bucket, or the number of concurrent requests;
            ``None`` if that is not known.
        window: seconds over which a quota is counted; ``None`` if there is no window.
        certainty: from 0 to 1, the lowest rate that the evidence allows divided by the highest; 1 for a rate that was
            given by you or the server, and 0 if nothing is limited.
    """

    rate: float | None
    source: PaceSource
    waiting: int
    paused_until: datetime | None
    queued: int
    kind: LimitKind | None
    burst: int | None
    window: float | None
    certainty: float


# A named tuple's constructor has a module of its own, in which pdoc would look for the types of its arguments.
PaceState.__new__.__module__ = __name__


class ResourceProperty(Generic[R]):
    """A resource of a client, made at first access.

    It decorates a function that imports the resource's class: few clients use every resource, and the record classes of
    one take some milliseconds to make. Accessed on the client's class, it is the resource's class, from which
    ``autospec`` makes a mock with the same methods.
    """

    def __init__(self, resource_class: Callable[[Any], type[R]]) -> None:
        self._class = resource_class
        self.__doc__ = resource_class.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, client: None, owner: type) -> type[R]: ...

    @overload
    def __get__(self, client: ClarusClient, owner: type) -> R: ...

    def __get__(self, client: ClarusClient | None, owner: type) -> Any:
        """Return the resource, or its class."""
        if client is None:
            return self._class(None)
        resource = vars(client)[self._name] = self._class(client)(client._caller)  # noqa: SLF001  a part of the client
        return resource


class ClarusClient:
    """The Clarus API for one tenant; one client serves a process for its life.

    Constructing one needs no running event loop and opens nothing. Close it with ``async with`` or ``close``.

    Args:
        subdomain: the tenant: one DNS label of ``a-z 0-9 -``.
        credentials: ``ClientCredentials``, ``RefreshToken``, ``AccessToken`` or a token source.
        base_url: ``https``, with no user, query or fragment; plain ``http`` to loopback only.
        timeouts: how long to wait, in seconds.
        retry: when a request is sent again.
        pacing: how the rate limit is kept.
        max_connections: concurrent requests, 1 to 10,000.
        session: your own ``aiohttp.ClientSession``, for proxies, CAs and mutual TLS; it is never closed here, must
            have ``cookie_jar=aiohttp.DummyCookieJar()``, and its redirect, status, timeout and header defaults are not
            used. A middleware of yours that sends a request a second time is stopped: that could make a second record.
        observer: is told what happens; see ``clarus_async.events``.
        allow_http: allow plain ``http`` to hosts other than loopback.

    Raises:
        ConfigurationError: a setting is wrong.
    """

    @ResourceProperty
    def integrations(self) -> type[Integrations]:
        """The tenant's integrations."""
        from clarus_async.resources.typed_integrations import Integrations  # noqa: PLC0415  see ResourceProperty

        return Integrations

    @ResourceProperty
    def external_entities(self) -> type[ExternalEntities]:
        """The tenant's external entities."""
        from clarus_async.resources.typed_external_entities import ExternalEntities  # noqa: PLC0415  as above

        return ExternalEntities

    def __init__(
        self,
        subdomain: str,
        credentials: Credentials,
        *,
        base_url: str = DEFAULT_BASE_URL,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        pacing: PacingPolicy | None = None,
        max_connections: int = 64,
        session: ClientSession | None = None,
        observer: Observer | None = None,
        allow_http: bool = False,
    ) -> None:
        problems = [
            *_type_problems(timeouts=timeouts, retry=retry, pacing=pacing, session=session),
            *filter(None, [credentials_problem(credentials)]),
        ]
        on_event = getattr(observer, "on_event", None)
        if observer is not None and not callable(on_event):
            problems.append("observer: must have a method on_event(event)")
        elif type(on_event) is MethodType and inspect.iscoroutinefunction(on_event):  # mocks say that they are both
            problems.append("observer: its on_event must not be async: nobody awaits it")
        if (
            isinstance(max_connections, bool)
            or not isinstance(max_connections, int)
            or not 1 <= max_connections <= 10_000
        ):
            problems.append("max_connections: must be an integer from 1 to 10,000")
        problems += filter(None, [subdomain_problem(subdomain), base_url_problem(base_url, allow_http=allow_http)])
        if problems:
            # What was given in the wrong place may be a secret, and error trackers send the frame that raises.
            del credentials, base_url, subdomain, timeouts, retry, pacing, session, observer, max_connections
            raise ConfigurationError("; ".join(problems))
        core = ClientCore(base_url.rstrip("/"), max_connections, pacing or PacingPolicy(), session, observer)
        self._bind(Caller(core, subdomain, credentials, timeouts or Timeouts(), retry or RetryPolicy()), owner=True)

    def _bind(self, caller: Caller, *, owner: bool) -> None:
        self._caller = caller
        self._owner = owner

    @classmethod
    def from_env(cls, **overrides: Unpack[ClientOptions]) -> Self:
        """Make a client from environment variables.

        Reads ``CLARUS_SUBDOMAIN``, ``CLARUS_CLIENT_ID``, ``CLARUS_CLIENT_SECRET``, ``CLARUS_SCOPES``,
        ``CLARUS_ACCESS_TOKEN``, ``CLARUS_REFRESH_TOKEN`` and ``CLARUS_BASE_URL``.

        Args:
            overrides: options of the constructor, which take precedence.

        Raises:
            ConfigurationError: variables are missing or bad; the message names every one.
        """
        from clarus_async.environment import read_environment  # noqa: PLC0415  only its callers pay for it

        settings = read_environment(overrides, allow_http=overrides.get("allow_http", False))
        overrides["subdomain"] = settings.subdomain
        overrides["credentials"] = settings.credentials
        overrides["base_url"] = settings.base_url
        return cls(**overrides)

    @property
    def subdomain(self) -> str:
        """The tenant."""
        return self._caller.subdomain

    @property
    def pace(self) -> PaceState:
        """What is known and estimated of this tenant's rate limit now."""
        core = self._caller.core
        queue = core.tenants.queue(self.subdomain)
        now = core.time()
        pause, waiting = queue.pace.pause(now), queue.waiting(self.subdomain)
        queued = waiting if core.connections.is_bottleneck(queue, now) else 0
        limit = queue.pace.limit
        return PaceState(
            rate=queue.pace.rate,
            source=queue.pace.source,
            waiting=waiting - queued,
            paused_until=datetime.now(UTC) + timedelta(seconds=pause) if pause > 0 else None,
            queued=queued,
            kind=None if limit is None else limit.kind,
            burst=None if limit is None else limit.burst,
            window=None if limit is None else limit.window,
            certainty=0.0 if limit is None else limit.certainty,
        )

    def for_subdomain(self, subdomain: str, credentials: Credentials | None = None) -> ClarusClient:
        """Return a view for another tenant, with the same pool and, by default, a rate limiter of its own.

        A view is cheap enough to make for each request; what it alone holds is forgotten with it. Equal credentials
        share a token. Closing a view closes nothing.

        Args:
            subdomain: the tenant.
            credentials: the tenant's own; by default, those of this view.

        Raises:
            ConfigurationError: the subdomain or the credentials are not valid.
        """
        problem = subdomain_problem(subdomain)
        if problem is None and credentials is not None:
            problem = credentials_problem(credentials)
        if problem is not None:
            del subdomain, credentials
            raise ConfigurationError(problem)
        ours = self._caller
        whose = ours.credentials if credentials is None else credentials
        return self._view(Caller(ours.core, subdomain, whose, ours.timeouts, ours.retry, ours.may_send))

    def with_options(self, *, timeouts: Timeouts | None = None, retry: RetryPolicy | None = None) -> ClarusClient:
        """Return a view with other options and the same pool, tenant and tokens. Closing a view closes nothing.

        Args:
            timeouts: how long to wait, in seconds.
            retry: when a request is sent again.

        Raises:
            ConfigurationError: an option has the wrong type.
        """
        if problems := _type_problems(timeouts=timeouts, retry=retry):
            del timeouts, retry
            raise ConfigurationError("; ".join(problems))
        ours = self._caller
        timeouts, retry = timeouts or ours.timeouts, retry or ours.retry
        return self._view(Caller(ours.core, ours.subdomain, ours.credentials, timeouts, retry, ours.may_send))

    def guarded(self, may_send: Callable[[], bool]) -> ClarusClient:
        """Return a view that sends only while ``may_send()`` is true, such as while a lease is held.

        A request that it does not allow raises ``ConnectionFailedError``, and is not sent. Closing a view closes
        nothing.

        Args:
            may_send: is called before each request but those for tokens, and again right before a body is written; it
                must return at once.
        """
        ours = self._caller
        return self._view(Caller(ours.core, ours.subdomain, ours.credentials, ours.timeouts, ours.retry, may_send))

    @staticmethod
    def _view(caller: Caller) -> ClarusClient:
        view = ClarusClient.__new__(ClarusClient)
        view._bind(caller, owner=False)  # noqa: SLF001  its own class
        return view

    async def ping(self) -> None:
        """Check that the API answers, in the way that the vendor recommends (CLARUS_API.md §4).

        Raises:
            ClarusError: it does not; the class says why.
        """
        await self._caller.run(graphql_request("ping", PING, {"first": 1}, dict))

    async def graphql(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a GraphQL document, for what has no method here, and return its ``data``.

        Args:
            query: a query or mutation. A mutation is never repeated after an unknown outcome.
            variables: its variables.

        Raises:
            InvalidInputError: the query is empty, or the variables are not a JSON object.
            GraphQLError: the response has ``errors``.
            OutcomeUnknownError: a mutation may have been applied.
            ClarusError: the call failed otherwise; the class says how.
        """
        request = _graphql(query, variables)
        # From here on no frame holds the variables as they are: an error tracker would send them.
        del variables
        if isinstance(request, InvalidInputError):
            raise request
        data: dict[str, Any] = (await self._caller.run(request)).value
        return data

    async def close(self) -> None:
        """Refuse new calls, let those in flight end within their attempt timeout, and close the pool.

        On a view it does nothing; closing the client that the view came from closes everything.
        """
        if self._owner:
            await self._caller.core.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        closing = asyncio.ensure_future(self.close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            # A second cancellation must not leave sockets behind.
            await closing
            raise

    def __repr__(self) -> str:
        caller = getattr(self, "_caller", None)
        return "<ClarusClient>" if caller is None else f"<ClarusClient {caller.subdomain} at {caller.core.base_url}>"


def _type_problems(**options: object) -> list[str]:
    return [
        f"{name}: must be {_TYPES[name].__name__}, not {type(value).__name__}"
        for name, value in options.items()
        if not (value is None or isinstance(value, _TYPES[name]))
    ]


_TYPES = {"timeouts": Timeouts, "retry": RetryPolicy, "pacing": PacingPolicy, "session": ClientSession}


def _graphql(query: object, variables: object) -> Request | InvalidInputError:
    if not isinstance(query, str) or not query.strip():
        return InvalidInputError("graphql: the query must be a string that is not empty")
    if not isinstance(variables, Mapping | None):
        return InvalidInputError(f"graphql: variables must be a mapping, not {type(variables).__name__}")
    values, problem = plain_or_problem({} if variables is None else variables, "variables")
    if problem is not None:
        return InvalidInputError.of("graphql", [problem])
    return graphql_request("graphql", query, values, dict)
