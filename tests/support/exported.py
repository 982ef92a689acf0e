"""What OpenTelemetry's own SDK makes of an observer, kept in memory."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from clarus_async import ClarusClient
from clarus_async.opentelemetry import OpenTelemetryObserver


class Exported:
    """An observer, and what it made."""

    def __init__(self, *, sampler=None, **options):
        # To find out what there is to say of a process takes longer than most tests.
        self._exporter = InMemorySpanExporter()
        tracing = TracerProvider(sampler=sampler, resource=Resource.get_empty(), shutdown_on_exit=False)
        tracing.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        metering = MeterProvider([self._reader], resource=Resource.get_empty(), shutdown_on_exit=False)
        self.observer = OpenTelemetryObserver(tracer_provider=tracing, meter_provider=metering, **options)
        self.tracer = tracing.get_tracer("the caller's own")

    def forget(self):
        """Forget the spans so far."""
        self._exporter.clear()

    @property
    def spans(self):
        """Those of ours."""
        return [
            span
            for span in self._exporter.get_finished_spans()
            if span.instrumentation_scope.name != "the caller's own"
        ]

    @property
    def calls(self):
        """In the order in which they ended."""
        return [span for span in self.spans if span.kind is SpanKind.INTERNAL and span.name != "clarus token"]

    @property
    def tokens(self):
        return [span for span in self.spans if span.name == "clarus token"]

    @property
    def requests(self):
        return [span for span in self.spans if span.kind is SpanKind.CLIENT]

    def under(self, span):
        """The spans whose parent another one is."""
        return [each for each in self.spans if each.parent is not None and each.parent.span_id == span.context.span_id]

    def metrics(self):
        """Each with its points."""
        data = self._reader.get_metrics_data()
        return [
            (metric, metric.data.data_points)
            for of_resource in (data.resource_metrics if data is not None else ())
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
        ]

    def metric(self, name):
        """Its points, each as attributes and the point."""
        return [
            (dict(point.attributes), point)
            for metric, points in self.metrics()
            if metric.name == name
            for point in points
        ]

    @property
    def waits(self):
        """Sum and count of seconds by reason."""
        return {
            attributes["clarus.wait.reason"]: (round(point.sum, 6), point.count)
            for attributes, point in self.metric("clarus.client.wait.duration")
        }

    def text(self):
        """All that leaves the process, but for times and ids, as text."""
        spans = [
            (
                span.name,
                dict(span.attributes),
                span.status.description,
                [(e.name, dict(e.attributes)) for e in span.events],
            )
            for span in self.spans
        ]
        metrics = [
            (metric.name, metric.description, [(dict(p.attributes), getattr(p, "exemplars", ())) for p in points])
            for metric, points in self.metrics()
        ]
        return f"{spans} {metrics}"


def seconds(span):
    """How long a span was."""
    return (span.end_time - span.start_time) / 1e9


def client_of(sim, exported, **options):
    """A client of a simulator that an observer is told of."""
    return ClarusClient("acme", sim.credentials, base_url=sim.url, observer=exported.observer, **options)


def server_of(sim):
    """What says where a simulator is."""
    host, port = sim.url.removeprefix("http://").split(":")
    return {"server.address": host, "server.port": int(port)}
