"""What events make of the requests that wait for a second person. They touch nothing else of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import IllegalEventError
from orchestrator.kernel import events as ev
from orchestrator.kernel.state import RunState


def _asked(run: RunState, event: ev.ApprovalAsked) -> None:
    if event.number != run.length - 1:
        raise IllegalEventError(f"run {run.run_id}: request {event.number} at {run.length - 1}")
    run.waiting = {**run.waiting, event.number: event}


def _answered(run: RunState, event: ev.ApprovalGiven | ev.ApprovalDenied) -> None:
    if event.number not in run.waiting:
        raise IllegalEventError(
            f"run {run.run_id}: {type(event).__name__} for {event.number}, which nobody asked for"
        )
    run.waiting = {number: one for number, one in run.waiting.items() if number != event.number}


APPLY: Mapping[type, Callable[[RunState, Any], None]] = {
    ev.ApprovalAsked: _asked,
    ev.ApprovalGiven: _answered,
    ev.ApprovalDenied: _answered,
}
