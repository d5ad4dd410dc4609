"""The migrations make the schema that the code knows, and a wrong schema is named with its cure."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, delete, inspect, text

from orchestrator.errors import SchemaError
from orchestrator.journal.port import RunFilter
from orchestrator.journal.schema import METADATA, REVISION, TAG, VERSION_TABLE
from orchestrator.journal.schema_check import check_schema
from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.upgrade import _config, upgrade, upgrade_sql
from orchestrator.kernel.summary import RunStatus
from tests.contract.journal_samples import done, request, row, run_in, write
from tests.contract.tag_samples import index, launch_all


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'journal.db'}"
    return str(request.getfixturevalue("postgres_url"))


def differences(engine: Engine) -> list[object]:
    options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
    with engine.connect() as connection:
        return list(
            compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)
        )


def shape(engine: Engine) -> dict[str, object]:
    """What alembic doesn't compare: collations, options, partial indexes, primary keys."""
    if engine.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'saga_%' AND sql IS NOT NULL"
    else:
        query = """
            SELECT relname, concat(reloptions, (
                SELECT string_agg(concat(attname, ' ', atttypid, ' ', attcollation, ' ', attnotnull), ', '
                    ORDER BY attnum)
                FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
            ), CASE relkind WHEN 'i' THEN pg_get_indexdef(c.oid) END)
            FROM pg_class c WHERE relname LIKE 'saga\\_%'"""
    with engine.connect() as connection:
        rows = connection.execute(text(query)).all()
    return {name: sql for name, sql in rows if not name.startswith(VERSION_TABLE)}


def go_back(journal: SqlJournal, to: str) -> None:
    """Make the tables of an earlier release."""
    with journal.engine.begin() as connection:
        command.downgrade(_config(connection=connection), to)


def test_the_migrations_make_the_schema_of_the_code(url: str) -> None:
    upgrade(url)
    engine = create_engine(url)
    assert differences(engine) == []
    migrated = shape(engine)
    METADATA.drop_all(engine)
    METADATA.create_all(engine)
    made = shape(engine)
    engine.dispose()
    assert {name: _words(sql) for name, sql in migrated.items()} == {
        name: _words(sql) for name, sql in made.items()
    }


def test_upgrading_twice_changes_nothing(url: str) -> None:
    upgrade(url, shards=3)
    with_run = SqlJournal(url)
    with_run.launch([request("one")])
    upgrade(url)
    upgrade(url, shards=3)
    assert (with_run.shards(), with_run.find("one").status) == (3, "accepted")
    with_run.close()


def test_the_number_of_shards_is_fixed(url: str) -> None:
    upgrade(url)
    with pytest.raises(SchemaError, match="made with 8 shards"):
        upgrade(url, shards=9)
    with pytest.raises(SchemaError, match="at least one"):
        upgrade(url, shards=0)
    journal = SqlJournal(url)
    assert journal.shards() == 8
    journal.close()


def test_the_sql_of_the_upgrade_can_be_run_by_hand(url: str) -> None:
    script = upgrade_sql(url, shards=5)
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        connection.executescript(script)
        connection.close()
    else:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as by_hand:
            by_hand.execute(script.encode())
    journal = SqlJournal(url)
    check_schema(journal.engine)
    assert (journal.shards(), differences(journal.engine)) == (5, [])
    journal.close()


def test_tags_of_runs_that_are_there_are_indexed_as_a_launch_does_it(url: str) -> None:
    upgrade(url)
    journal = SqlJournal(url)
    launch_all(journal)
    launched = index(journal)
    script = upgrade_sql(url)
    fill = script[script.index("INSERT INTO saga_run_tag") :].partition(";")[0]
    with journal.engine.begin() as connection:
        connection.execute(delete(TAG))
        connection.execute(text(fill))
    by_hand = index(journal)
    go_back(journal, "0007")
    upgrade(url)
    assert len(launched) > 20
    assert launched == by_hand == index(journal)
    journal.close()


def test_runs_that_have_ended_are_counted(url: str) -> None:
    upgrade(url)
    journal = SqlJournal(url)
    ends: tuple[RunStatus, ...] = ("completed", "completed", "compensated")
    for shard, status in enumerate(ends):
        run = run_in(shard, 8)
        tenure = journal.begin_tenure(shard, "one", 1.0)
        ended = row(run, 8, status, saga=f"saga-{shard}", ended_at=2.0)
        journal.append([write(tenure, [(run, done())], [ended])])
    journal.launch([request("one")])
    counted = journal.counts()
    go_back(journal, "0008")
    upgrade(url)
    assert journal.counts() == counted
    assert len(counted) == 4
    assert journal.miscounted() == []
    journal.close()


def test_a_database_without_tables_is_named_with_its_cure(url: str) -> None:
    journal = SqlJournal(url)
    for use in (
        lambda: check_schema(journal.engine),
        journal.shards,
        lambda: journal.runs(RunFilter()),
        lambda: journal.inbox([0], {}, 1),
        lambda: journal.begin_tenure(0, "one", 1.0),
        lambda: journal.launch([request("one")]),
    ):
        with pytest.raises(SchemaError, match="run `saga db upgrade`"):
            use()
    assert inspect(journal.engine).get_table_names() == []
    journal.close()


def test_another_releases_schema_is_refused(url: str) -> None:
    upgrade(url)
    journal = SqlJournal(url)
    check_schema(journal.engine)
    with journal.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(SchemaError, match=f"has schema 9999, this release needs {REVISION}"):
        check_schema(journal.engine)
    journal.close()


def _words(sql: object) -> list[str]:
    return str(sql).split()
