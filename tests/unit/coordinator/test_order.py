"""Commit first, publish after: at every dispatch the journal already says what is dispatched."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.errors import OutcomeUnknownError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.port import ShardWrite, Tenure
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.pending import pending
from orchestrator.kernel.program import Program
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import Bundle
from tests.unit.coordinator.scripted import ScriptedTransport, answer, done, plan_of, request

RUN = "a" * 32
PLAN = plan_of("a", "b", "c")


class Auditor(ScriptedTransport):
    """Reads the journal at every dispatch."""

    def __init__(self, journal: MemoryJournal) -> None:
        super().__init__(refusing_c)
        self._journal = journal

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        for bundle in bundles:
            for work in bundle.work:
                assert (work.step, work.kind, work.attempt) in self.implied()
        return super().dispatch(bundles)

    def implied(self) -> set[tuple[str, str, int]]:
        """What has to be outstanding by what the journal holds now."""
        events = [r.event for r in self._journal.history(RUN) if r.event is not None]
        run = fold(Program(PLAN), events)
        commands = [command for command in pending(run) if isinstance(command, Execute)]
        return {(command.step, command.kind, command.attempt) for command in commands}


class Doubtful(MemoryJournal):
    """Every third commit gets no answer."""

    def __init__(self, *, took_effect: bool) -> None:
        super().__init__(shards=1)
        self.sure = False
        self._took_effect = took_effect
        self._commits = 0

    def append(self, writes: Sequence[ShardWrite]) -> list[Tenure]:
        self._commits += 1
        if self.sure or self._commits % 3:
            return super().append(writes)
        if self._took_effect:
            super().append(writes)
        raise OutcomeUnknownError("lost in the middle of COMMIT")


def refusing_c(work: Work) -> Answer:
    return answer(work, "refused") if (work.step, work.kind) == ("c", "do") else done(work)


def test_nothing_is_dispatched_that_the_journal_does_not_imply() -> None:
    journal = MemoryJournal(shards=1)
    transport = Auditor(journal)
    coordinator = Coordinator(journal, transport, CoordinatorOptions(owner="one"), lambda: 1_000.0)
    journal.launch([request(PLAN, RUN)])
    for _ in range(30):
        coordinator.turn(0)
    assert journal.find(RUN).status == "compensated"
    assert len(transport.sent) == 5


@pytest.mark.parametrize("took_effect", [True, False])
def test_a_commit_that_may_have_failed_is_not_taken_for_done(*, took_effect: bool) -> None:
    """It is read back, whichever it was; nothing is lost, nothing written twice, no offset left out."""
    journal = Doubtful(took_effect=took_effect)
    transport = Auditor(journal)
    options = CoordinatorOptions(owner="one", poll_s=0)
    coordinator = Coordinator(journal, transport, options, lambda: 1_000.0)
    journal.launch([request(PLAN, RUN)])
    for _ in range(30):
        coordinator.turn(0)
    journal.sure = True
    for _ in range(30):
        coordinator.turn(0)
    assert journal.find(RUN).status == "compensated"
    types = [record.type for record in journal.history(RUN)]
    assert types.count("StepSucceeded") == 2
    assert types.count("StepUndone") == 2
    assert list(journal.verify()) == []
