"""What is measured on: PostgreSQL with fsync, Valkey, a worker, a coordinator; and how it is seen what ran."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis
from sqlalchemy import make_url

from benchmarks import tally
from benchmarks.chain import BACKEND_VARIABLE, QUEUE
from benchmarks.coordinating import PROFILE_VARIABLE
from benchmarks.processes import Process
from benchmarks.steps import DATABASE_VARIABLE, mixed, plain, stored
from orchestrator.client import Client, Run
from orchestrator.journal.sql import SqlJournal
from orchestrator.journal.upgrade import upgrade
from orchestrator.settings import Settings, load
from orchestrator.transport.celery_app import make_celery
from orchestrator.wiring import client, definitions
from tests.servers import Postgres, Valkey

APPS = ("benchmarks.steps", "benchmarks.ledgers")
WORKER_PROCESSES = 2
POLL_S = 0.004
GIVE_UP_S = 60.0


class Servers:
    """The servers of one benchmark run, shared by its scenarios, and a folder for what they leave."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="saga-bench-"))
        self.postgres = Postgres.launch()
        self.valkey = Valkey.launch()

    def close(self) -> None:
        """Stop them and delete everything."""
        self.valkey.close()
        self.postgres.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Stack:
    """One installation: a journal of its own, a coordinator, a worker, a client."""

    def __init__(self, servers: Servers, folder: Path, journal_url: str, **settings: Any) -> None:
        self.servers = servers
        self.folder = folder
        self._env = {
            "SAGA_JOURNAL_URL": journal_url,
            "SAGA_BROKER_URL": servers.valkey.url,
            "SAGA_NAMESPACE": folder.name,
            "SAGA_APPS": APPS[
                0
            ],  # a worker with two-phase services would look after their databases
            "SAGA_LOG_LEVEL": "WARNING",
            BACKEND_VARIABLE: servers.valkey.url,
            tally.FOLDER_VARIABLE: str(folder),
            **{f"SAGA_{name.upper()}": str(value) for name, value in settings.items()},
        }
        os.environ[tally.FOLDER_VARIABLE] = str(folder)
        self.settings: Settings = load(
            journal_url=journal_url,
            broker_url=servers.valkey.url,
            namespace=folder.name,
            apps=APPS,
            **settings,
        )
        upgrade(journal_url, shards=self.settings.shards)
        self.journal = SqlJournal(journal_url)
        self.client: Client = client(self.settings, self.journal, definitions(APPS).sagas)
        self.celery = make_celery(servers.valkey.url, result_backend=servers.valkey.url)
        self._participants_url = f"{journal_url}_participants"
        self._sql = psycopg.connect(_plain_url(journal_url), autocommit=True)
        self.coordinator: Process | None = None
        self.worker: Process | None = None

    def start_coordinator(self, **env: str) -> Process:
        """Start the coordinator and wait until it has begun."""
        profile = os.environ.get(PROFILE_VARIABLE)
        if profile:
            env[PROFILE_VARIABLE] = f"{profile}.{self.folder.name}"
        log = self.folder / "coordinator.log"
        self.coordinator = Process(["-m", "benchmarks.coordinating"], log, {**self._env, **env})
        assert self.coordinator.hear() == "ready"
        return self.coordinator

    def stop_coordinator(self) -> None:
        """End the coordinator in good order: it hands its shards over."""
        assert self.coordinator is not None
        process, self.coordinator = self.coordinator, None
        process.stop()

    def start_worker(
        self, queues: Sequence[str] | None = None, processes: int = WORKER_PROCESSES, **more: str
    ) -> Process:
        """Start a prefork worker that serves our participants and the chain's tasks; its environment has ``more``."""
        names = queues or [plain.queue, stored.queue, mixed.queue, QUEUE]
        arguments = ["-m", "celery", "-A", "benchmarks.worker", "worker", "--pool", "prefork"]
        arguments += ["--concurrency", str(processes), "-Q", ",".join(names), "-l", "WARNING"]
        env = {**self._env, DATABASE_VARIABLE: self._participants_url, **more}
        self.worker = Process(arguments, self.folder / "worker.log", env)
        return self.worker

    def make_participants_database(self) -> None:
        """Make the database that ``stored`` writes to."""
        name = make_url(self._participants_url).database
        self.servers.postgres.execute(f'CREATE DATABASE "{name}"')
        self.servers.postgres.execute(
            "CREATE TABLE effect (effect text PRIMARY KEY, n int)", name or ""
        )

    def participants_sql(self, query: str) -> Any:
        """One value from the participants' database."""
        return self.servers.postgres.execute(
            query, make_url(self._participants_url).database or ""
        )[0][0]

    def effects(self) -> list[int]:
        """The effects so far, by slot."""
        return tally.totals(self.folder)

    def scalar(self, query: str) -> Any:
        """One value from the journal's database, as an observer sees it."""
        row = self._sql.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def completed(self) -> int:
        """How many runs the journal has as completed."""
        return int(self.scalar("SELECT count(*) FROM saga_run WHERE status = 'completed'"))

    def nothing_queued(self) -> bool:
        """Whether workers have taken every message off the broker's queues."""
        with redis.Redis.from_url(self.servers.valkey.url) as broker:
            return not broker.exists(plain.queue, stored.queue, mixed.queue)

    def wait_for_effects(self, slot: int, wanted: int) -> None:
        """Wait until the step with this slot has run so often. Raises ``RuntimeError``."""
        self.wait_until(lambda: self.effects()[slot] >= wanted, f"{wanted} effects in slot {slot}")

    def wait_for_completed(self, wanted: int) -> None:
        """Wait until the journal has so many completed runs. Raises ``RuntimeError``."""
        self.wait_until(lambda: self.completed() >= wanted, f"{wanted} completed runs")

    def wait_until(self, holds: Any, what: str) -> None:
        """Wait for something, with a limit. Raises ``RuntimeError``."""
        give_up_at = time.monotonic() + GIVE_UP_S
        while not holds():
            for process in (self.coordinator, self.worker):
                if process is not None:
                    process.check()
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"not within {GIVE_UP_S:g} s: {what}; effects {self.effects()}")
            time.sleep(POLL_S)

    def launch(
        self, saga: Any, count: int, *, batch: int = 100, argument: Any = None
    ) -> list[Run[Any]]:
        """Launch ``count`` runs in transactions of ``batch``."""
        runs: list[Run[Any]] = []
        for start in range(0, count, batch):
            numbers = range(start, min(start + batch, count))
            runs += self.client.launch_many(
                saga, [(number if argument is None else argument,) for number in numbers]
            )
        return runs

    def close(self) -> None:
        """Stop the processes and let go of connections."""
        for process in (self.coordinator, self.worker):
            if process is not None:
                process.stop()
        self.journal.close()
        self._sql.close()


@contextmanager
def stack(servers: Servers, **settings: Any) -> Iterator[Stack]:
    """An installation with an empty journal and nothing started yet; settings as in ``Settings``."""
    folder = Path(tempfile.mkdtemp(prefix="stack_", dir=servers.folder))
    name = folder.name
    folder = folder.rename(folder.with_name(name.lower()))
    with servers.postgres.database() as url:
        it = Stack(servers, folder, url, **settings)
        try:
            yield it
        finally:
            it.close()


def _plain_url(url: str) -> str:
    """The URL as libpq has it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
