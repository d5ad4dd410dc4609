"""A run that is paused: nothing new is sent, answers are taken, and no time passes for it."""

from __future__ import annotations

import pytest

from orchestrator.definition.plan import Const, Parallel, RetryPolicy, Sequence, Sleep, Wait
from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.evolve import evolve
from orchestrator.kernel.preview import preview
from orchestrator.kernel.state import Phase, Status
from orchestrator.kernel.summary import summarize
from tests.unit.kernel.scenario import Play, branch, call, group, names, plan


def pause(play: Play, reason: str = "") -> list[ev.Event]:
    return play.send(msg.Pause(at=play.now, actor="ann", reason=reason))


def resume(play: Play) -> list[ev.Event]:
    return play.send(msg.Resume(at=play.now, actor="bob"))


def paused(*nodes: object, **options: object) -> Play:
    play = Play(plan(*nodes, **options))  # type: ignore[arg-type]
    pause(play)
    return play


def test_a_pause_is_an_event_and_sends_nothing() -> None:
    play = Play(plan(call("a"), call("b")))
    [event] = pause(play, "the bank is down")
    assert event == ev.RunPaused(at=100.0, actor="ann", reason="the bank is down")
    assert play.out() == []
    row = summarize(play.run, 0, play.now)
    assert (row.status, row.reason) == ("paused", "paused by ann: the bank is down")


def test_an_answer_is_taken_and_the_next_step_waits() -> None:
    play = paused(call("a"), call("b"))
    assert names(play.reply("a", kind="do", attempt=1)) == ["StepSucceeded"]
    assert (play.out(), play.status("b")) == ([], Status.RUNNING)
    play.now += 50
    assert names(resume(play)) == ["RunResumed"]
    [sent] = play.sent()
    assert (sent.step, sent.due) == ("b", play.now)


def test_the_last_answer_ends_a_paused_run() -> None:
    play = paused(call("a"), callbacks={"on_completed": (call("heard"),)})
    assert names(play.reply("a", kind="do", attempt=1)) == ["StepSucceeded", "RunCompleted"]
    assert play.run.paused is None
    assert play.out() == ["callback @on_completed 1"]


def test_no_deadline_passes_and_an_attempt_under_way_gets_its_whole_time_again() -> None:
    play = paused(call("a"))
    play.now += 1_000
    assert play.send(msg.Expired(at=play.now, step="a", kind="do", attempt=1)) == []
    resume(play)
    [sent] = play.sent()
    assert (sent.attempt, sent.due) == (1, play.now)
    assert names(play.expire("a"))[0] == "StepInDoubt"


def test_a_sleep_a_wait_and_the_sagas_timeout_have_as_long_as_they_had_left() -> None:
    nap, wait = Sleep("nap", Const(30.0)), Wait("wait", "go", 40.0)
    both = Parallel((Sequence((nap,)), Sequence((wait,))))
    play = Play(plan(both, timeout_s=60.0))
    play.now += 10
    pause(play)
    assert play.timers() == []
    play.now += 500
    for step in ("nap", "wait", None):
        assert play.send(msg.TimerFired(at=play.now, step=step)) == []
    resume(play)
    assert {timer.step: timer.at - play.now for timer in play.timers()} == {
        "nap": 20.0,
        "wait": 30.0,
        None: 50.0,
    }


def test_a_retry_that_fails_into_a_pause_keeps_its_budget() -> None:
    retry = RetryPolicy(attempts=3, initial_s=1.0, budget_s=20.0)
    play = Play(plan(call("a", retry=retry), timeout_s=30.0))
    pause(play)
    play.now += 1_000
    [event] = play.reply("a", "failed", kind="do", attempt=1)
    assert isinstance(event, ev.StepFailed)
    assert event.retry_at is not None
    resume(play)
    assert play.out() == ["do a 2"]


def test_what_was_not_sent_is_abandoned_by_a_cancel_and_what_was_is_undone() -> None:
    play = paused(call("a", barrier=False), call("b", barrier=False))
    play.reply("a", kind="do", attempt=1)
    assert names(play.send(msg.Cancel(at=play.now, actor="ann"))) == ["CompensationStarted"]
    assert (play.status("b"), play.out()) == (Status.ABANDONED, [])
    resume(play)
    assert play.out() == ["undo a 1"]
    play.reply("a")
    assert play.phase is Phase.COMPENSATED


def test_a_paused_compensation_undoes_nothing_more() -> None:
    play = Play(plan(call("a"), call("b"), call("c")))
    play.reply("a")
    play.reply("b")
    play.send(msg.Cancel(at=play.now))
    assert play.out() == ["undo c 1"]
    pause(play)
    play.reply("c", kind="undo", attempt=1)
    assert play.out() == []
    resume(play)
    assert play.out() == ["undo b 1"]


def test_a_group_that_was_asked_to_vote_goes_on_to_its_end() -> None:
    play = Play(plan(group(branch("debit"), branch("credit")), call("z")))
    pause(play)
    play.vote("debit")
    play.vote("credit")
    assert play.out() == ["commit debit 2", "commit credit 2"]
    play.reply("debit")
    play.reply("credit")
    assert (play.status("z"), play.out()) == (Status.RUNNING, [])


def test_a_group_that_is_reached_in_a_pause_is_asked_after_it() -> None:
    play = paused(call("a"), group(branch("debit"), branch("credit")))
    play.reply("a", kind="do", attempt=1)
    assert (play.out(), play.timers()) == ([], [])
    play.now += 1_000
    assert play.send(msg.Recovered(at=play.now)) == []
    assert play.send(msg.TimerFired(at=play.now, step="atomic")) == []
    resume(play)
    assert play.out() == ["prepare debit 1", "prepare credit 1"]
    assert [timer.at for timer in play.timers()] == [play.now + 20.0]


def test_a_group_that_is_taken_back_when_the_run_is_paused_waits_for_the_answers_of_those_it_had_asked() -> (
    None
):
    """A try without a barrier may be cancelled only after its answer: the pause changes nothing of that."""
    play = Play(plan(group(branch("hold", "tcc", barrier=False), branch("debit"))))
    play.send(msg.Recovered(at=play.now))
    assert play.out() == ["prepare hold 1", "abort debit 2"]
    pause(play)
    play.reply("debit", kind="abort", attempt=2)
    assert (play.status("hold"), play.out()) == (Status.PREPARING, ["prepare hold 1"])
    play.send(msg.Cancel(at=play.now, actor="ann"))
    play.vote("hold")
    assert play.out() == ["abort hold 2"]
    play.reply("hold", kind="abort", attempt=2)
    assert play.phase is Phase.COMPENSATED


def test_a_pause_that_makes_no_sense_is_refused() -> None:
    play = paused(call("a"))
    [event] = pause(play)
    assert isinstance(event, ev.OperationRefused)
    assert (event.operation, event.why) == ("pause", "the run is paused already")
    resume(play)
    [event] = resume(play)
    assert isinstance(event, ev.OperationRefused)
    assert (event.operation, event.why) == ("resume", "the run isn't paused")
    play.reply("a")
    [event] = pause(play)
    assert isinstance(event, ev.OperationRefused)
    assert event.why == "the run is completed"


@pytest.mark.parametrize("event", [ev.RunResumed(at=1.0), ev.RunPaused(at=1.0)], ids=repr)
def test_only_a_paused_run_is_resumed_and_no_run_that_ended_is_paused(event: ev.Event) -> None:
    play = Play(plan(call("a")))
    play.reply("a")
    with pytest.raises(IllegalEventError, match="paused"):
        evolve(play.run, event)


def test_the_journal_alone_gives_the_same_paused_run() -> None:
    play = paused(call("a"), call("b"))
    play.reply("a", kind="do", attempt=1)
    assert play.restarted() == play.run
    resume(play)
    assert play.restarted() == play.run


def test_a_preview_of_a_pause_names_the_answers_that_are_taken() -> None:
    play = Play(plan(call("a"), call("b")))
    seen = preview(play.run, msg.Pause(at=play.now))
    assert (seen.status, seen.awaits, seen.runs) == ("paused", ("a",), ())
    pause(play)
    assert preview(play.run, msg.Resume(at=play.now)).runs[0].step == "a"


def test_a_preview_for_a_paused_run_says_what_follows_and_that_it_waits() -> None:
    play = paused(call("a"), call("b"))
    play.reply("a", kind="do", attempt=1)
    seen = preview(play.run, msg.Cancel(at=play.now))
    assert [(one.step, one.at_once) for one in seen.undoes] == [("a", False)]
    assert seen.warnings == ("the run is paused: nothing of this is sent before it is resumed",)
