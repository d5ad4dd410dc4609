"""`saga pause`, `resume` and `audit`: runs stand still and go on, and who did it is found again."""

from __future__ import annotations

import pytest

from orchestrator.kernel.messages import Cancel
from tests.unit.cli.stage import ACTOR, Stage
from tests.unit.coordinator.scripted import done


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    return Stage()


def running(stage: Stage, *runs: str) -> None:
    """Runs whose first step is never answered."""
    stage.transport.handler = lambda _: None
    for run in runs:
        stage.launch(run)
    if stage.coordinator is None:
        stage.start()
    stage.turns()


def test_a_run_is_paused_and_resumed(stage: Stage) -> None:
    running(stage, "aaaa1111")
    told = stage.run("pause", "aaaa", "--reason", "the bank is down")
    assert (told.exit_code, "run paused: the bank is down" in told.stdout) == (0, True)
    assert "is now paused" in told.stdout
    stage.transport.answers.append(done(stage.transport.sent[0]))
    stage.turns()
    assert [work.step for work in stage.transport.sent] == ["reserve"]
    assert stage.run("pause", "aaaa").exit_code == 4
    assert "paused" in stage.run("list", "--status", "paused").stdout
    stage.mend()
    stage.run("resume", "aaaa")
    stage.turns()
    assert stage.store.find("aaaa1111").status == "completed"


def test_a_pause_is_previewed(stage: Stage) -> None:
    running(stage, "aaaa1111")
    seen = stage.json("pause", "aaaa", "--dry-run")
    assert (seen["status"], seen["awaits"], seen["runs"]) == ("paused", ["reserve"], [])
    assert stage.store.find("aaaa1111").status == "running"


def test_many_runs_are_paused(stage: Stage) -> None:
    running(stage, "aaaa1111", "bbbb2222")
    paused = stage.json("pause", "--saga", "shop", "--yes")
    assert (paused["matched"], paused["taken"]) == (2, 2)
    resumed = stage.json("resume", "--status", "paused", "--yes")
    assert (resumed["matched"], resumed["taken"]) == (2, 2)


def test_an_audit_says_who_did_what_with_the_state_before_and_after(stage: Stage) -> None:
    stage.stuck()
    stage.mend()
    stage.run("retry", "aaaa", "--step", "reserve", "--reason", "mended")
    [entry] = stage.json("audit")["entries"]
    assert (entry["actor"], entry["operation"], entry["reason"]) == (ACTOR, "retry", "mended")
    assert (entry["before"], entry["after"]) == ("stuck", "compensating")
    assert (entry["step"], entry["step_before"], entry["step_after"]) == (
        "reserve",
        "undo parked",
        "undoing",
    )
    assert (entry["run_id"], entry["saga"], entry["intact"]) == ("aaaa1111", "shop", True)
    shown = stage.run("audit").stdout
    assert ACTOR in shown
    assert "stuck, undo parked" in shown
    assert "mended" in shown


def test_an_audit_shows_what_a_coordinator_refused(stage: Stage) -> None:
    running(stage, "aaaa1111")
    stage.run("cancel", "aaaa", "--reason", "wrong order")
    stage.store.send("aaaa1111", Cancel(at=stage.clock, actor="bob"))
    stage.turns()
    refused, cancelled = stage.json("audit")["entries"]
    assert refused["refused"] == "the run is compensating already"
    assert (refused["actor"], refused["operation"]) == ("bob", "cancel")
    assert (cancelled["operation"], cancelled["reason"]) == ("cancel", "wrong order")
    assert [e["actor"] for e in stage.json("audit", "--refused")["entries"]] == ["bob"]
    assert "refused: the run is compensating already" in stage.run("audit").stdout


def test_an_audit_is_filtered_and_paged(stage: Stage) -> None:
    running(stage, "aaaa1111", "bbbb2222")
    for run in ("aaaa", "bbbb"):
        stage.run("pause", run)
        stage.clock += 60
        stage.run("resume", run)

    def found(*options: str) -> list[tuple[str, str]]:
        page = stage.json("audit", *options)
        return [(entry["operation"], entry["run_id"][:4]) for entry in page["entries"]]

    assert found("--run", "aaaa") == [("resume", "aaaa"), ("pause", "aaaa")]
    assert found("--operation", "pause") == [("pause", "bbbb"), ("pause", "aaaa")]
    assert found("--since", "50s") == [("resume", "bbbb")]
    assert found("--older", "50s", "--limit", "1") == [("pause", "bbbb")]
    assert found("--actor", "nobody") == found("--saga", "other") == []
    first = stage.json("audit", "--limit", "3")
    rest = stage.json("audit", "--limit", "3", "--cursor", first["cursor"])
    assert (len(first["entries"]), len(rest["entries"]), rest["cursor"]) == (3, 1, None)
    assert stage.run("audit", "--operation", "dance").exit_code == 2
    assert "nobody did anything" in stage.run("audit", "--actor", "nobody").stderr


def test_an_altered_log_is_named_and_ends_with_an_error(stage: Stage) -> None:
    running(stage, "aaaa1111")
    stage.run("pause", "aaaa")
    shard = stage.store._tables.shards[stage.store.find("aaaa1111").shard]
    place = next(i for i, row in enumerate(shard.log) if row.type == "RunPaused")
    forged = shard.log[place]._replace(actor="somebody else")
    shard.by_run["aaaa1111"] = [
        forged if row.offset == forged.offset else row for row in shard.by_run["aaaa1111"]
    ]
    shard.log[place] = forged
    told = stage.run("audit")
    assert told.exit_code == 1
    assert "not what was written" in told.stderr
    assert "pause (altered)" in told.stdout
