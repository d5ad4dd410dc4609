"""PostgreSQL: ``PREPARE TRANSACTION``, ``COMMIT PREPARED``, ``ROLLBACK PREPARED``.

A prepared transaction belongs to the server; only its own database, and its own user or a superuser, may end it.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from orchestrator.participant import statements
from orchestrator.participant.commits import EndedItselfError
from orchestrator.participant.two_phase.port import (
    Ending,
    Found,
    Proof,
    ProofGoneError,
    Shortcoming,
    Standing,
    StillRunningError,
    WrongDatabaseError,
)
from orchestrator.transport.gid import PREFIX, Gid, read_gid

_UNKNOWN_GID = "42704"
_BUSY = "55000"
_NOT_ALLOWED = {"0A000", "42501"}
"""Prepared in another database, or by another user."""
_LOCK_NOT_GOT = {"55P03", "40P01"}
_BUSY_TRIES = 50
_BUSY_PAUSE_S = 0.02

_BEGIN = "saga_begin"
"""What a connection remembers: how its transactions are to begin."""

_Driver = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]
_Cursor = psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]

_where = text(
    "SELECT (SELECT database FROM pg_prepared_xacts WHERE gid = :gid) AS database, current_database() AS here"
)
_NO_STATEMENT = {"26000", "42P05"}
"""It isn't there, or is there already: a pooler has given us another server process than it did before."""
_KEEPS_STATEMENT = "saga_keeps_statement"
"""What a connection remembers: whether a statement that was prepared stays."""

_claim = statements.claim("postgresql").compile(
    dialect=make_url("postgresql+psycopg://").get_dialect()()
)
_CLAIM = str(_claim)
_numbers = {name: f"${number}" for number, name in enumerate(_claim.params, 1)}
_PREPARE_CLAIM = f"PREPARE saga_claim AS {_CLAIM % _numbers}"
_EXECUTE_CLAIM = f"EXECUTE saga_claim ({', '.join(f'%({name})s' for name in _numbers)})".encode()
_SEAL = """
    UPDATE saga_barrier SET args = %(args)s, reply = %(reply)s WHERE effect_key = %(key)s
    RETURNING cmin::text::integer
"""
_found = text(
    """
    SELECT p.gid, p.owner, extract(epoch FROM clock_timestamp() - p.prepared) AS age_s,
           age(p.transaction) AS holds_back,
           (SELECT count(*) FROM pg_locks w WHERE NOT w.granted AND w.locktype = 'transactionid'
               AND w.transactionid = p.transaction) AS waiting,
           (SELECT array_agg(c.relname || ' ' || l.mode ORDER BY c.relname, l.mode)
              FROM pg_locks own
              JOIN pg_locks l ON l.pid IS NULL AND l.virtualtransaction = own.virtualtransaction
              JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p')
               AND c.relnamespace <> 'pg_catalog'::regnamespace
             WHERE own.pid IS NULL AND own.locktype = 'transactionid'
               AND own.transactionid = p.transaction) AS locks
      FROM pg_prepared_xacts p
     WHERE p.database = current_database() AND starts_with(p.gid, :prefix)
     ORDER BY p.prepared
    """
)
_limits = text(
    "SELECT current_setting('max_prepared_transactions')::integer AS slots,"
    " current_setting('max_connections')::integer AS connections,"
    " current_setting('server_version_num')::integer AS version"
)
_OLDEST = 130000


class PostgresBranches:
    """See the port."""

    def connect_to_begin(self, engine: Engine) -> Connection:
        """See the port. The driver would send a BEGIN of its own, so it is told not to."""
        connection = engine.connect()
        level = _driver(connection).isolation_level
        connection.info[_BEGIN] = (
            "BEGIN" if level is None else f"BEGIN ISOLATION LEVEL {_words(level)}"
        )
        return connection.execution_options(isolation_level="AUTOCOMMIT")

    def connect_to_finish(self, engine: Engine) -> Connection:
        """See the port."""
        return engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def begin(
        self, connection: Connection, gid: Gid, proof: Proof, wait_s: float, *, look: bool = True
    ) -> Standing:
        """See the port. A copy at work isn't seen; its proof row keeps others waiting."""
        if look and _is_prepared(connection, gid):
            return "prepared"
        begin = f"{connection.info[_BEGIN]}; SET LOCAL lock_timeout = {_milliseconds(wait_s)}"
        try:
            cursor = _claimed(connection, begin, {**proof, "args": ""})
        except DBAPIError as error:
            if not self.is_wait_over(error):
                raise
            standing: Standing = "running"
        else:
            while cursor.nextset():
                pass
            standing = "entered" if cursor.rowcount == 1 else "written"
        if standing != "entered":
            _sent(connection, "ROLLBACK")
        elif not connection.in_transaction():
            connection.begin()
        return standing

    def limit_waits(self, connection: Connection, seconds: float) -> None:
        """See the port."""
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_milliseconds(seconds)}")

    def is_wait_over(self, error: DBAPIError) -> bool:
        """See the port."""
        return _state(error) in _LOCK_NOT_GOT

    def seal(self, connection: Connection, proof: Proof, reply: str | None) -> bool:
        """See the port. Commands that wrote are counted: the proof row is 0, so after nothing else this one is 1.

        Raises ``EndedItselfError``: outside a transaction PREPARE does nothing, and complains only in the server's log.
        """
        if _driver(connection).info.transaction_status != TransactionStatus.INTRANS:
            raise EndedItselfError
        values = {"key": proof["effect_key"], "args": proof["args"], "reply": reply}
        cursor = _sent(connection, _SEAL, values)
        row = _fetched(cursor)
        if row is None:
            raise ProofGoneError(proof)
        return int(row[0]) > 1

    def prepare(self, connection: Connection, gid: Gid) -> None:
        """See the port."""
        _sent(connection, f"PREPARE TRANSACTION {_quoted(gid)}")
        connection.close()

    def abandon(self, connection: Connection, gid: Gid | None) -> None:
        """See the port."""
        del gid
        connection.close()

    def finish(self, connection: Connection, gid: Gid, ending: Ending) -> bool:
        """See the port."""
        for _ in range(_BUSY_TRIES):
            try:
                _sent(connection, f"{ending} PREPARED {_quoted(gid)}")
            except DBAPIError as error:
                state = _state(error)
                if state == _UNKNOWN_GID:
                    return False
                if state in _NOT_ALLOWED:
                    raise _elsewhere(gid, str(error.orig)) from error
                if state != _BUSY:
                    raise
            else:
                return True
            time.sleep(_BUSY_PAUSE_S)  # another process is ending it now
        raise StillRunningError(f"another session has been ending {gid} for too long")

    def found(self, connection: Connection) -> list[Found]:
        """See the port."""
        rows = connection.execute(_found, {"prefix": f"{PREFIX}:"})
        return [
            Found(
                gid,
                age_s=float(row.age_s),
                owner=row.owner,
                locks=tuple(row.locks or ()),
                waiting=row.waiting,
                holds_back=row.holds_back,
            )
            for row in rows
            if (gid := read_gid(row.gid)) is not None
        ]

    def shortcomings(self, connection: Connection) -> list[Shortcoming]:
        """See the port."""
        slots, connections, version = connection.execute(_limits).one()
        found: list[Shortcoming] = []
        if version < _OLDEST:
            found.append(Shortcoming(f"PostgreSQL {version // 10_000}", "13 or newer is needed"))
        if slots == 0:
            way_out = f"ALTER SYSTEM SET max_prepared_transactions = {connections}, then restart it"
            found.append(Shortcoming("max_prepared_transactions is 0", way_out))
        return found


def _claimed(connection: Connection, begin: str, row: Proof) -> _Cursor:
    """What came of claiming a row after ``begin``, in one round trip if the connection's statements stay prepared.

    The values stand in that one's text, and the server writes a text that fails to its log: so they are names only, and
    ``seal`` writes the arguments.
    """
    driver = _driver(connection)
    if driver.prepare_threshold is not None and connection.info.get(_KEEPS_STATEMENT, True):
        try:
            if _KEEPS_STATEMENT not in connection.info:
                _sent(connection, _PREPARE_CLAIM)
                connection.info[_KEEPS_STATEMENT] = True
            claim = _literals(driver).mogrify(_EXECUTE_CLAIM, row)
            return _sent(connection, f"{begin}; {claim}")
        except DBAPIError as error:
            if _state(error) not in _NO_STATEMENT:
                raise
            connection.info[_KEEPS_STATEMENT] = False
            _sent(connection, "ROLLBACK")
    _sent(connection, begin)
    return _sent(connection, _CLAIM, row)


def _sent(connection: Connection, statement: str, values: Proof | None = None) -> _Cursor:
    """The driver's own cursor after a statement: of a branch's time, a third went into being led around it.

    Raises ``DBAPIError``, as SQLAlchemy would.
    """
    driver = _driver(connection)
    try:
        # Without values a statement names its branch, so it comes once and is worth no preparing.
        prepare = None if values else False
        if isinstance(driver, psycopg.AsyncConnection):
            return await_only(driver.execute(statement.encode(), values, prepare=prepare))
        return driver.execute(statement.encode(), values, prepare=prepare)
    except psycopg.Error as error:
        if driver.closed:
            connection.invalidate()
        raise DBAPIError(None, None, error, connection_invalidated=driver.closed) from error


def _fetched(cursor: _Cursor) -> Any:
    if isinstance(cursor, psycopg.AsyncCursor):
        return await_only(cursor.fetchone())
    return cursor.fetchone()


def _driver(connection: Connection) -> _Driver:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection | psycopg.AsyncConnection)
    return driver


def _literals(driver: _Driver) -> psycopg.ClientCursor[Any] | psycopg.AsyncClientCursor[Any]:
    """What puts values into a statement's text."""
    if isinstance(driver, psycopg.AsyncConnection):
        return psycopg.AsyncClientCursor(driver)
    return psycopg.ClientCursor(driver)


def _is_prepared(connection: Connection, gid: Gid) -> bool:
    """Raises ``WrongDatabaseError`` if another database of the server has it."""
    database, here = connection.execute(_where, {"gid": str(gid)}).one()
    if database is not None and database != here:
        raise _elsewhere(gid, f"it was prepared in database {database}, this is {here}")
    return database is not None


def _milliseconds(seconds: float) -> str:
    """A limit of waiting for locks, as PostgreSQL reads it; 0 would be none."""
    return f"'{max(1, round(seconds * 1000))}ms'"


def _words(level: psycopg.IsolationLevel) -> str:
    return level.name.replace("_", " ")


def _quoted(gid: Gid) -> str:
    """The gid as a literal; commands of this kind take no parameters."""
    return "'" + str(gid).replace("'", "''") + "'"


def _state(error: DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None


def _elsewhere(gid: Gid, why: str) -> WrongDatabaseError:
    return WrongDatabaseError(
        f"branch {gid} can't be ended from here ({' '.join(why.split())}): the service's database= must name the "
        "database and user it was prepared with"
    )
