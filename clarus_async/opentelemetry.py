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
current while a request is under way, and no `traceparent` is sent. Where every call is sampled, a create costs 1.7
times the CPU (`python -m benchmarks call`).

# Logs

The package logs to `clarus_async`: one line at INFO for each call that was retried or failed, and the rest at DEBUG.
What somebody has to act on is WARNING or ERROR. For anything else, pass an observer of your own: see
`clarus_async.events`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from clarus_async._version import __version__
from clarus_async.calls.telemetry import GIVEN_UP
from clarus_async.events import AttemptEvent, CallEvent, Event, Observer, TokenEvent, WaitEvent, WaitReason
from clarus_async.retry.effect import NoAnswer

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

# As many as a client knows: what was told of a tenant long ago is nothing that is believed now.
_PACES: Final = 4096

_ERROR_TYPES: Final[Mapping[str, str]] = {
    **{failure.value: failure.name.lower() for failure in NoAnswer},
    GIVEN_UP: "cancelled",
}
_ERROR: Final = Status(StatusCode.ERROR)


class OpenTelemetryObserver:
    """Makes spans and metrics; for ``ClarusClient(observer=…)``, of one client or of several.

    An observer of your own that passes events on to it must pass ``for_tenant`` on, too: without that, it knows no
    server and no tenant, and can't tell the calls of several clients apart.

    Args:
        tracer_provider: makes the spans; the global one where there is none.
        meter_provider: makes the metrics; the global one where there is none.
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
        self.requests: metrics.Histogram = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_REQUEST_BUCKETS,
        )
        self.calls: metrics.Histogram = meter.create_histogram(
            "clarus.client.call.duration",
            "s",
            "Duration of calls, waits and retries included.",
            explicit_bucket_boundaries_advisory=_LONG_BUCKETS,
        )
        self.waits: metrics.Histogram = meter.create_histogram(
            "clarus.client.wait.duration",
            "s",
            "How long calls waited for a token, the pace, a connection, or between two attempts.",
            explicit_bucket_boundaries_advisory=_LONG_BUCKETS,
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
        self._anonymous = _View(self, None, {})

    def for_tenant(self, subdomain: str, base_url: str) -> Observer:
        """Return who is told of the calls of one view of a client.

        Args:
            subdomain: the view's tenant.
            base_url: where its client's calls go.
        """
        at = urlsplit(base_url)
        attributes: dict[str, str | int] = {}
        if at.hostname is not None:
            attributes = {"server.address": at.hostname, "server.port": at.port or (80 if at.scheme == "http" else 443)}
        if self.tenants:
            attributes["clarus.tenant"] = subdomain
        return _View(self, (base_url, subdomain), attributes)

    def on_event(self, event: Event) -> None:
        """Be told of an event of a client that does not say whose it is.

        Args:
            event: what happened.
        """
        if isinstance(event, TokenEvent):
            self._token(event)
        else:
            self._anonymous.on_event(event)

    def _token(self, event: TokenEvent) -> None:
        now = time.time_ns()
        span = self.tracer.start_span("clarus token", start_time=now - round(event.duration * 1e9))
        if event.failure is not None:
            span.set_attribute("error.type", event.failure)
            span.set_status(_ERROR)
        span.end(now)

    def _rates(self, _: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        # Whoever collects does so in a thread of its own; the event loop's goes on meanwhile.
        return [metrics.Observation(rate, attributes) for rate, attributes in tuple(self.paces.values())]


class _View:
    """Is told of the calls of one view of a client, among which a call's number tells it from others.

    Args:
        ours: makes spans and metrics.
        key: whose pace it is told of; ``None`` where that is not known.
        attributes: what all of them have in common.
    """

    __slots__ = ("_attributes", "_key", "_ours", "_under_way")

    def __init__(self, ours: OpenTelemetryObserver, key: tuple[str, str] | None, attributes: _Attributes) -> None:
        self._ours = ours
        self._key = key
        self._attributes = attributes
        self._under_way: dict[int, list[_Told]] = {}

    def on_event(self, event: Event) -> None:
        if isinstance(event, AttemptEvent):
            self._under_way.setdefault(event.call_id, []).append((event.started_at, event))
            if self._ours.tenants:
                self._paced(event.pace)
        elif isinstance(event, CallEvent):
            self._ended(event, self._under_way.pop(event.call_id, []))
        elif isinstance(event, WaitEvent):
            at = asyncio.get_running_loop().time()
            self._under_way.setdefault(event.call_id, []).append((at, event))

    def _paced(self, rate: float | None) -> None:
        if self._key is None:
            return
        paces = self._ours.paces
        paces.pop(self._key, None)
        if rate is not None:
            paces[self._key] = (rate, self._attributes)
            if len(paces) > _PACES:
                # The one that was told of longest ago.
                paces.pop(next(iter(paces)), None)

    def _ended(self, call: CallEvent, told: list[_Told]) -> None:
        ended = call.started_at + call.duration
        # All times of a call are converted by one look at the clock: its spans fit, and no duration has a step in it.
        zero = time.time_ns() - round(ended * 1e9)
        attributes: dict[str, str | int] = {**self._attributes, "clarus.operation": call.operation}
        if call.error is not None:
            attributes["error.type"] = call.error
        span = self._ours.tracer.start_span(
            f"clarus {call.operation}", attributes=attributes, start_time=zero + round(call.started_at * 1e9)
        )
        # An exemplar of a metric leads to the call; what is not recorded has none, and its requests are not either.
        within = trace.set_span_in_context(span)
        recorded = span.is_recording()
        self._ours.calls.record(call.duration, attributes, within)
        for index, (at, event) in enumerate(told):
            if isinstance(event, AttemptEvent):
                shared = self._of_request(call, event)
                self._ours.requests.record(event.duration, shared, within)
                if recorded:
                    self._request(event, shared, zero + round(at * 1e9), within)
                continue
            until = told[index + 1][0] if index + 1 < len(told) else ended
            waited = max(0.0, until - at)
            if event.reason is WaitReason.BACKOFF and event.seconds is not None:
                # A look-up, which is a call of its own, may come between it and the next attempt.
                waited = min(waited, event.seconds)
            reason = event.reason.value
            self._ours.waits.record(waited, {**self._attributes, "clarus.wait.reason": reason}, within)
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

    def _of_request(self, call: CallEvent, attempt: AttemptEvent) -> dict[str, str | int]:
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

    def _request(self, attempt: AttemptEvent, shared: _Attributes, start: int, within: Context) -> None:
        attributes: dict[str, AttributeValue] = {**shared, "clarus.proves": attempt.proves}
        if attempt.number > 1:
            attributes["http.request.resend_count"] = attempt.number - 1
        if attempt.request_id is not None:
            attributes["http.response.header.x-request-id"] = [attempt.request_id]
        span = self._ours.tracer.start_span(
            f"{shared['http.request.method']} {shared['url.template']}",
            within,
            SpanKind.CLIENT,
            attributes,
            start_time=start,
        )
        if "error.type" in shared:
            span.set_status(_ERROR)
        span.end(start + round(attempt.duration * 1e9))


_Told: TypeAlias = tuple[float, AttemptEvent | WaitEvent]
