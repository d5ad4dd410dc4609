"""Everything that has to happen at a time: deadlines, retries, sleeps, waits.

A timer is never cancelled: whoever is woken by one looks whether it still means anything.
"""

from __future__ import annotations

import heapq
from typing import Literal, NamedTuple

from orchestrator.kernel.events import CommandKind

Purpose = Literal["dispatch", "deadline", "timer"]


class Alarm(NamedTuple):
    """A time, and what to look at then."""

    at: float
    shard: int
    run_id: str
    purpose: Purpose
    step: str
    kind: CommandKind = "do"
    attempt: int = 0

    @property
    def identity(self) -> tuple[str, CommandKind, int]:
        """The command it is about."""
        return (self.step, self.kind, self.attempt)


class Timers:
    """A heap of alarms."""

    def __init__(self) -> None:
        self._heap: list[Alarm] = []

    def add(self, alarm: Alarm) -> None:
        """Set an alarm."""
        heapq.heappush(self._heap, alarm)

    def due(self, now: float, limit: int) -> list[Alarm]:
        """Take the alarms whose time has come, the earliest first."""
        taken: list[Alarm] = []
        while self._heap and self._heap[0].at <= now and len(taken) < limit:
            taken.append(heapq.heappop(self._heap))
        return taken

    def next_at(self) -> float | None:
        """When the next alarm is due."""
        return self._heap[0].at if self._heap else None

    def __len__(self) -> int:
        return len(self._heap)
