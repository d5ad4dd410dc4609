"""Spans by OpenTelemetry's API. Needs the extra ``otel``; where they go is up to the SDK that the program has set up.

Without an SDK nothing is recorded, and no run is given a trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.context import Context

from orchestrator.telemetry.spans import Attributes, Carrier, Opened, Tracer

_NAME = "saga-orchestrator"


class OtelOpened(Opened):
    """A span of OpenTelemetry's."""

    def __init__(self, span: trace.Span) -> None:
        self.span = span
        self.carrier = {}
        propagate.inject(self.carrier, trace.set_span_in_context(span))

    def note(self, attributes: Attributes) -> None:
        """Say something more of it."""
        self.span.set_attributes(attributes)

    def fail(self, why: str) -> None:
        """It ended badly."""
        self.span.set_status(trace.StatusCode.ERROR, why)

    def end(self) -> None:
        """It is over."""
        self.span.end()


class OtelTracer(Tracer):
    """Makes spans with whatever tracer provider the program has."""

    def launch(self, saga: str) -> Opened:
        """A span for writing a launch."""
        kind = trace.SpanKind.PRODUCER
        attributes = {"saga.name": saga}
        return OtelOpened(_tracer().start_span(f"launch {saga}", None, kind, attributes))

    def signal(self, signal: str) -> Opened:
        """A span for sending a signal."""
        return OtelOpened(_tracer().start_span(f"signal {signal}", kind=trace.SpanKind.PRODUCER))

    def received(
        self, parent: Carrier, name: str, attributes: Attributes, sender: Carrier, at: float
    ) -> Opened:
        """A span for a signal that came."""
        sent = trace.get_current_span(propagate.extract(sender)).get_span_context()
        span = _tracer().start_span(
            name,
            context=propagate.extract(parent),
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=[trace.Link(sent)] if sent.is_valid else (),
            start_time=int(at * 1e9),
        )
        span.end(int(at * 1e9))
        return OtelOpened(span)

    def sender(self, carrier: Carrier) -> Opened:
        """The sender of a signal, known by its context alone."""
        return OtelOpened(trace.get_current_span(propagate.extract(carrier, Context())))

    def command(
        self, parent: Carrier, name: str, attributes: Attributes, links: Sequence[Opened] = ()
    ) -> Opened:
        """A span for a command."""
        others = [one.span.get_span_context() for one in links if isinstance(one, OtelOpened)]
        span = _tracer().start_span(
            name,
            context=propagate.extract(parent),
            kind=trace.SpanKind.PRODUCER,
            attributes=attributes,
            links=[trace.Link(other) for other in others if other.is_valid],
        )
        return OtelOpened(span)

    def run(
        self, parent: Carrier, name: str, attributes: Attributes, since: float, until: float
    ) -> None:
        """A span for a whole run."""
        span = _tracer().start_span(
            name,
            context=propagate.extract(parent),
            attributes=attributes,
            start_time=int(since * 1e9),
        )
        span.end(int(until * 1e9))

    @contextmanager
    def performing(self, parent: Carrier, name: str, attributes: Attributes) -> Iterator[Opened]:
        """Around carrying out a command."""
        with _tracer().start_as_current_span(
            name,
            context=propagate.extract(parent),
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            record_exception=False,  # its message may hold what isn't ours to tell
            set_status_on_exception=False,
        ) as span:
            yield OtelOpened(span)

    def trace_id(self) -> str:
        """The trace that the code which runs now belongs to."""
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def _tracer() -> trace.Tracer:
    return trace.get_tracer(_NAME)
