"""The rows C and P of the two-phase matrix that the kernel decides, one test each; the rest is on real databases."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.definition.plan import Plan, RetryPolicy
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.evolve import fold
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


def after_death(play: Play, events: int | None = None) -> Play:
    """The run as a successor has it: from the first ``events`` of the journal."""
    if events is not None:
        play.events = play.events[:events]
    play.run = fold(play.program, play.events)
    return play


def test_c2_a_coordinator_that_dies_during_prepares_is_an_abort_with_a_tombstone_everywhere() -> (
    None
):
    play = after_death(voted("debit"), events=1)  # the vote was kept, and is lost
    assert names(play.send(msg.Recovered(at=play.now))) == ["AbortDecided"]
    assert play.out() == ["abort debit 2", "abort credit 2"]


def test_c2_and_the_group_is_tried_again_at_once_without_having_lost_an_attempt() -> None:
    play = after_death(voted("debit"))
    play.send(msg.Recovered(at=play.now))
    play.reply("debit")
    play.reply("credit")
    assert play.out() == ["prepare debit 3", "prepare credit 3"]
    assert [(sent.round, sent.due) for sent in play.sent()] == [(1, play.now), (1, play.now)]
    play.reply("debit", "failed")  # its one attempt is this one
    play.reply("debit")
    play.reply("credit")
    assert play.phase is Phase.COMPENSATED


def test_c3_all_yes_and_no_decision_on_record_is_an_abort() -> None:
    play = voted("debit", "credit")
    play = after_death(play, events=3)
    assert isinstance(play.events[-1], ev.BranchVoted)
    assert names(play.send(msg.Recovered(at=play.now))) == ["AbortDecided"]
    assert play.out() == ["abort debit 2", "abort credit 2"]


def test_c4_a_decision_on_record_is_told_to_all() -> None:
    play = after_death(voted("debit", "credit"))
    assert play.send(msg.Recovered(at=play.now)) == []
    assert play.out() == ["commit debit 2", "commit credit 2"]


def test_c5_what_was_not_acknowledged_is_told_again() -> None:
    play = voted("debit", "credit")
    play.reply("debit")
    play = after_death(play)
    assert play.send(msg.Recovered(at=play.now)) == []
    assert play.out() == ["commit credit 2"]


def test_c6_acknowledgements_that_were_lost_are_asked_for_again_and_there_is_one_end() -> None:
    play = voted("debit", "credit")
    known = len(play.events)
    play.reply("debit")
    play.reply("credit")
    play = after_death(play, events=known)
    assert play.out() == ["commit debit 2", "commit credit 2"]
    play.reply("debit")
    play.reply("credit")
    assert play.status("atomic") is S.DONE
    assert play.out() == ["do mail 1"]
    assert play.send(_reply("credit", "commit", 2)) == []


@pytest.mark.parametrize("acknowledged", [0, 1, 2])
def test_c7_an_abort_is_finished_from_wherever_it_was(acknowledged: int) -> None:
    play = voted("debit")
    play.reply("credit", "failed")
    for step in ["debit", "credit"][:acknowledged]:
        play.reply(step)
    play = after_death(play)
    assert play.send(msg.Recovered(at=play.now)) == []
    for step in ["debit", "credit"][acknowledged:]:
        play.reply(step)
    assert play.phase is Phase.COMPENSATED


def test_c11_a_last_that_a_forgotten_decision_may_have_committed_is_asked_before_there_is_another_round() -> (
    None
):
    play = Play(plan(group(branch("debit"), branch("post", "last")), call("mail")))
    known = len(play.events)
    play.vote("debit")
    assert play.out() == ["prepare post 1"]  # it commits, and the journal is set back
    play = after_death(play, events=known)
    assert names(play.send(msg.Recovered(at=play.now))) == ["AbortDecided"]
    assert play.out() == ["abort debit 2", "abort post 1"]
    play.reply("debit")
    assert names(play.reply("post", vote="committed"))[0] == "BranchVoted"
    assert play.status("post") is S.UNDOING  # half of the group has happened, and is taken back
    assert [line.split()[:2] for line in play.out()] == [["undo", "post"]]


def test_a_last_that_nobody_can_have_asked_is_not_asked() -> None:
    play = Play(plan(group(branch("debit"), branch("post", "last")), call("mail")))
    play.reply("debit", "failed")
    assert "post" not in " ".join(play.out())


@pytest.mark.parametrize("written", [False, True])
def test_c8_after_a_commit_of_unknown_outcome_the_journal_says_which(*, written: bool) -> None:
    play = voted("debit", "credit")
    play = after_death(play, events=4 if written else 2)
    play.send(msg.Recovered(at=play.now))
    assert {sent.kind for sent in play.sent()} == ({"commit"} if written else {"abort"})


def test_c9_one_decision_however_often_the_votes_come() -> None:
    play = voted("debit", "credit")
    assert play.send(_vote("credit")) == []
    assert play.send(_vote("debit")) == []
    assert sum(isinstance(event, ev.CommitDecided) for event in play.events) == 1


@pytest.mark.parametrize("vote_first", [True, False])
def test_c12_the_deadline_and_the_last_yes_have_one_winner(*, vote_first: bool) -> None:
    play = voted("debit")
    play.now += 20
    timer = msg.TimerFired(at=play.now, step="atomic")
    first, second = (_vote("credit"), timer) if vote_first else (timer, _vote("credit"))
    assert names(play.send(first))[-1] == ("CommitDecided" if vote_first else "AbortDecided")
    assert play.send(second) == []


def test_c12_before_its_time_a_deadline_means_nothing() -> None:
    play = voted("debit")
    assert play.send(msg.TimerFired(at=play.now + 19.9, step="atomic")) == []


def test_c12_a_group_that_timed_out_says_who_did_not_vote_and_is_tried_again() -> None:
    play = voted("debit", retry=TWICE)
    play.now += 20
    [taken_back] = play.send(msg.TimerFired(at=play.now, step="atomic"))
    assert isinstance(taken_back, ev.AbortDecided)
    assert taken_back.reason == "no decision within 20 s: no vote from credit"
    play.reply("debit")
    play.reply("credit")
    assert {sent.kind for sent in play.sent()} == {"prepare"}


def test_p3_a_prepare_that_fails_is_a_no_and_its_rollback_is_fine() -> None:
    play = voted("debit")
    no_slots = ev.Failure("OperationalError", "max_prepared_transactions is 0")
    play.reply("credit", "failed", failure=no_slots)
    play.reply("credit")
    assert play.status("credit") is S.ABORTED
    play.reply("debit")
    assert play.phase is Phase.COMPENSATED


def test_p4_an_unknown_prepare_is_no_vote() -> None:
    play = Play(plan(group(branch("debit", retry=TWICE), branch("credit"))))
    play.vote("credit")
    assert names(play.reply("debit", "lost")) == ["StepInDoubt"]
    assert play.status("atomic") is S.VOTING
    assert play.out() == ["prepare debit 2"]


def test_p6_o1_a_branch_rolled_back_against_a_commit_is_an_incident_that_says_what_others_did() -> (
    None
):
    play = voted("debit", "credit")
    play.reply("debit")
    gone = ev.Failure("HeuristicRollback", "no branch and no proof row")
    [found] = play.reply("credit", "heuristic_rollback", failure=gone)
    assert isinstance(found, ev.HeuristicFound)
    assert found.found == "rollback"
    assert play.run.parked == ["credit"]
    reason = play.run.steps["credit"].reason
    assert "is rolled back: no branch and no proof row" in reason
    assert "debit done" in reason
    assert play.out() == []


def test_p8_o2_a_branch_committed_against_an_abort_is_an_incident_and_is_undone_if_accepted() -> (
    None
):
    play = voted("debit")
    play.reply("credit", "refused")
    found = play.reply("debit", "heuristic_commit")
    assert names(found) == ["HeuristicFound"]
    assert play.run.parked == ["debit"]
    assert play.phase is Phase.FORWARD
    accepted = play.send(msg.Resolve(at=play.now, step="debit"))
    assert names(accepted) == ["StepResolved", "CompensationStarted"]
    assert play.out() == ["undo debit 1"]
    assert play.run.steps["debit"].heuristic == "commit"


def test_p8_a_branch_committed_by_hand_is_not_prepared_again() -> None:
    play = voted("debit", retry=TWICE)
    play.reply("credit", "failed")
    play.reply("credit")
    play.reply("debit", "heuristic_commit")
    play.send(msg.Resolve(at=play.now, step="debit"))
    assert play.phase is Phase.COMPENSATING
    assert not any(sent.kind == "prepare" for sent in play.sent())


def test_p8_an_abort_that_finds_the_branch_rolled_back_by_hand_is_an_abort() -> None:
    play = voted("debit")
    play.reply("credit", "refused")
    assert names(play.reply("debit", "heuristic_rollback"))[0] == "BranchAborted"


def test_p5_a_commit_that_finds_the_branch_committed_by_hand_is_a_commit() -> None:
    play = voted("debit", "credit")
    assert names(play.reply("debit", "heuristic_commit")) == ["BranchCommitted"]


def test_p9_a_passing_error_of_a_commit_is_tried_again_and_siblings_go_on() -> None:
    play = voted("debit", "credit")
    [failed] = play.reply("debit", "failed")
    assert isinstance(failed, ev.StepFailed)
    assert failed.retry_at is not None
    assert play.out() == ["commit debit 3", "commit credit 2"]
    play.reply("credit")
    assert play.status("credit") is S.DONE
    assert names(play.reply("debit")) == ["BranchCommitted"]
    assert play.status("atomic") is S.DONE


def test_p9_waits_grow_and_are_capped() -> None:
    play = voted("debit", "credit")
    waits = []
    for _ in range(40):
        [first, *_] = play.reply("debit", "failed")
        assert isinstance(first, ev.StepFailed)
        assert first.retry_at is not None
        waits.append(first.retry_at - play.now)
    assert waits[0] < 1 < waits[8]
    assert 30 < max(waits) <= 60


@pytest.mark.parametrize("kind", ["commit", "abort"])
def test_p12_a_participant_that_is_gone_is_stuck_visibly_and_told_for_ever(kind: str) -> None:
    play = voted("debit", "credit") if kind == "commit" else voted("debit")
    if kind == "abort":
        play.reply("credit", "refused")
    else:
        play.reply("credit")
    for _ in range(10):
        assert play.run.parked == []
        play.expire("debit")
    assert play.run.parked == ["debit"]
    assert "no answer before the deadline" in play.run.steps["debit"].reason
    play.expire("debit")
    [sent] = play.sent()
    assert (sent.step, sent.kind, sent.attempt) == ("debit", kind, 13)
    play.reply("debit")
    assert play.run.parked == []


def test_p12_nobody_who_has_the_participant_is_stuck_at_once_and_heals_by_itself() -> None:
    play = voted("debit", "credit")
    assert names(play.reply("debit", "unregistered")) == ["StepFailed", "StepParked"]
    assert "deploy it" in play.run.steps["debit"].reason
    assert names(play.reply("debit")) == ["BranchCommitted"]


def test_p13_after_a_yes_only_the_group_decides() -> None:
    """Not its own deadline, nor an operator."""
    play = voted("debit")
    assert play.send(msg.Expired(at=200.0, step="debit", kind="prepare", attempt=1)) == []
    for operation in (
        msg.Resolve(at=play.now, step="debit"),
        msg.Resolve(at=play.now, step="debit", undone=True),
        msg.Skip(at=play.now, step="debit"),
        msg.Retry(at=play.now, step="debit"),
    ):
        assert names(play.send(operation)) == ["OperationRefused"]
    assert play.status("debit") is S.PREPARED


def test_p14_where_all_change_nothing_there_is_no_second_phase_and_no_decision() -> None:
    readers = [branch(name, "reader", read_only=True) for name in ("a", "b")]
    play = Play(plan(group(*readers)))
    play.vote("a", "read_only", result=1)
    assert names(play.vote("b", "read_only", result=2)) == ["BranchVoted", "RunCompleted"]


def test_p15_a_single_branch_commits_in_one_phase() -> None:
    play = Play(plan(group(branch("debit"))))
    assert [(sent.kind, sent.one_phase) for sent in play.sent()] == [("prepare", True)]
    assert names(play.vote("debit", "committed", result=1)) == ["BranchVoted", "RunCompleted"]


@pytest.mark.parametrize("committed", [True, False])
def test_p15_of_a_single_branch_of_unknown_outcome_the_proof_row_decides(
    *, committed: bool
) -> None:
    play = Play(plan(group(branch("debit"))))
    assert names(play.reply("debit", "lost")) == ["StepInDoubt", "OnePhaseRecalled"]
    assert play.status("atomic") is S.RECALLING
    if committed:
        play.vote("debit", "committed")
        assert play.phase is Phase.COMPLETED
    else:
        play.reply("debit")
        assert play.phase is Phase.COMPENSATED


def test_p15_a_single_branch_that_can_only_prepare_is_told_the_decision() -> None:
    play = Play(plan(group(branch("hold", "tcc"))))
    assert not play.sent()[0].one_phase
    play.vote("hold")
    assert play.out() == ["commit hold 2"]


def test_p17_a_commit_at_the_wrong_database_is_an_error_and_told_again() -> None:
    play = voted("debit", "credit")
    wrong = ev.Failure("ObjectNotInPrerequisiteState", "it belongs to another database")
    assert names(play.reply("debit", "failed", failure=wrong)) == ["StepFailed"]
    assert play.status("debit") is S.COMMITTING


def test_a_presumed_abort_asks_a_last_that_may_have_committed_first() -> None:
    play = Play(plan(group(branch("debit"), branch("post", "last"))))
    play.vote("debit")
    play = after_death(play)
    assert names(play.send(msg.Recovered(at=play.now))) == ["OnePhaseRecalled"]
    assert play.out() == ["abort post 2"]
    play.vote("post", "committed")
    assert play.out() == ["commit debit 2"]


def test_a_group_that_waits_for_its_next_attempt_is_left_to_wait_by_a_successor() -> None:
    play = voted("debit", retry=TWICE)
    play.reply("credit", "failed")
    play.reply("debit")
    play.reply("credit")
    assert play.send(msg.Recovered(at=play.now)) == []


def _vote(step: str, attempt: int = 1) -> msg.Reply:
    return _reply(step, "prepare", attempt, vote="prepared")


def _reply(step: str, kind: ev.CommandKind, attempt: int, **more: Any) -> msg.Reply:
    return msg.Reply(at=100.0, step=step, kind=kind, attempt=attempt, outcome="succeeded", **more)
