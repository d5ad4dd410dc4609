"""The ledger server brings two databases that can prepare transactions, keeps them, and ends when it is told to."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.servers.base import answers, free_port
from tests.waiting import eventually
from workers import ledger_server


@contextmanager
def _server(folder: Path, port: int) -> Iterator[None]:
    arguments = ["-m", "workers.ledger_server", "--folder", str(folder), "--port", str(port)]
    others = {name: v for name, v in os.environ.items() if not name.endswith("_DATABASE_URL")}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log, env=others)
    try:
        eventually(lambda: _is_up(port), 60, what="PostgreSQL is up")
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert not answers(port)


def _is_up(port: int) -> bool:
    try:
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/ledger_b").close()
    except psycopg.OperationalError:
        return False
    return True


def test_two_databases_that_can_prepare_and_are_kept(tmp_path: Path) -> None:
    port = free_port()
    url = f"postgresql://postgres@127.0.0.1:{port}/ledger_%s"
    with _server(tmp_path, port):
        for name in "ab":
            with psycopg.connect(url % name, autocommit=True) as connection:
                connection.execute("BEGIN")
                connection.execute("CREATE TABLE kept (n int)")
                connection.execute("PREPARE TRANSACTION 'one'")
                connection.execute("COMMIT PREPARED 'one'")
    with _server(tmp_path, port), psycopg.connect(url % "b") as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_without_the_wheel_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEDGER_A", "LEDGER_B"):
        monkeypatch.delenv(f"{name}_DATABASE_URL", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="set LEDGER_A_DATABASE_URL"):
        ledger_server.main(["--folder", str(tmp_path)])


def test_it_is_wanted_unless_both_ledgers_are_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "postgresql+psycopg://postgres@127.0.0.1:8471/ledger_a"
    there = "postgresql+psycopg://postgres@db/ledger"
    for first, second, wanted in [(here, there, True), (there, there, False), (here, here, True)]:
        monkeypatch.setenv("LEDGER_A_DATABASE_URL", first)
        monkeypatch.setenv("LEDGER_B_DATABASE_URL", second)
        assert ledger_server.is_wanted(8471) is wanted
    monkeypatch.delenv("LEDGER_B_DATABASE_URL")
    monkeypatch.setenv("LEDGER_A_DATABASE_URL", there)
    assert ledger_server.is_wanted(8471)
