"""The journal's tables; ``migrations/`` makes the same, and a test compares the two.

Names start with ``saga_`` because the tables may share a database with the caller's own. Values that only ever
travel whole are JSON text: readable in any SQL shell, and cheaper to write than columns of their own.
What only matters when tables are made is in ``schema_options``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

METADATA = MetaData()
DEFAULT_SHARDS = 8
REVISION = "0010"
"""The last migration: what this release needs."""
VERSION_TABLE = "saga_journal_version"
"""Where alembic notes which migrations have run."""

_Ordered = Text().with_variant(Text(collation="C"), "postgresql")
"""Compared byte by byte, so that prefixes are ranges and every database sorts alike."""
_Counter = BigInteger().with_variant(Integer(), "sqlite")

AUDITED = """
    type IN ('StepRetried', 'StepSkipped', 'StepResolved', 'HeuristicForgotten', 'SignalReceived',
        'IncidentAcknowledged', 'RunPaused', 'RunResumed', 'HoldPlaced', 'HoldReleased',
        'BudgetSet', 'OperationRefused',
        'ApprovalAsked', 'ApprovalGiven', 'ApprovalDenied', 'BranchAsked', 'BranchRuled',
        'BulkSteered')
    OR (type = 'CompensationStarted' AND actor <> '')
"""
"""Which events are somebody's doing. An index holds them alone, so an audit is as fast beside a million runs."""

EVENT = Table(
    "saga_event",
    METADATA,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("run_id", _Ordered, nullable=False),
    Column("type", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("saga_event_run", "run_id", "offset"),
    Index("saga_event_audit", "at", "shard", "offset"),
)
"""The log. The primary key decides who can write."""

SHARD = Table(
    "saga_shard",
    METADATA,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False, server_default=text("0")),
    Column("owner", Text, nullable=False, server_default=text("''")),
    Column("cursor_offset", BigInteger, nullable=False, server_default=text("0")),
    Column("cursor_at", Double, nullable=False, server_default=text("0")),
)
"""One row per shard, made with the schema; the row's epoch is that of the latest tenure record."""

LEASE = Table(
    "saga_lease",
    METADATA,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False, server_default=text("''")),
    Column("expires_at", Double, nullable=False, server_default=text("0")),
)
"""Who should write; no owner means free. Only liveness depends on it."""

COORDINATOR = Table(
    "saga_coordinator",
    METADATA,
    Column("owner", _Ordered, primary_key=True),
    Column("expires_at", Double, nullable=False),
)
"""Heartbeats, so that shards can be shared out among those alive."""

INBOX = Table(
    "saga_inbox",
    METADATA,
    Column("id", _Counter, primary_key=True, autoincrement=True),
    Column("shard", Integer, nullable=False),
    Column("run_id", _Ordered, nullable=False),
    Column("message", Text, nullable=False),
    Index("saga_inbox_shard", "shard", "id"),
)
"""Messages from clients, until their shard's writer has appended what they led to."""

LAUNCH_KEY = Table(
    "saga_launch_key",
    METADATA,
    Column("saga", _Ordered, primary_key=True),
    Column("key", _Ordered, primary_key=True),
    Column("run_id", _Ordered, nullable=False),
    Index("saga_launch_key_key", "key"),
)
"""The unique index that makes one run of many launches with one key."""

RUN = Table(
    "saga_run",
    METADATA,
    Column("run_id", _Ordered, primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("saga", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("plan", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("launched_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("key", Text),
    Column("tags", Text, nullable=False),
    Column("ended_at", Double),
    Column("result", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("steps", Text, nullable=False),
    Column("parked", Text, nullable=False),
    Column("incidents", Text, nullable=False, server_default=text("'[]'")),
    Index("saga_run_launched", "launched_at", "run_id"),
    Index("saga_run_status", "status", "launched_at", "run_id"),
    Index("saga_run_saga_status", "saga", "status", "launched_at", "run_id"),
    Index("saga_run_open", "shard"),
    Index("saga_run_ended", "ended_at", "run_id"),
)
"""The read model: one ``RunSummary`` a row, made at launch, replaced by the writer, rebuilt from the log."""

IS_OPEN: ColumnElement[bool] = literal_column("saga_run.open")
"""Whether a run is open, in the words of the indexes that have only such runs: SQLite uses them for no other words, and
SQLAlchemy would say ``open = 1``.
"""

TALLY = Table(
    "saga_tally",
    METADATA,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("saga", _Ordered, primary_key=True),
    Column("status", _Ordered, primary_key=True),
    Column("archived", Boolean, primary_key=True, autoincrement=False),
    Column("runs", BigInteger, nullable=False),
)
"""How many runs have ended: those its writer added, and, below zero, those that archivers took away; see ``tally``."""

TAG = Table(
    "saga_run_tag",
    METADATA,
    Column("name", _Ordered, primary_key=True),
    Column("value", _Ordered, primary_key=True),
    Column("launched_at", Double, primary_key=True),
    Column("run_id", _Ordered, primary_key=True),
)
"""An index of what ``saga_run.tags`` holds: written and removed with it, made from it anew; see ``tags``."""

INCIDENT = Table(
    "saga_incident",
    METADATA,
    Column("run_id", _Ordered, primary_key=True),
    Column("step", _Ordered, primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("saga", Text, nullable=False),
    Column("cluster", _Ordered, nullable=False),
    Column("since", Double, nullable=False),
    Column("acked", Boolean, nullable=False),
    Index("saga_incident_cluster", "cluster", "since", "run_id"),
)
"""Open incidents, an index of what ``saga_run.incidents`` holds: written and removed with it, made from it anew."""

NOTICE = Table(
    "saga_notice",
    METADATA,
    Column("cluster", _Ordered, primary_key=True),
    Column("at", Double, nullable=False),
)
"""When people were last told of a cluster; whoever changes the row tells them."""

BULK = Table(
    "saga_bulk",
    METADATA,
    Column("id", _Ordered, primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("data", Text, nullable=False),
    Index("saga_bulk_created", "created_at"),
)
"""Bulk operations; ``data`` is all of one but what came of its runs."""

BULK_ITEM = Table(
    "saga_bulk_item",
    METADATA,
    Column("bulk", _Ordered, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("run_id", _Ordered, nullable=False),
    Column("wave", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("why", Text, nullable=False),
    Index("saga_bulk_item_outcome", "bulk", "outcome", "position"),
)
"""The runs of each, in the order they are taken."""

HOLD = Table(
    "saga_hold",
    METADATA,
    Column("id", _Ordered, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", _Ordered, nullable=False),
    Column("placed_at", Double, nullable=False),
    Column("in_force", Boolean, nullable=False),
    Column("data", Text, nullable=False),
    Index("saga_hold_in_force", "kind", "name", unique=True),
)
"""Holds of sagas and services, ended ones too; the index is of those in force, so that there is one of each."""

PLAN = Table(
    "saga_plan",
    METADATA,
    Column("hash", _Ordered, primary_key=True),
    Column("saga", _Ordered, nullable=False),
    Column("version", Integer, nullable=False),
    Column("data", Text, nullable=False),
    UniqueConstraint("saga", "version", name="saga_plan_version"),
)
"""Plans under their content hash; one per saga and version."""

ARCHIVE = Table(
    "saga_archive",
    METADATA,
    Column("id", _Counter, primary_key=True, autoincrement=True),
    Column("name", _Ordered, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("runs", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    UniqueConstraint("name", name="saga_archive_name"),
)
"""Files that finished runs were moved to, and how many of them; see ``archive_removal``."""

ARCHIVED_RUN = Table(
    "saga_archived_run",
    METADATA,
    Column("run_id", _Ordered, primary_key=True),
    Column("archive", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
)
"""Which file has a run, and how it ended: what is left of it here, beside its launch key."""

ANCHOR = Table(
    "saga_anchor",
    METADATA,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("before", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
"""Stretches of a shard's log that were archived: the hash of the record before, and of the last one in it."""


def of_shard(shard: int) -> ColumnElement[bool]:
    """The condition for events of a shard whose runs are named, too: so SQLite goes by the index of runs, not through
    all of the shard's log.
    """
    return literal_column("+saga_event.shard", Integer) == shard
