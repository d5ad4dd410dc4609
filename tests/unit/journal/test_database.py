"""Which databases a journal can be kept in, and what is said about the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine

from orchestrator.errors import JournalUnavailableError, SettingsError
from orchestrator.journal.sql import SqlJournal
from tests.servers.base import free_port


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql+pymysql://root@localhost/x", "PostgreSQL or SQLite, not in mysql"),
        ("sqlite://", "MemoryJournal"),
        ("sqlite:///:memory:", "MemoryJournal"),
        ("nonsense", "URL"),
        ("nonsense://x", "URL|not in nonsense"),
    ],
)
def test_a_database_that_can_not_hold_a_journal_is_refused(url: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        SqlJournal(url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_postgresql_means_psycopg_3(scheme: str) -> None:
    journal = SqlJournal(f"{scheme}://ann@localhost/x")
    assert journal.engine.dialect.driver == "psycopg"
    journal.close()


def test_sqlite_is_durable_and_shared(tmp_path: Path) -> None:
    theirs = create_engine(f"sqlite:///{tmp_path / 'journal.db'}")
    journal = SqlJournal(theirs)
    assert journal.engine is not theirs
    with journal.engine.connect() as connection:
        asked = ["journal_mode", "synchronous", "busy_timeout"]
        told = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
    assert told == ["wal", 2, 10_000]
    journal.close()


def test_a_database_that_is_not_there_is_named_without_its_password() -> None:
    url = f"postgresql://ann:secret@127.0.0.1:{free_port()}/x"
    journal = SqlJournal(url, retry_s=0.2)
    for use in (
        journal.counts,
        lambda: journal.inbox([0], {}, 1),
        lambda: journal.begin_tenure(0, "one", 1.0),
    ):
        with pytest.raises(JournalUnavailableError, match=r"ann:\*\*\*@127.0.0.1") as error:
            use()
        assert "secret" not in str(error.value)
    journal.close()


def test_a_file_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path / 'no' / 'journal.db'}", retry_s=0.1)
    with pytest.raises(JournalUnavailableError, match="unable to open"):
        journal.counts()
    journal.close()
