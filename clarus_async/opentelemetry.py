"""Telemetry: traces and metrics, by OpenTelemetry's conventions for HTTP clients (extra ``opentelemetry``).

# Telemetry

```python
from clarus_async import ClarusClient, ClientCredentials
from clarus_async.opentelemetry import OpenTelemetryObserver

observer = OpenTelemetryObserver()  # takes tracer_provider= and meter_provider=; the global ones by default
async with ClarusClient("acme", ClientCredentials("id", "secret"), observer=observer) as clarus:
    await clarus.ping()
```

Each call is an `INTERNAL` span that is named after its operation (`clarus create`), a child of the caller's own span,
with an event for each wait. Each of its requests is a `CLIENT` span below it (`POST /api/integrations`), with
`http.request.resend_count`.

| metric | of | attributes |
|---|---|---|
| `http.client.request.duration` | each request | those of the conventions |
| `clarus.client.call.duration` | each call | operation and error |
| `clarus.client.wait.duration` | each wait | its reason: a token, the rate limit, a connection, a backoff |

No tenant, payload, name or id of a record is in them: that is also why there is no `url.full`. `tenants=True` adds the
attribute `clarus.tenant`, and the gauge `clarus.client.pace.rate`. Requests to the token endpoint have no spans.

Both kinds of spans are made when the call has ended, with the times at which they began and ended. So no span is
current while a request is under way, and no `traceparent` is sent. Where every call is sampled, a create costs 2.2
times the CPU; with two spans and two records made by hand it is 2.0 times (`python -m benchmarks call`).

# Logs

The package logs to `clarus_async`: one line at INFO for each call that was retried or failed, and the rest at DEBUG.
What somebody has to act on is WARNING or ERROR. For anything else, pass an observer of your own: see
`clarus_async.events`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from clarus_async._version import __version__
from clarus_async.calls.telemetry import GIVEN_UP
from clarus_async.events import AttemptEvent, CallEvent, Event, Observer, TokenEvent, WaitEvent, WaitReason
from clarus_async.retry.effect import NoResponse

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.util.types import AttributeValue
except ImportError as missing:
    raise ImportError(
        "clarus_async.opentelemetry needs OpenTelemetry's API: pip install 'clarus-async[opentelemetry]'"
    ) from missing

__all__ = ["OpenTelemetryObserver"]

_Attributes: TypeAlias = Mapping[str, str | int]

# What the conventions recommend for http.client.request.duration.
_REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
# A call and a wait may take minutes: the deadline and max_wait say how many.
_LONG_BUCKETS: Final = (*_REQUEST_BUCKETS, 30.0, 60.0, 120.0, 300.0)

# As many as a client knows: a pace that was reported long ago is nobody's now.
_MOST_PACES: Final = 4096

_ERROR_TYPES: Final[Mapping[str, str]] = {
    **{failure.value: failure.name.lower() for failure in NoResponse},
    GIVEN_UP: "cancelled",
}
_ERROR: Final = Status(StatusCode.ERROR)


class OpenTelemetryObserver:
    """Makes spans and metrics; for ``ClarusClient(observer=…)``, of one client or of several.

    An observer of your own that passes events on to it must pass ``for_tenant`` on, too: without that, it knows no
    server and no tenant, and can't tell the calls of several clients apart.

    Args:
        tracer_provider: makes the spans; the global one by default.
        meter_provider: makes the metrics; the global one by default.
        tenants: name the tenant in spans and metrics, as ``clarus.tenant``, and report the pace of each that was called
            of late. OpenTelemetry's SDK keeps a series of each for good: not for thousands of them.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        tenants: bool = False,
    ) -> None:
        self.tracer: trace.Tracer = trace.get_tracer("clarus_async", __version__, tracer_provider)
        meter = metrics.get_meter("clarus_async", __version__, meter_provider)

        def duration(name: str, description: str, buckets: Sequence[float]) -> metrics.Histogram:
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=buckets)

        self.requests: metrics.Histogram = duration(
            "http.client.request.duration", "Duration of HTTP client requests.", _REQUEST_BUCKETS
        )
        self.calls: metrics.Histogram = duration(
            "clarus.client.call.duration", "Duration of calls, waits and retries included.", _LONG_BUCKETS
        )
        self.waits: metrics.Histogram = duration(
            "clarus.client.wait.duration",
            "How long calls waited for a token, the pace, a connection, or between two attempts.",
            _LONG_BUCKETS,
        )
        self.tenants = tenants
        self.paces: dict[tuple[str, str], tuple[float, _Attributes]] = {}
        if tenants:
            # Of a tenant each: one figure for all of them would be nobody's.
            meter.create_observable_gauge(
                "clarus.client.pace.rate",
                [self._rates],
                "{request}/s",
                "Requests a second that are believed to be right for the tenant; none where nothing limits it.",
            )
        self._unknown = _CallRecorder(self, None, {})

    def for_tenant(self, subdomain: str, base_url: str) -> Observer:
        """Return the observer of the calls of one tenant by one client.

        Args:
            subdomain: the tenant.
            base_url: where the client's calls go.
        """
        at = urlsplit(base_url)
        attributes: dict[str, str | int] = {}
        if at.hostname is not None:
            attributes = {"server.address": at.hostname, "server.port": at.port or (80 if at.scheme == "http" else 443)}
        if self.tenants:
            attributes["clarus.tenant"] = subdomain
        return _CallRecorder(self, (base_url, subdomain), attributes)

    def on_event(self, event: Event) -> None:
        """Record an event of a client that does not say which tenant it is for.

        Args:
            event: what happened.
        """
        if isinstance(event, TokenEvent):
            self._record_token(event)
        else:
            self._unknown.on_event(event)

    def _record_token(self, event: TokenEvent) -> None:
        now = time.time_ns()
        span = self.tracer.start_span("clarus token", start_time=now - round(event.duration * 1e9))
        if event.failure is not None:
            span.set_attribute("error.type", event.failure)
            span.set_status(_ERROR)
        span.end(now)

    def _rates(self, _: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        # Whoever collects does so in a thread of its own; the event loop's goes on meanwhile.
        return [metrics.Observation(rate, attributes) for rate, attributes in tuple(self.paces.values())]


class _CallRecorder:
    """Records the calls of one tenant by one client, among which a call's number tells it from others."""

    __slots__ = ("_attributes", "_events", "_observer", "_tenant")

    def __init__(
        self, observer: OpenTelemetryObserver, tenant: tuple[str, str] | None, attributes: _Attributes
    ) -> None:
        self._observer = observer
        self._tenant = tenant
        self._attributes = attributes
        self._events: dict[int, list[_TimedEvent]] = {}

    def on_event(self, event: Event) -> None:
        if isinstance(event, AttemptEvent):
            self._events.setdefault(event.call_id, []).append((event.started_at, event))
            if self._observer.tenants:
                self._set_pace(event.pace)
        elif isinstance(event, CallEvent):
            self._record_call(event, self._events.pop(event.call_id, []))
        elif isinstance(event, WaitEvent):
            at = asyncio.get_running_loop().time()
            self._events.setdefault(event.call_id, []).append((at, event))

    def _set_pace(self, rate: float | None) -> None:
        if self._tenant is None:
            return
        paces = self._observer.paces
        paces.pop(self._tenant, None)
        if rate is not None:
            paces[self._tenant] = (rate, self._attributes)
            if len(paces) > _MOST_PACES:
                # The one that was reported longest ago.
                paces.pop(next(iter(paces)), None)

    def _record_call(self, call: CallEvent, events: list[_TimedEvent]) -> None:
        ended = call.started_at + call.duration
        # All times of a call are converted by one look at the clock: its spans fit, and no duration has a step in it.
        zero = time.time_ns() - round(ended * 1e9)
        attributes: dict[str, str | int] = {**self._attributes, "clarus.operation": call.operation}
        if call.error is not None:
            attributes["error.type"] = call.error
        span = self._observer.tracer.start_span(
            f"clarus {call.operation}", attributes=attributes, start_time=zero + round(call.started_at * 1e9)
        )
        # An exemplar of a metric leads to the call; what is not recorded has none, and its requests are not either.
        within = trace.set_span_in_context(span)
        recorded = span.is_recording()
        self._observer.calls.record(call.duration, attributes, within)
        for index, (at, event) in enumerate(events):
            if isinstance(event, AttemptEvent):
                shared = self._request_attributes(call, event)
                self._observer.requests.record(event.duration, shared, within)
                if recorded:
                    self._record_request(event, shared, zero + round(at * 1e9), within)
                continue
            until = events[index + 1][0] if index + 1 < len(events) else ended
            waited = max(0.0, until - at)
            if event.reason is WaitReason.BACKOFF and event.seconds is not None:
                # A lookup, which is a call of its own, may come between it and the next attempt.
                waited = min(waited, event.seconds)
            reason = event.reason.value
            self._observer.waits.record(waited, {**self._attributes, "clarus.wait.reason": reason}, within)
            if recorded:
                span.add_event(
                    "clarus.wait",
                    {"clarus.wait.reason": reason, "clarus.wait.duration": waited},
                    zero + round(at * 1e9),
                )
        if recorded:
            if call.applied is not None:
                span.set_attribute("clarus.applied", call.applied.value)
            if call.error is not None:
                span.set_status(_ERROR)
        span.end(zero + round(ended * 1e9))

    def _request_attributes(self, call: CallEvent, attempt: AttemptEvent) -> dict[str, str | int]:
        """Return what a request's span and its metric have in common."""
        attributes: dict[str, str | int] = {
            **self._attributes,
            "http.request.method": call.method,
            "url.template": call.path,
        }
        if attempt.status is not None:
            attributes["http.response.status_code"] = attempt.status
            if attempt.status >= 400:
                attributes["error.type"] = str(attempt.status)
        elif attempt.failure is not None:
            attributes["error.type"] = _ERROR_TYPES.get(attempt.failure, "_OTHER")
        return attributes

    def _record_request(self, attempt: AttemptEvent, shared: _Attributes, start: int, within: Context) -> None:
        attributes: dict[str, AttributeValue] = {**shared, "clarus.proves": attempt.proves}
        if attempt.number > 1:
            attributes["http.request.resend_count"] = attempt.number - 1
        if attempt.request_id is not None:
            attributes["http.response.header.x-request-id"] = [attempt.request_id]
        span = self._observer.tracer.start_span(
            f"{shared['http.request.method']} {shared['url.template']}",
            within,
            SpanKind.CLIENT,
            attributes,
            start_time=start,
        )
        if "error.type" in shared:
            span.set_status(_ERROR)
        span.end(start + round(attempt.duration * 1e9))


_TimedEvent: TypeAlias = tuple[float, AttemptEvent | WaitEvent]
