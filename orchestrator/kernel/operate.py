"""What an operator's action means for a run.

No action skips compensation silently: a step that may have taken effect stays to be undone,
whatever is said of its result.
"""

from __future__ import annotations

from orchestrator.definition.plan import Atomic, Each, instance_key
from orchestrator.errors import ExpressionError, OperationRefusedError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel import operate_group
from orchestrator.kernel.budget import budget
from orchestrator.kernel.incidents import incidents
from orchestrator.kernel.pause import pause_or_resume
from orchestrator.kernel.state import (
    ENDED,
    EXECUTING,
    KIND,
    PARKED,
    Phase,
    RunState,
    Status,
    StepState,
    backing_off,
    interruptible,
    only_its_reply_settles,
)
from orchestrator.kernel.two_phase import is_group
from orchestrator.kernel.walk import checked_items

_SKIPPABLE = frozenset({Status.RUNNING, Status.WAITING, Status.SLEEPING, Status.PARKED})

_PIVOT_OUTSTANDING = "the pivot is outstanding and has no undo: wait for its answer, or resolve it"


def operate(run: RunState, operation: msg.Operation) -> list[ev.Event]:
    """The events of an operator's action; ``OperationRefused`` if the state doesn't allow it, none if
    it was asked for before.
    """
    if operation.request in run.requests:
        return []
    try:
        return possible(run, operation)
    except OperationRefusedError as error:
        return [refusal(operation, str(error))]


def refusal(operation: msg.Asked, why: str) -> ev.OperationRefused:
    """The event of an operation that can't be carried out."""
    return ev.OperationRefused(
        at=operation.at,
        actor=operation.actor,
        request=operation.request,
        operation=msg.operation_name(operation),
        why=why,
    )


def possible(run: RunState, operation: msg.Operation) -> list[ev.Event]:
    """As ``operate``, but raises ``OperationRefusedError``: what a client asks before it sends."""
    if operation.expects is not None and operation.expects != run.length:
        raise OperationRefusedError(
            f"the run has changed since: it has {run.length} events, not {operation.expects}"
        )
    match operation:
        case msg.Retry():
            return _retry(run, operation)
        case msg.Skip():
            return _skip(run, operation)
        case msg.Resolve():
            return _resolve(run, operation)
        case msg.Compensate() | msg.Cancel():
            told = (
                "cancelled" if isinstance(operation, msg.Cancel) else "compensated by an operator"
            )
            return _compensate(run, operation, operation.reason or told)
        case msg.Forget():
            return operate_group.forget(run, operation)
        case msg.Acknowledge():
            return _acknowledge(run, operation)
        case msg.Pause() | msg.Resume():
            return pause_or_resume(run, operation)
        case msg.Budget():
            return budget(run, operation, _step(run, operation.step))


def _retry(run: RunState, operation: msg.Retry) -> list[ev.Event]:
    if operation.step is not None:
        _step(run, operation.step)
        keys = [operation.step] if _retriable(run, operation.step, operation.at) else []
    else:
        keys = [key for key in run.steps if _retriable(run, key, operation.at)]
    if not keys:
        what = f"step {operation.step!r}" if operation.step else "this run"
        raise OperationRefusedError(f"{what} has nothing parked or waiting for a retry")
    if operation.args is not None:
        _check_edit(run, keys, operation.args)
    return [
        ev.StepRetried(
            at=operation.at,
            actor=operation.actor,
            request=operation.request,
            step=key,
            kind=KIND[run.steps[key].status],
            args=operation.args,
            reason=operation.reason,
        )
        for key in keys
    ]


def _retriable(run: RunState, key: str, at: float) -> bool:
    step = run.steps[key]
    if _is_of_group(run, key):
        return operate_group.retriable(run, key, at)
    if step.status is Status.RUNNING and run.phase is not Phase.FORWARD:
        return False
    return step.status in PARKED or (step.status in EXECUTING and backing_off(step, at))


def _is_of_group(run: RunState, key: str) -> bool:
    if not run.program.grouped:
        return False
    return is_group(run, key) or operate_group.is_branch(run, key)


def _check_edit(run: RunState, keys: list[str], args: dict[str, object]) -> None:
    if len(keys) != 1:
        raise OperationRefusedError(
            f"name the step to edit with --step; these could be retried: {', '.join(keys)}"
        )
    key, step = keys[0], run.steps[keys[0]]
    if _is_of_group(run, key):
        operate_group.check_edit(run, key)
    if KIND[step.status] == "undo":
        raise OperationRefusedError(
            f"{key!r} is to be undone; its arguments are what it was done with"
        )
    if KIND[step.status] == "callback":
        raise OperationRefusedError(f"{key!r} is a callback; it has no arguments to edit")
    known = set(getattr(run.program.named[step.name], "args", {}))
    unknown = sorted(set(args) - known)
    if unknown:
        has = ", ".join(sorted(known)) or "none"
        raise OperationRefusedError(f"{key!r} has no argument {', '.join(unknown)}; it has {has}")
    missing = sorted(known - set(step.args) - set(args))
    if missing:
        raise OperationRefusedError(
            f"{key!r} has no value yet for {', '.join(missing)}: give it too"
        )


def _skip(run: RunState, operation: msg.Skip) -> list[ev.Event]:
    step = _step(run, operation.step)
    if run.phase is Phase.COMPENSATING:
        raise OperationRefusedError(
            "the run is compensating: an undo can't be skipped, only resolved as undone"
        )
    if run.phase in ENDED:
        raise OperationRefusedError(f"the run is {run.phase}: nothing of it can be skipped")
    if run.program.grouped and operate_group.is_branch(run, operation.step):
        operate_group.skip(run, operation.step)
    if step.status not in _SKIPPABLE:
        raise OperationRefusedError(f"step {operation.step!r} is {step.status.value}")
    if step.status is Status.RUNNING and only_its_reply_settles(run, step, operation.at):
        raise OperationRefusedError(
            f"step {operation.step!r} has an attempt outstanding, which could take effect after its "
            "undo: wait for its answer or its deadline, or resolve it"
        )
    _check_given(run, step, operation.result)
    return [
        ev.StepSkipped(
            at=operation.at,
            actor=operation.actor,
            request=operation.request,
            step=operation.step,
            result=operation.result,
            reason=operation.reason,
        )
    ]


def _resolve(run: RunState, operation: msg.Resolve) -> list[ev.Event]:
    step = _step(run, operation.step)
    if run.program.grouped and operate_group.is_branch(run, operation.step):
        return operate_group.resolve(run, operation)
    forward = {Status.PARKED} if operation.undone else {Status.PARKED, Status.RUNNING}
    backward = {Status.UNDO_PARKED, Status.UNDOING} if operation.undone else set[Status]()
    heard = set[Status]() if operation.undone else {Status.CALL_PARKED}
    if step.status not in forward | backward | heard:
        as_what = "undone" if operation.undone else "done"
        raise OperationRefusedError(
            f"step {operation.step!r} is {step.status.value} and can't be resolved as {as_what}"
        )
    if operation.undone and step.status is Status.PARKED:
        if run.pivoted:
            raise OperationRefusedError(
                f"the run is past its pivot, so {operation.step!r} has to be done: retry, skip or "
                "resolve it with a result"
            )
        if not interruptible(run, but=operation.step):
            raise OperationRefusedError(_PIVOT_OUTSTANDING)
    if not operation.undone:
        _check_given(run, step, operation.result)
    resolved = ev.StepResolved(
        at=operation.at,
        actor=operation.actor,
        request=operation.request,
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
                request=operation.request,
                reason=reason,
                step=operation.step,
                operation="resolve",
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
        raise OperationRefusedError(_PIVOT_OUTSTANDING)
    return [
        ev.CompensationStarted(
            at=operation.at,
            actor=operation.actor,
            request=operation.request,
            reason=reason,
            operation=msg.operation_name(operation),
        )
    ]


def _acknowledge(run: RunState, operation: msg.Acknowledge) -> list[ev.Event]:
    if operation.step is not None:
        _step(run, operation.step)
    asked = [
        one.step
        for one in incidents(run)
        if operation.step in {None, one.step} and operation.cluster in {None, one.cluster}
    ]
    keys = [key for key in asked if run.open_incidents[key].acked_at is None]
    if not keys:
        what = f"step {operation.step!r}" if operation.step else "the run"
        by = ", ".join(sorted({run.open_incidents[key].acked_by for key in asked}))
        why = f"was acknowledged by {by or 'somebody'} before" if asked else "has no open incident"
        raise OperationRefusedError(f"{what} {why}")
    return [
        ev.IncidentAcknowledged(
            at=operation.at,
            actor=operation.actor,
            request=operation.request,
            step=key,
            reason=operation.reason,
        )
        for key in keys
    ]


def _step(run: RunState, key: str) -> StepState:
    step = run.steps.get(key)
    if step is None:
        begun = ", ".join(run.steps) or "none"
        raise OperationRefusedError(f"the run has no step {key!r} begun; it has {begun}")
    return step


def _check_given(run: RunState, step: StepState, value: object) -> None:
    """What an operator gives in the place of a fan-out's items has to be some; of a group's results, by name."""
    if isinstance(run.program.named[step.name], Atomic):
        operate_group.check_results(run, instance_key(step.name, step.index), value)
    if isinstance(run.program.named[step.name], Each):
        try:
            checked_items(value)
        except ExpressionError as error:
            raise OperationRefusedError(f"{step.name!r}: {error}") from error
