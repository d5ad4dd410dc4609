"""A run's steps over time, as bars: how long each was done and undone, and where its attempts ended.

Positions are in thousandths of the whole, so that a drawing of any width can use them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from orchestrator.views.attempts import ABORT, COMMIT, Attempt
from orchestrator.views.steps import NOT_BEGUN, StepView

WHOLE = 1000.0
_THINNEST = 4.0
_STEPS_MAX = 200
_ENDED_WELL = frozenset(
    {"succeeded", "undone", "heard", "prepared", "read-only", "committed", "aborted"}
)


class Bar(msgspec.Struct, frozen=True):
    """A stretch of time."""

    x: float
    width: float
    open: bool
    """It isn't over."""


class Tick(msgspec.Struct, frozen=True):
    """Where an attempt ended badly, or nobody knows how; or where an atomic group was decided."""

    x: float
    text: str
    decision: bool = False


class Row(msgspec.Struct, frozen=True):
    """A step."""

    step: str
    status: str
    group: str
    """The atomic group that it's a branch of; empty for none."""
    do: Bar | None
    undo: Bar | None
    ticks: tuple[Tick, ...]
    duration_s: float | None
    undo_duration_s: float | None
    attempts: int


class Bars(msgspec.Struct, frozen=True):
    """All of them, from ``begin`` to ``end`` in epoch seconds."""

    begin: float
    end: float
    rows: tuple[Row, ...]
    more: int
    """Steps that are left out, where there are too many."""


def bars(steps: Iterable[StepView], launched_at: float, now: float) -> Bars:
    """The bars of the steps that began, in the order of the plan."""
    begun = [step for step in steps if step.status != NOT_BEGUN and step.began_at is not None]
    ends = [launched_at]
    for step in begun:
        ends += [step.ended_at or now, *([step.undo_ended_at or now] if step.undo_began_at else [])]
    end = max(ends)
    scale = WHOLE / max(end - launched_at, 1e-6)

    def at(moment: float) -> float:
        return round(min(WHOLE, max(0.0, (moment - launched_at) * scale)), 2)

    def bar(began: float | None, ended: float | None) -> Bar | None:
        if began is None:
            return None
        x = min(at(began), WHOLE - _THINNEST)
        return Bar(x, max(_THINNEST, round(at(ended or now) - x, 2)), ended is None)

    rows = tuple(
        Row(
            step=step.step,
            status=step.status,
            group=step.group,
            do=bar(step.began_at, step.ended_at),
            undo=bar(step.undo_began_at, step.undo_ended_at),
            ticks=tuple(
                Tick(at(tried.at), _told(tried), tried.outcome in {COMMIT, ABORT})
                for tried in step.attempts
                if tried.outcome not in _ENDED_WELL
            ),
            duration_s=step.duration_s,
            undo_duration_s=step.undo_duration_s,
            attempts=sum(tried.outcome not in {COMMIT, ABORT} for tried in step.attempts),
        )
        for step in begun[:_STEPS_MAX]
    )
    return Bars(launched_at, end, rows, max(0, len(begun) - _STEPS_MAX))


def _told(attempt: Attempt) -> str:
    if attempt.outcome in {COMMIT, ABORT}:
        return f"{attempt.outcome}: {attempt.message}" if attempt.message else attempt.outcome
    kind = "" if attempt.kind == "do" else f"{attempt.kind} "
    why = f": {attempt.message}" if attempt.message else ""
    return f"{kind}attempt {attempt.attempt} {attempt.outcome}{why}"
