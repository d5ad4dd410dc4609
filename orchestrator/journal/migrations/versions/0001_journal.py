"""The journal's first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from orchestrator.journal.schema import DEFAULT_SHARDS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    shards = context.config.attributes.get("shards", DEFAULT_SHARDS)
    _log(shards)
    _coordination(shards)
    _clients()
    _runs()


def downgrade() -> None:
    for table in (
        "saga_plan",
        "saga_run",
        "saga_launch_key",
        "saga_inbox",
        "saga_coordinator",
        "saga_lease",
        "saga_shard",
        "saga_event",
    ):
        op.drop_table(table)


def _log(shards: int) -> None:
    op.create_table(
        "saga_event",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("offset", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("run_id", ORDERED, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("saga_event_run", "saga_event", ["run_id", "offset"])
    shard = op.create_table(
        "saga_shard",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("owner", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("cursor_offset", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("cursor_at", sa.Double, nullable=False, server_default=sa.text("0")),
        postgresql_with={"fillfactor": 10},
    )
    op.bulk_insert(shard, [{"shard": number} for number in range(shards)])


def _coordination(shards: int) -> None:
    lease = op.create_table(
        "saga_lease",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("expires_at", sa.Double, nullable=False, server_default=sa.text("0")),
    )
    op.bulk_insert(lease, [{"shard": number} for number in range(shards)])
    op.create_table(
        "saga_coordinator",
        sa.Column("owner", ORDERED, primary_key=True),
        sa.Column("expires_at", sa.Double, nullable=False),
    )


def _clients() -> None:
    op.create_table(
        "saga_inbox",
        sa.Column("id", COUNTER, primary_key=True, autoincrement=True),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("run_id", ORDERED, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("saga_inbox_shard", "saga_inbox", ["shard", "id"])
    op.create_table(
        "saga_launch_key",
        sa.Column("saga", ORDERED, primary_key=True),
        sa.Column("key", ORDERED, primary_key=True),
        sa.Column("run_id", ORDERED, nullable=False),
    )
    op.create_index("saga_launch_key_key", "saga_launch_key", ["key"])
    op.create_table(
        "saga_plan",
        sa.Column("hash", ORDERED, primary_key=True),
        sa.Column("saga", ORDERED, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.UniqueConstraint("saga", "version", name="saga_plan_version"),
    )


def _runs() -> None:
    op.create_table(
        "saga_run",
        sa.Column("run_id", ORDERED, primary_key=True),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("saga", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("launched_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("steps", sa.Text, nullable=False),
        sa.Column("parked", sa.Text, nullable=False),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("saga_run_launched", "saga_run", ["launched_at", "run_id"])
    op.create_index("saga_run_status", "saga_run", ["status", "launched_at", "run_id"])
    op.create_index("saga_run_saga", "saga_run", ["saga", "launched_at", "run_id"])
    op.create_index(
        "saga_run_open",
        "saga_run",
        ["shard"],
        postgresql_where=sa.text("open"),
        sqlite_where=sa.text("open"),
    )
