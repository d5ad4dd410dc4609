"""Holds of sagas and services; the index of what operators did has them too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BEFORE = """
    type IN ('StepRetried', 'StepSkipped', 'StepResolved', 'HeuristicForgotten', 'SignalReceived',
        'IncidentAcknowledged', 'RunPaused', 'RunResumed', 'OperationRefused')
    OR (type = 'CompensationStarted' AND actor <> '')
"""
AUDITED = """
    type IN ('StepRetried', 'StepSkipped', 'StepResolved', 'HeuristicForgotten', 'SignalReceived',
        'IncidentAcknowledged', 'RunPaused', 'RunResumed', 'HoldPlaced', 'HoldReleased',
        'BudgetSet', 'OperationRefused')
    OR (type = 'CompensationStarted' AND actor <> '')
"""


def upgrade() -> None:
    op.create_table(
        "saga_hold",
        sa.Column("id", ORDERED, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", ORDERED, nullable=False),
        sa.Column("placed_at", sa.Double, nullable=False),
        sa.Column("in_force", sa.Boolean, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_index(
        "saga_hold_in_force",
        "saga_hold",
        ["kind", "name"],
        unique=True,
        postgresql_where=sa.text("in_force"),
        sqlite_where=sa.text("in_force"),
    )
    _audited(AUDITED)


def downgrade() -> None:
    op.drop_table("saga_hold")
    _audited(BEFORE)


def _audited(condition: str) -> None:
    op.drop_index("saga_event_audit", "saga_event")
    op.create_index(
        "saga_event_audit",
        "saga_event",
        ["at", "shard", "offset"],
        postgresql_where=sa.text(condition),
        sqlite_where=sa.text(condition),
    )
