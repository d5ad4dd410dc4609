"""Holds from Python: stop a saga or a service as a whole, and have it go on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from orchestrator.definition.plan import Plan
from orchestrator.errors import InvalidInputError, OperationRefusedError
from orchestrator.journal.hold import Hold
from orchestrator.journal.port import ReaderJournal
from orchestrator.journal.records import shard_of
from orchestrator.kernel.events import HoldKind
from orchestrator.kernel.hold import concerns
from orchestrator.kernel.program import Program

_OPEN = ("accepted", "running", "compensating", "paused", "stuck")


class HoldPreview(msgspec.Struct, frozen=True):
    """What placing a hold, or releasing the one in force, would concern."""

    kind: HoldKind
    name: str
    held: Hold | None
    """The hold in force."""
    runs: dict[str, dict[str, int]]
    """Of its open runs: saga to status to number. Of a service, the runs of all sagas that call it, reached or not."""

    @property
    def total(self) -> int:
        """How many open runs that are."""
        return sum(sum(by_status.values()) for by_status in self.runs.values())


class Holds:
    """``client.holds``. One is in force as soon as it is placed, for every coordinator within a second."""

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

    def place(
        self,
        kind: HoldKind,
        name: str,
        *,
        undos: bool = False,
        reason: str = "",
        hold_id: str = "",
    ) -> Hold:
        """Hold a saga, so that no run of it goes forward, or a service, so that nothing is sent to it in any run.

        Compensation of a held saga goes on, unless ``undos`` are to stand still too. The same ``hold_id`` counts once.
        Raises ``OperationRefusedError`` if it is held already, ``InvalidInputError`` for a name that no plan knows.
        """
        if undos and kind != "saga":
            raise InvalidInputError("to a held service no undo is sent anyway: undos is for a saga")
        self._check(kind, name)
        hold = Hold(
            id=hold_id or uuid.uuid4().hex,
            kind=kind,
            name=name,
            at=self._clock(),
            actor=self._actor,
            reason=reason,
            undos=undos,
        )
        if not self._journal.place_hold(hold):
            return self._placed_before(hold)
        self._poke(shard_of(hold.subject, self._journal.shards()))
        return hold

    def release(self, kind: HoldKind, name: str, *, reason: str = "") -> Hold:
        """End the hold in force. Raises ``OperationRefusedError`` if there is none."""
        held = self.of(kind, name)
        now = self._clock()
        if held is not None:
            ended = replace(held, released_at=now, released_by=self._actor, release_reason=reason)
            if self._journal.release_hold(ended):
                self._poke(shard_of(ended.subject, self._journal.shards()))
                return ended
        raise OperationRefusedError(f"{kind} {name} isn't held")

    def list(self, limit: int = 1_000, *, in_force: bool = True) -> Sequence[Hold]:
        """The newest first; those in force, or all that ever were."""
        return self._journal.holds(limit, in_force=in_force)

    def of(self, kind: HoldKind, name: str) -> Hold | None:
        """The hold in force of a saga or a service."""
        for hold in self._journal.holds():
            if (hold.kind, hold.name) == (kind, name):
                return hold
        return None

    def preview(self, kind: HoldKind, name: str) -> HoldPreview:
        """The open runs that a hold would concern, or does. Raises ``InvalidInputError``."""
        sagas = {plan.saga for plan in self._check(kind, name)}
        counts = self._journal.counts()
        runs = {
            saga: {status: number for status, number in counts[saga].items() if status in _OPEN}
            for saga in sorted(sagas & counts.keys())
        }
        found = {saga: by_status for saga, by_status in runs.items() if by_status}
        return HoldPreview(kind, name, self.of(kind, name), found)

    def _check(self, kind: HoldKind, name: str) -> Sequence[Plan]:
        """The plans that a hold is for."""
        plans = self._journal.plans()
        found = [plan for plan in plans if concerns(Program(plan), kind, name)]
        if not found:
            programs = map(Program, plans)
            known = {plan.saga for plan in plans}
            if kind == "service":
                known = {service for program in programs for service in program.services}
            names = ", ".join(sorted(known)) or "none yet"
            raise InvalidInputError(f"no stored plan knows a {kind} {name!r}; there are {names}")
        return found

    def _placed_before(self, hold: Hold) -> Hold:
        for one in self._journal.holds(in_force=False):
            if one.id == hold.id and (one.subject, one.undos) == (hold.subject, hold.undos):
                return one
        held = self.of(hold.kind, hold.name)
        who = f" by {held.actor}" if held is not None and held.actor else ""
        raise OperationRefusedError(f"{hold.kind} {hold.name} is held already{who}")
