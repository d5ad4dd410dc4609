"""A hold: an operator stopped a saga or a service as a whole; who, why, since when, and who ended it.

It is in force by its row, beside the log, so that it is without a coordinator and for all of them at once. That it was
placed and released is in the log too, in the hash chain, under ``kind:name`` in the place of a run's id.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from orchestrator.kernel.events import HoldKind, HoldPlaced, HoldReleased


class Hold(msgspec.Struct, frozen=True):
    """A hold as it stands. Times are epoch seconds."""

    id: str
    kind: HoldKind
    name: str
    at: float
    actor: str = ""
    reason: str = ""
    undos: bool = False
    """Of a saga: compensation stands still too."""
    released_at: float | None = None
    released_by: str = ""
    release_reason: str = ""

    @property
    def subject(self) -> str:
        """What stands in the log in the place of a run's id."""
        return f"{self.kind}:{self.name}"

    def placed(self) -> HoldPlaced:
        """The event of its beginning."""
        return HoldPlaced(
            at=self.at,
            actor=self.actor,
            hold=self.id,
            kind=self.kind,
            name=self.name,
            reason=self.reason,
            undos=self.undos,
        )

    def released(self) -> HoldReleased:
        """The event of its end; it must have one."""
        assert self.released_at is not None, self.id
        return HoldReleased(
            at=self.released_at,
            actor=self.released_by,
            hold=self.id,
            kind=self.kind,
            name=self.name,
            reason=self.release_reason,
        )


class HoldJournal(Protocol):
    """Where holds are kept."""

    def holds(self, limit: int = 1_000, *, in_force: bool = True) -> list[Hold]:
        """The newest first; those in force, or all."""
        ...

    def place_hold(self, hold: Hold) -> bool:
        """Put it into force, and what the log has to say of it into the inbox, in one transaction.

        False, and nothing is written, if its saga or service is held already, or its id is known.
        """
        ...

    def release_hold(self, hold: Hold) -> bool:
        """Write its end, in one transaction with what the log has to say of that; False if it has ended before."""
        ...
