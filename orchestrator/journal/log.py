"""Reading and checking the log itself, and making the read model anew from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

from sqlalchemy import Connection, delete, insert, select, update

from orchestrator.definition.plan import Plan
from orchestrator.errors import IllegalEventError
from orchestrator.journal import clusters, tags, tally
from orchestrator.journal.database import Database
from orchestrator.journal.port import InboxItem, Recorded, Summarize, Tenure
from orchestrator.journal.records import Row, Stretch, epoch_after, faults, recorded, tenure_row
from orchestrator.journal.run_rows import COLUMNS, RunRow, accepted, run_row
from orchestrator.journal.schema import ANCHOR, EVENT, INBOX, RUN, SHARD
from orchestrator.kernel.codec import decode_message
from orchestrator.kernel.messages import Launch

CHUNK = 1_000
"""Runs read, or rows checked, in one query."""
_COLUMNS = ", ".join(f'"{name}"' for name in Row._fields)

UpsertRuns = Callable[[Connection, Sequence[RunRow]], None]


def begin_tenure(
    connection: Connection, shard: int, owner: str, at: float, beyond: int = 0
) -> Tenure:
    """See ``WriterJournal.begin_tenure``; within a transaction."""
    row = connection.execute(select(SHARD).where(SHARD.c.shard == shard).with_for_update()).one()
    epoch = max(row.epoch, beyond) + 1
    record = tenure_row(shard, epoch, owner, at, end_of(connection, shard))
    connection.execute(insert(EVENT).values(record._asdict()))
    change = update(SHARD).where(SHARD.c.shard == shard)
    connection.execute(change.values(epoch=epoch, owner=owner))
    return Tenure(
        shard=shard,
        epoch=epoch,
        next_offset=record.offset + 1,
        chain=record.hash,
        cursor_offset=row.cursor_offset,
        cursor_at=row.cursor_at,
    )


def end_of(connection: Connection, shard: int) -> tuple[int, str]:
    """Offset and hash of a shard's last record; ``(0, "")`` for an empty log."""
    query = select(EVENT.c.offset, EVENT.c.hash).where(EVENT.c.shard == shard)
    row = connection.execute(query.order_by(EVENT.c.offset.desc()).limit(1)).one_or_none()
    return (0, "") if row is None else (row.offset, row.hash)


def rows_after(connection: Connection, shard: int, after: int, limit: int) -> list[Row]:
    """The shard's log from ``after`` on, exclusive."""
    query = select(EVENT).where(EVENT.c.shard == shard, EVENT.c.offset > after)
    return [
        Row._make(row) for row in connection.execute(query.order_by(EVENT.c.offset).limit(limit))
    ]


def histories(
    database: Database, connection: Connection, shard: int, run_ids: Sequence[str]
) -> dict[str, list[Recorded]]:
    """The events of several runs of a shard; runs without events have an empty list."""
    found: dict[str, list[Recorded]] = {run_id: [] for run_id in run_ids}
    for start in range(0, len(run_ids), CHUNK):
        chunk = list(run_ids[start : start + CHUNK])
        for row in rows_of_runs(database, connection, shard, chunk):
            event = recorded(row)
            found[event.run_id].append(event)
    return found


def rows_of_runs(
    database: Database, connection: Connection, shard: int, run_ids: list[str]
) -> Sequence[Sequence[object]]:
    """Plain rows, past SQLAlchemy's own: recovery reads tens of thousands."""
    order = 'ORDER BY "offset"'
    if database.is_postgresql:
        query = f"SELECT {_COLUMNS} FROM saga_event WHERE shard = %s AND run_id = ANY(%s) {order}"  # noqa: S608
        return connection.exec_driver_sql(query, (shard, run_ids)).fetchall()
    marks = ", ".join("?" * len(run_ids))  # and `+shard`: see `schema.of_shard`
    query = f"SELECT {_COLUMNS} FROM saga_event WHERE +shard = ? AND run_id IN ({marks}) {order}"  # noqa: S608
    return connection.exec_driver_sql(query, (shard, *run_ids)).fetchall()


def inbox(
    connection: Connection, shards: Sequence[int], after: dict[int, int], limit: int
) -> list[InboxItem]:
    """See ``WriterJournal.inbox``."""
    query = select(INBOX).where(INBOX.c.shard.in_(shards)).order_by(INBOX.c.id).limit(limit)
    for shard, taken in after.items():
        query = query.where((INBOX.c.shard != shard) | (INBOX.c.id > taken))
    return [
        InboxItem(row.id, row.shard, row.run_id, decode_message(row.message))
        for row in connection.execute(query)
    ]


def verify(database: Database, shards: int) -> Iterator[str]:
    """One line per thing that is wrong with a shard's log."""
    for shard in range(shards):
        state = database.read(
            lambda connection, shard=shard: connection.execute(  # type: ignore[misc]
                select(SHARD).where(SHARD.c.shard == shard)
            ).one()
        )
        end, epoch = (0, ""), 0
        while rows := database.read(
            lambda connection, shard=shard, end=end: rows_after(connection, shard, end[0], CHUNK)  # type: ignore[misc]
        ):
            archived = database.read(
                lambda connection, shard=shard, end=end, to=rows[-1].offset: anchors(  # type: ignore[misc]
                    connection, shard, end[0], to
                )
            )
            found, end = faults(rows, end, archived)
            yield from found
            epoch = epoch_after(rows, epoch)
        yield from truncation(shard, end[0], epoch, state.cursor_offset, state.epoch)


def anchors(connection: Connection, shard: int, after: int, to: int) -> list[Stretch]:
    """Stretches of a shard's log that were archived, those that reach beyond one offset and begin before another."""
    query = select(ANCHOR).where(
        ANCHOR.c.shard == shard, ANCHOR.c.last > after, ANCHOR.c.first <= to
    )
    return [Stretch(*row) for row in connection.execute(query.order_by(ANCHOR.c.first))]


def truncation(shard: int, end: int, last: int, cursor_offset: int, epoch: int) -> Iterator[str]:
    """What is wrong with the end of a shard's log, which no later record vouches for."""
    if end < cursor_offset or last != epoch:
        yield (
            f"shard {shard} offset {end}: the log ends here in epoch {last}, but it was"
            f" dispatched up to {cursor_offset} in epoch {epoch}: records are missing"
        )


def rebuild_shard(
    database: Database,
    shard: int,
    plan: Callable[[str], Plan],
    summarize: Summarize,
    upsert: UpsertRuns,
) -> int:
    """Replace a shard's read-model rows in one transaction, during which its writer waits; their number."""

    def work(connection: Connection) -> int:
        connection.execute(select(SHARD).where(SHARD.c.shard == shard).with_for_update())
        tags.clear(connection, shard)
        connection.execute(delete(RUN).where(RUN.c.shard == shard))
        clusters.clear(connection, shard)
        query = select(EVENT.c.run_id).where(EVENT.c.shard == shard, EVENT.c.type == "RunLaunched")
        run_ids = list(connection.scalars(query.order_by(EVENT.c.offset)))
        for start in range(0, len(run_ids), CHUNK):
            chunk = run_ids[start : start + CHUNK]
            found = histories(database, connection, shard, chunk)
            summaries = [summarize(plan(plan_of(events)), events) for events in found.values()]
            _show(connection, [run_row(summary) for summary in summaries], upsert)
            clusters.reindex(connection, summaries)
        waiting = _accepted(connection, shard, set(run_ids))
        _show(connection, waiting, upsert)
        tally.recount(connection, shard)
        return len(run_ids) + len(waiting)

    return database.write(work)


def plan_of(events: Sequence[Recorded]) -> str:
    """The plan of a run, which its first event names. Raises ``IllegalEventError``."""
    plan = getattr(events[0].event, "plan", None)
    if not isinstance(plan, str):
        raise IllegalEventError(f"run {events[0].run_id} begins with {events[0].type}")
    return plan


def _show(connection: Connection, rows: list[RunRow], upsert: UpsertRuns) -> None:
    upsert(connection, rows)
    places = (COLUMNS.index(name) for name in ("run_id", "launched_at", "tags"))
    tags.add(connection, tags.tag_rows(map(itemgetter(*places), rows)))


def _accepted(connection: Connection, shard: int, known: set[str]) -> list[RunRow]:
    """Rows of the launches that no writer has taken yet."""
    rows = connection.execute(select(INBOX).where(INBOX.c.shard == shard).order_by(INBOX.c.id))
    launches = [(row.run_id, decode_message(row.message)) for row in rows]
    return [
        run_row(accepted(message, shard))
        for run_id, message in launches
        if isinstance(message, Launch) and run_id not in known
    ]
