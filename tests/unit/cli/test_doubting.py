"""`saga in-doubt`: what the journal can't decide is decided by name, on record, by two people if that takes two."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cli.exits import Exit
from orchestrator.journal.records import shard_of
from orchestrator.kernel.second import TwoPeople
from orchestrator.participant.two_phase.port import Found
from orchestrator.transport.gid import Gid
from orchestrator.wiring import Definitions
from tests.unit.cli.stage import Stage
from tests.unit.console.test_around import Database

RUN = "9f" * 16
APP = ("--app", "x")


@pytest.fixture
def database() -> Database:
    return Database(Found(Gid(shard_of(RUN, 2), 0, RUN, "credit"), 90.0))


@pytest.fixture
def stage(database: Database, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    made = Stage()
    services: Any = [database]
    made.defined = Definitions({}, services)
    made.start()
    return made


def gid(database: Database) -> str:
    return str(database.prepared[0].gid)


def audited(stage: Stage) -> list[tuple[str, str, str, str]]:
    stage.turns(2)
    return [
        (one["operation"], one["actor"], one["second"], one["reason"])
        for one in stage.json("audit")["entries"]
    ]


def test_what_a_person_decides_is_previewed_and_on_record(stage: Stage, database: Database) -> None:
    shown = stage.run("in-doubt", *APP, "--commit", gid(database), "--dry-run").stdout
    assert "commits   credit in bank" in shown
    assert "nothing else of the run is known to have taken effect" in shown
    assert database.told == []
    [seen] = stage.json("in-doubt", *APP, "--abort", gid(database), "--dry-run")
    assert (seen["kind"], seen["warnings"], seen["second"]) == ("abort", [], None)
    name = gid(database)
    [done] = stage.json("in-doubt", *APP, "--abort", name, "--reason", "void")
    assert done["came_to"] == "rolled back"
    assert audited(stage) == [("decide", "ann@desk", "", "void")]
    assert f"branch:{name}" in stage.run("audit").stdout.replace("\n", "")
    assert stage.run("in-doubt", *APP, "--dry-run").exit_code == Exit.USAGE


def test_where_it_takes_two_people_another_says_the_same(stage: Stage, database: Database) -> None:
    stage.two_people = TwoPeople(frozenset({"force"}))
    name = gid(database)
    assert "it takes two people" in stage.run("in-doubt", *APP, "--abort", name, "--dry-run").stdout
    asked = stage.run("in-doubt", *APP, "--abort", name, "--reason", "void")
    assert asked.exit_code == Exit.UNSUCCESSFUL
    assert f"ann@desk wants to abort it: void; `saga in-doubt --abort {name}`" in asked.stderr
    stage.turns(2)
    assert "ann@desk wants to abort credit in bank: void" in stage.run("approvals", "list").stderr
    assert "wants to abort it" in stage.run("in-doubt", *APP).stderr
    assert stage.run("in-doubt", *APP, "--abort", name).exit_code == Exit.REFUSED
    assert database.told == []
    stage.actor = "bob@desk"
    assert stage.run("in-doubt", *APP, "--abort", name).exit_code == 0
    assert database.told == [("abort", "credit")]
    assert audited(stage)[0] == ("decide", "ann@desk", "bob@desk", "void")
    assert "nothing waits" in stage.run("approvals", "list").stderr
