"""The saga rows of the fault table, as far as the kernel decides them."""

from __future__ import annotations

import pytest

from orchestrator.definition.plan import Parallel, RetryPolicy, Sequence
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.pending import pending
from orchestrator.kernel.state import Phase, Status
from tests.unit.kernel.plans import BROKEN
from tests.unit.kernel.scenario import Play, call, names, plan

TWICE = RetryPolicy(attempts=2, initial_s=1.0)


def test_s1_a_run_that_has_turned_back_never_goes_forward_again() -> None:
    play = Play(plan(call("a"), call("b"), call("c")))
    play.reply("a")
    assert names(play.reply("b", "refused")) == ["StepRefused", "CompensationStarted"]
    assert play.restarted() == play.run
    assert play.out() == ["undo a 1"]
    assert pending(play.restarted()) == pending(play.run)
    assert play.reply("b", kind="do", attempt=1) == []
    assert play.send(msg.Signal(at=play.now, name="go")) == []
    assert names(play.send(msg.Retry(at=play.now, step="b"))) == ["OperationRefused"]
    assert play.out() == ["undo a 1"]


@pytest.mark.parametrize("barrier", [True, False])
@pytest.mark.parametrize("outcome", ["expired", "lost", "rejected"])
def test_s2_an_action_whose_outcome_is_unknown_is_undone(*, barrier: bool, outcome: str) -> None:
    play = Play(plan(call("a", barrier=barrier)))
    if outcome == "expired":
        play.expire("a")
    elif outcome == "lost":
        play.reply("a", "lost")
    else:
        play.reply("a", "rejected")
    [undo] = play.sent()
    assert (undo.kind, undo.step, undo.result) == ("undo", "a", None)
    assert names(play.reply("a")) == ["StepUndone", "RunCompensated"]


def test_s2_an_unknown_attempt_before_a_refusal_is_undone_where_no_barrier_knows() -> None:
    for barrier, out in [(False, ["undo a 1"]), (True, [])]:
        play = Play(plan(call("a", barrier=barrier, retry=TWICE)))
        play.expire("a")
        play.reply("a", "refused")
        assert play.out() == out


def test_s3_an_undo_that_keeps_failing_stops_only_itself() -> None:
    play = Play(plan(call("a"), call("b", undo_retry=TWICE), call("c")))
    play.reply("a")
    play.reply("b")
    play.reply("c", "refused")
    assert names(play.reply("b", "failed")) == ["StepFailed"]
    play.now += 2
    assert names(play.reply("b", "failed")) == ["StepFailed", "StepParked"]
    assert play.run.steps["b"].reason == "the disk is full"
    assert play.out() == ["undo a 1"]
    assert names(play.reply("a")) == ["StepUndone"]
    assert play.phase is Phase.COMPENSATING
    assert play.run.parked == ["b"]
    assert names(play.send(msg.Retry(at=play.now, step="b"))) == ["StepRetried"]
    assert names(play.reply("b")) == ["StepUndone", "RunCompensated"]


def test_s3_every_undo_gets_its_turn_though_all_of_them_fail() -> None:
    branches = Parallel((call("b"), Sequence((call("c"), call("d")))))
    play = Play(plan(call("a"), branches, call("e")))
    for step in "abcd":
        play.reply(step)
    play.reply("e", "refused")
    for step in "bdca":
        assert names(play.reply(step, "failed")) == ["StepFailed", "StepParked"]
    assert sorted(play.run.parked) == ["a", "b", "c", "d"]
    assert play.run.ended_at is None
    for step in "abcd":
        play.send(msg.Retry(at=play.now, step=step))
        play.reply(step)
    assert play.phase is Phase.COMPENSATED


def test_s4_an_action_that_succeeds_after_its_undo_changes_nothing() -> None:
    play = Play(plan(call("a"), call("b")))
    play.reply("a")
    play.expire("b")
    assert play.out() == ["undo b 1"]
    assert play.reply("b", kind="do", attempt=1, result=7) == []
    play.reply("b")
    assert play.reply("b", kind="do", attempt=1, result=7) == []
    assert play.out() == ["undo a 1"]


def test_s4_without_a_barrier_the_undo_waits_for_the_action_beside_it() -> None:
    """Else it could come first, find nothing, and leave the effect behind."""
    play = Play(plan(Parallel((call("a", barrier=False), call("b")))))
    play.reply("b", "refused")
    assert play.out() == ["do a 1"]
    assert play.phase is Phase.COMPENSATING
    assert names(play.reply("a", result=3)) == ["StepSucceeded"]
    assert play.out() == ["undo a 1"]
    assert play.sent()[0].result == 3


def test_s4_with_a_barrier_the_undo_need_not_wait() -> None:
    play = Play(plan(Parallel((call("a"), call("b")))))
    play.reply("b", "refused")
    assert play.out() == ["undo a 1"]


def test_s4_a_first_attempt_is_out_whatever_the_clock_says() -> None:
    """A coordinator whose clock is behind its predecessor's must not take it for one still to come."""
    play = Play(plan(Parallel((call("a", barrier=False), call("b")))))
    play.now -= 3
    play.reply("b", "refused")
    assert play.out() == ["do a 1"]


def test_s5_past_the_pivot_a_refusal_is_stuck_and_nothing_is_undone() -> None:
    play = Play(plan(call("a"), call("p", undo=False, pivot=True), call("b", undo=False)))
    play.reply("a")
    play.reply("p")
    assert names(play.reply("b", "refused")) == ["StepRefused", "StepParked"]
    assert play.out() == []
    assert play.phase is Phase.FORWARD
    assert names(play.send(msg.Cancel(at=play.now))) == ["OperationRefused"]


def test_s6_an_undo_that_nobody_has_registered_is_stuck_by_name() -> None:
    play = Play(plan(call("a"), call("b")))
    play.reply("a")
    play.reply("b", "refused")
    assert names(play.reply("a", "unregistered")) == ["StepParked"]
    assert play.phase is Phase.COMPENSATING
    assert play.run.steps["a"].reason == (
        "no worker of service 'shop' has the undo of shop.a (queue shop): deploy it, then retry"
    )
    play.send(msg.Retry(at=play.now))
    assert names(play.reply("a")) == ["StepUndone", "RunCompensated"]


def test_s6_an_action_that_nobody_has_registered_is_stuck_by_name_and_undone_if_cancelled() -> None:
    """A copy of the command may have reached a worker that has it."""
    play = Play(plan(call("a")))
    assert names(play.reply("a", "unregistered")) == ["StepParked"]
    assert "no worker of service 'shop' has the participant shop.a" in play.run.steps["a"].reason
    play.send(msg.Cancel(at=play.now))
    assert play.out() == ["undo a 1"]


def test_s10_nothing_runs_again_after_the_end() -> None:
    play = Play(plan(call("a"), call("b")))
    play.reply("a")
    assert names(play.reply("b")) == ["StepSucceeded", "RunCompleted"]
    for step in ("a", "b"):
        for outcome in ("succeeded", "refused", "failed", "lost"):
            assert play.reply(step, outcome, kind="do", attempt=1) == []
    assert pending(play.run) == []


@pytest.mark.parametrize("barrier", [True, False])
def test_s11_branches_that_finish_as_another_fails_are_all_undone(*, barrier: bool) -> None:
    branches = [call(name, barrier=barrier) for name in "abc"]
    play = Play(plan(Parallel(tuple(branches))))
    play.reply("a")
    play.reply("b", "refused")
    play.reply("c", kind="do", attempt=1)
    assert play.out() == ["undo a 1", "undo c 1"]
    play.reply("a")
    assert names(play.reply("c")) == ["StepUndone", "RunCompensated"]


def test_s11_a_branch_that_refuses_too_ends_the_compensation() -> None:
    """The last thing that was waited for may be a step with nothing to undo."""
    play = Play(plan(Parallel((call("a", barrier=False), call("b", barrier=False)))))
    play.reply("a", "refused")
    assert names(play.reply("b", "refused")) == ["StepRefused", "RunCompensated"]


def test_s12_a_redelivered_forward_reply_is_not_taken_for_the_undos() -> None:
    play = Play(plan(call("a"), call("b")))
    play.reply("a")
    play.reply("b", "refused")
    assert play.reply("a", kind="do", attempt=1) == []
    assert play.status("a") is Status.UNDOING


def test_a_pivot_in_doubt_without_an_undo_waits_for_a_person() -> None:
    """Undoing the rest would be wrong if it did take effect, going on if it did not."""
    for barrier in (True, False):
        play = Play(plan(call("a"), call("p", undo=False, pivot=True, barrier=barrier), call("b")))
        play.reply("a")
        assert names(play.expire("p")) == ["StepInDoubt", "StepParked"]
        assert play.out() == []
        assert names(play.send(msg.Cancel(at=play.now))) == ["OperationRefused"]
        play.send(msg.Resolve(at=play.now, step="p", undone=True))
        assert play.out() == ["undo a 1"]


def test_a_pivot_that_surely_failed_turns_the_run_back() -> None:
    play = Play(plan(call("a"), call("p", undo=False, pivot=True), call("b")))
    play.reply("a")
    assert names(play.reply("p", "failed")) == ["StepFailed", "CompensationStarted"]
    assert play.out() == ["undo p 1"]  # a copy still on its way must find a tombstone


def test_a_failure_beside_an_outstanding_pivot_waits_for_it() -> None:
    """No legal plan has this; a journal may hold what isn't."""
    play = Play(plan(Parallel((call("p", undo=False, pivot=True), call("b")))))
    assert names(play.reply("b", "refused")) == ["StepRefused", "StepParked"]
    play.reply("p", "refused")
    assert play.phase is Phase.COMPENSATED


def test_a_step_that_may_have_taken_effect_and_has_no_undo_is_stuck() -> None:
    """No legal plan has this either."""
    play = Play(plan(call("a", undo=False, barrier=False), call("b")))
    play.reply("a")
    events = play.reply("b", "refused")
    assert names(events) == ["StepRefused", "CompensationStarted", "StepParked"]
    assert play.run.steps["a"].reason == "it may have taken effect and has no undo"
    done = play.send(msg.Resolve(at=play.now, step="a", undone=True))
    assert names(done) == ["StepResolved", "RunCompensated"]


def test_a_read_only_step_is_neither_undone_nor_waited_for() -> None:
    lookup = call("a", read_only=True, barrier=False)
    play = Play(plan(call("z", read_only=True), Parallel((lookup, call("b")))))
    play.reply("z")
    assert names(play.reply("b", "refused"))[-1] == "RunCompensated"


def test_parallel_branches_are_undone_side_by_side_and_each_backwards() -> None:
    one, two = Sequence((call("b"), call("c"))), Sequence((call("d"), call("e")))
    play = Play(plan(call("a"), Parallel((one, two)), call("f")))
    for step in "abcde":
        play.reply(step)
    play.reply("f", "refused")
    assert play.out() == ["undo c 1", "undo e 1"]
    play.reply("c")
    assert play.out() == ["undo b 1", "undo e 1"]
    play.reply("b")
    assert play.out() == ["undo e 1"]
    play.reply("e")
    play.reply("d")
    assert play.out() == ["undo a 1"]


def test_every_broken_step_of_one_turn_is_parked() -> None:
    play = Play(plan(Parallel((call("a", x=BROKEN), call("b", x=BROKEN), call("c")))))
    assert names(play.events) == ["RunLaunched", "StepParked", "StepParked"]
    assert play.run.parked == ["a", "b"]
    assert play.out() == ["do c 1"]


def test_callbacks_hear_how_it_ended_and_each_incident() -> None:
    hear = call("hear", undo=False)
    play = Play(plan(call("a"), callbacks={"on_stuck": (hear,), "on_compensated": (hear,)}))
    play.reply("a", "unregistered")
    [stuck] = play.sent()
    assert (stuck.step, stuck.kind) == ("@on_stuck#1", "callback")
    assert stuck.args["ended"]["status"] == "stuck"
    assert "shop.a" in stuck.args["ended"]["reason"]
    assert names(play.reply("@on_stuck#1")) == ["CallbackDelivered"]
    play.send(msg.Cancel(at=play.now, reason="no longer wanted"))
    play.reply("a")
    [ended] = play.sent()
    assert ended.args["ended"]["status"] == "compensated"
    assert ended.args["ended"]["reason"] == "no longer wanted"
    assert play.run.open
    assert names(play.reply("@on_compensated", "failed")) == ["StepFailed", "StepParked"]
    assert play.phase is Phase.COMPENSATED


def test_an_incident_of_an_undo_names_itself_not_an_earlier_one() -> None:
    hear = call("hear", undo=False)
    play = Play(plan(call("a"), call("b"), call("c"), callbacks={"on_stuck": (hear,)}))
    play.reply("a")
    play.reply("b")
    play.reply("c", "refused")
    play.reply("b", "failed", failure=ev.Failure("E", "first"))
    play.reply("a", "failed", failure=ev.Failure("E", "second"))
    assert [c.args["ended"]["reason"] for c in play.sent()] == ["first", "second"]


def test_only_the_attempt_that_is_outstanding_is_answered() -> None:
    """An early attempt's answer comes after its deadline; the retry's own is what counts."""
    play = Play(plan(call("a", retry=TWICE, undo_retry=TWICE), call("b")))
    play.expire("a")
    assert play.reply("a", attempt=1) == []
    assert play.reply("a", attempt=3) == []
    assert play.send(msg.Expired(at=play.now, step="a", kind="do", attempt=1)) == []
    play.reply("a")
    play.reply("b", "refused")
    play.reply("a", "lost")
    assert play.reply("a", attempt=1) == []
    assert names(play.reply("a")) == ["StepUndone", "RunCompensated"]


def test_the_doubt_of_an_early_attempt_outlasts_a_later_failure() -> None:
    """The first copy may still come, and commit."""
    play = Play(plan(call("a"), call("p", undo=False, pivot=True, retry=TWICE)))
    play.reply("a")
    play.expire("p")
    play.now += 10
    assert names(play.reply("p", "failed")) == ["StepFailed", "StepParked"]


def test_an_error_without_a_barrier_may_have_come_after_the_effect() -> None:
    play = Play(plan(call("a"), call("p", undo=False, pivot=True, barrier=False)))
    play.reply("a")
    assert names(play.reply("p", "failed")) == ["StepFailed", "StepParked"]
    play = Play(plan(call("a", barrier=False, retry=TWICE)))
    play.reply("a", "failed")
    play.now += 10
    play.reply("a", "refused")
    assert play.out() == ["undo a 1"]


def test_a_refusal_after_an_attempt_in_doubt_says_why_a_person_has_to_decide() -> None:
    play = Play(plan(call("a"), call("p", undo=False, pivot=True, barrier=False, retry=TWICE)))
    play.reply("a")
    play.expire("p")
    play.now += 10
    assert names(play.reply("p", "refused")) == ["StepRefused", "StepParked"]
    assert "an earlier attempt may have taken effect" in play.run.steps["p"].reason
