"""PostgreSQL: ``PREPARE TRANSACTION``, ``COMMIT PREPARED``, ``ROLLBACK PREPARED``.

A prepared transaction belongs to the server; only its own database, and its own user or a superuser, may end it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Sequence

import psycopg
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import SagaError
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
from orchestrator.participant.two_phase.wire import (
    Statement,
    StatementLostError,
    driver_of,
    say,
    say_each,
)
from orchestrator.transport.gid import PREFIX, Gid, read_gid

_UNKNOWN_GID = "42704"
_BUSY = "55000"
_NOT_ALLOWED = {"0A000", "42501"}
"""Prepared in another database, or by another user."""
_LOCK_NOT_GOT = {"55P03", "40P01"}
_BUSY_TRIES = 50
_BUSY_PAUSE_S = 0.02

_WHERE = b"SELECT (SELECT database FROM pg_prepared_xacts WHERE gid = $1) AS database, current_database() AS here"

_claim = statements.claim("postgresql").compile(
    dialect=make_url("postgresql+psycopg://").get_dialect()()
)
_places = {name: f"${number}" for number, name in enumerate(_claim.params, 1)}
_CLAIM = (str(_claim) % _places).encode()
_SEAL = b"""
    UPDATE saga_barrier SET reply = $1 WHERE effect_key = $2 AND xmin = pg_current_xact_id()::xid
    RETURNING cmin::text::integer
"""
_IS_THERE = b"SELECT FROM saga_barrier WHERE effect_key = $1"
_LOST_STATEMENTS = 2
"""How often a claim may find its statement lost: it wasn't prepared here, and, prepared anew, it was there before."""
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

    def connect_to_finish(self, engine: Engine) -> Connection:
        """See the port."""
        return engine.connect()

    def begin(
        self, connection: Connection, gid: Gid, proof: Proof, wait_s: float, *, look: bool = True
    ) -> Standing:
        """See the port. A copy at work isn't seen; its proof row keeps others waiting."""
        if look and _is_prepared(connection, gid):
            return "prepared"
        try:
            is_claimed = _claimed(connection, proof, wait_s)
        except DBAPIError as error:
            if not self.is_wait_over(error):
                raise
            return "running"
        if not is_claimed:
            return "written"
        connection.begin()
        return "entered"

    def limit_waits(self, connection: Connection, seconds: float) -> None:
        """See the port."""
        connection.exec_driver_sql(_limit(seconds))

    def is_wait_over(self, error: DBAPIError) -> bool:
        """See the port."""
        return _state(error) in _LOCK_NOT_GOT

    def prepare(self, connection: Connection, gid: Gid, proof: Proof, reply: str | None) -> bool:
        """See the port. What has written nothing is prepared and rolled back, as it is known only then.

        Raises ``EndedItselfError``: outside a transaction PREPARE does nothing, and complains only in the server's log.
        """
        if _status(connection) != TransactionStatus.INTRANS:
            raise EndedItselfError
        seal = Statement(_SEAL, (reply, proof["effect_key"]), b"saga_seal")
        sealed, _ = say(connection, seal, Statement(f"PREPARE TRANSACTION {_quoted(gid)}".encode()))
        if not sealed.ntuples:
            with contextlib.suppress(DBAPIError):  # then the sweep will find it
                self.finish(connection, gid, "ROLLBACK")
            raise _without_proof(connection, proof)
        has_written = _has_written(sealed)
        if not has_written:
            self.finish(connection, gid, "ROLLBACK")
        connection.close()
        return has_written

    def abandon(self, connection: Connection, gid: Gid | None) -> None:
        """See the port. Were it left to the driver, that would drop every statement prepared on the connection."""
        del gid
        if not connection.invalidated and _status(connection) != TransactionStatus.IDLE:
            with contextlib.suppress(DBAPIError):  # what is lost has nothing to roll back
                say(connection, Statement(b"ROLLBACK"))
        connection.close()

    def finish(self, connection: Connection, gid: Gid, ending: Ending) -> bool:
        """See the port."""
        for _ in range(_BUSY_TRIES):
            try:
                say(connection, _prepared(ending, gid))
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

    def commit_together(self, engine: Engine, gids: Sequence[Gid]) -> Collection[Gid]:
        """See the port. One round trip for all."""
        with engine.connect() as connection:
            results = say_each(connection, [_prepared("COMMIT", gid) for gid in gids])
        pairs = zip(gids, results, strict=True)
        return [gid for gid, result in pairs if result.status == ExecStatus.COMMAND_OK]

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


def _claimed(connection: Connection, proof: Proof, wait_s: float) -> bool:
    """Whether a transaction is begun and its proof row written."""
    values = [None if proof[name] is None else str(proof[name]) for name in _places]
    messages = (
        Statement(_begin(connection)),
        Statement(_limit(wait_s).encode()),
        Statement(_CLAIM, values, b"saga_claim"),
    )
    for _ in range(_LOST_STATEMENTS):
        try:
            return _is_inserted(connection, messages)
        except StatementLostError:
            say(connection, Statement(b"ROLLBACK"))
    return _is_inserted(connection, messages)


def _is_inserted(connection: Connection, messages: Sequence[Statement]) -> bool:
    *_, last = say(connection, *messages)
    return last.command_tuples == 1


def _has_written(sealed: PGresult) -> bool:
    """Commands that wrote are counted: the proof row is 0, so after nothing else its reply is 1."""
    return int(sealed.get_value(0, 0) or 0) > 1


def _status(connection: Connection) -> int:
    return driver_of(connection).pgconn.transaction_status


def _begin(connection: Connection) -> bytes:
    """How the engine would have a transaction begin."""
    level = driver_of(connection).isolation_level
    return b"BEGIN" if level is None else f"BEGIN ISOLATION LEVEL {_words(level)}".encode()


def _is_prepared(connection: Connection, gid: Gid) -> bool:
    """Raises ``WrongDatabaseError`` if another database of the server has it."""
    (found,) = say(connection, Statement(_WHERE, (str(gid),)))
    database, here = found.get_value(0, 0), found.get_value(0, 1)
    if database is not None and database != here:
        names = f"{database.decode()}, this is {(here or b'').decode()}"
        raise _elsewhere(gid, f"it was prepared in database {names}")
    return database is not None


def _without_proof(connection: Connection, proof: Proof) -> SagaError:
    """Why a transaction has no proof row of its own: another has, or nothing has."""
    (found,) = say(connection, Statement(_IS_THERE, (proof["effect_key"],)))
    return EndedItselfError() if found.ntuples else ProofGoneError(proof)


def _limit(seconds: float) -> str:
    """Sets the limit of waiting for locks; 0 would be none."""
    return f"SET LOCAL lock_timeout = '{max(1, round(seconds * 1000))}ms'"


def _words(level: psycopg.IsolationLevel) -> str:
    return level.name.replace("_", " ")


def _prepared(ending: Ending, gid: Gid) -> Statement:
    return Statement(f"{ending} PREPARED {_quoted(gid)}".encode())


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
