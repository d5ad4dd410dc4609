"""Everything that has to happen at a time: deadlines, retries, sleeps, waits.

A timer is never cancelled: whoever is woken by one looks whether it still means anything.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Literal, NamedTuple

from orchestrator.kernel.events import CommandKind

_ROOM = 20_000

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
    due: float = 0.0
    """When the command was due; one that a pause has put off isn't what this was set for."""

    @property
    def identity(self) -> tuple[str, CommandKind, int]:
        """The command it is about, as the live run knows it."""
        if self.purpose == "timer":
            return timer_identity(self.step, self.at)
        return (self.step, self.kind, self.attempt)


def timer_identity(step: str, at: float) -> tuple[str, CommandKind, int]:
    """What stands for a timer among a run's commands; a timer set anew for another time is another one."""
    return (f"timer:{step}", "do", int(at * 1e6))


class Timers:
    """A heap of alarms."""

    def __init__(self) -> None:
        self._heap: list[Alarm] = []
        self._crowded_at = _ROOM

    def add(self, alarm: Alarm) -> None:
        """Set an alarm."""
        heapq.heappush(self._heap, alarm)

    def due(self, now: float, limit: int) -> list[Alarm]:
        """Take the alarms whose time has come, the earliest first."""
        taken: list[Alarm] = []
        while self._heap and self._heap[0].at <= now and len(taken) < limit:
            taken.append(heapq.heappop(self._heap))
        return taken

    def thin_out(self, still_means: Callable[[Alarm], bool]) -> None:
        """Drop alarms that no longer mean anything, once there are many more than after the last time."""
        if len(self._heap) > self._crowded_at:
            self._heap = [alarm for alarm in self._heap if still_means(alarm)]
            heapq.heapify(self._heap)
            self._crowded_at = 2 * len(self._heap) + _ROOM

    def next_at(self) -> float | None:
        """When the next alarm is due."""
        return self._heap[0].at if self._heap else None

    def __len__(self) -> int:
        return len(self._heap)
