"""Callbacks: participants that are told how a run ended, or that it is stuck."""

from __future__ import annotations

from typing import Any

from orchestrator.kernel.program import callback_name
from orchestrator.kernel.state import ENDED, RunState, Status, StepState


def call_back(run: RunState, event: str, at: float, reason: str, suffix: str = "") -> None:
    """Have the callbacks for this event called."""
    for position in range(len(run.program.plan.callbacks.get(event, ()))):
        name = callback_name(event, position)
        run.steps[name + suffix] = StepState(
            name=name,
            index=(),
            status=Status.CALLING,
            since=at,
            due=at,
            args={"ended": _how(run, reason)},
        )


def _how(run: RunState, reason: str) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "saga": run.program.plan.saga,
        "status": run.phase.value if run.phase in ENDED else "stuck",
        "input": run.input,
        "result": run.result,
        "reason": reason,
    }
