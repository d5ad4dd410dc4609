"""Why a step doesn't go on at this moment, in words an operator understands."""

from __future__ import annotations

from orchestrator.definition.plan import Call, Wait
from orchestrator.kernel.state import KIND, PARKED, RunState, Status, StepState
from orchestrator.views.spans import span_text

_SENT = frozenset({Status.RUNNING, Status.UNDOING, Status.CALLING})


def why_it_waits(run: RunState, key: str, now: float) -> str:
    """One line; empty for a step that waits for nothing."""
    step = run.steps[key]
    node = run.program.named[step.name]
    if step.status in PARKED:
        return f"needs a person: {step.reason}"
    if step.status is Status.WAITING and isinstance(node, Wait):
        return f"waits for the signal {node.signal!r}{_until(step, now)}"
    if step.status is Status.SLEEPING:
        return f"sleeps for another {span_text(max(0.0, step.due - now))}"
    if step.status in _SENT and isinstance(node, Call):
        return _sent(step, node, now)
    return ""


def _until(step: StepState, now: float) -> str:
    if step.due == float("inf"):
        return ""
    return f", for another {span_text(max(0.0, step.due - now))}"


def _sent(step: StepState, call: Call, now: float) -> str:
    if step.due > now:
        after = f" after: {step.reason}" if step.reason else ""
        return f"attempt {step.attempt} comes in {span_text(step.due - now)}{after}"
    undo = call.undo if KIND[step.status] == "undo" else None
    deadline = step.due + (call.timeout_s if undo is None else undo.timeout_s)
    sent = f"attempt {step.attempt} is with queue {call.queue!r} for {span_text(now - step.due)}"
    if deadline > now:
        return f"{sent}; counts as lost in {span_text(deadline - now)}"
    return f"{sent}; its deadline is over, so the coordinator will act next"
