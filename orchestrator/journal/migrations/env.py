"""Run by alembic for every upgrade: on the connection handed in, or as SQL for a dialect."""

from __future__ import annotations

from alembic import context

from orchestrator.journal.schema import METADATA, VERSION_TABLE
from orchestrator.journal.schema_options import complete

complete()
attributes = context.config.attributes
connection = attributes.get("connection")
if connection is not None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        version_table=VERSION_TABLE,
        transactional_ddl=True,
    )
else:
    context.configure(
        dialect_name=attributes["dialect"],
        target_metadata=METADATA,
        version_table=VERSION_TABLE,
        literal_binds=True,
    )
with context.begin_transaction():
    context.run_migrations()
