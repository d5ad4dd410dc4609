"""The journal is away for a moment in the middle of a turn: what the turn had taken isn't lost."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.errors import JournalUnavailableError
from orchestrator.journal.memory import MemoryJournal
from tests.unit.coordinator.scripted import ScriptedTransport, plan_of, request
from tests.unit.kernel.scenario import branch, group, plan

RUN, OTHER = "a" * 32, "b" * 32


class Shop:
    """A journal that can be away, a transport, a clock and a coordinator."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.patch = patch
        self.journal = MemoryJournal(1)
        self.transport = ScriptedTransport(lambda work: None)
        options = CoordinatorOptions(owner="one", lease_s=1_000)
        self.coordinator = Coordinator(self.journal, self.transport, options, lambda: self.now)
        self.journal.launch([request(plan_of("a", timeout_s=30), RUN)])
        for _ in range(3):
            self.coordinator.turn(0)
        assert [work.step for work in self.transport.sent] == ["a"]

    def away_once(self, method: str) -> None:
        """The next call of ``method`` fails."""
        present = getattr(self.journal, method)

        def away(*args: Any) -> Any:
            self.patch.setattr(self.journal, method, present)
            raise JournalUnavailableError("gone for a moment")

        self.patch.setattr(self.journal, method, away)


def test_answers_received_before_the_inbox_failed_are_received_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop(monkeypatch)
    shop.away_once("inbox")
    with pytest.raises(JournalUnavailableError):
        shop.coordinator.turn(0)
    assert shop.transport.released == [0]


def test_a_deadline_that_passed_in_a_failed_turn_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop(monkeypatch)
    shop.now += 31
    shop.journal.launch([request(plan_of("b", saga="other"), OTHER)])
    shop.away_once("plan")
    with pytest.raises(JournalUnavailableError):
        shop.coordinator.turn(0)
    for _ in range(3):
        shop.coordinator.turn(0)
    shop.now += 31
    shop.coordinator.turn(0)
    assert "StepInDoubt" in [record.type for record in shop.journal.history(RUN)]
    assert "StepInDoubt" in [record.type for record in shop.journal.history(OTHER)]


def test_what_a_successor_has_to_decide_is_not_forgotten_while_the_inbox_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop(monkeypatch)
    shop.journal.launch([request(plan(group(branch("debit"), branch("credit"))), OTHER)])
    shop.coordinator.turn(0)
    shop.coordinator._ownership.hand_over()
    options = CoordinatorOptions(owner="two", lease_s=1_000)
    successor = Coordinator(shop.journal, shop.transport, options, lambda: shop.now)
    shop.away_once("inbox")
    with pytest.raises(JournalUnavailableError):
        successor.turn(0)
    successor.turn(0)
    assert "AbortDecided" in [record.type for record in shop.journal.history(OTHER)]
