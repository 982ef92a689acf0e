"""Events: what an observer is told about calls, their requests, waits and tokens.

# Observers

An observer is any object with a method `on_event(event)`:

```python
from clarus_async import CallEvent, ClarusClient, ClientCredentials, Event


class CallTimes:
    def on_event(self, event: Event, /) -> None:
        if isinstance(event, CallEvent):
            print(event.operation, event.error or "ok", event.duration)


async with ClarusClient("acme", ClientCredentials("id", "secret"), observer=CallTimes()) as clarus:
    await clarus.ping()
```

One public call is one `CallEvent`, however many requests it took. Each request is an `AttemptEvent`, each wait is a
`WaitEvent`, and each request for a token is a `TokenEvent`. They name the call that they belong to by `call_id`, a
number that counts up within a client. Times are seconds on the event loop's clock, and durations are seconds.

Events hold no tenant, payload, name or id of a record. An observer that also has a method
`for_tenant(subdomain, base_url)` is asked for an observer for each view of the client: see `TenantObserver`.

`on_event` is called on the event loop, in the task that makes the call (for a token, in the task that asks for it), so
it must be quick. What it raises is logged, once for each kind of event, and not raised.

`clarus_async.opentelemetry` is an observer that makes traces and metrics.
"""

from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias

from clarus_async.errors import Applied


class WaitReason(StrEnum):
    """What a call waits for."""

    BACKOFF = "backoff"
    PACE = "pace"
    CONNECTION = "connection"
    TOKEN = "token"  # noqa: S105  no secret, a reason


class AttemptEvent(NamedTuple):
    """One request ended.

    Args:
        call_id: the call it belongs to.
        operation: such as ``create``.
        number: 1 for the call's first request.
        started_at: when it was sent.
        duration: until its response was read, or it was given up.
        status: the HTTP status, if there was a response.
        failure: why there was no response, if there was none.
        proves: what it proves: ``not_sent``, ``rejected``, ``unknown``, ``applied``, ``done`` or ``misconfigured``.
        request_id: the server's ``X-Request-Id``.
        pace: the tenant's estimated rate limit after it, in requests a second; ``None`` if nothing limits them.
    """

    call_id: int
    operation: str
    number: int
    started_at: float
    duration: float
    status: int | None
    failure: str | None
    proves: str
    request_id: str | None
    pace: float | None = None


class WaitEvent(NamedTuple):
    """A call is about to wait.

    Args:
        call_id: the call.
        operation: such as ``create``.
        reason: what it waits for.
        seconds: how long, if that is known beforehand.
    """

    call_id: int
    operation: str
    reason: WaitReason
    seconds: float | None


class TokenEvent(NamedTuple):
    """The token endpoint, or a token source, was asked for a token.

    Args:
        duration: until it answered, or the request was given up.
        expires_in: the lifetime of the token in seconds, if one came.
        failure: the class name of the error, if none came.
    """

    duration: float
    expires_in: float | None
    failure: str | None


class CallEvent(NamedTuple):
    """A call ended.

    Args:
        call_id: the call.
        operation: such as ``create``.
        method: the HTTP method.
        path: the path's template, without ids.
        started_at: when the call began.
        duration: waits and retries included.
        attempts: how many requests were sent.
        status: the last HTTP status, if there was any response.
        applied: the most that any attempt may have done, if the call failed.
        error: the class name of the error, ``CancelledError`` included; ``None`` if the call succeeded.
    """

    call_id: int
    operation: str
    method: str
    path: str
    started_at: float
    duration: float
    attempts: int
    status: int | None
    applied: Applied | None
    error: str | None


Event: TypeAlias = CallEvent | AttemptEvent | WaitEvent | TokenEvent


class Observer(Protocol):
    """What ``ClarusClient(observer=…)`` accepts."""

    def on_event(self, event: Event, /) -> None:
        """Receive an event; called on the event loop, so it must return at once.

        What it raises is logged once for each kind of event, and goes no further.
        """
        ...


class TenantObserver(Observer, Protocol):
    """An observer that wants to know whose calls its events are of, which no event says."""

    def for_tenant(self, subdomain: str, base_url: str, /) -> Observer:
        """Return the observer of one view's calls; called once for each view, so it must return at once.

        A ``TokenEvent``, which belongs to no tenant, goes to the observer that was passed in.

        Args:
            subdomain: the view's tenant.
            base_url: where its client's calls go.
        """
        ...
