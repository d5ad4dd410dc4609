"""The bank under test: random transfers between three ledgers on two servers, and the oracle over all of them."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, create_engine, text

from orchestrator import wiring
from orchestrator.client import Client
from orchestrator.errors import JournalUnavailableError, OutcomeUnknownError
from orchestrator.journal.sql import SqlJournal
from orchestrator.settings import load
from orchestrator.views.read_model import differences
from tests.e2e import three_ledgers as ledgers
from tests.servers import Postgres

BATCH = 10
OPEN_AT_MOST = 60
PAUSE_S = 0.1
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"


class Clearing:
    """Three hundred accounts, and whoever launches transfers between them."""

    def __init__(
        self,
        client: Client,
        journal: SqlJournal,
        databases: dict[str, Engine],
        seed: int,
        open_at_most: int = OPEN_AT_MOST,
    ) -> None:
        self.client = client
        self.journal = journal
        self.environment = {
            name: value for name, value in os.environ.items() if "_DATABASE_URL" in name
        }
        self.accepted: dict[str, tuple[str, dict[str, Any]]] = {}
        """By run id: its saga and input."""
        self._databases = databases
        self._chance = random.Random(seed)
        self._open_at_most = open_at_most

    @classmethod
    @contextmanager
    def open(
        cls,
        journal_server: Postgres,
        ledger_server: Postgres,
        broker_url: str,
        seed: int,
        open_at_most: int = OPEN_AT_MOST,
    ) -> Iterator[Clearing]:
        """Make the databases: one ledger beside the journal, two on the other server."""
        with ExitStack() as stack:
            homes = {"a": journal_server, "b": ledger_server, "c": ledger_server}
            urls = {name: stack.enter_context(home.database()) for name, home in homes.items()}
            environment = {
                "SAGA_JOURNAL_URL": stack.enter_context(journal_server.database()),
                "SAGA_BROKER_URL": broker_url,
                "SAGA_APPS": ledgers.__name__,
                "SAGA_LEASE_S": "3",
                "SAGA_SWEEP_S": "2",
                "SAGA_IN_DOUBT_S": "20",
                **{ledgers.variable(name): url for name, url in urls.items()},
            }
            stack.enter_context(patch.dict(os.environ, environment))
            databases = {name: create_engine(url, pool_pre_ping=True) for name, url in urls.items()}
            for engine in databases.values():
                stack.callback(engine.dispose)
                with engine.begin() as connection:
                    for statement in ledgers.TABLES:
                        connection.execute(text(statement))
            settings = load()
            sagas = wiring.definitions((ledgers.__name__,)).sagas
            journal = wiring.make_journal(settings)
            stack.callback(journal.close)
            client = wiring.client(settings, journal, sagas)
            yield cls(client, journal, databases, seed, open_at_most)

    def launch(self, runs: int, give_up: threading.Event) -> None:
        """Launch with keys until there are as many, some way ahead of those that have ended."""
        launched = 0
        while launched < runs:
            count = min(BATCH, runs - launched)
            way = ledgers.saga_name(*self._chance.choice(ledgers.WAYS))
            given = [self._transfer(launched + number) for number in range(count)]
            while not self._launched(way, given):
                give_up.wait(PAUSE_S)
            launched += count
            while self._open() > self._open_at_most:
                time.sleep(PAUSE_S)  # slow on purpose: as many are under way as a bank would have

    def at_rest(self) -> bool:
        """Whether every run has ended. A branch that couldn't be told for long is stuck until it can: that heals."""
        try:
            counts = self.outcomes()
        except JournalUnavailableError:
            return False
        ended = sum(counts.get(status, 0) for status in ("completed", "compensated"))
        return ended == sum(counts.values()) >= len(self.accepted)

    def outcomes(self) -> dict[str, int]:
        """Status to number of runs."""
        found: Counter[str] = Counter()
        for counts in self.journal.counts().values():
            found.update(counts)
        return dict(found)

    def complaints(self) -> Iterator[str]:
        """What is wrong, by the letters of the oracle."""
        rows = self._rows()
        for missing in set(self.accepted) - set(rows):
            yield f"(a) launch {missing} was accepted and has no run"
        for row in rows.values():
            if row.status not in {"completed", "compensated"}:
                yield f"(c) run {row.run_id} is {row.status}: {row.reason}"
        yield from self._books({row.run_id for row in rows.values() if row.status == "completed"})
        yield from (f"(d) {line}" for line in self.journal.verify())
        yield from (f"(e) {line}" for line in differences(self.journal))
        for name, engine in self._databases.items():
            with engine.connect() as connection:
                for gid in connection.scalars(text(_PREPARED)):
                    yield f"(f) {gid} is left prepared in ledger {name}"

    def _books(self, completed: set[str]) -> Iterator[str]:
        """(b): every account holds exactly what the completed runs make of it, so the total is what it was."""
        expected = {name: Counter[int]() for name in ledgers.LEDGERS}
        kept: Counter[str] = Counter()
        for run_id in completed:
            saga, given = self.accepted[run_id]
            _, source, _, target = saga.split("_")
            expected[source][given["debited"]] -= given["cents"]
            expected[target][given["credited"]] += given["cents"]
            kept[given["transfer"]] += 1
        total = 0
        for name, engine in self._databases.items():
            with engine.connect() as connection:
                for number, cents in connection.execute(text("SELECT number, cents FROM account")):
                    total += cents
                    due = ledgers.FIRST_CENTS + expected[name][number]
                    if cents != due:
                        yield f"(b) account {number} of ledger {name} has {cents} cents, due are {due}"
                found = connection.scalars(text("SELECT transfer FROM kept"))
                if name == "a" and (noted := Counter(found)) != kept:
                    yield f"(b) transfers that were noted otherwise than once: {noted - kept or kept - noted}"
        first = len(ledgers.LEDGERS) * ledgers.ACCOUNTS * ledgers.FIRST_CENTS
        if total != first:
            yield f"(b) {first} cents at first, {total} now"

    def _launched(self, way: str, given: list[dict[str, Any]]) -> bool:
        keys = [one["transfer"] for one in given]
        try:
            runs = self.client.launch_named_many(way, given, keys)
        except (JournalUnavailableError, OutcomeUnknownError):
            return False
        self.accepted.update({run.id: (way, one) for run, one in zip(runs, given, strict=True)})
        return True

    def _transfer(self, number: int) -> dict[str, Any]:
        cents = ledgers.THIRTEEN if number % 17 == 3 else self._chance.randint(14, 3_000)
        return {
            "transfer": f"transfer-{number}",
            "debited": self._chance.randint(1, ledgers.ACCOUNTS),
            "credited": self._chance.randint(1, ledgers.ACCOUNTS),
            "cents": cents,
            "minus": -cents,
        }

    def _open(self) -> int:
        try:
            counts = self.outcomes()
        except JournalUnavailableError:
            return 0
        return sum(counts.get(status, 0) for status in ("accepted", "running", "compensating"))

    def _rows(self) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        cursor: str | None = None
        while True:
            page = self.client.list(cursor=cursor, limit=200)
            rows.update({row.run_id: row for row in page.runs})
            cursor = page.cursor
            if cursor is None:
                return rows
