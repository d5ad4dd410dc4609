"""`--dry-run`, and what is shown before a person is asked: the kernel's own preview, and nothing done."""

import pytest

from orchestrator.journal.port import RunFilter
from tests.unit.cli.stage import Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    return Stage()


def test_a_dry_run_shows_and_does_nothing(stage: Stage) -> None:
    stage.stuck()
    before = stage.store.history("aaaa1111")
    shown = stage.run("retry", "aaaa", "--dry-run")
    assert shown.exit_code == 0
    assert "undoes    reserve (svc.reserve, attempt 4) at once" in shown.stdout
    assert "ends      compensated" in shown.stdout
    stage.turns()
    assert stage.store.history("aaaa1111") == before


def test_what_a_dry_run_says_is_what_happens(stage: Stage) -> None:
    stage.stuck()
    stage.mend()
    said = stage.json("retry", "aaaa", "--dry-run")
    stage.run("retry", "aaaa")
    assert stage.store.find("aaaa1111").status == said["ends"] == "compensated"
    assert [action["step"] for action in said["undoes"]] == ["reserve"]


def test_a_dry_run_of_what_is_refused_is_refused(stage: Stage) -> None:
    stage.stuck()
    for command in (
        ("skip", "aaaa", "reserve", "--result", "1"),
        ("resolve", "aaaa", "charge", "--undone"),
        ("compensate", "aaaa"),
        ("cancel", "aaaa"),
        ("signal", "aaaa", "go"),
    ):
        assert stage.run(*command, "--dry-run").exit_code == 4, command


def test_a_dry_run_of_many_adds_up_and_asks_nothing(stage: Stage) -> None:
    stage.stuck("aaaa1111")
    stage.stuck("bbbb2222")
    said = stage.json("retry", "--stuck", "--dry-run")
    assert said["matched"] == 2
    assert said["preview"]["undoes"] == {"svc.reserve": 2}
    assert said["preview"]["ends"] == {"compensated": 2}
    shown = stage.run("retry", "--stuck", "--dry-run")
    assert "undoes    2 svc.reserve" in shown.stdout
    assert len(stage.store.runs(RunFilter(stuck=True)).runs) == 2


def test_many_are_previewed_before_a_person_is_asked(stage: Stage) -> None:
    stage.stuck()
    shown = stage.run("cancel", "--stuck")
    assert "refused   1 x the run is compensating already" in shown.stdout
    assert shown.exit_code != 0, "a script has to say --yes"
