"""Bulk operations, for principals: one whose runs somebody may not all see doesn't exist for them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec.structs import replace

from orchestrator.client.bulk import Bulks
from orchestrator.console.access import Principal
from orchestrator.console.desk import Desk
from orchestrator.console.requests import Asked, BulkChange, OperationName
from orchestrator.errors import BulkNotFoundError, InvalidInputError
from orchestrator.journal.bulk import Bulk, BulkItem, BulkLimits, BulkOperation, Outcome
from orchestrator.journal.outcome import KeyReusedError
from orchestrator.journal.port import RunFilter
from orchestrator.kernel import messages as msg

_LISTED = 100


class BulkDesk:
    """Recording, looking at and steering them. Safe for threads."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def start(
        self,
        who: Principal,
        operation: OperationName,
        asked: Asked,
        runs: RunFilter | Sequence[str],
        *,
        limits: BulkLimits,
        key: str = "",
    ) -> tuple[Bulk, bool]:
        """Record one, and whether it is new under this idempotency key. Raises ``KeyReusedError``,
        ``InvalidInputError``, ``RunNotFoundError``.
        """
        message = asked.message(operation, at=self._desk.clock(), actor=who.name)
        if not isinstance(message, BulkOperation):
            raise InvalidInputError(f"{operation!r} can't be done in bulk")
        chosen = self._chosen(who, runs)
        bulks = self._bulks(who)
        bulk_id = hashlib.sha256(f"{who.name}\0{key}".encode()).hexdigest()[:32] if key else ""
        before = self._known(bulks, bulk_id)
        if before is None:
            return bulks.start(message, chosen, limits=limits, bulk_id=bulk_id), True
        if replace(before.message, at=message.at) != message:
            raise KeyReusedError("this idempotency key was used for another operation before")
        return before, False

    def list(self, who: Principal) -> Sequence[Bulk]:
        """The newest ones first."""
        return [bulk for bulk in self._bulks(who).list(_LISTED) if _may_see(who, bulk)]

    def get(self, who: Principal, bulk_id: str) -> Bulk:
        """One. Raises ``BulkNotFoundError``."""
        found = self._bulks(who).get(bulk_id)
        if not _may_see(who, found):
            raise BulkNotFoundError(f"there is no bulk operation {bulk_id!r}")
        return found

    def items(
        self, who: Principal, bulk_id: str, outcome: Outcome | None, after: int, limit: int
    ) -> Sequence[BulkItem]:
        """What came of each run, in order, behind a position. Raises ``BulkNotFoundError``."""
        bulk = self.get(who, bulk_id)
        found = self._bulks(who).items(bulk.id, outcome=outcome, after=after, limit=limit)
        return self._desk.items(who, found)

    def change(
        self,
        who: Principal,
        bulk_id: str,
        change: BulkChange,
        reason: str,
        expects: int | None = None,
    ) -> Bulk:
        """Pause, resume, approve or abort one. Raises ``OperationRefusedError``, ``BulkChangedError``,
        ``BulkNotFoundError``.
        """
        bulk = self.get(who, bulk_id)
        bulks = self._bulks(who)
        match change:
            case "pause":
                return bulks.pause(bulk.id, reason=reason, expects=expects)
            case "resume":
                return bulks.resume(bulk.id, reason=reason, expects=expects)
            case "approve":
                return bulks.approve(bulk.id, reason=reason, expects=expects)
            case "abort":
                return bulks.abort(bulk.id, reason=reason, expects=expects)

    def _chosen(self, who: Principal, runs: RunFilter | Sequence[str]) -> RunFilter | Sequence[str]:
        if not isinstance(runs, RunFilter):
            return [self._desk.row(who, run).run_id for run in runs]
        if runs == RunFilter():
            raise InvalidInputError("an empty filter would choose every run: name something")
        return replace(runs, sagas=who.sagas)

    def _known(self, bulks: Bulks, bulk_id: str) -> Bulk | None:
        if not bulk_id:
            return None
        try:
            return bulks.get(bulk_id)
        except BulkNotFoundError:
            return None

    def _bulks(self, who: Principal) -> Bulks:
        return self._desk.clients(who.name).bulk


def operation_of(bulk: Bulk) -> str:
    """What it does to each run, in words."""
    name = msg.operation_name(bulk.message)
    step = bulk.message.step if isinstance(bulk.message, msg.Retry) else None
    return f"{name} {step}" if step else name


def _may_see(who: Principal, bulk: Bulk) -> bool:
    return all(map(who.may_see, bulk.sagas))
