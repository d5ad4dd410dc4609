"""An installation of its own: journal, broker, the bank's database, and real processes started by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from sqlalchemy import create_engine, text

from orchestrator import wiring
from orchestrator.client import Client, Run
from orchestrator.settings import Settings
from tests.e2e import faulty
from tests.e2e.storm import Process
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
SAGA = (sys.executable, "-m", "orchestrator.cli")
LEASE_S = 2.0
KEY = "a signing key of more than sixteen bytes"


class Installation:
    """Two shards; nothing runs until it is asked for. A context manager, which stops all of it."""

    def __init__(self, folder: Path, broker_url: str, journal_url: str | None = None) -> None:
        self.folder = folder
        self.settings = Settings(
            journal_url=journal_url or f"sqlite:///{folder}/journal.db",
            broker_url=broker_url,
            shards=2,
            lease_s=LEASE_S,
            poll_s=0.1,
            signing_keys=(KEY,),  # type: ignore[arg-type] # read as from the environment
        )
        self.bank_url = f"sqlite:///{folder}/bank.db"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SAGA_JOURNAL_URL": self.settings.journal_url,
            "SAGA_BROKER_URL": broker_url,
            "SAGA_LEASE_S": str(LEASE_S),
            "SAGA_POLL_S": "0.1",
            "SAGA_SIGNING_KEYS": KEY,
            "SAGA_APPS": "tests.e2e.faulty,tests.e2e.dying_worker",
            "FAULTY_DATABASE_URL": self.bank_url,
            "FAULTY_FOLDER": str(folder),
        }
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        engine = create_engine(self.bank_url)
        with engine.begin() as connection:
            connection.execute(text(faulty.CREATE))
        engine.dispose()
        self.journal = wiring.make_journal(self.settings)
        self._stack.callback(self.journal.close)
        sagas = {one.name: one for one in (faulty.patient, faulty.hasty)}
        self.client: Client = wiring.client(self.settings, self.journal, sagas)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def worker(self) -> Process:
        """A worker with two processes, started again whenever it is killed."""
        return self._kept("worker", [*SAGA, "worker", "--processes", "2"])

    def coordinator(self) -> Process:
        """A coordinator, started again whenever it is killed."""
        return self._kept("coordinator", [*SAGA, "coordinator"])

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process that stays dead once it is; its output is in ``log(name)``."""
        with self._log(name).open("ab") as log:
            process = subprocess.Popen(
                command, env=self.environment, cwd=ROOT, stdout=log, stderr=log
            )
        self._stack.callback(_end, process)
        return process

    def log(self, name: str) -> str:
        """What a process has printed."""
        return self._log(name).read_text(errors="replace")

    def owners(self) -> dict[int, str]:
        """Shard to owner of its lease."""
        return {lease.shard: lease.owner for lease in self.journal.leases()}

    def launch_in(self, shard: int, saga: str, order: str, *trouble: str) -> Run[Any]:
        """Launch until the run is in this shard; those before it go their way under other names."""
        for number in range(100):
            name = order if number == 0 else f"{order}-{number}"
            run = self.client.launch_named(saga, {"order": name, "trouble": list(trouble)})
            if run.summary().shard == shard:
                return run
            faulty.mark(name, "go", self.folder)
        raise AssertionError("a hundred runs, none in that shard")

    def diary(self, run: Run[Any]) -> list[str]:
        """Every call of a participant for the run's order, committed or not."""
        file = self.folder / f"{self.order(run)} diary"
        return file.read_text().splitlines() if file.exists() else []

    def order(self, run: Run[Any]) -> str:
        """The order a run is about."""
        return str(run.state().input["order"])

    def effects(self, run: Run[Any]) -> tuple[int, int, int]:
        """What is left of a run: entries in the bank, their sum, and bookings outside."""
        order = self.order(run)
        engine = create_engine(self.bank_url)
        query = text("SELECT count(*), coalesce(sum(amount), 0) FROM entry WHERE customer = :order")
        with engine.connect() as connection:
            count, total = connection.execute(query, {"order": order}).one()
        engine.dispose()
        return int(count), int(total), len(list(self.folder.glob(f"{order} booked *")))

    def types(self, run: Run[Any]) -> list[str]:
        """The run's events by type."""
        return [record.type for record in self.client.history(run.id)]

    def complaints(self) -> Iterator[str]:
        """What is wrong with the journal itself."""
        from orchestrator.views.read_model import differences

        yield from self.journal.verify()
        yield from differences(self.journal)

    def _kept(self, name: str, command: Sequence[str]) -> Process:
        log = self._stack.enter_context(self._log(name).open("ab"))
        process = Process(name, command, self.environment, log)
        self._stack.callback(process.end)
        return process

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def ended(run: Run[Any], timeout_s: float = 90) -> str:
    """Wait until a run has ended or is stuck, and tell how."""

    def how() -> str:
        status = run.summary().status
        return "" if status in {"accepted", "running", "compensating"} else status

    return eventually(how, timeout_s, what=f"the end of {run}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
