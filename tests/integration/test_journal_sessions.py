"""Launches that join the caller's own transaction, and messages that become visible late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from orchestrator.errors import InvalidInputError, PlanConflictError, RunNotFoundError, SchemaError
from orchestrator.journal.sql import SqlJournal
from tests.contract.journal_samples import (
    PLAN,
    SHARDS,
    plan,
    request,
    request_of,
    run_in,
    write,
)
from tests.tables import make_tables
from tests.waiting import eventually


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'journal.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def journal(url: str) -> Iterator[SqlJournal]:
    make_tables(url, SHARDS)
    found = SqlJournal(url)
    yield found
    found.close()


@pytest.fixture
def shop(url: str) -> Iterator[Engine]:
    """The caller's own engine and table, in the journal's database."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id text)"))
    yield engine
    engine.dispose()


def orders(shop: Engine) -> int:
    with shop.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM orders")).scalar_one())


def place(session: Session) -> None:
    session.execute(text("INSERT INTO orders VALUES ('o1')"))


def test_the_run_is_there_if_and_only_if_the_order_is(journal: SqlJournal, shop: Engine) -> None:
    with Session(shop) as session:
        place(session)
        assert journal.launch([request("one", key="k")], session=session)[0].created
        assert journal.launch([request("two", key="k")], session=session)[0].run_id == "one"
        session.rollback()
    assert orders(shop) == 0
    assert journal.inbox(range(SHARDS), {}, 10) == []
    assert journal.plans() == []
    with pytest.raises(RunNotFoundError):
        journal.find("one")
    with Session(shop) as session:
        place(session)
        assert journal.launch([request("two", key="k")], session=session)[0].created
        session.commit()
    assert orders(shop) == 1
    assert journal.find("k").run_id == "two"
    assert [kept.hash for kept in journal.plans()] == [PLAN.hash]


def test_a_plan_that_was_rolled_back_is_stored_by_the_next_launch(
    journal: SqlJournal, shop: Engine
) -> None:
    with Session(shop) as session:
        journal.launch([request("one")], session=session)
        journal.launch([request("two")], session=session)
        session.rollback()
    journal.launch([request("three")])
    assert journal.plan(PLAN.hash) == PLAN


def test_connections_and_scoped_sessions_are_sessions_too(
    journal: SqlJournal, shop: Engine
) -> None:
    with shop.begin() as connection:
        journal.launch([request("one")], session=connection)
    scoped = scoped_session(sessionmaker(shop))
    journal.launch([request("two")], session=scoped)
    scoped.commit()
    scoped.remove()
    assert {item.run_id for item in journal.inbox(range(SHARDS), {}, 10)} == {"one", "two"}


def test_a_changed_plan_is_refused_within_a_session(journal: SqlJournal, shop: Engine) -> None:
    journal.launch([request("one")])
    with Session(shop) as session, pytest.raises(PlanConflictError, match="30 s is now 99 s"):
        journal.launch([request_of(plan(timeout_s=99.0), "two")], session=session)


def test_a_session_of_another_database_is_refused(journal: SqlJournal, tmp_path: Path) -> None:
    elsewhere = create_engine(f"sqlite:///{tmp_path / 'elsewhere.db'}")
    error = SchemaError if journal.engine.dialect.name == "sqlite" else InvalidInputError
    with Session(elsewhere) as session, pytest.raises(error):
        journal.launch([request("one")], session=session)
    elsewhere.dispose()


def test_a_taken_key_waits_for_the_transaction_that_has_it(
    postgres_url: str,
) -> None:
    make_tables(postgres_url, SHARDS)
    journal = SqlJournal(postgres_url)
    journal.launch([request("zero")])
    answered: list[str] = []

    def launch() -> None:
        answered.append(journal.launch([request("two", key="k")])[0].run_id)

    with Session(journal.engine) as session:
        journal.launch([request("one", key="k")], session=session)
        thread = threading.Thread(target=launch)
        thread.start()
        waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        with journal.engine.connect() as connection:
            eventually(lambda: connection.execute(waits).scalar())
        assert answered == []
        session.commit()
    thread.join(30)
    assert answered == ["one"]
    journal.close()


def test_a_lower_id_that_becomes_visible_later_is_delivered(postgres_url: str) -> None:
    make_tables(postgres_url, SHARDS)
    journal = SqlJournal(postgres_url)
    slow, quick = run_in(0), run_in(0, number=1)
    journal.launch([request(run_in(1))])
    tenure = journal.begin_tenure(0, "one", 1.0)
    with Session(journal.engine) as session:
        journal.launch([request(slow)], session=session)
        journal.launch([request(quick)])
        (item,) = journal.inbox([0], {}, 10)
        assert item.run_id == quick
        tenure = journal.append([write(tenure, consumed=[item.id])])[0]
        assert journal.inbox([0], {}, 10) == []
        session.commit()
    (late,) = journal.inbox([0], {}, 10)
    assert (late.run_id, late.id < item.id) == (slow, True)
    journal.close()
