"""``evolve``: what an event makes of a run.

The facts of the event are applied by the table of legal transitions; then the walks bring the
outstanding work up to date. An event that doesn't fit raises ``IllegalEventError``: a defect of
ours, which stops that run only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from orchestrator.definition.plan import Call, Wait
from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel.program import Program, callback_name
from orchestrator.kernel.state import (
    COMPENSATION_STARTED,
    ENDED,
    KIND,
    TRANSITIONS,
    Phase,
    RunState,
    Status,
    StepState,
)
from orchestrator.kernel.walk import settle


def launched(program: Program, event: ev.RunLaunched) -> RunState:
    """The first state of a run."""
    run = RunState(
        run_id=event.run_id,
        program=program,
        input=event.input,
        key=event.key,
        tags=event.tags,
        launched_at=event.at,
        length=1,
    )
    settle(run, event.at)
    return run


def evolve(run: RunState, event: ev.Event) -> RunState:
    """The state after ``event``; ``run`` itself is left as it is."""
    apply = _APPLY.get(type(event))
    if apply is None:
        raise IllegalEventError(f"run {run.run_id}: {type(event).__name__} can't follow anything")
    draft = copy.copy(run)
    draft.steps = dict(run.steps)
    draft.broken = ()
    draft.length = run.length + 1
    apply(draft, event)
    settle(draft, event.at)
    return draft


def fold(program: Program, events: Iterable[ev.Event]) -> RunState:
    """The state that a run's events make, from the first one on."""
    run: RunState | None = None
    for event in events:
        if run is not None:
            run = evolve(run, event)
        elif isinstance(event, ev.RunLaunched):
            run = launched(program, event)
        else:
            raise IllegalEventError(f"a run begins with RunLaunched, not {type(event).__name__}")
    if run is None:
        raise IllegalEventError("a run without events")
    return run


def _moved(run: RunState, key: str, label: str, **changes: Any) -> StepState:
    step = run.steps.get(key)
    if step is None:
        raise IllegalEventError(f"run {run.run_id}: {label} for {key!r}, which was never started")
    status = TRANSITIONS.get((step.status, label))
    if status is None:
        raise IllegalEventError(
            f"run {run.run_id}: {label} for {key!r}, which is {step.status.value}"
        )
    moved = replace(step, status=status, **changes)
    run.steps[key] = moved
    return moved


def _check(step: StepState, kind: str, run: RunState, key: str) -> None:
    if KIND.get(step.status) != kind:
        raise IllegalEventError(
            f"run {run.run_id}: {kind!r} event for {key!r}, {step.status.value}"
        )


def _succeeded(run: RunState, event: ev.StepSucceeded) -> None:
    _done(run, event.step, "StepSucceeded", event.result)


def _done(run: RunState, key: str, label: str, result: Any) -> None:
    step = _moved(run, key, label, result=result, failure=None, reason="")
    node = run.program.named[step.name]
    if isinstance(node, Call) and node.pivot and run.phase is Phase.FORWARD:
        run.pivoted = True


def _refused(run: RunState, event: ev.StepRefused) -> None:
    _moved(
        run,
        event.step,
        "StepRefused",
        failure=event.failure,
        reason=event.failure.message,
    )


def _failed(run: RunState, event: ev.StepFailed) -> None:
    _attempted(run, event, event.failure, event.failure.message, doubtful=False)


def _in_doubt(run: RunState, event: ev.StepInDoubt) -> None:
    _attempted(run, event, None, event.reason, doubtful=True)


def _attempted(
    run: RunState,
    event: ev.StepFailed | ev.StepInDoubt,
    failure: ev.Failure | None,
    reason: str,
    *,
    doubtful: bool,
) -> None:
    step = run.steps.get(event.step)
    if step is not None:
        _check(step, event.kind, run, event.step)
        node = run.program.named[step.name]
        doubtful = doubtful or not (isinstance(node, Call) and node.barrier)
    changes: dict[str, Any] = {"failure": failure, "reason": reason}
    if event.kind == "do":
        changes["doubt"] = doubtful or (step is not None and step.doubt)
    label = type(event).__name__
    if event.retry_at is not None:
        label += ", to be retried"
        changes |= {"attempt": event.attempt + 1, "due": event.retry_at}
    _moved(run, event.step, label, **changes)


def _undone(run: RunState, event: ev.StepUndone) -> None:
    _moved(run, event.step, "StepUndone", failure=None, reason="")


def _parked(run: RunState, event: ev.StepParked) -> None:
    step = run.steps.get(event.step)
    if step is not None:
        _check(step, event.kind, run, event.step)
    changes: dict[str, Any] = {"reason": event.reason}
    if event.failure is not None:
        changes["failure"] = event.failure
    _moved(run, event.step, "StepParked", **changes)
    if event.kind != "callback":
        run.incidents += 1
        _call_back(run, "on_stuck", event.at, suffix=f"#{run.incidents}")


def _sleep_ended(run: RunState, event: ev.SleepEnded) -> None:
    _moved(run, event.step, "SleepEnded")


def _wait_expired(run: RunState, event: ev.WaitExpired) -> None:
    _moved(run, event.step, "WaitExpired", reason="the signal didn't come in time")


def _signal(run: RunState, event: ev.SignalReceived) -> None:
    if event.signal_id:
        run.signal_ids = run.signal_ids | {event.signal_id}
    for key, step in run.steps.items():
        node = run.program.named[step.name]
        if step.status is Status.WAITING and isinstance(node, Wait) and node.signal == event.name:
            _moved(run, key, "SignalReceived", result=event.data)
            return
    run.signals = (*run.signals, (event.name, event.data))


def _compensation_started(run: RunState, event: ev.CompensationStarted) -> None:
    if run.phase is not Phase.FORWARD or run.pivoted:
        raise IllegalEventError(f"run {run.run_id}: can't compensate past the pivot or twice")
    run.phase = Phase.COMPENSATING
    run.reason = event.reason
    run.cause = event.failure
    for key, step in run.steps.items():
        status = COMPENSATION_STARTED.get(step.status)
        if status is None or (
            step.status is Status.RUNNING and _only_its_reply_settles(run, step, event.at)
        ):
            continue
        run.steps[key] = replace(step, status=_never_ran(run, step, status), doubt=True)


def _only_its_reply_settles(run: RunState, step: StepState, at: float) -> bool:
    """Without a barrier, an undo beside its running action could come first and leave the
    effect behind.
    """
    node = run.program.named[step.name]
    return isinstance(node, Call) and not node.barrier and step.due <= at


def _never_ran(run: RunState, step: StepState, status: Status) -> Status:
    if isinstance(run.program.named[step.name], Call) and step.attempt > 0:
        return status
    return Status.ABANDONED


def _completed(run: RunState, event: ev.RunCompleted) -> None:
    if run.phase is not Phase.FORWARD or not run.finished:
        raise IllegalEventError(f"run {run.run_id}: completed with steps left")
    run.phase = Phase.COMPLETED
    run.result = event.result
    _ended(run, event.at, "on_completed")


def _compensated(run: RunState, event: ev.RunCompensated) -> None:
    if run.phase is not Phase.COMPENSATING or not run.finished:
        raise IllegalEventError(f"run {run.run_id}: compensated with effects left")
    run.phase = Phase.COMPENSATED
    _ended(run, event.at, "on_compensated")


def _ended(run: RunState, at: float, callback: str) -> None:
    run.ended_at = at
    run.signals = ()
    _call_back(run, callback, at)


def _call_back(run: RunState, event: str, at: float, suffix: str = "") -> None:
    for position in range(len(run.program.plan.callbacks.get(event, ()))):
        name = callback_name(event, position)
        run.steps[name + suffix] = StepState(
            name=name,
            index=(),
            status=Status.CALLING,
            since=at,
            due=at,
            args={"ended": _how(run)},
        )


def _how(run: RunState) -> dict[str, Any]:
    stuck = run.phase not in ENDED
    return {
        "run_id": run.run_id,
        "saga": run.program.plan.saga,
        "status": "stuck" if stuck else run.phase.value,
        "input": run.input,
        "result": run.result,
        "reason": next((run.steps[key].reason for key in run.parked), "") if stuck else run.reason,
    }


def _delivered(run: RunState, event: ev.CallbackDelivered) -> None:
    _moved(run, event.step, "CallbackDelivered", failure=None, reason="")


def _retried(run: RunState, event: ev.StepRetried) -> None:
    step = run.steps.get(event.step)
    if step is None or KIND.get(step.status) != event.kind:
        raise IllegalEventError(f"run {run.run_id}: retry of {event.step!r}, which can't be")
    node = run.program.named[step.name]
    if not isinstance(node, Call) or (
        step.attempt == 0 and event.args is None and event.kind == "do"
    ):
        del run.steps[event.step]
        return
    settled_no = step.failure is not None and _is_refusal(step.failure)
    _moved(
        run,
        event.step,
        "StepRetried",
        attempt=step.attempt + 1,
        base=step.attempt,
        since=event.at,
        due=event.at,
        round=step.round + 1 if settled_no and event.kind == "do" else step.round,
        args=step.args if event.args is None else {**step.args, **event.args},
        failure=None,
        reason="",
    )


def _is_refusal(failure: ev.Failure) -> bool:
    return "orchestrator.errors.Refused" in failure.kinds


def _skipped(run: RunState, event: ev.StepSkipped) -> None:
    _done(run, event.step, "StepSkipped", event.result)


def _resolved(run: RunState, event: ev.StepResolved) -> None:
    if event.undone:
        _moved(run, event.step, "StepResolved as undone", failure=None, reason=event.reason)
    else:
        _done(run, event.step, "StepResolved as done", event.result)


def _nothing(run: RunState, event: ev.OperationRefused) -> None:
    """A refused operation is kept for the record alone."""


_APPLY: dict[type, Callable[[RunState, Any], None]] = {
    ev.StepSucceeded: _succeeded,
    ev.StepRefused: _refused,
    ev.StepFailed: _failed,
    ev.StepInDoubt: _in_doubt,
    ev.StepUndone: _undone,
    ev.StepParked: _parked,
    ev.SleepEnded: _sleep_ended,
    ev.WaitExpired: _wait_expired,
    ev.SignalReceived: _signal,
    ev.CompensationStarted: _compensation_started,
    ev.RunCompleted: _completed,
    ev.RunCompensated: _compensated,
    ev.CallbackDelivered: _delivered,
    ev.StepRetried: _retried,
    ev.StepSkipped: _skipped,
    ev.StepResolved: _resolved,
    ev.OperationRefused: _nothing,
}
