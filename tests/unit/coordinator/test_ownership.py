"""Becoming a shard's writer when the journal doesn't say whether it worked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.errors import OutcomeUnknownError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.transport.messages import Answer, Work, stale_epoch
from tests.unit.coordinator.scripted import ScriptedTransport, answer, done, plan_of, request

RUN = "a" * 32


def _lost_once(write: Callable[..., Any], *, written: bool) -> Callable[..., Any]:
    lost: list[bool] = []

    def in_the_dark(*args: Any) -> Any:
        if lost:
            return write(*args)
        lost.append(True)
        if written:
            write(*args)
        raise OutcomeUnknownError("the connection was lost in COMMIT")

    return in_the_dark


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("method", ["begin_tenure", "take_leases"])
def test_a_commit_of_unknown_outcome_costs_a_turn_not_the_coordinator(
    method: str, *, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = MemoryJournal(1)
    monkeypatch.setattr(journal, method, _lost_once(getattr(journal, method), written=written))
    journal.launch([request(plan_of("a"), RUN)])
    options = CoordinatorOptions(owner="one", lease_s=10)
    coordinator = Coordinator(journal, ScriptedTransport(), options, lambda: 1_000.0)
    for _ in range(6):
        coordinator.turn(0)
    assert journal.find(RUN).status == "completed"
    assert list(journal.verify()) == []


def test_a_coordinator_that_slept_through_a_successor_s_life_begins_anew() -> None:
    """The successor died too, so the lease is ours again; what it wrote we have never seen."""
    journal, transport, now = MemoryJournal(1), ScriptedTransport(), [1_000.0]

    def coordinator(owner: str) -> Coordinator:
        options = CoordinatorOptions(owner=owner, lease_s=10)
        return Coordinator(journal, transport, options, lambda: now[0])

    sleeper = coordinator("sleeper")
    sleeper.turn(0)
    now[0] += 11
    successor = coordinator("successor")
    journal.launch([request(plan_of("a"), RUN)])
    successor.turn(0)
    assert journal.find(RUN).status == "running"
    now[0] += 11
    for _ in range(4):
        sleeper.turn(0)
    assert journal.find(RUN).status == "completed"


def test_a_participant_that_has_heard_of_a_later_tenure_than_the_journal_is_caught_up_with() -> (
    None
):
    """The journal was restored from a backup; until its epochs are past the forgotten ones nobody obeys it."""
    heard = 5

    def participant(work: Work) -> Answer:
        nonlocal heard
        if work.epoch < heard:
            return answer(work, "rejected", failure=stale_epoch("over", heard))
        heard = work.epoch
        return done(work)

    journal, transport, now = MemoryJournal(1), ScriptedTransport(participant), [1_000.0]
    journal.launch([request(plan_of("a", "b", attempts=1), RUN)])
    options = CoordinatorOptions(owner="one", lease_s=10)
    coordinator = Coordinator(journal, transport, options, lambda: now[0])
    for _ in range(6):
        coordinator.turn(0)
    assert [lease.epoch for lease in journal.leases()] == [6]
    assert coordinator.counts["behind the participants"] == 1
    assert [record.type for record in journal.history(RUN)] == [
        "RunLaunched",
        "StepSucceeded",  # the rejection said nothing of the step
        "StepSucceeded",
        "RunCompleted",
    ]
    assert list(journal.verify()) == []


def test_a_coordinator_with_nothing_to_write_notices_that_the_log_was_set_back() -> None:
    """A replica that lagged took over: what the run has done since is forgotten, and nobody else would drive it."""
    journal, transport, now = MemoryJournal(1), ScriptedTransport(), [1_000.0]
    journal.launch([request(plan_of("a"), RUN)])
    options = CoordinatorOptions(owner="one", lease_s=10)
    coordinator = Coordinator(journal, transport, options, lambda: now[0])
    while journal.find(RUN).status == "accepted":
        coordinator.turn(0)
    backup = journal.backup()
    for _ in range(6):
        coordinator.turn(0)
    assert journal.find(RUN).status == "completed"
    journal.restore(backup)
    assert journal.find(RUN).status == "running"
    for _ in range(30):
        now[0] += 2
        coordinator.turn(0)
    assert journal.find(RUN).status == "completed"
    assert list(journal.verify()) == []
