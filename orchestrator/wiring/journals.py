"""The journal of the settings."""

from __future__ import annotations

from orchestrator.journal.schema_check import check_schema
from orchestrator.journal.sql import SqlJournal
from orchestrator.settings import Settings


def open_journal(settings: Settings) -> SqlJournal:
    """The journal; its schema must be this release's. Raises ``SchemaError`` naming the command that mends it."""
    return SqlJournal(settings.journal_url)


def check_journal(settings: Settings) -> None:
    """Raise ``SchemaError`` unless the journal has this release's schema."""
    journal = SqlJournal(settings.journal_url)
    try:
        check_schema(journal.engine)
    finally:
        journal.close()
