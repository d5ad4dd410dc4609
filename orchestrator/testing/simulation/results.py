"""What comes of schedules: of one seed, and of many."""

from __future__ import annotations

from collections import Counter

import msgspec


class Schedule(msgspec.Struct, frozen=True):
    """What came of one seed."""

    seed: int
    violations: tuple[str, ...]
    trace: tuple[str, ...]
    digest: str
    """The same for the same seed, on every machine and in every process."""
    faults: dict[str, int]
    steps: int
    """How many things happened."""
    runs: dict[str, int]
    """Runs by how they ended."""
    virtual_s: float


class Campaign(msgspec.Struct):
    """What came of many seeds."""

    schedules: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    elapsed_s: float = 0.0
    faults: dict[str, int] = {}
    runs: dict[str, int] = {}
    failed: list[Schedule] = []
    """In the order of their seeds."""
    interrupted: bool = False

    def add(self, schedule: Schedule) -> None:
        """Count a schedule in."""
        self.schedules += 1
        self.steps += schedule.steps
        self.virtual_s += schedule.virtual_s
        self.faults = dict(Counter(self.faults) + Counter(schedule.faults))
        self.runs = dict(Counter(self.runs) + Counter(schedule.runs))
        if schedule.violations:
            self.failed.append(schedule)

    def merge(self, other: Campaign) -> None:
        """Count another campaign in, whose seeds come after these."""
        self.schedules += other.schedules
        self.steps += other.steps
        self.virtual_s += other.virtual_s
        self.faults = dict(Counter(self.faults) + Counter(other.faults))
        self.runs = dict(Counter(self.runs) + Counter(other.runs))
        self.failed += other.failed
