"""The asyncio client for the Clarus warehouse platform: it knows what a failure proves.

`ClarusClient` is where to begin. The chapters of the documentation are those of

- `clarus_async.client`: the client in a service, with views, FastAPI and aiohttp.web;
- `clarus_async.config`, `clarus_async.auth`: settings, and authentication;
- `clarus_async.errors`, `clarus_async.retry`: every error, and what a failure proves;
- `clarus_async.ratelimit`: how a rate limit is found and kept;
- `clarus_async.provisioning`, `clarus_async.provisioning.files`: many creates from one input, or from a file;
- `clarus_async.cli`: the command line;
- `clarus_async.fleet`: many processes and machines;
- `clarus_async.opentelemetry`, `clarus_async.events`: traces, metrics, logs, and observers of your own;
- `clarus_async.simulator`: tests of your own service.
"""

import importlib
from typing import TYPE_CHECKING

from clarus_async._version import __version__

if TYPE_CHECKING:
    from clarus_async.auth.authorization_code import AuthorizationCode
    from clarus_async.calls.queries import ResourceList
    from clarus_async.client import ClarusClient, PaceState
    from clarus_async.config import DEFAULT_BASE_URL, PacingPolicy, RetryPolicy, Timeouts
    from clarus_async.credentials import AccessToken, ClientCredentials, Credentials, RefreshToken, Token, TokenSource
    from clarus_async.errors import (
        ApiError,
        Applied,
        AuthenticationError,
        BadRequestError,
        ClarusError,
        ConfigurationError,
        ConflictError,
        ConnectionFailedError,
        DeadlineExceededError,
        ErrorDetail,
        GraphQLError,
        InputProblem,
        InvalidInputError,
        JournalError,
        NotFoundError,
        OutcomeUnknownError,
        PermissionDeniedError,
        RateLimitedError,
        ResponseError,
        ServerError,
        ValidationError,
    )
    from clarus_async.events import (
        AttemptEvent,
        CallEvent,
        Event,
        Observer,
        TenantObserver,
        TokenEvent,
        WaitEvent,
        WaitReason,
    )
    from clarus_async.provisioning.options import Bottleneck, Progress
    from clarus_async.provisioning.report import FieldChange, Outcome, OutcomeStatus, Problem, Report
    from clarus_async.provisioning.run import ProvisionRun
    from clarus_async.ratelimit.pace import LimitKind, PaceSource
    from clarus_async.resources.external_entities import (
        ENTITY_TYPES,
        ExternalEntity,
        ExternalEntityChanges,
        ExternalEntityFilter,
        ExternalEntityRow,
        NewExternalEntity,
    )
    from clarus_async.resources.integrations import (
        INTEGRATION_TYPES,
        PROVIDERS,
        Integration,
        IntegrationChanges,
        IntegrationFilter,
        IntegrationRow,
        NewIntegration,
        ShopifyConfiguration,
    )
    from clarus_async.resources.typed_external_entities import ExternalEntities
    from clarus_async.resources.typed_integrations import Integrations
    from clarus_async.unset import UNSET, Unset

__all__ = [
    "DEFAULT_BASE_URL",
    "ENTITY_TYPES",
    "INTEGRATION_TYPES",
    "PROVIDERS",
    "UNSET",
    "AccessToken",
    "ApiError",
    "Applied",
    "AttemptEvent",
    "AuthenticationError",
    "AuthorizationCode",
    "BadRequestError",
    "Bottleneck",
    "CallEvent",
    "ClarusClient",
    "ClarusError",
    "ClientCredentials",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailedError",
    "Credentials",
    "DeadlineExceededError",
    "ErrorDetail",
    "Event",
    "ExternalEntities",
    "ExternalEntity",
    "ExternalEntityChanges",
    "ExternalEntityFilter",
    "ExternalEntityRow",
    "FieldChange",
    "GraphQLError",
    "InputProblem",
    "Integration",
    "IntegrationChanges",
    "IntegrationFilter",
    "IntegrationRow",
    "Integrations",
    "InvalidInputError",
    "JournalError",
    "LimitKind",
    "NewExternalEntity",
    "NewIntegration",
    "NotFoundError",
    "Observer",
    "Outcome",
    "OutcomeStatus",
    "OutcomeUnknownError",
    "PaceSource",
    "PaceState",
    "PacingPolicy",
    "PermissionDeniedError",
    "Problem",
    "Progress",
    "ProvisionRun",
    "RateLimitedError",
    "RefreshToken",
    "Report",
    "ResourceList",
    "ResponseError",
    "RetryPolicy",
    "ServerError",
    "ShopifyConfiguration",
    "TenantObserver",
    "Timeouts",
    "Token",
    "TokenEvent",
    "TokenSource",
    "Unset",
    "ValidationError",
    "WaitEvent",
    "WaitReason",
    "__version__",
]

# Imported when a name of theirs is first asked for: the pytest plugin is a part of the package, and runs in every
# project's tests. The first ones import the least.
_MODULES = (
    "errors",
    "unset",
    "validation",
    "config",
    "credentials",
    "events",
    "ratelimit.pace",
    "resources.integrations",
    "provisioning.report",
    "provisioning.options",
    "provisioning.run",
    "calls.queries",
    "client",
    "resources.typed_integrations",
    "resources.external_entities",
    "resources.typed_external_entities",
    "auth.authorization_code",
)


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in __all__:
        modules = (importlib.import_module(f"{__name__}.{path}") for path in _MODULES)
        globals()[name] = value = next(vars(module)[name] for module in modules if name in vars(module))
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
