"""Take one of the kernel's guards away, and the explorer notices: with what it finds, and within how many faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.definition.plan import Call, Sequence
from orchestrator.kernel import decide, evolve, operate, walk
from orchestrator.kernel.state import EXECUTING, KIND, Phase, RunState, Status, StepState
from orchestrator.testing import verify
from tests.unit.testing import broken

Remove = Callable[[pytest.MonkeyPatch], None]


def _any_attempt(patch: pytest.MonkeyPatch) -> None:
    def outstanding(run: RunState, message: Any) -> StepState | None:
        step = run.steps.get(message.step)
        fits = step is not None and step.status in EXECUTING and KIND[step.status] == message.kind
        return step if fits else None

    patch.setattr(decide, "_outstanding", outstanding)


def _any_kind(patch: pytest.MonkeyPatch) -> None:
    def outstanding(run: RunState, message: Any) -> StepState | None:
        step = run.steps.get(message.step)
        fits = step is not None and step.status in EXECUTING and step.attempt == message.attempt
        return step if fits else None

    patch.setattr(decide, "_outstanding", outstanding)


def _any_status(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "_outstanding", lambda run, message: run.steps.get(message.step))


def _undo_in_any_order(patch: pytest.MonkeyPatch) -> None:
    leave = walk._leave

    def all_at_once(run: RunState, place: Any, index: tuple[int, ...], at: float) -> bool:
        if isinstance(place.node, Sequence):
            behind = [all_at_once(run, child, index, at) for child in place.children]
            return all(behind)
        return leave(run, place, index, at)

    patch.setattr(walk, "_leave", all_at_once)


def _no_pivot(patch: pytest.MonkeyPatch) -> None:
    def interruptible(run: RunState, but: str | None = None) -> bool:
        return run.phase is Phase.FORWARD

    for module in (decide, evolve, operate):
        patch.setattr(module, "interruptible", interruptible)
    possible = operate._compensate

    def compensate(run: RunState, operation: Any, reason: str) -> Any:
        unpivoted = RunState(**{name: getattr(run, name) for name in run.__struct_fields__})
        unpivoted.pivoted = False
        return possible(unpivoted, operation, reason)

    patch.setattr(operate, "_compensate", compensate)


def _doubt_is_no_effect(patch: pytest.MonkeyPatch) -> None:
    def may_have_effect(step: StepState, call: Call) -> bool:
        return not call.read_only and step.status == "done"

    patch.setattr(walk, "may_have_effect", may_have_effect)


def _without_barrier_undo_at_once(patch: pytest.MonkeyPatch) -> None:
    def halted(run: RunState, step: StepState, at: float) -> StepState:
        return replace(step, status=Status.FAILED, reached=False)

    patch.setattr(evolve, "_halted", halted)


GUARDS = [
    _any_attempt,
    _any_kind,
    _any_status,
    _undo_in_any_order,
    _no_pivot,
    _doubt_is_no_effect,
    _without_barrier_undo_at_once,
]


@pytest.mark.parametrize("remove", GUARDS, ids=lambda guard: guard.__name__.strip("_"))
def test_a_guard_that_is_gone_is_missed(remove: Remove, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verify(broken.sound).ok
    remove(monkeypatch)
    assert not verify(broken.sound).ok
