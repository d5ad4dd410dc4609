"""What a live stack exports: every metric of the catalog, with the right numbers, and nothing that names a run."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator import Refused, Retry, Service, parallel, saga
from orchestrator.coordinator.metrics import PrometheusMeter
from orchestrator.errors import Compensated, SettingsError
from orchestrator.telemetry.catalog import METRICS
from orchestrator.telemetry.prometheus import Served, page
from tests.integration.embedding import embedding
from tests.waiting import eventually

bakery = Service("bakery", timeout=5)
tried: dict[str, int] = {}
go = threading.Event()


@bakery.participant(retry=Retry(attempts=3, initial=0.01))
def knead(dough: str) -> str:
    tried[dough] = tried.get(dough, 0) + 1
    if dough == "lumpy" and tried[dough] == 1:
        raise ValueError("lumps")
    return dough


@knead.undo
def throw_away(dough: str) -> None:
    pass


@bakery.participant
def heat(dough: str) -> str:
    if dough == "burnt":
        raise Refused("too hot")
    return dough


@heat.undo
def cool(dough: str) -> None:
    pass


@bakery.participant(retry=Retry(attempts=1))
def sell(dough: str) -> str:
    if dough == "stale":
        raise ValueError("nobody wants it")
    return dough


@saga(version=1)
def bake_for_metrics(dough: str) -> str:
    kneaded = knead(dough)
    with parallel():
        heat(kneaded)
        knead("other " + kneaded)
    return sell.pivot(kneaded)


def values(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """By sample name and the values of its labels, sorted."""
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_a_coordinator_counts_what_happens_to_its_runs(tmp_path: Path) -> None:
    meter = PrometheusMeter()
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    with embedding(url, [bake_for_metrics], bakery, meter=meter) as it:
        runs = [it.client.launch(bake_for_metrics, dough) for dough in ("lumpy", "fine")]
        assert [run.result(20) for run in runs] == ["lumpy", "fine"]
        with pytest.raises(Compensated):
            it.client.launch(bake_for_metrics, "burnt").result(20)
        stuck = it.client.launch(bake_for_metrics, "stale")
        eventually(lambda: stuck.summary().status == "stuck")
        served = Served(meter.registry, "127.0.0.1", 0)
        try:
            text = httpx.get(f"http://127.0.0.1:{served.port}/metrics").text
            with pytest.raises(SettingsError, match=f"on 127.0.0.1:{served.port}"):
                Served(meter.registry, "127.0.0.1", served.port)
        finally:
            served.close()
        seen = values(text)
        name = "bake_for_metrics"
        assert seen["saga_runs_launched_total", (name,)] == 4
        assert seen["saga_runs_completed_total", (name,)] == 2
        assert seen["saga_runs_compensated_total", (name,)] == 1
        assert seen["saga_runs_stuck_total", (name,)] == 1
        assert seen["saga_open_runs", tuple(sorted((name, "stuck")))] == 1
        assert seen["saga_oldest_stuck_seconds", (name,)] >= 0
        [cluster] = it.client.clusters().clusters
        labels = (name, cluster.step, cluster.cluster, "no")
        assert seen["saga_open_incidents", tuple(sorted(labels))] == 1
        assert seen["saga_commands_total", tuple(sorted((name, "sell", "do", "succeeded")))] == 2
        assert seen["saga_commands_total", tuple(sorted((name, "sell", "do", "failed")))] == 1
        assert seen["saga_commands_total", tuple(sorted((name, "heat", "do", "refused")))] == 1
        assert seen["saga_commands_total", tuple(sorted((name, "knead", "undo", "succeeded")))] == 1
        assert seen["saga_command_seconds_count", tuple(sorted((name, "knead", "do")))] == 5
        assert seen["saga_retries_total", tuple(sorted((name, "knead", "do")))] == 1
        assert seen["saga_inbox_wait_seconds_count", ()] == 4
        assert seen["saga_shards_held", ()] == 2
        assert seen["saga_lease_changes_total", ("gained",)] == 2
        assert seen["saga_append_seconds_count", ()] == seen["saga_turn_events_count", ()] > 0
        assert seen["saga_turn_events_sum", ()] == sum(
            it.journal.end(shard) - 1 for shard in (0, 1)
        )
        assert seen["saga_queue_wait_seconds_count", ("bakery",)] > 10
        assert all(run.id not in text for run in (*runs, stuck))
    assert b'saga_lease_changes_total{change="lost"} 2.0' in page(meter.registry)


def test_two_coordinators_in_one_process_dont_mix(tmp_path: Path) -> None:
    one, other = PrometheusMeter(), PrometheusMeter()
    with (
        embedding(f"sqlite:///{tmp_path / 'one.db'}", [bake_for_metrics], bakery, meter=one) as it,
        embedding(f"sqlite:///{tmp_path / 'two.db'}", [bake_for_metrics], bakery, meter=other),
    ):
        assert it.client.launch(bake_for_metrics, "plain").result(20) == "plain"
    launched = ("saga_runs_launched_total", ("bake_for_metrics",))
    assert values(page(one.registry).decode())[launched] == 1
    assert launched not in values(page(other.registry).decode())


def test_labels_are_bounded() -> None:
    allowed = {"saga", "step", "kind", "outcome", "service", "participant", "status", "queue"}
    allowed |= {"state", "change", "reason", "fault", "answer", "operation"}
    allowed |= {"cluster", "taken"}  # of which a coordinator names 50 at most
    assert {label for metric in METRICS for label in metric.labels} <= allowed
