"""A reply counts for the very command it answers: its step, its kind, its attempt."""

from __future__ import annotations

import pytest

from orchestrator.definition.plan import RetryPolicy
from orchestrator.kernel.messages import Outcome
from tests.unit.kernel.scenario import Play, call, names, plan

TWICE = RetryPolicy(attempts=2, initial_s=1.0)


@pytest.mark.parametrize("outcome", ["succeeded", "refused", "failed", "lost", "unregistered"])
@pytest.mark.parametrize("kind", ["do", "undo"])
def test_a_reply_to_an_earlier_attempt_changes_nothing(outcome: Outcome, kind: str) -> None:
    play = Play(plan(call("a", retry=TWICE, undo_retry=TWICE), call("b")))
    if kind == "undo":
        play.reply("a")
        play.reply("b", "refused")
    play.expire("a")
    play.now += 5
    assert play.out() == [f"{kind} a 2"]
    assert play.reply("a", outcome, attempt=1) == []
    assert play.out() == [f"{kind} a 2"]
    assert names(play.reply("a"))[0] == ("StepUndone" if kind == "undo" else "StepSucceeded")
