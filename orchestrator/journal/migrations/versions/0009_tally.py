"""How many runs have ended, counted from those that are there; one index by saga and status, in order of launch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
FILL = """
    INSERT INTO saga_tally (shard, saga, status, archived, runs)
    SELECT shard, saga, status, {no}, count(*) FROM saga_run WHERE NOT saga_run.open
    GROUP BY shard, saga, status"""
NO = {"postgresql": "false", "sqlite": "0"}


def upgrade() -> None:
    op.create_table(
        "saga_tally",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("saga", ORDERED, primary_key=True),
        sa.Column("status", ORDERED, primary_key=True),
        sa.Column("archived", sa.Boolean, primary_key=True, autoincrement=False),
        sa.Column("runs", sa.BigInteger, nullable=False),
        postgresql_with={"fillfactor": 10},
    )
    op.execute(FILL.format(no=NO[op.get_context().dialect.name]))
    op.drop_index("saga_run_saga", "saga_run")
    op.drop_index("saga_run_saga_status", "saga_run")
    op.create_index("saga_run_saga_status", "saga_run", ["saga", "status", "launched_at", "run_id"])


def downgrade() -> None:
    op.drop_index("saga_run_saga_status", "saga_run")
    op.create_index("saga_run_saga_status", "saga_run", ["saga", "status"])
    op.create_index("saga_run_saga", "saga_run", ["saga", "launched_at", "run_id"])
    op.drop_table("saga_tally")
