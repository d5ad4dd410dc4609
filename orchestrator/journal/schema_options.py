"""Options of the journal's tables and indexes that only one kind of database has, for those who make them.

Apart from ``schema``, because naming one makes SQLAlchemy import all of that database's drivers: a tenth of the time
that `saga list` takes to start.
"""

from __future__ import annotations

from sqlalchemy import Index, Table, text

from orchestrator.journal.schema import AUDITED, EVENT, HOLD, INBOX, RUN, SHARD, TAG, TALLY

_PARTIAL = {
    "saga_run_open": "open",
    "saga_run_ended": "NOT open",
    "saga_event_audit": AUDITED,
    "saga_hold_in_force": "in_force",
}


def complete() -> None:
    """Add the options to the tables."""
    _fill(SHARD, 10)
    _fill(TALLY, 10)
    _fill(RUN, 70)  # room to update a row where it stands
    TAG.dialect_options["sqlite"]["with_rowid"] = False  # all of it is its key
    INBOX.dialect_options["sqlite"]["autoincrement"] = True  # an id is never used again
    for index in EVENT.indexes | RUN.indexes | HOLD.indexes:
        condition = _PARTIAL.get(str(index.name))
        if condition is not None:
            _limit(index, condition)


def _fill(table: Table, percent: int) -> None:
    table.dialect_options["postgresql"]["with"] = {"fillfactor": percent}


def _limit(index: Index, condition: str) -> None:
    for database in ("postgresql", "sqlite"):
        index.dialect_options[database]["where"] = text(condition)
