"""`saga archive`, and looking into an archive with the commands that look into a journal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.journal.sql import SqlJournal
from tests.contract.archive_samples import DAY, fill
from tests.contract.journal_samples import SHARDS
from tests.tables import make_tables
from tests.unit.cli.stage import Stage

RUNS = [f"run-{number}" for number in range(12)]
YOUNG = [f"young-{number}" for number in range(12)]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    found = f"sqlite:///{tmp_path / 'journal.db'}"
    make_tables(found, SHARDS)
    journal = SqlJournal(found)
    fill(journal, RUNS, ended_at=time.time() - 100 * DAY, keys={"run-3": "order-3"}, last=False)
    fill(journal, YOUNG, ended_at=time.time() - DAY)
    journal.close()
    return found


def saga(url: str, *args: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["--journal", url, *args])
    assert result.exit_code == code, result.output
    return result.output


def told(url: str, *args: str, code: int = 0) -> Any:
    return json.loads(saga(url, "--json", *args, code=code))


def test_a_dry_run_changes_nothing(url: str, tmp_path: Path) -> None:
    assert "12 runs" in saga(url, "archive", "--older-than", "90d", "--dry-run")
    found = told(url, "archive", "--older-than", "90d", "--dry-run")
    assert (found["runs"], found["sagas"]) == (12, {"place_order": 12})
    assert not (tmp_path / "saga-archive").exists()
    assert len(told(url, "list", "--limit", "100")["runs"]) == 24 + SHARDS
    assert "no run ended before" in saga(url, "archive", "--before", "2001-01-01", "--dry-run")


def test_old_runs_are_archived_and_looked_at_again(url: str) -> None:
    before = told(url, "show", "order-3")
    done = told(url, "archive", "--older-than", "90d")
    assert (done["runs"], done["events"], done["kept"]) == (12, 36, {})
    (file,) = done["files"]
    assert {run["run_id"] for run in told(url, "list", "--archive", "saga-archive")["runs"]} == set(
        RUNS
    )
    for path in ("saga-archive", f"saga-archive/{file['file']}"):
        again = told(url, "show", "order-3", "--archive", path)
        assert again["run"] == before["run"]
        assert len(told(url, "events", "run-3", "--archive", path)["events"]) == 3
    assert "reserve" in saga(url, "show", "run-3", "--archive", "saga-archive")
    assert "archived in runs-" in saga(url, "show", "run-3", code=3)
    assert "no run has" in saga(url, "show", "young-1", "--archive", "saga-archive", code=3)


def test_the_check_says_how_much_is_archived(url: str) -> None:
    assert told(url, "journal", "check")["archived"] == {"files": 0, "runs": 0, "events": 0}
    saga(url, "archive", "--older-than", "90d", "--to", "there")
    assert told(url, "journal", "check")["archived"] == {"files": 1, "runs": 12, "events": 36}
    assert "36 events of 12 runs" in saga(url, "journal", "check", "--archive", "there")
    next(Path("there").glob("*.gz")).write_bytes(b"")
    assert told(url, "journal", "check")["ok"]
    assert not told(url, "journal", "check", "--archive", "there", code=1)["ok"]


def test_what_is_asked_for_has_to_be_old_enough(url: str) -> None:
    assert "--older-than 90d" in saga(url, "archive", code=2)
    assert "within the last hour" in saga(url, "archive", "--older-than", "59m", code=2)
    both = told(url, "archive", "--older-than", "2h", "--before", "90d", "--saga", "place_order")
    assert both["runs"] == 12
    assert told(url, "archive", "--older-than", "90d", "--saga", "place_order")["runs"] == 0


def test_a_journal_in_memory_has_no_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    stage = Stage()
    for args in (("archive", "--older-than", "90d"), ("journal", "check", "--archive", "x")):
        result = stage.run(*args)
        assert result.exit_code == 2
        assert "journal in a database" in result.output
