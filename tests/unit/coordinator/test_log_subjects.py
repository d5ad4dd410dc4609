"""What a coordinator logs of one run outside of a turn says which run it is, too."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from orchestrator.coordinator import ownership
from orchestrator.coordinator.inquiries import INQUIRY
from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.errors import IllegalEventError
from orchestrator.journal.memory import MemoryJournal
from orchestrator.telemetry.logs import SubjectFilter, stamped
from orchestrator.transport.messages import Answer
from tests.unit.coordinator.scripted import ScriptedTransport, plan_of, request

RUN = "a" * 32


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log, its records stamped as a handler of ours does."""
    stamp = SubjectFilter()
    caplog.handler.addFilter(stamp)
    with caplog.at_level(logging.WARNING):
        yield caplog
    caplog.handler.removeFilter(stamp)


def test_a_branch_that_is_asked_about(told: pytest.LogCaptureFixture) -> None:
    transport = ScriptedTransport()
    coordinator = Coordinator(
        MemoryJournal(shards=1), transport, CoordinatorOptions("c1"), lambda: 1_000.0
    )
    coordinator.turn(0)
    asked = {"round": 1, "queue": "q"}
    transport.answers.append(
        Answer(RUN, 0, 1, "pay.debit", "prepare", INQUIRY, "succeeded", "bank.debit", asked)
    )
    coordinator.turn(0)
    [record] = told.records
    assert "is in doubt, and this journal can't tell" in record.getMessage()
    assert stamped(record) == {
        "run": RUN,
        "step": "pay.debit",
        "kind": "prepare",
        "participant": "bank.debit",
    }


def test_a_run_that_cant_be_read_back(
    told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, now = MemoryJournal(shards=1), [1_000.0]
    transport = ScriptedTransport(lambda work: None)
    one, two = (
        Coordinator(journal, transport, CoordinatorOptions(name), lambda: now[0])
        for name in ("one", "two")
    )
    one.turn(0)
    journal.launch([request(plan_of("a"), RUN)])
    one.turn(0)

    def illegal(*_: object) -> None:
        raise IllegalEventError("a defect")

    monkeypatch.setattr(ownership, "fold", illegal)
    now[0] += 30
    two.turn(0)
    [record] = told.records
    assert "can't be read back" in record.getMessage()
    assert stamped(record) == {"run": RUN}
