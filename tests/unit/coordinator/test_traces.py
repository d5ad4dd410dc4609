"""What another coordinator links its first command to: the signals that came since a command began last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.definition.plan import Sequence as Steps
from orchestrator.definition.plan import Wait
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.port import LaunchRequest
from orchestrator.kernel.messages import Signal
from orchestrator.transport.messages import Answer, Work
from tests.unit.coordinator.scripted import ScriptedTransport, done, plan_of, request

RUN = "a" * 32
LAUNCH = {"traceparent": f"00-{1:032x}-{1:016x}-01"}


def sender(number: int) -> dict[str, str]:
    """Where a signal was sent, in a trace of its own."""
    return {"traceparent": f"00-{2:032x}-{number:016x}-01"}


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


class Relay:
    """One coordinator after another, over a run that waits for two calls between its two steps."""

    def __init__(self, launched_in: dict[str, str]) -> None:
        self.now = 1_000.0
        self.journal, self.transport = MemoryJournal(shards=1), ScriptedTransport(self._answer)
        self.silent: set[str] = set()
        self.coordinator = self._begin("one")
        both = plan_of("before", "after", timeout_s=10.0)
        assert isinstance(both.body, Steps)
        first, last = both.body.nodes
        waits = (Wait("first call", "call"), Wait("second call", "call"))
        self.plan = replace(both, body=Steps((first, *waits, last)))
        self.launch(RUN, launched_in)

    def launch(self, run: str, launched_in: dict[str, str] | None = None) -> None:
        """A run; without a trace if none is given."""
        launch = replace(request(self.plan, run, at=self.now).message, trace=launched_in or {})
        self.journal.launch([LaunchRequest(launch, self.plan)])
        self.turns()

    def _answer(self, work: Work) -> Answer | None:
        return None if work.step in self.silent else done(work)

    def _begin(self, owner: str) -> Coordinator:
        return Coordinator(
            self.journal, self.transport, CoordinatorOptions(owner), lambda: self.now
        )

    def turns(self, number: int = 6) -> None:
        for _ in range(number):
            self.now += 0.1
            self.coordinator.turn(0)

    def call(self, number: int) -> None:
        """Somebody sends a signal."""
        self.now += 0.1
        signal = Signal(at=self.now, name="call", signal_id=f"{number}", trace=sender(number))
        self.journal.send(RUN, signal)
        self.turns()

    def succeed(self) -> None:
        """The coordinator is gone, and another one takes over when the lease is over."""
        self.now += 30
        self.coordinator = self._begin("two")
        self.turns()


def linked(spans: Sequence[ReadableSpan], name: str) -> list[list[int]]:
    """What each span of this name is linked to, in the order they began."""
    of_name = sorted(
        (span for span in spans if span.name == name), key=lambda span: span.start_time or 0
    )
    return [[link.context.span_id for link in span.links] for span in of_name]


def ended(relay: Relay, exported: InMemorySpanExporter) -> Any:
    assert relay.journal.find(RUN).status == "completed"
    return exported.get_finished_spans()


def test_signals_are_linked_to_by_the_next_command_of_whoever_takes_over(
    exported: InMemorySpanExporter,
) -> None:
    relay = Relay(LAUNCH)
    relay.call(7)
    relay.succeed()
    relay.call(8)
    spans = ended(relay, exported)
    received = [span.context for span in spans if span.name == "signal call received"]
    [_, second] = [context.span_id for context in received if context]
    assert linked(spans, "do svc.after") == [[7, second]]
    assert linked(spans, "do svc.before") == [[]]


def test_also_when_the_command_was_due_already_and_never_went_out(
    exported: InMemorySpanExporter,
) -> None:
    relay = Relay(LAUNCH)
    relay.call(7)
    relay.transport.fail_publish = ConnectionError("the broker is away")
    relay.call(8)
    relay.transport.fail_publish = None
    relay.succeed()
    assert linked(ended(relay, exported), "do svc.after")[-1] == [7, 8]


def test_not_to_those_that_an_earlier_command_followed(exported: InMemorySpanExporter) -> None:
    relay = Relay(LAUNCH)
    relay.call(7)
    relay.silent = {"after"}
    relay.call(8)
    relay.launch("b" * 32)  # the log says with its events that all before has gone out
    assert [work.step for work in relay.transport.sent] == ["before", "after", "before"]
    relay.silent = set()
    relay.succeed()
    relay.turns(60)
    assert linked(ended(relay, exported), "do svc.after") == [[]]


def test_a_run_without_a_trace_has_none_for_whoever_takes_over(
    exported: InMemorySpanExporter,
) -> None:
    relay = Relay({})
    relay.call(7)
    relay.succeed()
    relay.call(8)
    assert ended(relay, exported) == ()
