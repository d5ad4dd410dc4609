"""Money between a PostgreSQL and a MariaDB ledger, with real workers that die by SIGKILL: all of it moves, or none.

Over Redis and over RabbitMQ. Rows C2, P1, P2, P5, P7, P10, Q2, R2 and O1 of the two-phase matrix, end to end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import Engine, create_engine, text

from orchestrator import wiring
from orchestrator.client import Client, Run
from orchestrator.journal.records import shard_of
from orchestrator.settings import Settings
from orchestrator.transport.gid import PREFIX, Gid
from tests.e2e.dying_branches import arm
from tests.e2e.installation import ROOT, SAGA, ended
from tests.e2e.storm import Process
from tests.servers import MariaDB, Postgres
from tests.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

FIRST_CENTS = 1_000_000
ACCOUNTS = 100
IN_DOUBT_S = 3.0


class Bank:
    """Two ledgers, a worker and a coordinator, as real processes."""

    def __init__(
        self, folder: Path, broker: str, journal: str, ledger_a: str, ledger_b: str
    ) -> None:
        self.folder = folder
        self._urls = ledger_a, ledger_b
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SAGA_JOURNAL_URL": journal,
            "SAGA_BROKER_URL": broker,
            "SAGA_SHARDS": "2",
            "SAGA_LEASE_S": "2",
            "SAGA_POLL_S": "0.1",
            "SAGA_SWEEP_S": "0.5",
            "SAGA_IN_DOUBT_S": str(IN_DOUBT_S),
            "SAGA_APPS": "sagas.transfers,workers.ledgers,workers.mail,tests.e2e.dying_branches",
            "LEDGER_A_DATABASE_URL": ledger_a,
            "LEDGER_B_DATABASE_URL": ledger_b,
            "MAIL_DATABASE_URL": f"sqlite:///{folder}/mail.db",
            "DYING_FOLDER": str(folder),
        }
        self.settings = Settings(journal_url=journal, broker_url=broker, shards=2)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.journal = wiring.make_journal(self.settings)
        self._stack.callback(self.journal.close)
        self.a, self.b = (self._engine(url) for url in self._urls)
        self.worker = self._kept("worker", "worker", "--processes", "3")
        eventually(lambda: self._is_open(self.b), 60, what="the ledgers are open")
        self._publish()
        self._kept("coordinator", "coordinator")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def transfer(
        self,
        cents: int = 2_500,
        source: str = "account-001",
        target: str = "account-002",
        key: str | None = None,
    ) -> Run[Any]:
        order = {"source": source, "target": target, "amount_cents": cents}
        keys = [key or uuid.uuid4().hex]
        (run,) = self.client.launch_named_many("transfer", [{"order": order}], keys)
        return run

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process that stays dead once it is."""
        log = self._stack.enter_context((self.folder / f"{name}.log").open("ab"))
        process = subprocess.Popen(
            command, env=self.environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    @property
    def sums(self) -> tuple[int, int]:
        """What both ledgers hold, less what they began with."""
        first = FIRST_CENTS * ACCOUNTS
        found = [
            self._one(engine, "SELECT sum(balance_cents) FROM ledger_account")
            for engine in (self.a, self.b)
        ]
        return found[0] - first, found[1] - first

    @property
    def prepared(self) -> int:
        """Branches of ours that are left."""
        with self.a.connect() as connection:
            found = connection.execute(text("SELECT gid FROM pg_prepared_xacts"))
            gids = [row.gid for row in found if row.gid.startswith(PREFIX)]
        with self.b.connect() as connection:
            rows = connection.exec_driver_sql("XA RECOVER")
            gids += [row[3] for row in rows if row[3].startswith(PREFIX.encode())]
        return len(gids)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def types(self, run: Run[Any]) -> list[str]:
        return [record.type for record in self.client.history(run.id)]

    def _publish(self) -> None:
        """Have the definitions for launches: the module reads the ledgers' places when it is imported."""
        old = {name: os.environ.get(name) for name in self.environment if "_DATABASE_URL" in name}
        os.environ.update({name: self.environment[name] for name in old})
        try:
            defined = wiring.definitions(("sagas.transfers",))
        finally:
            for name, value in old.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
            for name in [n for n in sys.modules if n in {"sagas.transfers", "workers.ledgers"}]:
                del sys.modules[name]
        transport = wiring.transport(self.settings)
        self._stack.callback(transport.close)
        self.client = Client(self.journal, defined.sagas, transport.poke)

    def _is_open(self, engine: Engine) -> bool:
        try:
            return self._one(engine, "SELECT count(*) FROM ledger_account") == ACCOUNTS
        except Exception:  # noqa: BLE001 - no table yet
            return False

    def _engine(self, url: str) -> Engine:
        engine = create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        self._stack.callback(engine.dispose)
        return engine

    def _one(self, engine: Engine, query: str) -> int:
        with engine.connect() as connection:
            return int(connection.scalar(text(query)) or 0)

    def _kept(self, name: str, *command: str) -> Process:
        log = self._stack.enter_context((self.folder / f"{name}.log").open("ab"))
        process = Process(name, [*SAGA, *command], self.environment, log)
        self._stack.callback(process.end)
        return process


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def bank(
    request: pytest.FixtureRequest,
    postgres_server: Postgres,
    mariadb_server: MariaDB,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bank]:
    server = request.getfixturevalue(f"{request.param}_server")
    with ExitStack() as stack:
        broker = server.database() if request.param == "redis" else server.vhost()
        bank = Bank(
            tmp_path_factory.mktemp("bank"),
            stack.enter_context(broker),
            stack.enter_context(postgres_server.database()),
            stack.enter_context(postgres_server.database()),
            stack.enter_context(mariadb_server.database()),
        )
        yield stack.enter_context(bank)


@pytest.fixture(autouse=True)
def conserved(bank: Bank) -> Iterator[None]:
    """After each test: what one ledger lost the other one has, and nothing is left prepared."""
    yield
    eventually(lambda: bank.prepared == 0, 30, what="nothing is left prepared")
    assert sum(bank.sums) == 0


def test_money_moves_in_both_or_in_none(bank: Bank) -> None:
    before = bank.sums[1]
    assert ended(bank.transfer()) == "completed"
    assert bank.sums[1] - before == 2_500
    refused = bank.transfer(cents=FIRST_CENTS * 2)
    assert ended(refused) == "compensated"
    assert bank.sums[1] - before == 2_500


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
@pytest.mark.parametrize("point", ["worked", "prepared", "committing", "committed"])
def test_p1_p2_p5_a_worker_process_dies(bank: Bank, point: str, database: str) -> None:
    before = bank.sums[1]
    file = arm(bank.folder, point, database)
    run = bank.transfer()
    assert ended(run) == "completed"
    assert not file.exists()
    assert bank.sums[1] - before == 2_500


@pytest.mark.parametrize("point", ["rolling back", "rolled back"])
def test_c2_p7_a_worker_process_dies_while_it_aborts(bank: Bank, point: str) -> None:
    before = bank.sums[1]
    file = arm(bank.folder, point, "mariadb")
    assert ended(bank.transfer(cents=FIRST_CENTS * 2)) == "compensated"
    eventually(lambda: not file.exists(), 30)
    assert bank.sums[1] == before


def test_the_whole_worker_dies_amid_many(bank: Bank) -> None:
    before = bank.sums[1]
    names = [f"account-{n:03}" for n in range(3, 23)]
    runs = [bank.transfer(100, name, name) for name in names]
    bank.worker.kill()
    assert [ended(run) for run in runs] == ["completed"] * 20
    assert bank.sums[1] - before == 2_000


def test_many_wait_for_one_account(bank: Bank) -> None:
    """What waits for a prepared branch doesn't keep its commit from a worker process: all processes serve both."""
    before = bank.sums[1]
    runs = [bank.transfer(100, f"account-{n:03}", "account-099") for n in range(30, 42)]
    outcomes = [ended(run) for run in runs]
    assert set(outcomes) <= {"completed", "compensated"}
    assert outcomes.count("completed") >= 6
    assert bank.sums[1] - before == 100 * outcomes.count("completed")


def test_r2_an_orphan_without_a_record_is_told_of_and_left(bank: Bank) -> None:
    run = uuid.uuid4().hex
    gid = Gid(shard_of(run, 2), 0, run, "debit")
    with bank.a.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql(
            "UPDATE ledger_account SET balance_cents = 0 WHERE owner = 'account-100'"
        )
        connection.exec_driver_sql(f"PREPARE TRANSACTION '{gid}'")
    assert bank.prepared == 1
    told = f"branch {gid} of ledger-a. is in doubt, and this journal can't tell: it has no record of the run"
    eventually(lambda: told in bank.log("coordinator"), 30, what="the orphan is told of")
    assert bank.prepared == 1
    with bank.a.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"ROLLBACK PREPARED '{gid}'")
