"""An atomic group, step by step: its votes, its decision, its end; and how a run goes on from there."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.definition.plan import (
    Call,
    Const,
    Field,
    Parallel,
    Param,
    Result,
    RetryPolicy,
    When,
)
from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.decide import react
from orchestrator.kernel.decide_group import is_waitable
from orchestrator.kernel.evolve import evolve
from orchestrator.kernel.state import Phase, Status
from orchestrator.kernel.verdict import Verdict, verdict_of
from tests.unit.kernel.scenario import ERROR, Play, branch, call, group, names, plan

TWICE = RetryPolicy(attempts=2, jitter=0.0)
S = Status


def two(*more: Call, **options: Any) -> Play:
    """A run whose first step is a group of two databases."""
    return Play(plan(group(branch("debit"), branch("credit"), **options), *more))


def decided(*more: Call, **options: Any) -> Play:
    """The same, decided to commit."""
    play = two(*more, **options)
    play.vote("debit", result=1)
    play.vote("credit", result=2)
    return play


def test_all_yes_is_decided_then_told_then_done() -> None:
    play = two(call("mail", x=Result("debit")))
    assert play.out() == ["prepare debit 1", "prepare credit 1"]
    assert [(timer.step, timer.at) for timer in play.timers()] == [("atomic", play.now + 20)]
    assert names(play.vote("debit", result={"left": 3})) == ["BranchVoted"]
    assert play.out() == ["prepare credit 1"]
    assert names(play.vote("credit")) == ["BranchVoted", "CommitDecided"]
    assert play.out() == ["commit debit 2", "commit credit 2"]
    assert play.timers() == []
    assert names(play.reply("credit")) == ["BranchCommitted"]
    assert play.status("atomic") is S.CONFIRMING
    assert names(play.reply("debit")) == ["BranchCommitted"]
    assert play.status("atomic") is play.status("debit") is S.DONE
    assert play.sent()[0].args == {"x": {"left": 3}}


def test_the_acknowledgement_says_what_the_vote_could_not() -> None:
    play = two(call("mail", x=Result("debit")))
    play.vote("debit")
    play.vote("credit")
    play.reply("debit", result=5)
    play.reply("credit")
    assert play.sent()[0].args == {"x": 5}


def test_a_refusal_takes_the_others_back_and_fails_the_group_for_good() -> None:
    play = two(retry=TWICE)
    play.vote("debit")
    assert names(play.reply("credit", "refused")) == ["StepRefused", "AbortDecided"]
    assert play.out() == ["abort debit 2"]
    ended = play.reply("debit")
    assert names(ended) == ["BranchAborted", "CompensationStarted", "RunCompensated"]
    assert play.run.reason == "atomic: credit: sold out"
    assert play.run.cause is not None


def test_an_error_takes_everything_back_and_the_group_is_tried_again_under_new_names() -> None:
    play = two(retry=TWICE)
    play.vote("debit")
    assert names(play.reply("credit", "failed")) == ["StepFailed", "AbortDecided"]
    assert play.out() == ["abort debit 2", "abort credit 2"]
    play.reply("debit")
    assert play.status("atomic") is S.WITHDRAWING
    play.reply("credit")
    assert play.status("atomic") is S.VOTING
    assert play.out() == ["prepare debit 3", "prepare credit 3"]
    assert {sent.round for sent in play.sent()} == {1}
    assert all(sent.due > play.now for sent in play.sent())
    assert play.timers()[0].at == play.sent()[0].due + 20
    play.now = play.sent()[0].due
    assert play.reply("credit", "failed", attempt=1) == []
    play.reply("credit", "failed")
    play.reply("debit")
    assert names(play.reply("credit"))[-2:] == ["CompensationStarted", "RunCompensated"]


def test_the_verdict_on_a_branch_is_its_own_rounds_and_none_where_the_run_never_came() -> None:
    play = two(retry=TWICE)
    play.vote("debit")
    play.reply("credit", "failed")

    def verdict(step: str, round_: int) -> Verdict | None:
        return verdict_of(play.run, lambda key: key == step, round_)

    play.reply("debit")
    play.reply("credit")
    assert verdict("debit", 0) == Verdict("abort", "debit")
    assert verdict("debit", 1) == Verdict("abort", "debit", decided=False)
    assert verdict("debit", 2) is None
    assert verdict("other", 0) is None
    play.now = play.sent()[0].due
    play.vote("debit")
    play.vote("credit")
    assert verdict("debit", 0) == Verdict("abort", "debit")
    assert verdict("debit", 1) == Verdict("commit", "debit")


def test_an_error_that_is_never_retried_ends_the_group_at_once() -> None:
    final = RetryPolicy(final=("builtins.OSError",))
    play = two(retry=final)
    [_, taken_back] = play.reply("credit", "failed", failure=ERROR)
    assert isinstance(taken_back, ev.AbortDecided)
    assert taken_back.then == "fail"


def test_branches_that_change_nothing_need_no_second_phase() -> None:
    play = Play(plan(group(branch("debit"), branch("look", "reader", read_only=True))))
    play.vote("look", "read_only", result=7)
    play.vote("debit")
    assert play.out() == ["commit debit 2"]
    assert play.status("look") is S.DONE
    assert names(play.reply("debit")) == ["BranchCommitted", "RunCompleted"]


def test_a_branch_that_changed_nothing_is_not_told_to_abort() -> None:
    play = Play(plan(group(branch("debit"), branch("look", "reader", read_only=True))))
    play.vote("look", "read_only")
    play.reply("debit", "refused")
    assert play.out() == []
    assert play.phase is Phase.COMPENSATED


def test_a_later_failure_undoes_the_branches_together() -> None:
    play = decided(call("mail", undo=False, pivot=True))
    play.reply("debit")
    play.reply("credit")
    play.reply("mail", "refused")
    assert play.out() == ["undo debit 1", "undo credit 1"]
    assert [(sent.result, sent.round) for sent in play.sent()] == [(1, 0), (2, 0)]
    play.reply("debit")
    assert names(play.reply("credit")) == ["StepUndone", "RunCompensated"]


def test_the_undo_of_a_second_attempt_names_that_attempt() -> None:
    play = two(call("mail", undo=False, pivot=True), retry=TWICE)
    play.reply("credit", "failed")
    play.reply("debit")
    play.reply("credit")
    play.vote("debit")
    play.vote("credit")
    play.reply("debit")
    play.reply("credit")
    play.reply("mail", "refused")
    assert [(sent.kind, sent.round) for sent in play.sent()] == [("undo", 1), ("undo", 1)]


def test_a_pivot_inside_makes_the_group_the_pivot() -> None:
    play = Play(plan(group(branch("debit"), branch("credit", undo=False, pivot=True))))
    play.vote("debit")
    before = play.run
    play.vote("credit")
    assert (before.pivoted, play.run.pivoted) == (False, True)
    cancelled = play.send(msg.Cancel(at=play.now))
    assert names(cancelled) == ["OperationRefused"]


def test_past_the_pivot_a_group_that_fails_is_parked_and_can_be_tried_again() -> None:
    play = Play(
        plan(
            call("pay", undo=False, pivot=True),
            group(branch("debit", undo=False), branch("credit", undo=False)),
        )
    )
    play.reply("pay")
    play.reply("debit", "refused")
    assert play.status("atomic") is S.WITHDRAWING
    assert names(play.reply("credit")) == ["BranchAborted", "StepParked"]
    assert play.run.parked == ["atomic"]
    assert "sold out" in play.run.steps["atomic"].reason
    assert names(play.send(msg.Retry(at=play.now))) == ["StepRetried"]
    assert play.out() == ["prepare debit 2", "prepare credit 3"]
    assert {sent.round for sent in play.sent()} == {1}


def test_a_parked_group_can_be_skipped_with_the_results_of_its_branches() -> None:
    play = Play(
        plan(
            call("pay", undo=False, pivot=True),
            group(branch("debit", undo=False), branch("credit", undo=False)),
            call("mail", undo=False, x=Result("credit")),
        )
    )
    play.reply("pay")
    play.reply("debit", "refused")
    play.reply("credit")
    wrong = play.send(msg.Skip(at=play.now, step="atomic", result=[1]))
    assert names(wrong) == ["OperationRefused"]
    play.send(msg.Skip(at=play.now, step="atomic", result={"credit": 9}))
    assert play.status("credit") is play.status("atomic") is S.SKIPPED
    assert play.sent()[0].args == {"x": 9}


def test_a_parked_group_can_be_resolved_as_done() -> None:
    play = Play(
        plan(
            call("pay", undo=False, pivot=True),
            group(branch("debit", undo=False), branch("credit", undo=False)),
        )
    )
    play.reply("pay")
    play.reply("debit", "refused")
    play.reply("credit")
    resolved = play.send(msg.Resolve(at=play.now, step="atomic", result={"debit": 1}))
    assert names(resolved) == ["StepResolved", "RunCompleted"]
    assert play.run.steps["debit"].result == 1


def test_a_group_whose_arguments_have_no_value_is_parked_before_anything_is_asked() -> None:
    play = Play(plan(group(branch("debit", x=Field(Const(1), "nothing")), branch("credit"))))
    assert play.out() == []
    assert play.run.parked == ["atomic"]
    assert "debit: argument x" in play.run.steps["atomic"].reason
    assert set(play.run.steps) == {"atomic"}
    play.send(msg.Retry(at=play.now))
    assert play.run.parked == ["atomic"]


def test_groups_beside_each_other_know_only_their_own_branches() -> None:
    one = group(branch("debit"), branch("credit"))
    other = replace(group(branch("take"), branch("give")), name="other")
    play = Play(plan(Parallel((one, other))))
    play.vote("debit")
    play.vote("take")
    assert play.reply("credit", "refused")[-1].step == "atomic"  # type: ignore[union-attr]
    assert set(play.out()) == {"abort debit 2", "prepare give 1"}
    play.reply("debit")
    assert play.status("other") is S.WITHDRAWING
    assert set(play.out()) == {"abort take 2", "abort give 2"}


def test_unknown_votes_are_asked_for_again_while_there_is_time() -> None:
    patient = RetryPolicy(attempts=3, jitter=0.0, initial_s=1.0)
    play = Play(plan(group(branch("debit", retry=patient), branch("credit"))))
    [doubt] = play.expire("debit")
    assert isinstance(doubt, ev.StepInDoubt)
    assert doubt.retry_at is not None
    assert play.out() == ["prepare debit 2", "prepare credit 1"]
    assert play.sent()[0].round == 0
    assert names(play.vote("debit", attempt=1)) == []
    assert names(play.vote("debit")) == ["BranchVoted"]


def test_an_answer_without_a_vote_is_a_no() -> None:
    play = two()
    assert names(play.reply("debit")) == ["StepFailed", "AbortDecided"]


def test_a_branch_that_committed_unasked_is_taken_back_and_found_out() -> None:
    play = two()
    assert names(play.vote("debit", "committed")) == ["StepFailed", "AbortDecided"]
    found = play.reply("debit", "heuristic_commit")
    assert names(found) == ["HeuristicFound"]


def test_cancelling_takes_an_undecided_group_back() -> None:
    play = two()
    play.vote("debit")
    play.send(msg.Cancel(at=play.now))
    assert play.out() == ["abort debit 2", "abort credit 2"]
    assert play.phase is Phase.COMPENSATING
    play.reply("debit")
    assert names(play.reply("credit")) == ["BranchAborted", "RunCompensated"]


def test_a_decided_group_is_committed_to_the_end_and_undone_from_there() -> None:
    play = Play(plan(call("first"), group(branch("debit"), branch("credit"))))
    play.reply("first")
    play.vote("debit")
    play.vote("credit")
    play.send(msg.Cancel(at=play.now))
    assert play.out() == ["commit debit 2", "commit credit 2"]
    play.reply("debit")
    assert play.out() == ["commit credit 2"]
    play.reply("credit")
    assert play.out() == ["undo debit 1", "undo credit 1"]
    play.reply("debit")
    play.reply("credit")
    assert play.out() == ["undo first 1"]


def test_a_try_without_a_barrier_is_cancelled_only_after_its_answer() -> None:
    play = Play(plan(group(branch("hold", "tcc", barrier=False), branch("debit"))))
    play.reply("debit", "refused")
    assert play.out() == ["prepare hold 1"]
    assert play.vote("hold", result="h-1") != []
    [sent] = play.sent()
    assert (sent.kind, sent.result, sent.timeout_s) == ("abort", "h-1", 9.0)
    play.reply("hold")
    assert play.phase is Phase.COMPENSATED


def test_a_try_without_a_barrier_is_cancelled_after_its_deadline() -> None:
    play = Play(plan(group(branch("hold", "tcc", barrier=False), branch("debit"))))
    play.reply("debit", "refused")
    play.expire("hold")
    assert play.out() == ["abort hold 2"]


def test_a_confirm_gets_what_the_try_gave() -> None:
    play = Play(plan(group(branch("hold", "tcc"), branch("debit"))))
    play.vote("hold", result="h-1")
    play.vote("debit")
    assert [(s.step, s.kind, s.result, s.timeout_s) for s in play.sent()] == [
        ("hold", "commit", "h-1", 8.0),
        ("debit", "commit", None, 5.0),
    ]


def test_votes_that_decide_nothing_may_wait_and_decisions_may_not() -> None:
    play = two(call("mail"))
    assert _waits(play, "debit", vote="prepared")
    play.vote("debit")
    assert not _waits(play, "credit", vote="prepared")
    play.vote("credit")
    assert _waits(play, "credit")
    play.reply("credit")
    assert not _waits(play, "debit")
    play = Play(plan(group(branch("debit"), branch("post", "last"))))
    assert not _waits(play, "debit", vote="prepared")


def _waits(play: Play, step: str, **more: Any) -> bool:
    sent = next(c for c in play.sent() if c.step == step)
    reply = msg.Reply(
        at=play.now, step=step, kind=sent.kind, attempt=sent.attempt, outcome="succeeded", **more
    )
    turn = react(play.run, reply)
    return is_waitable(turn.events, play.run, turn.run)


def test_a_decision_without_all_votes_is_a_defect() -> None:
    play = two()
    play.vote("debit")
    with pytest.raises(IllegalEventError, match="CommitDecided"):
        evolve(play.run, ev.CommitDecided(at=play.now, step="atomic"))


@pytest.mark.parametrize(
    "event",
    [
        ev.BranchCommitted(at=1.0, step="debit", attempt=1),
        ev.BranchAborted(at=1.0, step="debit", attempt=1),
        ev.StepSucceeded(at=1.0, step="debit", attempt=1),
        ev.StepUndone(at=1.0, step="debit", attempt=1),
        ev.BranchVoted(at=1.0, step="debit", attempt=2, vote="prepared"),
        ev.StepFailed(at=1.0, step="debit", kind="commit", attempt=1, failure=ERROR),
        ev.StepSkipped(at=1.0, step="debit"),
        ev.StepResolved(at=1.0, step="debit", undone=True),
        ev.HeuristicForgotten(at=1.0, step="debit"),
        ev.StepSucceeded(at=1.0, step="atomic", attempt=1),
        ev.StepParked(at=1.0, step="atomic", kind="do", reason=""),
        ev.StepRetried(at=200.0, step="atomic", kind="do"),
    ],
    ids=lambda event: f"{type(event).__name__}-{event.step}",
)
def test_an_event_that_does_not_fit_a_voting_group_is_a_defect(event: ev.Event) -> None:
    with pytest.raises(IllegalEventError):
        evolve(two().run, event)


def test_a_group_in_a_condition_that_does_not_hold_is_never_begun() -> None:
    play = Play(plan(When("if", Param("no"), group(branch("debit")))), no=False)
    assert play.phase is Phase.COMPLETED
