"""An index of tags, filled from the runs that are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ORDERED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
EACH = {
    "postgresql": "CROSS JOIN LATERAL json_each_text(CAST({tags} AS json)) AS t(key, value)",
    "sqlite": "CROSS JOIN json_each({tags}) AS t",
}
CHARACTER = {"postgresql": "chr(1)", "sqlite": "char(1)"}


def upgrade() -> None:
    op.create_table(
        "saga_run_tag",
        sa.Column("name", ORDERED, primary_key=True),
        sa.Column("value", ORDERED, primary_key=True),
        sa.Column("launched_at", sa.Double, primary_key=True),
        sa.Column("run_id", ORDERED, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.execute(_fill(op.get_context().dialect.name))


def downgrade() -> None:
    op.drop_table("saga_run_tag")


def _fill(database: str) -> str:
    """As ``journal.tags`` writes it: names and values cut, nulls, which PostgreSQL has no text with, replaced."""
    mark = CHARACTER[
        database
    ]  # stands for an escaped backslash: JSON has no raw control characters
    tags = rf"replace(replace(replace(r.tags, '\\', {mark}), '\u0000', '\ufffd'), {mark}, '\\')"
    return f"""
        INSERT INTO saga_run_tag (name, value, launched_at, run_id)
        SELECT substr(t.key, 1, 100), substr(t.value, 1, 300), r.launched_at, r.run_id
        FROM saga_run AS r {EACH[database].format(tags=tags)}
        WHERE r.tags <> '{{}}' ON CONFLICT DO NOTHING"""  # noqa: S608 - made of constants
