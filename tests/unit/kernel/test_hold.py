"""A saga or a service is held: what a run stops doing, what it goes on with, and what time it loses."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.definition.plan import (
    Call,
    Const,
    Node,
    Parallel,
    RetryPolicy,
    Sequence,
    Sleep,
    Wait,
)
from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.evolve import evolve, fold
from orchestrator.kernel.preview import preview
from orchestrator.kernel.state import Status
from orchestrator.kernel.summary import summarize
from tests.unit.kernel.scenario import ERROR, Play, branch, call, group, names, plan


def hold(play: Play, kind: ev.HoldKind = "saga", name: str = "buy", **more: Any) -> list[ev.Event]:
    more = {"hold": f"{kind} {name}", "actor": "ann", "reason": "wrong prices"} | more
    return play.send(msg.Hold(at=play.now, kind=kind, name=name, **more))


def release(play: Play, kind: str = "saga", name: str = "buy") -> list[ev.Event]:
    return play.send(msg.Release(at=play.now, actor="bob", hold=f"{kind} {name}"))


def of_bank(node: Call) -> Call:
    return replace(node, service="bank")


def both(*nodes: Node) -> Parallel:
    return Parallel(tuple(Sequence((node,)) for node in nodes))


def test_a_held_saga_goes_no_further_and_takes_answers() -> None:
    play = Play(plan(call("a"), call("b")))
    assert hold(play) == [
        ev.RunHeld(
            at=100.0, actor="ann", hold="saga buy", kind="saga", name="buy", reason="wrong prices"
        )
    ]
    assert hold(play) == []
    assert names(play.reply("a", kind="do", attempt=1)) == ["StepSucceeded"]
    assert (play.out(), play.status("b")) == ([], Status.RUNNING)
    row = summarize(play.run, 0, play.now)
    assert (row.status, row.reason) == ("paused", "saga buy held by ann: wrong prices")
    play.now += 50
    [event] = release(play)
    assert event == ev.RunReleased(at=150.0, actor="bob", hold="saga buy")
    assert release(play) == []
    assert [(one.step, one.due) for one in play.sent()] == [("b", 150.0)]
    assert fold(play.program, play.events) == play.run


@pytest.mark.parametrize(("undos", "out"), [(False, ["undo b 1"]), (True, [])])
def test_a_held_saga_undoes_on_unless_asked_otherwise(*, undos: bool, out: list[str]) -> None:
    play = Play(plan(call("a"), call("b")))
    play.reply("a")
    hold(play, undos=undos)
    play.send(msg.Cancel(at=play.now, actor="ann"))
    assert play.out() == out
    assert summarize(play.run, 0, 0.0).status == ("paused" if undos else "compensating")
    release(play)
    assert play.out() == ["undo b 1"]


def test_a_step_that_a_held_saga_never_sent_is_not_undone() -> None:
    play = Play(plan(call("a"), call("b")))
    hold(play)
    play.reply("a", kind="do", attempt=1)
    play.send(msg.Cancel(at=play.now, actor="ann"))
    assert play.status("b") is Status.ABANDONED
    assert play.out() == ["undo a 1"]


def test_to_a_held_service_nothing_goes_neither_action_nor_undo_and_the_rest_goes_on() -> None:
    play = Play(plan(call("a"), both(of_bank(call("pay")), call("b"))))
    hold(play, "service", "bank")
    play.reply("a")
    assert play.out() == ["do b 1"]
    row = summarize(play.run, 0, play.now)
    assert (row.status, row.reason) == ("running", "service bank held by ann: wrong prices")
    release(play, "service", "bank")
    assert sorted(play.out()) == ["do b 1", "do pay 1"]
    play.reply("pay")
    hold(play, "service", "bank")
    play.reply("b", "refused")
    assert play.out() == []
    assert play.status("pay") is Status.UNDOING
    play.send(msg.Expired(at=play.now + 99, step="pay", kind="undo", attempt=1))
    release(play, "service", "bank")
    assert play.out() == ["undo pay 1"]


def test_another_saga_and_a_service_that_the_plan_does_not_call_change_nothing() -> None:
    play = Play(plan(call("a")))
    assert hold(play, "saga", "sell") == hold(play, "service", "bank") == []
    assert play.run.holds == {}


def test_what_counts_time_has_as_long_as_it_had_left() -> None:
    nap, wait = Sleep("nap", Const(30.0)), Wait("wait", "go", 40.0)
    play = Play(plan(both(nap, wait), timeout_s=60.0))
    play.now += 10
    hold(play)
    play.now += 500
    assert play.timers() == []
    for step in ("nap", "wait", None):
        assert play.send(msg.TimerFired(at=play.now, step=step)) == []
    release(play)
    left = {timer.step: timer.at - play.now for timer in play.timers()}
    assert left == {"nap": 20.0, "wait": 30.0, None: 50.0}


def test_a_held_service_stops_the_clock_of_what_waits_for_it_alone() -> None:
    wait = Wait("wait", "go", 40.0)
    play = Play(plan(both(Sequence((call("a"), of_bank(call("pay")))), wait), timeout_s=60.0))
    hold(play, "service", "bank")
    play.now += 10
    assert {timer.step: timer.at for timer in play.timers()} == {"wait": 140.0, None: 160.0}
    play.reply("a")  # from now on something waits for the bank
    play.now += 20
    assert {timer.step: timer.at for timer in play.timers()} == {"wait": 140.0}
    assert play.send(msg.TimerFired(at=999.0, step=None)) == []
    release(play, "service", "bank")
    assert {timer.step: timer.at for timer in play.timers()} == {"wait": 140.0, None: 180.0}


def test_overlapping_stops_take_their_time_once() -> None:
    play = Play(plan(Sleep("nap", Const(30.0))))
    hold(play)
    play.now += 10
    play.send(msg.Pause(at=play.now))
    play.now += 10
    release(play)
    assert play.timers() == []
    play.now += 10
    play.send(msg.Resume(at=play.now))
    assert [timer.at - play.now for timer in play.timers()] == [30.0]


def test_a_group_that_was_asked_goes_on_and_another_waits() -> None:
    for unsent, out in (((), ["prepare x 1", "prepare y 1"]), (("atomic",), [])):
        play = Play(plan(group(branch("x"), of_bank(branch("y")))))
        hold(play, "service", "bank", unsent=unsent)
        assert play.out() == out
        release(play, "service", "bank")
        assert play.out() == ["prepare x 1", "prepare y 1"]


def test_a_group_that_nobody_asked_is_given_up_without_a_word() -> None:
    play = Play(plan(group(branch("x", barrier=False), branch("y"))))
    hold(play, unsent=("atomic",))
    play.send(msg.Cancel(at=play.now, actor="ann"))
    assert play.out() == []
    assert play.run.phase == "compensated"


def test_a_resumed_run_of_a_held_saga_says_what_holds_it() -> None:
    play = Play(plan(call("a")))
    hold(play)
    [event] = play.send(msg.Resume(at=play.now, actor="ann"))
    assert isinstance(event, ev.OperationRefused)
    assert event.why == "the run isn't paused, but saga buy is held: `saga release` ends that"
    assert preview(play.run, msg.Cancel(at=play.now)).warnings[-1].startswith("saga buy is held")


@pytest.mark.parametrize("twice", [True, False])
def test_a_log_that_holds_twice_or_releases_what_is_free_is_illegal(*, twice: bool) -> None:
    play = Play(plan(call("a")))
    bad: ev.Event = ev.RunReleased(at=1.0, hold="h")
    if twice:
        [bad] = hold(play)
    with pytest.raises(IllegalEventError):
        evolve(play.run, bad)


def test_a_callback_of_a_held_saga_is_delivered_and_to_a_held_service_is_not() -> None:
    for kind, name, out in (("saga", "buy", 1), ("service", "bank", 0)):
        play = Play(plan(call("a"), callbacks={"on_completed": (of_bank(call("heard")),)}))
        play.reply("a")
        hold(play, kind, name)  # type: ignore[arg-type]
        assert len(play.out()) == out
        release(play, kind, name)
        assert play.out() == ["callback @on_completed 1"]


def test_an_attempt_that_fails_under_a_hold_keeps_its_budget() -> None:
    policy = RetryPolicy(attempts=None, budget_s=20.0, jitter=0.0)
    play = Play(plan(of_bank(call("pay", retry=policy))))
    hold(play, "service", "bank")
    play.now += 500
    play.reply("pay", "failed", kind="do", attempt=1, failure=ERROR)
    assert play.status("pay") is Status.RUNNING
    release(play, "service", "bank")
    assert play.out() == ["do pay 2"]
