"""The index of what operators did has what people did to prepared branches and to bulk operations, too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

BEFORE = """
    type IN ('StepRetried', 'StepSkipped', 'StepResolved', 'HeuristicForgotten', 'SignalReceived',
        'IncidentAcknowledged', 'RunPaused', 'RunResumed', 'HoldPlaced', 'HoldReleased',
        'BudgetSet', 'OperationRefused',
        'ApprovalAsked', 'ApprovalGiven', 'ApprovalDenied')
    OR (type = 'CompensationStarted' AND actor <> '')
"""

AUDITED = """
    type IN ('StepRetried', 'StepSkipped', 'StepResolved', 'HeuristicForgotten', 'SignalReceived',
        'IncidentAcknowledged', 'RunPaused', 'RunResumed', 'HoldPlaced', 'HoldReleased',
        'BudgetSet', 'OperationRefused',
        'ApprovalAsked', 'ApprovalGiven', 'ApprovalDenied', 'BranchAsked', 'BranchRuled',
        'BulkSteered')
    OR (type = 'CompensationStarted' AND actor <> '')
"""


def upgrade() -> None:
    _index(AUDITED)


def downgrade() -> None:
    _index(BEFORE)


def _index(audited: str) -> None:
    op.drop_index("saga_event_audit", "saga_event")
    op.create_index(
        "saga_event_audit",
        "saga_event",
        ["at", "shard", "offset"],
        postgresql_where=sa.text(audited),
        sqlite_where=sa.text(audited),
    )
