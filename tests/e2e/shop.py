"""The shop under test: `place_order` on five databases of one PostgreSQL, and the oracle over all of them."""

from __future__ import annotations

import os
import random
import threading
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
from tests.servers import Postgres

SERVICES = ("inventory", "payments", "shipping", "mail")
APPS = ("sagas.orders", *(f"workers.{name}" for name in SERVICES))
BATCH = 20
STOCK = 1_000_000
PAUSE_S = 0.25


class Shop:
    """A shop with plenty in stock, so that the books are what is tested."""

    def __init__(self, client: Client, journal: SqlJournal, databases: dict[str, Engine]) -> None:
        self.client = client
        self.journal = journal
        self.environment = {name: os.environ[name] for name in os.environ if "DATABASE_URL" in name}
        self.accepted: set[str] = set()
        self._databases = databases
        self._chance = random.Random(7)

    @classmethod
    @contextmanager
    def open(cls, postgres: Postgres, broker_url: str) -> Iterator[Shop]:
        """Make the databases, point the environment at them for as long as it is open, and fill the shelves."""
        with ExitStack() as stack:
            urls = {
                name: stack.enter_context(postgres.database()) for name in ("journal", *SERVICES)
            }
            environment = {
                "SAGA_JOURNAL_URL": urls.pop("journal"),
                "SAGA_BROKER_URL": broker_url,
                "SAGA_APPS": ",".join(APPS),
                "SAGA_LEASE_S": "3",
                **{f"{name.upper()}_DATABASE_URL": url for name, url in urls.items()},
            }
            stack.enter_context(patch.dict(os.environ, environment))
            settings = load()
            sagas = wiring.definitions(("sagas.orders",)).sagas
            from workers import prepare

            prepare.main()
            databases = {name: create_engine(url, pool_pre_ping=True) for name, url in urls.items()}
            journal = wiring.make_journal(settings)
            stack.callback(journal.close)
            for engine in databases.values():
                stack.callback(engine.dispose)
            shop = cls(wiring.client(settings, journal, sagas), journal, databases)
            shop.stock_up()
            yield shop

    def stock_up(self) -> None:
        """Have enough of everything, but of lanterns, and let every bank take refunds."""
        self._run("inventory", f"UPDATE article SET stock = {STOCK} WHERE sku <> 'lantern'")
        self._run("payments", f"UPDATE account SET balance_cents = {STOCK * 100}")
        self._run("payments", "UPDATE account SET balance_cents = 0 WHERE customer = 'penniless'")
        self._run("payments", "UPDATE bank SET refunds = true, unanswered = 0")
        self.first_money = self._one("payments", "SELECT sum(balance_cents) FROM account")
        self.first_stock = self._one("inventory", "SELECT sum(stock) FROM article")
        self.first_places = self._one("shipping", "SELECT sum(places) FROM zone")

    def launch(self, runs: int, give_up: threading.Event) -> None:
        """Launch in batches with keys until there are as many; a launch that fails is launched again."""
        for start in range(0, runs, BATCH):
            numbers = range(start, min(start + BATCH, runs))
            orders = [{"order": self._order(number)} for number in numbers]
            keys = [f"order-{number}" for number in numbers]
            while True:
                try:
                    launched = self.client.launch_named_many("place_order", orders, keys)
                    break
                except (JournalUnavailableError, OutcomeUnknownError):
                    give_up.wait(PAUSE_S)
            self.accepted.update(run.id for run in launched)
            give_up.wait(PAUSE_S)

    def at_rest(self) -> bool:
        """Whether every run has ended or is stuck."""
        try:
            counts = self.outcomes()
        except JournalUnavailableError:
            return False
        moving = sum(counts.get(status, 0) for status in ("accepted", "running", "compensating"))
        return moving == 0 and sum(counts.values()) >= len(self.accepted)

    def outcomes(self) -> dict[str, int]:
        """Status to number of runs."""
        return dict(self.journal.counts().get("place_order", {}))

    def complaints(self) -> Iterator[str]:
        """What is wrong, by the letters of the oracle."""
        rows = self._rows()
        for missing in self.accepted - set(rows):
            yield f"(a) launch {missing} was accepted and has no run"
        for row in rows.values():
            if row.status == "stuck" and not row.reason:
                yield f"(c) run {row.run_id} is stuck without a reason"
        yield from self._books({row.run_id for row in rows.values() if row.status == "completed"})
        yield from (f"(d) {line}" for line in self.journal.verify())
        yield from (f"(e) {line}" for line in differences(self.journal))
        prepared = self._one("payments", "SELECT count(*) FROM pg_prepared_xacts")
        if prepared:
            yield f"(f) {prepared} prepared transactions are left"

    def _books(self, completed: set[str]) -> Iterator[str]:
        """(b): what the participants' tables hold is exactly what the completed runs did."""
        stuck = self.outcomes().get("stuck", 0)
        for what, service, query in (
            ("holds", "inventory", "SELECT count(*) FROM held WHERE NOT released"),
            ("charges", "payments", "SELECT count(*) FROM charge WHERE NOT refunded"),
            ("parcels", "shipping", "SELECT count(*) FROM sent"),
            ("letters", "mail", "SELECT count(*) FROM letter"),
        ):
            found = self._one(service, query)
            if not len(completed) <= found <= len(completed) + stuck:
                yield f"(b) {found} {what} for {len(completed)} completed and {stuck} stuck runs"
        for what, service, query, first in (
            (
                "money",
                "payments",
                (
                    "SELECT (SELECT sum(balance_cents) FROM account)"
                    " + (SELECT coalesce(sum(amount_cents), 0) FROM charge WHERE NOT refunded)"
                ),
                self.first_money,
            ),
            (
                "stock",
                "inventory",
                (
                    "SELECT (SELECT sum(stock) FROM article)"
                    " + (SELECT coalesce(sum(quantity), 0) FROM held WHERE NOT released)"
                ),
                self.first_stock,
            ),
            (
                "places",
                "shipping",
                "SELECT (SELECT sum(places) FROM zone) + (SELECT count(*) FROM sent)",
                self.first_places,
            ),
        ):
            found = self._one(service, query)
            if found != first:
                yield f"(b) {what}: {first} at first, {found} now"

    def _rows(self) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        cursor: str | None = None
        while True:
            page = self.client.list(cursor=cursor, limit=200)
            rows.update({row.run_id: row for row in page.runs})
            cursor = page.cursor
            if cursor is None:
                return rows

    def _order(self, number: int) -> dict[str, Any]:
        customer = "penniless" if number % 11 == 3 else f"north-{number % 24 + 1:02}"
        return {
            "id": f"order-{number}",
            "customer": customer,
            "sku": "lantern"
            if number % 13 == 5
            else self._chance.choice(["apple", "candle", "rope"]),
            "quantity": self._chance.randint(1, 3),
            "total_cents": self._chance.randint(100, 900),
            "address": "Lane 1 Island" if number % 17 == 2 else "Lane 1 Town",
        }

    def _one(self, service: str, query: str) -> int:
        with self._databases[service].connect() as connection:
            return int(connection.scalar(text(query)) or 0)

    def _run(self, service: str, statement: str) -> None:
        with self._databases[service].begin() as connection:
            connection.execute(text(statement))
