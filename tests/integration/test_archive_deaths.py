"""An archiver is killed at every point where it touches disk or database; the next one comes to the same end."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import archiving
from orchestrator.journal.archive_check import archive_faults
from orchestrator.journal.archive_folder import ArchivedRuns, manifests
from orchestrator.journal.archive_removal import Wanted
from orchestrator.journal.archiving import ArchiveLimits, Archiver
from orchestrator.journal.database import Database
from orchestrator.journal.port import RunFilter
from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.upgrade import upgrade
from orchestrator.views.read_model import differences
from tests.contract.archive_samples import DAY, NOW, fill, open_in
from tests.contract.journal_samples import SHARDS

RUNS = [f"run-{number}" for number in range(6)]
OLD = Wanted(before=NOW - 90 * DAY)


def archive(journal: SqlJournal, folder: Path) -> int:
    limits = ArchiveLimits(runs=7)
    one = Archiver(journal, folder, limits=limits, clock=lambda: NOW, pause=lambda _: None)
    return sum(step.removed.runs for step in one.run(OLD))


def dying(point: int) -> Callable[[Any], Any]:
    """Wrap calls, so that the process is killed at the ``point``-th moment before or after one of them."""
    passed = 0

    def moment() -> None:
        nonlocal passed
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(call: Any) -> Any:
        @wraps(call)
        def watched(*args: Any, **options: Any) -> Any:
            moment()
            result = call(*args, **options)
            moment()
            return result

        return watched

    return wrapped


def killed_at(point: int, url: str, folder: Path) -> bool:
    """Archive in a process that dies at a point; False if it came to the end before."""
    child = os.fork()
    if child == 0:
        wrapped = dying(point)
        os.fsync = wrapped(os.fsync)
        Path.replace = wrapped(Path.replace)  # type: ignore[method-assign]
        Database.write = wrapped(Database.write)  # type: ignore[method-assign]
        try:
            archive(SqlJournal(url), folder)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - nothing of the parent may run here
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def whole(journal: SqlJournal, folder: Path) -> set[str]:
    """The runs of the journal and of the archive together; nothing may be wrong with either."""
    assert [*journal.verify(), *differences(journal)] == []
    found = {run.run_id for run in journal.runs(RunFilter(), None, 100).runs}
    if folder.exists():
        assert list(archive_faults(journal, folder)) == []
    if folder.exists() and manifests(folder):
        found |= {run.run_id for run in ArchivedRuns(folder).runs(RunFilter(), None, 100).runs}
    return found


@pytest.mark.timeout(300)
def test_killed_at_any_point_nothing_is_lost_and_the_next_one_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "_CHUNK", 2)
    template = tmp_path / "template.db"
    upgrade(f"sqlite:///{template}", shards=SHARDS)
    filled = SqlJournal(f"sqlite:///{template}")
    fill(filled, RUNS)
    filled.close()  # no connection is taken along into a child
    everything = {*RUNS, *(open_in(shard) for shard in range(SHARDS))}
    point = 0
    died = True
    while died:
        point += 1
        folder, database = tmp_path / f"to-{point}", tmp_path / f"{point}.db"
        shutil.copy(template, database)
        died = killed_at(point, f"sqlite:///{database}", folder)
        journal = SqlJournal(f"sqlite:///{database}")
        assert whole(journal, folder) == everything
        archive(journal, folder)
        assert whole(journal, folder) == everything
        left = {run.run_id for run in journal.runs(RunFilter(), None, 100).runs}
        assert left.isdisjoint(RUNS)
        journal.close()
    assert point > 20
