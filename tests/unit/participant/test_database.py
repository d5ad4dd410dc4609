"""A participant's database: its tables, its settings, and what a fork does to it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, make_url, text

from orchestrator.errors import DefinitionError, SchemaError
from orchestrator.participant.database import Database
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.participant.tables import ddl
from orchestrator.transport.messages import Work
from tests.contract.barrier_shop import Kept


def test_sqlite_is_set_to_lose_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    with database.engine().connect() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    database.dispose()
    assert values == ["wal", 2, 30_000]


def test_nothing_is_opened_before_it_is_needed(tmp_path: Path) -> None:
    Service("shop", database=f"sqlite:///{tmp_path}/a.db")
    assert list(tmp_path.iterdir()) == []


def test_missing_tables_are_named_when_they_are_not_to_be_made(tmp_path: Path) -> None:
    service = Service("shop", database=f"sqlite:///{tmp_path}/a.db", create_barrier=False)
    assert service.database is not None
    with pytest.raises(SchemaError, match=r"saga_barrier and saga_epoch: make them with"):
        service.database.engine()
    service.create_tables()
    assert service.database.engine().url.database == f"{tmp_path}/a.db"
    service.dispose()


def test_the_statements_for_a_schema_kept_by_hand(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/a.db")
    with engine.begin() as connection:
        for statement in ddl(engine.dialect):
            connection.execute(text(statement))
    assert set(inspect(engine).get_table_names()) == {"saga_barrier", "saga_epoch"}
    engine.dispose()
    postgres = make_url("postgresql+psycopg://x/y").get_dialect()()
    assert "DOUBLE PRECISION" in ddl(postgres)[0]


def test_two_engines_at_once_make_the_tables_once(tmp_path: Path) -> None:
    databases = [Database(f"sqlite:///{tmp_path}/a.db") for _ in range(2)]
    names = [inspect(database.engine()).get_table_names() for database in databases]
    assert names == [["saga_barrier", "saga_epoch"]] * 2
    for database in databases:
        database.dispose()


def test_a_users_engine_keeps_its_own_transactions(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/a.db")
    database = Database(engine)
    assert database.engine() is not engine
    with database.engine().connect() as ours, engine.connect() as theirs:
        ours.exec_driver_sql("SELECT 1")
        driver = ours.connection.driver_connection
        assert driver is not None
        assert driver.in_transaction  # BEGIN IMMEDIATE
        theirs.exec_driver_sql("SELECT 1")
        driver = theirs.connection.driver_connection
        assert driver is not None
        assert not driver.in_transaction
    database.dispose()


def test_without_a_database_there_is_nothing_to_prune_or_make() -> None:
    service = Service("web")
    with pytest.raises(DefinitionError, match="has no database"):
        service.create_tables()
    service.dispose()


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://x@127.0.0.1:1/x?connect_timeout=2", "mariadb+pymysql://x@127.0.0.1:1/x"],
)
def test_an_unreachable_database_is_a_transient_failure(url: str) -> None:
    service = Service("shop", database=url)

    @service.participant
    def noop() -> None: ...

    kept = Kept()
    work = Work("r", 1, 1, "s", "do", 1, "shop.noop", {}, 5.0)
    WorkExecutor(Registry.of([service])).execute([work], kept)
    (answer,) = kept.answers
    assert answer.outcome == "failed"
    assert answer.failure is not None
    assert "sqlalchemy.exc.OperationalError" in answer.failure.kinds
    service.dispose()


def test_a_forked_child_makes_connections_and_loop_of_its_own(tmp_path: Path) -> None:
    script = f"""
        import os
        from orchestrator.participant import loop
        from orchestrator.participant.database import Database

        async def answer():
            return os.getpid()

        database = Database("sqlite:///{tmp_path}/a.db")
        engine = database.engine()
        assert loop.run(answer()) == os.getpid()
        child = os.fork()
        if child == 0:
            assert database.engine() is not engine
            assert loop.run(answer()) == os.getpid()
            with database.engine().begin() as connection:
                connection.exec_driver_sql("INSERT INTO saga_epoch VALUES (1, 1)")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert database.engine() is engine
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM saga_epoch").scalar() == 1
        database.dispose()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
