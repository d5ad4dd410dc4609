"""What a person has to know who is called to a run: its incidents with their last errors, which effects stand, and what
the run waits for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from orchestrator.definition.plan import Call
from orchestrator.journal.port import Recorded
from orchestrator.kernel import events as ev
from orchestrator.kernel.incidents import Incident, incidents
from orchestrator.kernel.state import EXECUTING, OUTSTANDING, PARKED, RunState, Status, StepState
from orchestrator.views.advice import Advice
from orchestrator.views.steps import NOT_BEGUN, StepView
from orchestrator.views.waiting import why_it_waits

ERRORS_SHOWN = 3
"""The most errors of an incident, the newest last."""

DIRECTIONS: dict[ev.CommandKind, str] = {
    "do": "forward",
    "undo": "undo",
    "callback": "callback",
    "prepare": "vote",
    "commit": "commit",
    "abort": "abort",
}
"""What the direction of an incident is called."""

Stands = Literal["took effect", "may have taken effect", "undone", "no effect", "not begun"]


class Raised(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attempt of the step that went wrong. ``at`` in epoch seconds."""

    at: float
    attempt: int
    message: str
    error: str = ""
    traceback: str = ""
    frame: str = ""


class Effect(msgspec.Struct, frozen=True):
    """A step, and whether the world still has what it did."""

    step: str
    stands: Stands
    status: str


class Trouble(msgspec.Struct, frozen=True):
    """An open incident."""

    incident: Incident
    errors: tuple[Raised, ...]


class Need(msgspec.Struct, frozen=True):
    """All of it; of a run that needs nobody there is none."""

    incidents: tuple[Trouble, ...]
    effects: tuple[Effect, ...]
    waits: tuple[str, ...]


def need(
    run: RunState,
    records: Iterable[Recorded],
    steps: Iterable[StepView],
    advice: Sequence[Advice],
    now: float,
) -> Need | None:
    """What the run needs somebody for; None if it doesn't."""
    found = incidents(run)
    if not found:
        return None
    raised = _raised(records)
    return Need(
        tuple(Trouble(one, tuple(_of(raised, one)[-ERRORS_SHOWN:])) for one in found),
        tuple(_effects(run, steps)),
        tuple(_waits(run, found, advice, now)),
    )


def _of(raised: dict[tuple[str, ev.CommandKind], list[Raised]], incident: Incident) -> list[Raised]:
    tried = raised.get((incident.step, incident.kind), [])
    return [one for one in tried if one.at <= incident.since] or tried


def _raised(records: Iterable[Recorded]) -> dict[tuple[str, ev.CommandKind], list[Raised]]:
    found: dict[tuple[str, ev.CommandKind], list[Raised]] = {}
    for record in records:
        match record.event:
            case ev.StepFailed() as event:
                one = _error(event, event.failure)
                found.setdefault((event.step, event.kind), []).append(one)
            case ev.StepRefused() as event:
                one = _error(event, event.failure)
                found.setdefault((event.step, "do"), []).append(one)
            case ev.StepInDoubt() as event:
                one = Raised(event.at, event.attempt, event.reason)
                found.setdefault((event.step, event.kind), []).append(one)
            case ev.HeuristicFound() as event:
                one = Raised(event.at, event.attempt, event.reason, event.found)
                found.setdefault((event.step, event.kind), []).append(one)
            case _:
                pass
    return found


def _error(event: ev.StepFailed | ev.StepRefused, failure: ev.Failure) -> Raised:
    return Raised(
        at=event.at,
        attempt=event.attempt,
        message=failure.message,
        error=failure.type,
        traceback=failure.traceback,
        frame=failure.frame,
    )


def _effects(run: RunState, steps: Iterable[StepView]) -> Iterator[Effect]:
    for seen in steps:
        state = run.steps.get(seen.step)
        if state is None:
            if seen.shape == "call":
                yield Effect(seen.step, "not begun", NOT_BEGUN)
            continue
        node = run.program.named[state.name]
        if seen.shape == "call" and isinstance(node, Call) and not node.read_only:
            yield Effect(seen.step, _stands(state), seen.status)


_NONE = frozenset({Status.ABANDONED, Status.ABORTED, Status.READ_ONLY, Status.HELD})
_CERTAIN = frozenset({Status.DONE, Status.SKIPPED, Status.UNDOING, Status.UNDO_PARKED})


def _stands(step: StepState) -> Stands:
    if step.status is Status.UNDONE:
        return "undone" if step.reached or step.result is not None else "no effect"
    if step.status in _NONE or (step.status is Status.REFUSED and not step.doubt):
        return "no effect"
    if step.status in _CERTAIN and not step.doubt:
        return "took effect"
    if step.status in EXECUTING or step.reached or step.doubt:
        return "may have taken effect"
    return "no effect"


def _waits(
    run: RunState, found: Iterable[Incident], advice: Sequence[Advice], now: float
) -> Iterator[str]:
    for incident in found:
        ways = [one.operation for one in advice if one.step == incident.step]
        ways += [one.operation for one in advice if not one.step]
        taken = f", and {incident.acked_by or 'somebody'} is on it" if incident.acked_at else ""
        yield f"{incident.step} waits for a person{taken}: {_either(ways)}"
    for key, step in run.steps.items():
        if step.status in OUTSTANDING and step.status not in PARKED:
            why = why_it_waits(run, key, now)
            if why:
                yield f"{key}: {why}"


def _either(ways: Sequence[str]) -> str:
    if len(ways) < 2:
        return ways[0] if ways else "look at what else the run is at"
    return f"{', '.join(ways[:-1])} or {ways[-1]}"
