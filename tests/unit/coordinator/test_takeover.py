"""What a coordinator does with what has waited for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.coordinator.loop import Coordinator, CoordinatorOptions
from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel.messages import Cancel
from tests.tables import make_tables
from tests.unit.coordinator.scripted import ScriptedTransport, plan_of, request

RUN = "a" * 32
NOW = 1_000.0


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, 2)
    journal = SqlJournal(url)
    yield journal
    journal.close()


def test_a_cancel_that_waited_for_a_writer_comes_before_the_runs_next_answers(
    journal: SqlJournal,
) -> None:
    """Though the inbox of its other shards was looked at a moment ago."""
    transport = ScriptedTransport()
    clock = [NOW]
    one, two = (
        Coordinator(journal, transport, CoordinatorOptions(owner=name), lambda: clock[0])
        for name in ("one", "two")
    )
    one.turn(0)
    journal.launch([request(plan_of("a", "b", "c"), RUN)])
    transport.handler = lambda work: None
    one.turn(0)
    one.turn(0)
    two.turn(0)
    clock[0] += 5  # half a lease: "one" gives one shard to "two"
    for _ in range(3):
        two.turn(0)
        one.turn(0)
    shard = journal.find(RUN).shard
    first, second = (one, two) if shard in one.shards else (two, one)
    journal.send(RUN, Cancel(at=NOW, reason="no longer wanted"))
    first._ownership.hand_over()
    transport.handler = ScriptedTransport().handler
    clock[0] += 5
    second._inbox_at = clock[0]
    for _ in range(12):
        second.turn(0)
    assert journal.find(RUN).status == "compensated"
