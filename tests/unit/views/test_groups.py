"""Atomic groups as operators see them: the tree, why something waits, the timeline, and what can be done."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import msgspec
import pytest

from orchestrator.cli.looks import LOOKS
from orchestrator.definition.drawing import mermaid
from orchestrator.journal.port import Recorded
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.state import Status
from orchestrator.views.advice import advice
from orchestrator.views.marked_plan import marked
from orchestrator.views.steps import NodeView, StepView, steps_of, tree
from orchestrator.views.timeline import sentence, timeline
from tests.unit.kernel.scenario import Play, branch, group, plan

PLAN = plan(group(branch("debit"), branch("credit")))


def recorded(play: Play) -> list[Recorded]:
    return [
        Recorded(
            shard=0,
            offset=offset,
            run_id="r",
            type=type(event).__name__,
            at=event.at,
            actor=event.actor,
            event=event,
            hash="",
        )
        for offset, event in enumerate(play.events)
    ]


def seen(play: Play) -> tuple[NodeView, dict[str, StepView]]:
    root = tree(PLAN, recorded(play), play.now)
    [node] = root.nodes
    return node, {step.step: step for step in steps_of(root)}


def test_a_group_is_a_step_with_its_branches_below() -> None:
    play = Play(PLAN)
    play.vote("debit")
    node, steps = seen(play)
    assert (node.shape, node.label) == ("atomic", "all or nothing, within 20 s")
    assert [child.step.step for child in node.nodes if child.step] == ["debit", "credit"]
    assert node.step is not None
    assert node.step.waits == "waits for credit; is taken back in 20 s"
    assert steps["debit"].waits == "waits for its group 'atomic'"
    assert steps["debit"].status == "prepared"


def test_attempts_of_a_branch_are_its_votes_and_what_it_was_told() -> None:
    play = Play(PLAN)
    play.vote("debit")
    play.vote("credit")
    play.now += 2
    play.reply("debit", "failed")
    play.reply("debit")
    play.reply("credit")
    _, steps = seen(play)
    assert [f"{one.kind} {one.outcome}" for one in steps["debit"].attempts] == [
        "prepare prepared",
        "commit failed",
        "commit committed",
    ]
    assert steps["debit"].duration_s == 2.0
    assert steps["atomic"].status == "done"


def test_a_heuristic_outcome_shows_until_it_is_forgotten_and_what_can_be_done_is_offered() -> None:
    play = Play(PLAN)
    play.vote("debit")
    play.vote("credit")
    play.reply("debit")
    play.reply("credit", "heuristic_rollback")
    offered = [(one.operation, one.step) for one in advice(play.run, play.now)]
    assert offered == [
        ("retry", "credit"),
        ("resolve as done", "credit"),
        ("resolve as undone", "credit"),
        ("compensate", ""),
    ]
    play.send(msg.Resolve(at=play.now, step="credit"))
    assert [(one.operation, one.step) for one in advice(play.run, play.now)] == [
        ("forget", "credit")
    ]
    assert seen(play)[1]["credit"].heuristic == "rollback"
    play.send(msg.Forget(at=play.now, step="credit"))
    assert advice(play.run, play.now) == []


def test_a_stuck_commit_says_that_it_is_tried_on() -> None:
    play = Play(PLAN)
    play.vote("debit")
    play.vote("credit")
    play.reply("debit", "unregistered")
    assert seen(play)[1]["debit"].waits.startswith("needs a person, and is tried on: no worker")


def test_a_group_that_failed_can_be_tried_again_skipped_or_resolved() -> None:
    done = branch("pay", "", undo=False, pivot=True)
    late = plan(done, group(branch("debit", undo=False)))
    play = Play(late)
    play.reply("pay")
    play.reply("debit", "refused")
    assert [(one.operation, one.step) for one in advice(play.run, play.now)] == [
        ("retry", "atomic"),
        ("skip", "atomic"),
        ("resolve as done", "atomic"),
    ]


def test_a_run_is_drawn_with_its_groups() -> None:
    play = Play(PLAN)
    play.vote("debit")
    drawn = mermaid(marked(PLAN, seen(play)[1].values()))
    assert "debit · prepared" in drawn
    assert "atomic · voting" in drawn


def test_the_tree_of_a_run_that_has_not_begun_has_its_groups() -> None:
    root = tree(PLAN, [], 0.0)
    assert [step.step for step in steps_of(root)] == ["atomic", "debit", "credit"]


def _aborted(play: Play) -> None:
    play.reply("credit", "refused")


def _committed(play: Play) -> None:
    play.vote("credit", took_s=0.25)
    play.reply("debit")


def _timed_out(play: Play) -> None:
    play.now += 20
    play.send(msg.TimerFired(at=play.now, step="atomic"))


@pytest.mark.parametrize(
    ("goes_on", "says"),
    [
        (_aborted, "atomic is taken back: credit: sold out"),
        (_committed, "atomic: all said yes, so it is committed"),
        (_committed, "credit is prepared in 250 ms"),
        (_committed, "debit has committed"),
        (_timed_out, "atomic is taken back: no decision within 20 s: no vote from credit"),
    ],
)
def test_the_timeline_tells_it(goes_on: Callable[[Play], None], says: str) -> None:
    play = Play(PLAN)
    play.vote("debit")
    goes_on(play)
    assert says in [entry.text for entry in timeline(PLAN, recorded(play))]


def test_every_event_has_a_sentence_of_its_own() -> None:
    for kind in get_args(ev.Event):
        given = {"failure": ev.Failure("T", "m"), "kind": "commit", "vote": "prepared"}
        given |= {"found": "commit", "undone": False, "input": {}, "retry_at": 2.0}
        fields = {
            one.name: given.get(one.name, 1 if one.type in {int, float} else "x")
            for one in msgspec.structs.fields(kind)
            if one.required or one.name in {"retry_at", "failure"}
        }
        text, _ = sentence(kind(**fields))
        assert text != kind.__name__


def test_every_status_has_a_look() -> None:
    assert {status.value for status in Status} <= set(LOOKS)
