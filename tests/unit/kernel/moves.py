"""Every change of a step's status must stand in the tables; which of their rows were seen is counted."""

from __future__ import annotations

from collections import Counter

from orchestrator.kernel import events as ev
from orchestrator.kernel.state import (
    COMPENSATION_STARTED,
    STARTS,
    TRANSITIONS,
    UNDO_DUE,
    RunState,
    Status,
)
from tests.unit.kernel import group_moves

SEEN: Counter[tuple[Status, str]] = Counter()
"""Rows of ``TRANSITIONS``."""
STARTED: Counter[Status] = Counter()
"""First statuses."""
HALTED: Counter[tuple[Status, Status]] = Counter()
"""Rows of ``COMPENSATION_STARTED``."""
UNDO: Counter[tuple[Status, Status]] = Counter()
"""Rows of ``UNDO_DUE``."""

UNDOING = {Status.UNDOING, Status.UNDO_FAILED}


def label(event: ev.Event) -> str:
    """The name under which an event stands in the table."""
    name = type(event).__name__
    if isinstance(event, ev.StepFailed | ev.StepInDoubt) and event.retry_at is not None:
        return f"{name}, to be retried"
    if isinstance(event, ev.StepResolved):
        return f"{name} as undone" if event.undone else f"{name} as done"
    if isinstance(event, ev.BranchVoted):
        return f"{name} {event.vote}"
    return name


def check_started(run: RunState) -> None:
    """The first statuses of a run's first steps."""
    for key, step in run.steps.items():
        if not group_moves.concerns(run, key):
            _started(step.status)


def check(before: RunState, after: RunState, event: ev.Event) -> None:
    """Compare two states that ``event`` lies between."""
    subject = getattr(event, "step", None)
    if isinstance(event, ev.CompensationStarted):
        subject = None
    for key, step in after.steps.items():
        old = before.steps.get(key)
        if group_moves.concerns(after, key):
            group_moves.check(after, key, old, step, event, label(event))
        elif old is None:
            _started(step.status)
        elif isinstance(event, ev.CompensationStarted):
            _halted(old.status, step.status)
        elif key == subject or (old.status is Status.WAITING and step.status is Status.DONE):
            _moved(old.status, step.status, label(event))
        else:
            _undo_due(old.status, step.status)
    assert set(before.steps) <= set(after.steps)


def _moved(old: Status, new: Status, by: str) -> None:
    if by == "StepRetried" and old is Status.PARKED and new is not Status.RUNNING:
        _started(new)
        return
    assert (old, by) in TRANSITIONS, f"{by} of a step that is {old}"
    SEEN[old, by] += 1
    _undo_due(TRANSITIONS[old, by], new)


def _halted(old: Status, new: Status) -> None:
    if old in COMPENSATION_STARTED:
        target = [t for t in COMPENSATION_STARTED[old] if t is new]
        if not target:
            assert Status.FAILED in COMPENSATION_STARTED[old], f"{old} to {new}"
            target = [Status.FAILED]
        HALTED[old, target[0]] += 1
        old = target[0]
    _undo_due(old, new)


def _undo_due(old: Status, new: Status) -> None:
    if old is new:
        return
    assert old in UNDO_DUE, f"{old} to {new}"
    assert new in UNDOING, f"{old} to {new}"
    UNDO[old, new] += 1


def _started(status: Status) -> None:
    assert status in STARTS, f"a step begins {status}"
    STARTED[status] += 1
