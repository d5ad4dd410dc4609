"""What waits for a second person, for principals."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orchestrator.console.access import Principal
from orchestrator.console.bulks import BulkDesk
from orchestrator.console.desk import Desk
from orchestrator.journal.approvals import Approval, BranchApproval, Judged
from orchestrator.journal.bulk import Bulk


class Waiting(msgspec.Struct, frozen=True):
    """Everything that waits for a second person, the newest first."""

    approvals: Sequence[Approval]
    bulks: Sequence[Bulk]
    branches: Sequence[BranchApproval] = ()
    """Prepared branches; seen by who may see every saga, as nobody knows of which they are."""


class ApprovalDesk:
    """Looking at it; approving and denying are operations on the run. Safe for threads."""

    def __init__(self, desk: Desk, bulks: BulkDesk) -> None:
        self._desk = desk
        self._bulks = bulks

    def waiting(self, who: Principal) -> Waiting:
        """What waits, of the sagas that they may see."""
        found = self._desk.clients(who.name).approvals.list(who.sagas)
        now = self._desk.clock()
        bulks = [bulk for bulk in self._bulks.list(who) if bulk.awaits_second(now)]
        branches = () if who.sagas else self._desk.clients(who.name).approvals.branches()
        return Waiting([self._seen(who, one) for one in found], bulks, branches)

    def of_run(self, who: Principal, run: str) -> Sequence[Approval]:
        """What waits of one run. Raises ``RunNotFoundError``."""
        row = self._desk.row(who, run)
        found = self._desk.clients(who.name).approvals.list(run=row.run_id)
        return [self._seen(who, one) for one in found]

    def judged(self, who: Principal, run: str, number: int) -> Judged:
        """One, with what it would have done then and would do now. Raises ``InvalidInputError``."""
        row = self._desk.row(who, run)
        return self._desk.judged(
            who, self._desk.clients(who.name).approvals.get(row.run_id, number)
        )

    def _seen(self, who: Principal, one: Approval) -> Approval:
        return self._desk.approval(who, one)
