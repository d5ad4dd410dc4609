"""Pages of runs by saga, status and text: merged from parts, and looked through a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from orchestrator.journal import listing
from orchestrator.journal.port import Journal, Page, RunFilter
from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel.summary import RunStatus, RunSummary
from tests.contract.journal_samples import done, row, run_in, write
from tests.statements import explained, statements

SAGAS = ("buy", "sell", "lend")
STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)
RUNS = [
    row(
        run_in(0, number=n),
        status=STATUSES[n % 7],
        saga=SAGAS[n % 3],
        launched_at=float(n // 4),
        reason="no route to host" if n % 20 == 0 else "",
    )
    for n in range(84)
]
"""Of every saga some with every status, four launched at each time."""


def fill(journal: Journal) -> None:
    tenure = journal.begin_tenure(0, "one", 1.0)
    journal.append([write(tenure, [(run.run_id, done()) for run in RUNS], RUNS)])


def newest_first(runs: list[RunSummary]) -> list[str]:
    placed = sorted(((run.launched_at, run.run_id) for run in runs), reverse=True)
    return [run_id for _, run_id in placed]


def pages(journal: Journal, where: RunFilter, limit: int) -> Iterator[Page]:
    cursor = None
    while True:
        page = journal.runs(where, cursor, limit)
        yield page
        cursor = page.cursor
        if cursor is None:
            return


@pytest.mark.parametrize(
    "where",
    [
        {"saga": "buy"},
        {"saga": "nobody"},
        {"saga": "sell", "status": ("completed",)},
        {"saga": "sell", "status": ("completed", "stuck", "completed")},
        {"saga": "sell", "sagas": ("sell", "lend")},
        {"saga": "buy", "sagas": ("sell", "lend")},
        {"sagas": ("sell", "lend", "sell")},
        {"sagas": (*(f"saga-{n}" for n in range(90)), "buy")},
        {"status": ("running", "paused")},
        {"status": ("running", "paused"), "launched_after": 5.0, "launched_before": 12.0},
    ],
)
def test_pages_by_saga_and_status_are_in_order_and_whole(
    journal: Journal, where: dict[str, Any]
) -> None:
    fill(journal)
    asked = RunFilter(**where)
    due = newest_first(
        [
            run
            for run in RUNS
            if asked.saga in {None, run.saga}
            and (not asked.sagas or run.saga in asked.sagas)
            and (not asked.status or run.status in asked.status)
            and (asked.launched_after or 0) <= run.launched_at < (asked.launched_before or 99)
        ]
    )
    for limit in (3, 50):
        found = list(pages(journal, asked, limit))
        assert [run.run_id for page in found for run in page.runs] == due
        assert all(len(page.runs) == limit for page in found[:-1])
        assert {page.looked_at for page in found} == {0}


@pytest.mark.parametrize("where", [{}, {"saga": "buy"}, {"sagas": ("buy", "sell")}])
def test_a_text_is_found_a_piece_at_a_time(
    journal: Journal, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LOOKED_THROUGH", 7)
    fill(journal)
    fitting = [run for run in RUNS if not where or run.saga in {"buy", where.get("sagas", "  ")[1]}]
    due = newest_first([run for run in fitting if run.reason])
    for limit in (1, 2, 50):
        found = list(pages(journal, RunFilter(text="ROUTE to", **where), limit))
        assert [run.run_id for page in found for run in page.runs] == due
        for page in found[:-1]:
            assert page.looked_at == 7 or (page.looked_at == 0 and len(page.runs) == limit)
        assert found[-1].looked_at == 0
    none = list(pages(journal, RunFilter(text="nowhere", **where), 50))
    assert [page.looked_at for page in none] == [7] * (len(fitting) // 7) + [0]
    assert not any(page.runs for page in none)


@pytest.mark.parametrize("where", [{"saga": "buy"}, {"saga": "buy", "status": ("stuck",)}])
def test_an_index_has_each_part_in_order(sql_journal: SqlJournal, where: dict[str, Any]) -> None:
    fill(sql_journal)
    with statements(sql_journal.engine) as seen:
        sql_journal.runs(RunFilter(**where))
    plan = explained(sql_journal.engine, *seen[-1])
    assert "saga_run_saga_status" in plan
    assert "saga_run_launched" not in plan
