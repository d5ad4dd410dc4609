"""Commands that change a run: what they lead to, who did it and why, and when they are refused."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.definition.plan import Plan, Sequence, Wait
from tests.unit.cli.stage import ACTOR, Stage
from tests.unit.coordinator.scripted import request


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    return Stage()


def last(stage: Stage, kind: str, run: str = "aaaa1111") -> Any:
    return [r.event for r in stage.store.history(run) if r.type == kind][-1]


def parked_forward(stage: Stage) -> None:
    """A run past its pivot's first failure: charge is parked, and can be edited, skipped or resolved."""
    from tests.unit.coordinator.scripted import answer, plan_of

    plan = plan_of("charge", attempts=1)
    step = replace(plan.body.nodes[0], pivot=True)
    stage.transport.handler = lambda work: answer(work, "unregistered")
    stage.store.launch([request(replace(plan, body=Sequence((step,))), "aaaa1111", at=stage.clock)])
    stage.start()
    stage.turns()
    assert stage.store.find("aaaa1111").status == "stuck"


def test_retry_repairs_and_records_actor_and_reason(stage: Stage) -> None:
    stage.stuck()
    stage.mend()
    done = stage.json("retry", "aaaa", "--step", "reserve", "--reason", "mended")
    assert done["taken"] is True
    event = last(stage, "StepRetried")
    assert (event.actor, event.reason, event.step) == (ACTOR, "mended", "reserve")
    assert stage.store.find("aaaa1111").status == "compensated"


def test_retry_of_a_step_that_is_not_there_is_refused(stage: Stage) -> None:
    stage.stuck()
    assert stage.run("retry", "aaaa", "--step", "charge").exit_code == 4


def test_edit_replaces_arguments(stage: Stage) -> None:
    parked_forward(stage)
    stage.mend()
    assert stage.run("retry", "aaaa", "--step", "charge", "--edit", '{"a": 2}').exit_code == 0
    assert stage.transport.sent[-1].args == {"a": 2}
    assert last(stage, "StepRetried").args == {"a": 2}


def test_skip_gives_the_result(stage: Stage) -> None:
    parked_forward(stage)
    result = stage.run("skip", "aaaa", "charge", "--result", '{"id": 7}', "--reason", "by hand")
    assert result.exit_code == 0
    event = last(stage, "StepSkipped")
    assert (event.result, event.reason, event.actor) == ({"id": 7}, "by hand", ACTOR)


def test_resolve_as_done(stage: Stage) -> None:
    parked_forward(stage)
    assert stage.run("resolve", "aaaa", "charge", "--result", "7").exit_code == 0
    event = last(stage, "StepResolved")
    assert (event.undone, event.result) == (False, 7)


def test_resolve_as_undone(stage: Stage) -> None:
    stage.stuck()
    assert stage.run("resolve", "aaaa", "reserve", "--undone", "--reason", "seen").exit_code == 0
    event = last(stage, "StepResolved")
    assert (event.undone, event.reason) == (True, "seen")
    assert stage.store.find("aaaa1111").status == "compensated"


@pytest.mark.parametrize("command", ["cancel", "compensate"])
def test_cancel_and_compensate_undo_a_waiting_run(stage: Stage, command: str) -> None:
    waiting(stage)
    assert stage.run(command, "aaaa", "--reason", "no need").exit_code == 0
    event = last(stage, "CompensationStarted")
    assert (event.reason, event.actor) == ("no need", ACTOR)


def waiting(stage: Stage, run_id: str = "aaaa1111") -> None:
    plan = Plan(saga="ask", version=1, parameters={}, body=Sequence((Wait("ok", "approve"),)))
    stage.store.launch([request(plan, run_id, at=stage.clock)])
    if stage.coordinator is None:
        stage.start()
    stage.turns()


def test_signal_carries_data_reason_and_id(stage: Stage) -> None:
    waiting(stage)
    args = ("signal", "aaaa", "approve", '{"by": "bo"}', "--id", "s1", "--reason", "asked")
    assert stage.run(*args).exit_code == 0
    event = last(stage, "SignalReceived")
    assert (event.data, event.signal_id, event.reason, event.actor) == (
        {"by": "bo"},
        "s1",
        "asked",
        ACTOR,
    )
    assert stage.store.find("aaaa1111").status == "completed"


def test_without_a_coordinator_it_is_recorded_and_said(stage: Stage) -> None:
    stage.stuck()
    stage.coordinator = None
    stage.clock += 1000  # its lease is over
    result = stage.run("retry", "aaaa")
    assert result.exit_code == 0
    assert "saga coordinator" in result.output
    assert len(stage.store.inbox([0, 1], {}, 10)) == 1


def test_with_a_coordinator_that_is_busy_it_is_said(stage: Stage) -> None:
    stage.stuck()
    stage.coordinator = None
    stage.clock -= 60  # its lease goes on
    assert "hasn't taken it yet" in stage.run("retry", "aaaa").output


def test_many_at_once_are_previewed_and_need_a_yes(stage: Stage) -> None:
    stage.stuck("aaaa1111")
    stage.stuck("bbbb2222", saga="trip")
    refused = stage.run("retry", "--stuck")
    assert refused.exit_code == 2
    assert "--yes" in refused.output
    assert "aaaa1111" in refused.output
    assert stage.store.inbox([0, 1], {}, 10) == []


def test_many_at_once_are_those_that_fit(stage: Stage) -> None:
    stage.stuck("aaaa1111")
    stage.stuck("bbbb2222", saga="trip")
    stage.mend()
    done = stage.json("retry", "--stuck", "--saga", "trip", "--yes", "--reason", "all")
    assert (done["matched"], done["sent"], done["taken"]) == (1, 1, 1)
    assert stage.store.find("aaaa1111").status == "stuck"
    assert stage.store.find("bbbb2222").status == "compensated"


def test_step_chooses_among_many(stage: Stage) -> None:
    stage.stuck("aaaa1111")
    assert stage.json("retry", "--stuck", "--step", "other", "--yes")["matched"] == 0
    assert stage.json("retry", "--stuck", "--step", "reserve", "--yes")["matched"] == 1


def test_refused_ones_among_many_are_named(stage: Stage) -> None:
    stage.stuck("aaaa1111")
    result = stage.run("cancel", "--stuck", "--yes")
    assert result.exit_code == 4
    assert "aaaa1111 refused" in result.output


@pytest.mark.parametrize(
    "args",
    [
        ("retry",),
        ("retry", "aaaa", "--stuck"),
        ("retry", "aaaa", "--edit", "[1]"),
        ("retry", "aaaa", "--edit", "{"),
        ("skip", "aaaa", "reserve"),
        ("skip", "aaaa", "reserve", "--result", "text"),
        ("resolve", "aaaa", "reserve"),
        ("resolve", "aaaa", "reserve", "--undone", "--result", "1"),
        ("signal", "aaaa", "x", "text"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(stage: Stage, args: tuple[str, ...]) -> None:
    stage.stuck()
    assert stage.run(*args).exit_code == 2
    assert stage.store.inbox([0, 1], {}, 10) == []


@pytest.mark.parametrize(
    "args",
    [("skip", "aaaa", "reserve", "--result", "1"), ("cancel", "aaaa"), ("compensate", "aaaa")],
)
def test_what_the_state_forbids_is_refused(stage: Stage, args: tuple[str, ...]) -> None:
    stage.stuck()
    assert stage.run(*args).exit_code == 4


@pytest.mark.parametrize("command", ["retry", "cancel", "compensate"])
@pytest.mark.parametrize(
    "chosen",
    [
        ("--saga", "ask2"),
        ("--key", "k"),
        ("--tag", "day=2"),
        ("--text", "bbbb"),
        ("--since", "30s"),
        ("--older", "30s"),
        ("--status", "stuck"),
    ],
)
def test_every_filter_chooses_for_every_bulk_command(
    stage: Stage, command: str, chosen: tuple[str, str]
) -> None:
    waiting(stage)
    stage.clock += 60
    plan = Plan(saga="ask2", version=1, parameters={}, body=Sequence((Wait("ok", "approve"),)))
    wanted = request(plan, "bbbb2222", "k", at=stage.clock)
    stage.store.launch([replace(wanted, message=replace(wanted.message, tags={"day": "2"}))])
    stage.turns()
    expected = {"--older": ["aaaa1111"], "--status": []}.get(chosen[0], ["bbbb2222"])
    result = stage.run("--json", command, *chosen, "--yes")
    found = json.loads(result.stdout)
    assert found["matched"] == len(expected)
    touched = [
        run
        for run in ("aaaa1111", "bbbb2222")
        if run in str(found["refused"]) or stage.store.find(run).status == "compensated"
    ]
    assert touched == expected


def test_compensate_and_cancel_take_stuck(stage: Stage) -> None:
    waiting(stage)
    for command in ("compensate", "cancel"):
        assert stage.json(command, "--stuck", "--yes")["matched"] == 0
