"""The read model's rows: a ``RunSummary`` to columns and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func

from orchestrator.errors import EncodingError
from orchestrator.kernel.incidents import Incident
from orchestrator.kernel.messages import Launch
from orchestrator.kernel.summary import RunSummary

COLUMNS = (
    "run_id",
    "shard",
    "saga",
    "version",
    "plan",
    "status",
    "open",
    "launched_at",
    "updated_at",
    "key",
    "tags",
    "ended_at",
    "result",
    "reason",
    "steps",
    "parked",
    "incidents",
)
CHANGING = (
    *("status", "open", "updated_at", "ended_at", "result", "reason"),
    *("steps", "parked", "incidents"),
)
"""What a run's later writes may change; the rest is fixed at launch."""

_encode = msgspec.json.Encoder().encode
_incidents = msgspec.json.Decoder(tuple[Incident, ...])

RunRow = tuple[Any, ...]


def run_row(run: RunSummary) -> RunRow:
    """A run's columns, in the order of ``COLUMNS``. Raises ``EncodingError``."""
    try:
        return (
            run.run_id,
            run.shard,
            run.saga,
            run.version,
            run.plan,
            run.status,
            run.open,
            run.launched_at,
            run.updated_at,
            run.key,
            _encode(run.tags).decode() if run.tags else "{}",
            run.ended_at,
            "null" if run.result is None else _encode(run.result).decode(),
            run.reason.replace("\0", "\ufffd"),  # PostgreSQL has no text with nulls
            _encode(run.steps).decode() if run.steps else "[]",
            _encode(run.parked).decode() if run.parked else "[]",
            _encode(run.incidents).decode() if run.incidents else "[]",
        )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodingError(
            f"run {run.run_id}: its result can't be written as JSON: {error}"
        ) from error


def summary_of(row: Sequence[Any]) -> RunSummary:
    """The summary in a row whose columns are ``COLUMNS``."""
    decode = msgspec.json.decode
    return RunSummary(
        run_id=row[0],
        shard=row[1],
        saga=row[2],
        version=row[3],
        plan=row[4],
        status=row[5],
        open=bool(row[6]),
        launched_at=row[7],
        updated_at=row[8],
        key=row[9],
        tags=decode(row[10]),
        ended_at=row[11],
        result=decode(row[12]),
        reason=row[13],
        steps=tuple(decode(row[14])),
        parked=tuple(decode(row[15])),
        incidents=() if row[16] == "[]" else _incidents.decode(row[16]),
    )


def accepted(launch: Launch, shard: int) -> RunSummary:
    """The summary of a run whose launch its shard's writer hasn't taken yet."""
    return RunSummary(
        run_id=launch.run_id,
        shard=shard,
        saga=launch.saga,
        version=launch.version,
        plan=launch.plan,
        status="accepted",
        open=True,
        launched_at=launch.at,
        updated_at=launch.at,
        key=launch.key,
        tags=launch.tags,
    )


def has_text(connection: Connection, column: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether a column has ``part`` in it, letter by letter."""
    inside = func.strpos if connection.dialect.name == "postgresql" else func.instr
    return inside(column, part) > 0
