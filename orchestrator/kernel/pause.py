"""A run that stands still: nothing new of it is sent, and no time passes for it.

Answers to what was sent before are taken. An atomic group that has been asked to vote is one thing under way: it is
decided and told to the end, as its branches hold locks until then.
"""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.errors import IllegalEventError, OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.state import (
    ENDED,
    OUTSTANDING,
    Paused,
    RunState,
    Status,
    StepState,
)
from orchestrator.kernel.two_phase import group_of

_TIMED = frozenset({Status.WAITING, Status.SLEEPING})
_SECOND_PHASE = frozenset(
    {Status.COMMITTING, Status.COMMIT_STUCK, Status.ABORTING, Status.ABORT_STUCK}
)


def goes_on(run: RunState, key: str) -> bool:
    """Whether what is outstanding of a step stays so while the run is paused."""
    if run.paused is None:
        return True
    status = run.steps[key].status
    if status in _SECOND_PHASE:
        return True
    if status is Status.PREPARING:
        group = group_of(run, key)
        return group is not None and _is_asked(run, run.paused, group)
    return status is Status.VOTING and _is_asked(run, run.paused, key)


def paused(run: RunState, event: ev.RunPaused) -> None:
    """Apply the event to a draft. Raises ``IllegalEventError``."""
    if run.paused is not None or run.phase in ENDED:
        raise IllegalEventError(f"run {run.run_id}, {run.phase}: can't be paused")
    under_way = {key: step.attempt for key, step in run.steps.items() if step.status in OUTSTANDING}
    run.paused = Paused(event.at, event.actor, event.reason, under_way)


def resumed(run: RunState, event: ev.RunResumed) -> None:
    """Apply the event to a draft. Raises ``IllegalEventError``."""
    pause = run.paused
    if pause is None:
        raise IllegalEventError(f"run {run.run_id}, {run.phase}: resumed and not paused")
    for key, step in run.steps.items():
        if step.status in OUTSTANDING and not goes_on(run, key):
            run.steps[key] = _awake(step, pause, event.at)
    run.rested_s += pause.lost_s(0.0, event.at)
    run.paused = None


def pause(run: RunState, operation: msg.Pause) -> list[ev.Event]:
    """What the request means. Raises ``OperationRefusedError``."""
    if run.phase in ENDED:
        raise OperationRefusedError(f"the run is {run.phase.value}")
    if run.paused is not None:
        raise OperationRefusedError("the run is paused already")
    return [
        ev.RunPaused(
            at=operation.at,
            actor=operation.actor,
            request=operation.request,
            reason=operation.reason,
        )
    ]


def resume(run: RunState, operation: msg.Resume) -> list[ev.Event]:
    """What the request means. Raises ``OperationRefusedError``."""
    if run.paused is None:
        raise OperationRefusedError("the run isn't paused")
    return [
        ev.RunResumed(
            at=operation.at,
            actor=operation.actor,
            request=operation.request,
            reason=operation.reason,
        )
    ]


def _is_asked(run: RunState, pause: Paused, group: str) -> bool:
    """Whether the group's present round of votes had begun when the run was paused."""
    step = run.steps[group]
    return pause.under_way.get(group) == step.attempt and step.due <= pause.at


def _awake(step: StepState, pause: Paused, at: float) -> StepState:
    """A step as it goes on: a wait has as long as it had left, an attempt its whole time."""
    lost_s = pause.lost_s(step.since, at)
    if step.status in _TIMED:
        return replace(step, since=step.since + lost_s, due=step.due + lost_s)
    due = max(step.due, at)
    fresh = step.attempt <= step.base + 1
    return replace(step, since=due if fresh else step.since + lost_s, due=due)
