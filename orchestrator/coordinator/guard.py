"""Where what takes two people is stopped: every operation on a run and every wave of a bulk operation passes here.

A bulk operation is approved as a whole. What it then sends to its runs says which one it belongs to, and is held
against the record: whether it was approved, is about this run, and asks for just that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.errors import BulkNotFoundError, OperationRefusedError
from orchestrator.journal.bulk import Bulk, BulkNote
from orchestrator.journal.port import WriterJournal
from orchestrator.kernel import messages as msg
from orchestrator.kernel import second
from orchestrator.kernel.decide import Turn, react
from orchestrator.kernel.second import TwoPeople
from orchestrator.kernel.state import RunState

_KNOWN_MAX = 4
"""Bulk operations whose runs are kept in mind."""


class _Approved(NamedTuple):
    """A bulk operation that two people stand behind, and what it sends to each run."""

    second: str
    parts: Mapping[str, msg.Operation]


class Guard:
    """Holds a rule against what is asked for. Not thread-safe, like the coordinator."""

    def __init__(self, journal: WriterJournal, rule: TwoPeople) -> None:
        self._journal = journal
        self._rule = rule
        self._approved: dict[str, _Approved] = {}

    def take(self, run: RunState, message: msg.Inbound) -> Turn:
        """What a message leads to. Raises ``JournalUnavailableError``."""
        if isinstance(message, msg.Reply):  # nearly all of them
            return react(run, message)
        by = self._approved_by(run, message) if isinstance(message, msg.Operation) else ""
        return second.take(run, message, self._rule, approved_by=by)

    def held(self, bulk: Bulk, now: float) -> Bulk | None:
        """A bulk operation as one that waits for a second person, or whose time for that is over; None if it needs
        none, or has one.
        """
        name = msg.operation_name(bulk.message)
        if not self._rule.of_many(name, bulk.sagas):
            return None
        why = ""
        if bulk.second:
            try:
                self._rule.check(bulk.message.actor, bulk.second)
            except OperationRefusedError as error:
                why = str(error)
            else:
                return _too_late(bulk, now) if _is_late(bulk, now) else None
        note = BulkNote(now, "waits for a second person", reason=why)
        expires_at = bulk.expires_at or now + self._rule.expires_s
        return replace(
            bulk, state="waiting", second="", expires_at=expires_at, notes=(*bulk.notes, note)
        )

    def _approved_by(self, run: RunState, deed: msg.Operation) -> str:
        """The second person behind the bulk operation that it is a part of; empty if it is of none."""
        if deed.bulk in {"", msg.MANY} or not self._rule.needed(run, deed):
            return ""
        approved = self._approved.get(deed.bulk) or self._looked_up(deed.bulk)
        wanted = None if approved is None else approved.parts.get(run.run_id)
        if approved is None or wanted is None or replace(deed, at=wanted.at) != wanted:
            return ""
        return approved.second

    def _looked_up(self, bulk_id: str) -> _Approved | None:
        try:
            bulk = self._journal.bulk(bulk_id)
            self._rule.check(bulk.message.actor, bulk.second)
        except (BulkNotFoundError, OperationRefusedError):
            return None
        if not bulk.wave:  # nothing of it was sent, and its approval may have come too late
            return None
        items = self._journal.bulk_items(bulk.id, limit=bulk.total)
        parts = {item.run_id: bulk.part(item.run_id, bulk.created_at) for item in items}
        if len(self._approved) >= _KNOWN_MAX:
            self._approved.clear()
        approved = self._approved[bulk_id] = _Approved(bulk.second, parts)
        return approved


def _is_late(bulk: Bulk, now: float) -> bool:
    """Whether it was approved when its time was over, whatever the clock of who approved it said. Once it has begun,
    it may take as long as it takes.
    """
    return not bulk.wave and bool(bulk.expires_at) and now > bulk.expires_at


def _too_late(bulk: Bulk, now: float) -> Bulk:
    why = f"{bulk.second} approved it when its time was over: start it again"
    note = BulkNote(now, "aborted", reason=why)
    return replace(bulk, state="aborted", second="", why=why, notes=(*bulk.notes, note))
