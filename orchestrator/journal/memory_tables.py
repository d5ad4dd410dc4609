"""What a ``MemoryJournal`` holds."""

from __future__ import annotations

from copy import copy

from orchestrator.journal.hold import Hold
from orchestrator.journal.memory_bulks import BulkTables
from orchestrator.journal.records import Row
from orchestrator.kernel.summary import RunSummary


class ShardTable:
    """One shard's rows in the tables."""

    def __init__(self) -> None:
        self.log: list[Row] = []
        self.by_run: dict[str, list[Row]] = {}
        self.epoch = 0
        self.cursor_offset = 0
        self.cursor_at = 0.0
        self.owner = ""
        self.expires_at = 0.0

    @property
    def end(self) -> tuple[int, str]:
        """Offset and hash of the last row."""
        return (self.log[-1].offset, self.log[-1].hash) if self.log else (0, "")

    def copied(self) -> ShardTable:
        """For a transaction that may roll back."""
        other = copy(self)
        other.log = list(self.log)
        other.by_run = {run_id: list(rows) for run_id, rows in self.by_run.items()}
        return other

    def add(self, row: Row) -> None:
        """Put a row at the end of the log."""
        self.log.append(row)
        self.by_run.setdefault(row.run_id, []).append(row)


class Tables:
    """Everything the journal holds; copied for a transaction that may roll back."""

    def __init__(self, shards: int) -> None:
        self.shards = [ShardTable() for _ in range(shards)]
        self.alive: dict[str, float] = {}
        self.inbox: dict[int, tuple[int, str, bytes]] = {}
        self.last_id = 0
        self.keys: dict[tuple[str, str], str] = {}
        self.runs: dict[str, RunSummary] = {}
        self.plans: dict[str, bytes] = {}
        self.notices: dict[str, float] = {}
        self.holds: dict[str, Hold] = {}
        self.of_bulks = BulkTables()

    def copied(self) -> Tables:
        """For a transaction that may roll back."""
        other = copy(self)
        other.shards = [shard.copied() for shard in self.shards]
        for name in ("alive", "inbox", "keys", "runs", "plans", "notices", "holds"):
            setattr(other, name, dict(getattr(self, name)))
        other.of_bulks = self.of_bulks.copied()
        return other


class Backup:
    """What a ``MemoryJournal`` held at one moment."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def copied(self) -> Tables:
        """The tables, for a journal to change."""
        return self._tables.copied()
