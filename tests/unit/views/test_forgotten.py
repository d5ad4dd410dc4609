"""What participants know and a restored journal doesn't."""

from __future__ import annotations

import pytest

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.journal.memory import MemoryJournal
from orchestrator.kernel.messages import Cancel
from orchestrator.transport.messages import Answer, Work
from orchestrator.views.forgotten import Forgotten, Known, forgotten
from tests.unit.coordinator.scripted import Handler, ScriptedTransport, done, plan_of, request

RUN = "a" * 32


def _held_back(work: Work) -> Answer | None:
    return None if work.step == "b" and work.kind == "do" else done(work)


def _journal(handler: Handler = done, *, cancel: bool = False) -> MemoryJournal:
    """A run of two steps, as far as it comes."""
    journal, now = MemoryJournal(1), [1_000.0]
    journal.launch([request(plan_of("a", "b"), RUN)])
    coordinator = Coordinator(
        journal,
        ScriptedTransport(handler),
        CoordinatorOptions(owner="one", lease_s=10),
        lambda: now[0],
    )
    for turn in range(12):
        if cancel and turn == 4:
            journal.send(RUN, Cancel(at=now[0]))
        now[0] += 10.0 * (turn > 5)
        coordinator.turn(0)
    return journal


def _found(journal: MemoryJournal, *known: tuple[str, str], run: str = RUN) -> list[Forgotten]:
    return list(forgotten(journal, [Known("shop", run, step, status) for step, status in known]))


def test_nothing_is_found_where_nothing_was_forgotten() -> None:
    assert _found(_journal(), ("a", "done"), ("b", "done"), ("@on_completed#1", "done")) == []
    assert _found(_journal(_held_back), ("a", "done"), ("b", "done")) == []
    undone = _journal(_held_back, cancel=True)
    assert undone.find(RUN).status == "compensated"
    assert _found(undone, ("a", "undone"), ("b", "tombstone")) == []


def test_a_step_that_was_refused_and_then_done_is_done() -> None:
    assert _found(_journal(), ("a", "refused"), ("a", "done"), ("b", "done")) == []


def test_an_effect_of_a_forgotten_run_is_found() -> None:
    stranger = "b" * 32
    (found,) = _found(_journal(), ("a", "done"), ("b", "undone"), run=stranger)
    assert (found.run, found.step, found.service, found.open) == (stranger, "a", "shop", False)
    assert "no event of the run" in found.what


def test_an_effect_of_a_forgotten_step_is_found() -> None:
    (found,) = _found(_journal(), ("a", "done"), ("b", "done"), ("c", "done"))
    assert found.step == "c"
    assert "without having come to it" in found.what


def test_whether_the_run_may_meet_it_again_is_told() -> None:
    (found,) = _found(_journal(_held_back), ("a", "done"), ("c", "done"))
    assert found.open


@pytest.mark.parametrize("cancel", [False, True])
def test_what_a_run_says_the_other_way_round_is_found(*, cancel: bool) -> None:
    journal = _journal(_held_back, cancel=True) if cancel else _journal()
    status, what = ("done", "has it undone") if cancel else ("undone", "has it done")
    (found,) = _found(journal, ("a", status))
    assert found.step == "a"
    assert what in found.what
