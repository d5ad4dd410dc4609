"""The barrier's SQL, once per kind of database.

Core expressions made once, so that SQLAlchemy compiles each once for a database and finds it in its cache.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    Connection,
    Executable,
    Select,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import Insert, UpdateBase

from orchestrator.participant.tables import barrier, epoch

_CLAIM = ("effect_key", "run", "step", "shard", "status", "args", "failure", "created_at")

newest_epoch: Select[int] = select(epoch.c.epoch).where(epoch.c.shard == bindparam("shard"))
"""The newest epoch seen for ``shard``."""

_of_row = newest_epoch.scalar_subquery().label("newest")
_columns = (barrier.c.status, barrier.c.args, barrier.c.reply, barrier.c.failure, _of_row)

read_row: Select[*tuple[Any, ...]] = select(*_columns).where(
    barrier.c.effect_key == bindparam("effect_key")
)
"""An effect's row as it is committed now."""

lock_row: Select[*tuple[Any, ...]] = read_row.with_for_update(of=barrier)
"""An effect's row, held until the transaction ends."""

_is_it = barrier.c.effect_key == bindparam("key")

store_reply = update(barrier).where(_is_it).values(reply=bindparam("reply_text"))
"""Keep what the action returned."""

mark = (
    update(barrier).where(_is_it).values(status=bindparam("new_status"), undone_at=bindparam("at"))
)
"""Say that an effect is undone, or may never happen."""


def write_claim(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Insert an effect's ``row`` in the connection's transaction; False if there is one, or a newer epoch."""
    dialect = connection.dialect.name
    try:
        inserted = connection.execute(claim(dialect), row)
    except IntegrityError as error:
        if dialect not in {"mysql", "mariadb"} or not _is_duplicate(error):
            raise
        return False
    return inserted.rowcount == 1


@functools.cache
def claim(dialect: str) -> UpdateBase:
    """Insert an effect's row unless there is one, or a newer epoch is known: one row, or none.

    Waits for a transaction that is inserting the same row now. On MariaDB a row that exists raises ``IntegrityError``
    instead, which leaves the transaction intact.
    """
    columns = [barrier.c[name] for name in _CLAIM]
    values = [bindparam(column.name, type_=column.type).label(column.name) for column in columns]
    newer = exists(literal_column("1")).where(
        epoch.c.shard == bindparam("shard"), epoch.c.epoch > bindparam("epoch")
    )
    rows = select(*values).where(~newer)
    insert: Insert
    match dialect:
        case "postgresql":
            insert = postgresql.insert(barrier).from_select(_CLAIM, rows).on_conflict_do_nothing()
        case "sqlite":
            insert = sqlite.insert(barrier).from_select(_CLAIM, rows).on_conflict_do_nothing()
        case _:
            insert = mysql.insert(barrier).from_select(_CLAIM, rows)
    return insert.execution_options(preserve_rowcount=True)


@functools.cache
def note_epoch(dialect: str) -> Executable:
    """Record ``epoch`` for ``shard`` unless a newer one is known."""
    if dialect in {"mysql", "mariadb"}:
        row = mysql.insert(epoch)
        return row.on_duplicate_key_update(epoch=func.greatest(epoch.c.epoch, row.inserted.epoch))
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(epoch)
    return statement.on_conflict_do_update(
        index_elements=[epoch.c.shard],
        set_={"epoch": statement.excluded.epoch},
        where=epoch.c.epoch < statement.excluded.epoch,
    )


def _is_duplicate(error: IntegrityError) -> bool:
    return bool(error.orig is not None and error.orig.args and error.orig.args[0] == 1062)
