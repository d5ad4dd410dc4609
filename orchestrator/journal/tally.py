"""How many runs have ended, added up as they do, so that nobody has to count a million rows.

A shard's rows are written by its writer alone, in the turn's own transaction, and by archivers apart from it, so nobody
waits for anybody. What a turn adds is found by its runs' rows as they were before it, whatever the writer believes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection, text

from orchestrator.journal.array_text import numbers, texts
from orchestrator.kernel.summary import RunSummary

Place = tuple[int, str, str]
"""A shard, a saga, a status."""

ADD_POSTGRESQL = """tallied AS (
    INSERT INTO saga_tally AS t (shard, saga, status, archived, runs)
    SELECT shard, saga, status, false, sum(runs) FROM (
        SELECT * FROM unnest(%s::int[], %s::text[], %s::text[], %s::int[]) AS k(shard, saga, status, runs)
        UNION ALL
        SELECT r.shard, r.saga, r.status, -1 FROM unnest(%s::text[]) AS k(run_id)
        CROSS JOIN LATERAL (SELECT * FROM saga_run WHERE run_id = k.run_id LIMIT 1) AS r WHERE NOT r.open
    ) AS changed WHERE (SELECT ok FROM allowed)
    GROUP BY shard, saga, status HAVING sum(runs) <> 0
    ON CONFLICT (shard, saga, status, archived) DO UPDATE SET runs = t.runs + excluded.runs
)"""
"""A part of an append, with ``columns``: all its parts see the rows of runs as they were before it."""

_ADD = text("""
    INSERT INTO saga_tally (shard, saga, status, archived, runs)
    VALUES (:shard, :saga, :status, :archived, :runs)
    ON CONFLICT (shard, saga, status, archived) DO UPDATE SET runs = saga_tally.runs + excluded.runs
""")
_CLEAR = text("DELETE FROM saga_tally WHERE shard = :shard")
_FILL = text("""
    INSERT INTO saga_tally (shard, saga, status, archived, runs)
    SELECT shard, saga, status, false, count(*) FROM saga_run WHERE shard = :shard AND NOT saga_run.open
    GROUP BY shard, saga, status
""")
_ENDED_BEFORE = """
    SELECT shard, saga, status FROM saga_run WHERE run_id IN ({ids}) AND NOT saga_run.open
"""
_VALUES = 500
_COUNTS = text("""
    SELECT saga, status, CAST(sum(runs) AS bigint) FROM (
        SELECT saga, status, 1 AS runs FROM saga_run WHERE saga_run.open
        UNION ALL
        SELECT saga, status, runs FROM saga_tally
    ) AS parts GROUP BY saga, status HAVING sum(runs) <> 0 ORDER BY saga, status
""")
_WRONG = text("""
    SELECT shard, saga, status, CAST(sum(told) AS bigint), CAST(sum(found) AS bigint) FROM (
        SELECT shard, saga, status, runs AS told, 0 AS found FROM saga_tally
        UNION ALL
        SELECT shard, saga, status, 0, count(*) FROM saga_run WHERE NOT saga_run.open
        GROUP BY shard, saga, status
    ) AS parts GROUP BY shard, saga, status HAVING sum(told) <> sum(found) ORDER BY shard, saga, status
""")


def ending(runs: Iterable[RunSummary]) -> list[RunSummary]:
    """Those of a turn's rows that may change how many have ended: that have ended now, or have before."""
    return [run for run in runs if not run.open or run.ended_at is not None]


def columns(runs: Sequence[RunSummary]) -> list[str]:
    """The parameters of ``ADD_POSTGRESQL``; nothing if no count can change."""
    if not runs:
        return []
    ended = _ended(runs)
    return [
        numbers(shard for shard, _, _ in ended),
        texts([saga for _, saga, _ in ended]),
        texts([status for _, _, status in ended]),
        numbers(ended.values()),
        texts([run.run_id for run in runs]),
    ]


def add_sqlite(connection: Connection, runs: Sequence[RunSummary]) -> None:
    """Count what a turn is about to write, before its rows are written."""
    changed = _ended(runs)
    for start in range(0, len(runs), _VALUES):
        ids = tuple(run.run_id for run in runs[start : start + _VALUES])
        query = _ENDED_BEFORE.format(ids=", ".join("?" * len(ids)))
        for shard, saga, status in connection.exec_driver_sql(query, ids).all():
            changed[shard, saga, status] -= 1
    add(connection, changed)


def add(connection: Connection, runs: Mapping[Place, int], *, archived: bool = False) -> None:
    """Add to the counts; ``archived`` are an archiver's, below zero."""
    rows = [
        {"shard": place[0], "saga": place[1], "status": place[2], "archived": archived, "runs": n}
        for place, n in sorted(runs.items())
        if n
    ]
    if rows:
        connection.execute(_ADD, rows)


def recount(connection: Connection, shard: int) -> None:
    """Make a shard's counts anew from its rows, which nobody else writes meanwhile."""
    connection.execute(_CLEAR, {"shard": shard})
    connection.execute(_FILL, {"shard": shard})


def counts(connection: Connection) -> dict[str, dict[str, int]]:
    """Saga to status to number of runs: open ones by their rows, of which there are few."""
    found: dict[str, dict[str, int]] = {}
    for saga, status, number in connection.execute(_COUNTS):
        found.setdefault(saga, {})[status] = number
    return found


def miscounted(connection: Connection) -> Iterator[str]:
    """One line per count that isn't that of the rows, both as of one moment."""
    for shard, saga, status, told, found in connection.execute(_WRONG).all():
        yield f"shard {shard}: {told} runs of {saga} are counted as {status}, there are {found}"


def _ended(runs: Iterable[RunSummary]) -> Counter[Place]:
    return Counter((run.shard, run.saga, run.status) for run in runs if not run.open)
