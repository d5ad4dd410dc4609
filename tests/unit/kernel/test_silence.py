"""A service that nobody runs: its runs get stuck and name it."""

from __future__ import annotations

from orchestrator.definition.plan import RetryPolicy
from tests.unit.kernel.scenario import Play, call, names, plan

TWICE = RetryPolicy(attempts=2, initial_s=1.0)


def test_a_queue_that_no_worker_reads_is_named_where_the_run_is_stuck() -> None:
    play = Play(plan(call("a", retry=TWICE, undo_retry=TWICE)))
    play.expire("a")
    play.now += 5
    assert names(play.expire("a")) == ["StepInDoubt", "CompensationStarted"]
    play.expire("a")
    play.now += 5
    assert names(play.expire("a")) == ["StepInDoubt", "StepParked"]
    assert play.run.steps["a"].reason == "no answer before the deadline from shop.a (queue shop)"
