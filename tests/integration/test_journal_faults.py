"""The journal's database or its writers die at the worst moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from orchestrator.errors import FencedError, JournalUnavailableError, OutcomeUnknownError
from orchestrator.journal.port import Tenure
from orchestrator.journal.records import TENURE
from orchestrator.journal.sql import SqlJournal
from tests.contract.journal_samples import SHARDS, done, request, row, run_in, started, write
from tests.integration.reply_thief import ReplyThief
from tests.servers import Postgres
from tests.tables import make_tables
from tests.waiting import eventually

RUN = run_in(0)
WRITER = Path(__file__).parent / "journal_writer.py"


@pytest.fixture
def journal(postgres_url: str) -> Iterator[SqlJournal]:
    make_tables(postgres_url, SHARDS)
    found = SqlJournal(postgres_url)
    yield found
    found.close()


def lost_while_writing(journal: SqlJournal, tenure: Tenure) -> list[BaseException]:
    """End the server's side of an append that is under way, held up by a lock."""
    raised: list[BaseException] = []

    def append() -> None:
        try:
            journal.append([write(tenure, [(RUN, done())])])
        except Exception as error:  # noqa: BLE001 - the caller looks at it
            raised.append(error)

    blocked = text(
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%held AS%'"
        " AND datname = current_database()"
    )
    with journal.engine.connect() as connection, journal.engine.connect() as watcher:
        connection.execute(text("SELECT 1 FROM saga_shard WHERE shard = 0 FOR UPDATE"))
        thread = threading.Thread(target=append)
        thread.start()

        def pid_of_blocked() -> int | None:
            watcher.rollback()
            return watcher.execute(blocked).scalar()

        pid = eventually(pid_of_blocked)
        watcher.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        thread.join(30)
    return raised


def test_a_connection_lost_in_an_append_is_an_unknown_outcome(journal: SqlJournal) -> None:
    tenure = started(journal, RUN)
    (error,) = lost_while_writing(journal, tenure)
    assert isinstance(error, OutcomeUnknownError)
    assert journal.end(0) + 1 == tenure.next_offset
    again = journal.begin_tenure(0, "one", 3.0)
    journal.append([write(again, [(RUN, done())])])
    assert list(journal.verify()) == []


def test_a_commit_whose_answer_was_lost_is_read_back(
    journal: SqlJournal, postgres_url: str
) -> None:
    tenure = started(journal, RUN)
    with ReplyThief(make_url(postgres_url).port or 0) as thief:
        through = SqlJournal(make_url(postgres_url).set(port=thief.port))
        assert through.inbox([0], {}, 1) == []
        thief.steal_next()
        with pytest.raises(OutcomeUnknownError):
            through.append([write(tenure, [(RUN, done())])])
        assert through.end(0) == tenure.next_offset
        with pytest.raises(FencedError):
            through.append([write(tenure, [(RUN, done())])])
        again = through.begin_tenure(0, "one", 3.0)
        assert again.next_offset == tenure.next_offset + 2
        through.launch([request("early")])  # from here on a launch is one statement
        thief.steal_next()
        with pytest.raises(OutcomeUnknownError):
            through.launch([request("late", key="k")])
        assert [made.run_id for made in through.launch([request("late", key="k")])] == ["late"]
        through.close()
    assert [r.type for r in journal.feed(0, 0, 10)][-2:] == ["StepSucceeded", TENURE]


def test_a_restarted_server_is_found_again(own_postgres: Postgres) -> None:
    make_tables(own_postgres.url, SHARDS)
    journal = SqlJournal(own_postgres.url, retry_s=0.3)
    tenure = started(journal, RUN)
    own_postgres.kill()
    with pytest.raises(OutcomeUnknownError):
        journal.append([write(tenure, [(RUN, done())])])
    for use in (
        lambda: journal.append([write(tenure, [(RUN, done())])]),
        lambda: journal.inbox([0], {}, 1),
        lambda: journal.begin_tenure(0, "one", 1.0),
        lambda: journal.launch([request("two")]),
        lambda: journal.find("two"),
    ):
        with pytest.raises(JournalUnavailableError, match="can't be used now"):
            use()
    own_postgres.restart()
    assert journal.end(0) + 1 == tenure.next_offset
    tenure = journal.begin_tenure(0, "one", 3.0)
    journal.append([write(tenure, [(RUN, done())])])
    assert list(journal.verify()) == []
    journal.close()


def test_a_read_outlives_a_restart(own_postgres: Postgres) -> None:
    make_tables(own_postgres.url, SHARDS)
    journal = SqlJournal(own_postgres.url, retry_s=60.0)
    started(journal, RUN)
    assert journal.find(RUN).status == "running"
    own_postgres.kill()
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(journal.find(RUN).status))
    thread.start()
    own_postgres.restart()
    thread.join(60)
    assert found == ["running"]
    journal.close()


class TestProcesses:
    """Writers in processes of their own, killed."""

    @pytest.fixture(params=["sqlite", "postgresql"])
    def url(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path / 'journal.db'}"
        else:
            url = str(request.getfixturevalue("postgres_url"))
        make_tables(url, SHARDS)
        return url

    def test_a_killed_writer_leaves_whole_turns(self, url: str) -> None:
        journal = SqlJournal(url)
        for round_ in range(2):
            writer = _writer(url, shard=0)
            before = journal.end(0)
            eventually(lambda before=before: journal.end(0) > before + 20, 60)  # type: ignore[misc]
            writer.send_signal(signal.SIGKILL)
            writer.wait(30)
            assert list(journal.verify()) == [], round_
            tenure = journal.begin_tenure(0, "next", 1.0)
            log = journal.feed(0, 0, 100_000)
            assert [record.offset for record in log] == list(range(1, tenure.next_offset))
            turns = [record.at for record in log if record.type == "StepSucceeded"]
            assert len(turns) % 2 == 0, "a turn of two events is there whole or not at all"
            assert journal.find(RUN).updated_at == turns[-1]
        journal.close()

    def test_processes_share_one_database(self, url: str) -> None:
        journal = SqlJournal(url)
        writers = [_writer(url, shard=shard, turns=40) for shard in (0, 1)]
        for number in range(40):
            journal.launch([request(f"run-{number}", key=f"k{number}")])
        assert [writer.wait(100) for writer in writers] == [0, 0]
        assert list(journal.verify()) == []
        for shard in (0, 1):
            log = journal.feed(shard, 0, 10_000)
            assert sum(record.type == "StepSucceeded" for record in log) == 80
        assert len(journal.inbox(range(SHARDS), {}, 100)) == 40
        journal.close()

    def test_a_paused_process_that_wakes_up_can_append_nothing(self, url: str) -> None:
        journal = SqlJournal(url)
        writer = _writer(url, shard=0)
        eventually(lambda: journal.end(0) > 10, 60)
        writer.send_signal(signal.SIGSTOP)
        try:
            if url.startswith("postgresql"):  # on SQLite it may hold the file's only write lock
                tenure = journal.begin_tenure(0, "next", 1.0)
                writer.send_signal(signal.SIGCONT)
            else:
                writer.send_signal(signal.SIGCONT)
                tenure = journal.begin_tenure(0, "next", 1.0)
            assert writer.wait(60) == 3, "fenced"
            assert journal.end(0) == tenure.next_offset - 1
        finally:
            writer.kill()
            writer.wait(30)
        assert list(journal.verify()) == []
        journal.close()


def test_rows_of_a_lost_turn_are_lost_with_it(journal: SqlJournal) -> None:
    tenure = started(journal, RUN)
    journal.begin_tenure(0, "two", 2.0)
    with pytest.raises(FencedError):
        journal.append([write(tenure, [(RUN, done())], [row(RUN, status="completed")])])
    assert journal.find(RUN).status == "running"


def _writer(url: str, shard: int, turns: int = 1_000_000) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), url, str(shard), str(turns)],
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
