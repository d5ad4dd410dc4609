"""What a turn reads doesn't grow with the journal, also while the server still believes its tables to be tiny.

Without statistics, which a young journal doesn't have, PostgreSQL plans a prepared statement for tables of a few rows,
and keeps to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import closing

from sqlalchemy import create_engine, text

from orchestrator.journal.port import Tenure
from orchestrator.journal.records import shard_of
from orchestrator.journal.sql import SqlJournal
from tests.contract.journal_samples import SHARDS, completed, launched, request, row, write
from tests.tables import make_tables
from tests.waiting import eventually

_TURNS = 60
_RUNS = 10
"""In one turn."""
_READ = text("""
    SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0), n_tup_ins FROM pg_stat_user_tables
    WHERE relname IN ('saga_event', 'saga_run')
""")


def test_of_a_log_no_more_is_read_for_each_turn(postgres_url: str) -> None:
    make_tables(postgres_url, SHARDS)
    names = (f"run-{number}" for number in itertools.count())
    ids = (name for name in names if shard_of(name, SHARDS) == 0)
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for table in ("saga_event", "saga_run", "saga_inbox", "saga_tally"):
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = off)"))
        with closing(SqlJournal(postgres_url)) as journal:
            tenure = journal.begin_tenure(0, "one", 1.0)
            for _ in range(_TURNS):
                tenure = _launched_and_ended(journal, tenure, list(itertools.islice(ids, _RUNS)))

        def read() -> dict[str, int] | None:
            """Once the journal's connections have told what they did."""
            found = {table: (read, written) for table, read, written in connection.execute(_READ)}
            told = found["saga_event"][1] >= 2 * _TURNS * _RUNS
            return {table: read for table, (read, _) in found.items()} if told else None

        rows = eventually(read)
    engine.dispose()
    assert rows is not None
    assert rows["saga_event"] <= 5 * 2 * _TURNS
    assert rows["saga_run"] <= 5 * 2 * _TURNS * _RUNS


def _launched_and_ended(journal: SqlJournal, tenure: Tenure, ids: Sequence[str]) -> Tenure:
    journal.launch([request(run_id) for run_id in ids])
    consumed = [item.id for item in journal.inbox([0], {}, 100)]
    begun = [(run_id, launched(run_id)) for run_id in ids]
    (tenure,) = journal.append([write(tenure, begun, [row(run_id) for run_id in ids], consumed)])
    ended = [row(run_id, status="completed", ended_at=3.0) for run_id in ids]
    (tenure,) = journal.append([write(tenure, [(run_id, completed()) for run_id in ids], ended)])
    return tenure
