"""The ends of the shards' logs: what happened since some time, found by offset, since times have no index.

A shard's offsets have no gaps but those that archiving leaves, and its times grow with them but for the clocks of the
coordinators that wrote it in turn. So the first record to read is looked for backwards in growing steps, and the
database reads from there on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, cast, func, select

from orchestrator.journal.port import Happened, Recent, Recorded
from orchestrator.journal.records import Row, recorded
from orchestrator.journal.schema import EVENT, RUN

CLOCKS_S = 60.0
"""How much the clocks of a shard's writers may differ. If it is more, some records of the window are missed."""
_STEP, _GROWTH = 128, 4
_MINUTE_S = 60.0

_END = select(func.max(EVENT.c.offset))
_AT = select(EVENT.c.at).order_by(EVENT.c.offset.desc()).limit(1)


def recent(connection: Connection, shards: int, since: float, limit: int) -> Recent:
    """Every shard's records since a time; of each only the last ``limit`` are looked at."""
    records: list[Recorded] = []
    covered = since
    for shard in range(shards):
        after, from_ = _start(connection, shard, since, limit)
        covered = max(covered, from_)
        rows = select(EVENT).where(*_since(shard, after, since)).order_by(EVENT.c.offset)
        records += map(recorded, connection.execute(rows).all())
    return Recent([record for record in records if record.at >= covered], covered)


def happened(
    connection: Connection,
    shards: int,
    since: float,
    limit: int,
    types: Collection[str],
    sagas: Collection[str],
) -> Happened:
    """Numbers of records, added up by the database; see the port."""
    numbers: Counter[tuple[str, int]] = Counter()
    covered = since
    for shard in range(shards):
        after, from_ = _start(connection, shard, since, limit)
        covered = max(covered, from_)
        minute = _minute(connection, since)
        query = select(EVENT.c.type, minute, func.count()).where(
            *_since(shard, after, since), EVENT.c.type.in_(types)
        )
        if sagas:
            query = query.where(RUN.c.run_id == EVENT.c.run_id, RUN.c.saga.in_(sagas))
        for kind, place, number in connection.execute(query.group_by(EVENT.c.type, minute)):
            numbers[kind, place] += number
    return Happened(dict(numbers), covered)


def recent_of(logs: Iterable[Sequence[Row]], since: float, limit: int) -> Recent:
    """As ``recent``, of logs in memory."""
    rows, covered = _newest(logs, since, limit)
    return Recent([recorded(row) for row in rows if row.at >= covered], covered)


def happened_of(
    logs: Iterable[Sequence[Row]],
    since: float,
    limit: int,
    counted: Callable[[Row], bool],
) -> Happened:
    """As ``happened``, of logs in memory."""
    rows, covered = _newest(logs, since, limit)
    places = ((row.type, int((row.at - since) // _MINUTE_S)) for row in rows if counted(row))
    return Happened(dict(Counter(places)), covered)


def _start(connection: Connection, shard: int, since: float, limit: int) -> tuple[int, float]:
    """The offset behind which everything since a time is, and the time from which on it is."""
    end = connection.scalar(_END.where(EVENT.c.shard == shard)) or 0
    first = max(0, end - limit)
    step = _STEP
    while True:
        after = max(first, end - step)
        before = _AT.where(EVENT.c.shard == shard, EVENT.c.offset <= after)
        at: float | None = connection.scalar(before) if after else None
        if at is None or at < since - CLOCKS_S:
            return after, since
        if after == first:
            return after, max(since, at)
        step *= _GROWTH


def _since(shard: int, after: int, since: float) -> list[ColumnElement[bool]]:
    return [EVENT.c.shard == shard, EVENT.c.offset > after, EVENT.c.at >= since]


def _minute(connection: Connection, since: float) -> ColumnElement[int]:
    """Which minute since then; PostgreSQL would round where SQLite cuts."""
    minutes: ColumnElement[Any] = (EVENT.c.at - since) / _MINUTE_S
    return cast(
        func.floor(minutes) if connection.dialect.name == "postgresql" else minutes, Integer
    )


def _newest(logs: Iterable[Sequence[Row]], since: float, limit: int) -> tuple[list[Row], float]:
    rows: list[Row] = []
    covered = since
    for log in logs:
        kept = log[-limit:]
        if len(log) > limit:
            covered = max(covered, log[-limit - 1].at)
        rows += (row for row in kept if row.at >= since)
    return rows, covered
