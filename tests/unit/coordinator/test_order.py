"""Commit first, publish after: at every dispatch the journal already says what is dispatched."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.journal.memory import MemoryJournal
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
