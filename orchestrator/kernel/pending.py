"""``pending``: what must be outstanding for a run now, from its state alone.

The coordinator dispatches what is new in it, and after a crash ``pending(fold(events))`` is all
the recovery there is.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.definition.plan import Call, Undo
from orchestrator.kernel.commands import Command, Execute, Timer
from orchestrator.kernel.state import KIND, Phase, RunState, Status, StepState


def pending(run: RunState) -> list[Command]:
    """The commands that must be outstanding, in the order their steps began."""
    return list(_pending(run))


def interruptible(run: RunState) -> bool:
    """Whether compensation may begin now: not past the pivot, and no pivot outstanding that
    can't be taken back.
    """
    if run.phase is not Phase.FORWARD or run.pivoted:
        return False
    return not any(
        isinstance(node := run.program.named[step.name], Call) and node.pivot and node.undo is None
        for step in run.steps.values()
        if step.status in {Status.RUNNING, Status.PARKED} and step.attempt > 0
    )


def _pending(run: RunState) -> Iterator[Command]:
    for key, step in run.steps.items():
        match step.status:
            case Status.RUNNING | Status.UNDOING | Status.CALLING:
                yield _execute(run, key, step)
            case Status.WAITING | Status.SLEEPING if step.due != float("inf"):
                yield Timer(key, step.due)
            case _:
                pass
    deadline = run.deadline
    if deadline is not None and interruptible(run):
        yield Timer(None, deadline)


def _execute(run: RunState, key: str, step: StepState) -> Execute:
    call = run.program.call(step.name)
    kind = KIND[step.status]
    undo = call.undo if kind == "undo" else None
    return Execute(
        step=key,
        kind=kind,
        attempt=step.attempt,
        round=step.round,
        service=call.service,
        participant=f"{call.service}.{call.participant}",
        queue=call.queue,
        args=step.args,
        result=step.result,
        due=step.due,
        timeout_s=_timeout_s(call, undo),
    )


def _timeout_s(call: Call, undo: Undo | None) -> float:
    return call.timeout_s if undo is None else undo.timeout_s
