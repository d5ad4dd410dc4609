"""One run in one row: what lists, waiting clients and recovery need to know without reading its events."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

RunStatus = Literal["accepted", "running", "compensating", "stuck", "completed", "compensated"]


class RunSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of the read model. Times are epoch seconds."""

    run_id: str
    shard: int
    saga: str
    version: int
    plan: str
    status: RunStatus
    open: bool
    """The coordinator still has something to do or to wait for (a callback may be due after the end)."""
    launched_at: float
    updated_at: float
    key: str | None = None
    tags: dict[str, str] = {}
    ended_at: float | None = None
    result: Any = None
    reason: str = ""
    """Why it is stuck, or why it was compensated."""
    steps: tuple[str, ...] = ()
    """Steps that are outstanding or parked now."""
    parked: tuple[str, ...] = ()
    """Steps that need a person."""
    events: int = 0
    """How many events the run has."""
