"""``place_order``: every way an order can go, and that the books see what is wrong."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Compensated, Stuck
from tests.unit.sagas.conftest import Here
from tests.waiting import eventually

WAIT_S = 30.0


def _order(shop: Here, number: int, **changes: Any) -> Any:
    given = {
        "id": f"order-{number}",
        "customer": "north-01",
        "sku": "apple",
        "quantity": 2,
        "total_cents": 80,
        "address": "1 Quay, Town",
    }
    return shop.module.Order(**given | changes)


def _launch(shop: Here, order: Any) -> Any:
    return shop.client.launch(shop.module.place_order, order, key=order.id)


def _wrong(shop: Here, *orders: Any) -> list[str]:
    from sagas.books import check  # as it is beside the fixture's own services

    return [f"{one.where}: {one.what}" for one in check(shop.client, list(orders)) if not one.holds]


def test_an_order_goes_through_all_four_services(shop: Here) -> None:
    order = _order(shop, 1)
    receipt = _launch(shop, order).result(WAIT_S)
    assert receipt.tracking == "TOWN-000001"
    assert receipt.total_cents == 80
    assert _wrong(shop, order) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sku": "lantern", "quantity": 11}, "reserve: out of stock: lantern"),
        ({"sku": "unicorn"}, "reserve: there is no article unicorn"),
        ({"customer": "penniless"}, "charge: card declined"),
        ({"customer": "nobody"}, "charge: nobody has no account"),
        ({"address": "1 Quay, Atlantis"}, "quote: no courier goes to Atlantis"),
    ],
)
def test_a_refused_order_leaves_no_trace(shop: Here, changes: Any, reason: str) -> None:
    order = _order(shop, 1, **changes)
    with pytest.raises(Compensated) as raised:
        _launch(shop, order).result(WAIT_S)
    assert raised.value.reason == reason
    assert _wrong(shop, order) == []


def test_a_full_boat_refuses_at_the_pivot_and_the_money_goes_back(shop: Here) -> None:
    orders = [_order(shop, number, address="1 Quay, Island") for number in range(7)]
    for order in orders[:6]:
        assert _launch(shop, order).result(WAIT_S).tracking.startswith("ISLAND-")
    with pytest.raises(Compensated, match="no place left on the boat to Island"):
        _launch(shop, orders[6]).result(WAIT_S)
    assert _wrong(shop, *orders) == []


def test_transient_faults_are_tried_again_until_they_pass(shop: Here) -> None:
    flaky = _order(shop, 1, customer="east-01")
    run = _launch(shop, flaky)
    run.result(WAIT_S)
    assert run.state().steps["charge"].attempt == 3
    greylisted = _order(shop, 2, customer="north-07")
    run = _launch(shop, greylisted)
    run.result(WAIT_S)
    assert run.state().steps["send_receipt"].attempt == 2
    assert _wrong(shop, flaky, greylisted) == []


def test_a_refund_that_keeps_failing_is_stuck_until_the_bank_is_mended(shop: Here) -> None:
    from workers import payments

    order = _order(shop, 1, customer="west-01", address="2 Quay, Lighthouse")
    run = _launch(shop, order)
    with pytest.raises(Stuck, match="westbank takes no refunds"):
        run.result(WAIT_S)
    assert "payments: cents charged and kept" in _wrong(shop, order)  # true: it wasn't refunded

    payments.mend("westbank")
    shop.client.retry(run.id, reason="westbank takes refunds again")
    eventually(lambda: run.summary().status == "compensated", WAIT_S)
    assert _wrong(shop, order) == []


TAMPERINGS = (
    (
        "inventory: articles on the shelf",
        "UPDATE article SET stock = stock - 1 WHERE sku = 'rope'",
        "UPDATE article SET stock = stock + 1 WHERE sku = 'rope'",
    ),
    (
        "inventory: articles held for orders",
        "UPDATE held SET released = 1",
        "UPDATE held SET released = 0",
    ),
    (
        "payments: cents in customers' accounts",
        "UPDATE account SET balance_cents = balance_cents + 1 WHERE customer = 'north-02'",
        "UPDATE account SET balance_cents = balance_cents - 1 WHERE customer = 'north-02'",
    ),
    (
        "payments: charges kept",
        "INSERT INTO charge SELECT 9, customer, 0, 0 FROM charge",
        "DELETE FROM charge WHERE id = 9",
    ),
    (
        "shipping: parcels sent",
        "INSERT INTO sent VALUES (9, 'Town', 0)",
        "DELETE FROM sent WHERE id = 9",
    ),
    (
        "shipping: grams sent",
        "UPDATE sent SET weight_g = weight_g + 1",
        "UPDATE sent SET weight_g = weight_g - 1",
    ),
    (
        "mail: receipts sent",
        "INSERT INTO letter SELECT 9, customer, tracking, total_cents FROM letter",
        "DELETE FROM letter WHERE id = 9",
    ),
)
"""What is seen, what was done, and what takes it back."""


def test_the_books_see_a_row_that_does_not_belong(shop: Here, tmp_path: Path) -> None:
    order = _order(shop, 1)
    _launch(shop, order).result(WAIT_S)
    for seen, tampering, back in TAMPERINGS:
        database = tmp_path / f"{seen.split(':')[0]}.db"
        assert _wrong(shop, order) == []
        _execute(database, tampering)
        assert _wrong(shop, order) == [seen]
        _execute(database, back)


def _execute(database: Path, statement: str) -> None:
    connection = sqlite3.connect(database)
    with connection:
        connection.execute(statement)
    connection.close()


def test_the_books_see_an_order_without_a_run(shop: Here) -> None:
    done, lost = _order(shop, 1), _order(shop, 2)
    _launch(shop, done).result(WAIT_S)
    assert "journal: orders with a run" in _wrong(shop, done, lost)
