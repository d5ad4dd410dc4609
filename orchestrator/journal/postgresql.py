"""The writer's hot path on PostgreSQL: one statement, which is one transaction and one round trip.

Every column travels as one text parameter, so the cost per event in this process is the JSON and the hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from orchestrator.errors import FencedError
from orchestrator.journal.array_text import (
    booleans,
    lines,
    numbers,
    optional_numbers,
    optional_texts,
    texts,
)
from orchestrator.journal.clusters import COLUMNS as INCIDENT_COLUMNS
from orchestrator.journal.clusters import incident_rows
from orchestrator.journal.held_connection import HeldConnection, KeyTakenError
from orchestrator.journal.port import InboxItem, ShardWrite, Tenure
from orchestrator.journal.records import Row, rows_of
from orchestrator.journal.run_rows import CHANGING, COLUMNS, RunRow, run_row
from orchestrator.journal.tally import ADD_POSTGRESQL, columns, ending
from orchestrator.kernel.codec import decode_message

_RUN_SOURCE = """
    SELECT * FROM unnest(
        %s::text[], %s::int[], %s::text[], %s::int[], %s::text[], %s::text[], %s::bool[],
        %s::float8[], %s::float8[], %s::text[], string_to_array(%s, chr(10)), %s::float8[],
        string_to_array(%s, chr(10)), %s::text[],
        string_to_array(%s, chr(10)), string_to_array(%s, chr(10)), string_to_array(%s, chr(10))
    )"""

UPSERT_RUNS = f"""
    INSERT INTO saga_run AS r ({", ".join(COLUMNS)}) {_RUN_SOURCE} {{where}}
    ON CONFLICT (run_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in CHANGING)}
"""

# The tenure check (`held`) locks the shard's row, so that a turn without events is fenced as well; with events the
# primary key fences it in any case, unless the log was restored from a backup and is shorter now: so the record that
# this turn follows has to be there. So have the messages that it consumes: a log that was restored may have forgotten
# one, and the plan with it, that was read before. Nothing is written unless all of this holds.
#
# The statement is prepared, and while a journal is young the server believes its tables to be tiny. So rows are looked
# up by subqueries, one at a time: of a join it would make a walk through all events of a shard, or all ended runs.
_APPEND = f"""
WITH held AS MATERIALIZED (
    SELECT s.shard FROM saga_shard s
    JOIN unnest(%s::int[], %s::int[], %s::bigint[], %s::text[]) AS t(shard, epoch, previous, chain)
        ON t.shard = s.shard AND t.epoch = s.epoch
    WHERE t.chain = (
        SELECT e.hash FROM saga_event e WHERE e.shard = t.shard AND e."offset" = t.previous
    )
    ORDER BY s.shard FOR UPDATE OF s
), allowed AS MATERIALIZED (
    SELECT count(*) = %s AND (
        SELECT count(*) = %s FROM saga_inbox WHERE id = ANY(%s::bigint[])
    ) AS ok FROM held
), logged AS (
    INSERT INTO saga_event
        (shard, "offset", run_id, type, schema_version, at, actor, data, hash)
    SELECT * FROM unnest(
        %s::int[], %s::bigint[], %s::text[], %s::text[], %s::int[], %s::float8[], %s::text[],
        string_to_array(%s, chr(10)), %s::text[]
    ) WHERE (SELECT ok FROM allowed)
), shown AS (
    {UPSERT_RUNS.format(where="WHERE (SELECT ok FROM allowed)")}
), consumed AS (
    DELETE FROM saga_inbox WHERE id = ANY(%s::bigint[]) AND (SELECT ok FROM allowed)
), moved AS (
    UPDATE saga_shard s SET cursor_offset = t.cursor_offset, cursor_at = t.cursor_at
    FROM unnest(%s::int[], %s::bigint[], %s::float8[]) AS t(shard, cursor_offset, cursor_at)
    WHERE t.shard = s.shard AND (SELECT ok FROM allowed)
) {{more}}
SELECT shard, (SELECT ok FROM allowed) FROM held
"""  # noqa: S608 - made of constants

# Only for turns that change an incident: what is removed and what is written are never the same row.
_INCIDENTS = f"""relieved AS (
    DELETE FROM saga_incident i
    WHERE i.run_id = ANY(%s::text[]) AND (SELECT ok FROM allowed) AND NOT EXISTS (
        SELECT FROM unnest(%s::text[], %s::text[]) AS k(run_id, step)
        WHERE k.run_id = i.run_id AND k.step = i.step
    )
), opened AS (
    INSERT INTO saga_incident ({", ".join(INCIDENT_COLUMNS)})
    SELECT * FROM unnest(
        %s::text[], %s::text[], %s::int[], %s::text[], %s::text[], %s::float8[], %s::bool[]
    ) WHERE (SELECT ok FROM allowed)
    ON CONFLICT (run_id, step) DO UPDATE SET
        cluster = excluded.cluster, since = excluded.since, acked = excluded.acked
)"""  # noqa: S608 - made of constants

APPENDS = {
    (incidents, ends): _APPEND.format(
        more="".join(
            f", {part}" for part, has in ((_INCIDENTS, incidents), (ADD_POSTGRESQL, ends)) if has
        )
    )
    for incidents in (False, True)
    for ends in (False, True)
}
"""The statement of a turn, by whether it changes incidents, and how many runs have ended."""

# Never more than `limit` rows a shard are looked at, however long the queue is.
INBOX = """
SELECT i.id, i.shard, i.run_id, i.message
FROM unnest(%s::int[], %s::bigint[]) AS t(shard, taken)
CROSS JOIN LATERAL (
    SELECT * FROM saga_inbox WHERE shard = t.shard AND id > t.taken ORDER BY id LIMIT %s
) AS i
ORDER BY i.id LIMIT %s
"""

TAKEN = """
SELECT e.shard FROM saga_event e
JOIN unnest(%s::int[], %s::bigint[]) AS t(shard, "offset") ON t.shard = e.shard AND t."offset" = e."offset"
ORDER BY e.shard LIMIT 1
"""


def append(held: HeldConnection, writes: Sequence[ShardWrite]) -> list[Tenure]:
    """Write one turn. Errors as in the port."""
    parameters, after = _parameters(writes)
    incidents = _incident_columns(writes)
    ends = columns([run for write in writes for run in ending(write.runs)])
    tenures = [write.tenure for write in writes]
    try:
        statement = APPENDS[bool(incidents), bool(ends)]
        rows = held.write(statement, (*parameters, *incidents, *ends))
    except KeyTakenError as error:
        raise FencedError(_taken(held, tenures)) from error
    if len(rows) != len(writes):
        raise FencedError(min({tenure.shard for tenure in tenures} - {row[0] for row in rows}))
    if not all(row[1] for row in rows):
        raise FencedError(min(write.tenure.shard for write in writes if write.consumed))
    return after


def inbox(
    held: HeldConnection, shards: Sequence[int], after: dict[int, int], limit: int
) -> list[InboxItem]:
    """Waiting messages; see the port."""
    above = [after.get(shard, 0) for shard in shards]
    rows = held.read(INBOX, (numbers(shards), numbers(above), limit, limit))
    return [InboxItem(id_, shard, run, decode_message(data)) for id_, shard, run, data in rows]


def run_columns(rows: Sequence[RunRow]) -> list[str]:
    """The parameters of ``UPSERT_RUNS``."""
    if not rows:
        return [*["{}"] * 10, "", "{}", "", "{}", "", "", ""]
    columns = list(zip(*rows, strict=True))
    return [
        texts(columns[0]),
        numbers(columns[1]),
        texts(columns[2]),
        numbers(columns[3]),
        texts(columns[4]),
        texts(columns[5]),
        booleans(columns[6]),
        numbers(columns[7]),
        numbers(columns[8]),
        optional_texts(columns[9]),
        lines(columns[10]),
        optional_numbers(columns[11]),
        lines(columns[12]),
        texts(columns[13]),
        lines(columns[14]),
        lines(columns[15]),
        lines(columns[16]),
    ]


def upsert_runs(connection: Connection, rows: Sequence[RunRow]) -> None:
    """Write read-model rows within a transaction."""
    connection.exec_driver_sql(UPSERT_RUNS.format(where=""), tuple(run_columns(rows)))


def _parameters(writes: Sequence[ShardWrite]) -> tuple[tuple[object, ...], list[Tenure]]:
    events: list[Row] = []
    runs: list[RunRow] = []
    consumed: list[int] = []
    after: list[Tenure] = []
    for write in writes:
        rows, tenure = rows_of(write)
        events += rows
        after.append(tenure)
        runs += map(run_row, write.runs)
        consumed += write.consumed
    shards = numbers(tenure.shard for tenure in after)
    return (
        shards,
        numbers(tenure.epoch for tenure in after),
        numbers(write.tenure.next_offset - 1 for write in writes),
        texts([write.tenure.chain for write in writes]),
        len(after),
        len(consumed),
        numbers(consumed),
        *_event_columns(events),
        *run_columns(runs),
        numbers(consumed),
        shards,
        numbers(tenure.cursor_offset for tenure in after),
        numbers(tenure.cursor_at for tenure in after),
    ), after


def _incident_columns(writes: Sequence[ShardWrite]) -> list[str]:
    """What the part of the incidents takes; nothing if no incident changes."""
    relieved = [run_id for write in writes for run_id in write.relieved]
    rows = [row for write in writes for row in incident_rows(write.runs)]
    if not relieved and not rows:
        return []
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * 7
    return [
        texts(relieved),
        texts(columns[0]),
        texts(columns[1]),
        texts(columns[0]),
        texts(columns[1]),
        numbers(columns[2]),
        texts(columns[3]),
        texts(columns[4]),
        numbers(columns[5]),
        booleans(columns[6]),
    ]


def _event_columns(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return [*["{}"] * 7, "", "{}"]
    columns = list(zip(*rows, strict=True))
    return [
        numbers(columns[0]),
        numbers(columns[1]),
        texts(columns[2]),
        texts(columns[3]),
        numbers(columns[4]),
        numbers(columns[5]),
        texts(columns[6]),
        lines(columns[7]),
        texts(columns[8]),
    ]


def _taken(held: HeldConnection, tenures: Sequence[Tenure]) -> int:
    """The shard whose next offset another writer has used."""
    shards = numbers(tenure.shard for tenure in tenures)
    offsets = numbers(tenure.next_offset for tenure in tenures)
    found = held.read(TAKEN, (shards, offsets))
    assert found, "a primary key was taken, but no record stands in any of the next places"
    return int(found[0][0])
