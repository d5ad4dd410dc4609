"""Archives: which runs were moved to files, and where the log goes on behind them; an index for counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "saga_archive",
        sa.Column("id", COUNTER, primary_key=True, autoincrement=True),
        sa.Column("name", ORDERED, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("runs", sa.BigInteger, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("name", name="saga_archive_name"),
    )
    op.create_table(
        "saga_archived_run",
        sa.Column("run_id", ORDERED, primary_key=True),
        sa.Column("archive", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
    )
    op.create_table(
        "saga_anchor",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("saga_run_saga_status", "saga_run", ["saga", "status"])
    op.create_index(
        "saga_run_ended",
        "saga_run",
        ["ended_at", "run_id"],
        postgresql_where=sa.text("NOT open"),
        sqlite_where=sa.text("NOT open"),
    )


def downgrade() -> None:
    for index in ("saga_run_ended", "saga_run_saga_status"):
        op.drop_index(index, "saga_run")
    for table in ("saga_anchor", "saga_archived_run", "saga_archive"):
        op.drop_table(table)
