"""Incidents: what is the matter with the runs that need a person, and when somebody was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column(
        "saga_run",
        sa.Column("incidents", sa.Text, nullable=False, server_default=sa.text("'[]'")),
    )
    op.create_table(
        "saga_incident",
        sa.Column("run_id", ORDERED, primary_key=True),
        sa.Column("step", ORDERED, primary_key=True),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("saga", sa.Text, nullable=False),
        sa.Column("cluster", ORDERED, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("acked", sa.Boolean, nullable=False),
    )
    op.create_index("saga_incident_cluster", "saga_incident", ["cluster", "since", "run_id"])
    op.create_table(
        "saga_notice",
        sa.Column("cluster", ORDERED, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("saga_notice")
    op.drop_table("saga_incident")
    op.drop_column("saga_run", "incidents")
