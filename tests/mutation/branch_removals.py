"""How to take the guards of branches of atomic groups away: see ``guards``."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from orchestrator.coordinator.inquiries import Inquiries
from orchestrator.kernel.verdict import Verdict
from orchestrator.participant.barrier import Settled
from orchestrator.participant.tables import TOMBSTONE
from orchestrator.participant.two_phase import group, mariadb, postgresql
from orchestrator.participant.two_phase.branches import Branches
from orchestrator.participant.two_phase.group import GroupBarrier
from orchestrator.participant.two_phase.sweep import Sweep


def branch_tombstone() -> None:
    """Abort what isn't there without a trace."""
    claim = Branches.claim

    def no_tombstone(self: Any, connection: Any, effect: Any, status: str) -> bool:
        return status == TOMBSTONE or claim(self, connection, effect, status)

    Branches.claim = no_tombstone  # type: ignore[method-assign]


def branch_is_looked_for() -> None:
    """Prepare without asking whether the branch is there already."""
    postgresql._is_prepared = lambda *_: False


def proof_row() -> None:
    """Take an unknown branch for a committed one."""
    commit = Branches.commit

    def believing(self: Any, effect: Any, gid: Any, told: str | None = None) -> Settled:
        settled = commit(self, effect, gid, told)
        return Settled("succeeded") if settled.outcome == "heuristic_rollback" else settled

    Branches.commit = believing  # type: ignore[method-assign]


def proof_row_at_abort() -> None:
    """Take a branch that somebody has committed for one that was rolled back."""
    buried = Branches._buried

    def believing(self: Any, effect: Any, gid: Any) -> Settled | None:
        settled = buried(self, effect, gid)
        if settled is not None and settled.outcome == "heuristic_commit":
            return Settled("succeeded")
        return settled

    Branches._buried = believing  # type: ignore[method-assign]


def asking_after_prepare() -> None:
    """Take an error of PREPARE for a no."""

    def no(_self: Any, _effect: Any, _gid: Any, error: Exception, _until: float) -> None:
        raise error

    Branches._ask = no  # type: ignore[method-assign,assignment]


def confirm_row() -> None:
    """Confirm a try as often as asked, and cancel one that is confirmed."""
    group._is_confirmed = lambda *_: False
    GroupBarrier.claim = lambda *_: True  # type: ignore[method-assign]


def read_only_detection() -> None:
    """Prepare what has written nothing."""
    postgresql._has_written = lambda *_: True
    mariadb._has_written = lambda *_: True


def safety_age() -> None:
    """Ask about every branch, however young."""
    old = Sweep._old

    def everything(self: Sweep) -> Any:
        self._options = replace(self._options, safety_age_s=0.0)
        return old(self)

    Sweep._old = everything  # type: ignore[method-assign]


def older_journal() -> None:
    """Presume abort, whatever the participant has heard of."""
    verdict = Inquiries._verdict

    def trusting(self: Any, answer: Any, gid: Any, owned: Any) -> Any:
        return verdict(self, replace(answer, epoch=0), gid, owned)

    Inquiries._verdict = trusting  # type: ignore[method-assign]


def lost_record() -> None:
    """Presume abort of what the journal has no record of."""
    verdict = Inquiries._verdict

    def presuming(self: Any, answer: Any, gid: Any, owned: Any) -> Any:
        return verdict(self, answer, gid, owned) or Verdict("abort", gid.step)

    Inquiries._verdict = presuming  # type: ignore[method-assign]
