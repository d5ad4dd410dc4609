"""How many runs stand where: the numbers that are kept are those of the rows, whatever happened to the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.errors import FencedError
from orchestrator.journal.archive_removal import Wanted
from orchestrator.journal.archiving import Archiver
from orchestrator.journal.port import Journal
from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel.summary import RunStatus
from orchestrator.views.read_model import differences
from orchestrator.views.replay import row_of
from tests.contract.archive_samples import DAY, NOW, fill
from tests.contract.journal_samples import completed, done, request, row, run_in, started, write


def test_a_run_is_counted_once_however_often_it_is_written(journal: Journal) -> None:
    run = run_in(1)
    tenure = started(journal, run)
    ended: dict[str, Any] = {"open": False, "ended_at": 3.0}
    for events, shown, counted in (
        ([done()], row(run, status="stuck"), "stuck"),
        ([completed()], row(run, status="completed", **ended), "completed"),
        ([done()], row(run, status="completed", reason="again", **ended), "completed"),
        ([done()], row(run, status="stuck", ended_at=3.0, open=True), "stuck"),
        ([done()], row(run, status="compensated", **ended), "compensated"),
        ([done()], row(run, status="completed", **ended), "completed"),
        ([done()], row(run, status="completed", ended_at=3.0, open=True), "completed"),
    ):
        tenure = journal.append([write(tenure, [(run, event) for event in events], [shown])])[0]
        assert journal.counts() == {"place_order": {counted: 1}}
        assert journal.miscounted() == []


def test_runs_of_several_shards_and_sagas_add_up(journal: Journal) -> None:
    tenures = [journal.begin_tenure(shard, "one", 1.0) for shard in range(3)]
    ends: tuple[tuple[str, RunStatus], ...] = (
        *(("a", "completed"), ("a", "completed")),
        *(("a", "compensated"), ("b", "completed")),
    )
    rows = [
        row(run_in(shard, number=n), status=status, saga=saga, ended_at=3.0)
        for shard in range(3)
        for n, (saga, status) in enumerate(ends)
    ]
    journal.launch([request("waits")])
    journal.append(
        [
            write(
                tenure,
                [(one.run_id, completed()) for one in rows if one.shard == tenure.shard],
                [one for one in rows if one.shard == tenure.shard],
            )
            for tenure in tenures
        ]
    )
    assert journal.counts() == {
        "a": {"compensated": 3, "completed": 6},
        "b": {"completed": 3},
        "place_order": {"accepted": 1},
    }
    assert journal.miscounted() == []


def test_a_turn_that_is_fenced_counts_nothing(journal: Journal) -> None:
    run = run_in(1)
    tenure = started(journal, run)
    ended = row(run, status="completed", ended_at=3.0)
    before = journal.counts()
    with pytest.raises(FencedError):
        journal.append([write(tenure, [(run, completed())], [ended], consumed=[999])])
    journal.begin_tenure(tenure.shard, "two", 2.0)
    with pytest.raises(FencedError):
        journal.append([write(tenure, [(run, completed())], [ended])])
    assert journal.counts() == before == {"place_order": {"running": 1}}
    assert journal.miscounted() == []


def test_archived_runs_arent_counted_any_more(sql_journal: SqlJournal, tmp_path: Path) -> None:
    runs = [run_in(n % 3, number=n) for n in range(12)]
    fill(sql_journal, runs, unfinished=2)
    assert sql_journal.counts() == {"place_order": {"completed": 10, "running": 6}}
    archiver = Archiver(sql_journal, tmp_path, clock=lambda: NOW, pause=lambda _: None)
    assert sum(step.removed.runs for step in archiver.run(Wanted(NOW - DAY))) == 10
    assert sql_journal.counts() == {"place_order": {"running": 6}}
    assert sql_journal.miscounted() == []
    sql_journal.rebuild(row_of)
    assert sql_journal.counts() == {"place_order": {"running": 6}}
    assert list(differences(sql_journal)) == []


def test_wrong_counts_are_found_and_made_anew(sql_journal: SqlJournal) -> None:
    fill(sql_journal, [run_in(2, number=n) for n in range(3)])
    right = sql_journal.counts()
    with sql_journal.engine.begin() as connection:
        connection.execute(text("UPDATE saga_tally SET runs = runs + 4"))
    wrong = "shard 2: 7 runs of place_order are counted as completed, there are 3"
    assert list(differences(sql_journal)) == [wrong]
    with sql_journal.engine.begin() as connection:
        connection.execute(text("DELETE FROM saga_tally"))
    wrong = "shard 2: 0 runs of place_order are counted as completed, there are 3"
    assert list(differences(sql_journal)) == [wrong]
    sql_journal.rebuild(row_of)
    assert sql_journal.counts() == right
    assert sql_journal.miscounted() == []
