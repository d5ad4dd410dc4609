"""The writer's path on SQLite: one ``BEGIN IMMEDIATE`` transaction, rows handed over as plain tuples."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from orchestrator.errors import FencedError
from orchestrator.journal import tally
from orchestrator.journal.clusters import COLUMNS as INCIDENT_COLUMNS
from orchestrator.journal.clusters import incident_rows
from orchestrator.journal.database import Database
from orchestrator.journal.port import ShardWrite, Tenure
from orchestrator.journal.records import Row, rows_of
from orchestrator.journal.run_rows import CHANGING, COLUMNS, RunRow, run_row

INSERT_EVENTS = """
    INSERT INTO saga_event (shard, "offset", run_id, type, schema_version, at, actor, data, hash)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
UPSERT_RUNS = f"""
    INSERT INTO saga_run ({", ".join(COLUMNS)}) VALUES ({", ".join("?" * len(COLUMNS))})
    ON CONFLICT (run_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in CHANGING)}
"""  # noqa: S608 - made of constants
RELIEVE = "DELETE FROM saga_incident WHERE run_id = ?"
INSERT_INCIDENTS = f"""
    INSERT INTO saga_incident ({", ".join(INCIDENT_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608 - made of constants
CONSUME = "DELETE FROM saga_inbox WHERE id = ?"
MOVE = """
    UPDATE saga_shard SET cursor_offset = ?, cursor_at = ? WHERE shard = ? AND epoch = ?
    AND EXISTS (SELECT 1 FROM saga_event e WHERE e.shard = ? AND e."offset" = ? AND e.hash = ?)
"""


def append(database: Database, writes: Sequence[ShardWrite]) -> list[Tenure]:
    """Write one turn. Errors as in the port."""
    encoded = [rows_of(write) for write in writes]
    runs = [[run_row(run) for run in write.runs] for write in writes]

    def work(connection: Connection) -> None:
        for write, (rows, after), shown in zip(writes, encoded, runs, strict=True):
            _write(connection, write, rows, after, shown)

    database.write(work)
    return [after for _, after in encoded]


def upsert_runs(connection: Connection, rows: Sequence[RunRow]) -> None:
    """Write read-model rows within a transaction."""
    if rows:
        connection.exec_driver_sql(UPSERT_RUNS, list(rows))


def _write(
    connection: Connection,
    write: ShardWrite,
    rows: list[Row],
    after: Tenure,
    shown: list[RunRow],
) -> None:
    shard, previous = after.shard, write.tenure.next_offset - 1
    fence = (shard, after.epoch, shard, previous, write.tenure.chain)
    cursor = (after.cursor_offset, after.cursor_at, *fence)
    if connection.exec_driver_sql(MOVE, cursor).rowcount != 1:
        raise FencedError(after.shard)
    if rows:
        try:
            connection.exec_driver_sql(INSERT_EVENTS, [tuple(row) for row in rows])
        except IntegrityError as error:
            raise FencedError(after.shard) from error
    tally.add_sqlite(connection, tally.ending(write.runs))
    upsert_runs(connection, shown)
    if write.relieved:
        connection.exec_driver_sql(RELIEVE, [(run_id,) for run_id in write.relieved])
    opened = incident_rows(write.runs)
    if opened:
        connection.exec_driver_sql(INSERT_INCIDENTS, list(opened))
    if write.consumed:
        ids = [(id_,) for id_ in write.consumed]
        if connection.exec_driver_sql(CONSUME, ids).rowcount != len(ids):
            raise FencedError(after.shard)
