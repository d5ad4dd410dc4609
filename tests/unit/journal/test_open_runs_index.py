"""What is asked of open runs doesn't go through the finished ones on SQLite, which knows indexes by their words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal.port import RunFilter
from orchestrator.journal.sql import SqlJournal
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
