"""``evolve``: what an event makes of a run.

The facts of the event are applied by the table of legal transitions; then the walk goes on from the
step that moved. An event that doesn't fit raises ``IllegalEventError``: a defect of ours, which
stops that run only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from orchestrator.definition.plan import Call, Wait
from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel import evolve_incident, evolve_waiting
from orchestrator.kernel.budget import budget_set
from orchestrator.kernel.evolve_group import halt_groups, handler_of
from orchestrator.kernel.hold import HOLDING
from orchestrator.kernel.pause import STOPPING
from orchestrator.kernel.program import Program, callback_name
from orchestrator.kernel.state import (
    COMPENSATION_STARTED,
    ENDED,
    EXECUTING,
    FORWARD_ONLY,
    KIND,
    TRANSITIONS,
    Phase,
    RunState,
    Status,
    StepState,
    backing_off,
    interruptible,
    never_sent,
    only_its_reply_settles,
)
from orchestrator.kernel.walk import begin, begin_again, go_on, turn_back


def launched(program: Program, event: ev.RunLaunched) -> RunState:
    """The first state of a run."""
    run = RunState(
        run_id=event.run_id,
        program=program,
        input=event.input,
        key=event.key,
        tags=event.tags,
        trace=event.trace,
        launched_at=event.at,
        length=1,
    )
    begin(run, event.at)
    return run


def evolve(run: RunState, event: ev.Event) -> RunState:
    """The state after ``event``; ``run`` itself is left as it is.

    Raises ``IllegalEventError``.
    """
    apply = _APPLY.get(type(event))
    if run.program.grouped and not isinstance(event, ev.IncidentAcknowledged):
        apply = handler_of(run, event) or apply
    if apply is None:
        raise IllegalEventError(f"run {run.run_id}: {type(event).__name__} can't follow anything")
    draft = replace(
        run,
        steps=run.steps.copy(),
        scopes=run.scopes.copy(),
        branches=run.branches.copy(),
        lets=run.lets.copy(),
        left=run.left.copy(),
        length=run.length + 1,
    )
    if event.request:
        draft.requests = run.requests | {event.request}
    apply(draft, event)
    if isinstance(event, ev.StepParked | ev.HeuristicFound):
        _incident(draft, event)
    if draft.open_incidents:
        evolve_incident.close_passed(draft)
    return draft


def fold(program: Program, events: Iterable[ev.Event]) -> RunState:
    """The state that a run's events make, from the first one on. Raises ``IllegalEventError``."""
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


def _moved(
    run: RunState, key: str, label: str, at: float, of_attempt: int | None = None, **changes: Any
) -> StepState:
    """Take a step along the table of transitions, and do what follows from it."""
    step = _begun(run, key, label)
    status = TRANSITIONS.get((step.status, label))
    if status is None or (run.phase is not Phase.FORWARD and status in FORWARD_ONLY):
        raise _illegal(run, f"{label} for {key!r}, which is {step.status}")
    if of_attempt is not None and of_attempt != step.attempt:
        raise _illegal(run, f"{label} for attempt {of_attempt} of {key!r}, at {step.attempt}")
    moved = run.steps[key] = replace(step, status=status, **changes)
    go_on(run, moved, at)
    return moved


def _begun(run: RunState, key: str, label: str, kind: ev.CommandKind | None = None) -> StepState:
    step = run.steps.get(key)
    if step is None:
        raise _illegal(run, f"{label} for {key!r}, which was never started")
    if kind is not None and KIND.get(step.status) != kind:
        raise _illegal(run, f"{label} ({kind}) for {key!r}, which is {step.status}")
    return step


def _illegal(run: RunState, what: str) -> IllegalEventError:
    return IllegalEventError(f"run {run.run_id}, {run.phase}: {what}")


def _succeeded(run: RunState, event: ev.StepSucceeded) -> None:
    _done(run, event, "StepSucceeded", event.attempt)


def _done(
    run: RunState,
    event: ev.StepSucceeded | ev.StepSkipped | ev.StepResolved,
    label: str,
    of_attempt: int | None = None,
    **changes: Any,
) -> None:
    step = _moved(
        run,
        event.step,
        label,
        event.at,
        of_attempt,
        result=event.result,
        failure=None,
        reason="",
        **changes,
    )
    node = run.program.named[step.name]
    if isinstance(node, Call) and node.pivot and run.phase is Phase.FORWARD:
        run.pivoted = True


def _refused(run: RunState, event: ev.StepRefused) -> None:
    """A no is definite, unless an earlier attempt may have taken effect and no barrier knows."""
    step = _begun(run, event.step, "StepRefused", "do")
    doubt = step.doubt and not run.program.call(step.name).barrier
    _moved(
        run,
        event.step,
        "StepRefused",
        event.at,
        event.attempt,
        failure=event.failure,
        reason=event.failure.message,
        doubt=doubt,
        reached=doubt,
        refused=not doubt,
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
    label = type(event).__name__
    step = _begun(run, event.step, label, event.kind)
    changes: dict[str, Any] = {"failure": failure, "reason": reason}
    if event.kind == "do":
        doubtful = doubtful or not run.program.call(step.name).barrier
        changes |= {"doubt": doubtful or step.doubt, "reached": True, "refused": False}
    if event.retry_at is not None:
        label += ", to be retried"
        changes |= {"attempt": event.attempt + 1, "due": event.retry_at}
    _moved(run, event.step, label, event.at, event.attempt, **changes)


def _undone(run: RunState, event: ev.StepUndone) -> None:
    _moved(run, event.step, "StepUndone", event.at, event.attempt, failure=None, reason="")


def _parked(run: RunState, event: ev.StepParked) -> None:
    step = _begun(run, event.step, "StepParked", event.kind)
    run.broken = tuple(key for key in run.broken if key != event.step)
    reached = step.reached or step.status is Status.RUNNING
    changes: dict[str, Any] = {"reason": event.reason, "reached": reached}
    if event.failure is not None:
        changes["failure"] = event.failure
    _moved(run, event.step, "StepParked", event.at, **changes)


def _incident(run: RunState, event: ev.StepParked | ev.HeuristicFound) -> None:
    evolve_incident.opened(run, event)
    if event.kind == "callback":
        return
    run.incidents += 1
    _call_back(run, "on_stuck", event.at, event.reason, suffix=f"#{run.incidents}")


def _sleep_ended(run: RunState, event: ev.SleepEnded) -> None:
    _moved(run, event.step, "SleepEnded", event.at)


def _wait_expired(run: RunState, event: ev.WaitExpired) -> None:
    reason = "the signal didn't come in time"
    _moved(run, event.step, "WaitExpired", event.at, reason=reason)


def _signal(run: RunState, event: ev.SignalReceived) -> None:
    if run.phase is not Phase.FORWARD:
        raise _illegal(run, f"signal {event.name!r}, which nothing can wait for")
    if event.signal_id:
        run.signal_ids = run.signal_ids | {event.signal_id}
    for key, step in run.steps.items():
        node = run.program.named[step.name]
        if step.status is Status.WAITING and isinstance(node, Wait) and node.signal == event.name:
            _moved(run, key, "SignalReceived", event.at, result=event.data)
            return
    run.signals = (*run.signals, (event.name, event.data))


def _compensation_started(run: RunState, event: ev.CompensationStarted) -> None:
    if not interruptible(run):
        raise _illegal(run, "can't compensate past the pivot, nor twice")
    for key, step in run.steps.items():
        if step.status in COMPENSATION_STARTED:
            run.steps[key] = _halted(run, key, step, event.at)
    run.phase = Phase.COMPENSATING
    run.reason = event.reason
    run.cause = event.failure
    run.broken = ()
    if run.program.grouped:
        halt_groups(run, event.at, event.reason)
    turn_back(run, event.at)


def _halted(run: RunState, key: str, step: StepState, at: float) -> StepState:
    """What the start of compensation makes of a step that isn't finished."""
    if step.status is Status.RUNNING and not never_sent(run, key):
        if only_its_reply_settles(run, step, at):
            return step
        return replace(step, status=Status.FAILED, doubt=True, reached=True)
    return replace(step, status=Status.FAILED if step.reached else Status.ABANDONED)


def _completed(run: RunState, event: ev.RunCompleted) -> None:
    if run.phase is not Phase.FORWARD or not run.finished:
        raise _illegal(run, "completed with steps left")
    run.phase = Phase.COMPLETED
    run.result = event.result
    _ended(run, event.at, "on_completed")


def _compensated(run: RunState, event: ev.RunCompensated) -> None:
    if run.phase is not Phase.COMPENSATING or not run.finished:
        raise _illegal(run, "compensated with effects left")
    run.phase = Phase.COMPENSATED
    _ended(run, event.at, "on_compensated")


def _ended(run: RunState, at: float, callback: str) -> None:
    run.ended_at = at
    run.paused = None
    run.signals = ()
    _call_back(run, callback, at, run.reason)


def _call_back(run: RunState, event: str, at: float, reason: str, suffix: str = "") -> None:
    for position in range(len(run.program.plan.callbacks.get(event, ()))):
        name = callback_name(event, position)
        run.steps[name + suffix] = StepState(
            name=name,
            index=(),
            status=Status.CALLING,
            since=at,
            due=at,
            args={"ended": _how(run, reason)},
        )


def _how(run: RunState, reason: str) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "saga": run.program.plan.saga,
        "status": run.phase.value if run.phase in ENDED else "stuck",
        "input": run.input,
        "result": run.result,
        "reason": reason,
    }


def _delivered(run: RunState, event: ev.CallbackDelivered) -> None:
    label = "CallbackDelivered"
    _moved(run, event.step, label, event.at, event.attempt, failure=None, reason="")


def _retried(run: RunState, event: ev.StepRetried) -> None:
    step = _begun(run, event.step, "StepRetried", event.kind)
    if step.status in EXECUTING and not backing_off(step, event.at):
        raise _illegal(run, f"retry of {event.step!r}, which is outstanding")
    if _starts_anew(run, step, event):
        if step.status is not Status.PARKED:
            raise _illegal(run, f"retry of {event.step!r}, which is {step.status}")
        del run.steps[event.step]
        begin_again(run, step.name, step.index, event.at)
        return
    _moved(
        run,
        event.step,
        "StepRetried",
        event.at,
        attempt=step.attempt + 1,
        base=step.attempt,
        limit=None,
        since=event.at,
        due=event.at,
        round=step.round + step.refused if event.kind == "do" else step.round,
        args=step.args if event.args is None else {**step.args, **event.args},
        failure=None,
        reason="",
        refused=False,
    )


def _starts_anew(run: RunState, step: StepState, event: ev.StepRetried) -> bool:
    """Whether the step has no command to send again: it is no call, or its arguments had no value."""
    if not isinstance(run.program.named[step.name], Call):
        return True
    return step.attempt == 0 and event.args is None and event.kind == "do"


def _skipped(run: RunState, event: ev.StepSkipped) -> None:
    step = _begun(run, event.step, "StepSkipped")
    reached = step.reached or step.status is Status.RUNNING
    _done(run, event, "StepSkipped", reached=reached)


def _resolved(run: RunState, event: ev.StepResolved) -> None:
    if event.undone:
        label = "StepResolved as undone"
        _moved(run, event.step, label, event.at, failure=None, reason=event.reason)
    else:
        _done(run, event, "StepResolved as done")


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
    ev.IncidentAcknowledged: evolve_incident.acknowledged,
    ev.BudgetSet: budget_set,
    **STOPPING,
    **HOLDING,
    **evolve_waiting.APPLY,
}
