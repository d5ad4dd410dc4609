"""Making the journal's schema, by alembic's migrations that ship with the package.

Where it is made already, alembic isn't even imported: programs that embed everything ask at every start.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.engine import URL, make_url

from orchestrator.errors import SchemaError
from orchestrator.journal.database import Database
from orchestrator.journal.schema import DEFAULT_SHARDS, REVISION, SHARD
from orchestrator.journal.schema_check import revision

if TYPE_CHECKING:
    from alembic.config import Config


def upgrade(source: str | URL | Engine, *, shards: int | None = None) -> None:
    """Bring a database to this release's schema; harmless when it is there already.

    ``shards`` (by default 8) is fixed for good when the tables are made; raises ``SchemaError`` when
    they exist with another number.
    """
    if shards is not None and shards < 1:
        raise SchemaError("a journal has at least one shard")
    database = Database(source, retry_s=0.0)

    def work(connection: Connection) -> None:
        if revision(connection) != REVISION:
            _migrate(_config(connection=connection, shards=shards or DEFAULT_SHARDS))
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
    config = _config(dialect=make_url(source).get_backend_name(), shards=shards)
    config.output_buffer = written = io.StringIO()
    _migrate(config, as_sql=True)
    return written.getvalue()


def _migrate(config: Config, *, as_sql: bool = False) -> None:
    from alembic import command  # noqa: PLC0415 - start-up time

    command.upgrade(config, "head", sql=as_sql)


def _config(**attributes: object) -> Config:
    from alembic.config import Config  # noqa: PLC0415 - start-up time

    config = Config()
    config.attributes.update(attributes)
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    return config
