"""The journal as the rest of the program sees it: an append-only event store of single-writer shards.

The primary key ``(shard, offset)`` decides who can write; leases only decide who should try.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from orchestrator.definition.plan import Plan
from orchestrator.journal.bulk import BulkJournal
from orchestrator.journal.hold import HoldJournal
from orchestrator.journal.incident import IncidentJournal
from orchestrator.kernel.events import Event
from orchestrator.kernel.messages import Inbound, Noted
from orchestrator.kernel.summary import RunSummary


class Recorded(msgspec.Struct, frozen=True):
    """An event at its place in the journal. ``event`` is None for a shard's own records (a change of tenure)."""

    shard: int
    offset: int
    run_id: str
    type: str
    at: float
    actor: str
    event: Event | None
    hash: str


class InboxItem(msgspec.Struct, frozen=True):
    """A message from a client, waiting for its shard's writer."""

    id: int
    shard: int
    run_id: str
    message: Inbound


class Tenure(msgspec.Struct, frozen=True):
    """One coordinator's time as a shard's writer. ``epoch`` grows with every change; it fences participants."""

    shard: int
    epoch: int
    next_offset: int
    chain: str
    """The hash of the last record."""
    cursor_offset: int
    """Everything implied up to here has been dispatched."""
    cursor_at: float
    """Everything due up to this time has been dispatched."""


class ShardWrite(msgspec.Struct, frozen=True):
    """What one turn adds to one shard."""

    tenure: Tenure
    """As it was before the write."""
    events: Sequence[tuple[str, Event]]
    """``(run_id, event)`` in order; may be empty."""
    runs: Sequence[RunSummary]
    """The read-model rows of the runs that changed, one each, as they are after the events."""
    consumed: Sequence[int]
    """Inbox ids to delete. Where one is gone, the log was restored and has forgotten it: that is fenced."""
    cursor_offset: int
    cursor_at: float
    relieved: Sequence[str] = ()
    """Those of the runs that had incidents before: what is left of them is in ``runs``."""


class LeaseState(msgspec.Struct, frozen=True):
    """Who holds a shard's lease, and how far the shard has got."""

    shard: int
    owner: str
    epoch: int
    expires_at: float
    end: int
    """The offset of the shard's last record."""


class RunFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which runs to list. ``text`` looks in id, key, saga and reason; times in epoch seconds."""

    status: tuple[str, ...] = ()
    saga: str | None = None
    sagas: tuple[str, ...] = ()
    """Only runs of these, if any are named: what the asker may see, beside what was asked for."""
    tags: dict[str, str] = {}
    key: str | None = None
    text: str | None = None
    launched_after: float | None = None
    launched_before: float | None = None
    stuck: bool = False
    step: str | None = None
    """Runs that are at, or parked at, this step."""
    ids: tuple[str, ...] = ()
    cluster: str | None = None
    """Runs with an open incident of this cluster."""


class OperationFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which operations to list; times in epoch seconds. ``operation`` is its name: retry, skip, cancel and so on."""

    actor: str | None = None
    operation: str | None = None
    saga: str | None = None
    sagas: tuple[str, ...] = ()
    """Only of these, if any are named: what the asker may see."""
    run: str | None = None
    """The whole id of a run."""
    after: float | None = None
    before: float | None = None
    refused: bool = False
    """Only those that were refused."""


class Operated(msgspec.Struct, frozen=True):
    """An operation as its event records it. The record's event is None where it can't be read any more."""

    record: Recorded
    saga: str


class OperationPage(msgspec.Struct, frozen=True):
    """One page of operations, newest first. ``cursor`` continues, None at the end."""

    operations: tuple[Operated, ...]
    cursor: str | None


class Page(msgspec.Struct, frozen=True):
    """One page of runs, newest first. ``cursor`` continues, None at the end: a page may have few runs, or none, and a
    cursor all the same.
    """

    runs: tuple[RunSummary, ...]
    cursor: str | None
    looked_at: int = 0
    """In how many runs a text was looked for, if the page ends because of that; else 0."""


class Recent(msgspec.Struct, frozen=True):
    """Records since a time, in order within their shards; all of them from ``covered`` on, in epoch seconds."""

    records: list[Recorded]
    covered: float


class Happened(msgspec.Struct, frozen=True):
    """How many records of a type are in which minute after the time asked for; all of those from ``covered`` on."""

    numbers: dict[tuple[str, int], int]
    covered: float


class Launched(msgspec.Struct, frozen=True):
    """Whether a launch made a new run, or found the one with its key."""

    run_id: str
    shard: int
    created: bool


class LaunchRequest(msgspec.Struct, frozen=True):
    """A launch as the client hands it in. ``message`` is a ``kernel.messages.Launch``."""

    message: Any
    plan: Plan


class Archived(msgspec.Struct, frozen=True):
    """How much was moved from the journal to files."""

    files: int
    runs: int
    events: int


Summarize = Callable[[Plan, list[Recorded]], RunSummary]
"""Makes a run's read-model row from its plan and its events."""


class WriterJournal(BulkJournal, HoldJournal, Protocol):
    """What a coordinator needs. Errors: ``FencedError``, ``OutcomeUnknownError``, ``JournalUnavailableError``."""

    def shards(self) -> int:
        """How many shards the journal has; fixed when its schema was made."""
        ...

    def take_leases(self, owner: str, now: float, ttl_s: float, wanted: int) -> list[int]:
        """Renew this owner's leases and take free or expired ones up to ``wanted`` in all; returns all it holds.
        Gives back those over ``wanted``."""
        ...

    def drop_leases(self, owner: str, shards: Sequence[int]) -> None:
        """Give leases back at once."""
        ...

    def leases(self) -> list[LeaseState]:
        """Who writes what."""
        ...

    def coordinators(self, now: float) -> list[str]:
        """Owners alive now (they renew even with no shard), so that shards can be shared out evenly."""
        ...

    def begin_tenure(self, shard: int, owner: str, at: float, beyond: int = 0) -> Tenure:
        """Become the shard's writer: append a record with the next epoch, which fences every earlier writer.

        The epoch is above ``beyond`` too: a participant may have heard of a tenure that this journal has forgotten.
        """
        ...

    def append(self, writes: Sequence[ShardWrite]) -> list[Tenure]:
        """One transaction for everything: events with gapless offsets and chained hashes, read model, inbox
        deletions, cursors. Returns the tenures after it. All or nothing; a lost primary key raises
        ``FencedError`` with its shard. A commit whose outcome is unknown raises ``OutcomeUnknownError``."""
        ...

    def inbox(self, shards: Sequence[int], after: dict[int, int], limit: int) -> list[InboxItem]:
        """Waiting messages in order of id per shard, those above ``after[shard]`` where given.

        Ids of concurrent transactions may become visible out of order, so a caller that wants
        all of them gives no ``after``."""
        ...

    def open_runs(self, shard: int) -> list[str]:
        """Runs of the shard that still need the coordinator, from the read model."""
        ...

    def histories(self, shard: int, run_ids: Sequence[str]) -> dict[str, list[Recorded]]:
        """The events of several runs, each in order, in few queries."""
        ...

    def plan(self, plan_hash: str) -> Plan:
        """A stored plan."""
        ...


class ReaderJournal(BulkJournal, HoldJournal, IncidentJournal, Protocol):
    """What clients and views need."""

    def shards(self) -> int:
        """How many shards the journal has."""
        ...

    def launch(self, requests: Sequence[LaunchRequest], session: Any = None) -> list[Launched]:
        """Write launches to the inbox in one transaction (the caller's own with ``session``).

        A key that is taken gives the run that has it, decided by a unique index. Stores the plan;
        raises ``PlanConflictError`` when the saga's version is stored with another plan."""
        ...

    def send(self, run_id: str, message: Inbound) -> None:
        """Put a message for a run into its shard's inbox."""
        ...

    def note(self, subject: str, message: Noted) -> None:
        """Put what the log has to say of no run, under ``kind:name``, into the inbox."""
        ...

    def find(self, id_or_prefix: str) -> RunSummary:
        """One run; before its launch is taken from the inbox its status is ``accepted``.
        Raises ``RunNotFoundError``, ``AmbiguousRunError``."""
        ...

    def runs(self, where: RunFilter, cursor: str | None = None, limit: int = 50) -> Page:
        """A page of runs."""
        ...

    def counts(self) -> dict[str, dict[str, int]]:
        """Saga to status to number of runs."""
        ...

    def history(self, run_id: str) -> list[Recorded]:
        """A run's events in order."""
        ...

    def feed(self, shard: int, after: int, limit: int) -> list[Recorded]:
        """The shard's log from ``after`` on (exclusive), without holes."""
        ...

    def recent(self, since: float, limit: int) -> Recent:
        """Every shard's records since a time; of each shard only the last ``limit`` are looked at."""
        ...

    def happened(
        self, since: float, limit: int, types: Collection[str], sagas: Collection[str] = ()
    ) -> Happened:
        """How many records of these types each minute has, of runs of ``sagas`` if any are named."""
        ...

    def operations(
        self, where: OperationFilter, cursor: str | None = None, limit: int = 50
    ) -> OperationPage:
        """A page of what operators and clients did to runs, refused or not."""
        ...

    def altered(self, shard: int, run_ids: Sequence[str]) -> dict[str, list[int]]:
        """Offsets of events of these runs that aren't what was written, or don't follow what was written before
        them, by the shard's hash chain. Runs without any aren't in it."""
        ...

    def end(self, shard: int) -> int:
        """The offset of the shard's last record, 0 for none: compared with a tenure's ``next_offset`` it tells
        what a commit without an answer did."""
        ...

    def plans(self) -> list[Plan]:
        """Every stored plan."""
        ...

    def plan(self, plan_hash: str) -> Plan:
        """A stored plan."""
        ...

    def leases(self) -> list[LeaseState]:
        """Who writes what."""
        ...

    def archived(self, run_ids: Sequence[str]) -> dict[str, str]:
        """How those of the runs ended that were moved to an archive: ``completed`` or ``compensated``."""
        ...

    def archives(self) -> Archived:
        """How much was archived."""
        ...

    def verify(self) -> Iterable[str]:
        """Walk every shard's hash chain and offsets; yields one line per thing that is wrong."""
        ...

    def miscounted(self) -> list[str]:
        """One line per number of ended runs that isn't that of the read model's rows, which are all counted for it."""
        ...

    def rebuild(self, summarize: Summarize) -> int:
        """Make the read model anew from the log; returns the number of runs."""
        ...

    def transaction(self) -> AbstractContextManager[Any]:
        """A session in one transaction, for readers that store a cursor with what they apply."""
        ...


class Journal(WriterJournal, ReaderJournal, Protocol):
    """The whole."""

    def close(self) -> None:
        """Let go of connections."""
        ...
