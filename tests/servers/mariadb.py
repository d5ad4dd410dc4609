"""MariaDB from the machine's packages, with data, socket and port of its own."""

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql

from tests.servers.base import Server, program

_GONE = frozenset({1094, 1397})
"""``ER_NO_SUCH_THREAD``, ``ER_XAER_NOTA``."""


class MariaDB(Server):
    """A MariaDB server; connect as `root`, no password."""

    name = "mariadb"

    @property
    def url(self) -> str:
        return self.database_url("mysql")

    def database_url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database of this server."""
        return f"mariadb+pymysql://root@127.0.0.1:{self.port}/{database}?charset=utf8mb4"

    def prepare(self) -> None:
        program("mariadbd")
        self.run(
            [
                program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={self.folder}/data",
                "--auth-root-authentication-method=normal",
                "--skip-name-resolve",
                "--skip-test-db",
                *_as_root(),
            ]
        )

    def command(self) -> Sequence[str | Path]:
        return [
            program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.folder}/data",
            f"--socket={self.folder}/socket",
            f"--pid-file={self.folder}/pid",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--max-connections=200",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=1",
            *_as_root(),
        ]

    def ready(self) -> bool:
        try:
            self.execute("SELECT 1")
        except pymysql.OperationalError:
            return False
        return True

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement in autocommit and return its rows."""
        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", autocommit=True, connect_timeout=5
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    @contextmanager
    def database(self) -> Iterator[str]:
        """Lend the URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            yield self.database_url(name)
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        """Drop the database, first what would block that: sessions in it, prepared transactions."""
        sessions = "SELECT id FROM information_schema.processlist WHERE db = '%s'"
        for (session,) in self.execute(sessions % name):
            self._end(f"KILL {session}")
        for _, _, _, xid in self.execute("XA RECOVER FORMAT='SQL'"):
            self._end(f"XA ROLLBACK {xid}")
        self.execute(f"DROP DATABASE {name}")

    def _end(self, statement: str) -> None:
        """End a session or a transaction, unless it has just ended by itself."""
        try:
            self.execute(statement)
        except (pymysql.OperationalError, pymysql.InternalError) as error:
            if error.args[0] not in _GONE:
                raise


def _as_root() -> Sequence[str]:
    return ["--user=root"] if os.geteuid() == 0 else []
