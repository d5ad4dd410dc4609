"""One turn's decisions: messages in, events and new states out, nothing changed yet.

The live states are replaced only once the journal has the events, so a turn that fails leaves
nothing behind.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import NamedTuple

from msgspec.structs import replace

from orchestrator.coordinator.guard import Guard
from orchestrator.coordinator.live import LiveRun, OwnedShard
from orchestrator.coordinator.ownership import Ownership, Programs
from orchestrator.errors import FencedError, JournalUnavailableError
from orchestrator.journal.port import ShardWrite
from orchestrator.kernel.decide import launch
from orchestrator.kernel.decide_group import is_waitable
from orchestrator.kernel.events import Event, OperationRefused
from orchestrator.kernel.messages import Inbound, Launch, Noted, Reply
from orchestrator.kernel.state import RunState
from orchestrator.kernel.summary import RunSummary, summarize
from orchestrator.telemetry.bound import Subject, bind, unbind

_log = logging.getLogger(__name__)


class Arrival(NamedTuple):
    """A message for a run, and the inbox row it came from, if it did."""

    shard: int
    run_id: str
    message: Inbound
    inbox_id: int | None = None

    def subject(self) -> Subject:
        """What a log record made while it is handled says of it."""
        message = self.message
        return Subject(
            self.run_id,
            step=getattr(message, "step", None) or "",
            kind=getattr(message, "kind", ""),
            attempt=getattr(message, "attempt", 0),
        )


class Draft:
    """What a turn is about to write to one shard."""

    __slots__ = ("can_wait", "changed", "consumed", "events", "moved", "owned")

    def __init__(self, owned: OwnedShard) -> None:
        self.owned = owned
        self.events: list[tuple[str, Event]] = []
        self.consumed: list[int] = []
        self.changed: dict[str, LiveRun] = {}
        self.moved: list[RunSummary] = []
        """Rows with another status than before, once they are made."""
        self.can_wait = True
        """Nothing depends yet on its being durable."""

    def write(self, now: float, due_to: float) -> ShardWrite:
        """The journal's form of it. What was due up to ``due_to`` has been sent."""
        tenure = self.owned.tenure
        troubled = {
            run_id
            for run_id, live in self.changed.items()
            if live.row is not None and live.row.incidents
        }
        rows = self._rows(now)
        caught_up = self.owned.held == 0
        return ShardWrite(
            tenure=tenure,
            events=self.events,
            runs=rows,
            consumed=self.consumed,
            cursor_offset=tenure.next_offset - 1 if caught_up else tenure.cursor_offset,
            cursor_at=due_to if caught_up else tenure.cursor_at,
            relieved=[row.run_id for row in rows if row.run_id in troubled] if troubled else (),
        )

    def stop(self, run_id: str, defect: str) -> None:
        """Show a run as stuck that a defect of ours keeps from going on; what it has in the
        journal stays true.
        """
        live = self.changed.get(run_id) or self.owned.runs.get(run_id)
        self.can_wait = False
        if live is not None:
            stopped = self.changed[run_id] = LiveRun(live.state, live.row)
            stopped.sent, stopped.flying = live.sent, live.flying
            stopped.defect = defect

    def _rows(self, now: float) -> list[RunSummary]:
        rows: list[RunSummary] = []
        for live in self.changed.values():
            row = summarize(live.state, self.owned.number, now)
            if live.defect:
                row = replace(row, status="stuck", reason=live.defect)
            if live.row is None or replace(live.row, updated_at=now) != row:
                rows.append(row)
                if live.row is None or live.row.status != row.status:
                    self.moved.append(row)
                live.row = row
        return rows


class Decisions:
    """All drafts of one turn."""

    def __init__(
        self, ownership: Ownership, programs: Programs, guard: Guard, counts: Counter[str]
    ) -> None:
        self.drafts: dict[int, Draft] = {}
        self.meaningful: list[Arrival] = []
        """The messages that led to something."""
        self._ownership = ownership
        self._programs = programs
        self._guard = guard
        self._counts = counts

    @property
    def can_wait(self) -> bool:
        """Whether all of it may be written later, with whatever comes then."""
        return all(draft.can_wait for draft in self.drafts.values())

    def take(self, arrival: Arrival) -> None:
        """Decide on one message. A defect stops only the run it shows in."""
        owned = self._ownership.shards.get(arrival.shard)
        if owned is None:
            return
        token = bind(arrival)
        try:
            self._take(self.draft(owned), arrival)
        finally:
            unbind(token)

    def _take(self, draft: Draft, arrival: Arrival) -> None:
        try:
            self._decide(draft, arrival)
        except (JournalUnavailableError, FencedError):
            raise
        except Exception as error:  # noqa: BLE001 - a defect must stop one run, not all of them
            self._counts["defects"] += 1
            _log.exception("run %s can't take %s", arrival.run_id, type(arrival.message).__name__)
            if isinstance(arrival.message, Launch):
                draft.owned.poison.add(arrival.inbox_id)
                return
            draft.stop(arrival.run_id, f"internal error: {error}")
        if arrival.inbox_id is not None:
            draft.consumed.append(arrival.inbox_id)
            draft.can_wait = False

    def draft(self, owned: OwnedShard) -> Draft:
        """The draft of one shard."""
        draft = self.drafts.get(owned.number)
        if draft is None:
            draft = self.drafts[owned.number] = Draft(owned)
        return draft

    def _decide(self, draft: Draft, arrival: Arrival) -> None:
        message = arrival.message
        if isinstance(message, Noted):
            draft.events.append((arrival.run_id, message.event))
            return
        current = draft.changed.get(arrival.run_id) or draft.owned.runs.get(arrival.run_id)
        if isinstance(message, Launch):
            if current is None:
                turn = launch(self._programs.get(message.plan), message)
                self._note(draft, arrival, None, turn.events, turn.run)
            return
        if current is None and arrival.inbox_id is not None:
            current = self._ownership.history(arrival.shard, arrival.run_id)
        if current is None:
            self._counts["dropped: the run has ended"] += 1
            return
        events, state = self._guard.take(current.state, message)
        if events:
            self._note(draft, arrival, current, events, state)
        elif isinstance(message, Reply):
            self._counts["dropped: nothing outstanding"] += 1

    def _note(
        self,
        draft: Draft,
        arrival: Arrival,
        current: LiveRun | None,
        events: list[Event],
        state: RunState,
    ) -> None:
        run_id = arrival.run_id
        self.meaningful.append(arrival)
        if current is None or not is_waitable(events, current.state, state):
            draft.can_wait = False
        draft.events.extend((run_id, event) for event in events)
        changed = draft.changed.get(run_id)
        if changed is None:
            changed = draft.changed[run_id] = LiveRun(
                state, None if current is None else current.row
            )
            if current is not None:
                changed.sent, changed.flying = current.sent, current.flying
                changed.asked = current.asked
        changed.state = state
        if any(isinstance(event, OperationRefused) for event in events):
            self._counts["operations refused"] += 1
