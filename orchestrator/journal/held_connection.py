"""The coordinator's own PostgreSQL connection, held open and used without SQLAlchemy.

Its turn is two statements, many times a second: borrowing a connection and running them through the engine costs
twice as much CPU as the statements themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.journal.database import lacks_table, no_tables, outcome_unknown, unavailable

UNIQUE_VIOLATION = "23505"


class KeyTakenError(Exception):
    """A statement met a row with its primary key; nothing was written."""


class HeldConnection:
    """One autocommit connection; opened when first used, and anew after it was lost."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: Any = None

    def read(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        """Run a query once. Raises ``JournalUnavailableError``, ``SchemaError``."""
        return self._run(statement, parameters, writes=False)

    def write(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        """Run a statement that is a transaction of its own, once.

        Raises ``KeyTakenError``, ``SchemaError``, ``JournalUnavailableError`` when nothing was
        written, ``OutcomeUnknownError`` when the connection was lost.
        """
        return self._run(statement, parameters, writes=True)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    def _run(self, statement: str, parameters: Sequence[Any], *, writes: bool) -> list[Any]:
        driver: Any = self._engine.dialect.loaded_dbapi
        with self._lock:
            connection = self._opened(driver)
            try:
                rows: list[Any] = connection.execute(statement, parameters).fetchall()
            except driver.Error as error:
                lost = connection.closed
                if lost:
                    self._drop()
                if getattr(error, "sqlstate", None) == UNIQUE_VIOLATION:
                    raise KeyTakenError from error
                if lacks_table(error):
                    raise no_tables(self._engine, error) from error
                if writes and lost:
                    raise outcome_unknown(error) from error
                raise unavailable(self._engine, error) from error
            except BaseException:  # interrupted half-way: its state isn't known any more
                self._drop()
                raise
            return rows

    def _opened(self, driver: Any) -> Any:
        if self._connection is None or self._connection.closed:
            try:
                self._connection = self._open(driver)
            except (driver.Error, SQLAlchemyError) as error:
                raise unavailable(self._engine, error) from error
        return self._connection

    def _open(self, driver: Any) -> Any:
        """Take a connection out of the pool, for good; one that has died there makes it forget all of them."""
        try:
            return self._taken()
        except driver.OperationalError:
            self._engine.dispose()
            return self._taken()

    def _taken(self) -> Any:
        borrowed = self._engine.raw_connection()
        connection: Any = borrowed.driver_connection
        borrowed.detach()
        try:
            connection.autocommit = True
            connection.execute("SELECT 1")
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
