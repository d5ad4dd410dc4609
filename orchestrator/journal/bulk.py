"""One operation for many runs, as a record of its own: which runs, how far it is, what came of each, who touched it.

Kept beside the log, in tables of its own. What it does to a run is an event of that run, in the chain as any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec
from msgspec.structs import replace

from orchestrator.kernel import messages as msg
from orchestrator.kernel.events import BulkSteered
from orchestrator.kernel.summary import RunSummary

BulkOperation = msg.Retry | msg.Compensate | msg.Cancel | msg.Pause | msg.Resume
"""Those that make sense for many runs at once."""
BULK_OPERATIONS = ("retry", "compensate", "cancel", "pause", "resume")
BulkState = Literal["waiting", "running", "paused", "stopped", "aborted", "done"]
"""``waiting``: for a second person; ``stopped``: by itself, because too much failed;
it can be resumed or aborted like a paused one."""
Outcome = Literal["waiting", "sent", "done", "failed", "refused", "unsettled"]
"""``waiting`` for its wave; ``sent``, and not settled yet; ``failed``: the run is stuck again, or nobody took the
operation; ``unsettled``: taken, and still under way when the wave's time was over.
"""
FAILURES: frozenset[Outcome] = frozenset({"failed", "refused"})
CANARIES = (1, 10)
"""The sizes of the first waves."""


class BulkLimits(msgspec.Struct, frozen=True):
    """How carefully a bulk operation goes on."""

    canaries: tuple[int, ...] = CANARIES
    batch: int = 100
    """How many runs each later wave has."""
    failures_max: float = 0.1
    """The share of a wave that may fail; more stops it."""
    settle_s: float = 60.0
    """How long a wave may take to settle."""

    def size(self, wave: int) -> int:
        """How many runs a wave has; the first is 1."""
        return self.canaries[wave - 1] if wave <= len(self.canaries) else self.batch


class BulkNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that was done to a bulk operation. Without an actor it did it by itself."""

    at: float
    what: str
    actor: str = ""
    reason: str = ""


class Bulk(msgspec.Struct, frozen=True):
    """A bulk operation as it stands."""

    id: str
    message: BulkOperation
    """What each run is sent, with actor and reason; time and request are each run's own."""
    sagas: tuple[str, ...]
    """The sagas of its runs."""
    total: int
    limits: BulkLimits
    state: BulkState = "running"
    wave: int = 0
    """The wave under way or just settled; 0 before the first."""
    wave_at: float = 0.0
    """When that wave was sent."""
    excused: int = 0
    """The last wave whose failures somebody has seen and gone on after."""
    why: str = ""
    """Why it was stopped."""
    notes: tuple[BulkNote, ...] = ()
    revision: int = 0
    """Grows with every change; a change of another one than was read is not made."""
    second: str = ""
    """Who approved it, where that takes two people."""
    expires_at: float = 0.0
    """How long it waits for a second person, if it has to."""
    counts: dict[str, int] = {}
    """Outcome to number of runs."""

    @property
    def created_at(self) -> float:
        """When it was asked for."""
        return self.message.at

    @property
    def subject(self) -> str:
        """What stands in the log in the place of a run's id."""
        return f"bulk:{self.id}"

    def said(self) -> Sent:
        """What the log has to say of the last thing that somebody did to it."""
        note = self.notes[-1]
        event = BulkSteered(
            at=note.at,
            actor=note.actor,
            bulk=self.id,
            what=note.what,
            operation=msg.operation_name(self.message),
            total=self.total,
            reason=note.reason,
        )
        return Sent(self.subject, msg.Noted(at=note.at, actor=note.actor, event=event))

    def awaits_second(self, now: float) -> bool:
        """Whether it waits for a second person who may still approve it."""
        return self.state == "waiting" and now <= self.expires_at

    def part(self, run_id: str, at: float) -> BulkOperation:
        """What a run is sent."""
        return replace(self.message, at=at, request=self.request(run_id), bulk=self.id)

    def request(self, run_id: str) -> str:
        """The id under which a run is asked, so that it is asked once."""
        return hashlib.sha256(f"{self.id}\0{run_id}".encode()).hexdigest()[:32]


class BulkItem(msgspec.Struct, frozen=True):
    """One run of a bulk operation."""

    position: int
    run_id: str
    wave: int = 0
    outcome: Outcome = "waiting"
    why: str = ""


class BulkJournal(Protocol):
    """Where bulk operations are kept."""

    def add_bulk(self, bulk: Bulk, run_ids: Sequence[str]) -> bool:
        """Record one with its runs and, in the same transaction, what the log has to say of it; False, and nothing is
        written, if one with its id is there.
        """
        ...

    def bulk(self, bulk_id: str) -> Bulk:
        """One, by id or by a prefix that fits one alone. Raises ``BulkNotFoundError``."""
        ...

    def bulks(self, limit: int = 100, *, running: bool = False) -> list[Bulk]:
        """The newest ones, or of those only the ``running``."""
        ...

    def bulk_items(
        self, bulk_id: str, *, outcome: Outcome | None = None, after: int = -1, limit: int = 500
    ) -> list[BulkItem]:
        """Its runs in order, behind a position; only with this outcome if one is named."""
        ...

    def write_bulk(self, bulk: Bulk, items: Sequence[BulkItem], messages: Sequence[Sent]) -> bool:
        """Replace it and these of its runs, and put the messages into the inbox, in one transaction.

        False, and nothing is written, if its revision isn't the one it was read with any more.
        """
        ...

    def rows(self, run_ids: Sequence[str]) -> list[RunSummary]:
        """The read-model rows of these runs."""
        ...


class Sent(msgspec.Struct, frozen=True):
    """A message for a run, or, if it is ``Noted``, what the log has to say of none."""

    run_id: str
    message: msg.Operation | msg.Noted
