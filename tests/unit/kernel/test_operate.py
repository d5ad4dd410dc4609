"""What each operator's action does, and what it says when it can't."""

from __future__ import annotations

import pytest

from orchestrator.definition.plan import (
    Const,
    Each,
    Item,
    Let,
    Parallel,
    Param,
    Plan,
    Result,
    RetryPolicy,
    Sleep,
    Wait,
    When,
)
from orchestrator.errors import OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.operate import possible
from orchestrator.kernel.state import Phase, Status
from tests.unit.kernel.plans import BROKEN
from tests.unit.kernel.scenario import Play, call, names, plan

THRICE = RetryPolicy(attempts=3, initial_s=10.0)
PIVOT = call("p", undo=False, pivot=True)


def past_the_pivot(*, barrier: bool = True, retry: RetryPolicy = THRICE) -> Play:
    """A run whose step ``b`` is refused past the pivot, so that it is parked."""
    last = call("b", undo=False, barrier=barrier, retry=retry, x=Param("x"), y=Const(2))
    play = Play(plan(PIVOT, last, call("c", undo=False, z=Result("b"))), x=1)
    play.reply("p")
    return play


def retry(play: Play, step: str | None = None, **more: object) -> list[ev.Event]:
    """As an operator would."""
    return play.send(msg.Retry(at=play.now, actor="ann", step=step, **more))  # type: ignore[arg-type]


def refused(play: Play, operation: msg.Operation) -> str:
    """Why an operation can't be; asked beforehand and put on record it is the same."""
    with pytest.raises(OperationRefusedError) as raised:
        possible(play.run, operation)
    before = play.run
    [event] = play.send(operation)
    assert isinstance(event, ev.OperationRefused)
    assert (event.why, event.actor) == (str(raised.value), operation.actor)
    assert event.operation == type(operation).__name__.lower()
    assert play.run.steps == before.steps
    return event.why


def test_a_retry_after_a_refusal_asks_anew_in_the_next_round() -> None:
    play = past_the_pivot()
    play.reply("b", "refused")
    [event] = retry(play, "b", args={"x": 9}, reason="restocked")
    assert isinstance(event, ev.StepRetried)
    assert (event.actor, event.reason) == ("ann", "restocked")
    [command] = play.sent()
    assert command.args == {"x": 9, "y": 2}
    assert (command.attempt, command.round) == (2, 1)
    play.reply("b", result=5)
    assert play.sent()[0].args == {"z": 5}


def test_a_refusal_counts_as_one_even_if_it_came_without_a_reason() -> None:
    play = past_the_pivot()
    play.reply("b", "refused", failure=ev.Failure("Refused", "no"))
    retry(play, "b")
    assert play.sent()[0].round == 1


def test_a_retry_of_a_parked_step_that_may_have_taken_effect_keeps_its_round() -> None:
    """A new idempotency key could make the effect happen twice."""
    play = past_the_pivot(barrier=False)
    play.expire("b")
    play.now += 60
    play.reply("b", "refused")
    retry(play, "b")
    assert play.sent()[0].round == 0


def test_a_retry_after_failures_keeps_its_round_and_begins_a_new_count_of_attempts() -> None:
    play = past_the_pivot()
    for _ in range(3):
        play.reply("b", "failed")
        play.now += 100
    assert play.status("b") is Status.PARKED
    retry(play)
    assert (play.sent()[0].attempt, play.sent()[0].round) == (4, 0)
    assert names(play.reply("b", "failed")) == ["StepFailed"]
    play.now += 100
    assert names(play.reply("b", "failed")) == ["StepFailed"]
    play.now += 100
    assert names(play.reply("b", "failed")) == ["StepFailed", "StepParked"]


def test_a_step_that_backs_off_can_be_tried_at_once() -> None:
    play = past_the_pivot()
    play.reply("b", "failed")
    assert play.sent()[0].due > play.now
    retry(play, "b")
    assert (play.sent()[0].attempt, play.sent()[0].due) == (3, play.now)


def test_a_retry_names_what_is_wrong() -> None:
    play = past_the_pivot()
    at = play.now
    nothing = "has nothing parked or waiting for a retry"
    assert refused(play, msg.Retry(at=at)) == f"this run {nothing}"
    assert refused(play, msg.Retry(at=at, step="b")) == f"step 'b' {nothing}"
    assert refused(play, msg.Retry(at=at, step="q")) == (
        "the run has no step 'q' begun; it has p, b"
    )
    play.reply("b", "refused")
    assert refused(play, msg.Retry(at=at, step="b", args={"w": 1})) == (
        "'b' has no argument w; it has x, y"
    )


def test_an_edit_needs_one_step_that_goes_forward() -> None:
    hear = call("hear", undo=False)
    branches = Parallel((call("a"), call("b"), call("c")))
    play = Play(plan(branches, call("d"), callbacks={"on_compensated": (hear,)}))
    for step in "abc":
        play.reply(step)
    play.reply("d", "refused")
    play.reply("a", "failed")
    play.reply("b", "failed")
    at = play.now
    assert refused(play, msg.Retry(at=at, args={"x": 1})) == (
        "name the step to edit with --step; these could be retried: a, b"
    )
    assert refused(play, msg.Retry(at=at, step="a", args={"x": 1})) == (
        "'a' is to be undone; its arguments are what it was done with"
    )
    retry(play)
    for step in "abc":
        play.reply(step)
    play.reply("@on_compensated", "failed")
    assert refused(play, msg.Retry(at=at, step="@on_compensated", args={})) == (
        "'@on_compensated' is a callback; it has no arguments to edit"
    )
    assert names(retry(play)) == ["StepRetried"]
    assert names(play.reply("@on_compensated")) == ["CallbackDelivered"]


def test_what_had_no_value_can_be_given_one_or_evaluated_again() -> None:
    play = Play(plan(call("a", x=BROKEN, y=Const(2), w=BROKEN)))
    assert play.run.parked == ["a"]
    assert names(retry(play)) == ["StepRetried", "StepParked"]
    assert refused(play, msg.Retry(at=play.now, step="a", args={"x": 1})) == (
        "'a' has no value yet for w: give it too"
    )
    retry(play, "a", args={"x": 1, "w": 3})
    [command] = play.sent()
    assert command.args == {"x": 1, "y": 2, "w": 3}
    assert command.attempt == 1


def test_a_retried_wait_waits_anew_and_a_signal_that_came_late_ends_it() -> None:
    play = Play(plan(PIVOT, Wait("w", "go", 10.0), call("b", undo=False)))
    play.reply("p")
    play.now += 10
    assert names(play.send(msg.TimerFired(at=play.now, step="w"))) == ["WaitExpired", "StepParked"]
    retry(play, "w")
    assert play.timers()[0].at == play.now + 10
    play.now += 10
    play.send(msg.TimerFired(at=play.now, step="w"))
    play.send(msg.Signal(at=play.now, name="go", data=1))
    assert play.status("w") is Status.PARKED
    retry(play, "w")
    assert play.out() == ["do b 1"]


def test_skip_goes_on_with_the_given_result() -> None:
    play = past_the_pivot()
    play.reply("b", "refused")
    [event] = play.send(msg.Skip(at=play.now, actor="ann", step="b", result=5, reason="by hand"))
    assert isinstance(event, ev.StepSkipped)
    assert play.sent()[0].args == {"z": 5}


def test_a_skipped_step_that_may_have_taken_effect_is_undone_later() -> None:
    play = Play(plan(call("a", retry=THRICE), call("b")))
    play.reply("a", "failed")
    play.send(msg.Skip(at=play.now, step="a", result=1))
    play.reply("b", "refused")
    assert play.out() == ["undo a 1"]


def test_a_skipped_step_that_never_went_out_is_not_undone() -> None:
    play = Play(plan(call("a", x=BROKEN), call("b")))
    play.send(msg.Skip(at=play.now, step="a", result=1))
    assert names(play.reply("b", "refused"))[-1] == "RunCompensated"


def test_a_condition_items_and_a_name_without_a_value_can_be_given_one() -> None:
    nodes = (
        When("if", BROKEN, call("a")),
        Each("each", BROKEN, call("b", x=Item(0))),
        Let("let", BROKEN),
        call("c", x=Result("let"), y=Result("b")),
        Sleep("z", BROKEN),
    )
    play = Play(plan(*nodes))
    at = play.now
    play.send(msg.Skip(at=at, step="if", result=True))
    play.reply("a")
    assert refused(play, msg.Skip(at=at, step="each", result=7)) == (
        "'each': a fan-out needs a list, not int '7'"
    )
    assert refused(play, msg.Resolve(at=at, step="each")) == (
        "'each': a fan-out needs a list, not nothing"
    )
    play.send(msg.Resolve(at=at, step="each", result=[8, 9]))
    assert [c.args["x"] for c in play.sent()] == [8, 9]
    play.reply("b[0]", result=1)
    play.reply("b[1]", result=2)
    play.send(msg.Skip(at=at, step="let", result="given"))
    assert play.sent()[0].args == {"x": "given", "y": [1, 2]}
    play.reply("c")
    assert names(play.send(msg.Skip(at=at, step="z"))) == ["StepSkipped", "RunCompleted"]


def test_skip_says_why_not() -> None:
    play = Play(plan(call("a", barrier=False), call("b"), Wait("w", "go"), call("c")))
    at = play.now
    assert refused(play, msg.Skip(at=at, step="a")) == (
        "step 'a' has an attempt outstanding, which could take effect after its undo: wait for its "
        "answer or its deadline, or resolve it"
    )
    play.reply("a")
    assert refused(play, msg.Skip(at=at, step="a")) == "step 'a' is done"
    play.send(msg.Skip(at=at, step="b"))
    play.send(msg.Skip(at=at, step="w", result="go"))
    play.reply("c", "refused")
    assert refused(play, msg.Skip(at=at, step="b")) == (
        "the run is compensating: an undo can't be skipped, only resolved as undone"
    )
    play.reply("b")
    play.reply("a")
    assert play.phase is Phase.COMPENSATED
    assert refused(play, msg.Skip(at=at, step="a")) == (
        "the run is compensated: nothing of it can be skipped"
    )


def test_resolve_states_that_a_step_is_done() -> None:
    play = past_the_pivot()
    play.reply("b", "refused")
    play.send(msg.Resolve(at=play.now, step="b", result=5))
    assert play.sent()[0].args == {"z": 5}


def test_a_resolved_pivot_is_a_pivot() -> None:
    play = Play(plan(call("a"), PIVOT, call("b", undo=False)))
    play.reply("a")
    play.expire("p")
    play.send(msg.Resolve(at=play.now, step="p", result=1))
    assert play.run.pivoted
    assert play.out() == ["do b 1"]


def test_resolve_undone_turns_the_run_back_without_undoing_the_step() -> None:
    play = Play(plan(call("a"), call("b")))
    play.reply("a")
    play.reply("b", "unregistered")
    events = play.send(msg.Resolve(at=play.now, actor="ann", step="b", undone=True))
    assert names(events) == ["StepResolved", "CompensationStarted"]
    assert [event.actor for event in events] == ["ann", "ann"]
    assert play.out() == ["undo a 1"]


def test_resolve_undone_stands_for_a_parked_undo() -> None:
    play = Play(plan(call("a"), call("b")))
    play.reply("a")
    play.reply("b", "refused")
    play.reply("a", "failed")
    events = play.send(msg.Resolve(at=play.now, step="a", undone=True))
    assert names(events) == ["StepResolved", "RunCompensated"]


def test_resolve_says_why_not() -> None:
    play = past_the_pivot()
    at = play.now
    assert refused(play, msg.Resolve(at=at, step="p")) == (
        "step 'p' is done and can't be resolved as done"
    )
    assert refused(play, msg.Resolve(at=at, step="b", undone=True)) == (
        "step 'b' is running and can't be resolved as undone"
    )
    play.reply("b", "refused")
    assert refused(play, msg.Resolve(at=at, step="b", undone=True)) == (
        "the run is past its pivot, so 'b' has to be done: retry, skip or resolve it with a result"
    )
    beside = Play(plan(Parallel((PIVOT, call("b")))))
    beside.reply("b", "refused")
    assert refused(beside, msg.Resolve(at=at, step="b", undone=True)) == (
        "the pivot is outstanding and has no undo: wait for its answer, or resolve it"
    )


def test_a_callback_that_can_not_be_delivered_can_be_resolved() -> None:
    hear = call("hear", undo=False)
    play = Play(plan(call("a"), callbacks={"on_completed": (hear,)}))
    play.reply("a")
    play.reply("@on_completed", "unregistered")
    assert play.run.open
    assert names(play.send(msg.Resolve(at=play.now, step="@on_completed"))) == ["StepResolved"]
    assert not play.run.open


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (msg.Compensate(at=100.0), "compensated by an operator"),
        (msg.Cancel(at=100.0), "cancelled"),
        (msg.Cancel(at=100.0, reason="changed their mind"), "changed their mind"),
    ],
)
def test_compensate_and_cancel_undo_from_where_the_run_is(
    operation: msg.Compensate | msg.Cancel, reason: str
) -> None:
    play = Play(plan(call("a"), call("b"), call("c")))
    play.reply("a")
    assert names(play.send(operation)) == ["CompensationStarted"]
    assert play.run.reason == reason
    assert play.out() == ["undo b 1"]
    assert refused(play, operation) == "the run is compensating already"
    play.reply("b")
    play.reply("a")
    assert refused(play, operation) == "the run is compensated"


def test_a_parked_run_can_be_compensated() -> None:
    play = Play(plan(call("a"), call("b", x=BROKEN)))
    play.reply("a")
    play.send(msg.Compensate(at=play.now))
    assert play.status("b") is Status.ABANDONED
    assert play.out() == ["undo a 1"]


def test_compensate_says_why_not() -> None:
    play = Play(plan(call("a"), PIVOT, call("b", undo=False)))
    play.reply("a")
    cancel = msg.Cancel(at=play.now)
    assert refused(play, cancel) == (
        "the pivot is outstanding and has no undo: wait for its answer, or resolve it"
    )
    play.reply("p")
    assert refused(play, cancel) == (
        "the run is past its pivot and can only go forward: retry, skip or resolve its steps"
    )
    play.reply("b")
    assert refused(play, cancel) == "the run is completed"


def test_a_pivot_with_an_undo_can_be_taken_back_until_it_is_done() -> None:
    play = Play(plan(call("a"), call("p", pivot=True)))
    play.reply("a")
    play.send(msg.Cancel(at=play.now))
    assert play.out() == ["undo p 1"]


def test_an_operation_on_an_empty_run_says_so() -> None:
    play = Play(Plan("empty", 1, {}, plan().body))
    assert names(play.events) == ["RunLaunched", "RunCompleted"]
    assert refused(play, msg.Retry(at=play.now, step="a")) == (
        "the run has no step 'a' begun; it has none"
    )


def test_what_is_waited_for_is_not_retried_however_late_the_operators_clock_is() -> None:
    play = Play(plan(Parallel((call("a", barrier=False, retry=THRICE), call("b")))))
    play.reply("a", "failed")
    play.now += 60
    play.reply("b", "refused")
    assert play.out() == ["do a 2"]
    assert refused(play, msg.Retry(at=101.0, step="a")) == (
        "step 'a' has nothing parked or waiting for a retry"
    )
