"""Writes ``orders.jsonl``, the same every time: ``python -m sagas.data.make_orders``.

Most orders go through. The others meet, on purpose, everything that can be wrong with an order; what happens to them
is decided by the services alone (the stock of lanterns, the small boat, the banks), not by this file.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sagas.orders import Order

FILE = Path(__file__).with_name("orders.jsonl")
ORDERS = 300
SEED = 20_260_000
PRICES_CENTS = {"apple": 40, "blanket": 3_500, "candle": 450, "kettle": 2_900, "rope": 1_250}
LANTERN_CENTS = 5_900
STREETS = ("High Street", "Mill Lane", "Station Road", "Quay", "Church Row")
NORTH = tuple(f"north-{number:02}" for number in range(1, 25))
EAST = tuple(f"east-{number:02}" for number in range(1, 7))


def orders() -> list[Order]:
    """Every order, in the order they come in."""
    chance = random.Random(SEED)
    made = [*_special(chance)]
    while len(made) < ORDERS - 1:
        customer = chance.choice(EAST if chance.random() < 0.15 else NORTH)
        made.append(_order(chance, customer, chance.choice(["Town", "Town", "Country"])))
    chance.shuffle(made)
    made.insert(10, _order(chance, "west-01", "Lighthouse"))  # its refund has to wait for the bank
    return [
        msgspec.structs.replace(order, id=f"order-{number:04}")
        for number, order in enumerate(made, 1)
    ]


def encoded() -> bytes:
    """The file's content: one order a line, as the saga's input."""
    return b"".join(msgspec.json.encode({"order": order}) + b"\n" for order in orders())


def _special(chance: random.Random) -> Iterator[Order]:
    for _ in range(14):  # there are 10 lanterns
        order = _order(chance, chance.choice(NORTH), "Town")
        yield msgspec.structs.replace(order, sku="lantern", quantity=1, total_cents=LANTERN_CENTS)
    for _ in range(9):  # the boat takes 6 parcels
        yield _order(chance, chance.choice(NORTH), "Island")
    for _ in range(6):
        yield _order(chance, "penniless", "Town")
    for _ in range(4):  # no courier goes there
        yield _order(chance, chance.choice(NORTH), "Atlantis")


def _order(chance: random.Random, customer: str, zone: str) -> Order:
    sku = chance.choice(sorted(PRICES_CENTS))
    quantity = chance.randint(1, 3)
    address = f"{chance.randint(1, 99)} {chance.choice(STREETS)}, {zone}"
    return Order("", customer, sku, quantity, quantity * PRICES_CENTS[sku], address)


if __name__ == "__main__":
    FILE.write_bytes(encoded())
