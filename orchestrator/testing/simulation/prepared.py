"""A played database that can prepare transactions, for branches of atomic groups: SQLite, and a server's memory beside.

What a branch has written is put aside when it is prepared, and written again when it is committed. So it is seen by
nobody in between and survives its worker, as in a real one. What the shop's branches write are rows, each under a key
of its own, so no two branches ever wait for each other's locks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from orchestrator.participant.statements import write_claim
from orchestrator.participant.two_phase.port import (
    Ending,
    Found,
    Proof,
    ProofGoneError,
    Shortcoming,
    Standing,
)
from orchestrator.transport.gid import Gid

_TABLES = ("saga_barrier", "ledger")
_CHANGES = "saga_changes"
"""What a connection remembers: how much it had written when a branch was begun."""
_Rows = list[tuple[str, tuple[Any, ...]]]
"""Tables, each with a row."""

LOST = "not written"
"""What the name of a fault ends with that keeps a commit, a prepare, or a decision from being written."""


class PlayedBranches:
    """A ``ResourceManager``. ``fault`` says what goes wrong when something is to be made durable."""

    def __init__(self, fault: Callable[[], str]) -> None:
        self.now: Callable[[], float] = float
        self._fault = fault
        self._prepared: dict[Gid, tuple[float, _Rows]] = {}
        self._filled: dict[Gid, list[int]] = {}
        """How far the tables were filled when a branch was begun."""

    def clear(self) -> None:
        """Forget a schedule."""
        self._prepared.clear()
        self._filled.clear()

    def gids(self) -> list[Gid]:
        """What is prepared."""
        return list(self._prepared)

    def connect_to_finish(self, engine: Engine) -> Connection:
        """See the port."""
        return engine.connect()

    def begin(
        self, connection: Connection, gid: Gid, proof: Proof, wait_s: float, *, look: bool = True
    ) -> Standing:
        """See the port. Nobody ever waits, so it is always looked."""
        del wait_s, look
        if gid in self._prepared:
            return "prepared"
        filled = [_last(connection, table) for table in _TABLES]
        if not write_claim(connection, proof):
            connection.rollback()
            return "written"
        self._filled[gid] = filled
        connection.info[_CHANGES] = _changes(connection)
        return "entered"

    def limit_waits(self, connection: Connection, seconds: float) -> None:
        """Nobody ever waits."""

    def is_wait_over(self, error: DBAPIError) -> bool:
        """Nobody ever has."""
        del error
        return False

    def prepare(self, connection: Connection, gid: Gid, proof: Proof, reply: str | None) -> bool:
        """See the port."""
        has_written = _changes(connection) > int(connection.info[_CHANGES])
        statement = "UPDATE saga_barrier SET reply = ? WHERE effect_key = ?"
        if not connection.exec_driver_sql(statement, (reply, proof["effect_key"])).rowcount:
            raise ProofGoneError(proof)
        if not has_written:
            self.abandon(connection, gid)
            return False
        rows: _Rows = []
        for table, last in zip(_TABLES, self._filled[gid], strict=True):
            query = f"SELECT * FROM {table} WHERE rowid > ?"  # noqa: S608 - our own tables
            rows += [(table, tuple(row)) for row in connection.exec_driver_sql(query, (last,))]
        connection.rollback()
        fault = self._fault()
        if not fault.endswith(LOST):
            self._prepared[gid] = (self.now(), rows)
        if fault:
            raise sqlite3.OperationalError("the connection was lost in PREPARE")
        connection.close()
        return True

    def abandon(self, connection: Connection, gid: Gid | None) -> None:
        """See the port."""
        del gid
        connection.close()

    def finish(self, connection: Connection, gid: Gid, ending: Ending) -> bool:
        """See the port."""
        fault = self._fault()
        found = None
        if not fault.endswith(LOST):
            found = self._prepared.get(gid)
            if found is not None and ending == "COMMIT":
                _write(connection, found[1])
            self._prepared.pop(gid, None)
        if fault:
            raise sqlite3.OperationalError(f"the connection was lost in {ending} PREPARED")
        return found is not None

    def commit_together(self, engine: Engine, gids: Sequence[Gid]) -> Collection[Gid]:
        """See the port. The connection may be lost after any of them."""
        with engine.connect() as connection:
            return [gid for gid in gids if self.finish(connection, gid, "COMMIT")]

    def found(self, connection: Connection) -> list[Found]:
        """See the port."""
        del connection
        now = self.now()
        return [Found(gid, age_s=now - since) for gid, (since, _) in self._prepared.items()]

    def shortcomings(self, connection: Connection) -> list[Shortcoming]:
        """See the port."""
        del connection
        return []


def _last(connection: Connection, table: str) -> int:
    query = f"SELECT coalesce(max(rowid), 0) FROM {table}"  # noqa: S608 - our own tables
    return int(connection.exec_driver_sql(query).scalar_one())


def _changes(connection: Connection) -> int:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver.total_changes


def _write(connection: Connection, rows: _Rows) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.execute("BEGIN IMMEDIATE")
    for table, row in rows:
        places = ", ".join("?" * len(row))
        driver.execute(f"INSERT INTO {table} VALUES ({places})", row)  # noqa: S608 - our own tables
    driver.commit()
