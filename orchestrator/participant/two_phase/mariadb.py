"""MariaDB: XA transactions of InnoDB, which outlive their connection since 10.5.

A prepared one stays tied to its connection until that is closed, and names are the whole server's, not a database's:
so connections that have prepared are closed, and a branch's name has a hash of its database's.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import SagaError
from orchestrator.participant.statements import write_claim
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
from orchestrator.transport.gid import Gid, read_xa

_FORMAT_ID = 1
_UNKNOWN_XID = 1397
_TAKEN_XID = 1440
_ROLLED_BACK = {1402, 1613, 1614}
_LOCK_NOT_GOT = {1205, 1213}
_OLDEST = (10, 5)
_WRITTEN = "saga_rows_written"
"""What a connection remembers: how many rows were written when a branch was begun."""
_TIED_TRIES = 250
_TIED_PAUSE_S = 0.02

_seal = text("UPDATE saga_barrier SET reply = :reply WHERE effect_key = :key")
_writes = text(
    "SHOW SESSION STATUS WHERE variable_name IN ('Handler_write', 'Handler_update', 'Handler_delete')"
)


class MariaBranches:
    """See the port."""

    def connect_to_finish(self, engine: Engine) -> Connection:
        """See the port."""
        return engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def begin(
        self, connection: Connection, gid: Gid, proof: Proof, wait_s: float, *, look: bool = True
    ) -> Standing:
        """See the port. Raises ``SagaError`` on a server whose XA transactions don't outlive their connection."""
        del look  # to begin is to ask
        for one in self.shortcomings(connection):
            raise SagaError(f"{one.what} can't take part in an atomic group: {one.way_out}")
        xid = _xid(connection.engine, gid)
        try:
            connection.exec_driver_sql(f"XA START {xid}")
        except DBAPIError as error:
            if _code(error) != _TAKEN_XID:
                raise
            names = gid.xa(_database(connection.engine))
            return "prepared" if names in _prepared(connection) else "running"
        self.limit_waits(connection, wait_s)
        try:
            standing = _claimed(connection, proof)
            if standing == "entered":
                connection.info[_WRITTEN] = _written(connection)
            else:
                _rolled_back(connection, xid)
        except BaseException:
            self.abandon(connection, gid)
            raise
        return standing

    def limit_waits(self, connection: Connection, seconds: float) -> None:
        """See the port; in whole seconds."""
        limit = max(1, math.ceil(seconds))
        connection.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {limit}")

    def is_wait_over(self, error: DBAPIError) -> bool:
        """See the port."""
        return _code(error) in _LOCK_NOT_GOT

    def prepare(self, connection: Connection, gid: Gid, proof: Proof, reply: str | None) -> bool:
        """See the port. The server counts the rows that a session has written."""
        has_written = _has_written(connection)
        values = {"key": proof["effect_key"], "reply": reply}
        if not connection.execute(_seal, values).rowcount:
            raise ProofGoneError(proof)
        if not has_written:
            self.abandon(connection, gid)
            return False
        xid = _xid(connection.engine, gid)
        connection.exec_driver_sql(f"XA END {xid}")
        connection.exec_driver_sql(f"XA PREPARE {xid}")
        _drop(connection)
        return True

    def abandon(self, connection: Connection, gid: Gid | None) -> None:
        """See the port. Whatever doesn't end in order is ended with the connection."""
        try:
            if gid is not None:
                _rolled_back(connection, _xid(connection.engine, gid))
            connection.exec_driver_sql("SET SESSION innodb_lock_wait_timeout = DEFAULT")
        except DBAPIError:
            _drop(connection)
        else:
            connection.close()

    def finish(self, connection: Connection, gid: Gid, ending: Ending) -> bool:
        """See the port."""
        for _ in range(_TIED_TRIES):
            try:
                connection.exec_driver_sql(f"XA {ending} {_xid(connection.engine, gid)}")
            except DBAPIError as error:
                code = _code(error)
                if code in _ROLLED_BACK:
                    return ending == "ROLLBACK"
                if code != _UNKNOWN_XID:
                    raise
            else:
                return True
            if not _is_tied(connection, gid):
                return False
            time.sleep(_TIED_PAUSE_S)  # until the server has seen that the connection is gone
        raise StillRunningError(f"a connection that has prepared {gid} is still open")

    def commit_together(self, engine: Engine, gids: Sequence[Gid]) -> Collection[Gid]:
        """See the port. The driver takes one statement at a time."""
        del engine, gids
        return ()

    def found(self, connection: Connection) -> list[Found]:
        """See the port. MariaDB tells no age and no locks of what is prepared."""
        database = _database(connection.engine)
        names = _prepared(connection)
        return [Found(gid) for pair in names if (gid := read_xa(*pair, database)) is not None]

    def shortcomings(self, connection: Connection) -> list[Shortcoming]:
        """See the port."""
        version = connection.dialect.server_version_info or ()
        is_mariadb = bool(getattr(connection.dialect, "is_mariadb", False))
        if is_mariadb and tuple(version) >= _OLDEST:
            return []
        name = "MariaDB" if is_mariadb else "MySQL"
        return [
            Shortcoming(f"{name} {'.'.join(map(str, version))}", "MariaDB 10.5 or newer is needed")
        ]


def _claimed(connection: Connection, proof: Proof) -> Standing:
    try:
        return "entered" if write_claim(connection, proof) else "written"
    except DBAPIError as error:
        if _code(error) not in _LOCK_NOT_GOT:
            raise
        return "running"


def _rolled_back(connection: Connection, xid: str) -> None:
    with contextlib.suppress(DBAPIError):  # ended already, or marked for rollback
        connection.exec_driver_sql(f"XA END {xid}")
    connection.exec_driver_sql(f"XA ROLLBACK {xid}")


def _written(connection: Connection) -> int:
    """How many rows the session has written."""
    return sum(int(row[1]) for row in connection.execute(_writes))


def _has_written(connection: Connection) -> bool:
    """Whether it has written anything since its branch was begun."""
    return _written(connection) > int(connection.info[_WRITTEN])


def _is_tied(connection: Connection, gid: Gid) -> bool:
    """Whether the branch that can't be found is there after all: tied to another connection.

    Raises ``WrongDatabaseError`` if another database has it.
    """
    database = _database(connection.engine)
    transaction, branch = gid.xa(database)
    prepared = _prepared(connection)
    if (transaction, branch) in prepared:
        return True
    others = {other for name, other in prepared if name == transaction}
    if any(_untagged(other) == _untagged(branch) for other in others):
        raise WrongDatabaseError(
            f"branch {gid} is in another database of this server than {database}: the service's database= must name "
            "the one it was prepared in"
        )
    return False


def _untagged(branch: str) -> list[str]:
    """A branch's name without its database; a long step is cut alike in all of them."""
    parts = branch.split(":", 3)
    return parts[:2] + parts[3:]


def _prepared(connection: Connection) -> list[tuple[str, str]]:
    """The names of what is prepared on the server and may be ours."""
    found: list[tuple[str, str]] = []
    for format_id, length, _, data in connection.exec_driver_sql("XA RECOVER").all():
        raw = data if isinstance(data, bytes) else str(data).encode()
        if int(format_id) == _FORMAT_ID:
            names = raw[:length], raw[length:]
            found.append((names[0].decode(errors="replace"), names[1].decode(errors="replace")))
    return found


def _xid(engine: Engine, gid: Gid) -> str:
    transaction, branch = gid.xa(_database(engine))
    return f"X'{transaction.encode().hex()}', X'{branch.encode().hex()}', {_FORMAT_ID}"


def _database(engine: Engine) -> str:
    return engine.url.database or ""


def _drop(connection: Connection) -> None:
    connection.invalidate()
    connection.close()


def _code(error: DBAPIError) -> int | None:
    arguments = error.orig.args if error.orig is not None else ()
    return arguments[0] if arguments and isinstance(arguments[0], int) else None
