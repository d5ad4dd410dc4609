"""Statements for PostgreSQL, several in one message, on a connection that SQLAlchemy has opened.

They go through the driver's own wrapper of libpq in its pipeline mode: values travel apart from the text, and a
statement with a name is prepared once a connection. SQLAlchemy and the driver know nothing of it.

https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
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
_Send = Callable[[PGconn], None]
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
    encoding = driver.info.encoding
    named = _named(connection, driver)
    missing = [
        one for one in statements if named is not None and one.name and one.name not in named
    ]
    messages: list[Sequence[_Send]] = [
        [functools.partial(_send, one, encoding, named=named is not None) for one in statements]
    ]
    if missing:  # apart, else a transaction that begins now would have had a query before
        messages.insert(0, [functools.partial(_send_prepare, one) for one in missing])
    results = _exchanged(connection, driver, messages)
    for one, result in zip(missing, results, strict=False):
        if result.status in _DONE and named is not None:
            named.add(one.name)
    for result in results:
        if result.status not in _DONE:
            raise _error(connection, result, encoding)
    return results[len(missing) :]


def say_each(connection: Connection, statements: Sequence[Statement]) -> list[PGresult]:
    """Carry out statements in one round trip, each in a transaction of its own; returns what came of each, errors too.

    Raises ``DBAPIError`` if the connection is lost: then nothing is known of any of them.
    """
    driver = driver_of(connection)
    encoding = driver.info.encoding
    messages = [[functools.partial(_send, one, encoding, named=False)] for one in statements]
    return _exchanged(connection, driver, messages)


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


def _send_prepare(statement: Statement, pgconn: PGconn) -> None:
    pgconn.send_prepare(statement.name, statement.text)


def _send(statement: Statement, encoding: str, pgconn: PGconn, *, named: bool) -> None:
    values = [None if value is None else value.encode(encoding) for value in statement.values]
    if statement.name and named:
        pgconn.send_query_prepared(statement.name, values)
    else:
        pgconn.send_query_params(statement.text, values)


def _exchanged(
    connection: Connection, driver: Driver, messages: Sequence[Sequence[_Send]]
) -> list[PGresult]:
    try:
        waited = driver.wait(_talk(driver.pgconn, messages))
        return waited if isinstance(waited, list) else await_only(waited)
    except BaseException as error:
        connection.invalidate()  # it may be in the middle of anything
        if isinstance(error, psycopg.Error):
            raise DBAPIError(None, None, error, connection_invalidated=True) from error
        raise


def _talk(pgconn: PGconn, messages: Sequence[Sequence[_Send]]) -> PQGen[list[PGresult]]:
    """Send everything, then hear everything. A failure is over with its message."""
    pgconn.enter_pipeline_mode()
    for message in messages:
        for send in message:
            send(pgconn)
        pgconn.pipeline_sync()
    yield from generators.send(pgconn)
    results: list[PGresult] = []
    for message in messages:
        for _ in message:
            results += yield from generators.fetch_many(pgconn)
        yield from generators.fetch_many(pgconn)
    pgconn.exit_pipeline_mode()
    return results


def _error(connection: Connection, result: PGresult, encoding: str) -> DBAPIError:
    error = error_from_result(result, encoding)
    if error.sqlstate not in {_NO_STATEMENT, _STATEMENT_EXISTS}:
        return DBAPIError(None, None, error)
    connection.info[_PREPARED] = set() if error.sqlstate == _NO_STATEMENT else None
    return StatementLostError(None, None, error)
