"""`saga incidents`: by cause, with the runs of one, taken on by run or by cluster; and what filters by cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.upgrade import upgrade
from orchestrator.views.read_model import differences
from tests.unit.cli.stage import ACTOR, Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    return Stage()


def clusters(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stage.json("incidents")["clusters"]
    return found


def two_sagas(stage: Stage) -> tuple[str, str]:
    """Two stuck runs of the shop, one of the yard; their clusters."""
    stage.stuck("aaaa1111", key="order-1")
    stage.stuck("bbbb2222")
    stage.stuck("cccc3333", saga="yard")
    many, few = clusters(stage)
    assert (many["runs"], few["runs"]) == (2, 1)
    return many["cluster"], few["cluster"]


def test_nobody_is_needed(stage: Stage) -> None:
    assert "nobody is needed" in stage.run("incidents").stderr
    assert stage.json("incidents") == {"clusters": [], "cursor": None}


def test_clusters_are_listed_with_cause_and_count(stage: Stage) -> None:
    many, few = two_sagas(stage)
    lines = stage.run("incidents").stdout.splitlines()
    assert lines[1].startswith(many)
    assert "reserve (undo)" in lines[1]
    assert "nobody" in lines[1]
    assert "Broken: the till is broken" in lines[1]
    assert lines[2].startswith(few)
    assert [one["saga"] for one in stage.json("incidents", "--saga", "yard")["clusters"]] == [
        "yard"
    ]
    first = stage.json("incidents", "--limit", "1")
    again = stage.json("incidents", "--limit", "1", "--cursor", first["cursor"])
    assert [one["cluster"] for one in again["clusters"]] == [few]


def test_one_cluster_is_shown_with_its_runs(stage: Stage) -> None:
    many, few = two_sagas(stage)
    shown = stage.run("incidents", "show", many[:10]).stdout
    assert "2 incidents in 2 runs" in shown
    assert "order-1" in shown
    assert "cccc3333" not in shown
    seen = stage.json("incidents", "show", few)
    assert [run["run_id"] for run in seen["runs"]] == ["cccc3333"]
    assert seen["cluster"]["message"] == "the till is broken"
    assert stage.run("incidents", "show", "zz").exit_code == 3


def test_acknowledging_a_run(stage: Stage) -> None:
    many, _ = two_sagas(stage)
    done = stage.json("incidents", "ack", "aaaa", "--reason", "mine")
    assert done["events"] == ["the incident of reserve is acknowledged: mine"]
    (incident,) = stage.json("show", "aaaa")["run"]["incidents"]
    assert (incident["acked_by"], incident["ack_reason"]) == (ACTOR, "mine")
    shown = stage.run("incidents", "show", many).stdout
    assert "taken on: 1 of 2" in shown
    assert ACTOR in shown
    assert stage.run("incidents", "ack", "aaaa").exit_code == 4


def test_acknowledging_a_cluster_leaves_others_alone(stage: Stage) -> None:
    many, few = two_sagas(stage)
    refused = stage.run("incidents", "ack", "--cluster", many)
    assert refused.exit_code == 2, "it asks first"
    assert stage.json("incidents", "ack", "--cluster", many, "--yes")["taken"] == 2
    assert [(one["cluster"], one["acked"]) for one in clusters(stage)] == [(few, 0), (many, 2)]
    assert stage.json("incidents", "ack", "--saga", "yard", "--yes")["taken"] == 1
    assert stage.run("incidents", "ack").exit_code == 2


def test_runs_are_listed_and_repaired_by_cluster(stage: Stage) -> None:
    many, few = two_sagas(stage)
    listed = stage.json("list", "--cluster", many)["runs"]
    assert {run["run_id"] for run in listed} == {"aaaa1111", "bbbb2222"}
    foreseen = stage.json("retry", "--cluster", few, "--dry-run")
    assert foreseen["matched"] == 1
    stage.mend()
    assert stage.json("retry", "--cluster", many, "--yes")["taken"] == 2
    assert [one["cluster"] for one in clusters(stage)] == [few]


def test_upgrading_finds_the_incidents_of_runs_that_were_stuck_before(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    upgrade("sqlite:///saga-journal.db", shards=2)
    journal = SqlJournal("sqlite:///saga-journal.db")
    stage.store = journal  # type: ignore[assignment]
    stage.stuck()
    (one,) = journal.clusters().clusters
    with journal.engine.begin() as connection:
        connection.execute(text("UPDATE saga_run SET incidents = '[]'"))
        connection.execute(text("DELETE FROM saga_incident"))
    assert len(list(differences(journal))) == 1
    assert stage.run("db", "upgrade").exit_code == 0
    assert journal.clusters().clusters == (one,)
    with journal.engine.begin() as connection:
        connection.execute(text("DELETE FROM saga_incident"))
    (found,) = differences(journal)
    assert found == f"cluster {one.cluster}: the index has 0 incidents of it, the runs have 1"
    journal.close()


@pytest.mark.parametrize(
    "command",
    [("pause",), ("resume",), ("bulk", "start", "pause"), ("bulk", "start", "resume")],
    ids=" ".join,
)
def test_pausing_and_bulk_operations_choose_the_runs_of_a_cluster(
    stage: Stage, command: tuple[str, ...]
) -> None:
    many, few = two_sagas(stage)
    matched = [
        stage.json(*command, "--cluster", cluster, "--dry-run")["matched"]
        for cluster in (many, few)
    ]
    assert matched == [2, 1]
