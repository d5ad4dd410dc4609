"""What must not start, or must not be launched, is refused with the way out, and nothing is half done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import redis
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.definition.saga import SAGAS
from orchestrator.journal.port import RunFilter
from orchestrator.journal.schema import VERSION_TABLE
from orchestrator.journal.sql import SqlJournal
from tests.servers import Valkey
from tests.servers.base import free_port
from tests.tables import make_tables

MODULE = """
from orchestrator import Service, saga

shop = Service("shop")

@shop.participant(timeout={timeout}, read_only=True)
def pack(box: str, count: int) -> str:
    return box

@saga(version={version}, name="{name}")
def send(box: str, count: int = 1) -> str:
    return pack(box, count)
"""


@pytest.fixture
def journal_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty journal, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("SAGA_CONFIG", raising=False)
    url = f"sqlite:///{tmp_path}/journal.db"
    make_tables(url, 2)
    return url


@pytest.fixture
def nowhere() -> str:
    """The URL of a broker that isn't there."""
    return f"redis://:secret@127.0.0.1:{free_port()}/0"


def saga_says(code: int, *args: str) -> str:
    """Run the command line; it must end with this exit code, in words and not in a traceback."""
    result = CliRunner().invoke(app, list(args))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


class TestCoordinator:
    """`saga coordinator` checks what it stands on."""

    def test_refuses_a_redis_that_evicts(self, journal_url: str, own_redis: Valkey) -> None:
        with redis.Redis.from_url(own_redis.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        said = saga_says(4, "coordinator", "--journal", journal_url, "--broker", own_redis.url)
        assert "allkeys-lru" in said
        assert "CONFIG SET maxmemory-policy noeviction" in said

    def test_names_a_broker_that_is_away(self, journal_url: str, nowhere: str) -> None:
        said = saga_says(5, "coordinator", "--journal", journal_url, "--broker", nowhere)
        assert nowhere.rpartition("@")[2] in said
        assert "can't be reached" in said
        assert "secret" not in said

    def test_names_a_database_that_is_away(self, nowhere: str) -> None:
        journal = f"postgresql+psycopg://u:secret@127.0.0.1:{free_port()}/j"
        said = saga_says(5, "coordinator", "--journal", journal, "--broker", nowhere)
        assert journal.rpartition("@")[2] in said
        assert "secret" not in said

    @pytest.mark.parametrize("state", ["empty", "older", "newer"])
    def test_refuses_another_schema(self, tmp_path: Path, nowhere: str, state: str) -> None:
        url = f"sqlite:///{tmp_path}/other.db"
        if state != "empty":
            make_tables(url, 2)
            engine = create_engine(url)
            with engine.begin() as connection:
                connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
                if state == "older":
                    connection.execute(text(f"DELETE FROM {VERSION_TABLE}"))
            engine.dispose()
        said = saga_says(4, "coordinator", "--journal", url, "--broker", nowhere)
        assert ("saga db upgrade" if state != "newer" else "9999") in said


class TestLaunch:
    """`saga launch` takes a run whole or not at all."""

    def test_refuses_a_plan_that_changed_under_its_version(
        self, journal_url: str, nowhere: str, tmp_path: Path
    ) -> None:
        for module, timeout, version in (("first", 30, 1), ("second", 60, 1), ("third", 60, 2)):
            source = MODULE.format(timeout=timeout, version=version, name="send")
            (tmp_path / f"{_unique(tmp_path, module)}.py").write_text(source)
        say = Launcher(journal_url, nowhere, tmp_path)
        say(0, "first", '{"box": "a"}')
        said = say(4, "second", '{"box": "b"}')
        assert "send version 1" in said
        assert "30 s is now 60 s" in said
        say(0, "third", '{"box": "c"}')
        assert _runs(journal_url) == 2

    @pytest.mark.parametrize(
        ("given", "code", "message"),
        [
            ('{"box": 5}', 2, "box"),
            ('{"box": "a", "count": "many"}', 2, "count"),
            ("{}", 2, "box"),
            ('{"box": "a", "lid": 1}', 2, "lid"),
            ("no JSON", 2, "JSON"),
            ('{"box": "' + "x" * 1_100_000 + '"}', 2, "1,048,576"),
        ],
        ids=["type", "another type", "missing", "unknown", "no JSON", "too large"],
    )
    def test_refuses_input_by_name(
        self, journal_url: str, nowhere: str, tmp_path: Path, given: str, code: int, message: str
    ) -> None:
        source = MODULE.format(timeout=30, version=1, name="send")
        (tmp_path / f"{_unique(tmp_path, 'only')}.py").write_text(source)
        (tmp_path / "input.json").write_text(given)
        say = Launcher(journal_url, nowhere, tmp_path)
        assert message in say(code, "only", "input.json")
        assert _runs(journal_url) == 0

    def test_refuses_a_saga_that_is_none(
        self, journal_url: str, nowhere: str, tmp_path: Path
    ) -> None:
        source = MODULE.format(timeout=30, version=1, name="another")
        (tmp_path / f"{_unique(tmp_path, 'named')}.py").write_text(source)
        said = Launcher(journal_url, nowhere, tmp_path)(3, "named", '{"box": "a"}')
        assert "'send'" in said
        assert "another" in said

    def test_says_that_its_journal_is_away(self, nowhere: str, tmp_path: Path) -> None:
        source = MODULE.format(timeout=30, version=1, name="send")
        (tmp_path / f"{_unique(tmp_path, 'lost')}.py").write_text(source)
        journal = f"postgresql+psycopg://u:secret@127.0.0.1:{free_port()}/j"
        said = Launcher(journal, nowhere, tmp_path)(5, "lost", '{"box": "a"}')
        assert "secret" not in said

    def test_is_durable_without_a_broker(
        self, journal_url: str, nowhere: str, tmp_path: Path
    ) -> None:
        source = MODULE.format(timeout=30, version=1, name="send")
        (tmp_path / f"{_unique(tmp_path, 'alone')}.py").write_text(source)
        Launcher(journal_url, nowhere, tmp_path)(0, "alone", '{"box": "a"}')
        assert _runs(journal_url) == 1


def _unique(folder: Path, module: str) -> str:
    """A module's name, once a process."""
    return f"{module}_{folder.name.replace('-', '_')}"


class Launcher:
    """Launches the saga of a module that the test has written."""

    def __init__(self, journal: str, broker: str, folder: Path) -> None:
        self._where = ("--journal", journal, "--broker", broker)
        self._folder = folder

    def __call__(self, code: int, module: str, given: str) -> str:
        name = _unique(self._folder, module)
        sys.path.insert(0, str(self._folder))
        try:
            with SAGAS.isolated():  # every module here is another release of the same saga
                return saga_says(code, "launch", "send", given, "--app", name, *self._where)
        finally:
            sys.path.remove(str(self._folder))


def _runs(journal_url: str) -> int:
    journal = SqlJournal(journal_url)
    try:
        return len(journal.runs(RunFilter()).runs)
    finally:
        journal.close()
