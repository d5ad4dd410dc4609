"""A million finished runs: how long lists, filters and figures take, on PostgreSQL and on SQLite."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.figure import Figure, Target
from benchmarks.million import DAYS, fill
from benchmarks.size import Size
from benchmarks.stack import Servers
from orchestrator.journal.listing import write_cursor
from orchestrator.journal.port import RunFilter
from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.upgrade import upgrade
from orchestrator.views.pulse import pulse
from orchestrator.views.statistics import statistics as figures

_TRIES = 9
_DAY = 86_400.0
_LIMIT_MS = 100.0


def finding(servers: Servers, size: Size) -> Iterator[Figure]:
    """The slowest question of each database, with all of them in the settings."""
    with servers.postgres.database() as url:
        yield _figure("million_runs_postgresql", url, size)
    url = f"sqlite:///{servers.folder / 'million.db'}"
    yield _figure("million_runs_sqlite", url, size)


def questions(journal: SqlJournal, now: float) -> dict[str, Callable[[], Any]]:
    """What operators, the console and coordinators ask, by name."""
    shards = journal.shards()
    middle = journal.runs(RunFilter(launched_before=now - DAYS / 2 * _DAY), None, 1).runs[0]
    newest = journal.runs(RunFilter(status=("completed",)), None, 1).runs[0]
    deep = write_cursor(middle)

    def listed(cursor: str | None = None, **where: Any) -> Callable[[], Any]:
        return lambda: journal.runs(RunFilter(**where), cursor, 50)

    return {
        "list": listed(),
        "list, deep page": listed(deep),
        "list --status completed": listed(status=("completed",)),
        "list --status stuck": listed(status=("stuck",)),
        "list --status of two": listed(status=("stuck", "compensated")),
        "list --saga": listed(saga="transfer"),
        "list --saga, deep page": listed(deep, saga="transfer"),
        "list --saga --status": listed(saga="transfer", status=("compensated",)),
        "list --saga --status, none": listed(saga="transfer", status=("accepted",)),
        "list --tag": listed(tags={"region": "4"}),
        "list --saga --text, none": listed(saga="transfer", text="nowhere to be found"),
        "list --tag --text, none": listed(tags={"region": "4"}, text="nowhere to be found"),
        "list --sagas": listed(sagas=("transfer", "refund")),
        "list --tag, none": listed(tags={"region": "nowhere"}),
        "list --key": listed(key=middle.key),
        "list --since": listed(launched_after=now - _DAY),
        "list --older": listed(launched_before=now - 90 * _DAY),
        "list --stuck": listed(stuck=True),
        "list --step": listed(step="charge"),
        "list --text": listed(text="declined"),
        "list --text, none": listed(text="nowhere to be found"),
        "find by id": lambda: journal.find(middle.run_id),
        "find by prefix": lambda: journal.find(newest.run_id[:20]),
        "find by key": lambda: journal.find(f"{middle.saga}:{middle.key}"),
        "counts": journal.counts,
        "stats": lambda: figures(journal, shards, now, 900.0),
        "pulse of an hour": lambda: pulse(journal, shards, now, 60),
        "open runs": lambda: [journal.open_runs(shard) for shard in range(shards)],
    }


def timed(journal: SqlJournal, now: float) -> dict[str, float]:
    """Each question's median time in milliseconds, the first try apart, which warms up."""
    found: dict[str, float] = {}
    for name, ask in questions(journal, now).items():
        ask()
        took: list[float] = []
        for _ in range(_TRIES):
            began = time.perf_counter()
            ask()
            took.append((time.perf_counter() - began) * 1_000)
        found[name] = round(statistics.median(took), 1)
    return found


def _figure(name: str, url: str, size: Size) -> Figure:
    upgrade(url)
    journal = SqlJournal(url)
    now = time.time()
    try:
        with journal.engine.begin() as connection:
            fill(connection, size.finished_runs, journal.shards(), now)
        _analyze(journal)
        took = timed(journal, now)
    finally:
        journal.close()
    settings = {"runs": size.finished_runs, "ms": took}
    target = Target(_LIMIT_MS, "less")
    return Figure(name, max(took.values()), "ms, the slowest question", settings, target=target)


def _analyze(journal: SqlJournal) -> None:
    """What the database does by itself in the background, in time."""
    engine = journal.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        kind = connection.dialect.name
        connection.exec_driver_sql("VACUUM ANALYZE" if kind == "postgresql" else "ANALYZE")
