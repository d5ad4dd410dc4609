"""Bulk operations from Python: one operation for many runs, a small wave first, stopped when too much fails."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from orchestrator.errors import BulkChangedError, InvalidInputError, OperationRefusedError
from orchestrator.journal.bulk import (
    BULK_OPERATIONS,
    Bulk,
    BulkItem,
    BulkLimits,
    BulkNote,
    BulkOperation,
    BulkState,
    Outcome,
)
from orchestrator.journal.port import ReaderJournal, RunFilter
from orchestrator.journal.records import shard_of
from orchestrator.kernel.messages import operation_name
from orchestrator.kernel.second import NOBODY
from orchestrator.kernel.summary import RunSummary

RUNS_MAX = 100_000
"""The most runs of one bulk operation."""
_PAGE = 500
_ENDED: frozenset[BulkState] = frozenset({"done", "aborted"})


class Bulks:
    """``client.bulk``. They are carried on by the coordinators, whether this process lives or not."""

    def __init__(
        self,
        journal: ReaderJournal,
        actor: str,
        clock: Callable[[], float],
        poke: Callable[[int], None],
    ) -> None:
        self._journal = journal
        self._actor = actor
        self._clock = clock
        self._poke = poke

    def start(
        self,
        operation: BulkOperation,
        runs: RunFilter | Sequence[str],
        *,
        limits: BulkLimits | None = None,
        bulk_id: str = "",
    ) -> Bulk:
        """Record an operation for the runs that fit now, or for those named; the same ``bulk_id`` counts once.

        Raises ``InvalidInputError`` for no runs, too many, or a filter that leaves none out; ``RunNotFoundError``.
        """
        name = operation_name(operation)
        if name not in BULK_OPERATIONS or operation.request or operation.expects is not None:
            raise InvalidInputError(f"{name} with these fields can't be done in bulk")
        limits = limits or BulkLimits()
        _check(limits)
        rows = self._matching(runs) if isinstance(runs, RunFilter) else self._named(runs)
        if not 0 < len(rows) <= RUNS_MAX:
            raise InvalidInputError(f"between 1 and {RUNS_MAX:,} runs, not {len(rows):,}")
        now = self._clock()
        actor = operation.actor or self._actor
        bulk = Bulk(
            id=bulk_id or uuid.uuid4().hex,
            message=replace(operation, at=now, actor=actor),
            sagas=tuple(sorted({row.saga for row in rows})),
            total=len(rows),
            limits=limits,
            notes=(BulkNote(now, "started", actor, operation.reason),),
        )
        self._journal.add_bulk(bulk, [row.run_id for row in rows])
        self._poke(rows[0].shard)
        return self._journal.bulk(bulk.id)

    def list(self, limit: int = 100) -> Sequence[Bulk]:
        """The newest ones first."""
        return self._journal.bulks(limit)

    def get(self, bulk_id: str) -> Bulk:
        """One, by its id or a prefix. Raises ``BulkNotFoundError``."""
        return self._journal.bulk(bulk_id)

    def items(
        self, bulk_id: str, *, outcome: Outcome | None = None, after: int = -1, limit: int = 500
    ) -> Sequence[BulkItem]:
        """What came of each of its runs, in order, behind a position."""
        bulk = self._journal.bulk(bulk_id)
        return self._journal.bulk_items(bulk.id, outcome=outcome, after=after, limit=limit)

    def pause(self, bulk_id: str, *, reason: str = "", expects: int | None = None) -> Bulk:
        """Send no further wave for now. This and the following raise ``OperationRefusedError``, and where
        ``expects`` is given they are for that revision only."""
        return self._change(bulk_id, "paused", "paused", reason, expects)

    def resume(self, bulk_id: str, *, reason: str = "", expects: int | None = None) -> Bulk:
        """Go on, also after it was stopped by failures: those are seen and don't stop it again."""
        return self._change(bulk_id, "running", "resumed", reason, expects)

    def approve(self, bulk_id: str, *, reason: str = "", expects: int | None = None) -> Bulk:
        """Be the second person for one that waits for it; the coordinators see to who may be."""
        return self._change(bulk_id, "running", "approved", reason, expects)

    def abort(self, bulk_id: str, *, reason: str = "", expects: int | None = None) -> Bulk:
        """Send no further wave ever; what was sent stays sent."""
        return self._change(bulk_id, "aborted", "aborted", reason, expects)

    def _change(
        self, bulk_id: str, state: BulkState, what: str, reason: str, expects: int | None
    ) -> Bulk:
        while True:
            bulk = self._journal.bulk(bulk_id)
            if expects is not None and expects != bulk.revision:
                raise BulkChangedError("the bulk operation has changed since you looked")
            if bulk.state in _ENDED or bulk.state == state:
                raise OperationRefusedError(f"the bulk operation is {bulk.state}")
            if state == "paused" and bulk.state != "running":
                raise OperationRefusedError(f"the bulk operation is {bulk.state} already")
            if what == "approved" or bulk.state == "waiting":
                self._check_approval(bulk, what)
            changed = replace(
                bulk,
                state=state,
                second=self._actor if what == "approved" else bulk.second,
                why="" if state == "running" else bulk.why,
                excused=bulk.wave if bulk.state == "stopped" else bulk.excused,
                notes=(*bulk.notes, BulkNote(self._clock(), what, self._actor, reason)),
            )
            if self._journal.write_bulk(changed, (), (changed.said(),)):
                self._poke(shard_of(changed.subject, self._journal.shards()))
                return self._journal.bulk(bulk.id)

    def _check_approval(self, bulk: Bulk, what: str) -> None:
        if bulk.state != "waiting":
            raise OperationRefusedError(
                f"the bulk operation is {bulk.state}: nobody has to approve it"
            )
        if what == "resumed":
            raise OperationRefusedError(
                "the bulk operation waits for a second person to approve it"
            )
        if what == "approved":
            NOBODY.check(bulk.message.actor, self._actor)
            if not bulk.awaits_second(self._clock()):
                raise OperationRefusedError(
                    "the bulk operation has waited too long for a second person: start it again"
                )

    def _matching(self, where: RunFilter) -> Sequence[RunSummary]:
        if where == RunFilter():
            raise InvalidInputError("an empty filter would choose every run: name something")
        found: Sequence[RunSummary] = ()
        cursor = None
        while len(found) <= RUNS_MAX:
            page = self._journal.runs(where, cursor, _PAGE)
            found = (*found, *page.runs)
            cursor = page.cursor
            if cursor is None:
                break
        return found

    def _named(self, runs: Sequence[str]) -> Sequence[RunSummary]:
        found = {row.run_id: row for row in map(self._journal.find, runs)}
        return tuple(found.values())


def _check(limits: BulkLimits) -> None:
    if min((*limits.canaries, limits.batch)) < 1:
        raise InvalidInputError("a wave has at least one run")
    if not 0 <= limits.failures_max <= 1 or limits.settle_s <= 0:
        raise InvalidInputError("failures_max is a share from 0 to 1, settle_s more than 0 seconds")
