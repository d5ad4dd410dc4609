"""The branch of a group that can't prepare: asked last, and asked again what it did before anybody else is told."""

from __future__ import annotations

import pytest

from orchestrator.kernel import messages as msg
from orchestrator.kernel.state import Phase, Status
from tests.unit.kernel.scenario import Play, branch, group, names, plan

S = Status


def test_the_last_is_asked_after_the_others_and_its_commit_decides() -> None:
    play = Play(plan(group(branch("debit"), branch("credit"), branch("post", "last"))))
    assert play.out() == ["prepare debit 1", "prepare credit 1"]
    play.vote("debit")
    play.vote("credit")
    [post] = play.sent()
    assert (post.kind, post.step, post.one_phase) == ("prepare", "post", True)
    assert names(play.vote("post", "committed", result=3)) == ["BranchVoted", "CommitDecided"]
    assert play.out() == ["commit debit 2", "commit credit 2"]


def test_a_last_that_refuses_takes_the_others_back() -> None:
    play = Play(plan(group(branch("debit"), branch("post", "last"))))
    play.vote("debit")
    assert names(play.reply("post", "refused")) == ["StepRefused", "AbortDecided"]
    assert play.out() == ["abort debit 2"]


@pytest.mark.parametrize("outcome", ["failed", "lost", "unregistered"])
def test_a_last_that_may_have_committed_is_asked_before_the_others_are_told(
    outcome: msg.Outcome,
) -> None:
    play = Play(plan(group(branch("debit"), branch("post", "last"))))
    play.vote("debit")
    assert names(play.reply("post", outcome))[-1] == "OnePhaseRecalled"
    [sent] = play.sent()
    assert (sent.step, sent.kind, sent.one_phase) == ("post", "abort", True)
    assert play.status("debit") is S.PREPARED


def test_a_recalled_last_that_had_committed_decides_for_commit() -> None:
    play = Play(plan(group(branch("debit"), branch("post", "last"))))
    play.vote("debit")
    play.reply("post", "lost")
    found = play.vote("post", "committed", result=3)
    assert names(found) == ["BranchVoted", "CommitDecided"]
    assert play.out() == ["commit debit 2"]
    assert names(play.reply("debit")) == ["BranchCommitted", "RunCompleted"]
    assert play.run.steps["post"].result == 3


def test_a_recalled_last_that_had_not_committed_decides_for_abort() -> None:
    play = Play(plan(group(branch("debit"), branch("post", "last"))))
    play.vote("debit")
    play.reply("post", "lost")
    assert names(play.reply("post")) == ["BranchAborted", "AbortDecided"]
    assert play.out() == ["abort debit 2"]


def test_a_last_that_is_the_pivot_cannot_be_interrupted_while_it_may_commit() -> None:
    last = branch("post", "last", undo=False, pivot=True)
    play = Play(plan(group(branch("debit", undo=False), last)))
    assert names(play.send(msg.Cancel(at=play.now)))[0] == "CompensationStarted"
    play = Play(plan(group(branch("debit", undo=False), last)))
    play.vote("debit")
    assert names(play.send(msg.Cancel(at=play.now))) == ["OperationRefused"]
    play.reply("post", "lost")
    assert names(play.send(msg.Cancel(at=play.now))) == ["OperationRefused"]
    play.reply("post")
    play.reply("debit")
    assert play.phase is Phase.COMPENSATED
