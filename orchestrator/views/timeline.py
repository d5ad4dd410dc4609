"""A run told event by event, each in one sentence with what it set going."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from orchestrator.definition.plan import Plan
from orchestrator.journal.port import Recorded
from orchestrator.kernel import events as ev
from orchestrator.kernel.state import Status
from orchestrator.views.replay import Moment, replay
from orchestrator.views.spans import span_text

Tone = Literal["good", "bad", "doubt", "undo", "person", "plain"]
"""How an entry is to be read: as progress, a failure, something uncertain, an undo, a person's doing."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event of a run. ``at`` in epoch seconds, ``after_s`` since the launch."""

    offset: int
    at: float
    after_s: float
    type: str
    text: str
    tone: Tone
    step: str = ""
    actor: str = ""
    began: tuple[str, ...] = ()
    """Steps that this event started."""
    undoing: tuple[str, ...] = ()
    """Steps whose undo this event started."""
    event: dict[str, Any] = {}


def timeline(plan: Plan, records: Iterable[Recorded]) -> list[Entry]:
    """A run's events in order."""
    return [_entry(moment) for moment in replay(plan, records)]


def _entry(moment: Moment) -> Entry:
    record, event = moment.record, moment.event
    text, tone = sentence(event)
    step = getattr(event, "step", None) or ""
    return Entry(
        offset=record.offset,
        at=record.at,
        after_s=record.at - moment.state.launched_at,
        type=record.type,
        text=text,
        tone=tone,
        step=step,
        actor=record.actor,
        began=tuple(
            change.step
            for change in moment.changes
            if change.before is None and change.after is not Status.BROKEN
        ),
        undoing=tuple(
            change.step
            for change in moment.changes
            if change.after is Status.UNDOING and change.before is not Status.UNDO_PARKED
        ),
        event=msgspec.to_builtins(event),
    )


_UNDO = {
    "do": "",
    "undo": "the undo of ",
    "callback": "the callback ",
    "prepare": "the vote of ",
    "commit": "the commit of ",
    "abort": "the abort of ",
}


def sentence(event: ev.Event) -> tuple[str, Tone]:
    """What an event says, and how to read it."""
    match event:
        case ev.RunLaunched():
            with_key = f" with key {event.key}" if event.key else ""
            return f"{event.saga} version {event.version} launched{with_key}", "plain"
        case ev.RunCompleted():
            return "run completed", "good"
        case ev.RunCompensated():
            return "run compensated: every effect is undone", "undo"
        case ev.CompensationStarted():
            return f"compensation starts{_second(event)}: {event.reason}", "bad"
        case ev.SignalReceived():
            why = f": {event.reason}" if event.reason else ""
            return f"signal {event.name} received{why}", "person" if event.actor else "plain"
        case ev.SleepEnded():
            return f"{event.step} has slept enough", "plain"
        case ev.WaitExpired():
            return f"{event.step} waited too long for its signal", "bad"
        case _:
            return _operated(event) or _of_group(event) or _attempted(event)


def _attempted(event: ev.Event) -> tuple[str, Tone]:
    match event:
        case ev.StepSucceeded():
            tries = f" at attempt {event.attempt}" if event.attempt > 1 else ""
            return f"{event.step} succeeded in {span_text(event.took_s)}{tries}", "good"
        case ev.StepRefused():
            return f"{event.step} was refused: {event.failure.message}", "bad"
        case ev.StepFailed():
            what = f"{_UNDO[event.kind]}{event.step} failed at attempt {event.attempt}"
            why = f"{_short(event.failure.type)}: {event.failure.message}"
            return f"{what}{_again(event)}: {why}", "bad"
        case ev.StepInDoubt():
            what = f"the outcome of {_UNDO[event.kind]}{event.step}, attempt {event.attempt}"
            return f"{what}, is unknown{_again(event)}: {event.reason}", "doubt"
        case ev.StepUndone():
            return f"{event.step} is undone", "undo"
        case ev.CallbackDelivered():
            return f"callback {event.step} was heard", "plain"
        case ev.StepParked():
            return f"{_UNDO[event.kind]}{event.step} needs a person: {event.reason}", "person"
        case _:
            return type(event).__name__, "plain"


def _of_group(event: ev.Event) -> tuple[str, Tone] | None:
    match event:
        case ev.BranchVoted():
            return f"{event.step} {_VOTES[event.vote]} in {span_text(event.took_s)}", "good"
        case ev.CommitDecided():
            return f"{event.step}: all said yes, so it is committed", "good"
        case ev.AbortDecided():
            return f"{event.step} is taken back{_then(event)}: {event.reason}", "bad"
        case ev.OnePhaseRecalled():
            what = f"{event.step}: whether its one branch has committed decides, so it is asked"
            return f"{what}{_then(event)}: {event.reason}", "doubt"
        case ev.BranchCommitted():
            return f"{event.step} has committed", "good"
        case ev.BranchAborted():
            return f"{event.step} is rolled back", "undo"
        case ev.HeuristicFound():
            return f"{event.step} went against the decision: {event.reason}", "person"
        case _:
            return None


_VOTES: dict[ev.Vote, str] = {
    "prepared": "is prepared",
    "read_only": "has changed nothing",
    "committed": "has committed at once",
}


def _then(event: ev.AbortDecided | ev.OnePhaseRecalled) -> str:
    if event.then != "retry" or event.retry_at is None:
        return ""
    return f", tried again in {span_text(max(0.0, event.retry_at - event.at))}"


_Stop = ev.RunPaused | ev.RunResumed | ev.RunHeld | ev.RunReleased | ev.HoldPlaced | ev.HoldReleased


def _operated(event: ev.Event) -> tuple[str, Tone] | None:
    match event:
        case ev.StepRetried():
            edited = " with other arguments" if event.args is not None else ""
            what = f"{_UNDO[event.kind]}{event.step} is retried{edited}"
        case ev.StepSkipped():
            what = f"{event.step} is skipped"
        case ev.StepResolved():
            what = f"{event.step} is resolved as {'undone' if event.undone else 'done'}"
        case ev.BudgetSet():
            what = f"{_UNDO[event.kind]}{event.step} may be tried {event.attempts} times"
        case (
            ev.RunPaused()
            | ev.RunResumed()
            | ev.RunHeld()
            | ev.RunReleased()
            | ev.HoldPlaced()
            | ev.HoldReleased()
        ):
            what = _stopped(event)
        case ev.HeuristicForgotten():
            what = f"the heuristic outcome of {event.step} is forgotten"
        case ev.IncidentAcknowledged():
            what = f"the incident of {event.step} is acknowledged"
        case ev.OperationRefused():
            return f"{event.operation} refused: {event.why}", "bad"
        case ev.ApprovalAsked() | ev.ApprovalGiven() | ev.ApprovalDenied():
            what = _approval(event)
        case _:
            return _ruled(event)
    what += _second(event)
    return f"{what}: {event.reason}" if event.reason else what, "person"


def _stopped(event: _Stop) -> str:
    match event:
        case ev.HoldPlaced():
            return f"{event.kind} {event.name} held"
        case ev.HoldReleased():
            return f"{event.kind} {event.name} released"
        case ev.RunPaused():
            return "run paused"
        case ev.RunResumed():
            return "run resumed"
        case ev.RunHeld():
            return f"held with {event.kind} {event.name}"
        case ev.RunReleased():
            return "released from a hold"


def _approval(event: ev.ApprovalAsked | ev.ApprovalGiven | ev.ApprovalDenied) -> str:
    if isinstance(event, ev.ApprovalAsked):
        step = f" {event.step}" if event.step else ""
        return f"{event.operation}{step} waits for a second person, as number {event.number}"
    said = "approved" if isinstance(event, ev.ApprovalGiven) else "denied"
    return f"what waited as number {event.number} is {said}"


def _ruled(event: ev.Event) -> tuple[str, Tone] | None:
    if isinstance(event, ev.BulkSteered):
        what = f"{event.operation} of {event.total} runs {event.what}"
        return f"{what}: {event.reason}" if event.reason else what, "person"
    if not isinstance(event, ev.BranchAsked | ev.BranchRuled):
        return None
    waits = isinstance(event, ev.BranchAsked)
    became = "waits for a second person" if waits else "is decided by people"
    what = f"to {event.kind} {event.step} in {event.service} {became}{_second(event)}"
    return f"{what}: {event.reason}" if event.reason else what, "person"


def _second(event: ev.Event) -> str:
    return f" (approved by {event.second})" if event.second else ""


def _again(event: ev.StepFailed | ev.StepInDoubt) -> str:
    if event.retry_at is None:
        return ", the last one"
    return f", again in {span_text(event.retry_at - event.at)}"


def _short(type_name: str) -> str:
    return type_name.rpartition(".")[2]
