"""What a coordinator counts of each turn: into buckets many at a time, and nothing left out meanwhile."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.coordinator import metrics
from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.coordinator.metrics import PrometheusMeter
from orchestrator.journal.memory import MemoryJournal
from orchestrator.transport.messages import Answer, Work
from tests.unit.coordinator.scripted import ScriptedTransport, answer, plan_of, request

TOOK_S = {"a": 0.001, "b": 0.003, "c": 100.0}
"""On a bucket's bound, between two, and beyond all."""


def exported(meter: PrometheusMeter) -> dict[tuple[str, ...], float]:
    """By sample, and what tells it from others of its name."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(generate_latest(meter.registry).decode())
        for sample in family.samples
    }


def played(meter: PrometheusMeter, runs: int) -> dict[tuple[str, ...], float]:
    now = [1_000.0]
    tried: set[str] = set()

    def handler(work: Work) -> Answer:
        if work.step == "b" and work.run not in tried:
            tried.add(work.run)
            return answer(work, "failed", took_s=TOOK_S["b"], worker="w")
        return answer(work, result=1, took_s=TOOK_S[work.step], worker="w")

    journal, transport = MemoryJournal(shards=2), ScriptedTransport(handler)
    options = CoordinatorOptions("c1", lease_s=1_000.0)
    coordinator = Coordinator(journal, transport, options, lambda: now[0], meter)
    coordinator.turn(0)
    journal.launch(
        [request(plan_of("a", "b", "c", saga="shop"), f"{n:032x}", at=now[0]) for n in range(runs)]
    )
    for _ in range(60):
        now[0] += 0.5
        coordinator.turn(0)
    assert coordinator.open_runs == 0
    return exported(meter)


@pytest.mark.parametrize("fresh_max", [0, 10, 4096])
def test_what_is_counted_is_the_same_however_often_it_is_sorted(
    fresh_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_FRESH_MAX", fresh_max)
    seen = played(PrometheusMeter(), 7)
    assert seen["saga_runs_launched_total", "shop"] == 7
    assert seen["saga_runs_completed_total", "shop"] == 7
    assert seen["saga_commands_total", "do", "succeeded", "shop", "a"] == 7
    assert seen["saga_commands_total", "do", "failed", "shop", "b"] == 7
    assert seen["saga_commands_total", "do", "succeeded", "shop", "b"] == 7
    assert seen["saga_retries_total", "do", "shop", "b"] == 7
    within = {
        step: [
            bound
            for bound in ("0.001", "0.0025", "0.005", "60.0", "+Inf")
            if seen["saga_command_seconds_bucket", "do", bound, "shop", step]
        ]
        for step in TOOK_S
    }
    assert within == {
        "a": ["0.001", "0.0025", "0.005", "60.0", "+Inf"],
        "b": ["0.005", "60.0", "+Inf"],
        "c": ["+Inf"],
    }
    for step, number in (("a", 7), ("b", 14), ("c", 7)):
        assert seen["saga_command_seconds_count", "do", "shop", step] == number
        told = seen["saga_command_seconds_sum", "do", "shop", step]
        assert told == pytest.approx(number * TOOK_S[step])
    assert seen["saga_queue_wait_seconds_count", "svc"] == 28
    assert seen["saga_inbox_wait_seconds_count",] == 7
    assert seen["saga_inbox_wait_seconds_sum",] == pytest.approx(7 * 0.5)
    # a launch, four attempts, the end
    assert seen["saga_turn_events_sum",] == 7 * 6
    assert seen["saga_append_seconds_count",] == seen["saga_turn_events_count",]


def test_asking_twice_gives_the_same() -> None:
    meter = PrometheusMeter()
    assert played(meter, 3) == exported(meter)
