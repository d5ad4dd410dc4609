"""One trace a run, from the launch to what a participant traces by itself; none where nobody traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from orchestrator import Retry, Service, saga, sleep, wait_for
from orchestrator.client import Run
from orchestrator.journal.port import Journal
from orchestrator.kernel.events import RunLaunched, SignalReceived
from orchestrator.telemetry.spans import Opened, Tracer
from orchestrator.wiring import Embedded
from tests.integration.embedding import embedding
from tests.waiting import eventually

surgery = Service("surgery", timeout=5)
mine = trace.get_tracer("the user's own")
tried: list[str] = []


@surgery.participant(retry=Retry(attempts=3, initial=0.01))
def examine(patient: str) -> str:
    with mine.start_as_current_span("listen to the heart"):
        tried.append(patient)
        if tried.count(patient) == 1:
            raise ValueError("no pulse: secret-of-the-patient")
    return patient


@examine.undo
def forget(patient: str) -> None:
    pass


@surgery.participant
async def treat(patient: str) -> str:
    with mine.start_as_current_span("give a pill"):
        return patient


@saga(version=1)
def visit_traced(patient: str) -> str:
    examined = examine(patient)
    sleep(0.05)
    return treat.pivot(examined)


@saga(version=1)
def visit_by_call(patient: str) -> str:
    wait_for("called", str)
    return treat.pivot(patient)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What a user's own SDK gets, for this test only."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def _visited(it: Embedded, patient: str) -> Run[Any]:
    run = it.client.launch(visit_traced, patient)
    assert run.result(20) == patient
    return run


def _by_name(spans: tuple[ReadableSpan, ...]) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        found.setdefault(span.name, []).append(span)
    return found


def _id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def _parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def test_a_run_is_one_trace_through_all_that_takes_part(
    tmp_path: Path, exported: InMemorySpanExporter
) -> None:
    tracer = trace.get_tracer("a program")
    with embedding(f"sqlite:///{tmp_path / 'j.db'}", [visit_traced], surgery) as it:
        with tracer.start_as_current_span("a request"):
            run = _visited(it, "ann")
        eventually(lambda: "run visit_traced" in _by_name(exported.get_finished_spans()))
    spans = _by_name(exported.get_finished_spans())
    assert {name: len(found) for name, found in spans.items()} == {
        "a request": 1,
        "launch visit_traced": 1,
        "run visit_traced": 1,
        "do surgery.examine": 2,
        "do surgery.examine in its worker": 2,
        "listen to the heart": 2,
        "do surgery.treat": 1,
        "do surgery.treat in its worker": 1,
        "give a pill": 1,
    }
    everything = exported.get_finished_spans()
    assert len({span.context.trace_id for span in everything if span.context}) == 1
    (launch,) = spans["launch visit_traced"]
    assert _parent(launch) == _id(spans["a request"][0])
    for name in ("run visit_traced", "do surgery.examine", "do surgery.treat"):
        assert {_parent(span) for span in spans[name]} == {_id(launch)}
    for own, name in (("listen to the heart", "examine"), ("give a pill", "treat")):
        commands = spans[f"do surgery.{name}"]
        workers = spans[f"do surgery.{name} in its worker"]
        assert [_parent(span) for span in workers] == [_id(span) for span in commands]
        assert [_parent(span) for span in spans[own]] == [_id(span) for span in workers]
    first, second = spans["do surgery.examine"]
    assert [link.context.span_id for link in second.links] == [_id(first)]
    (after_the_sleep,) = spans["do surgery.treat"]
    assert [link.context.span_id for link in after_the_sleep.links] == [_id(second)]
    assert not first.status.is_ok
    assert second.status.is_ok
    assert (second.attributes or {})["saga.attempt"] == 2
    assert all((span.attributes or {})["saga.run"] == run.id for span in (launch, first, second))
    ours = [span.to_json() for span in everything if (span.attributes or {}).get("saga.name")]
    assert len(ours) == 8
    assert not any("secret-of-the-patient" in text or "ann" in text for text in ours)


def test_what_follows_a_signal_is_linked_to_who_sent_it(
    tmp_path: Path, exported: InMemorySpanExporter
) -> None:
    tracer = trace.get_tracer("another program")
    with embedding(f"sqlite:///{tmp_path / 'j.db'}", [visit_by_call], surgery) as it:
        run = it.client.launch(visit_by_call, "eve")
        eventually(lambda: run.summary().steps == ("called",))
        with tracer.start_as_current_span("a call"):
            it.client.signal(run.id, "called", "secret-of-the-caller")
        assert run.result(20) == "eve"
        eventually(lambda: "run visit_by_call" in _by_name(exported.get_finished_spans()))
    spans = _by_name(exported.get_finished_spans())
    (sent,), (call,) = spans["signal called"], spans["a call"]
    (received,), (launch,) = spans["signal called received"], spans["launch visit_by_call"]
    assert _parent(sent) == _id(call)
    assert (sent.attributes or {})["saga.run"] == run.id
    assert _parent(received) == _id(launch), "the run stays in its own trace"
    assert [link.context.span_id for link in received.links] == [_id(sent)]
    (followed,) = spans["do surgery.treat"]
    assert [link.context.span_id for link in followed.links] == [_id(received)]
    assert not any("secret" in span.to_json() for span in exported.get_finished_spans())


def test_a_signal_to_a_run_without_a_trace_leaves_none(
    tmp_path: Path, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with embedding(f"sqlite:///{tmp_path / 'j.db'}", [visit_by_call], surgery) as it:
        with monkeypatch.context() as nobody:
            nobody.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
            run = it.client.launch(visit_by_call, "fay")
        it.client.signal(run.id, "called", "x")
        assert run.result(20) == "fay"
        received = [record.event for record in it.journal.history(run.id)]
    assert [event.trace for event in received if isinstance(event, SignalReceived)] == [{}]
    assert {span.name for span in exported.get_finished_spans()} == {"signal called"}


def _first(journal: Journal, run: Run[Any]) -> RunLaunched:
    event = journal.history(run.id)[0].event
    assert isinstance(event, RunLaunched)
    return event


def test_without_an_sdk_a_run_has_no_trace(tmp_path: Path) -> None:
    with embedding(f"sqlite:///{tmp_path / 'j.db'}", [visit_traced], surgery) as it:
        assert _first(it.journal, _visited(it, "bob")).trace == {}


def test_the_trace_is_kept_with_the_run(tmp_path: Path, exported: InMemorySpanExporter) -> None:
    with embedding(f"sqlite:///{tmp_path / 'j.db'}", [visit_traced], surgery) as it:
        one, other = _first(it.journal, _visited(it, "cy")), _first(it.journal, _visited(it, "di"))
    assert set(one.trace) == {"traceparent"}
    assert one.trace["traceparent"].split("-")[1] != other.trace["traceparent"].split("-")[1]
    assert exported.get_finished_spans()


def test_what_stands_in_for_opentelemetry_does_nothing() -> None:
    tracer = Tracer()
    opened = tracer.launch("s")
    assert opened.carrier == {}
    with tracer.performing({}, "n", {}) as span:
        assert type(span) is Opened
    assert tracer.trace_id() == ""
