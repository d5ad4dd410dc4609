"""Making and checking the journal's schema, by alembic's migrations that ship with the package."""

from __future__ import annotations

import io
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import SchemaError
from orchestrator.journal.database import Database, meaning
from orchestrator.journal.schema import DEFAULT_SHARDS, SHARD, VERSION_TABLE


def upgrade(source: str | URL | Engine, *, shards: int | None = None) -> None:
    """Bring a database to this release's schema; harmless when it is there already.

    ``shards`` (by default 8) is fixed for good when the tables are made; raises ``SchemaError`` when
    they exist with another number.
    """
    if shards is not None and shards < 1:
        raise SchemaError("a journal has at least one shard")
    database = Database(source, retry_s=0.0)

    def work(connection: Connection) -> None:
        config = _config()
        config.attributes.update(connection=connection, shards=shards or DEFAULT_SHARDS)
        command.upgrade(config, "head")
        found = connection.scalar(select(func.count()).select_from(SHARD))
        if shards is not None and shards != found:
            raise SchemaError(f"the journal was made with {found} shards, which can't be changed")

    try:
        database.write(work)
    finally:
        if database.engine is not source:
            database.close()


def upgrade_sql(source: str | URL, *, shards: int = DEFAULT_SHARDS) -> str:
    """The SQL that ``upgrade`` would run on a new database, for someone else to run."""
    config, written = _config(), io.StringIO()
    config.output_buffer = written
    dialect = make_url(source).get_backend_name()
    config.attributes.update(dialect=dialect, shards=shards)
    command.upgrade(config, "head", sql=True)
    return written.getvalue()


def check_schema(engine: Engine) -> None:
    """Raise ``SchemaError`` when the database doesn't have this release's schema.

    ``JournalUnavailableError`` when it can't be reached.
    """
    try:
        with engine.connect() as connection:
            found = _revision(connection)
    except DBAPIError as error:
        meant = meaning(error, engine)
        if meant is error:
            raise
        raise meant from error
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    if found != wanted:
        has = "has no tables" if found is None else f"has schema {found}"
        newer = "or, if it was made by a newer release, install that" if found else ""
        where = engine.url.render_as_string(hide_password=True)
        raise SchemaError(
            f"the journal at {where} {has}, this release needs {wanted}: run `saga db upgrade` {newer}".rstrip()
        )


def _revision(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    return config
