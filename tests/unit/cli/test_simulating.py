"""`saga simulate`."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.testing.simulation.results import Schedule
from orchestrator.testing.simulator import Simulator
from tests.simulation import removed


def _simulate(*options: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *options])


def test_schedules_are_counted_with_their_runs_and_faults() -> None:
    result = _simulate("--schedules", "5", "--json")
    assert result.exit_code == 0, result.output
    campaign = json.loads(result.stdout)
    assert campaign["schedules"] == 5
    assert sum(campaign["runs"].values()) >= 5
    assert campaign["failed"] == []
    assert "5 schedules from seed 0 in" in _simulate("--schedules", "5").output


def test_faults_are_counted_by_kind_and_the_verdict_comes_last() -> None:
    shown = _simulate("--schedules", "20", "--seed", "3").output
    assert "20 schedules from seed 3 in" in shown
    assert "virtual hours" in shown
    assert re.search(r"^ +\d+ command lost$", shown, re.MULTILINE)
    assert shown.endswith("no seed failed\n")


def test_several_processes_play_the_same_schedules() -> None:
    alone, together = (
        json.loads(_simulate("--schedules", "120", "--json", "--processes", number).stdout)
        for number in ("1", "2")
    )
    assert {**alone, "elapsed_s": 0} == {**together, "elapsed_s": 0}


def test_an_interrupt_shows_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[int] = []

    def play(_self: Simulator, seed: int) -> Schedule:
        played.append(seed)
        if len(played) == 3:
            raise KeyboardInterrupt
        return Schedule(seed, (), (), "", {}, 1, {}, 0.0)

    monkeypatch.setattr(Simulator, "play", play)
    result = _simulate("--hours", "8")
    assert result.exit_code == 130
    assert "2 schedules from seed 0 in" in result.output


def test_a_saga_of_the_apps_is_simulated() -> None:
    result = _simulate("place_order", "--app", "sagas.orders", "--schedules", "3")
    assert result.exit_code == 0, result.output
    unknown = _simulate("nothing", "--app", "sagas.orders")
    assert unknown.exit_code == 3
    assert "place_order" in unknown.output


def test_a_seed_is_shown_whole_and_the_same_each_time() -> None:
    first, again = _simulate("--seed", "7", "--trace"), _simulate("--seed", "7", "--trace")
    assert first.stdout == again.stdout
    assert "schedule: seed 7" in first.stdout


def test_a_failing_schedule_ends_in_exit_1_with_its_seed() -> None:
    with removed.without(removed.duplicate_filter):
        result = _simulate("--schedules", "50")
    assert result.exit_code == 1
    assert "fails; show it whole with --seed and --trace" in result.output
    assert "messages they couldn't take" in result.output


@pytest.mark.parametrize("option", [("--hours", "0"), ("--schedules", "1")])
def test_the_end_can_be_a_number_or_a_time(option: tuple[str, str]) -> None:
    assert "1 schedules from seed 0 in" in _simulate(*option).output
