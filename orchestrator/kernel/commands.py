"""What must be outstanding for a run: the output of ``pending``."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.kernel.events import CommandKind


class Execute(msgspec.Struct, gc=False, frozen=True):
    """Have a participant do one thing. ``(step, kind, attempt)`` is its identity within the run."""

    step: str
    kind: CommandKind
    attempt: int
    round: int
    """Raised when an operator retries after a definite refusal: only then may the participant
    answer anew.
    """
    service: str
    participant: str
    queue: str
    args: dict[str, Any]
    result: Any
    """For an undo: the action's result where it is known, else None."""
    due: float
    """Not before this time."""
    timeout_s: float
    one_phase: bool = False
    """To ``prepare``: it may commit at once; to ``abort``: it may have."""


class Timer(msgspec.Struct, gc=False, frozen=True):
    """Wake the run at a time: for a step, or for the saga's own timeout when ``step`` is None."""

    step: str | None
    at: float


Command = Execute | Timer
