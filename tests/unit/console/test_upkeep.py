"""Upkeep over HTTP: a journal is checked, and finished runs are moved to files, a line of JSON at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from orchestrator.client import Client, ClientOptions
from orchestrator.console import ConsoleOptions, Role, console
from orchestrator.errors import RunArchivedError
from orchestrator.journal.sql import SqlJournal
from tests.contract.archive_samples import DAY, NOW, fill
from tests.contract.journal_samples import SHARDS, run_in
from tests.tables import make_tables
from tests.unit.console.desks import PEER, SECRETS, TOKENS

OLD = run_in(0, number=1)
MONTHS = {"older_than_s": 90 * DAY}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, SHARDS)
    with closing(SqlJournal(url)) as opened:
        fill(opened, [OLD])
        yield opened


def http(journal: SqlJournal, folder: Path | str) -> TestClient:
    def clients(actor: str) -> Client:
        return Client(journal, {}, options=ClientOptions(actor), clock=lambda: NOW)

    options = ConsoleOptions(tokens=TOKENS, archive_folder=str(folder))
    return TestClient(
        console(journal, clients, {}, options, clock=lambda: NOW),
        base_url="http://localhost",
        headers={"Authorization": f"Bearer {SECRETS[Role.ADMIN]}"},
        client=PEER,
    )


def lines(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [msgspec.json.decode(line) for line in answer.content.splitlines()]


def test_finished_runs_are_moved_and_told_of_file_by_file(
    journal: SqlJournal, tmp_path: Path
) -> None:
    client = http(journal, tmp_path / "kept")
    (there,) = lines(client.post("/api/v1/archive", json={**MONTHS, "dry_run": True}))
    assert (there["done"], there["runs"]) == (True, 1)
    assert journal.find(OLD).run_id == OLD
    file, end = lines(client.post("/api/v1/archive", json=MONTHS))
    assert (file["runs"], end["done"], end["runs"], end["kept"]) == (1, True, 1, {})
    assert len(list((tmp_path / "kept").glob("*.jsonl.gz"))) == 1
    with pytest.raises(RunArchivedError):
        journal.find(OLD)


def test_only_runs_of_the_saga_that_is_named_are_moved(journal: SqlJournal, tmp_path: Path) -> None:
    client = http(journal, tmp_path / "kept")
    asked = {**MONTHS, "saga": "another", "dry_run": True}
    assert lines(client.post("/api/v1/archive", json=asked))[0]["runs"] == 0


def test_what_can_not_be_archived_is_refused_before_anything_is_told(
    journal: SqlJournal, tmp_path: Path
) -> None:
    young = http(journal, tmp_path / "kept").post("/api/v1/archive", json={"older_than_s": 60})
    assert (young.status_code, young.json()["error"]["type"]) == (422, "InvalidInputError")
    nowhere = http(journal, "").post("/api/v1/archive", json=MONTHS)
    assert "archive_folder" in nowhere.json()["error"]["message"]


def test_a_journal_that_was_tampered_with_is_found_out(journal: SqlJournal, tmp_path: Path) -> None:
    client = http(journal, tmp_path)
    assert [line["ok"] for line in lines(client.get("/api/v1/journal/check"))] == [True]
    with journal.engine.begin() as connection:
        connection.execute(text("UPDATE saga_event SET actor = 'somebody else'"))
    *findings, end = lines(client.get("/api/v1/journal/check"))
    assert findings
    assert (end["done"], end["ok"]) == (True, False)
