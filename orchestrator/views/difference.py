"""What changed in a run between two of its moments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from orchestrator.views.look import RunLook
from orchestrator.views.steps import NOT_BEGUN, steps_of

_OF_STEP = ("status", "attempt", "args", "result", "reason", "decision", "heuristic")
_OF_RUN = ("status", "reason", "result", "parked")
_UNSET: tuple[Any, ...] = ("", None, 0, {}, (), NOT_BEGUN)


class Changed(msgspec.Struct, frozen=True):
    """One thing that is another now. ``before`` and ``after`` are JSON."""

    step: str
    """Empty for the run itself."""
    what: str
    before: Any
    after: Any


def difference(before: RunLook, after: RunLook) -> list[Changed]:
    """From one look at a run to a later one: the run first, then its steps in the order of the plan."""
    return [*_run(before, after), *_steps(before, after)]


def _run(before: RunLook, after: RunLook) -> Iterator[Changed]:
    for what in _OF_RUN:
        was, now = getattr(before.run, what), getattr(after.run, what)
        if was != now:
            yield Changed("", what, was, now)


def _steps(before: RunLook, after: RunLook) -> Iterator[Changed]:
    known = {step.step: step for step in steps_of(before.plan)}
    for step in steps_of(after.plan):
        old = known.get(step.step)
        for what in _OF_STEP:
            now = getattr(step, what)
            was = getattr(old, what) if old is not None else None
            if was != now and not (was in _UNSET and now in _UNSET):
                yield Changed(step.step, what, was, now)
