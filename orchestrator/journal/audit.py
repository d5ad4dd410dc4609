"""Who did what, when, why, to which run, with the run's state before and after: all from the log itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from orchestrator.errors import IllegalEventError
from orchestrator.journal.port import Operated, OperationFilter, ReaderJournal, Recorded
from orchestrator.kernel import events as ev
from orchestrator.kernel.asked import OPERATION_OF, operation_of
from orchestrator.kernel.evolve import evolve, launched
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import RunState
from orchestrator.kernel.summary import summarize


class Doing(msgspec.Struct, frozen=True):
    """One thing that somebody did, or was refused."""

    at: float
    """When it was asked for, in epoch seconds."""
    actor: str
    operation: str
    refused: str
    """Why it was refused; empty if it was done."""
    reason: str
    run_id: str
    saga: str
    step: str
    """Of a bulk operation: what became of it."""
    before: str
    """The run's status before it; empty where its events can't be played any more."""
    after: str
    """The run's status with all that followed at once."""
    step_before: str
    step_after: str
    request: str
    shard: int
    offset: int
    intact: bool
    """This event, and every other of the run, is what was written and follows what was written before it."""
    event: dict[str, Any]
    second: str = ""
    """Who approved it, where that takes two people."""

    @property
    def is_on_run(self) -> bool:
        """Else ``run_id`` names a saga, a service or a prepared branch or a bulk operation, as ``kind:name``."""
        return ":" not in self.run_id


class AuditPage(msgspec.Struct, frozen=True):
    """One page of an audit, newest first. ``cursor`` continues, None at the end."""

    entries: tuple[Doing, ...]
    cursor: str | None
    intact: bool
    """The hash chain holds for every event of the runs shown."""
    altered: tuple[str, ...]
    """Where it doesn't: the places in the log."""


class _Seen(msgspec.Struct, frozen=True):
    before: RunState
    after: RunState


def audit(
    journal: ReaderJournal,
    where: OperationFilter | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> AuditPage:
    """A page of what was done to runs. Raises ``InvalidInputError`` for a cursor or an operation that is none."""
    page = journal.operations(where or OperationFilter(), cursor, limit)
    by_shard: dict[int, list[str]] = defaultdict(list)
    for run_id, shard in sorted({(o.record.run_id, o.record.shard) for o in page.operations}):
        by_shard[shard].append(run_id)
    altered: dict[str, list[int]] = {}
    seen: dict[tuple[int, int], _Seen] = {}
    programs: dict[str, Program] = {}
    for shard, run_ids in by_shard.items():
        altered |= journal.altered(shard, run_ids)
        for run_id in run_ids:
            seen |= _played(journal, run_id, programs)
    places = {
        f"shard {one.record.shard} offset {offset}"
        for one in page.operations
        for offset in altered.get(one.record.run_id, ())
    }
    return AuditPage(
        tuple(
            _doing(one, seen, intact=one.record.run_id not in altered) for one in page.operations
        ),
        page.cursor,
        not altered,
        tuple(sorted(places)),
    )


def _played(
    journal: ReaderJournal, run_id: str, programs: dict[str, Program]
) -> dict[tuple[int, int], _Seen]:
    """The states around each of a run's operations; none for a log that can't be played any more."""
    try:
        return dict(_around(journal, journal.history(run_id), programs))
    except IllegalEventError:  # tampered with: the page says so
        return {}


def _around(
    journal: ReaderJournal, records: Sequence[Recorded], programs: dict[str, Program]
) -> list[tuple[tuple[int, int], _Seen]]:
    states: list[RunState] = []
    for record in records:
        event = record.event
        if not states:
            if not isinstance(event, ev.RunLaunched):
                raise IllegalEventError(f"run {record.run_id} begins with {record.type}")
            if event.plan not in programs:
                programs[event.plan] = Program(journal.plan(event.plan), event.plan)
            states.append(launched(programs[event.plan], event))
        elif event is not None:
            states.append(evolve(states[-1], event))
    return [
        ((record.shard, record.offset), _Seen(states[index - 1], states[_last(records, index)]))
        for index, record in enumerate(records)
        if index and record.event is not None and operation_of(record.event)
    ]


def _last(records: Sequence[Recorded], index: int) -> int:
    """The last event of the same turn that followed by itself: it has the operation's time and nobody's name."""
    at = records[index].at
    while index + 1 < len(records) and not records[index + 1].actor and records[index + 1].at == at:
        index += 1
    return index


def _doing(one: Operated, seen: dict[tuple[int, int], _Seen], *, intact: bool) -> Doing:
    record = one.record
    event: Any = record.event
    around = seen.get((record.shard, record.offset))
    before, after = (None, None) if around is None else (around.before, around.after)
    step = str(getattr(event, "step", None) or getattr(event, "what", ""))
    return Doing(
        at=record.at,
        actor=record.actor,
        operation=operation_of(event) if event else OPERATION_OF.get(record.type, ""),
        refused=getattr(event, "why", ""),
        reason=getattr(event, "reason", ""),
        run_id=record.run_id,
        saga=one.saga,
        step=step,
        before=_status(before),
        after=_status(after),
        step_before=_step(before, step),
        step_after=_step(after, step),
        request=getattr(event, "request", "") or getattr(event, "signal_id", ""),
        shard=record.shard,
        offset=record.offset,
        intact=intact,
        event=msgspec.to_builtins(event) if event else {},
        second=getattr(event, "second", ""),
    )


def _status(run: RunState | None) -> str:
    return "" if run is None else summarize(run, 0, 0.0).status


def _step(run: RunState | None, key: str) -> str:
    return run.steps[key].status.value if run is not None and key in run.steps else ""
