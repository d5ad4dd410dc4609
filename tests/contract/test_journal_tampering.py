"""Someone changes the log behind the journal's back: the check names where."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from orchestrator.journal.records import link
from orchestrator.journal.sql import SqlJournal
from tests.contract.journal_samples import done, run_in, started, write


@pytest.fixture
def stored(sql_journal: SqlJournal) -> SqlJournal:
    """A journal with some events in shard 1."""
    run_id = run_in(1)
    tenure = started(sql_journal, run_id)
    events = [(run_id, done(at=float(n))) for n in range(5)]
    sql_journal.append([write(tenure, events, cursor=(7, 0))])
    return sql_journal


@pytest.mark.parametrize(
    "change",
    [
        "data = replace(data, 'reserve', 'reverse')",
        "at = at + 0.001",
        "actor = 'x'",
        "run_id = 'x'",
        "type = 'StepUndone'",
        "schema_version = 0",
        "hash = replace(hash, substr(hash, 1, 1), 'x')",
    ],
)
def test_a_changed_record_is_named(stored: SqlJournal, change: str) -> None:
    with stored.engine.begin() as connection:
        connection.execute(text(f'UPDATE saga_event SET {change} WHERE shard = 1 AND "offset" = 4'))
    found = list(stored.verify())
    assert "shard 1 offset 4" in found[0]
    assert len(found) == (2 if change.startswith("hash") else 1)


@pytest.mark.parametrize(("offset", "named"), [(4, 5), (1, 2)])
def test_a_removed_record_is_named(stored: SqlJournal, offset: int, named: int) -> None:
    with stored.engine.begin() as connection:
        connection.execute(text(f'DELETE FROM saga_event WHERE shard = 1 AND "offset" = {offset}'))
    assert f"shard 1 offset {named}: follows offset {offset - 1}" in next(stored.verify())


def test_a_log_cut_off_behind_what_was_dispatched_is_named(stored: SqlJournal) -> None:
    with stored.engine.begin() as connection:
        connection.execute(text('DELETE FROM saga_event WHERE shard = 1 AND "offset" > 5'))
    (found,) = stored.verify()
    assert "shard 1 offset 5" in found
    assert "missing" in found


def test_a_record_of_no_event_is_named_though_its_hash_holds(stored: SqlJournal) -> None:
    with stored.engine.begin() as connection:
        connection.execute(
            text(
                'INSERT INTO saga_event SELECT shard, "offset" + 1, run_id, \'Nonsense\','
                " schema_version, at, actor, data, :hash FROM saga_event"
                ' WHERE shard = 1 AND "offset" = 7'
            ),
            {
                "hash": link(
                    stored.feed(1, 6, 1)[0].hash, 1, 8, run_in(1), "Nonsense", 1, 4.0, "",
                    '{"type":"StepSucceeded","at":4.0,"step":"reserve","attempt":1}',
                )
            },
        )  # fmt: skip
    (found,) = stored.verify()
    assert "shard 1 offset 8" in found
    assert "Nonsense" in found
