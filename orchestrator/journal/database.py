"""Connections to the journal's database, and what its failures mean.

Reads are retried until a budget ends. Writes never are: whether a lost one took effect is for the caller to find out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from orchestrator.errors import (
    JournalUnavailableError,
    OutcomeUnknownError,
    SchemaError,
    SettingsError,
)

T = TypeVar("T")
_TRANSIENT = OperationalError | InterfaceError | InternalError

CONNECT_TIMEOUT_S = 10
BUSY_TIMEOUT_MS = 10_000
"""How long a SQLite writer waits for another process's transaction."""
READ_ONLY = "saga_read_only"


class Database:
    """The journal's engine. ``retry_s`` is how long a read is tried again while the database can't be reached."""

    def __init__(self, source: str | URL | Engine, retry_s: float) -> None:
        self.engine = _engine(source)
        self.is_postgresql = self.engine.dialect.name == "postgresql"
        options = {"isolation_level": "AUTOCOMMIT"} if self.is_postgresql else {READ_ONLY: True}
        self._reading = self.engine.execution_options(**options)
        self._retry_s = retry_s

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run queries against one connection; tried again while the database can't be reached."""
        return self.retried(lambda: self._read_once(work))

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run one transaction, once. Raises ``OutcomeUnknownError`` when its commit got no answer."""
        with self._connected(self.engine) as connection:
            transaction = connection.begin()
            try:
                result = work(connection)
            except BaseException:
                _roll_back(transaction.rollback)
                raise
            with _committing():
                transaction.commit()
            return result

    def write_single(self, work: Callable[[Connection], T]) -> T:
        """Run one statement that is a transaction of its own, once: one round trip, commit included.

        PostgreSQL only. Losing the connection is always ``OutcomeUnknownError``, since nothing tells
        what the statement had done.
        """
        with self._connected(self._reading) as connection, _committing():
            return work(connection)

    def retried(self, work: Callable[[], T]) -> T:
        """Run a read; tried again while the database can't be reached."""
        for attempt in Retrying(
            retry=retry_if_exception_type(JournalUnavailableError),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop_after_delay(self._retry_s),
            reraise=True,
        ):
            with attempt:
                return work()
        raise AssertionError("tenacity reraises the last error")

    def close(self) -> None:
        """Close the pool's connections."""
        self.engine.dispose()

    def _read_once(self, work: Callable[[Connection], T]) -> T:
        with self._connected(self._reading) as connection:
            return work(connection)

    @contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.connect() as connection:
                yield connection
        except (DBAPIError, PoolTimeoutError) as error:
            meant = meaning(error, self.engine)
            if meant is error:
                raise
            raise meant from error


def meaning(error: Exception, engine: Engine) -> Exception:
    """The error of ours that a database error stands for; the same error when it stands for none."""
    if isinstance(error, PoolTimeoutError):
        return unavailable(engine, error)
    if not isinstance(error, DBAPIError) or isinstance(error, IntegrityError):
        return error
    cause = error.orig or error
    if lacks_table(cause):
        return no_tables(engine, cause)
    if error.connection_invalidated or isinstance(error, _TRANSIENT):
        return unavailable(engine, cause)
    return error


def unavailable(engine: Engine, cause: BaseException) -> JournalUnavailableError:
    """The error for a database that can't be reached, or refuses to work now."""
    return JournalUnavailableError(f"the journal at {_where(engine)} can't be used now: {cause}")


def outcome_unknown(cause: BaseException) -> OutcomeUnknownError:
    """The error for a commit that got no answer."""
    return OutcomeUnknownError(
        f"the journal was lost while it committed, read back what it holds: {cause}"
    )


def no_tables(engine: Engine, cause: BaseException) -> SchemaError:
    """The error for a database that nobody has prepared."""
    return SchemaError(
        f"the journal at {_where(engine)} has no tables ({cause}): run `saga db upgrade`"
    )


def lacks_table(cause: BaseException) -> bool:
    """Whether the driver said that a table or column of ours isn't there."""
    if isinstance(cause, sqlite3.OperationalError):
        return str(cause).startswith(("no such table", "no such column"))
    return getattr(cause, "sqlstate", None) in {"42P01", "42703"}


def _where(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


@contextmanager
def _committing() -> Iterator[None]:
    """From here on a lost connection doesn't mean that nothing was written."""
    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated or isinstance(error.orig, sqlite3.OperationalError):
            raise outcome_unknown(error.orig or error) from error
        raise


def _roll_back(rollback: Callable[[], None]) -> None:
    """Undo what is open; if even that fails, the connection is gone and the database does it."""
    try:
        rollback()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise


def _engine(source: str | URL | Engine) -> Engine:
    if isinstance(source, Engine) and source.dialect.name == "postgresql":
        if source.dialect.driver != "psycopg":
            raise SettingsError(
                f"the journal needs psycopg 3, not {source.dialect.driver}: use postgresql+psycopg://"
            )
        return source
    try:
        url = source.url if isinstance(source, Engine) else make_url(source)
        return _engine_for(url)
    except (ArgumentError, NoSuchModuleError) as error:
        raise SettingsError(f"the journal's database URL can't be used: {error}") from error
    except ImportError as error:
        raise SettingsError(
            f"the journal's database driver is missing ({error}): install saga-orchestrator[postgres]"
        ) from error


def _engine_for(url: URL) -> Engine:
    match url.get_backend_name():
        case "postgresql" | "postgres":
            return create_engine(
                url.set(drivername="postgresql+psycopg"),
                connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
                pool_use_lifo=True,
            )
        case "sqlite" if url.database and url.database != ":memory:" and "mode" not in url.query:
            engine = create_engine(url)
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        case "sqlite":
            raise SettingsError(
                "a journal needs a SQLite file that outlives the process; MemoryJournal is for tests"
            )
        case other:
            raise SettingsError(f"the journal is kept in PostgreSQL or SQLite, not in {other}")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Every connection: durable, waits for other writers, transactions begun by us alone."""
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Writers say so at once: a reader that turns into a writer fails instead of waiting."""
    if connection.get_execution_options().get(READ_ONLY):
        connection.exec_driver_sql("BEGIN")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
