"""Why a step doesn't go on at this moment, in words an operator understands."""

from __future__ import annotations

from orchestrator.definition.plan import Call, Wait
from orchestrator.kernel.pause import goes_on
from orchestrator.kernel.state import (
    EXECUTING,
    GROUP_OPEN,
    KIND,
    PARKED,
    RunState,
    Status,
    StepState,
)
from orchestrator.kernel.summary import held_by, stops_step
from orchestrator.kernel.two_phase import branches_of, group_of, node_of, rests, second_phase
from orchestrator.views.spans import span_text

_SENT = EXECUTING - PARKED


def why_it_waits(run: RunState, key: str, now: float) -> str:
    """One line; empty for a step that waits for nothing."""
    step = run.steps[key]
    node = run.program.named[step.name]
    if step.status in PARKED:
        told_on = ", and is tried on" if step.status in EXECUTING else ""
        return f"needs a person{told_on}: {step.reason}"
    if step.status in GROUP_OPEN:
        return _group(run, key, now)
    if step.status in _FOR_ITS_GROUP:
        return f"waits for its group {group_of(run, key)!r}"
    if step.status is Status.WAITING and isinstance(node, Wait):
        return f"waits for the signal {node.signal!r}{_until(step, now)}"
    if step.status is Status.SLEEPING:
        return f"sleeps for another {span_text(max(0.0, step.due - now))}"
    if step.status in _SENT and not goes_on(run, key):
        return _stopped(run, key)
    if step.status in _SENT and isinstance(node, Call):
        return _sent(step, node, now)
    return ""


_FOR_ITS_GROUP = frozenset({Status.HELD, Status.PREPARED, Status.READ_ONLY})


def _group(run: RunState, key: str, now: float) -> str:
    group = run.steps[key]
    if group.status is Status.VOTING and rests(group, now):
        after = f" after: {group.reason}" if group.reason else ""
        return f"attempt {group.attempt} comes in {span_text(group.due - now)}{after}"
    waiting = [
        call.name for _, step, call in branches_of(run, key) if step.status in EXECUTING | PARKED
    ]
    text = f"waits for {', '.join(waiting)}"
    if group.status is not Status.VOTING:
        return text
    left_s = group.due + node_of(run, key).timeout_s - now
    return f"{text}; is taken back in {span_text(max(0.0, left_s))}"


def _stopped(run: RunState, key: str) -> str:
    if run.paused is not None:
        return "stands still: the run is paused"
    for hold in run.holds.values():
        if hold.kind == "saga" or stops_step(run, key, hold):
            return f"stands still: {held_by(hold)}"
    return "stands still: its group needs a service that is held"


def _until(step: StepState, now: float) -> str:
    if step.due == float("inf"):
        return ""
    return f", for another {span_text(max(0.0, step.due - now))}"


def _sent(step: StepState, call: Call, now: float) -> str:
    if step.due > now:
        after = f" after: {step.reason}" if step.reason else ""
        return f"attempt {step.attempt} comes in {span_text(step.due - now)}{after}"
    kind = KIND[step.status]
    timeout_s = call.timeout_s
    if kind == "undo" and call.undo is not None:
        timeout_s = call.undo.timeout_s
    elif kind in {"commit", "abort"}:
        timeout_s, _ = second_phase(call, kind)
    deadline = step.due + timeout_s
    sent = f"attempt {step.attempt} is with queue {call.queue!r} for {span_text(now - step.due)}"
    if deadline > now:
        return f"{sent}; counts as lost in {span_text(deadline - now)}"
    return f"{sent}; its deadline is over, so the coordinator will act next"
