"""Commands that look: each option changes what is seen."""

import json

import pytest

from orchestrator.cli.group import hoisted
from orchestrator.cli.looks import short_ids
from orchestrator.cli.parsing import age_s, moment
from orchestrator.journal import listing
from tests.unit.cli.stage import Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    return Stage()


def listed(stage: Stage, *args: str) -> set[str]:
    return {run["run_id"] for run in stage.json("list", *args)["runs"]}


@pytest.mark.parametrize(
    "args",
    [
        ("--saga", "trip"),
        ("--key", "k-2"),
        ("--text", "bbbb"),
        ("--since", "30s"),
        ("--status", "accepted", "--saga", "trip"),
    ],
)
def test_a_filter_of_list_leaves_one_run(stage: Stage, args: tuple[str, ...]) -> None:
    stage.launch("aaaa1111")
    stage.clock += 60
    stage.launch("bbbb2222", saga="trip", key="k-2")
    assert listed(stage) == {"aaaa1111", "bbbb2222"}
    assert listed(stage, *args) == {"bbbb2222"}


def test_older_and_stuck_and_step_filter(stage: Stage) -> None:
    stage.stuck("aaaa1111")
    stage.mend()
    stage.launch("bbbb2222")
    stage.turns()
    assert listed(stage, "--older", "60s") == {"aaaa1111"}
    assert listed(stage, "--stuck") == {"aaaa1111"}
    assert listed(stage, "--step", "reserve") == {"aaaa1111"}
    assert listed(stage, "--status", "completed") == {"bbbb2222"}


def test_list_pages_by_cursor(stage: Stage) -> None:
    for number in range(3):
        stage.clock += 1
        stage.launch(f"run{number}")
    first = stage.json("list", "--limit", "2")
    second = stage.json("list", "--limit", "2", "--cursor", first["cursor"])
    assert [run["run_id"] for run in first["runs"] + second["runs"]] == ["run2", "run1", "run0"]
    assert second["cursor"] is None
    assert first["cursor"] in stage.run("list", "--limit", "2").output


def test_a_text_is_looked_for_in_all_runs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LOOKED_THROUGH", 2)
    for number in range(9):
        stage.clock += 1
        stage.launch(f"{'odd' if number % 4 else 'rare'}{number}")
    assert listed(stage, "--text", "rare") == {"rare0", "rare4", "rare8"}
    first = stage.json("list", "--text", "rare", "--limit", "2")
    assert [run["run_id"] for run in first["runs"]] == ["rare8", "rare4"]
    assert listed(stage, "--text", "rare", "--cursor", first["cursor"]) == {"rare0"}
    assert listed(stage, "--text", "nowhere") == set()


def test_json_has_every_field_whatever_its_value(stage: Stage) -> None:
    stage.launch("aaaa1111")
    (run,) = stage.json("list")["runs"]
    assert run["key"] is None
    assert run["tags"] == {}
    assert run["parked"] == []


def test_show_tells_why_a_run_is_stuck_and_what_helps(stage: Stage) -> None:
    stage.stuck()
    shown = stage.run("show", "aaaa").output
    assert "the till is broken" in shown
    assert "saga retry aaaa1111 --step reserve" in shown
    assert "saga resolve aaaa1111 reserve --undone" in shown
    assert "saga skip" not in shown  # the kernel would refuse it


def test_show_full_lists_every_attempt(stage: Stage) -> None:
    stage.stuck()
    assert "undo attempt 2 failed" not in stage.run("show", "aaaa").output
    assert "undo attempt 2 failed" in stage.run("show", "aaaa", "--full").output


def test_show_before_any_coordinator(stage: Stage) -> None:
    stage.launch("aaaa1111")
    assert "waits for a coordinator" in stage.run("show", "aaaa").output


def test_events_at_a_time_rebuild_the_state_of_then(stage: Stage) -> None:
    stage.stuck()
    all_of_them = stage.json("events", "aaaa")
    then = stage.json("events", "aaaa", "--at", "1000005")
    assert all_of_them["state"] is None
    assert len(then["events"]) < len(all_of_them["events"])
    assert then["state"]["run"]["status"] == "compensating"
    assert stage.json("show", "aaaa")["run"]["status"] == "stuck"


def test_events_before_the_launch_are_not_found(stage: Stage) -> None:
    stage.stuck()
    assert stage.run("events", "aaaa", "--at", "1").exit_code == 3


def test_watch_ends_with_the_run(stage: Stage) -> None:
    stage.mend()
    stage.launch("aaaa1111")
    stage.start()
    result = stage.run("watch", "aaaa", "--json")
    kinds = [json.loads(line)["type"] for line in result.stdout.splitlines()]
    assert kinds[0] == "RunLaunched"
    assert kinds[-1] == "RunCompleted"
    assert result.exit_code == 0


def test_watching_a_stuck_run_exits_1(stage: Stage) -> None:
    stage.stuck()
    assert stage.run("watch", "aaaa").exit_code == 1


def test_stats_count_within_the_window_only(stage: Stage) -> None:
    stage.stuck()
    stage.clock += 1000
    assert stage.json("stats", "--last", "1h")["sagas"][0]["launched"] == 1
    late = stage.json("stats", "--last", "1m")["sagas"][0]
    assert late["launched"] == 0
    assert late["runs"] == {"stuck": 1}
    assert stage.json("stats", "--saga", "other")["sagas"] == []


def test_stats_know_retries_and_durations(stage: Stage) -> None:
    stage.stuck()
    steps = {step["step"]: step for step in stage.json("stats")["steps"]}
    assert steps["reserve"]["retries"] == 2
    assert steps["reserve"]["took"]["p95_s"] == pytest.approx(0.01)
    assert steps["charge"]["refused"] == 1


def test_plans_and_drawings(stage: Stage) -> None:
    stage.stuck()
    assert stage.json("plans")["plans"][0]["saga"] == "shop"
    assert stage.run("draw", "shop").stdout.startswith("flowchart")
    assert stage.run("draw", "shop", "--format", "svg").stdout.startswith("<svg")
    assert "undo parked" in stage.run("draw", "--run", "aaaa").stdout
    assert stage.run("draw", "shop@1").exit_code == 0
    assert stage.run("draw", "shop@9").exit_code == 3
    assert stage.run("draw", "nothing").exit_code == 3
    assert stage.run("draw").exit_code == 2
    assert stage.run("draw", "shop", "--run", "aaaa").exit_code == 2


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("show", "zz"), 3, "zz"),
        (("list", "--status", "odd"), 2, "odd"),
        (("list", "--older", "soon"), 2, "soon"),
        (("list", "--tag", "alone"), 2, "alone"),
        (("list", "--cursor", "?"), 2, "cursor"),
        (("stats", "--last", "x"), 2, "x"),
        (("events", "aaaa", "--at", "noon"), 2, "noon"),
        (("launch", "nosuch"), 3, "nosuch"),
    ],
)
def test_refusals(stage: Stage, args: tuple[str, ...], code: int, said: str) -> None:
    stage.launch("aaaa1111")
    result = stage.run(*args)
    assert result.exit_code == code
    assert said in result.output
    assert "Traceback" not in result.output


def test_an_ambiguous_prefix_names_the_candidates(stage: Stage) -> None:
    stage.launch("aaaa1111")
    stage.launch("aaaa2222")
    result = stage.run("show", "aaaa")
    assert result.exit_code == 3
    assert "aaaa2222" in result.output


def test_an_error_is_json_where_json_was_asked_for(stage: Stage) -> None:
    result = stage.run("show", "zz", "--json")
    assert json.loads(result.stderr)["error"]["exit_code"] == 3
    assert result.stdout == ""


def test_global_options_stand_anywhere_but_behind_two_dashes() -> None:
    assert hoisted(["list", "--json", "--app", "a"]) == ["--json", "--app", "a", "list"]
    assert hoisted(["x", "--app=a", "--", "--json"]) == ["--app=a", "x", "--", "--json"]


def test_ids_are_as_short_as_keeps_them_apart() -> None:
    assert short_ids(["abcdefgh1", "abcdefgh2", "x" * 20]) == {
        "abcdefgh1": "abcdefgh1",
        "abcdefgh2": "abcdefgh2",
        "x" * 20: "x" * 9,
    }


def test_ages_and_moments() -> None:
    assert age_s("1h30m", "--x") == 5400
    assert moment("5m", 1000.0, "--x") == 700
    assert moment("1970-01-01T00:00:10+00:00", 0.0, "--x") == 10


@pytest.mark.parametrize("width", [80, 100])
def test_nothing_is_wider_than_the_terminal(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    stage.stuck(key="a-key-of-some-length")
    for args in (["list"], ["show", "aaaa"], ["events", "aaaa"], ["stats"], ["doctor"]):
        lines = stage.run(*args).stdout.splitlines()
        assert max(map(len, lines)) <= width
        if args == ["stats"]:
            assert any("undone" in line for line in lines)
