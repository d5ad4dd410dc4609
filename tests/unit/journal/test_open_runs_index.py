"""What is asked of open runs doesn't go through the finished ones on SQLite, which knows indexes by their words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal.archive_removal import Wanted
from orchestrator.journal.archiving import Archiver
from orchestrator.journal.port import RunFilter
from orchestrator.journal.sql import SqlJournal
from tests.contract.archive_samples import DAY, NOW, fill
from tests.contract.journal_samples import SHARDS, run_in
from tests.statements import explained, statements
from tests.tables import make_tables


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda journal: journal.open_runs(0), id="open runs"),
        pytest.param(lambda journal: journal.runs(RunFilter(stuck=True)), id="stuck"),
        pytest.param(lambda journal: journal.runs(RunFilter(step="charge")), id="step"),
        pytest.param(lambda journal: journal.counts(), id="counts"),
    ],
)
def test_open_runs_are_found_by_their_index(
    ask: Callable[[SqlJournal], Any], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, 1)
    journal = SqlJournal(url)
    with statements(journal.engine) as seen:
        ask(journal)
    plan = explained(journal.engine, *seen[-1])
    journal.close()
    assert "saga_run_open" in plan
    assert "saga_run_launched" not in plan


def test_events_of_runs_are_found_without_going_through_their_shard(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, SHARDS)
    journal = SqlJournal(url)
    run, other = run_in(0), run_in(0, number=1)
    fill(journal, [run, other], ended_at=NOW - 9 * DAY)
    with statements(journal.engine) as seen:
        journal.histories(0, [run, other])
        journal.history(run)
        journal.altered(0, [run, other])
        archiver = Archiver(journal, tmp_path / "archive", clock=lambda: NOW, pause=lambda _: None)
        assert sum(step.removed.runs for step in archiver.run(Wanted(NOW - DAY))) == 2
    asked = [one for one in seen if "FROM saga_event" in one[0] and "run_id IN (" in one[0]]
    plans = [explained(journal.engine, *one) for one in asked]
    journal.close()
    assert len(plans) >= 5
    assert all("saga_event_run" in plan for plan in plans), plans
