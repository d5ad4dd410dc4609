"""The databases of a scene, which every schedule finds as the first one did: SQLite files, or PostgreSQL.

Only clients are killed here, so nothing waits for a disk: SQLite files are in memory where the machine has such a
folder, and PostgreSQL doesn't flush at each commit.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql
from sqlalchemy import make_url

MEMORY = Path("/dev/shm")


class Store(Protocol):
    """Databases by name."""

    def url(self, name: str) -> str:
        """SQLAlchemy URL of one of them."""
        ...

    def keep(self) -> None:
        """What stands in them now is what they are to begin with."""
        ...

    def reset(self) -> None:
        """Have them as they were kept."""
        ...

    def complaints(self) -> Sequence[str]:
        """What a dead process has left behind in the server."""
        ...


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for files."""
    folder = Path(tempfile.mkdtemp(prefix="saga-crash-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class SqliteStore:
    """Files in a folder."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder / "now"
        self._kept = folder / "kept"
        self._names = names
        self._folder.mkdir()
        self._kept.mkdir()

    def url(self, name: str) -> str:
        """SQLAlchemy URL of one of them."""
        return f"sqlite:///{self._folder / name}.db"

    def keep(self) -> None:
        """Put copies aside. Nobody may have them open."""
        assert not list(self._folder.glob("*-wal")), "somebody still has a database open"
        for file in self._folder.iterdir():
            shutil.copyfile(file, self._kept / file.name)

    def reset(self) -> None:
        """Bring the copies back."""
        for file in self._folder.iterdir():
            file.unlink()
        for file in self._kept.iterdir():
            shutil.copyfile(file, self._folder / file.name)

    def complaints(self) -> Sequence[str]:
        """Nothing outlives a process that has a file open."""
        return ()


class PostgresStore:
    """Databases of a server. ``server`` is a SQLAlchemy URL to its database ``postgres``."""

    def __init__(self, server: str, names: Sequence[str]) -> None:
        prefix = f"crash_{uuid.uuid4().hex[:8]}"
        self._server = make_url(server)
        self._databases = {name: f"{prefix}_{name}" for name in names}
        self._connections: dict[str, psycopg.Connection] = {}
        self._resets: dict[str, str] = {}
        self._admin = self._connected("postgres")
        for database in self._databases.values():
            name = sql.Identifier(database)
            self._admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
            self._admin.execute(
                sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name)
            )

    def url(self, name: str) -> str:
        """SQLAlchemy URL of one of them."""
        return self._server.set(database=self._databases[name]).render_as_string(False)

    def keep(self) -> None:
        """Copy every table into a schema beside it."""
        for name, database in self._databases.items():
            connection = self._connections[name] = self._connected(database)
            found = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            )
            tables = [str(row[0]) for row in found]
            connection.execute("CREATE SCHEMA kept")
            for table in tables:
                connection.execute(f"CREATE TABLE kept.{table} AS TABLE public.{table}".encode())
            self._resets[name] = "".join(
                f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept.{table};"
                for table in tables
            )

    def reset(self) -> None:
        """Bring the copies back, once the sessions of the dead are gone and have let go of their locks."""
        ours = [connection.info.backend_pid for connection in self._connections.values()]
        query = (
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
            " WHERE datname = ANY(%s) AND pid <> ALL(%s)"
        )
        self._admin.execute(query, (list(self._databases.values()), ours))
        for name, gid in self._prepared():  # left by a schedule that has been complained of
            rollback = sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid))
            self._connections[name].execute(rollback)
        for name, statements in self._resets.items():
            self._connections[name].execute(statements.encode())

    def complaints(self) -> Sequence[str]:
        """Prepared transactions that nobody will ever end."""
        return [
            f"(f) a transaction is left prepared in {name}: {gid}" for name, gid in self._prepared()
        ]

    def _prepared(self) -> Sequence[tuple[str, str]]:
        names = {database: name for name, database in self._databases.items()}
        query = "SELECT database, gid FROM pg_prepared_xacts WHERE database = ANY(%s)"
        found = self._admin.execute(query, (list(names),)).fetchall()
        return [(names[database], gid) for database, gid in found]

    def drop(self) -> None:
        """Remove them from the server."""
        for connection in self._connections.values():
            connection.close()
        for database in self._databases.values():
            name = sql.Identifier(database)
            self._admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        self._admin.close()

    def _connected(self, database: str) -> psycopg.Connection:
        url = self._server
        return psycopg.connect(
            host=url.host, port=url.port, user=url.username, dbname=database, autocommit=True
        )


@contextmanager
def opened(server: str, folder: Path, names: Sequence[str]) -> Iterator[Store]:
    """Databases for a campaign: on the server, or files without one. Where they are goes to the environment."""
    store = PostgresStore(server, names) if server else SqliteStore(folder, names)
    for name in names:
        os.environ[f"{name.upper()}_DATABASE_URL"] = store.url(name)
    try:
        yield store
    finally:
        if isinstance(store, PostgresStore):
            store.drop()
