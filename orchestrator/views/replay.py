"""A run's events played again, one by one: the ground that every view of a run stands on.

The kernel's own ``evolve`` does the work, so a view can't disagree with the coordinator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from orchestrator.definition.plan import Plan
from orchestrator.journal.port import Recorded
from orchestrator.kernel.events import Event, RunLaunched
from orchestrator.kernel.evolve import evolve, launched
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import RunState, Status
from orchestrator.kernel.summary import RunSummary, summarize


class Change(NamedTuple):
    """What an event made of a step. ``before`` is None for a step that began."""

    step: str
    before: Status | None
    after: Status


class Moment(NamedTuple):
    """One event, the state after it, and the steps it moved."""

    record: Recorded
    event: Event
    state: RunState
    changes: tuple[Change, ...]


def replay(plan: Plan, records: Iterable[Recorded]) -> Iterator[Moment]:
    """Play a run's events in order. Raises ``IllegalEventError`` for a history that can't be."""
    state: RunState | None = None
    program = Program(plan)
    for record in records:
        event = record.event
        if event is None:
            continue
        if state is None:
            if not isinstance(event, RunLaunched):
                return
            after = launched(program, event)
            changes = _changes({}, after)
        else:
            after = evolve(state, event)
            changes = _changes({key: step.status for key, step in state.steps.items()}, after)
        state = after
        yield Moment(record, event, after, changes)


def state_at(plan: Plan, records: Iterable[Recorded], at: float | None = None) -> RunState | None:
    """The state at a time in epoch seconds (now without one); None before the launch."""
    state = None
    for moment in replay(plan, records):
        if at is not None and moment.record.at > at:
            break
        state = moment.state
    return state


def row_of(plan: Plan, records: Iterable[Recorded]) -> RunSummary:
    """The read-model row that a run's events make: what ``Journal.rebuild`` asks for."""
    last = None
    for last in replay(plan, records):  # noqa: B007 - the last one is what counts
        pass
    if last is None:
        raise ValueError("a run without events has no row")
    return summarize(last.state, last.record.shard, last.record.at)


def _changes(before: dict[str, Status], after: RunState) -> tuple[Change, ...]:
    return tuple(
        Change(key, before.get(key), step.status)
        for key, step in after.steps.items()
        if before.get(key) is not step.status
    )
