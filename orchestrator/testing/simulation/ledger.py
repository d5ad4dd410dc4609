"""Where the effects of a schedule are kept: the services' own databases, and the world outside.

A service's database is SQLite in memory, with the real barrier beside the business's one table. That of a two-phase
service can prepare transactions (``prepared``). The outside world knows effects by their idempotency keys.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from orchestrator.errors import Refused
from orchestrator.participant.call import Call
from orchestrator.participant.database import Database
from orchestrator.participant.two_phase.port import ResourceManager
from orchestrator.testing.simulation.prepared import PlayedBranches

COMMIT_WRITTEN = "participant's commit unknown, written"
COMMIT_LOST = "participant's commit unknown, not written"

TRY = "#try"
"""Behind the key of what a try holds until its group is decided, which has to be gone at the end."""

Key = tuple[str, str]
"""Run and step."""


class Effect(NamedTuple):
    """What stands in the ledgers for one effect: how often it was done and undone."""

    run: str
    step: str
    key: str
    done: int
    undone: int

    @property
    def is_try(self) -> bool:
        """Whether it is what a try holds until its group is decided."""
        return self.key.endswith(TRY)


class Outside:
    """The world behind the services that call it: effects by idempotency key."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.owners: dict[str, Key] = {}
        self.done: Counter[str] = Counter()
        self.undone: Counter[str] = Counter()

    def refuse(self, call: Call, *, anew: bool) -> None:
        """Raise ``Refused`` for a key that was refused or cancelled before, and for any other if ``anew``."""
        state = self.states.get(call.idempotency_key)
        if anew and state is None:
            state = self.states[call.idempotency_key] = "refused"
        if state in {"refused", "cancelled"}:
            raise Refused(f"this key was {state}")

    def do(self, call: Call, *, forgetful: bool, part: str = "") -> None:
        """Take effect once per key; ``part`` of it under a key of its own."""
        key = call.idempotency_key + part
        state = self.states.get(key)
        if state == "done" or (state == "undone" and not forgetful):
            return
        self.owners[key] = (call.run_id, call.step)
        self.states[key] = "done"
        self.done[key] += 1

    def undo(self, call: Call, *, forgetful: bool, part: str = "") -> None:
        """Take back what there is; a careful world remembers that there was nothing."""
        key = call.idempotency_key + part
        if self.states.get(key) == "done":
            self.states[key] = "undone"
            self.undone[key] += 1
        elif not forgetful:
            self.states.setdefault(key, "cancelled")


class Ledger:
    """One service's database. Made once, emptied for each schedule."""

    def __init__(self, commit_fault: Callable[[], str]) -> None:
        server = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.engine: Engine = create_engine(
            "sqlite://", poolclass=StaticPool, creator=lambda: server
        )
        self.branches = PlayedBranches(commit_fault)
        # A lost connection loses its transaction, and not the database.
        self.engine.dialect.do_close = _rolled_back  # type: ignore[method-assign, assignment]
        with self.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE ledger (key TEXT, run TEXT, step TEXT, delta INTEGER)"
            )
        plain_commit = self.engine.dialect.do_commit

        def commit(connection: Any) -> None:
            fault = commit_fault()
            if fault == COMMIT_LOST:
                connection.rollback()
            else:
                plain_commit(connection)
            if fault:
                raise sqlite3.OperationalError("the connection was lost in COMMIT")

        self.engine.dialect.do_commit = commit  # type: ignore[method-assign, assignment]

    def clear(self) -> None:
        """Forget a schedule."""
        self.branches.clear()
        with self.engine.begin() as connection:
            names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type='table'")
            for (name,) in names.fetchall():
                connection.exec_driver_sql(f"DELETE FROM {name}")  # noqa: S608 - our own tables

    def effects(self) -> list[Effect]:
        """What is booked."""
        query = (
            "SELECT run, step, key, sum(delta > 0), sum(delta < 0) FROM ledger"
            " GROUP BY run, step, key"
        )
        with self.engine.connect() as connection:
            return [Effect(*row) for row in connection.exec_driver_sql(query)]

    def in_transaction(self) -> bool:
        """Whether somebody left a transaction open."""
        with self.engine.connect() as connection:
            return bool(getattr(connection.connection.driver_connection, "in_transaction", True))


class Played(Database):
    """A ledger as its service sees it: its one driver serves asynchronous participants too, as it never really waits,
    and it can prepare transactions.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.engine)
        self._ledger = ledger

    def resources(self) -> ResourceManager:
        """Those of the ledger."""
        return self._ledger.branches

    @property
    def is_async_capable(self) -> bool:
        """Always."""
        return True

    def async_engine(self) -> Any:
        """All that the barrier takes of one."""
        return SimpleNamespace(sync_engine=self.engine())


def _rolled_back(connection: Any) -> None:
    connection.rollback()
