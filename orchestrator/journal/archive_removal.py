"""Archived runs leave the journal: a few at a time, each transaction complete in itself.

What is removed is compared, column for column, with what the file holds; a run that isn't the same, or that a message
is waiting for, stays. An anchor stands where records were, so that the chain still holds; neighbours become one.
A run's launch key stays: a launch that comes again is still the same run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, text, update

from orchestrator.journal import tally
from orchestrator.journal.database import Database
from orchestrator.journal.log import end_of, rows_of_runs
from orchestrator.journal.port import Archived
from orchestrator.journal.records import Row as LogRow
from orchestrator.journal.records import Stretch, stretches_of
from orchestrator.journal.run_rows import COLUMNS, summary_of
from orchestrator.journal.schema import (
    ANCHOR,
    ARCHIVE,
    ARCHIVED_RUN,
    EVENT,
    INBOX,
    IS_OPEN,
    RUN,
    of_shard,
)
from orchestrator.journal.tags import remove as remove_tags
from orchestrator.journal.tags import tag_rows
from orchestrator.kernel.summary import RunSummary

_ENDED = ("completed", "compensated")
_LOCKS = 0x53414741
"""The class of our advisory locks, one for each shard: an archiver holds it while it changes anchors."""
_VALUES = 500


class Wanted(NamedTuple):
    """Which ended runs to archive: ``before`` this time, in epoch seconds, of one saga or of all."""

    before: float
    saga: str | None = None


class Outlook(NamedTuple):
    """What there is to archive."""

    runs: int
    sagas: dict[str, int]
    ended_from: float | None
    ended_to: float | None


class Removed(NamedTuple):
    """What one transaction removed."""

    runs: int
    events: int


def outlook(connection: Connection, wanted: Wanted) -> Outlook:
    """How many runs fit, before any of them was looked at closely."""
    query = select(RUN.c.saga, func.count(), func.min(RUN.c.ended_at), func.max(RUN.c.ended_at))
    rows = connection.execute(query.where(*_fit(wanted)).group_by(RUN.c.saga)).all()
    return Outlook(
        runs=sum(row[1] for row in rows),
        sagas={row[0]: row[1] for row in sorted(rows)},
        ended_from=min((row[2] for row in rows), default=None),
        ended_to=max((row[3] for row in rows), default=None),
    )


def candidates(
    connection: Connection, wanted: Wanted, after: tuple[float, str], limit: int
) -> list[RunSummary]:
    """Ended runs that fit, longest ended first, behind a place in that order."""
    ended_at, run_id = RUN.c.ended_at, RUN.c.run_id
    behind = or_(ended_at > after[0], (ended_at == after[0]) & (run_id > after[1]))
    query = select(*(RUN.c[name] for name in COLUMNS)).where(
        *_fit(wanted), ended_at >= after[0], behind
    )
    return [
        summary_of(row)
        for row in connection.execute(query.order_by(ended_at, run_id).limit(limit)).all()
    ]


def streams(
    database: Database, connection: Connection, runs: Iterable[RunSummary]
) -> dict[str, list[LogRow]]:
    """The records of runs; not of those with the last record of their shard, which the next one has to follow."""
    by_shard: dict[int, list[str]] = {}
    for run in runs:
        by_shard.setdefault(run.shard, []).append(run.run_id)
    found: dict[str, list[LogRow]] = {}
    for shard, run_ids in sorted(by_shard.items()):
        end = end_of(connection, shard)[0]
        here: dict[str, list[LogRow]] = {}
        for start in range(0, len(run_ids), _VALUES):
            chunk = run_ids[start : start + _VALUES]
            for row in rows_of_runs(database, connection, shard, chunk):
                record = LogRow._make(row)
                here.setdefault(record.run_id, []).append(record)
        found.update({run: rows for run, rows in here.items() if rows[-1].offset != end})
    return found


def hashes_before(connection: Connection, rows: Sequence[LogRow]) -> dict[tuple[int, int], str]:
    """The hash of the record before each stretch of these rows, which may have been archived itself."""
    places: dict[int, list[int]] = {}
    for stretch in stretches_of(rows):
        places.setdefault(stretch.shard, []).append(stretch.first - 1)
    found: dict[tuple[int, int], str] = {}
    for shard, offsets in places.items():
        for start in range(0, len(offsets), _VALUES):
            chunk = offsets[start : start + _VALUES]
            kept = select(EVENT.c.offset, EVENT.c.hash).where(
                EVENT.c.shard == shard, EVENT.c.offset.in_(chunk)
            )
            gone = select(ANCHOR.c.last, ANCHOR.c.hash).where(
                ANCHOR.c.shard == shard, ANCHOR.c.last.in_(chunk)
            )
            for query in (kept, gone):  # in this order: what goes meanwhile is found as an anchor
                found.update({(shard, row[0]): row[1] for row in connection.execute(query)})
    return found


def waiting(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    """Those of the runs that a message is waiting for."""
    found: set[str] = set()
    for start in range(0, len(run_ids), _VALUES):
        chunk = run_ids[start : start + _VALUES]
        found.update(connection.scalars(select(INBOX.c.run_id).where(INBOX.c.run_id.in_(chunk))))
    return found


def present(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    """Those of the runs that are still in the journal."""
    found: set[str] = set()
    for start in range(0, len(run_ids), _VALUES):
        chunk = run_ids[start : start + _VALUES]
        found.update(connection.scalars(select(RUN.c.run_id).where(RUN.c.run_id.in_(chunk))))
    return found


def remove(
    connection: Connection, name: str, sha256: str, shard: int, streams: dict[str, list[LogRow]]
) -> Removed:
    """Remove runs of one shard that the named file holds as ``streams``; in the caller's transaction.

    A sender of a message locks the run's row too, so that either its message is seen here, or it finds no run.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:class, :shard)"), {"class": _LOCKS, "shard": shard}
        )
    locked = connection.execute(
        select(RUN.c.run_id, RUN.c.saga, RUN.c.status, RUN.c.launched_at, RUN.c.tags)
        .where(RUN.c.run_id.in_(streams), RUN.c.shard == shard, ~IS_OPEN)
        .order_by(RUN.c.run_id)
        .with_for_update()
    ).all()
    held_up = waiting(connection, [row.run_id for row in locked])
    still = {row.run_id: row for row in locked if row.run_id not in held_up}
    same = _unchanged(connection, shard, {run: streams[run] for run in still})
    if not same:
        return Removed(0, 0)
    rows = sorted((row for run in same for row in streams[run]), key=lambda row: row.offset)
    _anchor(connection, shard, stretches_of(rows, hashes_before(connection, rows)))
    tagged = ((run, still[run].launched_at, still[run].tags) for run in same)
    remove_tags(connection, tag_rows(tagged))
    connection.execute(delete(EVENT).where(of_shard(shard), EVENT.c.run_id.in_(same)))
    connection.execute(delete(RUN).where(RUN.c.shard == shard, RUN.c.run_id.in_(same)))
    gone = Counter((shard, still[run].saga, still[run].status) for run in same)
    tally.add(connection, {place: -runs for place, runs in gone.items()}, archived=True)
    archive = _noted(connection, name, sha256, Removed(len(same), len(rows)))
    noted = [
        {"run_id": run, "archive": archive, "status": still[run].status} for run in sorted(same)
    ]
    connection.execute(insert(ARCHIVED_RUN), noted)
    return Removed(len(same), len(rows))


def totals(connection: Connection) -> Archived:
    """The number of files, runs and events that were archived."""
    query = select(func.count(), func.sum(ARCHIVE.c.runs), func.sum(ARCHIVE.c.events))
    files, runs, events = connection.execute(query.select_from(ARCHIVE)).one()
    return Archived(files, int(runs or 0), int(events or 0))


def files(connection: Connection) -> dict[str, tuple[str, int]]:
    """The files that runs were archived in: name to SHA-256 and number of runs."""
    rows = connection.execute(select(ARCHIVE).order_by(ARCHIVE.c.id))
    return {row.name: (row.sha256, row.runs) for row in rows}


def _fit(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        ~IS_OPEN,
        RUN.c.ended_at < wanted.before,
        RUN.c.status.in_(_ENDED),
        RUN.c.parked == "[]",
    ]
    return found if wanted.saga is None else [*found, RUN.c.saga == wanted.saga]


def _unchanged(connection: Connection, shard: int, streams: dict[str, list[LogRow]]) -> list[str]:
    """Those of the runs whose records are exactly these, none of them the last of its shard."""
    query = select(EVENT).where(of_shard(shard), EVENT.c.run_id.in_(streams))
    found: dict[str, list[LogRow]] = {}
    for row in connection.execute(query.order_by(EVENT.c.offset)):
        found.setdefault(row.run_id, []).append(LogRow._make(row))
    end = end_of(connection, shard)[0]
    return sorted(
        run for run, rows in streams.items() if found.get(run) == rows and rows[-1].offset != end
    )


def _anchor(connection: Connection, shard: int, new: Sequence[Stretch]) -> None:
    """Put anchors where records were, joined with those they touch."""
    touched: list[Stretch] = []
    for start in range(0, len(new), _VALUES):
        chunk = new[start : start + _VALUES]
        query = select(ANCHOR).where(
            ANCHOR.c.shard == shard,
            or_(
                ANCHOR.c.last.in_([one.first - 1 for one in chunk]),
                ANCHOR.c.first.in_([one.last + 1 for one in chunk]),
            ),
        )
        touched += [Stretch(*row) for row in connection.execute(query)]
    old = {one.first: one for one in touched}
    joined: list[Stretch] = []
    for one in sorted([*old.values(), *new], key=lambda stretch: stretch.first):
        if joined and joined[-1].last + 1 == one.first:
            last = joined.pop()
            joined.append(Stretch(shard, last.first, one.last, last.before, one.hash))
        else:
            joined.append(one)
    for first in old:
        connection.execute(delete(ANCHOR).where(ANCHOR.c.shard == shard, ANCHOR.c.first == first))
    connection.execute(
        insert(ANCHOR),
        [dict(zip(ANCHOR.c.keys(), _fields(one), strict=True)) for one in joined],
    )


def _fields(one: Stretch) -> tuple[int, int, int, str, str]:
    return one.shard, one.first, one.last, one.before, one.hash


def _noted(connection: Connection, name: str, sha256: str, removed: Removed) -> int:
    more = update(ARCHIVE).where(ARCHIVE.c.name == name, ARCHIVE.c.sha256 == sha256)
    counted = more.values(
        runs=ARCHIVE.c.runs + removed.runs, events=ARCHIVE.c.events + removed.events
    )
    if not connection.execute(counted).rowcount:
        connection.execute(
            insert(ARCHIVE).values(
                name=name, sha256=sha256, runs=removed.runs, events=removed.events
            )
        )
    found: int = connection.execute(select(ARCHIVE.c.id).where(ARCHIVE.c.name == name)).scalar_one()
    return found
