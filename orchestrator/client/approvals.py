"""The second person from Python: what waits for one, approving it, saying no."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.journal.approvals import (
    Approval,
    BranchApproval,
    Judged,
    branches_waiting,
    judged,
    waiting,
)
from orchestrator.journal.port import ReaderJournal
from orchestrator.kernel import messages as msg


class Approvals:
    """``client.approvals``. The coordinators decide what takes two people, and who may be the second."""

    def __init__(
        self,
        journal: ReaderJournal,
        actor: str,
        clock: Callable[[], float],
        operate: Callable[[str, msg.Asked], None],
    ) -> None:
        self._journal = journal
        self._actor = actor
        self._clock = clock
        self._operate = operate

    def list(self, sagas: Sequence[str] = (), *, run: str | None = None) -> Sequence[Approval]:
        """What waits for a second person, the newest first; bulk operations that do are in ``client.bulk``."""
        run_id = None if run is None else self._journal.find(run).run_id
        return waiting(self._journal, self._clock(), sagas, run_id)

    def branches(self) -> Sequence[BranchApproval]:
        """How prepared branches that the journal can't decide are to end, if another says the same."""
        return branches_waiting(self._journal, self._clock())

    def get(self, run_id: str, number: int) -> Judged:
        """One, with what it would have done then and would do now.

        Raises ``InvalidInputError``, ``RunNotFoundError``.
        """
        return judged(self._journal, run_id, number, self._clock(), self._actor)

    def approve(self, run_id: str, number: int, *, reason: str = "") -> None:
        """Have it done, as another than who asked. This and ``deny`` raise ``OperationRefusedError``."""
        message = msg.Approve(at=self._clock(), actor=self._actor, number=number, reason=reason)
        self._operate(run_id, message)

    def deny(self, run_id: str, number: int, *, reason: str = "") -> None:
        """Say no to it, or take one's own back."""
        message = msg.Deny(at=self._clock(), actor=self._actor, number=number, reason=reason)
        self._operate(run_id, message)
