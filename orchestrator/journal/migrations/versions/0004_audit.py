"""An index of what operators did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

AUDITED = """
    type IN ('StepRetried', 'StepSkipped', 'StepResolved', 'HeuristicForgotten', 'SignalReceived',
        'IncidentAcknowledged', 'RunPaused', 'RunResumed', 'OperationRefused')
    OR (type = 'CompensationStarted' AND actor <> '')
"""


def upgrade() -> None:
    op.create_index(
        "saga_event_audit",
        "saga_event",
        ["at", "shard", "offset"],
        postgresql_where=sa.text(AUDITED),
        sqlite_where=sa.text(AUDITED),
    )


def downgrade() -> None:
    op.drop_index("saga_event_audit", "saga_event")
