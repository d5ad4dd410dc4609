"""Holds, for principals: of sagas that they may see; a service is only held by who may see every saga."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from orchestrator.client.hold import HoldPreview
from orchestrator.client.hold import Holds as ClientHolds
from orchestrator.console.access import ForbiddenError, Principal
from orchestrator.console.desk import Desk
from orchestrator.errors import UnknownSagaError
from orchestrator.journal.hold import Hold
from orchestrator.kernel.events import HoldKind
from orchestrator.kernel.hold import concerns
from orchestrator.kernel.program import Program


class HoldDesk:
    """Placing, releasing and looking at them. Safe for threads."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def list(self, who: Principal, *, in_force: bool = True) -> Sequence[Hold]:
        """The newest first: of sagas that they may see, and of services that those call."""
        found = self._holds(who).list(in_force=in_force)
        if not who.sagas or not found:
            return found
        programs = [Program(p) for p in self._desk.journal.plans() if who.may_see(p.saga)]
        return [
            hold for hold in found if any(concerns(one, hold.kind, hold.name) for one in programs)
        ]

    def by_subject(self, who: Principal) -> dict[str, Hold]:
        """Those in force, by ``kind:name``."""
        return {hold.subject: hold for hold in self.list(who)}

    def preview(self, who: Principal, kind: HoldKind, name: str) -> HoldPreview:
        """What it would concern. Raises ``ForbiddenError``, ``UnknownSagaError``, ``InvalidInputError``."""
        self._check(who, kind, name)
        return self._holds(who).preview(kind, name)

    def place(
        self,
        who: Principal,
        kind: HoldKind,
        name: str,
        *,
        undos: bool = False,
        reason: str = "",
        key: str = "",
    ) -> tuple[Hold, bool]:
        """Place one, and whether it is new under this idempotency key. Raises ``OperationRefusedError`` too."""
        self._check(who, kind, name)
        holds = self._holds(who)
        hold_id = hashlib.sha256(f"{who.name}\0{key}".encode()).hexdigest()[:32] if key else ""
        known = bool(key) and any(one.id == hold_id for one in holds.list(in_force=False))
        placed = holds.place(kind, name, undos=undos, reason=reason, hold_id=hold_id)
        return placed, not known

    def release(self, who: Principal, kind: HoldKind, name: str, reason: str = "") -> Hold:
        """End the one in force. Raises as ``place``."""
        self._check(who, kind, name)
        return self._holds(who).release(kind, name, reason=reason)

    def _check(self, who: Principal, kind: HoldKind, name: str) -> None:
        if kind == "saga" and not who.may_see(name):
            raise UnknownSagaError(f"no saga or stored plan is called {name!r}")
        if kind == "service" and who.sagas:
            raise ForbiddenError(
                f"a service is called by sagas that aren't {who.name}'s: hold the saga instead"
            )

    def _holds(self, who: Principal) -> ClientHolds:
        return self._desk.clients(who.name).holds
