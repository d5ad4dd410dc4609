"""The rows of the two-phase matrix about messages and operators that the kernel decides (Q and O)."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.definition.plan import Plan, RetryPolicy
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.pending import pending
from orchestrator.kernel.state import Phase, Status
from tests.unit.kernel.scenario import Play, branch, call, group, names, plan

S = Status
TWICE = RetryPolicy(attempts=2, jitter=0.0)


def pair(**options: Any) -> Plan:
    """A transfer, and a step after it."""
    return plan(group(branch("debit"), branch("credit"), **options), call("mail"))


def voted(*steps: str, **options: Any) -> Play:
    play = Play(pair(**options))
    for step in steps:
        play.vote(step)
    return play


def out_of(play: Play) -> list[str]:
    again = pending(fold(play.program, play.events))
    return [f"{c.kind} {c.step} {c.attempt}" for c in again if isinstance(c, Execute)]


def test_q1_no_message_has_an_effect_twice() -> None:
    play = voted("debit", "credit")
    play.reply("debit")
    for message in (_vote("debit"), _vote("credit"), _reply("debit", "commit", 2)):
        assert play.send(message) == []
    play.reply("credit")
    assert play.send(_reply("credit", "commit", 2)) == []


@pytest.mark.parametrize("lost", ["prepare", "vote", "commit", "acknowledgement", "abort"])
def test_q2_whatever_is_lost_is_sent_again(lost: str) -> None:
    play = Play(plan(group(branch("debit", retry=TWICE), branch("credit"))))
    if lost in {"commit", "acknowledgement"}:
        play.vote("debit")
        play.vote("credit")
    elif lost == "abort":
        play.vote("debit")
        play.reply("credit", "refused")
    kind = next(sent.kind for sent in play.sent() if sent.step == "debit")
    attempt = play.run.steps["debit"].attempt
    play.expire("debit")
    again = next(sent for sent in play.sent() if sent.step == "debit")
    assert (again.kind, again.attempt, again.round) == (kind, attempt + 1, 0)


def test_q3_q5_an_abort_goes_out_while_the_prepare_is_still_out() -> None:
    play = Play(pair())
    play.reply("credit", "refused")
    assert play.out() == ["abort debit 2"]
    assert play.status("debit") is S.ABORTING


def test_q4_q6_a_late_yes_after_the_abort_is_ignored_and_the_abort_is_sent_again() -> None:
    play = Play(pair())
    play.reply("credit", "refused")
    assert play.send(_vote("debit")) == []
    play.expire("debit")
    assert play.out() == ["abort debit 3"]


def test_q4_the_acknowledgement_of_one_round_is_not_that_of_the_next() -> None:
    play = voted("debit", retry=TWICE)
    play.reply("credit", "failed")
    first = play.run.steps["debit"].attempt
    play.reply("debit")
    play.reply("credit")
    play.vote("debit")
    play.reply("credit", "failed")
    assert play.send(_reply("debit", "abort", first)) == []
    assert play.status("debit") is S.ABORTING


def test_q8_a_commit_for_a_branch_that_never_voted_is_an_incident() -> None:
    play = voted("debit", "credit")
    never = ev.Failure("ProtocolError", "a tombstone is there")
    [found] = play.reply("credit", "protocol_error", failure=never)
    assert isinstance(found, ev.HeuristicFound)
    assert found.found == "protocol error"
    assert "never asked to vote" in play.run.steps["credit"].reason


def test_q9_after_a_wiped_broker_everything_pending_is_sent_again_from_the_journal() -> None:
    play = voted("debit")
    assert out_of(play) == play.out()
    play.vote("credit")
    assert out_of(play) == play.out() == ["commit debit 2", "commit credit 2"]


def test_q11_a_poison_message_is_a_no_before_the_decision() -> None:
    play = Play(plan(group(branch("debit", retry=TWICE), branch("credit"))))
    play.vote("credit")
    play.reply("debit", "lost")
    assert names(play.reply("debit", "lost")) == ["StepInDoubt", "AbortDecided"]


def test_q11_a_poison_message_is_an_incident_after_the_decision() -> None:
    play = voted("debit", "credit")
    for _ in range(10):
        play.reply("debit", "lost")
    assert play.run.parked == ["debit"]
    assert any(isinstance(event, ev.StepParked) for event in play.events)


def test_o1_an_operator_may_ask_again_or_say_that_it_was_done_by_hand() -> None:
    play = voted("debit", "credit")
    play.reply("debit")
    play.reply("credit", "heuristic_rollback")
    play.send(msg.Retry(at=play.now, step="credit"))
    assert play.out() == ["commit credit 3"]
    play.reply("credit", "heuristic_rollback")
    play.send(msg.Resolve(at=play.now, step="credit", result=4, actor="ann", reason="booked"))
    assert play.status("credit") is play.status("atomic") is S.DONE
    assert play.run.steps["credit"].heuristic == "rollback"
    assert play.out() == ["do mail 1"]


def test_o1_an_operator_may_accept_that_it_is_rolled_back_and_the_others_are_undone() -> None:
    play = voted("debit", "credit")
    play.reply("debit")
    play.reply("credit", "heuristic_rollback")
    accepted = play.send(msg.Resolve(at=play.now, step="credit", undone=True))
    assert names(accepted) == ["StepResolved", "CompensationStarted"]
    assert play.out() == ["undo debit 1"]
    play.reply("debit")
    assert play.phase is Phase.COMPENSATED


def test_o1_past_the_pivot_a_branch_has_to_be_done() -> None:
    play = Play(plan(group(branch("debit", undo=False, pivot=True), branch("credit"))))
    play.vote("debit")
    play.vote("credit")
    play.reply("credit", "heuristic_rollback")
    refused = play.send(msg.Resolve(at=play.now, step="credit", undone=True))
    assert names(refused) == ["OperationRefused"]
    assert play.send(msg.Resolve(at=play.now, step="credit"))


def test_o3_forcing_against_a_decision_that_is_being_told_is_refused() -> None:
    play = voted("debit", "credit")
    forced = play.send(msg.Resolve(at=play.now, step="debit", undone=True))
    assert names(forced) == ["OperationRefused"]
    play = voted("debit")
    play.reply("credit", "refused")
    forced = play.send(msg.Resolve(at=play.now, step="debit"))
    assert names(forced) == ["OperationRefused"]


def test_o3_forcing_against_a_decision_that_cannot_be_told_is_recorded_as_heuristic() -> None:
    play = voted("debit", "credit")
    for _ in range(10):
        play.expire("debit")
    play.reply("credit")
    play.send(msg.Resolve(at=play.now, step="debit", undone=True, actor="ann"))
    assert play.run.steps["debit"].heuristic == "rollback"
    assert play.out() == ["undo credit 1"]


def test_o3_forcing_with_the_decision_is_no_heuristic() -> None:
    play = voted("debit", "credit")
    for _ in range(10):
        play.expire("debit")
    play.send(msg.Resolve(at=play.now, step="debit", actor="ann"))
    assert play.run.steps["debit"].heuristic is None
    assert play.status("debit") is S.DONE


def test_o4_forgetting_comes_after_saying_what_became_of_it_and_is_on_record() -> None:
    play = voted("debit", "credit")
    forget = msg.Forget(at=play.now, step="credit", actor="ann", reason="case 7")
    assert names(play.send(forget)) == ["OperationRefused"]
    play.reply("credit", "heuristic_rollback")
    assert names(play.send(forget)) == ["OperationRefused"]
    play.send(msg.Resolve(at=play.now, step="credit"))
    [forgotten] = play.send(forget)
    assert isinstance(forgotten, ev.HeuristicForgotten)
    assert (forgotten.actor, forgotten.reason) == ("ann", "case 7")
    assert play.run.steps["credit"].heuristic is None
    assert names(play.send(forget)) == ["OperationRefused"]


def _vote(step: str, attempt: int = 1) -> msg.Reply:
    return _reply(step, "prepare", attempt, vote="prepared")


def _reply(step: str, kind: ev.CommandKind, attempt: int, **more: Any) -> msg.Reply:
    return msg.Reply(at=100.0, step=step, kind=kind, attempt=attempt, outcome="succeeded", **more)
