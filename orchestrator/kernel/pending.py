"""``pending``: what must be outstanding for a run now, from its state alone.

The coordinator dispatches what is new in it, and after a crash ``pending(fold(events))`` is all
the recovery there is.
"""

from __future__ import annotations

import math

from orchestrator.kernel.commands import Command, Execute, Timer
from orchestrator.kernel.pause import clock_stands, goes_on
from orchestrator.kernel.state import (
    EXECUTING,
    KIND,
    OUTSTANDING,
    RunState,
    Status,
    StepState,
    interruptible,
)
from orchestrator.kernel.two_phase import is_one_phase, node_of, second_phase


def pending(run: RunState) -> list[Command]:
    """The commands that must be outstanding, in the order their steps began."""
    commands: list[Command] = []
    stopped = run.paused is not None or bool(run.holds)
    for key, step in run.steps.items():
        status = step.status
        if status not in OUTSTANDING or (stopped and not goes_on(run, key)):
            continue
        if status in EXECUTING:
            commands.append(_execute(run, key, step))
        elif status is Status.VOTING:
            commands.append(Timer(key, step.due + node_of(run, key).timeout_s))
        elif step.due != math.inf:
            commands.append(Timer(key, step.due))
    deadline = run.deadline
    if deadline is not None and not clock_stands(run) and interruptible(run):
        commands.append(Timer(None, deadline))
    return commands


def _execute(run: RunState, key: str, step: StepState) -> Execute:
    call = run.program.call(step.name)
    kind = KIND[step.status]
    timeout_s = call.timeout_s
    if kind == "undo" and call.undo is not None:
        timeout_s = call.undo.timeout_s
    elif kind in {"commit", "abort"}:
        timeout_s, _ = second_phase(call, kind)
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
        timeout_s=timeout_s,
        one_phase=kind in {"prepare", "abort"} and is_one_phase(run, step),
    )
