"""A transfer between two ledgers: both bookings commit together or neither does, then both owners are told."""

from __future__ import annotations

import msgspec

from orchestrator import atomic, saga
from workers import ledgers, mail


class Transfer(msgspec.Struct, frozen=True):
    """Money on its way."""

    source: str
    target: str
    amount_cents: int


@saga(version=1)
def transfer(order: Transfer) -> int:
    """Move money; whoever looks at both ledgers afterwards finds it exactly once."""
    with atomic(timeout=20):
        ledgers.debit(order.source, order.amount_cents)
        ledgers.credit(order.target, order.amount_cents)
    return mail.tell.pivot(order.target, order.amount_cents)
