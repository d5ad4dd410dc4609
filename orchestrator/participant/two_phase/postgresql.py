"""PostgreSQL: ``PREPARE TRANSACTION``, ``COMMIT PREPARED``, ``ROLLBACK PREPARED``.

A prepared transaction belongs to the server; only its own database, and its own user or a superuser, may end it.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import SagaError
from orchestrator.participant.statements import lock_timeout
from orchestrator.participant.tables import bounded
from orchestrator.participant.two_phase.port import (
    Ending,
    Found,
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

_standing = text(
    "SELECT (SELECT database FROM pg_prepared_xacts WHERE gid = :gid) AS database, current_database() AS here,"
    " set_config('lock_timeout', :limit, true)"
)
_limit = text("SELECT set_config('lock_timeout', :limit, true)")
# The command counter moves only when something was written: the claim took 0, so an untouched transaction is at 1.
_seal = text(
    "UPDATE saga_barrier SET reply = :reply WHERE effect_key = :key RETURNING cmin::text::integer"
)
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

    def begin(
        self, connection: Connection, gid: Gid, wait_s: float, *, look: bool = True
    ) -> Standing:
        """See the port. A copy at work isn't seen; its proof row keeps others waiting."""
        if not look:
            return "free"
        values = {"gid": str(gid), "limit": lock_timeout(wait_s)}
        database, here, _ = connection.execute(_standing, values).one()
        if database is None:
            return "free"
        if database != here:
            raise _elsewhere(gid, f"it was prepared in database {database}, this is {here}")
        return "prepared"

    def limit_waits(self, connection: Connection, seconds: float) -> None:
        """See the port."""
        connection.execute(_limit, {"limit": lock_timeout(seconds)})

    def is_wait_over(self, error: DBAPIError) -> bool:
        """See the port."""
        return _state(error) in _LOCK_NOT_GOT

    def mark(self, connection: Connection) -> int:
        """See the port."""
        del connection
        return 1

    def seal(self, connection: Connection, key: str, reply: str | None, mark: int) -> bool:
        """See the port."""
        counter = connection.scalar(_seal, {"key": bounded(key), "reply": reply})
        if counter is None:
            raise SagaError(f"the barrier row of {key} went away while its action ran")
        return int(counter) > mark

    def prepare(self, connection: Connection, gid: Gid) -> None:
        """See the port."""
        connection.exec_driver_sql(f"PREPARE TRANSACTION {_quoted(gid)}")
        connection.close()

    def abandon(self, connection: Connection, gid: Gid | None) -> None:
        """See the port."""
        del gid
        connection.close()

    def connect(self, engine: Engine) -> Connection:
        """See the port."""
        return engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def finish(self, connection: Connection, gid: Gid, ending: Ending) -> bool:
        """See the port."""
        for _ in range(_BUSY_TRIES):
            try:
                connection.exec_driver_sql(f"{ending} PREPARED {_quoted(gid)}")
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


def _quoted(gid: Gid) -> str:
    """The gid as a literal; commands of this kind take no parameters. A percent sign is doubled for the driver."""
    return "'" + str(gid).replace("'", "''").replace("%", "%%") + "'"


def _state(error: DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None


def _elsewhere(gid: Gid, why: str) -> WrongDatabaseError:
    return WrongDatabaseError(
        f"branch {gid} can't be ended from here ({' '.join(why.split())}): the service's database= must name the "
        "database and user it was prepared with"
    )
