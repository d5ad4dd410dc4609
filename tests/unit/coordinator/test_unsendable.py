"""A command that no message can hold ends its step for good; those that would have travelled with it go."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.errors import EnvelopeError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.transport.messages import Work
from orchestrator.transport.port import Bundle
from tests.unit.coordinator.scripted import ScriptedTransport, plan_of, request

LARGE, SMALL = "a" * 32, "b" * 32


class Narrow(ScriptedTransport):
    """Can't send what ``is_large`` says."""

    def __init__(self, step: str, kind: str) -> None:
        super().__init__()
        self._what = (step, kind)
        self.reason = "oversized"

    def is_large(self, work: Work) -> bool:
        return work.run == LARGE and (work.step, work.kind) == self._what

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        errors: list[Exception | None] = []
        for bundle in bundles:
            if any(self.is_large(work) for work in bundle.work):
                errors.append(EnvelopeError("5 bytes; the limit is 4", reason=self.reason))
            else:
                errors += super().dispatch([bundle])
        return errors


class World:
    """A coordinator over a narrow transport, and clocks that stand still."""

    def __init__(self, transport: Narrow) -> None:
        self.journal = MemoryJournal(shards=1)
        self.transport = transport
        self.coordinator = Coordinator(
            self.journal, transport, CoordinatorOptions(owner="one"), lambda: 1_000.0
        )

    def run(self, *runs: str) -> None:
        plan = plan_of("a", "b")
        self.journal.launch([request(plan, run) for run in runs])
        for _ in range(40):
            self.coordinator.turn(0)

    def types(self, run: str) -> list[str]:
        return [record.type for record in self.journal.history(run)]


@pytest.mark.parametrize(
    ("reason", "kind"), [("oversized", "PayloadTooLargeError"), ("encoding", "EncodingError")]
)
def test_an_action_is_not_tried_again_and_the_run_is_compensated(reason: str, kind: str) -> None:
    world = World(Narrow("b", "do"))
    world.transport.reason = reason
    world.run(LARGE)
    row = world.journal.find(LARGE)
    assert row.status == "compensated"
    assert row.reason == "b: its command can't be sent: 5 bytes; the limit is 4"
    [refused] = [r.event for r in world.journal.history(LARGE) if r.type == "StepRefused"]
    assert refused.failure.type == kind  # type: ignore[union-attr]
    assert [(work.step, work.kind) for work in world.transport.sent] == [("a", "do"), ("a", "undo")]
    assert world.coordinator.counts["unsendable"] == 1


def test_an_undo_is_stuck_and_says_why() -> None:
    class Refusing(Narrow):
        def is_large(self, work: Work) -> bool:
            return super().is_large(work) or (work.step, work.kind) == ("b", "do")

    world = World(Refusing("a", "undo"))
    world.run(LARGE)
    row = world.journal.find(LARGE)
    assert row.status == "stuck"
    assert "can't be sent" in row.reason


def test_what_would_have_travelled_with_it_goes() -> None:
    world = World(Narrow("a", "do"))
    world.run("c" * 32)  # from here on the participants are known to be quick
    world.run(LARGE, SMALL)
    assert world.journal.find(SMALL).status == "completed"
    assert world.journal.find(LARGE).status == "compensated"
