"""`saga bulk`: a small wave first, stopped by failures, paused, resumed, aborted, and carried on by any coordinator."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.client import AsyncClient, Client, ClientOptions
from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.errors import InvalidInputError, OperationRefusedError
from orchestrator.journal.bulk import BulkLimits
from orchestrator.journal.port import RunFilter
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from tests.unit.cli.stage import ACTOR, Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    return Stage()


def stuck(stage: Stage, number: int) -> list[str]:
    """So many runs whose undo of reserve is parked."""
    stage.fail("reserve")
    runs = [stage.launch(f"{n:04d}aaaa") for n in range(number)]
    if stage.coordinator is None:
        stage.start()
    for _ in range(12):
        stage.turns(3)
        stage.clock += 10
    assert {stage.store.find(run).status for run in runs} == {"stuck"}
    return runs


def start(stage: Stage, *options: str) -> str:
    made = stage.json("bulk", "start", "retry", "--stuck", "--yes", *options)
    return str(made["id"])


def look(stage: Stage, turns: int = 1) -> None:
    """Let the coordinator look at bulk operations so many times."""
    for _ in range(turns):
        stage.clock += 0.6
        stage.turns(4)


def retried(stage: Stage, runs: list[str]) -> int:
    return sum(r.type == "StepRetried" for run in runs for r in stage.store.history(run))


def test_waves_of_one_then_ten_then_the_rest(stage: Stage) -> None:
    runs = stuck(stage, 15)
    stage.mend()
    bulk = start(stage, "--reason", "mended")
    sizes = []
    for _ in range(6):
        sizes.append(retried(stage, runs))
        look(stage)
    assert [size for at, size in enumerate(sizes) if size not in sizes[:at]] == [0, 1, 11, 15]
    look(stage)
    shown = stage.json("bulk", "show", bulk[:6])
    assert (shown["bulk"]["state"], shown["bulk"]["counts"]) == ("done", {"done": 15})
    assert [item["wave"] for item in shown["items"]] == [1] + [2] * 10 + [3] * 4
    assert {stage.store.find(run).status for run in runs} == {"compensated"}
    event: Any = stage.store.history(runs[0])[-3].event
    assert isinstance(event, ev.StepRetried)
    assert (event.actor, event.reason) == (ACTOR, "mended")


def test_a_canary_that_fails_stops_it_and_a_person_goes_on(stage: Stage) -> None:
    runs = stuck(stage, 13)
    bulk = start(stage)  # nothing was mended
    for _ in range(15):
        stage.clock += 10
        stage.turns(4)
    seen = stage.json("bulk", "show", bulk)
    assert seen["bulk"]["state"] == "stopped"
    assert seen["bulk"]["why"] == "1 of the 1 runs of wave 1 failed"
    assert seen["items"][0]["outcome"] == "failed"
    assert "till is broken" in seen["items"][0]["why"]
    assert retried(stage, runs) == 1
    stage.mend()
    stage.run("bulk", "resume", bulk, "--reason", "mended now")
    look(stage, 8)
    seen = stage.json("bulk", "show", bulk)["bulk"]
    assert (seen["state"], seen["counts"]) == ("done", {"failed": 1, "done": 12})
    assert [(n["what"], n["actor"], n["reason"]) for n in seen["notes"]] == [
        ("started", ACTOR, ""),
        ("stopped", "", "1 of the 1 runs of wave 1 failed"),
        ("resumed", ACTOR, "mended now"),
        ("done", "", ""),
    ]


def test_refusals_are_failures_and_a_share_of_them_is_allowed(stage: Stage) -> None:
    runs = stuck(stage, 8)
    stage.mend()
    limits = BulkLimits(canaries=(), batch=8, failures_max=0.25)
    client = Client(stage.store, {}, options=ClientOptions("py"), clock=stage.now)
    bulk = client.bulk.start(msg.Retry(at=0.0), RunFilter(stuck=True), limits=limits)
    for run in runs[:2]:
        client.retry(run)
    stage.turns()
    look(stage, 6)
    seen = client.bulk.get(bulk.id)
    assert (seen.state, seen.counts) == ("done", {"refused": 2, "done": 6})


def test_a_paused_one_waits_and_an_aborted_one_ends(stage: Stage) -> None:
    runs = stuck(stage, 14)
    stage.mend()
    bulk = start(stage)
    look(stage)
    assert stage.run("bulk", "pause", bulk, "--reason", "lunch").exit_code == 0
    assert stage.run("bulk", "pause", bulk).exit_code == 4
    look(stage, 6)
    assert retried(stage, runs) == 1
    assert "paused" in stage.run("bulk", "list").stdout
    stage.run("bulk", "resume", bulk)
    look(stage, 1)
    stage.run("bulk", "abort", bulk)
    look(stage, 6)
    assert retried(stage, runs) == 11
    assert stage.run("bulk", "resume", bulk).exit_code == 4
    assert stage.run("bulk", "show", "zzz").exit_code == 3


def test_another_coordinator_carries_on(stage: Stage) -> None:
    runs = stuck(stage, 14)
    stage.mend()
    bulk = start(stage)
    look(stage)
    assert stage.coordinator is not None
    stage.coordinator.close()
    options = CoordinatorOptions(owner="c2", lease_s=100.0)
    stage.coordinator = Coordinator(stage.store, stage.transport, options, stage.now)
    look(stage, 8)
    assert stage.json("bulk", "show", bulk)["bulk"]["state"] == "done"
    assert retried(stage, runs) == 14


def test_a_wave_that_does_not_settle_has_a_time_limit(stage: Stage) -> None:
    runs = stuck(stage, 3)
    stage.transport.handler = lambda _: None  # no answer in time
    bulk = start(stage, "--settle", "5s")
    look(stage, 2)
    assert retried(stage, runs) == 1
    stage.clock += 5
    look(stage)
    assert retried(stage, runs) == 3
    item = stage.json("bulk", "show", bulk)["items"][0]
    assert (item["outcome"], item["why"]) == ("unsettled", "still compensating")


def test_it_is_previewed_and_asks(stage: Stage) -> None:
    stuck(stage, 2)
    seen = stage.json("bulk", "start", "retry", "--stuck", "--dry-run")
    assert (seen["matched"], seen["preview"]["possible"]) == (2, 2)
    assert stage.store.bulks() == []
    assert stage.run("bulk", "start", "retry", "--stuck").exit_code == 2
    assert stage.run("bulk", "start", "retry", "--yes").exit_code == 2
    assert stage.run("bulk", "start", "dance", "--stuck", "--yes").exit_code == 2
    told = stage.run("bulk", "start", "retry", "--stuck", "--yes")
    assert "retry: 2 runs" in told.stdout
    assert "retry of 2 runs, running" in told.stdout


def test_python_starts_one_and_the_same_id_counts_once(stage: Stage) -> None:
    runs = stuck(stage, 2)
    client = Client(stage.store, {}, options=ClientOptions("py"), clock=stage.now)
    first = client.bulk.start(msg.Cancel(at=0.0, reason="no"), runs, bulk_id="mine")
    again = asyncio.run(AsyncClient(client).bulk.start(msg.Cancel(at=0.0), runs, bulk_id="mine"))
    assert (first.id, first.message.actor, first.message.reason) == ("mine", "py", "no")
    assert (again.message, len(stage.store.bulks())) == (first.message, 1)
    none: list[RunFilter | list[str]] = [RunFilter(), [], RunFilter(saga="none")]
    for bad in none:
        with pytest.raises(InvalidInputError):
            client.bulk.start(msg.Cancel(at=0.0), bad)
    with pytest.raises(InvalidInputError, match="at least one"):
        client.bulk.start(msg.Cancel(at=0.0), runs, limits=BulkLimits(batch=0))
    with pytest.raises(OperationRefusedError, match="changed"):
        client.bulk.pause("mine", expects=7)
