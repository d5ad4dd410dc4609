"""One run in one row: what lists, waiting clients and recovery need to know without reading its
events.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from orchestrator.kernel.incidents import Incident, incidents
from orchestrator.kernel.pause import goes_on
from orchestrator.kernel.standing import Held
from orchestrator.kernel.state import (
    ENDED,
    EXECUTING,
    OUTSTANDING,
    PARKED,
    Phase,
    RunState,
    Status,
)

_WAITING = frozenset({Status.WAITING, Status.SLEEPING})

RunStatus = Literal[
    "accepted", "running", "compensating", "paused", "stuck", "completed", "compensated"
]
"""Paused: an operator had it, or its saga, stand still. A paused run that needs a person is stuck all the same."""


class RunSummary(msgspec.Struct, gc=False, frozen=True, omit_defaults=True):
    """A row of the read model. Times are epoch seconds."""

    run_id: str
    shard: int
    saga: str
    version: int
    plan: str
    status: RunStatus
    open: bool
    """The coordinator still has something to do or to wait for (a callback may be due after the
    end).
    """
    launched_at: float
    updated_at: float
    key: str | None = None
    tags: dict[str, str] = {}
    ended_at: float | None = None
    result: Any = None
    reason: str = ""
    """Why it is stuck, or why it was compensated."""
    steps: tuple[str, ...] = ()
    """Steps that keep it from going on by itself at once: parked, waiting, sleeping, or backing
    off.
    """
    parked: tuple[str, ...] = ()
    """Steps that need a person."""
    incidents: tuple[Incident, ...] = ()
    """What is the matter with each of them."""


def summarize(run: RunState, shard: int, at: float) -> RunSummary:
    """The row of a run whose last event happened at ``at``."""
    parked, held_up = _held(run)
    plan = run.program.plan
    return RunSummary(
        run_id=run.run_id,
        shard=shard,
        saga=plan.saga,
        version=plan.version,
        plan=run.program.hash,
        status=_status(run, parked),
        open=run.open,
        launched_at=run.launched_at,
        updated_at=at,
        key=run.key,
        tags=run.tags,
        ended_at=run.ended_at,
        result=run.result,
        reason=_reason(run, parked),
        steps=held_up,
        parked=parked,
        incidents=incidents(run) if parked else (),
    )


def _status(run: RunState, parked: tuple[str, ...]) -> RunStatus:
    match run.phase:
        case Phase.COMPLETED:
            return "completed"
        case Phase.COMPENSATED:
            return "compensated"
        case Phase.FORWARD | Phase.COMPENSATING if parked:
            return "stuck"
        case Phase.FORWARD | Phase.COMPENSATING if run.paused is not None or _saga_held(run):
            return "paused"
        case Phase.FORWARD:
            return "running"
        case Phase.COMPENSATING:
            return "compensating"


def _reason(run: RunState, parked: tuple[str, ...]) -> str:
    if parked:
        return "; ".join(f"{key}: {run.steps[key].reason}" for key in parked)
    if run.paused is not None:
        why = f": {run.paused.reason}" if run.paused.reason else ""
        by = f" by {run.paused.actor}" if run.paused.actor else ""
        return f"paused{by}{why}"
    if run.holds and run.phase not in ENDED:
        for hold in (_saga_held(run), *run.holds.values()):
            if hold is not None and _stops(run, hold):
                return held_by(hold)
    return run.reason


def _stops(run: RunState, hold: Held) -> bool:
    return hold is _saga_held(run) or any(stops_step(run, key, hold) for key in run.steps)


def _saga_held(run: RunState) -> Held | None:
    """The hold of its saga that stops it."""
    for hold in run.holds.values():
        if hold.kind == "saga" and (hold.undos or run.phase is Phase.FORWARD):
            return hold
    return None


def stops_step(run: RunState, key: str, hold: Held) -> bool:
    """Whether a step waits for a held service."""
    if run.steps[key].status not in EXECUTING or goes_on(run, key):
        return False
    return hold.kind == "service" and run.call(key).service == hold.name


def held_by(hold: Held) -> str:
    """In words."""
    by = f" by {hold.actor}" if hold.actor else ""
    why = f": {hold.reason}" if hold.reason else ""
    return f"{hold.kind} {hold.name} held{by}{why}"


def _held(run: RunState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Steps that are parked, and all that are held up; in one pass, as it is done for every event."""
    parked: list[str] = []
    held_up: list[str] = []
    for key, step in run.steps.items():
        status = step.status
        if status in PARKED:
            parked.append(key)
            held_up.append(key)
        elif status in OUTSTANDING and (status in _WAITING or step.due > step.since):
            held_up.append(key)
    return tuple(parked), tuple(held_up)
