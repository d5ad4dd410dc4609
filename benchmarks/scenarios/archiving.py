"""What appends feel of an archiver that removes runs beside them, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.figure import Figure, quantile
from benchmarks.size import Size
from benchmarks.stack import Servers
from orchestrator.journal.port import ShardWrite, Tenure
from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.upgrade import upgrade
from orchestrator.kernel.events import Event
from tests.contract.archive_samples import DAY, fill
from tests.contract.journal_samples import SHARDS, done, launched, run_in

_EVENTS = 20
_QUIET_S = 5.0
_BATCH = 1_000


def beside_appends(servers: Servers, size: Size) -> Iterator[Figure]:
    """The 99th percentile of an append's time while runs are archived, against the same without."""
    with servers.postgres.database() as url:
        yield _figure("append_while_archiving_postgresql", url, servers.folder / "pg", size)
    url = f"sqlite:///{servers.folder / 'archiving.db'}"
    yield _figure("append_while_archiving_sqlite", url, servers.folder / "lite", size)


def _figure(name: str, url: str, folder: Path, size: Size) -> Figure:
    upgrade(url, shards=SHARDS)
    journal = SqlJournal(url)
    for start in range(0, size.archived_runs, _BATCH):
        runs = [f"old-{number}" for number in range(start, start + _BATCH)]
        fill(journal, runs, ended_at=time.time() - 100 * DAY, last=False)
    writer = _Writer(journal)
    until = time.perf_counter() + _QUIET_S
    quiet = writer.append_while(lambda: time.perf_counter() < until)
    command = ["-m", "orchestrator.cli", "--journal", url, "archive", "--older-than", "90d"]
    began = time.perf_counter()
    archiver = subprocess.Popen([sys.executable, *command, "--to", str(folder)])
    busy = writer.append_while(lambda: archiver.poll() is None)
    took_s = time.perf_counter() - began
    gone = journal.archives()
    journal.close()
    if archiver.returncode or gone.runs < size.archived_runs - SHARDS:
        raise RuntimeError(f"only {gone.runs} of {size.archived_runs} runs were archived")
    settings = {
        "archived_runs_per_s": round(gone.runs / took_s),
        "events_per_append": _EVENTS,
        "p50_ms": _ms(busy, 0.5),
        "p50_ms_without": _ms(quiet, 0.5),
        "longest_ms": _ms(busy, 1.0),
        "longest_ms_without": _ms(quiet, 1.0),
        "appends": len(busy),
    }
    ours, peer = _ms(busy, 0.99), _ms(quiet, 0.99)
    return Figure(name, ours, "ms, p99 of an append", settings, peer=peer, ratio=ours / peer)


class _Writer:
    """A coordinator's turns in one shard, one after another."""

    def __init__(self, journal: SqlJournal) -> None:
        self._journal = journal
        self._run = run_in(0, number=500)
        tenure = journal.begin_tenure(0, "bench", time.time())
        self._tenure = self._append(tenure, [(self._run, launched(self._run, at=time.time()))])

    def append_while(self, wanted: Callable[[], bool]) -> list[float]:
        """Append; returns how long each took, in seconds."""
        took: list[float] = []
        while wanted():
            events = [(self._run, done(at=time.time())) for _ in range(_EVENTS)]
            began = time.perf_counter()
            self._tenure = self._append(self._tenure, events)
            took.append(time.perf_counter() - began)
        return took

    def _append(self, tenure: Tenure, events: Sequence[tuple[str, Event]]) -> Tenure:
        return self._journal.append(
            [ShardWrite(tenure, events, [], [], tenure.next_offset - 1, 0.0)]
        )[0]


def _ms(values: list[float], share: float) -> float:
    return round(quantile(values, share) * 1_000, 2)
