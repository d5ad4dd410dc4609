"""What a type checker must accept: sagas as users write them. Compiled, never run."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import assert_type

from sqlalchemy.orm import Session

from orchestrator import (
    Call,
    Ended,
    Refused,
    Retry,
    Service,
    otherwise,
    parallel,
    saga,
    sequence,
    sleep,
    wait_for,
    when,
)
from orchestrator.definition.references import contains, not_
from orchestrator.testing import SagaRun, Sagas

shop = Service("shop")
stock = Service("stock", database="sqlite:///stock.db")


@dataclass
class Order:
    """An order."""

    customer: str
    sku: str
    quantity: int
    total: Decimal
    lines: list[str]


@dataclass
class Hold:
    """A hold."""

    weight: float


@dataclass
class Receipt:
    """A receipt."""

    payment: str
    weights: list[float]


@stock.participant(timeout=30, retry=Retry(attempts=5))
def reserve(session: Session, sku: str, quantity: int = 1) -> Hold:
    """Hold something, or say no."""
    if not session.is_active or quantity > 5:
        raise Refused(f"out of stock: {sku}")
    return Hold(1.0)


@reserve.undo
def release(session: Session, hold: Hold) -> None:
    """Let go of it."""


@shop.participant(read_only=True)
async def quote(call: Call, weight: float) -> str:
    """Ask the outside world."""
    return f"{call.idempotency_key} {weight}"


@shop.participant
def charge(call: Call, customer: str, amount: Decimal) -> str:
    """Take money."""
    return f"{call.idempotency_key} {customer} {amount}"


@charge.undo
def refund(call: Call, payment: str | None) -> None:
    """Give it back."""


@shop.participant
def dispatch(call: Call, label: str) -> str:
    """Send it."""
    return label


@shop.participant
def tell(call: Call, ended: Ended) -> None:
    """Hear of the end."""


@saga(version=1)
def weigh(sku: str) -> float:
    """Another saga's part."""
    return reserve(sku).weight


@saga(version=1, timeout=timedelta(hours=1))
def place_order(order: Order, note: str | None = None) -> Receipt:
    """Every shape once."""
    hold = assert_type(reserve(order.sku, order.quantity + 1), Hold)
    with parallel():
        payment = assert_type(charge(order.customer, order.total * 2), str)
        with sequence():
            label = assert_type(quote(hold.weight), str)
            quote.options(timeout=60, retry=Retry(attempts=2))(hold.weight)
    with when((order.total > 100) & not_(contains(order.lines, "x"))):
        approval = wait_for("approval", Receipt, timeout=timedelta(days=1))
        assert_type(approval, Receipt)
        quote(approval.weights[0])
    with otherwise():
        sleep(3)
    holds = assert_type(reserve.map(order.lines), list[Hold])
    assert_type(reserve.map(order.lines, using=lambda line: (line + "x", 2)), list[Hold])
    weight = assert_type(weigh(order.sku), float)
    weights = assert_type(weigh.map(order.lines), list[float])
    assert_type(dispatch.pivot(label), str)
    dispatch.options(name="again")(label)
    quote(holds[0].weight + weight)
    return Receipt(payment, weights)


place_order.on_completed(tell)


def launched() -> Receipt:
    """A launch by hand."""
    place_order.encode_input(Order("c", "a", 1, Decimal(1), []), note="x")
    return assert_type(place_order.decode_result({"payment": "p", "weights": []}), Receipt)


def tested(sagas: Sagas) -> None:
    """A test with the fixture."""
    sagas.when(charge).fails(times=2).then.returns("paid").takes(5)
    sagas.when(reserve, step="reserve").returns(Hold(1.0)).is_lost()
    sagas.when(quote).does(lambda weight: f"{weight}")
    sagas.when_undoing(charge).fails(ValueError("no")).takes(timedelta(days=1)).ends()
    order = Order("c", "a", 1, Decimal(1), [])
    run = assert_type(sagas.run(place_order, order), SagaRun[Receipt])
    assert_type(sagas.start(place_order, order, "note", key="k").result, Receipt)
    assert run.did == [reserve, {charge, "quote"}, dispatch] == run.undid
    assert charge not in run.undid
    assert "charge" in run.undid
    run.skip(charge, "paid")
