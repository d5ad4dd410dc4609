"""Bulk operations in this process's memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy
from threading import RLock
from typing import Protocol

from msgspec.structs import replace

from orchestrator.journal.bulk import Bulk, BulkItem, Outcome, Sent
from orchestrator.journal.bulk_rows import only
from orchestrator.journal.records import shard_of
from orchestrator.kernel.codec import encode_message
from orchestrator.kernel.messages import Inbound, Noted
from orchestrator.kernel.summary import RunSummary


class BulkTables:
    """All of them, with their runs."""

    def __init__(self) -> None:
        self.bulks: dict[str, Bulk] = {}
        self.items: dict[str, dict[int, BulkItem]] = {}

    def copied(self) -> BulkTables:
        """For a transaction that may roll back."""
        other = copy(self)
        other.bulks = dict(self.bulks)
        other.items = {bulk: dict(items) for bulk, items in self.items.items()}
        return other


class _Tables(Protocol):
    of_bulks: BulkTables
    runs: dict[str, RunSummary]


class MemoryBulks:
    """The part of a ``MemoryJournal`` that keeps bulk operations; see the port."""

    _lock: RLock

    def _held(self) -> _Tables:
        raise NotImplementedError

    def send(self, run_id: str, message: Inbound) -> None:
        """Put a message into the inbox."""
        raise NotImplementedError

    def _post(self, shard: int, run_id: str, data: bytes) -> None:
        raise NotImplementedError

    def shards(self) -> int:
        """How many shards the journal has."""
        raise NotImplementedError

    def add_bulk(self, bulk: Bulk, run_ids: Sequence[str]) -> bool:
        """Record one with its runs."""
        with self._lock:
            tables = self._held().of_bulks
            if bulk.id in tables.bulks:
                return False
            tables.bulks[bulk.id] = bulk
            tables.items[bulk.id] = {at: BulkItem(at, run_id) for at, run_id in enumerate(run_ids)}
            if bulk.notes:
                self._send(bulk.said())
            return True

    def bulk(self, bulk_id: str) -> Bulk:
        """One by its id or a prefix. Raises ``BulkNotFoundError``."""
        with self._lock:
            known = self._held().of_bulks.bulks
            return only(
                bulk_id,
                [self._counted(known[id_]) for id_ in known if bulk_id and id_.startswith(bulk_id)],
            )

    def bulks(self, limit: int = 100, *, running: bool = False) -> list[Bulk]:
        """The newest ones."""
        with self._lock:
            known = self._held().of_bulks.bulks.values()
            found = [bulk for bulk in known if not running or bulk.state == "running"]
            found.sort(key=lambda bulk: (-bulk.created_at, bulk.id))
            return [self._counted(bulk) for bulk in found[:limit]]

    def bulk_items(
        self, bulk_id: str, *, outcome: Outcome | None = None, after: int = -1, limit: int = 500
    ) -> list[BulkItem]:
        """Its runs in order."""
        with self._lock:
            items = self._held().of_bulks.items.get(bulk_id, {})
            found = [
                item
                for item in items.values()
                if item.position > after and outcome in {None, item.outcome}
            ]
            return found[:limit]

    def write_bulk(self, bulk: Bulk, items: Sequence[BulkItem], messages: Sequence[Sent]) -> bool:
        """Replace it, unless it was changed since it was read."""
        with self._lock:
            tables = self._held().of_bulks
            if tables.bulks[bulk.id].revision != bulk.revision:
                return False
            tables.bulks[bulk.id] = replace(bulk, revision=bulk.revision + 1, counts={})
            tables.items[bulk.id].update({item.position: item for item in items})
            for one in messages:
                self._send(one)
            return True

    def _send(self, one: Sent) -> None:
        if isinstance(one.message, Noted):
            shard = shard_of(one.run_id, self.shards())
            self._post(shard, one.run_id, encode_message(one.message))
        else:
            self.send(one.run_id, one.message)

    def rows(self, run_ids: Sequence[str]) -> list[RunSummary]:
        """The rows of these runs."""
        with self._lock:
            runs = self._held().runs
            return [runs[run_id] for run_id in run_ids if run_id in runs]

    def _counted(self, bulk: Bulk) -> Bulk:
        items = self._held().of_bulks.items[bulk.id].values()
        return replace(bulk, counts=dict(Counter(item.outcome for item in items)))
