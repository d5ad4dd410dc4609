"""What an operator's action means for a run.

No action skips compensation silently: a step that may have taken effect stays to be undone,
whatever is said of its result.
"""

from __future__ import annotations

from orchestrator.errors import OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.pending import interruptible
from orchestrator.kernel.state import (
    ENDED,
    KIND,
    PARKED,
    Phase,
    RunState,
    Status,
    StepState,
)

_BACKING_OFF = frozenset({Status.RUNNING, Status.UNDOING, Status.CALLING})
_SKIPPABLE = frozenset({Status.RUNNING, Status.WAITING, Status.SLEEPING, Status.PARKED})


def operate(run: RunState, operation: msg.Operation) -> list[ev.Event]:
    """The events of an operator's action; ``OperationRefused`` if the state doesn't allow it."""
    try:
        return possible(run, operation)
    except OperationRefusedError as error:
        name = type(operation).__name__.lower()
        return [
            ev.OperationRefused(
                at=operation.at, actor=operation.actor, operation=name, why=str(error)
            )
        ]


def possible(run: RunState, operation: msg.Operation) -> list[ev.Event]:
    """As ``operate``, but raises ``OperationRefusedError``: what a client asks before it sends."""
    match operation:
        case msg.Retry():
            return _retry(run, operation)
        case msg.Skip():
            return _skip(run, operation)
        case msg.Resolve():
            return _resolve(run, operation)
        case msg.Compensate():
            return _compensate(run, operation, operation.reason or "compensated by an operator")
        case msg.Cancel():
            return _compensate(run, operation, operation.reason or "cancelled")


def _retry(run: RunState, operation: msg.Retry) -> list[ev.Event]:
    if operation.step is not None:
        keys = [operation.step] if _retriable(_step(run, operation.step), operation.at) else []
    else:
        keys = [key for key, step in run.steps.items() if _retriable(step, operation.at)]
    if not keys:
        what = f"step {operation.step!r}" if operation.step else "this run"
        raise OperationRefusedError(f"{what} has nothing parked or waiting for a retry")
    if operation.args is not None:
        _check_edit(run, keys, operation.args)
    return [
        ev.StepRetried(
            at=operation.at,
            actor=operation.actor,
            step=key,
            kind=KIND[run.steps[key].status],
            args=operation.args,
            reason=operation.reason,
        )
        for key in keys
    ]


def _retriable(step: StepState, at: float) -> bool:
    return step.status in PARKED or (step.status in _BACKING_OFF and step.due > at)


def _check_edit(run: RunState, keys: list[str], args: dict[str, object]) -> None:
    if len(keys) != 1:
        raise OperationRefusedError(
            f"name the step to edit with --step; these could be retried: {', '.join(keys)}"
        )
    step = run.steps[keys[0]]
    if KIND[step.status] != "do":
        raise OperationRefusedError(
            f"{keys[0]!r} is to be undone; its arguments are what it was done with"
        )
    call = run.program.named[step.name]
    known = set(getattr(call, "args", {}))
    unknown = sorted(set(args) - known)
    if unknown:
        raise OperationRefusedError(
            f"{keys[0]!r} has no argument {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'none'}"
        )


def _skip(run: RunState, operation: msg.Skip) -> list[ev.Event]:
    step = _step(run, operation.step)
    if run.phase is not Phase.FORWARD:
        raise OperationRefusedError(
            f"the run is {run.phase.value}: an undo can't be skipped, only resolved as undone"
        )
    if step.status not in _SKIPPABLE:
        raise OperationRefusedError(f"step {operation.step!r} is {step.status.value}")
    return [
        ev.StepSkipped(
            at=operation.at,
            actor=operation.actor,
            step=operation.step,
            result=operation.result,
            reason=operation.reason,
        )
    ]


def _resolve(run: RunState, operation: msg.Resolve) -> list[ev.Event]:
    step = _step(run, operation.step)
    forward = {Status.PARKED} if operation.undone else {Status.PARKED, Status.RUNNING}
    backward = {Status.UNDO_PARKED, Status.UNDOING} if operation.undone else set[Status]()
    heard = set[Status]() if operation.undone else {Status.CALL_PARKED}
    if step.status not in forward | backward | heard:
        as_what = "undone" if operation.undone else "done"
        raise OperationRefusedError(
            f"step {operation.step!r} is {step.status.value} and can't be resolved as {as_what}"
        )
    if operation.undone and step.status is Status.PARKED and run.pivoted:
        raise OperationRefusedError(
            f"the run is past its pivot, so {operation.step!r} has to be done: retry, skip or "
            "resolve it with a result"
        )
    resolved = ev.StepResolved(
        at=operation.at,
        actor=operation.actor,
        step=operation.step,
        undone=operation.undone,
        result=operation.result,
        reason=operation.reason,
    )
    if operation.undone and step.status is Status.PARKED:
        reason = operation.reason or f"{operation.step} was resolved as without effect"
        return [
            resolved,
            ev.CompensationStarted(
                at=operation.at,
                actor=operation.actor,
                reason=reason,
                step=operation.step,
            ),
        ]
    return [resolved]


def _compensate(
    run: RunState, operation: msg.Compensate | msg.Cancel, reason: str
) -> list[ev.Event]:
    if run.phase in ENDED:
        raise OperationRefusedError(f"the run is {run.phase.value}")
    if run.phase is Phase.COMPENSATING:
        raise OperationRefusedError("the run is compensating already")
    if run.pivoted:
        raise OperationRefusedError(
            "the run is past its pivot and can only go forward: retry, skip or resolve its steps"
        )
    if not interruptible(run):
        raise OperationRefusedError(
            "the pivot is outstanding and has no undo: wait for its answer, or resolve it"
        )
    return [ev.CompensationStarted(at=operation.at, actor=operation.actor, reason=reason)]


def _step(run: RunState, key: str) -> StepState:
    step = run.steps.get(key)
    if step is None:
        begun = ", ".join(run.steps) or "none"
        raise OperationRefusedError(f"the run has no step {key!r} begun; it has {begun}")
    return step
