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
    GATE = "gate"
    TOKEN = "token"  # noqa: S105  no secret, a reason


class AttemptEvent(NamedTuple):
    """One request ended.

    Args:
        call_id: the call it belongs to.
        operation: such as ``create``.
        number: 1 for the call's first request.
        started_at: when it was sent.
        duration: until its answer was read, or it was given up.
        status: the HTTP status, if an answer came.
        failure: why there was no answer, if there was none.
        proves: what it proves: ``not_sent``, ``rejected``, ``unknown``, ``applied``, ``done`` or ``misconfigured``.
        request_id: the server's ``X-Request-Id``.
        pace: requests a second that are believed to be right after it; ``None`` where nothing limits them.
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
        seconds: how long, where that is known beforehand.
    """

    call_id: int
    operation: str
    reason: WaitReason
    seconds: float | None


class TokenEvent(NamedTuple):
    """The token endpoint, or a token source, was asked for a token.

    Args:
        duration: until it answered, or was given up.
        expires_in: seconds of life that the token was given, if one came.
        failure: why none came.
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
        path: the path's template: ids are left out.
        started_at: when the call began.
        duration: waits and retries included.
        attempts: how many requests went out.
        status: the last HTTP status, if any answer came.
        applied: the most that any attempt may have done, where the call failed.
        error: the error's class name, ``CancelledError`` included; ``None`` where all went well.
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
    """What ``ClarusClient(observer=…)`` takes."""

    def on_event(self, event: Event, /) -> None:
        """Be told of an event; called on the event loop, so it must be quick.

        What it raises is logged, once for each kind of event, and not raised.
        """
        ...


class TenantObserver(Observer, Protocol):
    """An observer that wants to know whose calls it is told of, which no event says."""

    def for_tenant(self, subdomain: str, base_url: str, /) -> Observer:
        """Return who is told of the calls of one view of a client; called once for each view, so it must be quick.

        What belongs to no tenant, a :class:`TokenEvent`, is told to the observer that was passed in.

        Args:
            subdomain: the view's tenant.
            base_url: where its client's calls go.
        """
        ...
