"""Prepared branches in doubt, for principals: those of runs that they may see."""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from orchestrator.console.access import Principal
from orchestrator.console.around import DoubtsSeen
from orchestrator.console.desk import Desk
from orchestrator.console.doubts import Doubts, InDoubt, Ruled
from orchestrator.errors import AmbiguousRunError, InvalidInputError, RunNotFoundError
from orchestrator.kernel.event import Ending


class DoubtDesk:
    """Looking at them, ending and deciding them. Safe for threads."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def seen(self, who: Principal) -> DoubtsSeen:
        """What is prepared in the services' databases."""
        seen = self._desk.around.in_doubt()
        return replace(seen, found=tuple(one for one in seen.found if self._is_theirs(who, one)))

    def end(self, who: Principal, service: str, gids: Collection[str]) -> list[InDoubt]:
        """Commit or roll back these branches, where their decision is known. Raises ``InvalidInputError``."""
        doubts = self._of(service)
        return doubts.end(service, lambda one: one.gid in gids and self._is_theirs(who, one))

    def preview(self, who: Principal, service: str, gid: str, kind: Ending) -> Ruled:
        """What is known of a branch that people have to decide. Raises ``InvalidInputError``."""
        seen = self._of(service).preview(gid, kind, service)
        if not self._is_theirs(who, seen.branch):
            raise _nothing(gid, service)
        return seen

    def decide(
        self, who: Principal, service: str, gid: str, kind: Ending, reason: str = ""
    ) -> InDoubt:
        """Commit or roll back a branch that the journal can't decide, or be asked to find a second person.

        Raises ``InvalidInputError``, ``OperationRefusedError``.
        """
        self.preview(who, service, gid, kind)
        return self._of(service).decide(gid, kind, who.name, reason, service)

    def _of(self, service: str) -> Doubts:
        doubts = self._desk.around.doubts
        if doubts is None or service not in doubts.services:
            raise InvalidInputError(
                f"no service of the apps that has two-phase commit is called {service!r}"
            )
        return doubts

    def _is_theirs(self, who: Principal, one: InDoubt) -> bool:
        if not who.sagas:
            return True
        try:
            self._desk.row(who, one.run)
        except (RunNotFoundError, AmbiguousRunError):
            return False
        return True


def _nothing(gid: str, service: str) -> InvalidInputError:
    return InvalidInputError(f"nothing called {gid} is prepared in the databases of {service}")
