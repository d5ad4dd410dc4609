"""Statements for PostgreSQL, several in one message, on a connection that SQLAlchemy has opened.

They go through the driver's own wrapper of libpq in its pipeline mode: values travel apart from the text, and a
statement with a name is prepared once a connection. SQLAlchemy and the driver know nothing of it.

https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

Driver = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

_PREPARED = "saga_prepared"
"""What a connection remembers: the names of the statements that are prepared on it; None if it keeps none."""
_NO_STATEMENT = "26000"
_STATEMENT_EXISTS = "42P05"
"""A pooler has given us another server process than it did before."""
_DONE = {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}


class Statement(NamedTuple):
    """A statement, its values as ``$1`` and so on; under a name if it comes again and again."""

    text: bytes
    values: Sequence[str | None] = ()
    name: bytes = b""


class StatementLostError(DBAPIError):
    """A prepared statement isn't what it was on this connection; said again, it is prepared again or sent in full."""


def say(connection: Connection, *statements: Statement) -> list[PGresult]:
    """Carry out statements one after the other in one round trip; returns what came of each.

    After the first that fails none is carried out. Raises ``DBAPIError`` for that one, as SQLAlchemy would,
    ``StatementLostError`` if a new transaction would do.
    """
    driver = driver_of(connection)
    named = _named(connection, driver)
    missing = [
        one for one in statements if one.name and named is not None and one.name not in named
    ]
    talk = _talk(driver.pgconn, missing, statements, driver.info.encoding, named=named is not None)
    try:
        waited = driver.wait(talk)
        results = waited if isinstance(waited, list) else await_only(waited)
    except BaseException as error:
        connection.invalidate()  # it may be in the middle of anything
        if isinstance(error, psycopg.Error):
            raise DBAPIError(None, None, error, connection_invalidated=True) from error
        raise
    for one, result in zip(missing, results, strict=False):
        if result.status in _DONE and named is not None:
            named.add(one.name)
    for result in results:
        if result.status not in _DONE:
            raise _error(connection, result, driver.info.encoding)
    return results[len(missing) :]


def driver_of(connection: Connection) -> Driver:
    """The driver's own connection."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection | psycopg.AsyncConnection)
    return driver


def _named(connection: Connection, driver: Driver) -> set[bytes] | None:
    if driver.prepare_threshold is None:
        return None
    named: set[bytes] | None = connection.info.setdefault(_PREPARED, set())
    return named


def _talk(
    pgconn: PGconn,
    missing: Sequence[Statement],
    statements: Sequence[Statement],
    encoding: str,
    *,
    named: bool,
) -> PQGen[list[PGresult]]:
    pgconn.enter_pipeline_mode()
    for one in missing:
        pgconn.send_prepare(one.name, one.text)
    if missing:
        pgconn.pipeline_sync()  # else a transaction that begins now would have had a query before
    for one in statements:
        values = [None if value is None else value.encode(encoding) for value in one.values]
        if one.name and named:
            pgconn.send_query_prepared(one.name, values)
        else:
            pgconn.send_query_params(one.text, values)
    pgconn.pipeline_sync()
    yield from generators.send(pgconn)
    results: list[PGresult] = []
    if missing:
        results += yield from _heard(pgconn, len(missing))
    results += yield from _heard(pgconn, len(statements))
    pgconn.exit_pipeline_mode()
    return results


def _heard(pgconn: PGconn, number: int) -> PQGen[list[PGresult]]:
    """So many results, and the synchronization after them."""
    results: list[PGresult] = []
    for _ in range(number):
        results += yield from generators.fetch_many(pgconn)
    yield from generators.fetch_many(pgconn)
    return results


def _error(connection: Connection, result: PGresult, encoding: str) -> DBAPIError:
    error = error_from_result(result, encoding)
    if error.sqlstate not in {_NO_STATEMENT, _STATEMENT_EXISTS}:
        return DBAPIError(None, None, error)
    connection.info[_PREPARED] = set() if error.sqlstate == _NO_STATEMENT else None
    return StatementLostError(None, None, error)
