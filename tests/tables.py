"""A journal's tables, made as `upgrade` makes them, and many times faster.

The migrations run once for each kind of database and number of shards; what they did is done again after that: to a
PostgreSQL by their SQL, to SQLite by copying the file. `tests/unit/journal/test_upgrade.py` shows that the SQL and the
migrations make the same.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import psycopg

from orchestrator.journal.upgrade import upgrade, upgrade_sql

SQLITE = "sqlite:///"


def make_tables(url: str, shards: int) -> None:
    """Make the tables in an empty database."""
    if url.startswith(SQLITE):
        Path(url.removeprefix(SQLITE)).write_bytes(_file(shards))
        return
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(_script(shards))


@functools.cache
def _file(shards: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.db")
        upgrade(f"{SQLITE}{path}", shards=shards)
        return path.read_bytes()


@functools.cache
def _script(shards: int) -> bytes:
    return upgrade_sql("postgresql+psycopg://", shards=shards).encode()
