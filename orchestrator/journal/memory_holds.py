"""Holds in this process's memory."""

from __future__ import annotations

from threading import RLock
from typing import Protocol

from orchestrator.journal.hold import Hold
from orchestrator.journal.records import shard_of
from orchestrator.kernel.codec import encode_message
from orchestrator.kernel.messages import Noted


class _Tables(Protocol):
    holds: dict[str, Hold]


class MemoryHolds:
    """The part of a ``MemoryJournal`` that keeps holds; see the port."""

    _lock: RLock

    def _held(self) -> _Tables:
        raise NotImplementedError

    def _post(self, shard: int, run_id: str, data: bytes) -> None:
        raise NotImplementedError

    def shards(self) -> int:
        """How many shards the journal has."""
        raise NotImplementedError

    def holds(self, limit: int = 1_000, *, in_force: bool = True) -> list[Hold]:
        """The newest first."""
        with self._lock:
            known = self._held().holds.values()
            found = [hold for hold in known if hold.released_at is None or not in_force]
        return sorted(found, key=lambda hold: (-hold.at, hold.id))[:limit]

    def place_hold(self, hold: Hold) -> bool:
        """Put it into force, unless its saga or service is held."""
        with self._lock:
            holds = self._held().holds
            held = {one.subject for one in holds.values() if one.released_at is None}
            if hold.id in holds or hold.subject in held:
                return False
            holds[hold.id] = hold
            self.note(hold.subject, Noted(at=hold.at, actor=hold.actor, event=hold.placed()))
            return True

    def release_hold(self, hold: Hold) -> bool:
        """Write its end, unless it has one."""
        event = hold.released()
        with self._lock:
            holds = self._held().holds
            if hold.id not in holds or holds[hold.id].released_at is not None:
                return False
            holds[hold.id] = hold
            self.note(hold.subject, Noted(at=event.at, actor=event.actor, event=event))
            return True

    def note(self, subject: str, message: Noted) -> None:
        """Put what the log has to say of no run into the inbox."""
        with self._lock:
            self._post(shard_of(subject, self.shards()), subject, encode_message(message))
