"""What a coordinator's load says of incidents: by cause, few series, nothing left out."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.coordinator.metering import Load
from orchestrator.coordinator.metrics import CLUSTERS_MAX, PrometheusMeter
from orchestrator.kernel.incidents import Incident
from orchestrator.kernel.summary import RunSummary


def stuck(number: int, *incidents: Incident, saga: str = "shop") -> RunSummary:
    row = RunSummary(
        f"r{number}", 0, saga, 1, "hash", "stuck", open=True, launched_at=1, updated_at=2
    )
    return replace(row, incidents=incidents)


def incident(step: str, cluster: str, *, acked: bool = False) -> Incident:
    return Incident(step, "do", cluster, 1.0, 2, "why", acked_at=3.0 if acked else None)


def told(runs: Sequence[RunSummary]) -> dict[tuple[str, ...], float]:
    meter = PrometheusMeter()
    meter.watch(lambda: Load(10.0, 1, runs, {}, {}, {}))
    names = ("saga", "step", "cluster", "taken")
    return {
        tuple(sample.labels[name] for name in names): sample.value
        for family in text_string_to_metric_families(generate_latest(meter.registry).decode())
        for sample in family.samples
        if sample.name == "saga_open_incidents"
    }


def test_incidents_are_counted_by_cause_and_by_whether_somebody_is_on_them() -> None:
    runs = [
        stuck(1, incident("charge[3]", "aa"), incident("charge[4]", "aa")),
        stuck(2, incident("charge[0]", "aa", acked=True), incident("mail", "bb")),
    ]
    assert told(runs) == {
        ("shop", "charge", "aa", "no"): 2,
        ("shop", "charge", "aa", "yes"): 1,
        ("shop", "mail", "bb", "no"): 1,
    }


def test_beyond_the_largest_causes_they_are_counted_together() -> None:
    many = [stuck(n, incident("mail", f"c{n:03d}")) for n in range(CLUSTERS_MAX + 7)]
    large = [stuck(1_000 + n, incident("charge", "zz"), saga="other") for n in range(3)]
    found = told([*many, *large])
    assert len(found) == CLUSTERS_MAX + 1
    assert found["other", "charge", "zz", "no"] == 3, "the largest is named"
    assert found["shop", "other", "other", "no"] == 8
    assert sum(found.values()) == len(many) + len(large)
