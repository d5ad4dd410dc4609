"""Fixtures of the contract suites: one per port, parametrized over its implementations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.port import Journal
from orchestrator.journal.sql import SqlJournal
from tests.contract.journal_samples import SHARDS
from tests.tables import make_tables


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlJournal]:
    """A journal whose tables the test can get at."""
    with _opened(request, tmp_path) as journal:
        yield journal


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    """Every journal there is."""
    if request.param == "memory":
        yield MemoryJournal(SHARDS)
        return
    with _opened(request, tmp_path) as opened:
        yield opened


@contextmanager
def _opened(request: pytest.FixtureRequest, folder: Path) -> Iterator[SqlJournal]:
    url = (
        f"sqlite:///{folder / 'journal.db'}"
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_url")
    )
    make_tables(url, SHARDS)
    journal = SqlJournal(url)
    try:
        yield journal
    finally:
        journal.close()
