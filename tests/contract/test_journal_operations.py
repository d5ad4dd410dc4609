"""What operators did is found in any journal, by any filter, and a log that was altered is named."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from orchestrator.errors import InvalidInputError
from orchestrator.journal.approvals import waiting
from orchestrator.journal.audit import audit
from orchestrator.journal.port import Journal, OperationFilter
from orchestrator.journal.sql import SqlJournal
from orchestrator.kernel import events as ev
from tests.contract.journal_samples import row, run_in, started, write


def operated(journal: Journal) -> tuple[str, str]:
    """Two runs; ann paused and resumed one, bob cancelled the other, then was refused a retry."""
    one, two = run_in(0), run_in(1)
    of_one: list[ev.Event] = [
        ev.RunPaused(at=10.0, actor="ann", reason="the bank is down"),
        ev.RunResumed(at=11.0, actor="ann"),
        ev.StepSucceeded(at=12.0, step="reserve", attempt=1),
    ]
    of_two: list[ev.Event] = [
        ev.CompensationStarted(at=20.0, actor="bob", reason="wrong", operation="cancel"),
        ev.OperationRefused(at=21.0, actor="bob", operation="retry", why="too late"),
    ]
    for run_id, events in ((one, of_one), (two, of_two)):
        tenure = started(journal, run_id)
        journal.append([write(tenure, [(run_id, event) for event in events], [row(run_id)])])
    return one, two


def found(journal: Journal, **where: object) -> list[tuple[str, str]]:
    page = journal.operations(OperationFilter(**where))  # type: ignore[arg-type]
    return [(one.record.actor, one.record.type) for one in page.operations]


def test_operations_are_found_newest_first(journal: Journal) -> None:
    one, two = operated(journal)
    assert found(journal) == [
        ("bob", "OperationRefused"),
        ("bob", "CompensationStarted"),
        ("ann", "RunResumed"),
        ("ann", "RunPaused"),
    ]
    assert {o.saga for o in journal.operations(OperationFilter()).operations} == {"place_order"}
    assert found(journal, actor="ann", operation="pause") == [("ann", "RunPaused")]
    assert found(journal, operation="cancel") == [("bob", "CompensationStarted")]
    assert found(journal, operation="compensate") == []
    assert found(journal, operation="retry") == found(journal, refused=True)
    assert found(journal, run=one) == found(journal, before=20.0) == found(journal, actor="ann")
    assert found(journal, run=two) == found(journal, after=20.0)
    assert found(journal, saga="other") == found(journal, sagas=("other",)) == []
    assert len(found(journal, saga="place_order", sagas=("place_order",))) == 4


def test_operations_come_in_pages(journal: Journal) -> None:
    operated(journal)
    seen: list[str] = []
    cursor = None
    while True:
        page = journal.operations(OperationFilter(), cursor, 3)
        seen += [one.record.type for one in page.operations]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == ["OperationRefused", "CompensationStarted", "RunResumed", "RunPaused"]
    with pytest.raises(InvalidInputError, match="isn't a cursor"):
        journal.operations(OperationFilter(), "nonsense")
    with pytest.raises(InvalidInputError, match="'dance' is no operation; there are retry"):
        journal.operations(OperationFilter(operation="dance"))


def test_an_untouched_log_is_intact(journal: Journal) -> None:
    one, two = operated(journal)
    assert journal.altered(0, [one]) == journal.altered(1, [two]) == {}
    page = audit(journal)
    assert page.intact
    assert [(entry.operation, entry.before, entry.after) for entry in page.entries] == [
        ("retry", "compensating", "compensating"),
        ("cancel", "running", "compensating"),
        ("resume", "paused", "running"),
        ("pause", "running", "paused"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE saga_event SET actor = 'carl' WHERE type = 'RunPaused'",
        "UPDATE saga_event SET data = replace(data, 'bank', 'boss') WHERE type = 'RunPaused'",
        "UPDATE saga_event SET data = '[]' WHERE type = 'RunPaused'",
        "DELETE FROM saga_event WHERE type = 'tenure' AND shard = 0",
    ],
)
def test_an_altered_log_is_named(sql_journal: SqlJournal, change: str) -> None:
    one, _ = operated(sql_journal)
    with sql_journal.engine.begin() as connection:
        connection.execute(text(change))
    assert list(sql_journal.altered(0, [one])) == [one]
    page = audit(sql_journal)
    assert not page.intact
    assert {entry.intact for entry in page.entries if entry.run_id == one} == {False}
    assert {entry.intact for entry in page.entries if entry.run_id != one} == {True}
    assert all(place.startswith("shard 0 offset ") for place in page.altered)


def test_what_waits_for_a_second_person_is_found_until_it_is_answered_or_too_old(
    journal: Journal,
) -> None:
    run = run_in(0)
    asked = [
        ev.ApprovalAsked(
            at=10.0 + number,
            actor="ann",
            number=number,
            operation="skip",
            step="reserve",
            result=7,
            sees="",
            expires_at=expires_at,
        )
        for number, expires_at in ((1, 100.0), (2, 100.0), (3, 100.0), (4, 50.0))
    ]
    answers: list[ev.Event] = [
        ev.ApprovalGiven(at=20.0, actor="bob", number=1),
        ev.ApprovalDenied(at=21.0, actor="bob", number=2),
        ev.OperationRefused(at=22.0, actor="ann", operation="approve", why="not by yourself"),
    ]
    tenure = started(journal, run)
    journal.append([write(tenure, [(run, event) for event in (*asked, *answers)], [row(run)])])
    [one] = waiting(journal, 60.0)
    assert (one.number, one.saga, one.given, one.answer) == (
        *(3, "place_order", {"result": 7}, "waiting"),
    )
    assert [one.number for one in waiting(journal, 50.0)] == [4, 3], "the newest first"
    assert waiting(journal, 60.0, ("other",)) == waiting(journal, 60.0, run="other") == []
    assert waiting(journal, 60.0 + 31 * 86_400) == []
    assert found(journal, operation="ask") == [("ann", "ApprovalAsked")] * 4
    assert ("ann", "OperationRefused") in found(journal, operation="approve")
