"""A path through worlds, told so that a person can follow it."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.kernel import events as ev
from orchestrator.testing.moves import COST, Move
from orchestrator.testing.replies import answered
from orchestrator.testing.rules import Violated
from orchestrator.testing.steps import first, follow
from orchestrator.testing.world import Space, World


class Line(msgspec.Struct, frozen=True):
    """One thing that happens, at a time in seconds from the launch, and what the run makes of it."""

    at_s: float
    text: str
    fault: bool
    events: tuple[str, ...]


def narrated(space: Space, given: dict[str, Any], moves: tuple[Move, ...]) -> tuple[Line, ...]:
    """Tell a path; its last move may be the one that violates an invariant."""
    choices = ", ".join(f"{name} {_choice(value)}" for name, value in given.items())
    try:
        world = first(space, given)
    except Violated:
        return (Line(0.0, "the run is launched", fault=False, events=()),)
    lines = [Line(0.0, f"the run is launched{f': {choices}' if choices else ''}", False, ())]
    for move in moves:
        text = _text(space, world, move)
        fault = bool(COST[move.what])
        try:
            after = follow(space, world, move)
        except Violated:
            lines.append(Line(round(world.now, 3), text, fault, ()))
            break
        told = tuple(map(_event, after.log[1])) if after.log is not world.log else ()
        lines.append(Line(round(after.now, 3), text, fault, told))
        world = after
    return tuple(lines)


def _choice(value: Any) -> str:
    if isinstance(value, list):
        return f"has {len(value)} items"
    return "holds" if value else "doesn't hold"


_SAID = {
    "wake": "it is time to try {step} again",
    "slept": "{step} is over",
    "signal": "signal {step} arrives",
    "early-signal": "signal {step} arrives when nobody waits for it",
    "again-signal": "signal {step} is sent once more",
    "double-signal": "signal {step} is delivered a second time",
    "no-signal": "no signal comes for {step} in time",
    "refuse": "{step} is refused",
    "fail-after": "{step} takes effect, and then an error is reported",
    "cancel": "the run is cancelled",
    "saga-timeout": "the saga's timeout is over",
    "crash-unwritten": "the coordinator dies before it has written the latest votes and acknowledgements",
    "group-timeout": "the time for the votes of {step} is over",
    "crash": "the coordinator dies; its successor sends again what is pending",
    "never-undone": "the undo of {step} fails, and would each time",
}


def _text(space: Space, world: World, move: Move) -> str:
    said = _SAID.get(move.what)
    if said is not None:
        return said.format(step=move.step)
    age, dash, kind = move.what.partition("-")
    if dash:
        whose = " from the coordinator that was replaced" if age == "old" else ""
        return f"a late copy of {_thing(kind, move.step)}{whose} arrives"
    command = world.command(move.step)
    thing = _thing(command.kind if command else "do", move.step)
    match move.what:
        case "fail":
            return f"{thing} fails"
        case "lose":
            return f"{thing} is carried out, and its answer is lost"
        case "late":
            return f"{thing} gets no answer before its deadline; it is still on its way"
        case "double":
            return f"{thing} is carried out; a copy is still on its way"
        case _:
            remark = answered(space, world, command).remark if command is not None else ""
            return f"{thing} is carried out{f': {remark}' if remark else ''}"


def _thing(kind: str, step: str) -> str:
    return {
        "do": step,
        "undo": f"the undo of {step}",
        "callback": f"callback {step}",
        "prepare": f"the vote of {step}",
        "commit": f"the commit of {step}",
        "abort": f"the abort of {step}",
    }[kind]


def _event(event: ev.Event) -> str:
    match event:
        case ev.StepFailed() | ev.StepInDoubt():
            what = "failed" if isinstance(event, ev.StepFailed) else "in doubt"
            next_ = "given up" if event.retry_at is None else f"again at {event.retry_at:.1f} s"
            return f"{event.step}: attempt {event.attempt} ({event.kind}) {what}, {next_}"
        case ev.StepSucceeded():
            return f"{event.step}: done"
        case ev.StepUndone():
            return f"{event.step}: undone"
        case ev.StepRefused():
            return f"{event.step}: refused"
        case ev.StepParked():
            return f"{event.step}: stuck: {event.reason}"
        case ev.CompensationStarted():
            return f"compensation begins: {event.reason}"
        case ev.RunCompleted():
            return "the run is completed"
        case ev.RunCompensated():
            return "the run is compensated"
        case ev.OperationRefused():
            return f"not possible: {event.why}"
        case _:
            return _of_group(event)


def _of_group(event: ev.Event) -> str:
    match event:
        case ev.BranchVoted():
            return f"{event.step}: votes {event.vote.replace('_', '-')}"
        case ev.CommitDecided():
            return f"{event.step}: decided to commit"
        case ev.AbortDecided():
            return f"{event.step}: taken back ({event.then} after it): {event.reason}"
        case ev.OnePhaseRecalled():
            return f"{event.step}: asks its one branch whether it has committed: {event.reason}"
        case ev.BranchCommitted():
            return f"{event.step}: committed"
        case ev.BranchAborted():
            return f"{event.step}: rolled back"
        case ev.HeuristicFound():
            return f"{event.step}: against the decision: {event.reason}"
        case _:
            return type(event).__name__
