"""The index of tags: which runs have one, newest first.

Tags are fixed at launch, so its rows are written with a run's own row, never changed, and removed with it. It holds the
beginning of a long name or value only, as a row of an index has a limited size; what a run's tags are in full is
compared with its own row, so whatever the index says, nothing is listed that doesn't have the tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    text,
)

from orchestrator.journal.array_text import numbers, texts
from orchestrator.journal.run_rows import has_text
from orchestrator.journal.schema import RUN, TAG

NAME_LENGTH, VALUE_LENGTH = 100, 300
"""Characters of a name and of a value in the index: with four bytes each they fit into a row of PostgreSQL's, 2,704."""

_MANY = 1_000
_tags = msgspec.json.Decoder(dict[str, str])
_INSERT = text(
    "INSERT INTO saga_run_tag (name, value, launched_at, run_id)"
    " VALUES (:name, :value, :launched_at, :run_id) ON CONFLICT DO NOTHING"
)
_DELETE = delete(TAG).where(*(TAG.c[name] == bindparam(f"of_{name}") for name in TAG.c.keys()))  # noqa: SIM118

INSERT_LAUNCHED = """
    INSERT INTO saga_run_tag (name, value, launched_at, run_id)
    SELECT * FROM unnest(
        CAST(:tag_name AS text[]), CAST(:tag_value AS text[]),
        CAST(:tag_at AS float8[]), CAST(:tag_run AS text[])
    ) AS t(name, value, launched_at, run_id) WHERE run_id IN (SELECT run_id FROM made)
    ON CONFLICT DO NOTHING
"""
"""The part of a launch on PostgreSQL that indexes the runs it has ``made``, with ``launched_columns``."""


class TagRow(NamedTuple):
    """One row of the index, column for column."""

    name: str
    value: str
    launched_at: float
    run_id: str


def tag_rows(runs: Iterable[tuple[str, float, str]]) -> list[TagRow]:
    """The index rows of runs: of each its id, when it was launched, and its tags as JSON."""
    return [
        TagRow(*place, launched_at, run_id)
        for run_id, launched_at, tags in runs
        if tags != "{}"
        for place in {_place(name, value): None for name, value in _tags.decode(tags).items()}
    ]


def launched_columns(rows: Sequence[TagRow]) -> dict[str, str]:
    """The parameters of ``INSERT_LAUNCHED``."""
    columns = TagRow._make(zip(*rows, strict=True))
    return {
        "tag_name": texts(columns.name),
        "tag_value": texts(columns.value),
        "tag_at": numbers(columns.launched_at),  # type: ignore[arg-type]
        "tag_run": texts(columns.run_id),
    }


def add(connection: Connection, rows: Sequence[TagRow]) -> None:
    """Write index rows; those that are there already stay."""
    if rows:
        connection.execute(_INSERT, [row._asdict() for row in rows])


def remove(connection: Connection, rows: Sequence[TagRow]) -> None:
    """Remove index rows, by their whole key: there is no other index of them."""
    if rows:
        keys = [{f"of_{name}": part for name, part in row._asdict().items()} for row in rows]
        connection.execute(_DELETE, keys)


def clear(connection: Connection, shard: int) -> None:
    """Remove the index rows of a shard's runs, and of runs that there aren't any more."""
    elsewhere = exists().where(RUN.c.run_id == TAG.c.run_id, RUN.c.shard != shard)
    connection.execute(delete(TAG).where(~elsewhere))


def tagged(connection: Connection, tags: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """Conditions on ``TAG`` and ``RUN`` joined: the rarest tag is looked up in the index, the runs' rows have them all.

    Joined by the run's id alone: with ``launched_at`` as well PostgreSQL would expect one run, and sort all there are.
    """
    if not tags:
        return []
    pairs = list(tags.items())
    rarest = pairs[0] if len(pairs) == 1 else min(pairs, key=lambda pair: _number(connection, pair))
    in_full = (_in_full(connection, *pair) for pair in pairs)
    return [RUN.c.run_id == TAG.c.run_id, _at(*rarest), *in_full]


def _number(connection: Connection, pair: tuple[str, str]) -> int:
    """How many runs have a tag, or that it is many."""
    some = select(TAG.c.run_id).where(_at(*pair)).limit(_MANY).subquery()
    return connection.scalar(select(func.count()).select_from(some)) or 0


def _at(name: str, value: str) -> ColumnElement[bool]:
    place = _place(name, value)
    return and_(TAG.c.name == place[0], TAG.c.value == place[1])


def _place(name: str, value: str) -> tuple[str, str]:
    return _storable(name)[:NAME_LENGTH], _storable(value)[:VALUE_LENGTH]


def _storable(part: str) -> str:
    return part.replace("\0", "\ufffd")  # PostgreSQL has no text with nulls


def _in_full(connection: Connection, name: str, value: str) -> ColumnElement[bool]:
    """The run's row holds compact JSON, where a brace or comma and a quote can't stand inside a string."""
    pair = f"{_json(name)}:{_json(value)}"
    return or_(*(has_text(connection, RUN.c.tags, before + pair) for before in "{,"))


def _json(part: str) -> str:
    return msgspec.json.encode(part).decode()
