"""Branches that are prepared transactions when things break: rows P1 to P17, Q5, Q7, O1 and O2 of the matrix.

Processes die by SIGKILL, databases too; connections are cut at the statement that a row names.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.orm import Session

from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.two_phase.branches import Branches
from orchestrator.transport.messages import Answer, Work
from tests.contract.branch_ledger import (
    GID,
    Ledger,
    abort,
    by_hand,
    commit,
    ended_by_hand,
    opened,
    prepare,
)
from tests.contract.cutting import Cutter, Moment, cutter
from tests.servers import MariaDB, Postgres, postgres

fork = multiprocessing.get_context("fork")


@pytest.fixture(params=["postgres", "mariadb"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with opened(request.param, request, tmp_path) as ledger:
        yield ledger


class TestAWorkerDies:
    """SIGKILL, then the command comes again, to another process."""

    def test_p1_during_the_work(self, ledger: Ledger) -> None:
        def die(_session: Session) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        _killed(ledger, prepare(), lambda: setattr(ledger, "before_vote", die))
        answer = ledger.one(prepare(attempt=2))
        assert (answer.vote, answer.duplicate) == ("prepared", False)
        assert ledger.pending == 1
        ledger.one(commit())
        assert (ledger.balance, ledger.pending) == (70, 0)

    def test_p2_after_prepare_before_the_vote(self, ledger: Ledger) -> None:
        _killed(ledger, prepare(), _dies_before_answering)
        answer = ledger.one(prepare(attempt=2))
        assert (answer.outcome, answer.vote, answer.duplicate) == ("succeeded", "prepared", True)
        assert ledger.calls == []  # not run again
        assert ledger.one(commit(result=None)).result == {"amount": 30, "name": "ann"}
        assert (ledger.balance, ledger.pending) == (70, 0)

    @pytest.mark.parametrize(("command", "balance"), [(commit, 70), (abort, 100)])
    def test_p5_p7_after_the_second_phase_before_the_acknowledgement(
        self, ledger: Ledger, command: Callable[..., Work], balance: int
    ) -> None:
        ledger.one(prepare())
        _killed(ledger, command(), _dies_before_answering)
        answer = ledger.one(command(epoch=6))
        assert (answer.outcome, answer.duplicate) == ("succeeded", True)
        assert (ledger.balance, ledger.pending) == (balance, 0)

    def test_c2_p7_between_the_rollback_and_the_tombstone(self, ledger: Ledger) -> None:
        ledger.one(prepare())

        def dying() -> None:
            Branches._buried = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]

        _killed(ledger, abort(), dying)
        assert ledger.rows == {}
        assert ledger.one(abort(epoch=6)).outcome == "succeeded"
        assert ledger.rows == {"r1:debit": "tombstone"}
        assert ledger.one(prepare(epoch=6)).outcome == "rejected"


class TestPrepareFails:
    """A no, with a reason; nothing is left."""

    def test_p3_what_postgres_cannot_prepare_is_named(
        self, request: pytest.FixtureRequest, tmp_path: Path
    ) -> None:
        with opened("postgres", request, tmp_path) as ledger:
            for statement, what in (
                ("CREATE TEMPORARY TABLE mine (a INTEGER)", "temporary objects"),
                ("NOTIFY somebody", "NOTIFY"),
                ("LISTEN somebody", "LISTEN"),
            ):
                work = prepare(participant="ledger.run", args={"statement": statement})
                answer = ledger.one(work)
                assert answer.outcome == "failed"
                assert answer.failure is not None
                assert "cannot PREPARE a transaction" in answer.failure.message
                assert what in answer.failure.message
            assert ledger.pending == 0
            assert ledger.one(abort()).outcome == "succeeded"

    @pytest.mark.parametrize("statement", ["CREATE TABLE mine (a INTEGER)", "COMMIT", "BEGIN"])
    def test_p3_what_mariadb_cannot_do_inside_is_named(
        self, request: pytest.FixtureRequest, tmp_path: Path, statement: str
    ) -> None:
        with opened("mariadb", request, tmp_path) as ledger:
            work = prepare(participant="ledger.run", args={"statement": statement})
            answer = ledger.one(work)
            assert answer.outcome == "failed"
            assert answer.failure is not None
            assert "XAER_RMFAIL" in answer.failure.message
            assert ledger.pending == 0
            assert ledger.one(abort()).outcome == "succeeded"

    def test_p3_no_slots(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(postgres.SETTINGS, "max_prepared_transactions", "0")
        server = Postgres.launch()
        try:
            ledger = Ledger("postgres", server.url)
            answer = ledger.one(prepare())
            assert answer.outcome == "failed"
            assert answer.failure is not None
            assert "prepared transactions are disabled" in answer.failure.message
            assert "Set max_prepared_transactions" in answer.failure.message.replace('"', "")
            (shortcoming,) = ledger.branches.shortcomings()
            assert shortcoming.what == "max_prepared_transactions is 0"
            assert "ALTER SYSTEM SET max_prepared_transactions = 200" in shortcoming.way_out
            assert ledger.one(abort()).outcome == "succeeded"
            assert (ledger.balance, ledger.rows) == (100, {"r1:debit": "tombstone"})
            ledger.executor.dispose()
        finally:
            server.close()

    def test_p3_a_deferred_constraint(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        with opened("postgres", request, tmp_path) as ledger:
            assert ledger.url is not None
            by_hand(ledger.url, "CREATE TABLE one (a INTEGER UNIQUE DEFERRABLE INITIALLY DEFERRED)")
            statement = "INSERT INTO one VALUES (1), (1)"
            answer = ledger.one(prepare(participant="ledger.run", args={"statement": statement}))
            assert answer.outcome == "failed"
            assert answer.failure is not None
            assert "unique constraint" in answer.failure.message
            assert ledger.rows == {}


class TestAConnectionIsCut:
    """The database has done it or not; nobody heard."""

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_p4_in_prepare(self, ledger: Ledger, moment: Moment) -> None:
        with _through(ledger) as (proxy, cut_off):
            proxy.cut(_statement(ledger, "PREPARE"), moment)
            answer = cut_off.one(prepare())
        assert proxy.cuts == 1
        if moment == "after":
            assert (answer.outcome, answer.vote) == ("succeeded", "prepared")
            assert (answer.result, ledger.pending) == ({"amount": 30, "name": "ann"}, 1)
            assert ledger.one(commit()).outcome == "succeeded"
            assert ledger.balance == 70
        else:
            assert (answer.outcome, answer.vote) == ("failed", None)
            assert (ledger.balance, ledger.pending, ledger.rows) == (100, 0, {})

    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize(("command", "balance"), [(commit, 70), (abort, 100)])
    def test_p9_in_the_second_phase(
        self, ledger: Ledger, moment: Moment, command: Callable[..., Work], balance: int
    ) -> None:
        ledger.one(prepare())
        ending = "COMMIT" if command is commit else "ROLLBACK"
        with _through(ledger) as (proxy, cut_off):
            proxy.cut(_statement(ledger, ending), moment)
            answers = [cut_off.one(command(epoch=6)), cut_off.one(command(epoch=6))]
        assert proxy.cuts == 1
        assert answers[0].outcome in {"succeeded", "failed", "lost"}
        assert answers[1].outcome == "succeeded"
        assert (ledger.balance, ledger.pending) == (balance, 0)

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_p15_a_single_branch_is_told_by_its_proof_row(
        self, ledger: Ledger, moment: Moment
    ) -> None:
        with _through(ledger) as (proxy, cut_off):
            cut_off.one(
                abort(step="another")
            )  # its epoch is known now; the next COMMIT is the branch's
            proxy.cut("\x03COMMIT" if ledger.kind == "mariadb" else "COMMIT\0", moment)
            answer = cut_off.one(prepare(one_phase=True))
            if moment == "after":
                assert (answer.outcome, answer.vote) == ("succeeded", "committed")
                recalled = cut_off.one(abort(one_phase=True))
                assert (recalled.outcome, recalled.vote) == ("succeeded", "committed")
                assert recalled.result == {"amount": 30, "name": "ann"}
                assert ledger.balance == 70
            else:
                assert answer.outcome == "lost"
                recalled = cut_off.one(abort(one_phase=True))
                assert (recalled.outcome, recalled.vote) == ("succeeded", None)
                assert cut_off.one(prepare(one_phase=True, attempt=3)).outcome == "rejected"
                assert ledger.balance == 100


class TestTheDatabaseDies:
    """Prepared is durable."""

    @pytest.mark.parametrize("command", [commit, abort])
    def test_p10_while_prepared_on_postgres(
        self, own_postgres: Postgres, command: Callable[..., Work]
    ) -> None:
        _survives(Ledger("postgres", own_postgres.url), own_postgres, command)

    @pytest.mark.parametrize("command", [commit, abort])
    def test_p10_while_prepared_on_mariadb(
        self, own_mariadb: MariaDB, command: Callable[..., Work]
    ) -> None:
        own_mariadb.execute("CREATE DATABASE ledger")
        _survives(Ledger("mariadb", own_mariadb.database_url("ledger")), own_mariadb, command)


class TestSomebodyElseEndsIt:
    """What a database administrator did is found, and told; never assumed."""

    def test_p6_o1_rolled_back_before_the_commit(self, ledger: Ledger) -> None:
        ledger.one(prepare())
        ended_by_hand(ledger, "ROLLBACK")
        for _ in range(2):
            answer = ledger.one(commit(epoch=6))
            assert answer.outcome == "heuristic_rollback"
            assert answer.failure is not None
            assert str(GID) in answer.failure.message
        assert ledger.balance == 100

    def test_p8_o2_committed_before_the_abort(self, ledger: Ledger) -> None:
        ledger.one(prepare())
        ended_by_hand(ledger, "COMMIT")
        for _ in range(2):
            answer = ledger.one(abort(epoch=6))
            assert answer.outcome == "heuristic_commit"
            assert answer.failure is not None
            assert str(GID) in answer.failure.message
        assert (ledger.balance, ledger.rows) == (70, {"r1:debit": "done"})

    def test_p5_committed_before_the_commit(self, ledger: Ledger) -> None:
        ledger.one(prepare())
        ended_by_hand(ledger, "COMMIT")
        answer = ledger.one(commit())
        assert (answer.outcome, answer.duplicate) == ("succeeded", True)
        assert ledger.balance == 70

    def test_p7_rolled_back_before_the_abort(self, ledger: Ledger) -> None:
        ledger.one(prepare())
        ended_by_hand(ledger, "ROLLBACK")
        assert ledger.one(abort()).outcome == "succeeded"
        assert ledger.rows == {"r1:debit": "tombstone"}


class TestTheWrongPlace:
    """P17: never success."""

    @pytest.mark.parametrize("command", [commit, abort])
    def test_p17_another_database_of_postgres(
        self, postgres_server: Postgres, command: Callable[..., Work]
    ) -> None:
        with postgres_server.database() as right, postgres_server.database() as wrong:
            _refused_elsewhere(Ledger("postgres", right), Ledger("postgres", wrong), command)

    @pytest.mark.parametrize("command", [commit, abort])
    def test_p17_another_database_of_mariadb(
        self, mariadb_server: MariaDB, command: Callable[..., Work]
    ) -> None:
        with mariadb_server.database() as right, mariadb_server.database() as wrong:
            _refused_elsewhere(Ledger("mariadb", right), Ledger("mariadb", wrong), command)

    @pytest.mark.parametrize("command", [commit, abort])
    def test_p17_another_user_of_postgres(
        self, own_postgres: Postgres, command: Callable[..., Work]
    ) -> None:
        own_postgres.execute("CREATE USER clerk")
        owner = Ledger("postgres", own_postgres.url)
        owner.one(prepare())
        own_postgres.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk")
        url = make_url(own_postgres.url).set(username="clerk").render_as_string()
        _refused_elsewhere(owner, Ledger("postgres", url, fresh=False), command)

    def test_p17_a_database_that_has_never_heard_of_the_shard(
        self, own_postgres: Postgres, postgres_url: str
    ) -> None:
        right, wrong = Ledger("postgres", own_postgres.url), Ledger("postgres", postgres_url)
        right.one(prepare())
        answer = wrong.one(commit())
        assert answer.outcome == "failed"
        assert answer.failure is not None
        assert answer.failure.type == "WrongDatabaseError"
        assert right.one(commit()).outcome == "succeeded"
        for ledger in (right, wrong):
            ledger.executor.dispose()


def _refused_elsewhere(right: Ledger, wrong: Ledger, command: Callable[..., Work]) -> None:
    if not right.pending:
        right.one(prepare())
    answer = wrong.one(command(epoch=6))
    assert answer.outcome == "failed"
    assert answer.failure is not None
    assert answer.failure.type == "WrongDatabaseError"
    assert right.pending == 1
    assert right.one(command(epoch=6)).outcome == "succeeded"
    assert right.pending == 0
    for ledger in (right, wrong):
        ledger.executor.dispose()


def _survives(ledger: Ledger, server: Postgres | MariaDB, command: Callable[..., Work]) -> None:
    ledger.one(prepare())
    server.kill()
    assert ledger.one(command(epoch=6)).outcome in {"failed", "lost"}  # P9: to be tried again
    server.start()
    assert ledger.pending == 1
    assert ledger.one(prepare(epoch=6, attempt=3)).vote == "prepared"
    assert ledger.one(command(epoch=6)).outcome == "succeeded"
    assert (ledger.balance, ledger.pending) == (70 if command is commit else 100, 0)
    ledger.executor.dispose()


def _killed(ledger: Ledger, work: Work, arm: Callable[[], Any]) -> None:
    """Give the command to a process of its own, armed to die by SIGKILL; returns when it has."""

    def child() -> None:
        ledger.executor.dispose()
        arm()
        ledger.one(work)
        os._exit(0)

    process = fork.Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL


def _dies_before_answering() -> None:
    def die(self: WorkExecutor, work: Work, *_: object) -> Answer:
        self._settled(work)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    WorkExecutor._answer = die  # type: ignore[method-assign,assignment]


@contextmanager
def _through(ledger: Ledger) -> Iterator[tuple[Cutter, Ledger]]:
    """The same ledger as a worker sees it whose connections can be cut."""
    assert ledger.url is not None
    with cutter(ledger.url) as (proxy, url):
        other = Ledger(ledger.kind, url, fresh=False)
        assert other.balance == 100  # it has its connection, and has looked at its tables
        try:
            yield proxy, other
        finally:
            other.executor.dispose()


def _statement(ledger: Ledger, verb: str) -> str:
    if ledger.kind == "mariadb":
        return f"XA {verb}"
    return "PREPARE TRANSACTION" if verb == "PREPARE" else f"{verb} PREPARED"
