"""A run that stands still, or a part of it: nothing new of that is sent, and no time passes for it.

Answers to what was sent before are taken. An atomic group that has been asked to vote is one thing under way: it is
decided and told to the end, as its branches hold locks until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from orchestrator.errors import IllegalEventError, OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.standing import Held, Paused
from orchestrator.kernel.state import (
    ENDED,
    EXECUTING,
    GROUP_OPEN,
    OUTSTANDING,
    Phase,
    RunState,
    Status,
    StepState,
)
from orchestrator.kernel.two_phase import branches_of, group_of

_TIMED = frozenset({Status.WAITING, Status.SLEEPING})
_SECOND_PHASE = frozenset(
    {Status.COMMITTING, Status.COMMIT_STUCK, Status.ABORTING, Status.ABORT_STUCK}
)


def goes_on(run: RunState, key: str) -> bool:
    """Whether what is outstanding of a step stays so, whatever the run, its saga or a service is stopped by."""
    if run.paused is not None and not _passes(run, key, run.paused):
        return False
    return all(_passes(run, key, hold) for hold in run.holds.values())


def clock_stands(run: RunState) -> bool:
    """Whether no time passes for the run as a whole: a held service stops it only where something waits for that."""
    if run.paused is not None or any(hold.kind == "saga" for hold in run.holds.values()):
        return True
    return bool(run.holds) and any(True for _ in _standing(run))


def lost_s(run: RunState, since: float, at: float) -> float:
    """How much time up to ``at`` something that stands still has lost, of what counts from ``since``, and isn't
    accounted for.
    """
    return max(0.0, at - max(run.stood_at, since))


def under_way(run: RunState) -> dict[str, int]:
    """Steps that may have been sent, with their attempt; and groups that aren't settled."""
    open_ = OUTSTANDING | GROUP_OPEN
    return {key: step.attempt for key, step in run.steps.items() if step.status in open_}


def account(run: RunState, at: float) -> None:
    """In a draft, give whatever stands still the time back that it lost; before what stops it changes."""
    standing = list(_standing(run)) if run.paused is not None or run.holds else []
    if clock_stands(run):
        whole = run.paused is not None or any(hold.kind == "saga" for hold in run.holds.values())
        since = 0.0 if whole else min(run.steps[key].due for key in standing)
        run.rested_s += lost_s(run, since, at)
    for key in standing:
        run.steps[key] = _awake(run, run.steps[key], at)
    run.stood_at = at


def paused(run: RunState, event: ev.RunPaused) -> None:
    """Apply the event to a draft. Raises ``IllegalEventError``."""
    if run.paused is not None or run.phase in ENDED:
        raise IllegalEventError(f"run {run.run_id}, {run.phase}: can't be paused")
    sent = under_way(run)
    account(run, event.at)
    run.paused = Paused(event.at, event.actor, event.reason, sent)


def resumed(run: RunState, event: ev.RunResumed) -> None:
    """Apply the event to a draft. Raises ``IllegalEventError``."""
    if run.paused is None:
        raise IllegalEventError(f"run {run.run_id}, {run.phase}: resumed and not paused")
    account(run, event.at)
    run.paused = None


def pause_or_resume(run: RunState, operation: msg.Pause | msg.Resume) -> list[ev.Event]:
    """What the request means. Raises ``OperationRefusedError``."""
    return _pause(run, operation) if isinstance(operation, msg.Pause) else _resume(run, operation)


def _pause(run: RunState, operation: msg.Pause) -> list[ev.Event]:
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


def _resume(run: RunState, operation: msg.Resume) -> list[ev.Event]:
    if run.paused is None:
        held = ", ".join(f"{hold.kind} {hold.name}" for hold in run.holds.values())
        hint = f", but {held} is held: `saga release` ends that" if held else ""
        raise OperationRefusedError(f"the run isn't paused{hint}")
    return [
        ev.RunResumed(
            at=operation.at,
            actor=operation.actor,
            request=operation.request,
            reason=operation.reason,
        )
    ]


def _standing(run: RunState) -> Iterator[str]:
    for key, step in run.steps.items():
        if step.status in OUTSTANDING and not goes_on(run, key):
            yield key


def _passes(run: RunState, key: str, stop: Paused | Held) -> bool:
    """Whether this stop leaves a step alone."""
    status = run.steps[key].status
    if status in _SECOND_PHASE:
        return True
    group = key if status is Status.VOTING else None
    if status is Status.PREPARING:
        group = group_of(run, key)
    if isinstance(stop, Held) and not _concerns(run, key, group, stop):
        return True
    return group is not None and _is_asked(run, stop, group)


def _concerns(run: RunState, key: str, group: str | None, hold: Held) -> bool:
    """A held saga doesn't go forward, but undoes; to a held service nothing goes, nor to a group that needs it."""
    status = run.steps[key].status
    if hold.kind == "saga":
        forward = group is not None or run.phase is Phase.FORWARD
        return status is not Status.CALLING and (hold.undos or forward)
    if group is not None:
        return any(call.service == hold.name for _, _, call in branches_of(run, group))
    return status in EXECUTING and run.call(key).service == hold.name


def _is_asked(run: RunState, stop: Paused | Held, group: str) -> bool:
    """Whether the group's present round of votes had begun when the run was stopped."""
    step = run.steps[group]
    return stop.under_way.get(group) == step.attempt and step.due <= stop.at


def _awake(run: RunState, step: StepState, at: float) -> StepState:
    """A step as it goes on: a wait has as long as it had left, an attempt its whole time."""
    lost = lost_s(run, step.since, at)
    if step.status in _TIMED:
        return replace(step, since=step.since + lost, due=step.due + lost)
    due = max(step.due, at)
    fresh = step.attempt <= step.base + 1
    return replace(step, since=due if fresh else step.since + lost, due=due)


STOPPING: Mapping[type, Callable[[RunState, Any], None]] = {
    ev.RunPaused: paused,
    ev.RunResumed: resumed,
}
"""What applies which event."""
