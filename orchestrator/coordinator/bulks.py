"""Carrying on with bulk operations: a wave at a time, each only after the one before has settled well.

All it knows is in the journal's database, so any coordinator goes on where another stopped. Two that do at once are
harmless: a change is made once, by its revision, and a run is asked once, by the id of the request.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from orchestrator.coordinator.guard import Guard
from orchestrator.errors import OutcomeUnknownError
from orchestrator.journal.bulk import FAILURES, Bulk, BulkItem, BulkNote, Outcome, Sent
from orchestrator.journal.port import Recorded, WriterJournal
from orchestrator.journal.records import shard_of
from orchestrator.kernel import events as ev
from orchestrator.kernel.messages import operation_name
from orchestrator.kernel.summary import RunSummary

_log = logging.getLogger(__name__)

_EVERY_S = 0.5
_AT_ONCE = frozenset({"pause", "resume"})
"""Operations that are done when they are taken."""
_RESTS = frozenset({"stuck", "completed", "compensated"})


class Bulks:
    """Looks after the bulk operations of the shards held."""

    def __init__(
        self,
        journal: WriterJournal,
        held: Callable[[], Sequence[int]],
        clock: Callable[[], float],
        guard: Guard,
    ) -> None:
        self._journal = journal
        self._guard = guard
        self._held = held
        self._clock = clock
        self._look_at = 0.0

    def go_on(self) -> None:
        """Bring each a step further, now and then. Raises ``JournalUnavailableError``."""
        now = self._clock()
        held = self._held()
        if now < self._look_at or not held:
            return
        self._look_at = now + _EVERY_S
        shards = self._journal.shards()
        for bulk in self._journal.bulks(running=True):
            if shard_of(bulk.id, shards) in held:
                self._further(bulk, now)

    def _further(self, bulk: Bulk, now: float) -> None:
        held = self._guard.held(bulk, now)
        if held is not None:
            self._journal.write_bulk(held, (), ())
            return
        sent = self._journal.bulk_items(bulk.id, outcome="sent", limit=bulk.total)
        settled = list(self._settled(bulk, sent, now))
        try:
            if len(settled) < len(sent):
                if settled:
                    self._journal.write_bulk(bulk, settled, ())
                return
            self._next(bulk, settled, now)
        except OutcomeUnknownError:
            _log.warning("how far bulk operation %s is isn't known: looking again", bulk.id)

    def _settled(self, bulk: Bulk, sent: Sequence[BulkItem], now: float) -> Iterator[BulkItem]:
        """Those whose outcome is known now."""
        late = now >= bulk.wave_at + bulk.limits.settle_s
        rows = {row.run_id: row for row in self._journal.rows([item.run_id for item in sent])}
        name = operation_name(bulk.message)
        looked_at = [
            row for row in rows.values() if late or row.status in _RESTS or name in _AT_ONCE
        ]
        histories = self._histories(looked_at)
        for item in sent:
            row = rows.get(item.run_id)
            if row is None or item.run_id not in histories:
                continue
            found = _outcome(bulk, row, histories[item.run_id], late=late)
            if found is not None:
                yield replace(item, outcome=found[0], why=found[1])

    def _histories(self, rows: Sequence[RunSummary]) -> Mapping[str, Sequence[Recorded]]:
        by_shard: dict[int, list[str]] = defaultdict(list)
        for row in rows:
            by_shard[row.shard].append(row.run_id)
        found: dict[str, Sequence[Recorded]] = {}
        for shard, run_ids in by_shard.items():
            found |= self._journal.histories(shard, run_ids)
        return found

    def _next(self, bulk: Bulk, settled: Sequence[BulkItem], now: float) -> None:
        """The wave has settled: stop, end, or send the next."""
        failed, size = self._failures(bulk, settled)
        if bulk.wave > bulk.excused and size and failed > bulk.limits.failures_max * size:
            why = f"{failed} of the {size} runs of wave {bulk.wave} failed"
            note = BulkNote(now, "stopped", reason=why)
            stopped = replace(bulk, state="stopped", why=why, notes=(*bulk.notes, note))
            self._journal.write_bulk(stopped, settled, ())
            return
        wave = bulk.wave + 1
        waiting = self._journal.bulk_items(bulk.id, outcome="waiting", limit=bulk.limits.size(wave))
        if not waiting:
            note = BulkNote(now, "done")
            done = replace(bulk, state="done", notes=(*bulk.notes, note))
            self._journal.write_bulk(done, settled, ())
            return
        asked = [replace(item, wave=wave, outcome="sent") for item in waiting]
        messages = [Sent(item.run_id, bulk.part(item.run_id, now)) for item in asked]
        on = replace(bulk, wave=wave, wave_at=now)
        self._journal.write_bulk(on, [*settled, *asked], messages)

    def _failures(self, bulk: Bulk, settled: Sequence[BulkItem]) -> tuple[int, int]:
        """How many of the present wave failed, and how many it had."""
        if not bulk.wave:
            return 0, 0
        known = {item.position: item for item in settled}
        before = sum(bulk.limits.size(wave) for wave in range(1, bulk.wave))
        items = self._journal.bulk_items(
            bulk.id, after=before - 1, limit=bulk.limits.size(bulk.wave)
        )
        outcomes = [known.get(item.position, item).outcome for item in items]
        return sum(outcome in FAILURES for outcome in outcomes), len(outcomes)


def _outcome(
    bulk: Bulk, row: RunSummary, records: Sequence[Recorded], *, late: bool
) -> tuple[Outcome, str] | None:
    """What came of it for one run, and why; None while that isn't known."""
    request = bulk.request(row.run_id)
    taken = [
        place
        for place, record in enumerate(records)
        if record.event is not None and record.event.request == request
    ]
    if not taken:
        return ("failed", "no coordinator took it in time") if late else None
    first = records[taken[0]].event
    if isinstance(first, ev.OperationRefused):
        return "refused", first.why
    if operation_name(bulk.message) in _AT_ONCE or row.status in {"completed", "compensated"}:
        return "done", ""
    again = any(
        isinstance(record.event, ev.StepParked | ev.HeuristicFound)
        for record in records[taken[0] :]
    )
    if row.status == "stuck" and again:
        return "failed", row.reason
    return ("unsettled", f"still {row.status}") if late else None
