"""The books: what stands in the shop's four databases against what the runs say happened.

An honest count: plain SQL on each service's own tables, nothing of the code that wrote them. An order that completed
counts once everywhere, any other nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Engine, create_engine, text

from orchestrator import Client
from orchestrator.journal.port import RunFilter
from orchestrator.kernel.summary import RunSummary
from sagas.orders import Order
from workers import inventory, payments, shipping
from workers.databases import database_url

_PAGE = 200


class Check(NamedTuple):
    """One thing that was counted twice. ``expected`` follows from the runs, ``found`` from a service's database."""

    where: str
    what: str
    expected: str
    found: str
    differences: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether both say the same."""
        return not self.differences and self.expected == self.found


def check(client: Client, orders: Sequence[Order]) -> list[Check]:
    """Count everything. The orders are those that were launched, each with its id as key."""
    runs = _runs(client)
    done = [order for order in orders if _status(runs.get(order.id)) == "completed"]
    return [
        _every_order_has_a_run(orders, runs),
        _every_run_is_settled(runs),
        *_inventory(done),
        *_payments(done),
        *_shipping(done),
        *_mail(done, runs),
    ]


def _runs(client: Client) -> dict[str, RunSummary]:
    found: dict[str, RunSummary] = {}
    cursor: str | None = None
    while True:
        page = client.list(RunFilter(saga="place_order"), cursor=cursor, limit=_PAGE)
        for row in page.runs:
            if row.key is not None:
                found[row.key] = row
        cursor = page.cursor
        if cursor is None:
            return found


def _status(run: RunSummary | None) -> str:
    return "none" if run is None else run.status


def _every_order_has_a_run(orders: Sequence[Order], runs: Mapping[str, RunSummary]) -> Check:
    expected = Counter(order.id for order in orders)
    return _same("journal", "orders with a run", expected, Counter(runs.keys()))


def _every_run_is_settled(runs: Mapping[str, RunSummary]) -> Check:
    settled = Counter(
        key for key, run in runs.items() if run.status in {"completed", "compensated"}
    )
    return _same("journal", "runs completed or compensated", Counter(runs.keys()), settled)


def _inventory(done: Sequence[Order]) -> Iterator[Check]:
    sold: Counter[str] = Counter()
    for order in done:
        sold[order.sku] += order.quantity
    left = Counter({sku: n - sold[sku] for sku, (_, n) in inventory.FIRST_STOCK.items()})
    engine = create_engine(database_url("inventory"))
    yield _same(
        "inventory", "articles on the shelf", left, _count(engine, "sku, stock FROM article")
    )
    held = _count(engine, "sku, sum(quantity) FROM held WHERE NOT released GROUP BY sku")
    yield _same("inventory", "articles held for orders", sold, held)
    engine.dispose()


def _payments(done: Sequence[Order]) -> Iterator[Check]:
    paid: Counter[str] = Counter()
    for order in done:
        paid[order.customer] += order.total_cents
    left = Counter({who: n - paid[who] for who, (_, n) in payments.FIRST_CUSTOMERS.items()})
    engine = create_engine(database_url("payments"))
    balances = _count(engine, "customer, balance_cents FROM account")
    yield _same("payments", "cents in customers' accounts", left, balances)
    charged = "customer, sum(amount_cents) FROM charge WHERE NOT refunded GROUP BY customer"
    yield _same("payments", "cents charged and kept", paid, _count(engine, charged))
    number = Counter(order.customer for order in done)
    charges = "customer, count(*) FROM charge WHERE NOT refunded GROUP BY customer"
    yield _same("payments", "charges kept", number, _count(engine, charges))
    engine.dispose()


def _shipping(done: Sequence[Order]) -> Iterator[Check]:
    sent = Counter(order.address.split()[-1] for order in done)
    grams: Counter[str] = Counter()
    for order in done:
        grams[order.address.split()[-1]] += order.quantity * inventory.FIRST_STOCK[order.sku][0]
    left = Counter({zone: n - sent[zone] for zone, (_, n) in shipping.FIRST_ZONES.items()})
    engine = create_engine(database_url("shipping"))
    yield _same("shipping", "places left", left, _count(engine, "name, places FROM zone"))
    parcels = _count(engine, "zone, count(*) FROM sent GROUP BY zone")
    yield _same("shipping", "parcels sent", sent, parcels)
    weights = _count(engine, "zone, sum(weight_g) FROM sent GROUP BY zone")
    yield _same("shipping", "grams sent", grams, weights)
    engine.dispose()


def _mail(done: Sequence[Order], runs: Mapping[str, RunSummary]) -> Iterator[Check]:
    promised = Counter(
        _receipt(order.customer, runs[order.id].result["tracking"], order.total_cents)
        for order in done
    )
    engine = create_engine(database_url("mail"))
    with engine.connect() as connection:
        letters = connection.execute(text("SELECT customer, tracking, total_cents FROM letter"))
        sent = Counter(_receipt(*row) for row in letters)
    yield _same("mail", "receipts sent", promised, sent)
    engine.dispose()


def _receipt(customer: str, tracking: str, total_cents: int) -> str:
    return f"{customer}, {tracking}, {total_cents} cents"


def _count(engine: Engine, query: str) -> Counter[str]:
    with engine.connect() as connection:
        rows: Any = connection.execute(text(f"SELECT {query}"))  # our own queries, above
        return Counter({str(name): int(number) for name, number in rows})


def _same(where: str, what: str, expected: Counter[str], found: Counter[str]) -> Check:
    names = sorted({*expected, *found})
    differences = tuple(
        f"{name}: {expected[name]} expected, {found[name]} found"
        for name in names
        if expected[name] != found[name]
    )
    return Check(where, what, f"{expected.total():,}", f"{found.total():,}", differences)
