"""Runs that were archived: found by id and key, shown from their file, changed by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from orchestrator.client import Client, ClientOptions
from orchestrator.console import ConsoleOptions, Role, console
from orchestrator.journal.archive_removal import Wanted
from orchestrator.journal.archiving import Archiver
from orchestrator.journal.sql import SqlJournal
from tests.contract.archive_samples import DAY, NOW, fill
from tests.contract.journal_samples import SHARDS, run_in
from tests.tables import make_tables
from tests.unit.console.desks import NARROW, PEER, SECRETS, TOKENS
from tests.unit.console.test_pages import text_of

GONE = run_in(0, number=1)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, SHARDS)
    with closing(SqlJournal(url)) as opened:
        fill(opened, [GONE], keys={GONE: "order-7"})
        [step] = Archiver(opened, tmp_path / "kept", clock=lambda: NOW).run(Wanted(NOW - 90 * DAY))
        assert step.removed.runs == 1
        yield opened


def http(journal: SqlJournal, folder: Path | str, who: Role | str = Role.OPERATOR) -> TestClient:
    def clients(actor: str) -> Client:
        return Client(journal, {}, options=ClientOptions(actor), clock=lambda: NOW)

    options = ConsoleOptions(tokens=(*TOKENS, NARROW), archive_folder=str(folder))
    secret = SECRETS[who] if isinstance(who, Role) else who
    return TestClient(
        console(journal, clients, {}, options, clock=lambda: NOW),
        base_url="http://localhost",
        headers={"Authorization": f"Bearer {secret}"},
        client=PEER,
    )


def test_its_page_shows_all_of_it_where_it_is_kept_and_no_action(
    journal: SqlJournal, tmp_path: Path
) -> None:
    client = http(journal, tmp_path / "kept")
    [file] = (path.name for path in (tmp_path / "kept").glob("*.jsonl.gz"))
    for name in (GONE, GONE[:10], "order-7"):
        page = client.get(f"/runs/{name}")
        assert page.status_code == 200
        text = text_of(page.text)
        assert f"Archived. It is kept in {file} in {tmp_path}/kept" in text
        assert "run completed" in text
        assert "/act/" not in page.text
        assert "data-stream" not in page.text
    earlier = text_of(client.get(f"/runs/{GONE}?after=1").text)
    assert "As it was after event 1 of 3" in earlier
    assert "run completed" not in earlier


def test_the_api_tells_it_and_refuses_to_change_it(journal: SqlJournal, tmp_path: Path) -> None:
    client = http(journal, tmp_path / "kept")
    seen = client.get(f"/api/v1/runs/{GONE}").json()
    assert seen["run"]["status"] == "completed"
    assert seen["archived"]["file"].endswith(".jsonl.gz")
    assert len(client.get(f"/api/v1/runs/{GONE}/events").json()["events"]) == 3
    assert client.get(f"/api/v1/runs/{GONE}/drawing").status_code == 200
    refused = client.post(f"/api/v1/runs/{GONE}/retry", json={})
    assert refused.status_code == 404
    assert "archived in" in refused.json()["error"]["message"]
    assert client.get(f"/api/v1/runs/{GONE}/stream").status_code == 404


def test_a_search_for_its_name_leads_to_it(journal: SqlJournal, tmp_path: Path) -> None:
    client = http(journal, tmp_path / "kept")
    for query in (f"text={GONE}", "text=order-7", "key=order-7"):
        page = client.get(f"/runs?{query}").text
        assert f'href="/runs/{GONE}"' in page
        assert "which is completed" in text_of(page)
    assert "Of this name" not in client.get("/runs?text=order-8").text


def test_values_stay_hidden_from_viewers_and_others_runs_from_who_may_not_see_them(
    journal: SqlJournal, tmp_path: Path
) -> None:
    viewer = http(journal, tmp_path / "kept", Role.VIEWER)
    assert GONE not in str(viewer.get(f"/api/v1/runs/{GONE}/events").json()["events"][1]["event"])
    narrow = http(journal, tmp_path / "kept", "narrow")  # of the saga "shop" alone
    seen = narrow.get(f"/api/v1/runs/{GONE}")
    assert seen.status_code == 404
    assert "archived" not in seen.text
    assert "archived" not in narrow.post(f"/api/v1/runs/{GONE}/retry", json={}).text
    assert "Of this name" not in narrow.get(f"/runs?text={GONE}").text


def test_a_file_that_cannot_be_read_is_said_to_be(journal: SqlJournal, tmp_path: Path) -> None:
    page = http(journal, tmp_path / "elsewhere").get(f"/runs/{GONE}")
    assert page.status_code == 404
    assert "archived in" in text_of(page.text)
    assert "this console can" in text_of(page.text)
    without = http(journal, "").get(f"/api/v1/runs/{GONE}")
    assert "this console has no archive folder" in without.json()["error"]["message"]
    narrow = http(journal, tmp_path / "elsewhere", "narrow").get(f"/runs/{GONE}")
    assert "archived" not in narrow.text
