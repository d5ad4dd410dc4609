"""The barrier's two tables, which stand in the participant's own database beside its business tables.

They have a ``MetaData`` of their own, so that a user's migrations can include them or leave them out.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

DONE = "done"
REFUSED = "refused"
UNDONE = "undone"
TOMBSTONE = "tombstone"
CONFIRMED = "confirmed"
"""Of the row beside a try's own: no effect of its own, only that it was made final."""

MAX_KEY_LENGTH = 255
"""What every database takes as a primary key."""

# MariaDB compares text without regard to case and trailing blanks unless it is told otherwise.
_exact = mysql.VARCHAR(MAX_KEY_LENGTH, charset="utf8mb4", collation="utf8mb4_nopad_bin")
_key = String(MAX_KEY_LENGTH).with_variant(_exact, "mysql", "mariadb")
_json = Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")

metadata = MetaData()
"""The barrier's tables, for a user's own migrations; see also ``ddl``."""

barrier = Table(
    "saga_barrier",
    metadata,
    Column("effect_key", _key, primary_key=True),
    Column("run", _key, nullable=False),
    Column("step", _key, nullable=False),
    Column("shard", Integer, nullable=False),
    Column("status", String(12), nullable=False),
    Column("args", _json, nullable=False),  # what the action was done with: its undo gets these
    Column("reply", _json),
    Column("failure", _json),
    Column("created_at", Double, nullable=False),
    Column("undone_at", Double),
    Index("saga_barrier_created_at", "created_at"),
)
"""One row for each effect: that it happened, was refused, was undone, or may never happen."""

epoch = Table(
    "saga_epoch",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
)
"""The newest tenure of each shard that this database has seen; commands of older ones are refused."""


def ddl(dialect: Dialect) -> list[str]:
    """The statements that make the tables, for those who keep their schema by hand."""
    statements: list[str] = []
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)).strip())
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in indexes]
    return statements


def bounded(text: str) -> str:
    """``text`` as it is stored in a key column: a long one ends in its hash, so that it stays unique."""
    if len(text) <= MAX_KEY_LENGTH:
        return text
    return f"{text[: MAX_KEY_LENGTH - 65]}#{hashlib.sha256(text.encode()).hexdigest()}"
