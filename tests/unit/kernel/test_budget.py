"""How often a step may be tried, as an operator says: more for one that was given up, less for one that goes on."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.definition.plan import Const, Operation, Param, RetryPolicy
from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.evolve import evolve, fold
from orchestrator.kernel.preview import preview
from orchestrator.kernel.state import Status
from tests.unit.kernel.scenario import Play, branch, call, group, names, plan

TWICE = RetryPolicy(attempts=2, initial_s=1.0, jitter=0.0)


def give(play: Play, step: str, attempts: int, **more: Any) -> list[ev.Event]:
    asked: dict[str, Any] = {"actor": "ann", "reason": "slow today"} | more
    return play.send(msg.Budget(at=play.now, step=step, attempts=attempts, **asked))


def fail(play: Play, step: str) -> list[str]:
    [sent] = [one for one in play.sent() if one.step == step]
    play.now = max(play.now, sent.due)
    return names(play.reply(step, "failed"))


def refused(play: Play, step: str, attempts: int) -> str:
    [event] = give(play, step, attempts)
    assert isinstance(event, ev.OperationRefused)
    assert event.operation == "budget"
    return event.why


def undo_parked() -> Play:
    play = Play(plan(call("a", undo_retry=TWICE), call("b")))
    play.reply("a")
    play.reply("b", "refused")
    assert fail(play, "a") == ["StepFailed"]
    assert fail(play, "a") == ["StepFailed", "StepParked"]
    return play


def test_an_undo_that_was_given_up_is_tried_as_often_as_it_may_in_all() -> None:
    play = undo_parked()
    events = give(play, "a", 4, request="r1")
    assert events == [
        ev.StepRetried(
            at=play.now, actor="ann", request="r1", step="a", kind="undo", reason="slow today"
        ),
        ev.BudgetSet(
            at=play.now,
            actor="ann",
            request="r1",
            step="a",
            kind="undo",
            attempts=4,
            limit=2,
            reason="slow today",
        ),
    ]
    assert give(play, "a", 4, request="r1") == []
    assert fail(play, "a") == ["StepFailed"]
    assert fail(play, "a") == ["StepFailed", "StepParked"]
    assert fold(play.program, play.events) == play.run


def test_a_step_under_way_gets_more_attempts_or_fewer() -> None:
    for attempts in (1, 3):
        play = Play(plan(call("a", retry=TWICE)))
        assert names(give(play, "a", attempts)) == ["BudgetSet"]
        tried = 1
        while fail(play, "a") == ["StepFailed"] and play.status("a") is Status.RUNNING:
            tried += 1
        assert tried == attempts


def test_given_attempts_are_the_only_limit() -> None:
    policy = RetryPolicy(attempts=None, budget_s=0.5, initial_s=1.0, jitter=0.0)
    for give_more in (False, True):
        play = Play(plan(call("a", retry=policy)))
        if give_more:
            give(play, "a", 2)
        fail(play, "a")
        assert (play.status("a") is Status.RUNNING) is give_more


def test_what_an_operator_retries_has_the_plans_attempts_again() -> None:
    play = undo_parked()
    give(play, "a", 3)
    assert fail(play, "a") == ["StepFailed", "StepParked"]
    play.send(msg.Retry(at=play.now, step="a"))
    assert fail(play, "a") == ["StepFailed"]


def test_what_was_given_for_the_action_does_not_count_for_its_undo() -> None:
    play = Play(plan(call("a", undo_retry=TWICE), call("b")))
    give(play, "a", 9)
    play.reply("a")
    play.reply("b", "refused")
    assert fail(play, "a") == ["StepFailed"]
    assert fail(play, "a") == ["StepFailed", "StepParked"]


def test_what_can_not_be_given_is_refused() -> None:
    play = undo_parked()
    assert refused(play, "a", 2) == "'a' is at attempt 2: it can be given 3 to 1,000,000, not 2"
    assert "not 1000001" in refused(play, "a", 1_000_001)
    assert "no step 'zzz' begun" in refused(play, "zzz", 5)
    assert refused(play, "b", 5).startswith("step 'b' is ")
    atomic = Play(plan(group(branch("x"), branch("y"))))
    for key in ("atomic", "x"):
        assert "only a call has" in refused(atomic, key, 5)
    assert "has changed since" in _why(play, msg.Budget(at=0.0, step="a", attempts=9, expects=1))


def test_what_never_came_to_an_attempt_is_not_given_more() -> None:
    divided = Operation("/", (Const(1), Param("n")), "number", "number")
    play = Play(plan(call("a", x=divided)), n=0)
    assert play.run.steps["a"].status is Status.PARKED
    assert "has never been tried: argument x: '/' has no value" in refused(play, "a", 5)


def test_an_action_whose_answer_alone_is_awaited_is_not_tried_again() -> None:
    play = Play(plan(call("a", barrier=False, retry=TWICE)))
    play.send(msg.Cancel(at=play.now))
    assert refused(play, "a", 5) == "the run is compensating: its steps aren't tried again"


def test_a_preview_says_what_would_run() -> None:
    seen = preview(undo_parked().run, msg.Budget(at=500.0, step="a", attempts=5))
    assert (seen.events, seen.ends) == (("StepRetried", "BudgetSet"), "compensated")
    assert [one.step for one in seen.undoes] == ["a"]


@pytest.mark.parametrize(("step", "kind"), [("zzz", "undo"), ("a", "do")])
def test_a_budget_for_what_is_not_tried_is_illegal(step: str, kind: ev.CommandKind) -> None:
    with pytest.raises(IllegalEventError):
        evolve(undo_parked().run, ev.BudgetSet(at=1.0, step=step, kind=kind, attempts=5, limit=5))


def _why(play: Play, operation: msg.Operation) -> str:
    [event] = play.send(operation)
    assert isinstance(event, ev.OperationRefused)
    return event.why
