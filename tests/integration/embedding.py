"""A whole orchestrator in this process, for tests that bring their own sagas and participants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from orchestrator import Saga, Service
from orchestrator.client import Run
from orchestrator.coordinator.metering import Meter
from orchestrator.journal.port import Journal
from orchestrator.settings import Settings
from orchestrator.wiring import Definitions, Embedded, embedded
from tests.waiting import eventually


@contextmanager
def embedding(
    journal: Journal | str,
    sagas: list[Saga[..., Any]],
    *services: Service,
    meter: Meter | None = None,
    **settings: Any,
) -> Iterator[Embedded]:
    """Run these sagas on these services. ``journal``: one that is there, or the URL of one to make or to go on with."""
    given: dict[str, Any] = {"shards": 2, "poll_s": 0.05, **settings}
    definitions = Definitions({saga.name: saga for saga in sagas}, list(services))
    own = None if isinstance(journal, str) else journal
    if isinstance(journal, str):
        given["journal_url"] = journal
    try:
        with embedded(definitions, Settings(**given), journal=own, meter=meter) as it:
            yield it
    finally:
        for service in services:
            service.dispose()


def made(url: str, *statements: str) -> str:
    """The same URL, once its database has these tables."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
    return url


def asked(url: str, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return rows


def ended(run: Run[Any], timeout_s: float = 60) -> str:
    """How a run has ended, or ``stuck``."""

    def how() -> str:
        status = run.summary().status
        return status if status in {"completed", "compensated", "stuck"} else ""

    return eventually(how, timeout_s, what=f"the end of {run}")


def types(it: Embedded, run: Run[Any]) -> list[str]:
    """A run's events by type."""
    return [record.type for record in it.client.history(run.id)]


def file_url(folder: Path, name: str) -> str:
    """A SQLite database in a folder."""
    return f"sqlite:///{folder}/{name}.db"
