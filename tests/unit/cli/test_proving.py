"""``saga verify`` and ``saga lint`` as programs and people call them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.wiring import definitions
from tests.unit.cli.stage import Stage

APP = "tests.unit.testing.broken"


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.defined = definitions([APP])
    return made


def _json(stage: Stage, *args: str) -> tuple[int, dict[str, Any]]:
    done = stage.runner.invoke(_app(), ["--app", APP, "--json", *args], obj=stage)
    return done.exit_code, json.loads(done.stdout)


def _text(stage: Stage, *args: str) -> tuple[int, str]:
    done = stage.runner.invoke(_app(), ["--app", APP, *args], obj=stage)
    return done.exit_code, done.output


def _app() -> Any:
    from orchestrator.cli.app import app

    return app


def test_a_sound_saga_holds(stage: Stage) -> None:
    code, said = _json(stage, "verify", "sound", "--faults", "1")
    assert code == 0
    assert said["ok"]
    [report] = said["sagas"]
    assert report["counterexample"] is None
    assert report["cut"] == []
    assert report["worlds"] > 50
    assert "sound: holds" in _text(stage, "verify", "sound", "--faults", "1")[1]


def test_a_violation_is_told_and_its_trace_replays(stage: Stage) -> None:
    code, said = _json(stage, "verify", "not_null_safe")
    assert code == 1
    trace = said["sagas"][0]["counterexample"]["trace"]
    code, text = _text(stage, "verify", "not_null_safe", "--trace", trace)
    assert code == 1
    assert "violated: trouble that passes never leaves a run stuck" in text
    code, text = _text(stage, "verify", "not_null_safe")
    assert code == 1
    assert "def test_not_null_safe_" in text


def test_a_trace_that_shows_nothing_ends_well(stage: Stage) -> None:
    trace = "do hold; cancel; do pay_out; undo pay_out; undo hold"
    code, text = _text(stage, "verify", "sound", "--trace", trace)
    assert code == 0, text
    assert "every invariant holds" in text
    assert _text(stage, "verify", "sound", "--trace", "do count")[0] == 2


def test_a_bound_that_cut_it_short_is_no_success(stage: Stage) -> None:
    code, text = _text(stage, "verify", "sound", "--worlds", "10")
    assert code == 1
    assert "not everything was seen: stopped at 10 worlds" in text


def test_random_walks_find_what_is_there_and_prove_nothing(stage: Stage) -> None:
    walks = ("--walks", "400", "--seed", "3")
    code, said = _json(stage, "verify", "not_null_safe", *walks)
    assert code == 1
    [report] = said["sagas"]
    assert (report["walks"], report["seed"]) == (400, 3)
    assert (
        _json(stage, "verify", "not_null_safe", *walks)[1]["sagas"][0]["counterexample"]
        == (report["counterexample"])
    )
    code, text = _text(stage, "verify", "sound", "--walks", "20", "--seed", "3")
    assert code == 0
    assert "sound: nothing found, nothing proved" in text
    assert "20 random walks of --seed 3" in text
    assert "random walks of --seed " in _text(stage, "verify", "sound", "--walks", "2")[1]


@pytest.mark.parametrize(
    "args",
    [
        ("--open-runs", "--faults", "3"),
        ("--open-runs", "--careless"),
        ("sound", "--trace", "do hold", "--worlds", "5"),
        ("sound", "--seed", "3"),
        ("sound", "--walks", "3", "--worlds", "5"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(stage: Stage, args: tuple[str, ...]) -> None:
    assert _text(stage, "verify", *args)[0] == 2


def test_branches_that_count_as_one_are_named(stage: Stage) -> None:
    stage.defined = definitions(["sagas.trips"])
    code, text = _text(stage, "verify", "book_trip", "--faults", "0")
    assert code == 0
    assert "seen as one: book_flight = book_hotel = book_car" in text


def test_an_unknown_saga_is_named(stage: Stage) -> None:
    assert _text(stage, "verify", "nothing")[0] == 3
    assert _text(stage, "lint", "nothing")[0] == 3


def test_open_runs_of_an_empty_journal_are_fine(stage: Stage) -> None:
    assert _json(stage, "verify", "--open-runs") == (
        0,
        {"ok": True, "runs": 0, "troubles": [], "older": [], "elsewhere": []},
    )
    assert _text(stage, "verify", "sound", "--open-runs")[0] == 2


def test_lint_names_line_risk_and_fix(stage: Stage) -> None:
    code, said = _json(stage, "lint", "undo_missing_its_effect")
    assert code == 1
    [finding] = said["findings"]
    assert finding["rule"] == "undo-empty"
    assert finding["where"].startswith("tests/unit/testing/broken.py:")
    text = _text(stage, "lint", "undo_missing_its_effect")[1]
    assert finding["risk"] in text
    assert finding["fix"] in text
    assert "1 finding" in text
