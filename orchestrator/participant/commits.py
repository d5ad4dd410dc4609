"""COMMIT: what must hold before it, and whether its failure says that nothing was committed.

A server that answers COMMIT with an error has rolled back; a connection lost meanwhile says nothing at all. And a
database may have rolled a transaction back long before, if the participant caught its error and went on: PostgreSQL
then takes a COMMIT without complaint, and MariaDB commits what came after.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection, RootTransaction
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, IntegrityError

from orchestrator.errors import SagaError

_DEFINITE_MARIADB = frozenset({1020, 1180, 1205, 1213})
"""Record changed, error during commit, lock wait timeout, deadlock."""

_UNCERTAIN_POSTGRES = ("08", "57", "58", "XX", "40003")
"""Classes of SQLSTATE: connection, operator intervention, system and internal errors; completion unknown."""

_ENDS_TRANSACTION_MARIADB = frozenset({1205, 1213})
_ENDED = "saga_transaction_ended"
_POSTGRES_IN_ERROR = 3


class CommitUnknownError(Exception):
    """The connection was lost in COMMIT: whether the transaction took effect isn't known."""


class EndedItselfError(SagaError):
    """What a participant did is no longer in one transaction."""

    def __init__(self) -> None:
        super().__init__(
            "the participant ended its transaction itself: leave commit and rollback to the "
            "orchestrator, and raise an exception to have everything rolled back"
        )


def commit(connection: Connection) -> None:
    """Commit. Raises ``CommitUnknownError``, or the database's own error where that means a rollback."""
    try:
        connection.commit()
    except Exception as error:
        if isinstance(error, DBAPIError) and _is_definite(error, connection.dialect.name):
            raise
        raise CommitUnknownError(f"the connection was lost in COMMIT: {error}") from error


def check_intact(connection: Connection, transaction: RootTransaction | None) -> None:
    """Raise ``SagaError`` unless what the participant did is still in one transaction that can be committed."""
    if connection.get_transaction() is not transaction or not connection.in_transaction():
        raise EndedItselfError
    if _is_aborted(connection):
        raise SagaError(
            "a statement of the participant failed and the database rolled its transaction back, "
            "yet the participant went on: let the error out, or guard the statement with "
            "session.begin_nested()"
        )


def forget_errors(connection: Connection) -> None:
    """Begin anew with a pooled connection."""
    connection.info.pop(_ENDED, None)


def note_error(context: ExceptionContext) -> None:
    """Listens to ``handle_error`` on MariaDB: remembers that an error has rolled a transaction back."""
    arguments = context.original_exception.args
    if context.connection is not None and arguments and arguments[0] in _ENDS_TRANSACTION_MARIADB:
        context.connection.info[_ENDED] = True


def _is_aborted(connection: Connection) -> bool:
    driver = connection.connection.driver_connection
    match connection.dialect.name:
        case "postgresql":
            status = getattr(getattr(driver, "info", None), "transaction_status", None)
            if (
                status is None
            ):  # a driver that doesn't tell: any statement fails in such a transaction
                connection.exec_driver_sql("SELECT 1")
            return status == _POSTGRES_IN_ERROR
        case "sqlite":
            return not getattr(driver, "in_transaction", True)
        case _:
            return bool(connection.info.get(_ENDED))


def _is_definite(error: DBAPIError, dialect: str) -> bool:
    if error.connection_invalidated:
        return False
    if isinstance(error, IntegrityError):
        return True
    match dialect:
        case "postgresql":
            state = getattr(error.orig, "sqlstate", None)
            return isinstance(state, str) and not state.startswith(_UNCERTAIN_POSTGRES)
        case "sqlite":
            code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            return code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
        case _:
            arguments = error.orig.args if error.orig is not None else ()
            return bool(arguments) and arguments[0] in _DEFINITE_MARIADB
