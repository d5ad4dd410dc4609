"""Launches: inbox row, launch key and read-model row of many runs in one transaction.

On PostgreSQL that is one statement for any number of launches; a second one only looks up keys that were taken.
Tags are indexed where there are any.
A launch is told apart by its run id, so a caller whose commit had no answer may simply launch the same again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select, text

from orchestrator.definition.plan import Plan
from orchestrator.errors import InvalidInputError
from orchestrator.journal.array_text import lines, numbers, optional_texts, texts
from orchestrator.journal.port import Launched, LaunchRequest
from orchestrator.journal.records import shard_of
from orchestrator.journal.schema import LAUNCH_KEY, RUN
from orchestrator.journal.tags import INSERT_LAUNCHED, TagRow, add, launched_columns, tag_rows
from orchestrator.kernel.codec import encode_message
from orchestrator.kernel.messages import Launch

CHUNK = 500
"""Values in one IN list."""


class LaunchRow(NamedTuple):
    """A launch, column for column."""

    run_id: str
    shard: int
    saga: str
    version: int
    plan: str
    at: float
    key: str | None
    tags: str
    message: str


_PLAIN_RUN = "'accepted', true, at, at, key, tags, NULL, 'null', '', '[]', '[]'"
_RUN_COLUMNS = (
    "run_id, shard, saga, version, plan, status, open, launched_at, updated_at, key, tags,"
    " ended_at, result, reason, steps, parked"
)

_STATEMENT = f"""
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:run_id AS text[]), CAST(:shard AS int[]), CAST(:saga AS text[]),
        CAST(:version AS int[]), CAST(:plan AS text[]), CAST(:at AS float8[]), CAST(:key AS text[]),
        string_to_array(CAST(:tags AS text), chr(10)), string_to_array(CAST(:message AS text), chr(10))
    ) WITH ORDINALITY AS t(run_id, shard, saga, version, plan, at, key, tags, message, place)
), keyed AS (
    INSERT INTO saga_launch_key (saga, key, run_id)
    SELECT saga, key, run_id FROM input WHERE key IS NOT NULL ORDER BY saga, key, place
    ON CONFLICT DO NOTHING RETURNING run_id
), made AS (
    INSERT INTO saga_run ({_RUN_COLUMNS})
    SELECT run_id, shard, saga, version, plan, {_PLAIN_RUN} FROM input
    WHERE key IS NULL OR run_id IN (SELECT run_id FROM keyed) ORDER BY run_id
    ON CONFLICT (run_id) DO NOTHING RETURNING run_id
), posted AS (
    INSERT INTO saga_inbox (shard, run_id, message)
    SELECT shard, run_id, message FROM input WHERE run_id IN (SELECT run_id FROM made) ORDER BY place
) {{more}}
SELECT run_id FROM made
"""  # noqa: S608 - made of constants
_POSTGRESQL = text(_STATEMENT.format(more=""))
_POSTGRESQL_TAGGED = text(_STATEMENT.format(more=f", tagged AS ({INSERT_LAUNCHED})"))

_KEY = text(
    "INSERT INTO saga_launch_key (saga, key, run_id) VALUES (:saga, :key, :run_id) ON CONFLICT DO NOTHING"
)
_RUN = text(
    f"INSERT INTO saga_run ({_RUN_COLUMNS}) VALUES (:run_id, :shard, :saga, :version, :plan,"  # noqa: S608
    " 'accepted', true, :at, :at, :key, :tags, NULL, 'null', '', '[]', '[]')"
)
_POST = text("INSERT INTO saga_inbox (shard, run_id, message) VALUES (:shard, :run_id, :message)")


def launch_rows(requests: Sequence[LaunchRequest], shards: int) -> list[LaunchRow]:
    """The rows of these launches. Raises ``InvalidInputError``, ``EncodingError``."""
    rows = [_row(request.message, shards) for request in requests]
    if len({row.run_id for row in rows}) != len(rows):
        raise InvalidInputError("two launches in one call have the same run id")
    return rows


def plans_of(
    requests: Sequence[LaunchRequest], known: Mapping[str, Plan] = MappingProxyType({})
) -> dict[str, Plan]:
    """The plans of these launches by hash. Raises ``InvalidInputError`` for a launch that names another plan.

    ``known`` plans by hash aren't hashed again: it takes longer than all else that a launch does in this process.
    """
    hashes: dict[int, str] = {}
    found: dict[str, Plan] = {}
    for request in requests:
        message, plan = request.message, request.plan
        plan_hash = hashes.get(id(plan))
        if plan_hash is None:
            plan_hash = message.plan if known.get(message.plan) is plan else plan.hash
            hashes[id(plan)] = plan_hash
        if (message.plan, message.saga, message.version) != (plan_hash, plan.saga, plan.version):
            raise InvalidInputError(
                f"run {message.run_id} names {message.saga} version {message.version} with plan"
                f" {message.plan}, but came with {plan.saga} version {plan.version}, {plan_hash}"
            )
        found[plan_hash] = plan
    return found


def insert_postgresql(connection: Connection, rows: Sequence[LaunchRow]) -> set[str]:
    """Write launches in one statement; returns the run ids that are new."""
    columns = LaunchRow._make(zip(*rows, strict=True))
    parameters = {
        "run_id": texts(columns.run_id),
        "shard": numbers(columns.shard),  # type: ignore[arg-type]
        "saga": texts(columns.saga),
        "version": numbers(columns.version),  # type: ignore[arg-type]
        "plan": texts(columns.plan),
        "at": numbers(columns.at),  # type: ignore[arg-type]
        "key": optional_texts(columns.key),  # type: ignore[arg-type]
        "tags": lines(columns.tags),
        "message": lines(columns.message),
    }
    of_tags = _tags_of(rows)
    if of_tags:
        parameters |= launched_columns(of_tags)
    statement = _POSTGRESQL_TAGGED if of_tags else _POSTGRESQL
    return set(connection.execute(statement, parameters).scalars())


def insert_sqlite(connection: Connection, rows: Sequence[LaunchRow]) -> set[str]:
    """Write launches; returns the run ids that are new."""
    keyed = [row._asdict() for row in rows if row.key is not None]
    if keyed:
        connection.execute(_KEY, keyed)
    winners = winners_of(connection, rows)
    existing: set[str] = set()
    for chunk in _chunks([row.run_id for row in rows]):
        existing.update(connection.scalars(select(RUN.c.run_id).where(RUN.c.run_id.in_(chunk))))
    new = [
        row
        for row in rows
        if row.run_id not in existing and winners.get((row.saga, row.key), row.run_id) == row.run_id
    ]
    if new:
        values = [row._asdict() for row in new]
        connection.execute(_RUN, values)
        connection.execute(_POST, values)
        add(connection, _tags_of(new))
    return {row.run_id for row in new}


def winners_of(
    connection: Connection, rows: Iterable[LaunchRow]
) -> dict[tuple[str, str | None], str]:
    """The run that has each of the launches' keys, by saga and key."""
    found: dict[tuple[str, str | None], str] = {}
    for chunk in _chunks([row.key for row in rows if row.key is not None]):
        query = select(LAUNCH_KEY).where(LAUNCH_KEY.c.key.in_(chunk))
        found.update({(row.saga, row.key): row.run_id for row in connection.execute(query)})
    return found


def launched(
    rows: Sequence[LaunchRow],
    new: set[str],
    winners: dict[tuple[str, str | None], str],
    shards: int,
) -> list[Launched]:
    """What came of each launch, in order."""
    result: list[Launched] = []
    for row in rows:
        if row.run_id in new:
            result.append(Launched(row.run_id, row.shard, created=True))
        else:
            run_id = row.run_id if row.key is None else winners[row.saga, row.key]
            result.append(Launched(run_id, shard_of(run_id, shards), created=False))
    return result


def _tags_of(rows: Iterable[LaunchRow]) -> list[TagRow]:
    return tag_rows((row.run_id, row.at, row.tags) for row in rows)


def _row(message: Launch, shards: int) -> LaunchRow:
    run_id = message.run_id
    if not run_id:
        raise InvalidInputError("a launch needs a run id")
    for name, value in (("run id", run_id), ("key", message.key), ("actor", message.actor)):
        if value is not None and "\0" in value:
            raise InvalidInputError(f"the {name} {value!r} contains a null character")
    return LaunchRow(
        run_id=run_id,
        shard=shard_of(run_id, shards),
        saga=message.saga,
        version=message.version,
        plan=message.plan,
        at=message.at,
        key=message.key,
        tags=msgspec.json.encode(message.tags).decode() if message.tags else "{}",
        message=encode_message(message).decode(),
    )


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
