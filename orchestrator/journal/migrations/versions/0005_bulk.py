"""Bulk operations as records of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "saga_bulk",
        sa.Column("id", ORDERED, primary_key=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_index("saga_bulk_created", "saga_bulk", ["created_at"])
    op.create_table(
        "saga_bulk_item",
        sa.Column("bulk", ORDERED, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("run_id", ORDERED, nullable=False),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
    )
    op.create_index("saga_bulk_item_outcome", "saga_bulk_item", ["bulk", "outcome", "position"])


def downgrade() -> None:
    op.drop_table("saga_bulk_item")
    op.drop_table("saga_bulk")
