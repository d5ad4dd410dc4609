"""Every change of a group's or a branch's status must stand in the two-phase tables; rows seen are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from orchestrator.kernel import events as ev
from orchestrator.kernel.state import UNDO_DUE, RunState, Status, StepState
from orchestrator.kernel.two_phase import (
    BEGINS,
    BRANCHES,
    FOLLOWS,
    GROUPS,
    HALTED,
    SETTLED,
    is_group,
)

SEEN: Counter[tuple[str, Status, str]] = Counter()
"""Rows of the tables: the table, from where, and the event or where to."""

Edge = tuple[str, Status, str]


def concerns(run: RunState, key: str) -> bool:
    """Whether a step is a group, or a branch of one."""
    return run.steps[key].name in run.program.grouped or is_group(run, key)


def check(
    run: RunState,
    key: str,
    old: StepState | None,
    new: StepState,
    event: ev.Event,
    label: str,
) -> None:
    """There must be a way along the tables from the old status to the new one."""
    group = is_group(run, key)
    starts: list[tuple[Status, list[Edge]]] = []
    subject = getattr(event, "step", None) == key
    anew = old is not None and old.attempt == 0 and label == "StepRetried" and subject
    if old is None or (group and anew):
        starts = [(status, [("begins", status, "")]) for status in (*BEGINS, Status.BROKEN)]
    else:
        starts = [(old.status, [])]
        table, name = (GROUPS, "groups") if group else (BRANCHES, "branches")
        if subject and (old.status, label) in table:
            starts = [(table[old.status, label], [(name, old.status, label)])]
    for edge in _way(starts, new.status, group=group, event=event):
        SEEN[edge] += 1


def _way(
    starts: list[tuple[Status, list[Edge]]], to: Status, *, group: bool, event: ev.Event
) -> list[Edge]:
    seen: set[Status] = set()
    ahead = list(starts)
    while ahead:
        status, path = ahead.pop(0)
        if status is to:
            return path
        if status in seen:
            continue
        seen.add(status)
        for name, new in _follows(status, group=group, event=event):
            ahead.append((new, [*path, (name, status, new.value)]))
    raise AssertionError(f"{[s.value for s, _ in starts]} can't become {to} by {event}")


def _follows(status: Status, *, group: bool, event: ev.Event) -> Iterator[tuple[str, Status]]:
    if group:
        yield from (("settled", new) for new in SETTLED.get(status, ()))
        if isinstance(event, ev.CompensationStarted):
            yield from (("halted", new) for new in HALTED.get(status, ()))
        return
    yield from (("follows", new) for new in FOLLOWS.get(status, ()))
    if status in UNDO_DUE:
        yield "undo", Status.UNDOING
        yield "undo", Status.UNDO_FAILED
    if status in _UNDOING:
        yield from (("undo", new) for new in _UNDOING)


_UNDOING = (Status.UNDOING, Status.UNDO_FAILED, Status.UNDO_PARKED, Status.UNDONE)
