"""``Call``: what a participant may know about the command it carries out."""

from __future__ import annotations

import msgspec


class Call(msgspec.Struct, frozen=True):
    """Declare a parameter of this type, before the action's own, to get one."""

    run_id: str
    saga: str
    step: str
    """The step's key within the run, with its place in every fan-out around it."""
    attempt: int
    """1 for the first."""
    idempotency_key: str
    """Names the effect: the same for every attempt at it, and for its undo. Hand it to whatever you call."""
    timeout_s: float
    """How many seconds the coordinator waits for this attempt's answer."""
    deadline: float
    """When they are over, in seconds since the Unix epoch, counted from when the worker began."""
