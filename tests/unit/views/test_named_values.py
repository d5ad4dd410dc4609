"""A named value, or the saga's result, that has none is shown like any step that needs a person."""

from __future__ import annotations

from orchestrator.definition.plan import Const, Each, Field, Let, Result
from orchestrator.journal.port import Recorded
from orchestrator.views.advice import advice
from orchestrator.views.steps import steps_of, tree
from orchestrator.views.timeline import timeline
from tests.unit.kernel.scenario import Play, call, plan


def records(play: Play) -> list[Recorded]:
    return [
        Recorded(1, offset, "r", type(event).__name__, event.at, event.actor, event, "")
        for offset, event in enumerate(play.events)
    ]


def test_it_is_shown_with_its_reason_and_what_can_be_done() -> None:
    field = Field(Result("a"), "id")
    for play, key in (
        (Play(plan(call("a"), result=field)), "@result"),
        (Play(plan(call("a"), Let("receipt", field), call("b"))), "receipt"),
    ):
        play.reply("a", result=3)
        root = tree(play.program.plan, records(play), play.now)
        steps = {step.step: step for step in steps_of(root)}
        assert steps[key].shape == "let"
        assert steps[key].waits.startswith("needs a person: no field 'id'")
        offers = [offer.operation for offer in advice(play.run, play.now) if offer.step == key]
        assert offers == ["retry", "skip", "resolve as done", "resolve as undone"]
        assert timeline(play.program.plan, records(play))


def test_a_fan_out_without_items_can_be_given_some() -> None:
    play = Play(plan(Each("each", Const(None), call("a"))))
    offers = [offer.operation for offer in advice(play.run, play.now)]
    assert offers == ["retry", "skip", "resolve as done", "resolve as undone", "compensate"]


def test_a_value_that_is_there_is_no_step() -> None:
    play = Play(plan(call("a"), Let("receipt", Result("a")), call("b")))
    play.reply("a", result=3)
    root = tree(play.program.plan, records(play), play.now)
    assert [step.step for step in steps_of(root)] == ["a", "b"]
