"""A hold as it reaches a run: an operator stopped its saga, or a service that it calls.

Whether a hold is in force isn't the run's to decide: the coordinator says so, and the run's log has since when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel import messages as msg
from orchestrator.kernel.pause import account, under_way
from orchestrator.kernel.program import Program
from orchestrator.kernel.standing import Held
from orchestrator.kernel.state import RunState, Status


def concerns(program: Program, kind: ev.HoldKind, name: str) -> bool:
    """Whether a hold is for runs of this plan."""
    return name == program.plan.saga if kind == "saga" else name in program.services


def hold(run: RunState, message: msg.Hold) -> list[ev.Event]:
    """What it means for the run that a hold is in force."""
    if message.hold in run.holds or not run.open:
        return []
    if not concerns(run.program, message.kind, message.name):
        return []
    return [
        ev.RunHeld(
            at=message.at,
            actor=message.actor,
            hold=message.hold,
            kind=message.kind,
            name=message.name,
            reason=message.reason,
            undos=message.undos,
            unsent=tuple(key for key in message.unsent if _is_voting(run, key)),
        )
    ]


def _is_voting(run: RunState, key: str) -> bool:
    """Else what an earlier coordinator asked for is being taken back."""
    return key in run.steps and run.steps[key].status is Status.VOTING


def release(run: RunState, message: msg.Release) -> list[ev.Event]:
    """What it means for the run that a hold has ended."""
    if message.hold not in run.holds:
        return []
    return [
        ev.RunReleased(at=message.at, actor=message.actor, hold=message.hold, reason=message.reason)
    ]


def held(run: RunState, event: ev.RunHeld) -> None:
    """Apply the event to a draft. Raises ``IllegalEventError``."""
    if event.hold in run.holds:
        raise IllegalEventError(f"run {run.run_id}: {event.kind} {event.name} is held already")
    sent = {key: at for key, at in under_way(run).items() if key not in event.unsent}
    account(run, event.at)
    run.holds = {
        **run.holds,
        event.hold: Held(
            event.kind, event.name, event.at, event.actor, event.reason, event.undos, sent
        ),
    }


def released(run: RunState, event: ev.RunReleased) -> None:
    """Apply the event to a draft. Raises ``IllegalEventError``."""
    if event.hold not in run.holds:
        raise IllegalEventError(f"run {run.run_id}: released from {event.hold}, which isn't held")
    account(run, event.at)
    run.holds = {key: one for key, one in run.holds.items() if key != event.hold}


HOLDING: Mapping[type, Callable[[RunState, Any], None]] = {
    ev.RunHeld: held,
    ev.RunReleased: released,
}
"""What applies which event."""
