"""Leases: who should write which shard. Clock skew makes a hand-over early or late, never unsafe.

Rows are touched in order of shard everywhere, so that two coordinators can't block each other for good.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from orchestrator.journal.port import LeaseState
from orchestrator.journal.schema import COORDINATOR, EVENT, LEASE, SHARD

FORGET_AFTER_TTLS = 10
"""Heartbeats this many lease times old are removed."""


def take(connection: Connection, owner: str, now: float, ttl_s: float, wanted: int) -> list[int]:
    """See ``WriterJournal.take_leases``; within a transaction."""
    _beat(connection, owner, now, ttl_s)
    rows = connection.execute(select(LEASE).order_by(LEASE.c.shard)).all()
    keep = {row.shard for row in [row for row in rows if row.owner == owner][:wanted]}
    missing = wanted - len(keep)
    held: list[int] = []
    for row in rows:
        mine = LEASE.c.owner == owner
        if row.shard in keep:
            taken = _assign(connection, row.shard, owner, now + ttl_s, mine)
        elif row.owner == owner:
            _assign(connection, row.shard, "", 0.0, mine)
            taken = False
        elif missing > 0 and (row.owner == "" or row.expires_at <= now):
            free = or_(LEASE.c.owner == "", LEASE.c.expires_at <= now)
            taken = _assign(connection, row.shard, owner, now + ttl_s, free)
            missing -= taken
        else:
            taken = False
        if taken:
            held.append(row.shard)
    return held


def drop(connection: Connection, owner: str, shards: Sequence[int]) -> None:
    """Give leases back; an owner left with none isn't counted as alive until it asks again."""
    for shard in sorted(set(shards)):
        _assign(connection, shard, "", 0.0, LEASE.c.owner == owner)
    left = select(func.count()).where(LEASE.c.owner == owner)
    if connection.scalar(left) == 0:
        connection.execute(delete(COORDINATOR).where(COORDINATOR.c.owner == owner))


def alive(connection: Connection, now: float) -> list[str]:
    """Owners whose heartbeat hasn't run out, in order."""
    query = select(COORDINATOR.c.owner).where(COORDINATOR.c.expires_at > now)
    return list(connection.scalars(query.order_by(COORDINATOR.c.owner)))


def states(connection: Connection) -> list[LeaseState]:
    """Every lease that is held."""
    end = select(func.coalesce(func.max(EVENT.c.offset), 0)).where(EVENT.c.shard == LEASE.c.shard)
    query = (
        select(
            LEASE.c.shard,
            LEASE.c.owner,
            SHARD.c.epoch,
            LEASE.c.expires_at,
            end.correlate(LEASE).scalar_subquery(),
        )
        .join(SHARD, SHARD.c.shard == LEASE.c.shard)
        .where(LEASE.c.owner != "")
        .order_by(LEASE.c.shard)
    )
    return [LeaseState(*row) for row in connection.execute(query)]


def _beat(connection: Connection, owner: str, now: float, ttl_s: float) -> None:
    row = {"expires_at": now + ttl_s}
    mine = COORDINATOR.c.owner == owner
    if not connection.execute(update(COORDINATOR).where(mine).values(row)).rowcount:
        connection.execute(insert(COORDINATOR).values(owner=owner, **row))
    forgotten = COORDINATOR.c.expires_at < now - FORGET_AFTER_TTLS * ttl_s
    connection.execute(delete(COORDINATOR).where(forgotten))


def _assign(
    connection: Connection,
    shard: int,
    owner: str,
    expires_at: float,
    condition: ColumnElement[bool],
) -> bool:
    """Change a lease if the condition still holds; tells whether it did."""
    change = update(LEASE).where(LEASE.c.shard == shard, condition)
    return bool(connection.execute(change.values(owner=owner, expires_at=expires_at)).rowcount)
