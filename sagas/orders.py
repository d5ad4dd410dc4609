"""An order of a shop: four services, each with a database of its own, all of it or none of it."""

from __future__ import annotations

import msgspec

from orchestrator import parallel, saga
from workers import inventory, mail, payments, shipping
from workers.mail import Receipt


class Order(msgspec.Struct, frozen=True):
    """What a customer asks for."""

    id: str
    customer: str
    sku: str
    quantity: int
    total_cents: int
    address: str


@saga(version=1)
def place_order(order: Order) -> Receipt:
    """Hold the articles, take the money, send the parcel, tell the customer."""
    hold = inventory.reserve(order.sku, order.quantity)
    with parallel():
        payment = payments.charge(order.customer, order.total_cents)
        label = shipping.quote(order.address, hold.weight_g)
    parcel = shipping.dispatch.pivot(label)
    return mail.send_receipt(order.customer, payment, parcel)
