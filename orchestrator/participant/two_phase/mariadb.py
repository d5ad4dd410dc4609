"""MariaDB: XA transactions of InnoDB, which outlive their connection since 10.5.

A prepared one stays tied to its connection until that is closed, and names are the whole server's, not a database's:
so connections that have prepared are closed, and the format id says which database a branch is of.
"""

from __future__ import annotations

import contextlib
import math
import time
import zlib
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import SagaError
from orchestrator.participant.tables import bounded
from orchestrator.participant.two_phase.port import (
    Ending,
    Found,
    Shortcoming,
    Standing,
    StillRunningError,
    WrongDatabaseError,
)
from orchestrator.transport.gid import Gid, read_xa

_UNKNOWN_XID = 1397
_TAKEN_XID = 1440
_ROLLED_BACK = {1402, 1613, 1614}
_LOCK_NOT_GOT = {1205, 1213}
_OLDEST = (10, 5)
_TIED_TRIES = 250
_TIED_PAUSE_S = 0.02

_seal = text("UPDATE saga_barrier SET reply = :reply WHERE effect_key = :key")
_writes = text(
    "SHOW SESSION STATUS WHERE variable_name IN ('Handler_write', 'Handler_update', 'Handler_delete')"
)


class MariaBranches:
    """See the port."""

    def begin(self, connection: Connection, gid: Gid) -> Standing:
        """See the port. Raises ``SagaError`` on a server whose XA transactions don't outlive their connection."""
        for one in self.shortcomings(connection):
            raise SagaError(f"{one.what} can't take part in an atomic group: {one.way_out}")
        try:
            connection.exec_driver_sql(f"XA START {_xid(connection.engine, gid)}")
        except DBAPIError as error:
            if _code(error) != _TAKEN_XID:
                raise
        else:
            return "free"
        branch = _format_id(connection.engine), gid.xa
        return "prepared" if branch in _own(connection) else "running"

    def limit_waits(self, connection: Connection, seconds: float) -> None:
        """See the port; in whole seconds."""
        limit = max(1, math.ceil(seconds))
        connection.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {limit}")

    def is_wait_over(self, error: DBAPIError) -> bool:
        """See the port."""
        return _code(error) in _LOCK_NOT_GOT

    def mark(self, connection: Connection) -> int:
        """See the port: the rows this session has written, which the server counts."""
        return sum(int(row[1]) for row in connection.execute(_writes))

    def seal(self, connection: Connection, key: str, reply: str | None, mark: int) -> bool:
        """See the port."""
        wrote = self.mark(connection) > mark
        if not connection.execute(_seal, {"key": bounded(key), "reply": reply}).rowcount:
            raise SagaError(f"the barrier row of {key} went away while its action ran")
        return wrote

    def prepare(self, connection: Connection, gid: Gid) -> None:
        """See the port."""
        xid = _xid(connection.engine, gid)
        connection.exec_driver_sql(f"XA END {xid}")
        connection.exec_driver_sql(f"XA PREPARE {xid}")
        _drop(connection)

    def abandon(self, connection: Connection, gid: Gid | None) -> None:
        """See the port. Whatever doesn't end in order is ended with the connection."""
        try:
            if gid is not None:
                xid = _xid(connection.engine, gid)
                with contextlib.suppress(DBAPIError):  # ended already, or marked for rollback
                    connection.exec_driver_sql(f"XA END {xid}")
                connection.exec_driver_sql(f"XA ROLLBACK {xid}")
            connection.exec_driver_sql("SET SESSION innodb_lock_wait_timeout = DEFAULT")
        except DBAPIError:
            _drop(connection)
        else:
            connection.close()

    def finish(self, engine: Engine, gid: Gid, ending: Ending) -> bool:
        """See the port."""
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for _ in range(_TIED_TRIES):
                try:
                    connection.exec_driver_sql(f"XA {ending} {_xid(engine, gid)}")
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

    def found(self, connection: Connection) -> list[Found]:
        """See the port. MariaDB tells no age and no locks of what is prepared."""
        here = _format_id(connection.engine)
        return [
            Found(gid)
            for format_id, names in _own(connection)
            if format_id == here and (gid := read_xa(*names)) is not None
        ]

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


def _is_tied(connection: Connection, gid: Gid) -> bool:
    """Whether the branch that can't be found is there after all: tied to another connection.

    Raises ``WrongDatabaseError`` if it is another database's.
    """
    here = _format_id(connection.engine)
    formats = {format_id for format_id, names in _own(connection) if names == gid.xa}
    if formats and here not in formats:
        raise WrongDatabaseError(
            f"branch {gid} is in another database of this server than {connection.engine.url.database}: the service's "
            "database= must name the one it was prepared in"
        )
    return here in formats


def _own(connection: Connection) -> Iterator[tuple[int, tuple[str, str]]]:
    """Format id and names of what is prepared on the server and may be ours."""
    for format_id, length, _, data in connection.exec_driver_sql("XA RECOVER").all():
        raw = data if isinstance(data, bytes) else str(data).encode()
        try:
            names = raw[:length].decode(), raw[length:].decode()
        except UnicodeDecodeError:  # foreign
            continue
        yield int(format_id), names


def _xid(engine: Engine, gid: Gid) -> str:
    transaction, branch = gid.xa
    return f"X'{transaction.encode().hex()}', X'{branch.encode().hex()}', {_format_id(engine)}"


def _format_id(engine: Engine) -> int:
    return zlib.crc32((engine.url.database or "").encode()) & 0x7FFFFFFF


def _drop(connection: Connection) -> None:
    connection.invalidate()
    connection.close()


def _code(error: DBAPIError) -> int | None:
    arguments = error.orig.args if error.orig is not None else ()
    return arguments[0] if arguments and isinstance(arguments[0], int) else None
