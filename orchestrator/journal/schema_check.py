"""Whether a database has this release's schema: asked at every start, so without what makes one."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import SchemaError
from orchestrator.journal.database import meaning
from orchestrator.journal.schema import REVISION, VERSION_TABLE


def check_schema(engine: Engine) -> None:
    """Raise ``SchemaError`` when the database doesn't have this release's schema.

    ``JournalUnavailableError`` when it can't be reached.
    """
    try:
        with engine.connect() as connection:
            found = revision(connection)
    except DBAPIError as error:
        meant = meaning(error, engine)
        if meant is error:
            raise
        raise meant from error
    if found != REVISION:
        has = "has no tables" if found is None else f"has schema {found}"
        newer = "or, if it was made by a newer release, install that" if found else ""
        where = engine.url.render_as_string(hide_password=True)
        raise SchemaError(
            f"the journal at {where} {has}, this release needs {REVISION}: run `saga db upgrade` {newer}".rstrip()
        )


def revision(connection: Connection) -> str | None:
    """The last migration that has run; None where none has."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - ours
    return found
