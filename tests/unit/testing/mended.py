"""The five broken sagas, put right: under the same names, so that what was printed of the broken ones tests these."""

from __future__ import annotations

from sqlalchemy.orm import Session

from orchestrator import Call, Refused, Retry, Service, saga
from orchestrator.definition.invariant import Ledger, Outcome
from orchestrator.definition.saga import Registry
from tests.unit.testing.broken import hold, pay_out, send

REGISTRY = Registry()
stock = Service("stock", database="sqlite:///stock.db")
bank = Service("bank", timeout=10)
depot = Service("depot", database="sqlite:///depot.db")


@stock.participant
def count(session: Session, sku: str) -> int:
    """Take articles off the books."""
    session.add(sku)
    return 1


@count.undo
def uncount(session: Session, number: int) -> None:
    """Written."""
    session.delete(number)


@bank.participant
def charge(call: Call, customer: str) -> str:
    """Take money."""
    if not customer:
        raise Refused("from whom?")
    return call.idempotency_key


@charge.undo
def refund(call: Call, payment: str | None) -> None:
    """Give it back, by its key where nobody heard of the payment."""
    _give_back(call.idempotency_key if payment is None else payment.upper())


def _give_back(key: str) -> str:
    return key


@depot.participant(retry=Retry(attempts=None, budget=3600), timeout=60)
def book_courier(session: Session, sku: str) -> None:
    """Try for an hour."""
    session.add(sku)


@saga(registry=REGISTRY)
def undo_missing_its_effect(sku: str) -> None:
    """``uncount`` does what it says."""
    count(sku)
    hold(sku)


@saga(registry=REGISTRY)
def wrong_order(sku: str) -> None:
    """The money comes before the parcel goes."""
    hold(sku)
    pay_out(sku)
    send(sku)


@wrong_order.invariant
def paid_before_sent(ledger: Ledger, outcome: Outcome) -> None:
    """Nothing is sent that isn't paid."""
    assert not ledger.did("send") or ledger.before("pay_out", "send"), "sent before it was paid"


@saga(registry=REGISTRY)
def not_null_safe(customer: str) -> None:
    """``refund`` asks whether there is a payment."""
    charge(customer)
    hold(customer)


@saga(registry=REGISTRY)
def refusing_after_the_pivot(sku: str) -> None:
    """The articles are held before the money goes."""
    hold(sku)
    pay_out.pivot(sku)


@saga(registry=REGISTRY)
def retry_shorter_than_needed(sku: str) -> None:
    """The courier is tried for long enough."""
    hold(sku)
    send.pivot(sku)
    book_courier(sku)
