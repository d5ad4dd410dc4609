"""Five sagas with one mistake each, of the kind that a review lets through."""

from __future__ import annotations

from sqlalchemy.orm import Session

from orchestrator import Call, Refused, Retry, Service, atomic, saga
from orchestrator.definition.invariant import Ledger, Outcome
from orchestrator.definition.saga import Registry

REGISTRY = Registry()
stock = Service("stock", database="sqlite:///stock.db")
bank = Service("bank", timeout=10)
depot = Service("depot", database="sqlite:///depot.db")
vault = Service("vault", database="postgresql+psycopg://nobody@nowhere/vault", two_phase=True)


@stock.participant
def hold(session: Session, sku: str) -> int:
    """Put articles aside."""
    raise Refused("sold out")


@hold.undo
def let_go(session: Session, hold_id: int) -> None:
    """Give them back."""
    session.delete(hold_id)


@stock.participant
def count(session: Session, sku: str) -> int:
    """Take articles off the books."""
    session.add(sku)
    return 1


@count.undo
def uncount(session: Session, number: int) -> None:
    """To be written."""


@bank.participant
def charge(call: Call, customer: str) -> str:
    """Take money."""
    return _pay(call.idempotency_key)


def _pay(key: str) -> str:
    if not key:
        raise Refused("no key")
    return key


@charge.undo
def refund(call: Call, payment: str | None) -> None:
    """Give it back: nobody thought of a payment that nobody heard of."""
    _pay(payment.upper())  # type: ignore[union-attr]


@bank.participant
def pay_out(call: Call, customer: str) -> None:
    """Send money."""
    _pay(call.idempotency_key)


@pay_out.undo
def recall(call: Call) -> None:
    """Get it back by its key."""
    _pay(call.idempotency_key)


@depot.participant
def send(session: Session, sku: str) -> int:
    """Hand over the parcel."""
    session.add(sku)
    return 1


@send.undo
def call_back(session: Session, parcel: int) -> None:
    """Stop the parcel."""
    session.delete(parcel)


@depot.participant(retry=Retry(attempts=None, budget=30), timeout=60)
def book_courier(session: Session, sku: str) -> None:
    """Try for 30 seconds, of which one attempt may take 60."""
    session.add(sku)


@depot.participant
def notify(session: Session, sku: str) -> None:
    """Say that it is on its way."""
    session.add(sku)


@vault.participant
def take_out(session: Session, sku: str) -> None:
    """One half of a move."""
    session.delete(sku)


@take_out.undo
def put_back(session: Session) -> None:
    """Take half of it back."""
    session.add("")


@vault.participant
def put_in(session: Session, sku: str) -> None:
    """The other half."""
    session.add(sku)


@put_in.undo
def take_away(session: Session) -> None:
    """Take the other half back."""
    session.delete("")


@saga(registry=REGISTRY)
def undo_missing_its_effect(sku: str) -> None:
    """``uncount`` has a name and a docstring, and does nothing."""
    count(sku)
    hold(sku)


@saga(registry=REGISTRY)
def wrong_order(sku: str) -> None:
    """The parcel goes before the money comes."""
    hold(sku)
    send(sku)
    pay_out(sku)


@wrong_order.invariant
def paid_before_sent(ledger: Ledger, outcome: Outcome) -> None:
    """Nothing is sent that isn't paid."""
    assert not ledger.did("send") or ledger.before("pay_out", "send"), "sent before it was paid"


@saga(registry=REGISTRY)
def not_null_safe(customer: str) -> None:
    """``refund`` reads a payment that may be None."""
    charge(customer)
    hold(customer)


@saga(registry=REGISTRY)
def refusing_after_the_pivot(sku: str) -> None:
    """The articles are held when the money has gone for good."""
    pay_out.pivot(sku)
    hold(sku)


@saga(registry=REGISTRY)
def retry_shorter_than_needed(sku: str) -> None:
    """Past the pivot every failure has to be waited out, and this waits for none."""
    hold(sku)
    send.pivot(sku)
    book_courier(sku)


@saga(registry=REGISTRY)
def sound(sku: str) -> None:
    """The same parts, put together well."""
    hold(sku)
    pay_out(sku)
    send.pivot(sku)
    notify(sku)


@saga(registry=Registry())
def sound_group(sku: str) -> None:
    """Two halves that belong together."""
    with atomic():
        take_out(sku)
        put_in(sku)
