"""What the barrier makes of transactions: effects outside, reads, swallowed errors, lost connections."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.transport.messages import Answer
from tests.contract.barrier_shop import (
    DATABASES,
    Shop,
    charge,
    closing_engine,
    do,
    opened,
    undo,
    until_somebody_waits,
)


@pytest.fixture(params=DATABASES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    with opened(request, tmp_path) as shop:
        yield shop


class TestOutsideEffects:
    """A participant without a session: its effect isn't in the database, its reply is."""

    def test_the_reply_is_stored(self, shop: Shop) -> None:
        answers = [shop.one(charge()), shop.one(charge())]
        assert [(a.result, a.duplicate) for a in answers] == [("paid 5", False), ("paid 5", True)]
        assert shop.calls == ["charge r1:charge"]

    def test_an_undo_gets_the_reply_and_the_same_key(self, shop: Shop) -> None:
        shop.one(charge())
        assert [shop.one(charge(kind="undo")).duplicate for _ in range(2)] == [False, True]
        assert shop.calls == ["charge r1:charge", "refund r1:charge paid 5"]

    @pytest.mark.parametrize("amount", [None, 14, 15])
    def test_without_a_row_the_undo_runs_for_nothing_proves_there_was_no_effect(
        self, shop: Shop, amount: int | None
    ) -> None:
        if amount is not None:
            outcome = {14: "failed", 15: "lost"}[amount]
            assert shop.one(charge(amount)).outcome == outcome
        assert shop.one(charge(kind="undo")).outcome == "succeeded"
        assert shop.one(charge(kind="undo")).duplicate
        assert shop.calls[-1] == "refund r1:charge None"
        assert shop.one(charge()).outcome == "rejected"

    def test_after_a_refusal_there_is_nothing_to_undo(self, shop: Shop) -> None:
        assert shop.one(charge(13)).outcome == "refused"
        assert shop.one(charge(kind="undo")).outcome == "succeeded"
        assert shop.calls == ["charge r1:charge"]


class TestTransaction:
    """A participant's own transaction."""

    def test_a_read_only_participant_reads_and_leaves_no_row(self, shop: Shop) -> None:
        assert shop.one(do(participant="shop.look", args={})).result == 100
        assert shop.rows == {}

    def test_a_read_only_participant_that_writes_fails(self, shop: Shop) -> None:
        assert shop.one(do(participant="shop.cheat", args={})).outcome == "failed"
        assert shop.stock == 100
        assert shop.one(do()).outcome == "succeeded"  # the connection can write again

    def test_a_swallowed_error_that_rolled_back_is_no_success(self, shop: Shop) -> None:
        if shop.url.startswith("mariadb"):
            answer = self._victim_of_a_deadlock(shop)
        else:
            sqlite = shop.url.startswith("sqlite")
            statement = "ROLLBACK" if sqlite else "SELECT * FROM nowhere"
            answer = shop.one(do(participant="shop.careless", args={"statement": statement}))
        assert answer.outcome == "failed"
        assert answer.failure is not None
        assert "went on" in answer.failure.message
        assert (shop.stock, shop.rows) == (100, {})

    def _victim_of_a_deadlock(self, shop: Shop) -> Answer:
        """MariaDB rolls back the lighter transaction of two that wait for each other."""
        statement = "UPDATE pears SET n = 0 WHERE n = 1"
        with shop.session() as heavy, ThreadPoolExecutor(1) as pool:
            heavy.execute(text("CREATE TABLE pears (n INTEGER PRIMARY KEY)"))
            heavy.execute(text("INSERT INTO pears SELECT seq FROM seq_1_to_1000"))
            heavy.commit()
            heavy.execute(text("UPDATE pears SET n = n + 10000"))
            careless = pool.submit(
                shop.one, do(participant="shop.careless", args={"statement": statement})
            )
            until_somebody_waits(shop.url, what="the participant waits")
            heavy.execute(text("UPDATE stock SET left_over = left_over WHERE sku = 'apple'"))
            heavy.rollback()
            return careless.result(20)

    def test_commit_is_left_to_the_orchestrator(self, shop: Shop) -> None:
        work = do(participant="shop.ends_itself", args={"how": "commit"})
        assert shop.one(work).outcome == "succeeded"
        assert shop.one(work).duplicate
        assert shop.stock == 99

    def test_a_participant_that_rolls_back_has_failed(self, shop: Shop) -> None:
        answer = shop.one(do(participant="shop.ends_itself", args={"how": "rollback"}))
        assert answer.outcome == "failed"
        assert answer.failure is not None
        assert "rollback" in answer.failure.message
        assert shop.rows == {}

    def test_prune_deletes_what_is_old_enough(self, shop: Shop) -> None:
        shop.one(do())
        assert shop.service.prune(timedelta(hours=1)) == 0
        with shop.session() as session:
            session.execute(text("UPDATE saga_barrier SET created_at = created_at - 7200"))
            session.commit()
        shop.one(do(step="young"))
        assert shop.service.prune(timedelta(hours=1)) == 1
        assert shop.rows == {"r1:young": "done"}


class TestLostConnections:
    """A server that goes away at the worst moments."""

    def test_a_commit_that_took_effect_unheard_is_read_back(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop.one(do(step="warm", participant="shop.burn", args={"quantity": 0}))
        _lose_next_commit(shop, monkeypatch, took_effect=True)
        answer = shop.one(do())
        assert answer.outcome == "succeeded"
        assert answer.result == {"sku": "apple", "quantity": 2}
        assert (shop.stock, shop.rows) == (98, {"r1:reserve": "done", "r1:warm": "done"})

    def test_a_commit_that_may_not_have_taken_effect_is_unknown(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop.one(do(step="warm", participant="shop.burn", args={"quantity": 0}))
        _lose_next_commit(shop, monkeypatch, took_effect=False)
        assert shop.one(do()).outcome == "lost"
        assert shop.stock == 100
        assert shop.one(do(attempt=2)).outcome == "succeeded"
        assert shop.stock == 98

    def test_the_same_for_an_undo(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.one(do())
        shop.one(do(step="other"))
        _lose_next_commit(shop, monkeypatch, took_effect=False)
        assert shop.one(undo()).outcome == "lost"
        assert shop.stock == 96
        assert shop.one(undo(attempt=2)).outcome == "succeeded"
        _lose_next_commit(shop, monkeypatch, took_effect=True)
        assert shop.one(undo(step="other")).outcome == "succeeded"
        assert shop.stock == 100

    def test_the_same_for_a_refusal(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.one(do(step="warm"))
        _lose_next_commit(shop, monkeypatch, took_effect=True)
        assert shop.one(do(13)).outcome == "refused"
        _lose_next_commit(shop, monkeypatch, took_effect=False)
        assert shop.one(do(13, step="other")).outcome == "lost"

    def test_a_pooled_connection_that_the_server_dropped_is_replaced(self, shop: Shop) -> None:
        if shop.url.startswith("sqlite"):
            _close_pooled(shop)
        else:
            _drop_sessions(shop)
        assert shop.one(do()).outcome == "succeeded"
        assert shop.stock == 98

    def test_a_connection_lost_while_the_participant_works_is_a_failure(self, shop: Shop) -> None:
        if shop.url.startswith("sqlite"):
            return  # it has no connection to lose
        shop.before_commit = lambda: _drop_sessions(shop)
        assert shop.one(do()).outcome == "failed"
        shop.before_commit = lambda: None
        assert shop.stock == 100
        assert shop.one(do(attempt=2)).outcome == "succeeded"


def _lose_next_commit(shop: Shop, monkeypatch: pytest.MonkeyPatch, *, took_effect: bool) -> None:
    """Have the connection break in the next COMMIT, after or before the server took it."""
    assert shop.service.database is not None
    dialect = shop.service.database.engine().dialect
    commit, rollback = dialect.do_commit, dialect.do_rollback

    def lost(connection: Any) -> None:
        monkeypatch.setattr(dialect, "do_commit", commit)
        (commit if took_effect else rollback)(connection)
        connection.driver_connection.close()
        commit(connection)

    monkeypatch.setattr(dialect, "do_commit", lost)


def _close_pooled(shop: Shop) -> None:
    assert shop.service.database is not None
    with shop.service.database.engine().connect() as connection:
        driver = connection.connection.driver_connection
    assert driver is not None
    driver.close()


def _drop_sessions(shop: Shop) -> None:
    """End every session in the shop's database but our own."""
    with closing_engine(shop.url) as engine, engine.connect() as connection:
        if shop.url.startswith("postgresql"):
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
            return
        others = text(
            "SELECT id FROM information_schema.processlist "
            "WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        for (session,) in connection.execute(others).all():
            connection.exec_driver_sql(f"KILL {session}")
