"""The coordinator's journal, wrapped so that a call can fail, hang, kill the caller, or leave it in the dark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from orchestrator.definition.plan import Plan
from orchestrator.errors import JournalUnavailableError, OutcomeUnknownError
from orchestrator.journal.bulk import Bulk, BulkItem, Outcome, Sent
from orchestrator.journal.hold import Hold
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.port import InboxItem, LeaseState, Recorded, ShardWrite, Tenure
from orchestrator.kernel.events import AbortDecided, CommitDecided
from orchestrator.kernel.summary import RunSummary
from orchestrator.testing.simulation.dice import Dice

T = TypeVar("T")

_DECISIONS = (CommitDecided, AbortDecided)
"""What an atomic group waits for: between these and what they lead to a crash can do most."""


class Killed(BaseException):
    """The process that runs this is gone. Not an ``Exception``: nothing in it gets to handle it."""


class Interruptions:
    """What can happen to one coordinator at a point of its own code."""

    def __init__(self, dice: Dice, pause: Callable[[], None]) -> None:
        self.dice = dice
        self._pause = pause

    def at(self, point: str) -> None:
        """Kill or pause the coordinator here, or not."""
        if self.dice.happens(f"coordinator killed {point}"):
            raise Killed
        if self.dice.happens(f"coordinator paused {point}"):
            self._pause()


class FlakyJournal:
    """A ``WriterJournal`` as one coordinator sees it."""

    def __init__(self, journal: MemoryJournal, interruptions: Interruptions) -> None:
        self._journal = journal
        self._interruptions = interruptions
        self._dice = interruptions.dice
        self.seen: list[Hold] = []
        """The holds that were in force when it was asked last."""

    def shards(self) -> int:
        """See the port."""
        return self._journal.shards()

    def take_leases(self, owner: str, now: float, ttl_s: float, wanted: int) -> list[int]:
        """See the port."""
        self._interruptions.at("before lease")
        self._reach()
        held = self._committed(lambda: self._journal.take_leases(owner, now, ttl_s, wanted))
        self._interruptions.at("after lease")
        return held

    def holds(self, limit: int = 1_000, *, in_force: bool = True) -> list[Hold]:
        """See the port."""
        found = self._journal.holds(limit, in_force=in_force)
        if in_force:
            self.seen = found
        return found

    def place_hold(self, hold: Hold) -> bool:
        """See the port."""
        return self._journal.place_hold(hold)

    def release_hold(self, hold: Hold) -> bool:
        """See the port."""
        return self._journal.release_hold(hold)

    def bulks(self, limit: int = 100, *, running: bool = False) -> list[Bulk]:
        """See the port."""
        return self._journal.bulks(limit, running=running)

    def bulk(self, bulk_id: str) -> Bulk:
        """See the port."""
        return self._journal.bulk(bulk_id)

    def add_bulk(self, bulk: Bulk, run_ids: Sequence[str]) -> bool:
        """See the port."""
        return self._journal.add_bulk(bulk, run_ids)

    def bulk_items(
        self, bulk_id: str, *, outcome: Outcome | None = None, after: int = -1, limit: int = 500
    ) -> list[BulkItem]:
        """See the port."""
        return self._journal.bulk_items(bulk_id, outcome=outcome, after=after, limit=limit)

    def write_bulk(self, bulk: Bulk, items: Sequence[BulkItem], messages: Sequence[Sent]) -> bool:
        """See the port."""
        return self._journal.write_bulk(bulk, items, messages)

    def rows(self, run_ids: Sequence[str]) -> list[RunSummary]:
        """See the port."""
        return self._journal.rows(run_ids)

    def drop_leases(self, owner: str, shards: Sequence[int]) -> None:
        """See the port."""
        self._reach()
        self._journal.drop_leases(owner, shards)

    def leases(self) -> list[LeaseState]:
        """See the port."""
        self._read()
        return self._journal.leases()

    def coordinators(self, now: float) -> list[str]:
        """See the port."""
        self._read()
        return self._journal.coordinators(now)

    def begin_tenure(self, shard: int, owner: str, at: float, beyond: int = 0) -> Tenure:
        """See the port."""
        self._interruptions.at("before tenure")
        self._reach()
        tenure = self._committed(lambda: self._journal.begin_tenure(shard, owner, at, beyond))
        self._interruptions.at("after tenure")
        return tenure

    def append(self, writes: Sequence[ShardWrite]) -> list[Tenure]:
        """See the port."""
        decides = any(isinstance(event, _DECISIONS) for one in writes for _, event in one.events)
        self._interruptions.at("before append")
        if decides:
            self._interruptions.at("before a decision")
        self._reach()
        tenures = self._committed(lambda: self._journal.append(writes))
        if decides:
            self._interruptions.at("after a decision")
        self._interruptions.at("after append")
        return tenures

    def inbox(self, shards: Sequence[int], after: dict[int, int], limit: int) -> list[InboxItem]:
        """See the port."""
        self._read()
        return self._journal.inbox(shards, after, limit)

    def open_runs(self, shard: int) -> list[str]:
        """See the port."""
        self._read()
        return self._journal.open_runs(shard)

    def histories(self, shard: int, run_ids: Sequence[str]) -> dict[str, list[Recorded]]:
        """See the port."""
        self._read()
        return self._journal.histories(shard, run_ids)

    def plan(self, plan_hash: str) -> Plan:
        """See the port."""
        self._read()
        return self._journal.plan(plan_hash)

    def _read(self) -> None:
        self._interruptions.at("while reading")
        self._reach()

    def _reach(self) -> None:
        if self._dice.happens("journal unavailable"):
            raise JournalUnavailableError("the journal's server is away")

    def _committed(self, write: Callable[[], T]) -> T:
        if self._dice.happens("commit unknown, not written"):
            raise OutcomeUnknownError("the connection was lost in COMMIT")
        result = write()
        if self._dice.happens("commit unknown, written"):
            raise OutcomeUnknownError("the connection was lost in COMMIT")
        return result
