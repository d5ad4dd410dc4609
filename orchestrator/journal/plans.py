"""Stored plans: each under its content hash, and one per saga and version."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select, text

from orchestrator.definition.diff import differences
from orchestrator.definition.plan import Plan, decode_plan
from orchestrator.errors import PlanConflictError, UnknownSagaError
from orchestrator.journal.database import Database
from orchestrator.journal.schema import PLAN

_INSERT = text(
    "INSERT INTO saga_plan (hash, saga, version, data) VALUES (:hash, :saga, :version, :data)"
    " ON CONFLICT DO NOTHING"
)


class PlanStore:
    """Plans in the database, remembered once they are known to be committed: they never change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._committed: dict[str, Plan] = {}

    @property
    def known(self) -> Mapping[str, Plan]:
        """The plans known to be committed, by hash."""
        return self._committed

    def store(self, plan_hash: str, plan: Plan) -> None:
        """Make sure that a plan is stored, in a transaction of its own if it wasn't known to be.

        Raises ``PlanConflictError``.
        """
        if plan_hash not in self._committed and not self._read(plan_hash, plan):
            self._database.write(lambda connection: _store(connection, plan_hash, plan))
            self._committed[plan_hash] = plan

    def store_within(self, connection: Connection, plan_hash: str, plan: Plan) -> None:
        """As ``store``, in a caller's transaction: what that may still roll back isn't remembered."""
        if plan_hash not in self._committed and not self._read(plan_hash, plan):
            _store(connection, plan_hash, plan)

    def plan(self, plan_hash: str) -> Plan:
        """A stored plan. Raises ``UnknownSagaError``."""
        if plan_hash not in self._committed:
            query = select(PLAN.c.data).where(PLAN.c.hash == plan_hash)
            data = self._database.read(lambda connection: connection.scalar(query))
            if data is None:
                raise UnknownSagaError(f"the journal holds no plan with hash {plan_hash}")
            self._committed[plan_hash] = decode_plan(data.encode())
        return self._committed[plan_hash]

    def plans(self) -> list[Plan]:
        """Every stored plan, by saga and version."""
        query = select(PLAN.c.data).order_by(PLAN.c.saga, PLAN.c.version)
        rows = self._database.read(lambda connection: connection.scalars(query).all())
        return [decode_plan(data.encode()) for data in rows]

    def _read(self, plan_hash: str, plan: Plan) -> bool:
        """Whether the plan is committed. Raises ``PlanConflictError``."""
        found = self._database.read(lambda connection: _stored(connection, plan))
        if found is None:
            return False
        check_same(plan_hash, plan, found[0], decode_plan(found[1].encode()))
        self._committed[plan_hash] = plan
        return True


def check_same(plan_hash: str, plan: Plan, stored_hash: str, stored: Plan) -> None:
    """Raise ``PlanConflictError`` when a plan isn't the stored one of its saga and version."""
    if plan_hash != stored_hash:
        raise PlanConflictError(
            f"saga {plan.saga} version {plan.version} is stored with another plan "
            f"({'; '.join(differences(stored, plan))}): raise its version"
        )


def _store(connection: Connection, plan_hash: str, plan: Plan) -> None:
    values = {
        "hash": plan_hash,
        "saga": plan.saga,
        "version": plan.version,
        "data": plan.encoded().decode(),
    }
    connection.execute(_INSERT, values)
    found = _stored(connection, plan)
    if found is None:  # our insert met this hash under another name: a hash covers both
        raise PlanConflictError(
            f"plan {plan_hash} isn't that of {plan.saga} version {plan.version}"
        )
    check_same(plan_hash, plan, found[0], decode_plan(found[1].encode()))


def _stored(connection: Connection, plan: Plan) -> tuple[str, str] | None:
    query = select(PLAN.c.hash, PLAN.c.data)
    query = query.where(PLAN.c.saga == plan.saga, PLAN.c.version == plan.version)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.hash, row.data)
