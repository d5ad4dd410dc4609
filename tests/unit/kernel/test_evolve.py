"""``evolve`` takes what ``decide`` gives and nothing else."""

from __future__ import annotations

import pytest

from orchestrator.definition.plan import Const, Each, Item, Param, Sleep, Wait
from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel import walk
from orchestrator.kernel.evolve import evolve, fold
from orchestrator.kernel.state import TRANSITIONS, Status
from tests.unit.kernel.scenario import ERROR, NO, Play, call, plan

AT = 100.0
EVENTS: list[ev.Event] = [
    ev.StepSucceeded(at=AT, step="a", attempt=1),
    ev.StepRefused(at=AT, step="a", attempt=1, failure=NO),
    ev.StepFailed(at=AT, step="a", kind="do", attempt=1, failure=ERROR),
    ev.StepFailed(at=AT, step="a", kind="undo", attempt=1, failure=ERROR, retry_at=AT + 1),
    ev.StepInDoubt(at=AT, step="a", kind="do", attempt=1, reason="lost"),
    ev.StepInDoubt(at=AT, step="a", kind="undo", attempt=1, reason="lost", retry_at=AT + 1),
    ev.StepUndone(at=AT, step="a", attempt=1),
    ev.StepParked(at=AT, step="a", kind="do", reason="why"),
    ev.StepParked(at=AT, step="a", kind="undo", reason="why"),
    ev.SleepEnded(at=AT, step="a"),
    ev.WaitExpired(at=AT, step="a"),
    ev.CallbackDelivered(at=AT, step="a", attempt=1),
    ev.StepRetried(at=AT, step="a", kind="do"),
    ev.StepRetried(at=AT, step="a", kind="undo"),
    ev.StepSkipped(at=AT, step="a"),
    ev.StepResolved(at=AT, step="a", undone=False),
    ev.StepResolved(at=AT, step="a", undone=True),
]


def done() -> Play:
    """A run whose step ``a`` is done."""
    play = Play(plan(call("a"), call("b")))
    play.reply("a")
    return play


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_nothing_happens_to_a_step_that_is_done(event: ev.Event) -> None:
    with pytest.raises(IllegalEventError, match="'a'"):
        evolve(done().run, event)


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_nothing_happens_to_a_step_that_never_began(event: ev.Event) -> None:
    with pytest.raises(IllegalEventError, match="never started"):
        evolve(Play(plan(call("x"))).run, event)


@pytest.mark.parametrize(
    "event",
    [
        ev.StepSucceeded(at=AT, step="b", attempt=2),
        ev.StepRefused(at=AT, step="b", attempt=2, failure=NO),
        ev.StepFailed(at=AT, step="b", kind="do", attempt=2, failure=ERROR),
        ev.StepFailed(at=AT, step="b", kind="undo", attempt=1, failure=ERROR),
        ev.StepInDoubt(at=AT, step="b", kind="do", attempt=2, reason="lost"),
        ev.StepUndone(at=AT, step="b", attempt=1),
        ev.StepParked(at=AT, step="b", kind="undo", reason="why"),
        ev.StepRetried(at=AT, step="b", kind="do"),
        ev.StepResolved(at=AT, step="b", undone=True),
        ev.RunLaunched(at=AT, run_id="r", saga="s", version=1, plan="p", input={}),
        ev.RunCompleted(at=AT),
        ev.RunCompensated(at=AT),
    ],
    ids=repr,
)
def test_an_outstanding_step_takes_only_its_own_attempt_and_kind(event: ev.Event) -> None:
    with pytest.raises(IllegalEventError):
        evolve(done().run, event)


def test_a_run_turns_back_once_and_never_past_its_pivot() -> None:
    started = ev.CompensationStarted(at=AT, reason="why")
    play = done()
    with pytest.raises(IllegalEventError, match="twice"):
        evolve(evolve(play.run, started), started)
    play = Play(plan(call("p", undo=False, pivot=True), call("b", undo=False)))
    with pytest.raises(IllegalEventError, match="pivot"):
        evolve(play.run, started)
    play.reply("p")
    with pytest.raises(IllegalEventError, match="pivot"):
        evolve(play.run, started)


def test_nothing_goes_forward_once_a_run_has_turned_back() -> None:
    play = Play(plan(call("a", barrier=False)))
    play.send(msg.Cancel(at=AT))
    assert play.status("a") is Status.RUNNING
    for event in (
        ev.StepFailed(at=AT, step="a", kind="do", attempt=1, failure=ERROR, retry_at=AT + 1),
        ev.StepInDoubt(at=AT, step="a", kind="do", attempt=1, reason="lost", retry_at=AT + 1),
        ev.StepSkipped(at=AT, step="a"),
        ev.StepParked(at=AT, step="a", kind="do", reason="why"),
        ev.StepRetried(at=AT + 1, step="a", kind="do"),
        ev.SignalReceived(at=AT, name="go"),
    ):
        with pytest.raises(IllegalEventError):
            evolve(play.run, event)


def test_a_wait_or_a_sleep_is_not_retried_while_it_lasts() -> None:
    for node in (Wait("a", "go"), Sleep("a", Const(5))):
        run = Play(plan(node)).run
        with pytest.raises(IllegalEventError):
            evolve(run, ev.StepRetried(at=AT, step="a", kind="do"))


def test_a_history_begins_with_a_launch() -> None:
    play = done()
    with pytest.raises(IllegalEventError, match="begins with RunLaunched"):
        fold(play.program, play.events[1:])
    with pytest.raises(IllegalEventError, match="without events"):
        fold(play.program, [])


def test_the_error_names_the_run() -> None:
    with pytest.raises(
        IllegalEventError, match="run r, forward: StepUndone for 'a', which is done"
    ):
        evolve(done().run, ev.StepUndone(at=AT, step="a", attempt=1))


def test_the_table_leads_from_and_to_statuses_of_one_kind() -> None:
    """A reply to an undo can't end an action, nor a callback's reply either."""
    for (old, _), new in TRANSITIONS.items():
        callback = {Status.CALLING, Status.CALL_FAILED, Status.CALL_PARKED, Status.HEARD}
        assert (old in callback) == (new in callback)


def test_a_step_of_a_long_run_costs_no_more_than_of_a_short_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted in walks of nodes, not in seconds."""
    visited = 0
    enter = walk._enter

    def counted(*args: object) -> bool:
        nonlocal visited
        visited += 1
        return enter(*args)  # type: ignore[arg-type]

    body = plan(call("a", x=Item(0)), call("b")).body
    play = Play(plan(Each("each", Param("xs"), body)), xs=list(range(300)))
    monkeypatch.setattr(walk, "_enter", counted)
    for i in range(300):
        play.send(msg.Reply(at=AT, step=f"a[{i}]", kind="do", attempt=1, outcome="succeeded"))
    assert visited == 300
    for i in range(300):
        play.send(msg.Reply(at=AT, step=f"b[{i}]", kind="do", attempt=1, outcome="succeeded"))
    assert visited == 301  # the saga's result
    assert play.run.ended_at == AT
