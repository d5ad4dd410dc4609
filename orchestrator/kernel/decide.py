"""``decide``: what a message means for a run, as events.

Late, duplicate and foreign messages give no events. An operator's action that isn't possible any
more gives ``OperationRefused``, so that it is on record too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.definition.plan import Call, RetryPolicy
from orchestrator.kernel import decide_group
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.backoff import ALWAYS_FINAL, delay_s
from orchestrator.kernel.evolve import evolve, launched
from orchestrator.kernel.hold import hold, release
from orchestrator.kernel.operate import operate
from orchestrator.kernel.pause import clock_stands, goes_on, lost_s
from orchestrator.kernel.program import RESULT, Program
from orchestrator.kernel.state import (
    ENDED,
    EXECUTING,
    KIND,
    Phase,
    RunState,
    Status,
    StepState,
    interruptible,
)

_EARLIER_ATTEMPT = "; an earlier attempt may have taken effect, and nothing can undo that"
"""Why a step that was refused isn't simply given up."""
_TWO_PHASE = frozenset({"prepare", "commit", "abort"})


class Turn(NamedTuple):
    """What a message led to."""

    events: list[ev.Event]
    run: RunState


def decide(run: RunState, message: msg.Message) -> list[ev.Event]:
    """The events that ``message`` causes; none if it matches nothing outstanding."""
    return react(run, message).events


def launch(program: Program, message: msg.Launch) -> Turn:
    """The first events of a run."""
    event = ev.RunLaunched(
        at=message.at,
        actor=message.actor,
        run_id=message.run_id,
        saga=message.saga,
        version=message.version,
        plan=message.plan,
        input=message.input,
        key=message.key,
        tags=message.tags,
        trace=message.trace,
    )
    events: list[ev.Event] = [event]
    return Turn(events, _conclude(launched(program, event), events, message.at))


def react(run: RunState, message: msg.Message) -> Turn:
    """``decide`` together with the state that its events make."""
    return carried_out(run, _meaning(run, message), message.at)


def carried_out(run: RunState, meant: Sequence[ev.Event], at: float) -> Turn:
    """These events with all that follow from them at once."""
    events = list(meant)
    for event in events:
        run = evolve(run, event)
    if events:
        run = _conclude(run, events, at)
    return Turn(events, run)


def _meaning(run: RunState, message: msg.Message) -> list[ev.Event]:
    match message:
        case msg.Reply():
            return _reply(run, message)
        case msg.Expired():
            step = _outstanding(run, message)
            return [] if step is None else [_doubt(run, step, message, _silence(run, step))]
        case msg.Recovered():
            return decide_group.recovered(run, message.at)
        case msg.TimerFired():
            return _timer(run, message)
        case msg.Signal():
            return _signal(run, message)
        case msg.Hold():
            return hold(run, message)
        case msg.Release():
            return release(run, message)
        case msg.Launch() | msg.Noted():
            return []
        case _:
            return operate(run, message)


def _outstanding(run: RunState, message: msg.Reply | msg.Expired) -> StepState | None:
    step = run.steps.get(message.step)
    if step is None or step.status not in EXECUTING:
        return None
    if isinstance(message, msg.Expired) and not goes_on(run, message.step):
        return None
    if KIND[step.status] != message.kind or step.attempt != message.attempt:
        return None
    return step


def _reply(run: RunState, reply: msg.Reply) -> list[ev.Event]:
    step = _outstanding(run, reply)
    if step is None:
        return []
    if reply.kind in _TWO_PHASE:
        return [decide_group.answered(run, step, reply, _missing(run, step, reply))]
    match reply.outcome:
        case "succeeded":
            return [_success(reply)]
        case "lost":
            return [_doubt(run, step, reply, "the worker was lost")]
        case "rejected":
            why = "the participant rejected it" if reply.failure is None else reply.failure.message
            return [_doubt(run, step, reply, why)]
        case "unregistered":
            return [_unregistered(run, step, reply)]
        case _:
            failure = reply.failure or ev.Failure("Error", f"it {reply.outcome} without a reason")
            if reply.outcome == "refused" and reply.kind == "do":
                return [
                    ev.StepRefused(
                        at=reply.at, step=reply.step, attempt=reply.attempt, failure=failure
                    )
                ]
            return [
                ev.StepFailed(
                    at=reply.at,
                    step=reply.step,
                    kind=reply.kind,
                    attempt=reply.attempt,
                    failure=failure,
                    retry_at=_retry_at(run, step, reply, failure),
                )
            ]


def _success(reply: msg.Reply) -> ev.Event:
    match reply.kind:
        case "do":
            return ev.StepSucceeded(
                at=reply.at,
                step=reply.step,
                attempt=reply.attempt,
                result=reply.result,
                took_s=reply.took_s,
            )
        case "undo":
            return ev.StepUndone(at=reply.at, step=reply.step, attempt=reply.attempt)
        case _:
            return ev.CallbackDelivered(at=reply.at, step=reply.step, attempt=reply.attempt)


def _silence(run: RunState, step: StepState) -> str:
    call = run.program.call(step.name)
    return (
        f"no answer before the deadline from {call.service}.{call.participant} (queue {call.queue})"
    )


def _doubt(
    run: RunState, step: StepState, message: msg.Reply | msg.Expired, reason: str
) -> ev.Event:
    if message.kind in _TWO_PHASE:
        return decide_group.in_doubt(run, step, message, reason)
    return ev.StepInDoubt(
        at=message.at,
        step=message.step,
        kind=message.kind,
        attempt=message.attempt,
        reason=reason,
        retry_at=_retry_at(run, step, message, None),
    )


_WHAT: dict[ev.CommandKind, str] = {"undo": "undo of", "callback": "callback"}


def _missing(run: RunState, step: StepState, reply: msg.Reply) -> str:
    call = run.program.call(step.name)
    what = _WHAT.get(reply.kind, "participant")
    return (
        f"no worker of service {call.service!r} has the {what} {call.service}.{call.participant} "
        f"(queue {call.queue}): deploy it, then retry"
    )


def _unregistered(run: RunState, step: StepState, reply: msg.Reply) -> ev.Event:
    reason = _missing(run, step, reply)
    if reply.kind == "do" and run.phase is not Phase.FORWARD:
        return ev.StepFailed(
            at=reply.at,
            step=reply.step,
            kind=reply.kind,
            attempt=reply.attempt,
            failure=ev.Failure("Unregistered", reason),
        )
    return ev.StepParked(at=reply.at, step=reply.step, kind=reply.kind, reason=reason)


def _retry_at(
    run: RunState,
    step: StepState,
    message: msg.Reply | msg.Expired,
    failure: ev.Failure | None,
) -> float | None:
    """When to try again; None if this was the last attempt."""
    if message.kind == "do" and run.phase is not Phase.FORWARD:
        return None
    policy = _policy(run.program.call(step.name), message.kind)
    if failure is not None and not {*policy.final, *ALWAYS_FINAL}.isdisjoint(failure.kinds):
        return None
    failed = step.attempt - step.base
    most = policy.attempts if step.limit is None else step.limit
    if most is not None and failed >= most:
        return None
    at = message.at + delay_s(policy, failed, f"{run.run_id}:{message.step}:{message.kind}")
    stood_s = 0.0 if goes_on(run, message.step) else lost_s(run, step.since, message.at)
    budget_s = policy.budget_s if step.limit is None else None
    if budget_s is not None and at > step.since + budget_s + stood_s:
        return None
    stood_s = lost_s(run, 0.0, message.at) if clock_stands(run) else 0.0
    if message.kind == "do" and run.deadline is not None and at > run.deadline + stood_s:
        return None
    return at


def _policy(call: Call, kind: ev.CommandKind) -> RetryPolicy:
    return call.undo.retry if kind == "undo" and call.undo is not None else call.retry


def _timer(run: RunState, message: msg.TimerFired) -> list[ev.Event]:
    if message.step is None:
        if run.deadline is None or message.at < run.deadline or not interruptible(run):
            return []
        if clock_stands(run):
            return []
        reason = f"the saga's timeout of {run.program.plan.timeout_s:g} s is over"
        return [ev.CompensationStarted(at=message.at, reason=reason)]
    step = run.steps.get(message.step)
    if step is None or message.at < step.due or not goes_on(run, message.step):
        return []
    if step.status is Status.SLEEPING:
        return [ev.SleepEnded(at=message.at, step=message.step)]
    if step.status is Status.WAITING:
        return [ev.WaitExpired(at=message.at, step=message.step)]
    if step.status is Status.VOTING:
        return decide_group.timed_out(run, message.step, message.at)
    return []


def _signal(run: RunState, message: msg.Signal) -> list[ev.Event]:
    if run.phase is not Phase.FORWARD or message.signal_id in run.signal_ids:
        return []
    return [
        ev.SignalReceived(
            at=message.at,
            actor=message.actor,
            name=message.name,
            data=message.data,
            signal_id=message.signal_id,
            reason=message.reason,
            trace=message.trace if run.trace else {},
        )
    ]


def _conclude(run: RunState, events: list[ev.Event], at: float) -> RunState:
    """Add the events that follow from the state itself, until none does."""
    while (event := _consequence(run, events, at)) is not None:
        events.append(event)
        run = evolve(run, event)
    return run


def _consequence(run: RunState, events: list[ev.Event], at: float) -> ev.Event | None:
    if run.broken:
        return _parked(run, run.broken[0], at)
    if run.program.grouped:
        event = decide_group.consequence(run, events[-1], at)
        if event is not None:
            return event
    given_up = _last_attempt(run, events[-1])
    if given_up is not None and (parting := _given_up(run, given_up, at)) is not None:
        return parting
    if run.finished and run.phase not in ENDED:
        return _end(run, at)
    return None


def _parked(run: RunState, key: str, at: float, remark: str = "") -> ev.Event:
    step = run.steps[key]
    return ev.StepParked(
        at=at,
        step=key,
        kind=KIND[step.status],
        reason=step.reason + remark,
        failure=step.failure,
    )


def _last_attempt(run: RunState, event: ev.Event) -> str | None:
    """The step, or the group, that this event left without a further attempt."""
    if run.program.grouped and run.phase is Phase.FORWARD:
        group = decide_group.closed_group(run, event)
        if group is not None:
            return group
    match event:
        case ev.StepFailed() | ev.StepInDoubt():
            return event.step if event.retry_at is None else None
        case ev.StepRefused() | ev.WaitExpired():
            return event.step
        case _:
            return None


def _given_up(run: RunState, key: str, at: float) -> ev.Event | None:
    step = run.steps[key]
    if step.status in {Status.UNDO_FAILED, Status.CALL_FAILED}:
        return _parked(run, key, at)
    if run.phase is not Phase.FORWARD or step.status not in {Status.FAILED, Status.REFUSED}:
        return None
    if not interruptible(run):
        return _parked(run, key, at)
    if _may_be_irreversible(run, step):
        refused = step.status is Status.REFUSED
        return _parked(run, key, at, _EARLIER_ATTEMPT if refused else "")
    return ev.CompensationStarted(
        at=at, reason=f"{key}: {step.reason}", step=key, failure=step.failure
    )


def _may_be_irreversible(run: RunState, step: StepState) -> bool:
    """Whether it may have taken effect and nothing can take that back: only a person can tell if
    the run has to go on or to be undone.
    """
    node = run.program.named[step.name]
    return isinstance(node, Call) and step.doubt and node.undo is None and not node.read_only


def _end(run: RunState, at: float) -> ev.Event:
    if run.phase is Phase.COMPENSATING:
        return ev.RunCompensated(at=at)
    return ev.RunCompleted(at=at, result=run.lets[RESULT])
