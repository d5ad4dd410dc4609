"""A participant's database: its engines, made lazily in each process.

A connection must not cross a fork, so every use looks whether the process is still the one that made the engine. On
SQLite every transaction takes the write lock at once: a lock taken later could fail after the work is done.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orchestrator.errors import DefinitionError, SchemaError
from orchestrator.participant import loop
from orchestrator.participant.commits import note_error
from orchestrator.participant.tables import metadata
from orchestrator.participant.two_phase.mariadb import MariaBranches
from orchestrator.participant.two_phase.port import ResourceManager

SUPPORTED = ("postgresql", "sqlite", "mariadb", "mysql")
READ_ONLY = "saga_read_only"
"""Execution option of a connection whose transaction must not write."""

_BUSY_TIMEOUT_MS = 30_000


class Database:
    """The database of a service, from a URL or from an engine of the user's."""

    def __init__(self, source: str | URL | Engine, *, create_tables: bool = True) -> None:
        self._source = source
        self._create_tables = create_tables
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._engine: Engine | None = None
        self._async_engine: AsyncEngine | None = None
        self._ready = False
        self.url = source.url if isinstance(source, Engine) else _parsed(source)
        self.dialect = self.url.get_backend_name()
        if self.dialect not in SUPPORTED:
            raise DefinitionError(
                f"a participant's database can be PostgreSQL, SQLite or MariaDB, not {self.dialect}"
            )
        if self.dialect == "sqlite" and not isinstance(source, Engine) and not _is_file(self.url):
            raise DefinitionError(
                "a SQLite database in memory isn't shared between workers: name a file, as in "
                "sqlite:///inventory.db"
            )

    @property
    def is_async_capable(self) -> bool:
        """Whether the same URL serves synchronous and asynchronous participants."""
        if isinstance(self._source, Engine):
            return False
        sync = not self.url.get_dialect().is_async
        return sync and self.url.get_dialect(_is_async=True).is_async

    def engine(self) -> Engine:
        """This process's engine, with the barrier's tables in place.

        Raises ``SchemaError`` when they are missing and aren't to be made, SQLAlchemy's errors when the database
        can't be reached.
        """
        if self._pid != os.getpid():
            self.dispose()
        if self._engine is None or not self._ready:
            with self._lock:
                if self._engine is None:
                    self._engine = self._made()
                if not self._ready:
                    self._prepare(self._engine)
                    self._ready = True
        return self._engine

    def async_engine(self) -> AsyncEngine:
        """This process's engine for asynchronous participants; belongs to the event loop that first uses it."""
        self.engine()
        with self._lock:
            if self._async_engine is None:
                self._async_engine = create_async_engine(self.url, **_options(self.dialect))
            return self._async_engine

    def dispose(self) -> None:
        """Forget every connection without closing those that belong to a parent process."""
        forked = self._pid != os.getpid()
        if forked:
            self._lock = threading.Lock()
        with self._lock:
            self._pid = os.getpid()
            if self._engine is not None:
                self._engine.dispose(close=not forked)
            if self._async_engine is not None and forked:
                self._async_engine.sync_engine.dispose(close=False)
            elif self._async_engine is not None:
                loop.run(self._async_engine.dispose())
            self._engine = self._async_engine = None
            self._ready = False

    def resources(self) -> ResourceManager:
        """How this database prepares transactions. Raises ``DefinitionError`` if it can't."""
        driver = self.url.get_driver_name()
        match self.dialect, driver:
            case "postgresql", "psycopg":
                # only here is its driver needed
                from orchestrator.participant.two_phase.postgresql import (  # noqa: PLC0415
                    PostgresBranches,
                )

                return PostgresBranches()
            case (("mariadb" | "mysql"), "pymysql"):
                return MariaBranches()
            case "sqlite", _:
                raise DefinitionError(
                    "two_phase=True: SQLite can't prepare a transaction; use PostgreSQL or MariaDB, or declare a try "
                    "with @action.confirm and @action.cancel, which any database can do"
                )
            case _:
                needed = "postgresql+psycopg" if self.dialect == "postgresql" else "mariadb+pymysql"
                raise DefinitionError(
                    f"two_phase=True: the driver {driver} isn't known to prepare transactions; name {needed} in the URL"
                )

    def create_tables(self) -> None:
        """Make the barrier's tables now, where they are missing."""
        with self._lock:
            if self._engine is None:
                self._engine = self._made()
            _create(self._engine)
            self._ready = True

    def _made(self) -> Engine:
        if isinstance(self._source, Engine):
            engine: Engine = (
                self._source.execution_options()
            )  # a copy: our listener stays off the user's
        else:
            engine = create_engine(self.url, **_options(self.dialect))
            if self.dialect == "sqlite":
                event.listen(engine, "connect", _configure_sqlite)
        if self.dialect == "sqlite":
            event.listen(engine, "begin", _begin_sqlite)
        if self.dialect in {"mariadb", "mysql"}:
            event.listen(engine, "handle_error", note_error)
        return engine

    def _prepare(self, engine: Engine) -> None:
        if self._create_tables:
            _create(engine)
        elif missing := _missing(engine):
            raise SchemaError(
                f"{self.url.render_as_string()} has no table {' and '.join(missing)}: make them with "
                "Service.create_tables() or from participant.tables.ddl(), or set create_barrier=True"
            )


@contextmanager
def read_only(connection: Connection) -> Iterator[Connection]:
    """Use a fresh connection for one transaction in which the database refuses every write; closes it."""
    with connection:
        match connection.dialect.name:
            case "postgresql":
                connection = connection.execution_options(postgresql_readonly=True)
                yield connection
            case "sqlite":
                connection = connection.execution_options(**{READ_ONLY: True})
                connection.exec_driver_sql("PRAGMA query_only = ON")
                try:
                    yield connection
                finally:
                    connection.exec_driver_sql("PRAGMA query_only = OFF")
            case _:
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                yield connection


def _parsed(source: str | URL) -> URL:
    try:
        url = make_url(source)
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise DefinitionError(f"a service's database can't be used: {error}") from error
    return url


def _is_file(url: URL) -> bool:
    return url.database not in {None, "", ":memory:"} and "mode=memory" not in str(url)


def _options(dialect: str) -> dict[str, Any]:
    if dialect in {"mariadb", "mysql"}:
        # Under MariaDB's default, the row a duplicate waited for would not be seen by the rest of its transaction.
        return {"isolation_level": "READ COMMITTED"}
    return {}


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin by itself, and too late
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    if getattr(connection.connection.driver_connection, "in_transaction", False):
        return  # the user's own engine has begun already
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _create(engine: Engine) -> None:
    try:
        metadata.create_all(engine)
    except DBAPIError:
        if _missing(engine):  # else another process was quicker
            raise


def _missing(engine: Engine) -> list[str]:
    existing = set(inspect(engine).get_table_names())
    return [name for name in metadata.tables if name not in existing]
