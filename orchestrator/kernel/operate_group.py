"""What an operator may do to an atomic group and to its branches.

A branch that has voted belongs to its group: nobody decides on it alone. Only where a decision couldn't be told, or was
not obeyed, may a person say what became of the branch; against the decision that stays on record as heuristic.
"""

from __future__ import annotations

from orchestrator.errors import OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.state import (
    EXECUTING,
    KIND,
    PARKED,
    Phase,
    RunState,
    Status,
    StepState,
    backing_off,
    interruptible,
)
from orchestrator.kernel.two_phase import BRANCHES, IN_GROUP, group_of, is_group, node_of, rests

_ASLEEP = "its group decides on it: retry, skip or resolve the group, or cancel the run"


def is_branch(run: RunState, key: str) -> bool:
    """Whether a step is a branch of a group that is open."""
    step = run.steps[key]
    return step.name in run.program.grouped and step.status in IN_GROUP


def retriable(run: RunState, key: str, at: float) -> bool:
    """Whether a group or an open branch has something to try again now."""
    step = run.steps[key]
    if is_group(run, key):
        return step.status is Status.PARKED or (step.status is Status.VOTING and rests(step, at))
    if step.status is Status.PREPARING:
        return False
    return step.status in PARKED or (step.status in EXECUTING and backing_off(step, at))


def check_edit(run: RunState, key: str) -> None:
    """Raise ``OperationRefusedError``: what was voted on can't be changed."""
    if is_group(run, key):
        raise OperationRefusedError(
            f"{key!r} is an atomic group and has no arguments of its own; its branches have those they were begun with"
        )
    raise OperationRefusedError(
        f"{key!r} is a branch of an atomic group that has voted; its arguments are what it voted on"
    )


def check_results(run: RunState, key: str, result: object) -> None:
    """What an operator gives in the place of a group's results is a mapping by its branches' names."""
    names = [call.name for call in node_of(run, key).branches]
    if result is None or (isinstance(result, dict) and set(result) <= set(names)):
        return
    raise OperationRefusedError(
        f"{key!r} is an atomic group: give the results of its branches as a mapping, by "
        f"{', '.join(names)}"
    )


def skip(run: RunState, key: str) -> None:
    """Raise ``OperationRefusedError``: a branch can't be left out of its group."""
    raise OperationRefusedError(
        f"step {key!r} is a branch of the atomic group {group_of(run, key)!r}: {_ASLEEP}"
    )


def resolve(run: RunState, operation: msg.Resolve) -> list[ev.Event]:
    """Say what became of a branch. Raises ``OperationRefusedError``."""
    key = operation.step
    step = run.steps[key]
    label = f"StepResolved as {'undone' if operation.undone else 'done'}"
    if (step.status, label) not in BRANCHES:
        raise OperationRefusedError(
            f"step {key!r} is {step.status.value} and can't be resolved so: {_why_not(step)}"
        )
    resolved = ev.StepResolved(
        at=operation.at,
        actor=operation.actor,
        request=operation.request,
        step=key,
        undone=operation.undone,
        result=operation.result,
        reason=operation.reason,
    )
    against = operation.undone and KIND[step.status] == "commit"
    if not against or run.phase is not Phase.FORWARD:
        return [resolved]
    if run.pivoted:
        raise OperationRefusedError(
            f"the run is past its pivot, so {key!r} has to be done: see to it, then resolve it as done"
        )
    if not interruptible(run):
        raise OperationRefusedError(
            "the pivot is outstanding and has no undo: wait for its answer, or resolve it"
        )
    started = ev.CompensationStarted(
        at=operation.at,
        actor=operation.actor,
        reason=operation.reason or f"{key} was resolved as rolled back against the decision",
        step=key,
    )
    return [resolved, started]


def forget(run: RunState, operation: msg.Forget) -> list[ev.Event]:
    """Close the file of a heuristic outcome. Raises ``OperationRefusedError``."""
    step = run.steps.get(operation.step)
    if step is None or step.heuristic is None:
        raise OperationRefusedError(
            f"step {operation.step!r} has no heuristic outcome on record, so there is nothing to forget"
        )
    if step.status in IN_GROUP:
        raise OperationRefusedError(
            f"step {operation.step!r} is {step.status.value}: say first what became of it (resolve), then forget it"
        )
    return [
        ev.HeuristicForgotten(
            at=operation.at,
            actor=operation.actor,
            request=operation.request,
            step=operation.step,
            reason=operation.reason,
        )
    ]


def _why_not(step: StepState) -> str:
    if step.status in {Status.HELD, Status.PREPARING, Status.PREPARED, Status.READ_ONLY}:
        return _ASLEEP
    decision = KIND[step.status]
    return f"the decision is {decision}, and it is being told; only where that gets stuck may you say otherwise"
